//! What proves that nothing left for the carrier, and what does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::tests::{boot, ended, order, originates, ready, sent};
use super::*;

const NOW: u64 = 1_000_000;

#[test]
fn an_attempt_that_nothing_was_sent_for_never_rang_and_what_is_doubtful_may_have() {
    use PbxEvent::{Channel, Dialled, Hangup, NotSent, Originated};
    let a = || "a".to_owned();
    let failure = || Originated { attempt: a(), answered: false, reason: 0 };
    let timeout = || Originated { attempt: a(), answered: false, reason: 3 };
    let (channel, dialled) = (|| Channel { attempt: a() }, || Dialled { attempt: a() });
    let hangup = |cause| Hangup { attempt: a(), cause, sip_status: 0 };
    // As Asterisk 22.10 tells each of them; `OriginateResponse` comes anywhere among the rest.
    let table = [
        ("refused as an action", vec![NotSent { attempt: a() }], true),
        ("no such trunk", vec![failure()], true),
        ("no rtp port", vec![channel(), hangup(0), failure()], true),
        ("no rtp port, told first", vec![failure(), channel(), hangup(0)], true),
        ("busy", vec![channel(), dialled(), failure(), hangup(17)], false),
        ("busy, told first", vec![failure(), channel(), dialled(), hangup(17)], false),
        ("congestion", vec![channel(), dialled(), hangup(34), failure()], false),
        ("nobody listens", vec![channel(), dialled(), timeout(), hangup(19)], false),
        ("a channel that does not end", vec![failure(), channel()], false),
        ("a timeout without a channel", vec![timeout()], false),
        ("an end without a beginning", vec![hangup(0), failure()], false),
        ("only an end", vec![channel(), hangup(0)], true),
    ];
    for (what, events, never_rang) in table {
        let mut machine = sent();
        let mut facts = Vec::new();
        for event in events {
            facts.extend(machine.on_pbx_event(event, NOW + 50).facts);
        }
        facts.extend(machine.on_tick(NOW + 50 + call::HALF_END_MS, 0, SpoolView::default()).facts);
        let end = facts.iter().find_map(|fact| match &fact.body {
            Body::Ended(end) => Some(end),
            _ => None,
        });
        let end = end.expect(what);
        assert_eq!((end.never_rang, end.ring_ms == 0), (never_rang, never_rang), "{what}");
    }
}

#[test]
fn where_events_may_be_missing_or_late_nothing_is_proved_by_their_absence() {
    let failure = |id: &str| PbxEvent::Originated { attempt: id.into(), answered: false, reason: 0 };
    // The connection broke between the originate and its end.
    for broken in [false, true] {
        let mut machine = sent();
        if broken {
            machine.on_pbx_down("gone", NOW + 1);
            machine.on_pbx_up(boot("b1", &[("a", false)]), NOW + 2);
        }
        machine.on_pbx_event(PbxEvent::Channel { attempt: "a".into() }, NOW + 3);
        machine.on_pbx_event(failure("a"), NOW + 3);
        let hangup = PbxEvent::Hangup { attempt: "a".into(), cause: 0, sip_status: 0 };
        assert_eq!(ended(&machine.on_pbx_event(hangup, NOW + 3)).never_rang, !broken);
    }
    // Another attempt, sent before, has no channel after all this time: events come late.
    for late in [false, true] {
        let mut machine = ready(2);
        machine.on_dial(1, order(1, &["a", "b"]), NOW);
        assert_eq!(originates(&machine.due(NOW)), 2);
        if !late {
            machine.on_pbx_event(PbxEvent::Channel { attempt: "b".into() }, NOW + 5);
        }
        machine.on_pbx_event(failure("a"), NOW + 5);
        let out = machine.on_tick(NOW + 5 + call::HALF_END_MS, 0, SpoolView::default());
        let end = out.facts.iter().find_map(|fact| match &fact.body {
            Body::Ended(end) => Some(end.never_rang),
            _ => None,
        });
        assert_eq!(end, Some(!late));
    }
}

#[test]
fn only_a_refusal_that_was_watched_from_the_dial_on_proves_that_nobody_can_have_been_rung() {
    use PbxEvent::{Channel, Dialled, Hangup, Originated, Rings};
    use v1::Heard::{OnlyTheEnd, Ringing, Silence, Unspecified};
    let a = || "a".to_owned();
    let end = |reason| Originated { attempt: a(), answered: false, reason };
    let (channel, dialled, rings) =
        (|| Channel { attempt: a() }, || Dialled { attempt: a() }, || Rings { attempt: a() });
    let hangup = |cause, sip_status| Hangup { attempt: a(), cause, sip_status };
    let table = [
        ("503", vec![channel(), dialled(), hangup(34, 503), end(0)], 503, OnlyTheEnd),
        ("503, told last", vec![end(0), channel(), dialled(), hangup(34, 503)], 503, OnlyTheEnd),
        ("180, then 503", vec![channel(), dialled(), rings(), hangup(34, 503), end(0)], 503, Ringing),
        ("nobody listens", vec![channel(), dialled(), hangup(18, 408), end(0)], 408, Silence),
        ("a timeout", vec![channel(), dialled(), end(3), hangup(19, 480)], 480, Silence),
        (
            "a timeout while it rings",
            vec![channel(), dialled(), rings(), end(3), hangup(19, 487)],
            487,
            Ringing,
        ),
        ("an end without its dial", vec![hangup(34, 503), end(0)], 503, Unspecified),
        ("hung up by an order", vec![channel(), dialled(), hangup(16, 0), end(0)], 0, Unspecified),
    ];
    for (what, events, sip_status, heard) in table {
        let mut machine = sent();
        let mut last = Output::default();
        for event in events {
            last = machine.on_pbx_event(event, NOW + 50);
        }
        let end = ended(&last);
        assert_eq!((end.sip_status, end.heard), (sip_status, heard as u32), "{what}");
    }
    // The connection broke between: a ring may have been missed.
    let mut machine = sent();
    machine.on_pbx_event(dialled(), NOW + 1);
    machine.on_pbx_down("gone", NOW + 2);
    machine.on_pbx_up(boot("b1", &[("a", false)]), NOW + 3);
    machine.on_pbx_event(hangup(34, 503), NOW + 4);
    assert_eq!(ended(&machine.on_pbx_event(end(0), NOW + 5)).heard, 0);
}

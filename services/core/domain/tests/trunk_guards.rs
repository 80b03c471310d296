//! What keeps a trunk from more than it may carry, one guard a story: probes of a breaker, caps, paces, ends of its calls.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::ContactStatus;
use asterism_domain::invariant::Judge;
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::{BreakerState, Heard, OPEN_MS, PROBES};
use asterism_domain::{AttemptId, Event, Outcome, State};
use asterism_proto::{Origin, Role};
use support::trunks::{end, first, intended, judged, lab};
use support::{Lab, loopback};

/// What the dialer's tick would write once `a` has rested.
fn breaker(lab: &mut Lab, state: BreakerState) {
    let (trunk, reason, causes) = ("a".to_owned(), String::new(), vec![]);
    let until_ms = if state == BreakerState::Open { lab.now + OPEN_MS } else { 0 };
    let event = Event::TrunkBreaker { trunk, state, until_ms, ends: 0, trouble: 0, causes, reason };
    lab.write(Origin::Role(Role::Dialer), event);
}

/// Two trunks, many people; `a` is tried first, and half open.
fn half_open(b: TrunkSettings) -> Lab {
    let mut lab = lab(first(), b, 40, &[]);
    breaker(&mut lab, BreakerState::Open);
    lab.now += OPEN_MS;
    breaker(&mut lab, BreakerState::HalfOpen);
    lab
}

/// One attempt at a time.
fn narrow() -> TrunkSettings {
    TrunkSettings { max_channels: 1, ..loopback() }
}

fn on(lab: &mut Lab, trunk: &str) -> Vec<AttemptId> {
    intended(&lab.tick()).into_iter().filter(|(_, on, _)| on == trunk).map(|(id, ..)| id).collect()
}

fn state_of(lab: &Lab) -> BreakerState {
    lab.state.trunks["a"].health.breaker.state
}

fn good(lab: &mut Lab, attempt: &AttemptId) {
    end(lab, attempt, Outcome::Answered, 200, Heard::Ringing);
}

fn bad(lab: &mut Lab, attempt: &AttemptId) {
    end(lab, attempt, Outcome::Congestion, 503, Heard::OnlyTheEnd);
}

#[test]
fn a_probe_that_never_reached_the_carrier_is_let_through_again() {
    let mut lab = half_open(narrow());
    let probes = on(&mut lab, "a");
    assert_eq!(probes.len(), PROBES as usize);
    assert_eq!(on(&mut lab, "a"), [], "no more than these");
    let node = lab.in_flight()[0].1.clone();
    // One is refused by its node, one never leaves the PBX.
    lab.node(&node, Event::AttemptRefused { attempt: probes[0].clone(), reason: "late".into() });
    let attempt = probes[1].clone();
    lab.node(&node, Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
    lab.node(
        &node,
        Event::AttemptEnded {
            attempt,
            outcome: Outcome::Failed,
            cause: 0,
            reason: 0,
            ring_ms: 0,
            talk_ms: 0,
            digits: String::new(),
            path: String::new(),
            never_rang: true,
            sip_status: 0,
            heard: Heard::Unknown,
        },
    );
    let breaker = &lab.state.trunks["a"].health.breaker;
    assert_eq!((breaker.probes, breaker.probes_up, breaker.carried, breaker.failed), (2, 2, 0, 0));
    assert_eq!(on(&mut lab, "a").len(), 2, "two have yet to find out");
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
}

#[test]
fn two_probes_in_trouble_open_it_again_and_three_carried_close_it() {
    let mut lab = half_open(narrow());
    let probes = on(&mut lab, "a");
    bad(&mut lab, &probes[0]);
    lab.tick();
    assert_eq!(state_of(&lab), BreakerState::HalfOpen, "one may be a single line's fault");
    bad(&mut lab, &probes[1]);
    lab.tick();
    assert_eq!(state_of(&lab), BreakerState::Open);
    let mut lab = half_open(narrow());
    let probes = on(&mut lab, "a");
    bad(&mut lab, &probes[0]);
    good(&mut lab, &probes[1]);
    good(&mut lab, &probes[2]);
    lab.tick();
    assert_eq!(state_of(&lab), BreakerState::HalfOpen, "one is still up");
    good(&mut lab, &probes[3]);
    lab.tick();
    assert_eq!(state_of(&lab), BreakerState::Closed);
    assert!(on(&mut lab, "a").len() > PROBES as usize, "it is used again");
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
}

/// Calls that were up when the trunk was taken out of use end as any other, and are no probes of how it does now.
#[test]
fn calls_of_a_trunk_that_rests_end_as_they_would_and_say_nothing_of_how_it_does_later() {
    let mut lab = lab(first(), narrow(), 12, &[]);
    let up = on(&mut lab, "a");
    assert_eq!(up.len(), 12);
    breaker(&mut lab, BreakerState::Open);
    good(&mut lab, &up[0]);
    assert_eq!(lab.state.campaigns["c"].contacts[0].status, ContactStatus::Settled(Outcome::Answered));
    assert_eq!((lab.state.trunks["a"].in_flight, lab.state.trunks["a"].health.ends.len()), (11, 1));
    lab.now += OPEN_MS;
    breaker(&mut lab, BreakerState::HalfOpen);
    let node = lab.in_flight()[0].1.clone();
    good(&mut lab, &up[1]);
    good(&mut lab, &up[2]);
    good(&mut lab, &up[3]);
    bad(&mut lab, &up[4]);
    bad(&mut lab, &up[5]);
    lab.node(&node, Event::AttemptRefused { attempt: up[6].clone(), reason: "late".into() });
    let one = &lab.state.trunks["a"].health.breaker;
    assert_eq!((one.probes, one.probes_up, one.carried, one.failed), (0, 0, 0, 0));
    let probes = on(&mut lab, "a");
    assert_eq!(
        (state_of(&lab), probes.len()),
        (BreakerState::HalfOpen, 1),
        "who was turned away tries the other first"
    );
    good(&mut lab, &probes[0]);
    let one = &lab.state.trunks["a"].health.breaker;
    assert_eq!((one.probes, one.probes_up, one.carried, one.failed), (1, 0, 1, 0));
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
}

/// Of what a node cannot tell the breaker learns nothing: it goes by the others once all are in, whatever else is up.
#[test]
fn probes_of_which_nobody_can_tell_are_neither_carried_nor_in_trouble() {
    for (carried, stands) in [(2, BreakerState::Closed), (1, BreakerState::Open)] {
        let mut lab = lab(TrunkSettings { max_channels: 3, ..first() }, narrow(), 40, &[]);
        let up = on(&mut lab, "a");
        breaker(&mut lab, BreakerState::Open);
        lab.now += OPEN_MS;
        breaker(&mut lab, BreakerState::HalfOpen);
        lab.trunk("a", first());
        let probes = on(&mut lab, "a");
        assert_eq!(probes.len(), PROBES as usize);
        for attempt in &probes[..carried] {
            good(&mut lab, attempt);
        }
        bad(&mut lab, &probes[3]);
        let node = lab.in_flight()[0].1.clone();
        for attempt in &probes[carried..3] {
            lab.tick();
            assert_eq!(state_of(&lab), BreakerState::HalfOpen, "one is still to come");
            lab.node(
                &node,
                Event::AttemptUncertain { attempt: attempt.clone(), reason: "agent started anew".into() },
            );
        }
        assert!(lab.in_flight().iter().any(|(id, _)| *id == up[0]), "a long call from before");
        lab.tick();
        assert_eq!(state_of(&lab), stands, "{carried} carried, 1 not");
    }
}

#[test]
fn a_cap_that_is_lowered_draws_down_as_calls_end_and_lets_nothing_in_before() {
    let mut lab = lab(TrunkSettings { max_channels: 4, ..first() }, narrow(), 12, &[]);
    let up = on(&mut lab, "a");
    assert_eq!(up.len(), 4);
    let lowered = TrunkSettings { max_channels: 2, ..first() };
    lab.trunk("a", lowered.clone());
    for (one, above) in up.iter().zip([3, 2, 1]) {
        assert_eq!(on(&mut lab, "a"), [], "{above} are above what it may");
        good(&mut lab, one);
        assert_eq!((lab.state.trunks["a"].above_cap, lab.state.trunks["a"].in_flight), (above, above));
        if above == 1 {
            assert_eq!(on(&mut lab, "a").len(), 1, "one below the cap");
        }
    }
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
    // Somebody whose reducer let one more in: the judge of the log finds it, where it landed.
    let (mut state, mut judge, mut found) = (State::default(), Judge::new(), Vec::new());
    let last = lab.written.len() - 1;
    for one in &lab.written {
        let look = judge.before(&state, one);
        state.apply(one);
        if one.sequence as usize == last {
            state.trunks.get_mut("a").unwrap().channels += 1;
        }
        let broken = judge.after(&state, one, look);
        found.extend(broken.into_iter().map(|finding| (finding.id, one.sequence as usize)));
    }
    assert_eq!(found, [("INV-03", last)]);
}

/// Starts on `a` are as far apart as its slowed pace says, not as its own.
#[test]
fn a_trunk_that_has_no_room_is_dialled_at_the_pace_it_was_slowed_to() {
    let mut lab = lab(TrunkSettings { calls_per_second: 50, ..first() }, narrow(), 200, &[]);
    let (trunk, reason) = ("a".to_owned(), String::new());
    let slowed =
        Event::TrunkPaced { trunk, per_1000_s: 5_000, before_per_1000_s: 0, ends: 9, rejected: 9, reason };
    lab.write(Origin::Role(Role::Dialer), slowed);
    let mut starts = Vec::new();
    for _ in 0..40 {
        for event in lab.tick() {
            if let Event::AttemptIntended { not_before_ms, trunk, .. } = event
                && trunk == "a"
            {
                starts.push(not_before_ms);
            }
        }
        lab.now += 50;
    }
    assert!(starts.len() >= 10 && starts.windows(2).all(|two| two[1] - two[0] >= 200), "{starts:?}");
    // A leader that keeps to the trunk's own pace only is void, and a reducer that lets it pass breaks INV-03.
    let mut early = lab
        .written
        .iter()
        .rfind(|one| matches!(&one.event, Event::AttemptIntended { trunk, .. } if trunk == "a"))
        .unwrap()
        .clone();
    let at = early.sequence;
    if let Event::AttemptIntended { not_before_ms, .. } = &mut early.event {
        *not_before_ms -= 100;
    }
    let (mut state, mut judge, mut found) = (State::default(), Judge::new(), Vec::new());
    let (mut honest, mut voids) = (State::default(), 0);
    for one in lab.written.iter().take_while(|one| one.sequence <= at) {
        let one = if one.sequence == at { &early } else { one };
        voids = honest.voids;
        honest.apply(one);
        let look = judge.before(&state, one);
        if one.sequence == at {
            state.trunks.get_mut("a").unwrap().last_start_ms = 0;
        }
        state.apply(one);
        found.extend(judge.after(&state, one, look).into_iter().map(|finding| finding.id));
    }
    assert_eq!((honest.voids, found), (voids + 1, vec!["INV-03"]));
}

//! Retries where nobody pressed anything, and on another trunk than the last attempt's.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use asterism_domain::campaign::command::NewCampaign;
use asterism_domain::campaign::{CampaignCommand, ContactStatus, waits};
use asterism_domain::event::StepSource;
use asterism_domain::ids::Listened;
use asterism_domain::report::numbers::numbers;
use asterism_domain::rules::RetryRule;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{AttemptId, Event, Outcome};
use asterism_proto::{Origin, Role};
use proptest::prelude::*;
use support::trunks::{end, first, intended, judged, new, refused};
use support::{Lab, loopback, rows};

const DELAY_MS: u64 = 600_000;
const GATHER: &str = "gather|menu|1|5|2|#";
const HANGUP: &str = "hangup|16";

fn rule(outcome: Outcome, max: u32, another_trunk: bool) -> RetryRule {
    RetryRule { outcome, delay_ms: DELAY_MS, max, doubling: false, another_trunk }
}

fn asked(trunks: &[&str], retries: &[RetryRule]) -> NewCampaign {
    let mut asked = new("c", trunks, &[]);
    asked.limits.max_attempts = 9;
    asked.limits.rules.retries = retries.to_vec();
    asked
}

/// One person, trunks `a`, which is tried first, and `b`, and retries like these.
fn lab(retries: &[RetryRule]) -> Lab {
    let mut lab = Lab::new();
    lab.now = 1_000_000;
    lab.trunk("a", first());
    lab.trunk("b", loopback());
    lab.wide_node(50);
    lab.dialer(&CampaignCommand::Create(Box::new(asked(&["a", "b"], retries))));
    let (campaign, import) = ("c".to_owned(), "c-1".to_owned());
    lab.dialer(&CampaignCommand::Import { campaign, import, rows: rows(1), last: true, skip_known: vec![] });
    lab.dialer(&CampaignCommand::Start { campaign: "c".into() });
    lab
}

/// What happened in a call beside its answer.
#[derive(Clone, Copy)]
struct Call<'a> {
    did: &'a [&'a str],
    digits: &'a str,
    verdict: Option<Listened>,
}

/// The next call is answered, does these, and ends.
fn call(lab: &mut Lab, what: Call<'_>) {
    lab.tick();
    let (attempt, node) = lab.in_flight().remove(0);
    lab.node(&node, Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
    lab.node(&node, Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() });
    lab.node(&node, Event::AttemptAnswered { attempt: attempt.clone() });
    if let Some(verdict) = what.verdict {
        let (attempt, cause) = (attempt.clone(), "LONGGREETING-1500-1500".to_owned());
        lab.node(&node, Event::MachineJudged { attempt, verdict, cause, took_ms: 1_600 });
    }
    for (step, reply) in (1..).zip(what.did) {
        let taken = Event::StepTaken {
            call: attempt.clone(),
            step,
            reply: (*reply).to_owned(),
            source: StepSource::Fallback,
            decision: None,
            input: String::new(),
            reason: "no answer came in time".into(),
            tags: vec![],
        };
        lab.node(&node, taken);
    }
    let ended = Event::AttemptEnded {
        attempt,
        outcome: Outcome::Answered,
        cause: 16,
        reason: 4,
        ring_ms: 1,
        talk_ms: 5_000,
        digits: what.digits.to_owned(),
        path: String::new(),
        never_rang: false,
        sip_status: 0,
        heard: Heard::Ringing,
    };
    lab.node(&node, ended);
}

fn status(lab: &Lab) -> ContactStatus {
    lab.state.campaigns["c"].contacts[0].status.clone()
}

const SILENT: Call<'_> = Call { did: &["play|welcome|0", GATHER, HANGUP], digits: "", verdict: None };

#[test]
fn who_presses_nothing_until_the_flow_hangs_up_is_rung_again_where_a_rule_asks_for_it() {
    let mut lab = lab(&[rule(Outcome::NoInput, 1, false)]);
    call(&mut lab, SILENT);
    let person = &lab.state.campaigns["c"].contacts[0];
    assert_eq!((person.status.clone(), person.due_ms), (ContactStatus::Waiting, lab.now + DELAY_MS));
    lab.now += DELAY_MS;
    call(&mut lab, SILENT);
    assert_eq!(status(&lab), ContactStatus::Settled(Outcome::NoInput), "once again, and no more");
    let counts = &lab.state.campaigns["c"].counts;
    assert_eq!((counts.answered, counts.settled.get(&Outcome::NoInput)), (2, Some(&1)));
    assert!(counts.digits.is_empty());
    let told = numbers(&lab.state, "c").unwrap();
    assert_eq!((told.funnel.answered, told.funnel.finished), (1, 1), "it picked up all the same");
    assert_eq!(told.contacts, BTreeMap::from([("settled: no-input".to_owned(), 1)]));
    assert_eq!((judged(&lab), lab.state.incidents), (vec![], 0));
}

#[test]
fn any_other_answer_is_an_answer() {
    let calls = [
        ("no rule asks for it", false, SILENT),
        ("it pressed", true, Call { digits: "1", ..SILENT }),
        ("it was asked for nothing", true, Call { did: &["play|welcome|0", HANGUP], ..SILENT }),
        ("the callee hung up", true, Call { did: &["play|welcome|0", GATHER], ..SILENT }),
        ("it opted out", true, Call { did: &[GATHER, "optout|goodbye"], ..SILENT }),
    ];
    for (why, named, what) in calls {
        let retries: &[RetryRule] = if named { &[rule(Outcome::NoInput, 1, false)] } else { &[] };
        let mut lab = lab(retries);
        call(&mut lab, what);
        assert_eq!(status(&lab), ContactStatus::Settled(Outcome::Answered), "{why}");
    }
    let mut lab = lab(&[rule(Outcome::NoInput, 1, false)]);
    call(&mut lab, Call { verdict: Some(Listened::Machine), ..SILENT });
    assert_eq!(status(&lab), ContactStatus::Settled(Outcome::Machine), "a machine presses nothing");
}

#[test]
fn a_retry_that_asks_for_it_takes_another_trunk_and_says_so() {
    let mut lab = lab(&[rule(Outcome::Busy, 3, true)]);
    let mut taken = Vec::new();
    for _ in 0..3 {
        let dialled = intended(&lab.tick());
        taken.push(dialled[0].1.clone());
        end(&mut lab, &dialled[0].0, Outcome::Busy, 486, Heard::Ringing);
        let person = &lab.state.campaigns["c"].contacts[0];
        let said = waits::waits_for(&lab.state, "c", person, lab.now).0;
        assert_eq!(said, "it is to be tried again, and the delay after its last attempt is not over");
        lab.now += DELAY_MS;
    }
    assert_eq!(taken, ["a", "b", "a"], "though `a` is preferred");
    let why = "its delay is over, another trunk than its last, free slot";
    let told = |one: &Event| matches!(one, Event::AttemptIntended { reason, .. } if reason == why);
    assert_eq!(lab.written.iter().filter(|one| told(&one.event)).count(), 2);
    // The other one is full: it waits for it.
    let other = lab.state.trunks["b"].settings.clone().unwrap();
    lab.state.trunks.get_mut("b").unwrap().channels = 1;
    lab.trunk("b", asterism_domain::trunk::TrunkSettings { max_channels: 1, ..other });
    assert_eq!(intended(&lab.tick()), []);
    let person = &lab.state.campaigns["c"].contacts[0];
    assert_eq!(
        waits::waits_for(&lab.state, "c", person, lab.now).0,
        "for a trunk: a: its last attempt was there, and its retry is to be on another; b: it is at its cap of 1 channels"
    );
}

#[test]
fn who_may_take_no_trunk_that_is_left_may_take_each_once_more() {
    let mut lab = lab(&[rule(Outcome::Busy, 3, true)]);
    let on_a = intended(&lab.tick());
    end(&mut lab, &on_a[0].0, Outcome::Busy, 486, Heard::Ringing);
    lab.now += DELAY_MS;
    let gone = Event::TrunkRemoved { trunk: "b".into(), reason: "no more".into() };
    lab.write(Origin::Role(Role::Dialer), gone);
    let again = intended(&lab.tick());
    assert_eq!(again[0].1, "a", "there is no other any more");
    end(&mut lab, &again[0].0, Outcome::Busy, 486, Heard::Ringing);
    lab.now += DELAY_MS;
    assert_eq!(intended(&lab.tick())[0].1, "a", "and none is waited for");
}

#[test]
fn a_retry_on_another_trunk_is_refused_where_there_is_one_trunk() {
    let lab = lab(&[]);
    let command = |trunks: &[&str], id: &str| {
        let mut asked = asked(trunks, &[rule(Outcome::NoAnswer, 1, true)]);
        id.clone_into(&mut asked.campaign);
        CampaignCommand::Create(Box::new(asked))
    };
    let (code, why) = refused(&lab.state, &command(&["a"], "d"));
    assert_eq!(code, "AST-D150");
    assert!(why.starts_with("retries.no-answer: it is to be on another trunk"), "{why}");
    assert!(asterism_domain::campaign::decide(&lab.state, &command(&["a", "b"], "d"), 1).is_ok());
}

/// One move of a random history of a campaign whose busy numbers are tried again on another trunk.
fn step(lab: &mut Lab, kind: u8, pick: usize) {
    let flying = lab.in_flight();
    let one = flying.get(pick % flying.len().max(1)).cloned();
    match (kind, one) {
        (0..=4, Some((id, _))) => {
            let (outcome, sip) =
                [(Outcome::Busy, 486), (Outcome::NoAnswer, 0), (Outcome::Congestion, 503)][pick % 3];
            let heard = [Heard::Ringing, Heard::OnlyTheEnd][pick / 3 % 2];
            end(lab, &id, outcome, sip, heard);
        }
        (5, Some((id, node))) => {
            lab.node(&node, Event::AttemptRefused { attempt: id, reason: String::new() });
        }
        (6, _) => {
            let reason = "taken off".to_owned();
            lab.write(Origin::Role(Role::Dialer), Event::TrunkRemoved { trunk: "b".into(), reason });
        }
        (7, _) => {
            lab.trunk("b", loopback());
            lab.hold_trunks("i-wide");
        }
        _ => {
            lab.tick();
        }
    }
}

/// An attempt on the trunk that the contact was busy on right before, though its other one was there then and since.
fn took_the_same(lab: &Lab) -> Option<AttemptId> {
    let (mut on, mut busy_on, mut other_there) = (BTreeMap::new(), None, true);
    for one in &lab.written {
        match &one.event {
            Event::AttemptIntended { attempt, trunk, .. } if busy_on.as_ref() == Some(trunk) => {
                return Some(attempt.clone());
            }
            Event::AttemptIntended { attempt, trunk, .. } => drop(on.insert(attempt.clone(), trunk.clone())),
            Event::AttemptEnded { attempt, outcome, .. } => {
                busy_on = on.get(attempt).filter(|_| *outcome == Outcome::Busy && other_there).cloned();
            }
            Event::TrunkRemoved { .. } => (busy_on, other_there) = (None, false),
            Event::TrunkSet { trunk, .. } if trunk == "b" => other_there = true,
            _ => {}
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Whatever carriers say, whatever trunk comes and goes: after busy the next attempt is on the other trunk while there
    /// is one, nobody waits for a trunk that is gone, and every invariant holds.
    #[test]
    fn no_history_puts_a_retry_where_it_was_not_asked_to_be(
        moves in proptest::collection::vec((0u8..10, any::<u8>()), 1..120)
    ) {
        let mut lab = lab(&[rule(Outcome::Busy, 90, true), rule(Outcome::NoAnswer, 90, false)]);
        for (kind, pick) in moves {
            step(&mut lab, kind, usize::from(pick));
            lab.now += DELAY_MS;
        }
        prop_assert_eq!(took_the_same(&lab), None);
        prop_assert_eq!((judged(&lab), lab.state.incidents), (vec![], 0));
        let person = &lab.state.campaigns["c"].contacts[0];
        let left = u8::from(lab.state.trunks["a"].usable().is_some()) | u8::from(lab.state.trunks["b"].usable().is_some()) << 1;
        prop_assert!(person.tried == 0 || left & !person.tried != 0 || person.status != ContactStatus::Waiting, "{:?}", person);
    }
}

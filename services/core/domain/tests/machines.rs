//! Who answers is a machine: what the node heard is in the log, the outcome is its own, and so is its retry rule.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::ContactStatus;
use asterism_domain::ids::Listened;
use asterism_domain::rules::{CampaignRules, RetryRule};
use asterism_domain::trunk::health::Heard;
use asterism_domain::{AttemptId, Event, Outcome, invariant};
use support::{Lab, rows};

const DELAY_MS: u64 = 600_000;

fn lab(retries: &[(Outcome, u32)]) -> Lab {
    let mut lab = Lab::new();
    lab.now = 1_000_000;
    lab.wide_node(4);
    let rule = |(outcome, max): &(Outcome, u32)| RetryRule {
        outcome: *outcome,
        delay_ms: DELAY_MS,
        max: *max,
        doubling: false,
        another_trunk: false,
    };
    let retries = retries.iter().map(rule).collect();
    let rules = CampaignRules { detect_machines: true, retries, ..CampaignRules::default() };
    lab.campaign_with("c", rows(1), 5, rules);
    lab
}

fn judged(attempt: &AttemptId, verdict: Listened) -> Event {
    Event::MachineJudged {
        attempt: attempt.clone(),
        verdict,
        cause: "LONGGREETING-1500-1500".into(),
        took_ms: 1_600,
    }
}

/// The next call is answered, listened to, and ends.
fn answered_by(lab: &mut Lab, verdict: Listened) {
    lab.tick();
    let (attempt, node) = lab.in_flight().remove(0);
    for event in [
        Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 },
        Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() },
        Event::AttemptAnswered { attempt: attempt.clone() },
        judged(&attempt, verdict),
        Event::AttemptEnded {
            attempt,
            outcome: Outcome::Answered,
            cause: 16,
            reason: 4,
            ring_ms: 1,
            talk_ms: 1_700,
            digits: "1".into(),
            path: String::new(),
            never_rang: false,
            sip_status: 0,
            heard: Heard::Ringing,
        },
    ] {
        lab.node(&node, event);
    }
}

fn status(lab: &Lab) -> ContactStatus {
    lab.state.campaigns["c"].contacts[0].status.clone()
}

#[test]
fn a_machine_is_an_outcome_of_its_own_and_tried_again_by_its_own_rule_only() {
    let mut lab = lab(&[(Outcome::Machine, 1), (Outcome::Busy, 3)]);
    answered_by(&mut lab, Listened::Machine);
    let person = &lab.state.campaigns["c"].contacts[0];
    assert_eq!((person.status.clone(), person.due_ms), (ContactStatus::Waiting, lab.now + DELAY_MS));
    lab.now += DELAY_MS;
    answered_by(&mut lab, Listened::Machine);
    assert_eq!(status(&lab), ContactStatus::Settled(Outcome::Machine), "once again, and no more");
    let counts = &lab.state.campaigns["c"].counts;
    assert_eq!(
        (counts.answered, counts.settled.get(&Outcome::Machine)),
        (2, Some(&1)),
        "it was picked up twice"
    );
    assert!(counts.digits.is_empty(), "a machine says nothing");
    assert_eq!((lab.state.incidents, invariant::broken(&lab.state)), (0, vec![]));
}

#[test]
fn nobody_is_rung_again_for_a_machine_where_no_rule_asks_for_it() {
    let mut none = lab(&[]);
    answered_by(&mut none, Listened::Machine);
    assert_eq!(status(&none), ContactStatus::Settled(Outcome::Machine));
    for verdict in [Listened::Human, Listened::NotSure] {
        let mut lab = lab(&[(Outcome::Machine, 1)]);
        answered_by(&mut lab, verdict);
        assert_eq!(status(&lab), ContactStatus::Settled(Outcome::Answered), "{verdict:?}");
    }
}

#[test]
fn who_answered_is_judged_of_a_call_that_is_up_and_by_its_own_node() {
    let mut lab = lab(&[]);
    lab.tick();
    let (attempt, node) = lab.in_flight().remove(0);
    lab.node(&node, judged(&attempt, Listened::Machine));
    assert_eq!(lab.state.incidents, 1, "nobody answered yet");
    lab.node(&node, Event::AttemptAnswered { attempt: attempt.clone() });
    lab.node("i-other", judged(&attempt, Listened::Machine));
    assert!(!lab.state.campaigns["c"].in_flight[&attempt].machine);
    assert_eq!(lab.state.incidents, 2);
}

//! The emergency stop: nothing is intended from its place in the log on, it names what is to end, and it holds until resumed.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::AttemptStatus::{Accepted, Answered, Intended, Originating};
use asterism_domain::campaign::{AttemptStatus, CampaignCommand, DialTick, decide};
use asterism_domain::emergency::endings;
use asterism_domain::{Event, invariant};
use asterism_proto::{Origin, Role};
use support::Lab;

fn stop(cancel_ringing: bool, cut_calls: bool) -> CampaignCommand {
    CampaignCommand::EmergencyStop { reason: "wrong prompt".into(), cancel_ringing, cut_calls }
}

fn tick(lab: &Lab, order_window_ms: u32) -> CampaignCommand {
    CampaignCommand::Tick(DialTick { fresh: lab.ready(), order_window_ms, max_intents: 100, caps: None })
}

/// A campaign whose contacts are all to be dialled, on nodes that can.
fn dialling() -> Lab {
    let mut lab = Lab::new();
    lab.campaign("c", 5, 1);
    lab.plan();
    lab.boot_all();
    lab
}

#[test]
fn from_its_place_in_the_log_nothing_is_intended_until_it_is_resumed() {
    let mut lab = dialling();
    let decided = decide(&lab.state, &tick(&lab, 2_000), lab.now).unwrap();
    assert_eq!(decided.len(), 5);
    assert_eq!(lab.dialer(&stop(false, false)).len(), 1);
    assert_eq!(lab.tick(), []);
    assert!(lab.state.hold().contains("wrong prompt"));
    // What was decided before it and landed behind it is kept, void, and costs the contact no attempt.
    for attempt in &decided {
        lab.write(Origin::Role(Role::Dialer), attempt.clone());
    }
    assert_eq!((lab.state.voids, lab.state.in_flight, lab.state.incidents), (5, 0, 0));
    assert_eq!(decide(&lab.state, &stop(false, false), lab.now), Ok(vec![]), "said twice is said once");
    let resume = CampaignCommand::EmergencyResume { reason: "mended".into() };
    assert_eq!(lab.dialer(&resume).len(), 1);
    assert_eq!(decide(&lab.state, &resume, lab.now).unwrap_err().code, "AST-D096");
    assert_eq!(lab.tick(), decided);
    assert_eq!(invariant::broken(&lab.state), []);
}

#[test]
fn it_names_what_is_to_end_and_no_more_than_it_was_told() {
    let mut lab = dialling();
    lab.tick();
    let flights = lab.in_flight();
    for (at, (attempt, node)) in flights.iter().enumerate() {
        let attempt = || attempt.clone();
        let facts = [
            Event::AttemptAccepted { attempt: attempt(), order_term: 1 },
            Event::AttemptOriginating { attempt: attempt(), boot_id: "boot".into() },
            Event::AttemptAnswered { attempt: attempt() },
        ];
        for fact in facts.into_iter().take(at) {
            lab.write(Origin::Node(node.clone()), fact);
        }
    }
    let named = |cancel_ringing, cut_calls| {
        let mut statuses: Vec<AttemptStatus> = endings(&lab.state, cancel_ringing, cut_calls)
            .into_values()
            .flat_map(|node| node.attempts)
            .map(|(_, status)| status)
            .collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(named(false, false), [Intended, Accepted]);
    assert_eq!(named(true, false), [Intended, Accepted, Originating]);
    assert_eq!(named(false, true), [Intended, Accepted, Answered, Answered]);
    // A stop that holds is widened, never narrowed.
    lab.dialer(&stop(true, false));
    assert_eq!(decide(&lab.state, &stop(true, false), lab.now), Ok(vec![]));
    assert_eq!(lab.dialer(&stop(false, true)).len(), 1);
    let held = lab.state.emergency.clone().unwrap();
    assert!(held.cancel_ringing && held.cut_calls);
}

#[test]
fn a_stop_or_resume_without_a_reason_is_refused() {
    let lab = dialling();
    for reason in [String::new(), " ".into(), "x".repeat(513)] {
        let stop = CampaignCommand::EmergencyStop {
            reason: reason.clone(),
            cancel_ringing: false,
            cut_calls: false,
        };
        for command in [stop, CampaignCommand::EmergencyResume { reason }] {
            assert_eq!(decide(&lab.state, &command, lab.now).unwrap_err().code, "AST-D095");
        }
    }
}

/// What a node that is cut off may still dial: nothing later than its window after the decision, however long the queue.
#[test]
fn no_attempt_may_start_later_than_its_window_after_the_decision() {
    for order_window_ms in [100, 1_000, 2_000, 9_000] {
        let mut lab = Lab::new();
        lab.campaign("c", 6, 1);
        lab.plan();
        lab.boot_all();
        let slow = asterism_domain::trunk::TrunkSettings { calls_per_second: 3, ..support::loopback() };
        lab.trunk("t", slow);
        let mut starts = 0;
        for _ in 0..100 {
            for event in lab.dialer(&tick(&lab, order_window_ms)) {
                let Event::AttemptIntended { not_before_ms, not_after_ms, .. } = event else { continue };
                let window = u64::from(order_window_ms.min(2_000));
                assert!(not_after_ms <= lab.now + window, "{not_after_ms} at {} of {window}", lab.now);
                assert!(not_after_ms - not_before_ms >= window / 2);
                starts += 1;
            }
            lab.now += 50;
        }
        assert_eq!(starts, 6, "at a window of {order_window_ms}");
    }
}

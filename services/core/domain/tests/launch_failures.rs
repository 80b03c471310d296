//! Launches that fail for good: the fleet tries one at a time, less and less often, and comes back with the first that
//! works.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::Event;
use asterism_domain::fleet::decide::decide;
use asterism_domain::fleet::{FleetCommand, LaunchOutcome};
use support::{Lab, hearing, launches};

const SECOND: u64 = 1_000;

fn tick(lab: &Lab) -> FleetCommand {
    FleetCommand::Tick { policy: support::policy(), hearing: hearing(&lab.ready()), inventory: None }
}

/// Four nodes are wanted.
fn hungry() -> Lab {
    let mut lab = Lab::new();
    lab.campaign("c", 12, 1);
    lab
}

/// The cloud refuses all it owes. How many those were.
fn refuse_all(lab: &mut Lab) -> usize {
    let owed: Vec<String> = lab.state.fleet.owed_launches().map(|(id, _)| id.clone()).collect();
    for intent in &owed {
        let (code, reason) = ("AST-C001".to_owned(), "no".to_owned());
        let outcome = LaunchOutcome::Failed { code, reason, is_final: true };
        lab.scaler(&FleetCommand::Launch { intent: intent.clone(), outcome });
    }
    owed.len()
}

/// Plans each second and has each launch refused: when, and how many.
fn refused_for(lab: &mut Lab, seconds: u64) -> Vec<(u64, usize)> {
    let begun = lab.now;
    let mut tried = Vec::new();
    for _ in 0..seconds {
        let planned = launches(&lab.plan());
        assert_eq!(refuse_all(lab), planned);
        if planned > 0 {
            tried.push(((lab.now - begun) / SECOND, planned));
        }
        lab.now += SECOND;
    }
    tried
}

#[test]
fn a_cloud_that_refuses_is_asked_for_one_ever_less_often_and_never_given_up() {
    let mut lab = hungry();
    let tried = refused_for(&mut lab, 1_300);
    assert_eq!(tried[..4], [(0, 4), (10, 1), (30, 1), (70, 1)]);
    assert_eq!(tried[4..], [(150, 1), (310, 1), (610, 1), (910, 1), (1_210, 1)], "five minutes at most");
    let said = &lab.state.fleet.last_plan;
    assert!(said.contains("the last 11 launches failed: one is tried"), "{said}");
    // One that is tried has no answer yet: nothing else is asked for, whatever the time.
    lab.now += 300 * SECOND;
    assert_eq!(launches(&lab.plan()), 1);
    lab.now += 3_600 * SECOND;
    assert_eq!(launches(&decide(&lab.state, &tick(&lab), lab.now).unwrap()), 0);
}

#[test]
fn the_first_that_comes_up_opens_the_fleet() {
    let mut lab = hungry();
    refused_for(&mut lab, 200);
    lab.now += 300 * SECOND;
    assert_eq!(launches(&lab.plan()), 1);
    lab.boot_all();
    assert_eq!(launches(&lab.plan()), 3, "all that are missing");
    // What failed before it counts no more.
    lab.boot_all();
    lab.now += SECOND;
    lab.campaign("more", 12, 1);
    for node in lab.ready().into_iter().take(2) {
        lab.lose(&node);
    }
    assert_eq!((launches(&lab.plan()), refuse_all(&mut lab)), (2, 2));
    assert_eq!(launches(&lab.plan()), 2, "two failures are no reason yet");
}

#[test]
fn a_node_that_never_gets_ready_is_a_launch_that_failed() {
    let mut lab = hungry();
    for round in 0..3 {
        let planned = launches(&lab.plan());
        assert_eq!(planned, if round == 0 { 4 } else { 1 }, "round {round}");
        let owed: Vec<String> = lab.state.fleet.owed_launches().map(|(id, _)| id.clone()).collect();
        for intent in owed {
            let outcome = LaunchOutcome::Launched { node: format!("i-{intent}") };
            lab.scaler(&FleetCommand::Launch { intent, outcome });
        }
        // Its deadline is a minute.
        lab.now += 61 * SECOND;
        let ends = |events: &[Event]| events.iter().any(|e| matches!(e, Event::NodeTerminating { .. }));
        let events = decide(&lab.state, &tick(&lab), lab.now).unwrap();
        assert!(ends(&events), "{events:?}");
        let nodes: Vec<String> = lab.state.fleet.existing().map(|(id, _)| id.clone()).collect();
        for node in &nodes {
            lab.lose(node);
        }
    }
}

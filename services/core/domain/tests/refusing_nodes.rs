//! Nodes that refuse the log: no checkpoint covers what they had to say, and they end all the same.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use asterism_domain::campaign::ContactStatus;
use asterism_domain::fleet::decide::decide;
use asterism_domain::fleet::{FleetCommand, NodeStatus, Uncovered};
use asterism_domain::{Event, Outcome, invariant};
use asterism_proto::{Origin, Role};
use support::{Lab, policy};

const KEPT: u64 = 300_000;

/// A fleet of two nodes with three calls on each; the first has refused the log and is drained.
fn one_refuses() -> (Lab, String) {
    let mut lab = Lab::new();
    lab.campaign("c", 9, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let node = lab.ready().into_iter().next().unwrap();
    let refused = Event::LogRefused {
        node: node.clone(),
        reason: "two roots of size 7".into(),
        size: 7,
        root: vec![1; 32],
        shown_size: 7,
        shown_root: vec![2; 32],
    };
    lab.node(&node, refused);
    lab.scaler(&FleetCommand::Drain { node: node.clone(), reason: "test".into() });
    (lab, node)
}

fn calls_end(lab: &mut Lab, node: &str) {
    for (attempt, home) in lab.in_flight() {
        if home == node {
            lab.end(&attempt, node, Outcome::Answered);
        }
    }
}

fn uncovered(node: &str) -> Event {
    Event::NodeUncovered { node: node.into(), drain: 1, from: 3, to: 9 }
}

fn checkpoint(lab: &mut Lab, size: u64) {
    lab.write(Origin::Role(Role::Ledger), Event::Checkpoint { size, root: vec![3; 32] });
}

/// What the plan ends, and the frames it names.
fn ends(lab: &Lab) -> Vec<(String, u64, u64)> {
    let hearing = support::hearing(&lab.ready());
    let tick = FleetCommand::Tick { policy: policy(), hearing, inventory: None };
    let events = decide(&lab.state, &tick, lab.now).unwrap();
    let ends = events.iter().filter_map(|event| match event {
        Event::NodeTerminating { node, uncovered_from, uncovered_to, .. } => {
            Some((node.clone(), *uncovered_from, *uncovered_to))
        }
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_node_that_refuses_the_log_is_an_incident_and_takes_no_more_calls() {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    lab.plan();
    lab.boot_all();
    let nodes: Vec<String> = lab.ready().into_iter().collect();
    let (reason, root) = ("two roots".to_owned(), vec![1; 32]);
    let said = Event::LogRefused {
        node: nodes[0].clone(),
        reason,
        size: 7,
        root: root.clone(),
        shown_size: 7,
        shown_root: root,
    };
    lab.node(&nodes[0], said.clone());
    assert_eq!(lab.state.incident_list[0].reason, format!("{} refuses the log: two roots", nodes[0]));
    assert!(lab.state.fleet.nodes[&nodes[0]].pbx_up, "its PBX is well, and that is not enough");
    let homes: Vec<String> = lab.tick().iter().filter_map(|event| event.node().cloned()).collect();
    assert_eq!(homes, vec![nodes[1].clone(); 3]);
    // Nobody else may say it.
    lab.node(&nodes[1], said);
    assert!(lab.state.incident_list[1].reason.starts_with("this origin may not write"));
}

#[test]
fn it_is_ended_once_this_log_covers_its_word_and_people_had_time_to_look() {
    let (mut lab, node) = one_refuses();
    calls_end(&mut lab, &node);
    lab.node(&node, uncovered(&node));
    let said = lab.state.size;
    assert!(!lab.state.fleet.nodes[&node].empty, "no checkpoint it believes covers it");
    lab.now += KEPT;
    checkpoint(&mut lab, said - 1);
    assert_eq!(ends(&lab), [], "no checkpoint of this log covers its last word");
    checkpoint(&mut lab, said);
    lab.now -= 1;
    assert_eq!(ends(&lab), [], "it is kept for people to look at");
    lab.now += 1;
    assert_eq!(ends(&lab), [(node.clone(), 3, 9)]);
    let events = lab.plan();
    let reason = events.iter().find_map(|event| match event {
        Event::NodeTerminating { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert!(reason.unwrap().contains("its frames 3 to 9"), "{reason:?}");
    assert_eq!(lab.state.fleet.nodes[&node].status, NodeStatus::Terminating);
    assert_eq!((ends(&lab), lab.state.voids), (vec![], 0), "once");
}

#[test]
fn it_is_not_ended_while_it_may_hold_a_call() {
    let (mut lab, node) = one_refuses();
    // Its orders are unanswered: it may have taken them.
    lab.node(&node, uncovered(&node));
    let size = lab.state.size;
    checkpoint(&mut lab, size);
    lab.now += KEPT;
    assert_eq!(lab.state.fleet.nodes[&node].attempts.len(), 3);
    assert_eq!(ends(&lab), []);
    calls_end(&mut lab, &node);
    assert_eq!(ends(&lab), [(node, 3, 9)]);
}

#[test]
fn the_decision_is_judged_again_where_it_lands() {
    let (mut lab, node) = one_refuses();
    calls_end(&mut lab, &node);
    let end = |from, to| Event::NodeTerminating {
        node: node.clone(),
        reason: String::new(),
        cuts: vec![],
        silent_since_ms: 0,
        uncovered_from: from,
        uncovered_to: to,
    };
    let scaler = Origin::Role(Role::Scaler);
    let told = |lab: &mut Lab, event| {
        lab.write(scaler.clone(), event);
        lab.state.fleet.nodes[&node].status == NodeStatus::Terminating
    };
    assert!(!told(&mut lab, end(3, 9)), "it has not said that it is empty");
    lab.node(&node, uncovered(&node));
    assert!(!told(&mut lab, end(3, 8)) && !told(&mut lab, end(0, 0)), "these are not its frames");
    lab.scaler(&FleetCommand::Undrain { node: node.clone(), reason: "look".into() });
    lab.scaler(&FleetCommand::Drain { node: node.clone(), reason: "go".into() });
    assert!(!told(&mut lab, end(3, 9)), "it said so in another drain");
    lab.node(&node, uncovered(&node));
    assert!(!told(&mut lab, end(3, 9)), "the word of a drain that is over says nothing");
    lab.node(&node, Event::NodeUncovered { node: node.clone(), drain: 2, from: 3, to: 11 });
    let known = &lab.state.fleet.nodes[&node];
    let (position, at) = (lab.state.size - 1, lab.now);
    assert_eq!(known.uncovered, Some(Uncovered { from: 3, to: 11, position, at }));
    assert!(told(&mut lab, end(3, 11)));
}

/// Only frames that were lost can lead here: a node says that it is empty behind the ends of all its calls.
#[test]
fn a_call_whose_end_was_lost_is_uncertain_once_its_node_says_it_holds_none() {
    for said in ["NodeEmpty", "NodeUncovered"] {
        let (mut lab, node) = one_refuses();
        let held: Vec<_> = lab.in_flight().into_iter().filter(|(_, home)| *home == node).collect();
        let lost = held[0].0.clone();
        lab.node(&node, Event::AttemptAccepted { attempt: lost.clone(), order_term: 1 });
        let empty = Event::NodeEmpty { node: node.clone(), drain: 1 };
        lab.node(&node, if said == "NodeEmpty" { empty } else { uncovered(&node) });
        let campaign = &lab.state.campaigns["c"];
        assert_eq!(campaign.counts.uncertain, 1);
        assert_eq!(campaign.contacts[lost.contact as usize].status, ContactStatus::Uncertain);
        // The other two are orders it has not answered: it will refuse them.
        assert_eq!(lab.state.fleet.nodes[&node].attempts.len(), 2);
        assert_eq!(invariant::broken(&lab.state), []);
    }
}

//! Where launches are asked for: one request is one token, and a token is one request.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::Event;
use asterism_domain::fleet::decide::decide;
use asterism_domain::fleet::{FleetCommand, IntentStatus, LaunchOutcome, Place};
use asterism_proto::{Origin, Role};
use support::Lab;

fn lab() -> (Lab, Vec<String>) {
    let mut lab = Lab::new();
    lab.campaign("c", 9, 1);
    lab.plan();
    let intents: Vec<String> = lab.state.fleet.owed_launches().map(|(id, _)| id.clone()).collect();
    assert_eq!(intents.len(), 3);
    (lab, intents)
}

fn place(intents: &[String], subnet: &str) -> FleetCommand {
    let place = Place { instance_type: "small".into(), subnet: subnet.into(), market: "on-demand".into() };
    FleetCommand::Place { intents: intents.to_vec(), place, reason: String::new() }
}

fn launched(intents: &[String]) -> FleetCommand {
    let outcome = |intent: &String| LaunchOutcome::Launched { node: format!("i-{intent}") };
    FleetCommand::Launches { outcomes: intents.iter().map(|id| (id.clone(), outcome(id))).collect() }
}

fn group(lab: &Lab, intent: &str) -> String {
    lab.state.fleet.intents[intent].placed.as_ref().unwrap().group.clone()
}

#[test]
fn what_a_request_did_not_get_is_asked_for_elsewhere_by_another_token() {
    let (mut lab, intents) = lab();
    lab.scaler(&place(&intents, "one"));
    let first = group(&lab, &intents[0]);
    assert!(first.len() <= 64 && intents.iter().all(|id| group(&lab, id) == first));
    lab.scaler(&launched(&intents[..1]));
    lab.scaler(&place(&intents[1..], "two"));
    let placed = lab.state.fleet.intents[&intents[1]].placed.clone().unwrap();
    assert_eq!((placed.count, placed.place.subnet.as_str()), (2, "two"));
    assert_eq!(group(&lab, &intents[0]), first, "what is answered stays where it is");
    assert_ne!(placed.group, first);
    lab.scaler(&launched(&intents[1..]));
    let nodes: BTreeSet<&String> = lab.state.fleet.nodes.values().map(|node| &node.intent).collect();
    assert_eq!((nodes.len(), lab.state.voids), (3, 0));
}

#[test]
fn nothing_is_placed_that_is_answered_or_when_the_fleet_is_to_go() {
    let (mut lab, intents) = lab();
    lab.scaler(&place(&intents[..2], "one"));
    lab.scaler(&launched(&intents[..1]));
    let refused = |lab: &Lab, command: &FleetCommand| decide(&lab.state, command, lab.now).unwrap_err().code;
    assert_eq!(refused(&lab, &place(&intents, "two")), "AST-S062");
    assert_eq!(refused(&lab, &place(&[], "two")), "AST-S062");
    assert_eq!(refused(&lab, &place(&["none".to_owned()], "two")), "AST-S062");

    // A decision that lands behind another is judged again: none of it takes effect, and no token is used twice.
    let again = |group: &str, intents: &[String]| Event::LaunchPlaced {
        group: group.to_owned(),
        intents: intents.to_vec(),
        instance_type: "small".into(),
        subnet: "two".into(),
        market: "spot".into(),
        reason: String::new(),
    };
    let before = lab.state.fleet.intents.clone();
    lab.write(Origin::Role(Role::Scaler), again("new", &intents));
    let used = group(&lab, &intents[1]);
    lab.write(Origin::Role(Role::Scaler), again(&used, &intents[2..]));
    lab.scaler(&FleetCommand::Stop { reason: String::new() });
    assert_eq!(refused(&lab, &place(&intents[1..], "two")), "AST-S061");
    lab.write(Origin::Role(Role::Scaler), again("newer", &intents[1..]));
    assert_eq!((lab.state.voids, &lab.state.fleet.intents), (3, &before));
    assert_eq!(before[&intents[2]].status, IntentStatus::Requested);
}

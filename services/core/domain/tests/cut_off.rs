//! A node its cloud takes away, and a scaler that is cut off from cloud and bus for two hours (rows 21 and 23 of the fault
//! table in `services/scaler/tests/fault_rows.rs`).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::fleet::{FleetCommand, Heard, Hearing, LEAVING_MS};
use asterism_domain::{Event, Outcome};
use support::{Lab, drained, launches, policy};

/// A fleet of two nodes with three calls up on each, and a campaign that wants no more.
fn two_busy_nodes() -> (Lab, BTreeSet<String>) {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    lab.plan();
    lab.boot_all();
    assert_eq!(lab.tick().len(), 6);
    let nodes = lab.ready();
    assert_eq!(nodes.len(), 2);
    (lab, nodes)
}

fn tick(hearing: Hearing) -> FleetCommand {
    FleetCommand::Tick { policy: policy(), hearing, inventory: None }
}

#[test]
fn a_node_its_cloud_takes_away_is_drained_and_replaced_at_once() {
    let (mut lab, nodes) = two_busy_nodes();
    let leaving = nodes.first().unwrap().as_str();
    let mut hearing = support::hearing(&nodes);
    // A scaler that has just begun to listen believes it too: it is no silence.
    hearing.listening_ms = 0;
    hearing.nodes.insert(leaving.to_owned(), Heard { silent_ms: 0, closed_ms: Some(LEAVING_MS) });
    let events = lab.scaler(&tick(hearing.clone()));
    assert_eq!((launches(&events), drained(&events)), (1, vec![leaving]), "{events:?}");
    let says_why = |event: &Event| matches!(event, Event::NodeDraining { reason, .. } if reason.contains("takes it away"));
    assert!(events.iter().any(says_why), "{events:?}");
    assert_eq!(lab.scaler(&tick(hearing)), [], "planned once, and not opened again");
    assert_eq!(lab.state.fleet.nodes[leaving].attempts.len(), 3, "its calls go on while it is there");
}

#[test]
fn two_hours_without_the_cloud_and_the_bus_end_nobody_and_start_nobody() {
    let (mut lab, nodes) = two_busy_nodes();
    for _ in 0..2 * 60 * 2 {
        lab.now += 30_000;
        assert_eq!(lab.scaler(&tick(Hearing::default())), []);
    }
    let held = |id: &String| lab.state.fleet.nodes[id].attempts.len();
    assert_eq!((nodes.iter().map(held).collect::<Vec<_>>(), lab.state.in_flight), (vec![3, 3], 6));
    // The nodes' word comes late, and counts.
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Answered);
    }
    assert_eq!(lab.state.campaigns["c"].counts.uncertain, 0);
    let events = lab.scaler(&tick(support::hearing(&nodes)));
    assert_eq!(drained(&events).len(), 2, "now they are known to be idle: {events:?}");
}

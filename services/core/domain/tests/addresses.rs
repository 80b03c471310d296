//! Public addresses that carriers know: each node gets one of the pool before it dials, there are no more nodes than
//! addresses, and an address goes to the next node only when the cloud has it back.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::Event;
use asterism_domain::fleet::decide::decide;
use asterism_domain::fleet::{AddressPool, AddressStatus, FleetCommand, FleetPolicy, Hearing, NodeStatus};
use asterism_proto::{Origin, Role};
use support::{Lab, hearing, launches};

const TWO: [&str; 2] = ["203.0.113.7", "203.0.113.8"];

fn policy(addresses: &[&str]) -> FleetPolicy {
    let pool =
        AddressPool { name: "carrier".into(), addresses: addresses.iter().map(|&a| a.into()).collect() };
    FleetPolicy { addresses: Some(pool), ..support::policy() }
}

fn plan(lab: &mut Lab, policy: &FleetPolicy) -> Vec<Event> {
    let mut hearing = hearing(&lab.ready());
    // Every node's PBX shows the address the cloud has given it.
    let given = lab.state.fleet.addressed().filter(|(.., held)| held.status > AddressStatus::Intended);
    hearing.addresses = given.map(|(id, _, held)| (id.clone(), held.address.clone())).collect();
    lab.scaler(&FleetCommand::Tick { policy: policy.clone(), hearing, inventory: None })
}

/// What the cloud owes is given, or taken back.
fn cloud_answers(lab: &mut Lab) {
    let fleet = &lab.state.fleet;
    let pair = |(node, address): (&String, &str)| (node.clone(), address.to_owned());
    let given: Vec<_> = fleet.owed_addresses().map(pair).collect();
    let back: Vec<_> = fleet.owed_releases().map(pair).collect();
    for (node, address) in given {
        lab.scaler(&FleetCommand::Addressed { node, address });
    }
    for (node, address) in back {
        lab.scaler(&FleetCommand::Unaddressed { node, address });
    }
}

/// Heartbeats of every node that name this address.
fn hearing_of(lab: &Lab, address: &str) -> Hearing {
    let addresses = lab.ready().into_iter().map(|node| (node, address.to_owned())).collect();
    Hearing { addresses, ..hearing(&lab.ready()) }
}

fn held(lab: &Lab) -> Vec<&str> {
    lab.state.fleet.addressed().map(|(.., held)| held.address.as_str()).collect()
}

#[test]
fn the_pool_caps_the_fleet_and_the_plan_says_so() {
    let mut lab = Lab::new();
    lab.campaign("c", 12, 1);
    let events = plan(&mut lab, &policy(&TWO));
    assert_eq!(launches(&events), 2, "four nodes are wanted, and there are two addresses");
    let why = "4 nodes would be wanted: the pool carrier has 2 addresses, and a node without one reaches no carrier";
    // The plan that makes the pool known says it from the next one on.
    lab.boot_all();
    let events = plan(&mut lab, &policy(&TWO));
    assert_eq!(launches(&events), 0);
    assert!(lab.state.fleet.last_plan.contains(why), "{}", lab.state.fleet.last_plan);

    // Whoever decides it, a launch beyond the pool is void where it lands.
    let (reason, instance_type) = (String::new(), "small".into());
    lab.write(
        Origin::Role(Role::Scaler),
        Event::LaunchIntended { intent: "beyond".into(), reason, instance_type },
    );
    assert_eq!(lab.state.voids, 1);
    assert!(!lab.state.fleet.intents.contains_key("beyond"));
}

#[test]
fn no_call_goes_to_a_node_before_it_has_its_address() {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    plan(&mut lab, &policy(&TWO));
    lab.boot_all();
    assert_eq!(lab.tick(), [], "both are ready, and neither has an address");
    plan(&mut lab, &policy(&TWO));
    assert_eq!(held(&lab), TWO, "one each");
    assert_eq!(lab.tick(), [], "promised is not given");
    cloud_answers(&mut lab);
    assert_eq!(lab.tick(), [], "what the cloud says, no PBX shows yet");
    let strange = hearing_of(&lab, "198.51.100.1");
    assert_eq!(
        lab.scaler(&FleetCommand::Tick { policy: policy(&TWO), hearing: strange, inventory: None }),
        []
    );
    plan(&mut lab, &policy(&TWO));
    lab.tick();
    assert_eq!(lab.in_flight().len(), 6);
    assert_eq!(plan(&mut lab, &policy(&TWO)), [], "planning twice changes nothing");
}

#[test]
fn an_address_is_free_again_only_when_the_cloud_has_it_back() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    let one = policy(&TWO[..1]);
    plan(&mut lab, &one);
    lab.boot_all();
    plan(&mut lab, &one);
    cloud_answers(&mut lab);
    let first = lab.ready().pop_first().unwrap();
    // The machine breaks; the next one is launched and waits for the address.
    lab.lose_with(&first, &one);
    lab.now += 1_000;
    plan(&mut lab, &one);
    lab.boot_all();
    plan(&mut lab, &one);
    assert_eq!(lab.state.fleet.owed_addresses().count(), 0, "the lost node's is not back yet");
    assert_eq!(held(&lab), [TWO[0]]);
    cloud_answers(&mut lab);
    assert_eq!(lab.state.fleet.nodes[&first].address.as_ref().unwrap().status, AddressStatus::Released);
    plan(&mut lab, &one);
    assert_eq!(lab.state.fleet.owed_addresses().count(), 1);
    cloud_answers(&mut lab);
    plan(&mut lab, &one);
    lab.tick();
    assert!(!lab.in_flight().is_empty());
}

#[test]
fn an_address_is_on_one_node_at_most_whatever_is_decided() {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    plan(&mut lab, &policy(&TWO));
    lab.boot_all();
    plan(&mut lab, &policy(&TWO));
    let nodes: Vec<String> = lab.ready().into_iter().collect();
    let scaler = Origin::Role(Role::Scaler);
    let before = lab.state.fleet.clone();
    let (pool, taken, strange) = ("carrier".to_owned(), TWO[0].to_owned(), "198.51.100.1".to_owned());
    for event in [
        Event::AddressIntended { node: nodes[1].clone(), address: taken.clone(), pool: pool.clone() },
        Event::AddressIntended { node: nodes[1].clone(), address: strange.clone(), pool },
        Event::AddressAssociated { node: nodes[0].clone(), address: strange },
        Event::AddressReleased { node: nodes[0].clone(), address: taken },
    ] {
        lab.write(scaler.clone(), event);
    }
    assert_eq!((lab.state.voids, &lab.state.fleet), (4, &before));
    // A repeated answer says nothing new.
    let answer = FleetCommand::Addressed { node: nodes[0].clone(), address: TWO[0].into() };
    assert_eq!(decide(&lab.state, &answer, lab.now).unwrap().len(), 1);
    lab.scaler(&answer);
    assert_eq!(decide(&lab.state, &answer, lab.now).unwrap(), []);
}

#[test]
fn nodes_that_are_there_get_theirs_too_and_a_pool_that_goes_asks_for_none() {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    lab.plan();
    lab.boot_all();
    let nodes: BTreeSet<String> = lab.ready();
    plan(&mut lab, &policy(&TWO));
    assert_eq!(lab.tick(), [], "carriers take calls from the pool only");
    plan(&mut lab, &policy(&TWO));
    cloud_answers(&mut lab);
    plan(&mut lab, &policy(&TWO));
    assert_eq!(held(&lab).len(), nodes.len());
    lab.plan();
    assert_eq!(lab.state.fleet.addresses, None);
    lab.tick();
    assert_eq!(lab.in_flight().len(), 6);
    assert!(lab.state.fleet.nodes.values().all(|node| node.status == NodeStatus::Ready));
}

#[test]
fn a_node_that_never_gets_its_address_is_replaced() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    let one = policy(&TWO[..1]);
    plan(&mut lab, &one);
    lab.boot_all();
    plan(&mut lab, &one);
    lab.now += one.not_ready_grace_ms + 1;
    plan(&mut lab, &one);
    let node = lab.state.fleet.nodes.values().next().unwrap();
    assert_eq!(node.status, NodeStatus::Draining);
}

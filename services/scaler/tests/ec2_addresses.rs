//! Carriers that authenticate by address: a pool of Elastic IPs on an EC2 that is slow, busy and forgetful.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::State;
use asterism_domain::fleet::{AddressPool, AddressStatus, FleetPolicy, Node as FleetNode, NodeStatus};
use asterism_ec2_proxy::Fault;
use support::node::Node;
use support::sky::{Sky, count};
use support::{Rig, config, eventually};

const ON_DEMAND: &str = "on-demand";

fn pooled(addresses: &[String]) -> FleetPolicy {
    let pool = AddressPool { name: "carrier".into(), addresses: addresses.iter().cloned().collect() };
    FleetPolicy { max_nodes: 6, addresses: Some(pool), not_ready_grace_ms: 30_000, ..config().policy }
}

/// Nodes whose address the cloud has given them.
fn given(state: &State) -> usize {
    state.fleet.addressed().filter(|(.., held)| held.status >= AddressStatus::Associated).count()
}

#[tokio::test]
async fn each_node_has_its_address_before_it_dials_and_the_pool_caps_the_fleet() {
    let test = "each_node_has_its_address_before_it_dials_and_the_pool_caps_the_fleet";
    let Some(mut sky) = Sky::start(test) else { return };
    let mut rig = Rig::start().await;
    let addresses = [sky.allocate(), sky.allocate()];
    // Instances are pending for a while, and EC2 gives a pending one no address.
    sky.proxy.script(|script| {
        script.pending_ms = 1_000;
        script.plan("AssociateAddress", 1, 1, Fault::Error(503, "RequestLimitExceeded"));
    });
    let scaler = rig.scaler("one", sky.config(pooled(&addresses), &[ON_DEMAND]), sky.cloud(500).await).await;
    rig.campaign("c", 8).await;
    let nodes = sky.boot(&rig, 2).await;
    rig.until("both are ready", |state| count(state, NodeStatus::Ready) == 2).await;
    rig.until("both have an address", |state| given(state) == 2).await;
    rig.dial().await;
    rig.log().read(|state| assert_eq!(state.in_flight, 0, "no PBX shows its address yet"));
    // One names the other's: that is not its own.
    let of = |node: &Node| addresses.iter().find(|address| sky.owner(address) == node.id).unwrap().clone();
    nodes[0].show(&of(&nodes[1]));
    nodes[1].show(&of(&nodes[1]));
    rig.until("one shows its own", |state| state.fleet.nodes[&nodes[1].id].is_addressed()).await;
    rig.log().read(|state| assert!(!state.fleet.nodes[&nodes[0].id].is_addressed()));
    nodes[0].show(&of(&nodes[0]));
    rig.until("both do", |state| state.fleet.nodes.values().all(FleetNode::is_addressed)).await;
    assert!(sky.proxy.hits("address of a pending instance") > 0, "{:?}", sky.proxy.record().hits);
    let owners: BTreeSet<String> = addresses.iter().map(|address| sky.owner(address)).collect();
    assert_eq!(owners, nodes.iter().map(|node| node.id.clone()).collect(), "one each, by moto's own listing");
    rig.until("the plan says what caps it", |state| {
        state.fleet.last_plan.contains("4 nodes would be wanted: the pool carrier has 2 addresses")
    })
    .await;
    rig.log().read(|state| assert_eq!(state.fleet.intents.len(), 2));
    rig.dial().await;
    rig.log().read(|state| assert_eq!(state.in_flight, 4));

    // The machines break, with their calls: the addresses go to their successors, behind their ends.
    let lost: BTreeSet<String> = nodes.iter().map(|node| node.id.clone()).collect();
    for id in &lost {
        sky.moto.ask(&format!("Action=TerminateInstances&InstanceId.1={id}"));
    }
    rig.until("they are lost", |state| count(state, NodeStatus::Lost) == 2).await;
    drop(nodes);
    rig.pause("c").await;
    rig.campaign("d", 8).await;
    let _successors = sky.boot(&rig, 2).await;
    rig.until("their addresses are others'", |state| {
        let back = |id: &String| state.fleet.nodes[id].address.as_ref().map(|held| held.status);
        given(state) == 2 && lost.iter().all(|id| back(id) == Some(AddressStatus::Released))
    })
    .await;
    let owners: BTreeSet<String> = addresses.iter().map(|address| sky.owner(address)).collect();
    assert!(owners.len() == 2 && owners.is_disjoint(&lost), "{owners:?}");
    sky.ends_with(&rig, 2).await;
    assert!(addresses.iter().all(|address| sky.owner(address).is_empty()));
    scaler.stop().await;
}

#[tokio::test]
async fn what_another_machine_has_is_taken_from_nobody_and_told() {
    let Some(sky) = Sky::start("what_another_machine_has_is_taken_from_nobody_and_told") else { return };
    let mut rig = Rig::start().await;
    let address = sky.allocate();
    let other = sky.moto.ask(&format!(
        "Action=RunInstances&ImageId={}&InstanceType=t3.micro&MinCount=1&MaxCount=1",
        support::sky::IMAGE
    ));
    let other = other.items("instancesSet").next().unwrap().at(&["instanceId"]).to_owned();
    let allocation = sky.moto.addresses()[0].at(&["allocationId"]).to_owned();
    sky.moto.ask(&format!("Action=AssociateAddress&InstanceId={other}&AllocationId={allocation}"));
    let policy = pooled(std::slice::from_ref(&address));
    let scaler = rig.scaler("one", sky.config(policy, &[ON_DEMAND]), sky.cloud(500).await).await;
    rig.campaign("c", 2).await;
    eventually("it was asked for", || scaler.counters.address_failures.get() >= 2).await;
    let told = rig.command("fleet.list", "").await;
    let told: serde_json::Value = serde_json::from_slice(&told.json).unwrap();
    let trouble = &told["troubles"][0];
    assert_eq!((&trouble["call"], &trouble["code"]), (&"giving addresses".into(), &"AST-S090".into()));
    assert!(trouble["why"].as_str().unwrap().contains(&format!("{other} has it")), "{trouble}");
    assert_eq!(sky.owner(&address), other);

    // Its owner gives it back: nobody has to tell the scaler.
    sky.moto.ask(&format!("Action=TerminateInstances&InstanceId.1={other}"));
    let association = sky.moto.addresses()[0].at(&["associationId"]).to_owned();
    sky.moto.ask(&format!("Action=DisassociateAddress&AssociationId={association}"));
    rig.until("the node has it", |state| given(state) == 1).await;
    sky.ends_with(&rig, 1).await;
    scaler.stop().await;
}

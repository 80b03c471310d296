//! Nodes that cannot take calls, that nobody hears, that the cloud does not list, and a budget that runs out: nothing
//! bills for ever, and no call is cut that the log does not name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::fleet::{FleetPolicy, NodeStatus};
use asterism_domain::invariant;
use asterism_scaler::ScalerConfig;
use support::cloud::FakeCloud;
use support::node::{Node, boot};
use support::{Rig, config, eventually, with_status, within};

/// Little patience with silence, beside what the test is about.
fn impatient() -> FleetPolicy {
    FleetPolicy { dead_after_ms: 2_000, ..config().policy }
}

fn with(policy: FleetPolicy) -> ScalerConfig {
    ScalerConfig { policy, ..config() }
}

fn sound(rig: &Rig) {
    rig.log().read(|state| {
        assert_eq!((state.voids, state.incidents), (0, 0), "{:?}", state.incident_list);
        assert_eq!(invariant::broken(state), []);
    });
}

#[tokio::test]
async fn a_node_that_cannot_take_calls_is_drained_and_replaced() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let _scaler = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 4).await;
    let nodes = boot(&rig, &mut starts, 2).await;
    rig.until("two nodes are ready", |state| with_status(state, NodeStatus::Ready).len() == 2).await;

    nodes[0].close(true);
    let more = boot(&rig, &mut starts, 1).await;
    rig.until("it has ended, two others are ready", |state| {
        with_status(state, NodeStatus::Terminated) == [nodes[0].id.as_str()]
            && with_status(state, NodeStatus::Ready).len() == 2
    })
    .await;
    assert!(rig.nodes(NodeStatus::Ready).contains(&more[0].id));
    assert_eq!((cloud.instances().len(), cloud.terminated()), (3, vec![nodes[0].id.clone()]));
    sound(&rig);
}

#[tokio::test]
async fn a_node_nobody_hears_is_replaced_and_one_day_ended_with_its_calls_named() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let policy = FleetPolicy { unreachable_terminate_after_ms: 5_000, ..impatient() };
    let _scaler = rig.scaler("one", with(policy), Arc::new(cloud.clone())).await;
    rig.campaign("c", 4).await;
    let nodes = boot(&rig, &mut starts, 2).await;
    let held = |state: &asterism_domain::State| state.fleet.nodes.values().all(|n| !n.manifests.is_empty());
    rig.until("two nodes are ready", |state| with_status(state, NodeStatus::Ready).len() == 2 && held(state))
        .await;
    rig.dial().await;
    rig.log().read(|state| assert_eq!(state.in_flight, 4));

    nodes[1].silence(true);
    let silent = nodes[1].id.clone();
    let _more = boot(&rig, &mut starts, 1).await;
    rig.until("it is replaced", |state| with_status(state, NodeStatus::Ready).len() == 3).await;
    rig.log().read(|state| {
        let node = &state.fleet.nodes[&silent];
        assert_eq!((node.status, node.attempts.len(), node.drain), (NodeStatus::Ready, 2, 0), "left alone");
    });
    assert!(cloud.terminated().is_empty());

    rig.until("it has ended", |state| with_status(state, NodeStatus::Terminated) == [silent.as_str()]).await;
    assert_eq!(cloud.terminated(), [silent.as_str()]);
    rig.log().read(|state| {
        let node = &state.fleet.nodes[&silent];
        assert_eq!((node.cut.len(), node.attempts.len()), (2, 0));
        assert!(node.terminating_at.unwrap() - node.heard_at > 5_000);
        assert_eq!((state.campaigns["c"].counts.uncertain, state.in_flight), (2, 2));
    });
    sound(&rig);
}

#[tokio::test]
async fn a_silent_node_that_is_back_in_time_is_used_again() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let policy = FleetPolicy { max_nodes: 1, ..impatient() };
    let scaler = rig.scaler("one", with(policy), Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let (instance, request) = within("a launch", starts.recv()).await.unwrap();
    let node = Node::start(&rig, &instance, &request).await;
    rig.until("it is ready", |state| with_status(state, NodeStatus::Ready).len() == 1).await;
    let stale = Duration::from_millis(impatient().dead_after_ms + 500);
    let heartbeats =
        asterism_runtime::heartbeat::Heartbeats::follow(&rig.deps.bus, support::FLEET, stale).await.unwrap();
    eventually("it is heard of", || heartbeats.is_fresh(&node.id)).await;
    node.silence(true);
    eventually("it counts as dead", || !heartbeats.is_fresh(&node.id)).await;
    assert_eq!(cloud.instances().len(), 1, "the cap on nodes holds");
    node.silence(false);
    eventually("it is heard of again", || heartbeats.is_fresh(&node.id)).await;
    rig.pause("c").await;
    rig.until("it is drained as any other", |state| with_status(state, NodeStatus::Terminated).len() == 1)
        .await;
    assert_eq!(node.orders.lock().unwrap().len(), 1);
    assert_eq!(cloud.launches(), 1);
    scaler.stop().await;
    sound(&rig);
}

#[tokio::test]
async fn what_the_cloud_lists_no_more_has_ended_unless_somebody_hears_of_it() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let scaler = rig.scaler("one", with(impatient()), Arc::new(cloud.clone())).await;
    rig.campaign("c", 4).await;
    let nodes = boot(&rig, &mut starts, 2).await;
    rig.until("two nodes are ready", |state| with_status(state, NodeStatus::Ready).len() == 2).await;
    for node in &nodes {
        cloud.hide(&node.id, true);
    }
    nodes[0].silence(true);
    rig.until("the silent one is lost", |state| {
        with_status(state, NodeStatus::Lost) == [nodes[0].id.as_str()]
    })
    .await;
    assert_eq!(rig.nodes(NodeStatus::Ready), [nodes[1].id.as_str()], "the other one speaks: it is there");

    // Told to end, the machine ends late and is forgotten at once.
    cloud.ends_never();
    rig.command("fleet.stop", r#"{"reason":"done"}"#).await;
    rig.until("the end of the other is confirmed", |state| {
        let ending = with_status(state, NodeStatus::Terminating);
        if ending.contains(&nodes[1].id) {
            nodes[1].silence(true);
        }
        with_status(state, NodeStatus::Terminated).contains(&nodes[1].id)
    })
    .await;
    rig.log().read(|state| {
        let node = &state.fleet.nodes[&nodes[1].id];
        assert!(node.ended_at.unwrap() - node.terminating_at.unwrap() >= config().policy.gone_after_ms);
    });
    scaler.stop().await;
    sound(&rig);
}

#[tokio::test]
async fn a_budget_that_runs_out_sends_the_fleet_home_and_says_so() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    // A node costs a micro-dollar a millisecond; a drain may take two seconds.
    let policy = FleetPolicy {
        price_micro_usd_per_hour: 3_600_000,
        budget_micro_usd: 6_000,
        budget_reserve_ms: 2_000,
        ..impatient()
    };
    let scaler = rig.scaler("one", with(policy), Arc::new(cloud.clone())).await;
    rig.campaign("c", 40).await;
    let _node = boot(&rig, &mut starts, 1).await;
    rig.until("the fleet is drained and ends", |state| {
        state.fleet.budget_drained == 6_000 && state.fleet.existing().count() == 0
    })
    .await;
    assert_eq!(cloud.instances().len(), 1, "the budget carries one node for twice its drain");
    let list = rig.command("fleet.list", "").await;
    let list: serde_json::Value = serde_json::from_slice(&list.json).unwrap();
    let (plan, spent) = (list["last_plan"].as_str().unwrap(), list["cost_micro_usd"].as_u64().unwrap());
    assert!(plan.contains("of the budget of 6000 micro-dollars are spent"), "{plan}");
    assert!((4_000..=6_000).contains(&spent), "{spent}");
    rig.log().read(|state| {
        assert_eq!(state.campaigns["c"].counts.waiting, 40);
        assert!(!state.fleet.stop_requested, "a larger budget opens it again");
    });
    scaler.stop().await;
    sound(&rig);
}

//! The scaler over a real nats-server and log: nodes come and go as the log says, one instance per launch intent
//! whatever gets lost, and nobody is ended by mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::fleet::{IntentStatus, NodeStatus};
use asterism_domain::{invariant, report};
use asterism_nats::Subject;
use asterism_proto::v1::{Registration, TimeReply};
use asterism_runtime::leader::now_ms;
use asterism_scaler::ScalerConfig;
use asterism_scaler::cloud::InstanceState;
use prost::Message as _;
use support::cloud::{FakeCloud, Fault};
use support::node::{boot, register};
use support::{PATIENCE, Rig, config, eventually, with_status, within};

fn all_ended(cloud: &FakeCloud) -> bool {
    cloud.instances().iter().all(|instance| instance.state == InstanceState::Terminated)
}

#[tokio::test]
async fn a_campaign_brings_nodes_and_a_stop_sends_them_home() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let scaler = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 5).await;
    let nodes = boot(&rig, &mut starts, 3).await;
    rig.until("three nodes are ready", |state| with_status(state, NodeStatus::Ready).len() == 3).await;

    let list = rig.command("fleet.list", "").await;
    let list: serde_json::Value = serde_json::from_slice(&list.json).unwrap();
    assert_eq!(list["nodes"].as_array().unwrap().len(), 3, "{list}");
    assert_eq!((&list["peak_nodes"], &list["stop_requested"]), (&3.into(), &false.into()));

    let stopped = rig.command("fleet.stop", r#"{"reason":"done"}"#).await;
    assert_eq!(stopped.code, "", "{}", stopped.reason);
    rig.until("all have ended", |state| with_status(state, NodeStatus::Terminated).len() == 3).await;
    assert!(all_ended(&cloud) && cloud.instances().len() == 3);
    for node in &nodes {
        let orders = node.orders.lock().unwrap();
        assert!(
            orders.iter().all(|order| order.drain == 1 && !order.undrain && order.term == 1),
            "{orders:?}"
        );
        assert!(!orders.is_empty());
    }
    rig.log().read(|state| {
        assert_eq!((state.voids, state.incidents), (0, 0), "{:?}", state.incident_list);
        assert_eq!(invariant::broken(state), []);
        assert!(report::nodes(state, state.at).iter().all(|node| node.status == NodeStatus::Terminated));
    });
    scaler.stop().await;
}

#[tokio::test]
async fn a_scaler_killed_before_the_answer_starts_no_second_instance() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    cloud.fail_next(&[Fault::NoAnswer]);
    let first = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let (instance, request) = within("a launch", starts.recv()).await.unwrap();
    rig.until("the intent is in the log", |state| state.fleet.owed_launches().count() == 1).await;
    drop(first);

    let second = rig.scaler("two", config(), Arc::new(cloud.clone())).await;
    rig.until("the node is in the log", |state| state.fleet.nodes.contains_key(&instance.instance_id)).await;
    assert_eq!(cloud.instances().len(), 1);
    let requests = cloud.requests_of(&request.intent_id);
    assert!(requests.iter().all(|again| *again == request), "the same intent is the same request");
    rig.log().read(|state| {
        let status = &state.fleet.intents[&request.intent_id].status;
        assert_eq!(*status, IntentStatus::Launched(instance.instance_id.clone()));
        assert_eq!(state.terms["scaler"], 2);
    });
    let node = support::node::Node::start(&rig, &instance, &request).await;
    rig.until("it is admitted by the second scaler", |state| {
        with_status(state, NodeStatus::Ready) == [node.id.as_str()]
    })
    .await;
    second.stop().await;
}

#[tokio::test]
async fn a_lost_answer_is_found_and_a_refusal_for_good_ends_the_intent() {
    let mut rig = Rig::start().await;
    let (cloud, _starts) = FakeCloud::new();
    cloud.fail_next(&[Fault::AnswerLost, Fault::Refused]);
    let policy = asterism_domain::fleet::FleetPolicy { max_nodes: 2, ..config().policy };
    let scaler = rig.scaler("one", ScalerConfig { policy, ..config() }, Arc::new(cloud.clone())).await;
    rig.campaign("c", 4).await;
    rig.until("both intents are answered, the refused one is planned anew", |state| {
        let failed = state.fleet.intents.values().filter(|intent| intent.status == IntentStatus::Failed);
        failed.count() == 1 && with_status(state, NodeStatus::Launched).len() == 2
    })
    .await;
    assert_eq!(cloud.instances().len(), 2, "one for each intent that was not refused");
    assert_eq!(scaler.counters.launch_failures.get(), 2);
    rig.log().read(|state| {
        let lost = state.fleet.intents.values().filter(|intent| intent.failures == 1).count();
        assert_eq!(lost, 2, "the lost answer and the refusal are each told once");
        assert_eq!((state.voids, state.incidents), (0, 0));
    });
}

#[tokio::test]
async fn a_node_nobody_hears_is_not_drained_and_one_that_breaks_is_replaced() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let _scaler = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 4).await;
    let mut nodes = boot(&rig, &mut starts, 2).await;
    rig.until("two nodes are ready", |state| with_status(state, NodeStatus::Ready).len() == 2).await;

    let broken = nodes.remove(0);
    cloud.break_down(&broken.id);
    drop(broken);
    rig.until("the broken one is lost", |state| with_status(state, NodeStatus::Lost).len() == 1).await;
    let more = boot(&rig, &mut starts, 1).await;
    rig.until("it is replaced", |state| with_status(state, NodeStatus::Ready).len() == 2).await;

    let (silent, heard) = (&nodes[0], &more[0]);
    // Twice the scaler's patience: what is stale here is stale there.
    let stale = Duration::from_millis(config().policy.stale_after_ms * 2);
    let heartbeats =
        asterism_runtime::heartbeat::Heartbeats::follow(&rig.deps.bus, support::FLEET, stale).await.unwrap();
    eventually("both are heard of", || heartbeats.fresh_ready().len() == 2).await;
    silent.silence(true);
    eventually("only one is heard of", || heartbeats.fresh_ready() == [heard.id.clone()].into()).await;
    assert!(heartbeats.get(&silent.id).is_some_and(|last| last.at.elapsed() > stale));
    rig.pause("c").await;
    rig.until("the one that is heard of has ended", |state| {
        with_status(state, NodeStatus::Terminated) == [heard.id.as_str()]
    })
    .await;
    assert_eq!(rig.nodes(NodeStatus::Ready), [silent.id.as_str()], "nothing is known of it: it is kept");
    assert!(silent.orders.lock().unwrap().is_empty());
    silent.silence(false);
    rig.until("heard again, it is drained and ended", |state| {
        with_status(state, NodeStatus::Terminated).len() == 2
    })
    .await;
    assert!(all_ended(&cloud));
}

#[tokio::test]
async fn a_registration_needs_its_token_and_a_repeated_one_writes_nothing() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let scaler = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let nodes = boot(&rig, &mut starts, 1).await;
    rig.until("it is ready", |state| with_status(state, NodeStatus::Ready).len() == 1).await;
    eventually("nothing is under way", || rig.log().read(|state| state.fleet.owed_launches().count() == 0))
        .await;
    let refused_before = scaler.counters.registrations_refused.get();
    let registration = nodes[0].registration.clone();

    // Loads and plans go on being written; a registration that wrote something would never leave the log as it was.
    let size = || rig.log().read(|state| state.size);
    let mut wrote_nothing = false;
    for _ in 0..50 {
        let before = size();
        let again = register(&rig.deps.bus, &registration).await.unwrap();
        assert!(again.admitted && again.fleet == support::FLEET && again.position >= before, "{again:?}");
        wrote_nothing |= size() == before;
    }
    assert!(wrote_nothing, "each of 50 repeated registrations came with a new event");

    let wrong = Registration { token: "00".repeat(32), ..registration.clone() };
    let refused = register(&rig.deps.bus, &wrong).await.unwrap();
    assert!(!refused.admitted && refused.reason.starts_with("AST-S012"), "{refused:?}");
    let other = Registration { node: "i-none".into(), ..registration.clone() };
    let refused = register(&rig.deps.bus, &other).await.unwrap();
    assert!(!refused.admitted && refused.reason.starts_with("AST-S002"), "{refused:?}");
    let key = Registration { public_key: vec![1; 32], ..registration };
    let refused = register(&rig.deps.bus, &key).await.unwrap();
    assert!(!refused.admitted && refused.reason.starts_with("AST-S010"), "{refused:?}");
    assert_eq!(scaler.counters.registrations_refused.get(), refused_before + 3);
    assert_eq!(scaler.deps.log.term(asterism_proto::Role::Scaler), 1, "no refusal costs the term");
}

#[tokio::test]
async fn an_operators_drain_is_not_undone_by_the_plan() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let _scaler = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let node = boot(&rig, &mut starts, 1).await.remove(0);
    rig.until("it is ready", |state| with_status(state, NodeStatus::Ready).len() == 1).await;

    let unknown = rig.command("fleet.explode", "").await;
    assert_eq!(unknown.code, "AST-S020");
    assert!(unknown.reason.contains("fleet.drain"), "{}", unknown.reason);
    assert_eq!(rig.command("fleet.undrain", &format!(r#"{{"node":"{}"}}"#, node.id)).await.code, "AST-S009");

    // A second node takes over, and the plan leaves the drained one closed.
    let drained = rig.command("fleet.drain", &format!(r#"{{"node":"{}"}}"#, node.id)).await;
    assert_eq!(drained.code, "", "{}", drained.reason);
    let _second = boot(&rig, &mut starts, 1).await;
    rig.until("the drained one has ended, the other is ready", |state| {
        with_status(state, NodeStatus::Terminated) == [node.id.as_str()]
            && with_status(state, NodeStatus::Ready).len() == 1
    })
    .await;
    rig.log().read(|state| assert_eq!((state.voids, state.incidents), (0, 0)));
}

#[tokio::test]
async fn a_drained_node_is_told_to_take_calls_again() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    // One node at most: the warm one is the only capacity there can be.
    let mut settings = config();
    settings.policy.max_nodes = 1;
    let _scaler = rig.scaler("one", settings, Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let (instance, request) = within("a launch", starts.recv()).await.unwrap();
    let node = support::node::Node::start_with_calls(&rig, &instance, &request).await;
    rig.until("it is ready", |state| with_status(state, NodeStatus::Ready).len() == 1).await;
    rig.pause("c").await;
    rig.until("it is draining", |state| with_status(state, NodeStatus::Draining).len() == 1).await;
    eventually("the order is repeated while it has no effect", || node.orders.lock().unwrap().len() >= 2)
        .await;
    rig.campaign("d", 2).await;
    rig.until("it is open again", |state| with_status(state, NodeStatus::Ready).len() == 1).await;
    eventually("the node is told", || node.orders.lock().unwrap().last().is_some_and(|order| order.undrain))
        .await;
    let orders = node.orders.lock().unwrap().clone();
    assert!(orders.iter().all(|order| order.drain == 1), "{orders:?}");
    assert_eq!(cloud.instances().len(), 1, "no second node was launched for it");
}

#[tokio::test]
async fn instances_nobody_explains_are_ended_and_no_others() {
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    cloud.put("i-orphan", Some("another-log-1"), 600_000);
    cloud.put("i-untagged", None, 600_000);
    cloud.put("i-young", Some("another-log-2"), 1_000);
    let scaler = rig.scaler("one", config(), Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let nodes = boot(&rig, &mut starts, 1).await;
    rig.until("it is ready", |state| with_status(state, NodeStatus::Ready).len() == 1).await;
    eventually("both orphans have ended", || cloud.terminated().len() == 2).await;
    let mut ended = cloud.terminated();
    ended.sort();
    assert_eq!(ended, ["i-orphan", "i-untagged"]);
    eventually("they are counted", || scaler.counters.orphans.get() == 2).await;
    let running = |id: &str| {
        let instances = cloud.instances();
        instances.iter().any(|i| i.instance_id == id && i.state == InstanceState::Running)
    };
    assert!(running("i-young") && running(&nodes[0].id));
}

#[tokio::test]
async fn the_time_is_told() {
    let rig = Rig::start().await;
    let (cloud, _starts) = FakeCloud::new();
    let _scaler = rig.scaler("one", config(), Arc::new(cloud)).await;
    let subject = Subject::time(support::FLEET).unwrap();
    let before = now_ms();
    let ask = async {
        loop {
            match rig.deps.bus.request(&subject, Vec::new(), PATIENCE).await {
                Ok(answer) => return TimeReply::decode(answer.as_slice()).unwrap().now_ms,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let told = within("the time", ask).await;
    // The stream's clock is this machine's here; a frame's way is in it.
    assert!(before <= told + 1_000 && told <= now_ms(), "{before} <= {told}");
}

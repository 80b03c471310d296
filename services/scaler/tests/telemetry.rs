//! What the scaler hears may be missing, half of it missing, or absurd: none of it makes the fleet smaller (row 10 of the
//! fault table), and clocks that are wrong end no young instance and keep no old one (row 7).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use asterism_domain::fleet::{FleetPolicy, NodeStatus};
use asterism_domain::invariant;
use asterism_runtime::heartbeat::Heartbeats;
use asterism_runtime::leader::now_ms;
use asterism_scaler::ScalerConfig;
use asterism_scaler::cloud::InstanceState;
use support::cloud::FakeCloud;
use support::node::{Node, boot};
use support::{Rig, Scaler, config, eventually, with_status};

const DEAD_MS: u64 = 1_500;
/// So much longer than a node counts as dead: fifty plans.
const MUCH_LATER: Duration = Duration::from_millis(DEAD_MS + 1_000);
const HOUR_MS: u64 = 3_600_000;

/// So many nodes at most, and so many ready, as a campaign wants them.
async fn fleet_of(rig: &mut Rig, nodes: u32) -> (Scaler, FakeCloud, Vec<Node>) {
    let (cloud, mut starts) = FakeCloud::new();
    let policy = FleetPolicy { max_nodes: nodes, dead_after_ms: DEAD_MS, ..config().policy };
    let settings = ScalerConfig { policy, ..config() };
    let scaler = rig.scaler("one", settings, Arc::new(cloud.clone())).await;
    rig.campaign("c", 2 * nodes as u8).await;
    let booted = boot(rig, &mut starts, nodes as usize).await;
    rig.until("all are ready", |state| {
        let able = state.fleet.nodes.values().filter(|node| !node.manifests.is_empty());
        with_status(state, NodeStatus::Ready).len() == nodes as usize && able.count() == nodes as usize
    })
    .await;
    (scaler, cloud, booted)
}

async fn ear(rig: &Rig) -> Heartbeats {
    Heartbeats::follow(&rig.deps.bus, support::FLEET, Duration::from_millis(DEAD_MS)).await.unwrap()
}

/// Waits until nobody has heard of these for much longer than it takes to count as dead.
async fn muted(heard: &Heartbeats, nodes: &[Node]) {
    eventually("all are heard of", || nodes.iter().all(|node| heard.get(&node.id).is_some())).await;
    for node in nodes {
        node.silence(true);
    }
    let long_ago = |node: &Node| heard.get(&node.id).is_some_and(|last| last.at.elapsed() > MUCH_LATER);
    eventually("they are silent for long", || nodes.iter().all(long_ago)).await;
}

/// All are open, none was told to drain, none ended, none was launched beyond the limit.
fn untouched(rig: &Rig, cloud: &FakeCloud, nodes: &[Node]) {
    assert_eq!(rig.nodes(NodeStatus::Ready).len(), nodes.len());
    assert!(nodes.iter().all(|node| node.orders.lock().unwrap().is_empty()), "a node was told to drain");
    assert_eq!((cloud.terminated().len(), cloud.launches()), (0, nodes.len()));
    rig.log().read(|state| {
        assert_eq!((state.voids, state.incidents), (0, 0), "{:?}", state.incident_list);
        assert_eq!(invariant::broken(state), []);
    });
}

#[tokio::test]
async fn with_every_heartbeat_muted_no_node_goes_though_nobody_wants_one() {
    let mut rig = Rig::start().await;
    let (scaler, cloud, nodes) = fleet_of(&mut rig, 3).await;
    let heard = ear(&rig).await;
    muted(&heard, &nodes).await;
    rig.pause("c").await;
    let before = cloud.listings();
    eventually("it is listed and planned for", || cloud.listings() >= before + 5).await;
    untouched(&rig, &cloud, &nodes);
    // Heard again, they are what they are: not wanted.
    for node in &nodes {
        node.silence(false);
    }
    rig.until("all have ended", |state| with_status(state, NodeStatus::Terminated).len() == 3).await;
    scaler.stop().await;
}

#[tokio::test]
async fn with_half_of_the_heartbeats_muted_the_other_half_stays_too() {
    let mut rig = Rig::start().await;
    let (scaler, cloud, nodes) = fleet_of(&mut rig, 4).await;
    let heard = ear(&rig).await;
    muted(&heard, &nodes[..2]).await;
    let before = cloud.listings();
    eventually("it is listed and planned for", || cloud.listings() >= before + 5).await;
    untouched(&rig, &cloud, &nodes);
    scaler.stop().await;
}

#[tokio::test]
async fn absurd_reports_of_idle_nodes_with_calls_close_nobody() {
    let mut rig = Rig::start().await;
    let (scaler, cloud, nodes) = fleet_of(&mut rig, 2).await;
    rig.dial().await;
    rig.log().read(|state| assert_eq!(state.in_flight, 4));
    rig.pause("c").await;
    let heard = ear(&rig).await;
    for node in &nodes {
        node.go_mad();
    }
    let mad = |node: &Node| heard.get(&node.id).is_some_and(|last| last.heartbeat.free_slots == u32::MAX);
    eventually("absurd numbers are heard", || nodes.iter().all(mad)).await;
    eventually("what is no heartbeat is refused", || heard.refused() >= 60).await;
    assert!(heard.get("i-else").is_none(), "a node spoke for another");
    untouched(&rig, &cloud, &nodes);
    rig.log().read(|state| {
        let held: usize = state.fleet.nodes.values().map(|node| node.attempts.len()).sum();
        assert_eq!((held, state.in_flight), (4, 4));
    });
    scaler.stop().await;
}

#[tokio::test]
async fn an_orphan_is_as_old_as_it_was_seen_whatever_the_clouds_clock_says() {
    const AGE: Duration = Duration::from_millis(2_500);
    let mut rig = Rig::start().await;
    let (cloud, mut starts) = FakeCloud::new();
    let settings = ScalerConfig { orphan_after_ms: AGE.as_millis() as u64, ..config() };
    let scaler = rig.scaler("one", settings, Arc::new(cloud.clone())).await;
    rig.campaign("c", 2).await;
    let nodes = boot(&rig, &mut starts, 1).await;
    rig.until("it is ready", |state| with_status(state, NodeStatus::Ready).len() == 1).await;
    let before = cloud.listings();
    eventually("the term has listed", || cloud.listings() >= before + 3).await;
    // The cloud's clock is an hour behind, then an hour ahead, then five minutes of each.
    let born = Instant::now();
    let now = now_ms();
    let launched = [now - HOUR_MS, now + HOUR_MS, now - HOUR_MS / 12, now + HOUR_MS / 12];
    for (index, at) in launched.into_iter().enumerate() {
        cloud.put_at(&format!("i-orphan-{index}"), None, at);
    }
    eventually("the first has ended", || !cloud.terminated().is_empty()).await;
    assert!(born.elapsed() >= AGE, "{:?} old", born.elapsed());
    eventually("all orphans have ended", || cloud.terminated().len() >= 4).await;
    let running = cloud.instances().into_iter().filter(|i| i.state == InstanceState::Running);
    assert_eq!(running.map(|i| i.instance_id).collect::<Vec<_>>(), [nodes[0].id.clone()]);
    scaler.stop().await;
}

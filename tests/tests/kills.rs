//! kill -9 of each part in the middle of a campaign of 300 contacts, then a restart: the campaign ends, every contact is
//! settled or uncertain, the far end saw no attempt twice, no event is missing, and the replay folds to the live state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic)]

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::fleet::NodeStatus;
use asterism_domain::invariant;
use asterism_tests::stack::{CAMPAIGN, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CONTACTS: u64 = 300;
const CAMPAIGN_PATIENCE: Duration = Duration::from_secs(150);

/// A stack whose campaign is under way: calls up, some settled, most still to come.
async fn in_the_middle() -> Stack {
    let stack = Stack::start(3, 20).await;
    stack.campaign(CONTACTS).await;
    stack
        .wait("calls up and a tenth settled", Duration::from_secs(60), |state| {
            state.up >= 2 && state.campaigns[CAMPAIGN].counts.settled_total() >= 30
        })
        .await;
    stack
}

fn in_flight(stack: &Stack) -> u32 {
    stack.log.read(|state| state.in_flight)
}

/// A node that holds attempts in flight.
fn busy_node(stack: &Stack) -> String {
    stack.log.read(|state| {
        let busiest = state.fleet.nodes.iter().max_by_key(|(_, node)| node.attempts.len());
        busiest.map(|(id, _)| id.clone()).expect("a node")
    })
}

/// The campaign ends and everything about it holds, in the log and outside of it.
async fn ends_well(stack: &Stack, most_uncertain: u32) {
    stack
        .wait("the campaign completes", CAMPAIGN_PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!(u64::from(counts.settled_total() + counts.uncertain), CONTACTS, "{counts:?}");
    assert!(counts.uncertain <= most_uncertain, "{counts:?}\n{}", stack.summary());
    stack.replay_agrees().await;
    // Each number rang exactly as often as the log says, each attempt once; an uncertain one may or may not have.
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
}

async fn killed_service(service: &'static str) {
    let mut stack = in_the_middle().await;
    assert!(in_flight(&stack) >= 1, "nothing was in flight at the kill");
    stack.kill_service(service);
    stack.start_service(service);
    ends_well(&stack, 0).await;
}

#[tokio::test]
async fn the_dialer_is_killed() {
    killed_service("asterism-dialer").await;
}

#[tokio::test]
async fn the_scaler_is_killed() {
    killed_service("asterism-scaler").await;
}

#[tokio::test]
async fn the_logic_responder_is_killed() {
    killed_service("asterism-logic-responder").await;
}

#[tokio::test]
async fn media_sync_is_killed() {
    killed_service("asterism-media-sync").await;
}

#[tokio::test]
async fn the_ledger_is_killed() {
    killed_service("asterism-ledger").await;
}

#[tokio::test]
async fn nats_server_is_killed() {
    let mut stack = in_the_middle().await;
    assert!(in_flight(&stack) >= 1, "nothing was in flight at the kill");
    stack.nats.kill9();
    stack.nats.restart().await.unwrap();
    ends_well(&stack, 0).await;
}

#[tokio::test]
async fn an_agent_is_killed_and_started_again_by_its_supervisor() {
    let stack = in_the_middle().await;
    let node = busy_node(&stack);
    let held = stack.log.read(|state| state.fleet.nodes[&node].attempts.len() as u32);
    assert!(held >= 1, "nothing was in flight at the kill");
    let agents = stack.pids(&node, "asterism-agent run");
    assert_eq!(agents.len(), 1, "{agents:?}");
    kill(Pid::from_raw(agents[0]), Signal::SIGKILL).unwrap();
    ends_well(&stack, held).await;
    let lost = stack.log.read(|state| state.fleet.nodes[&node].status == NodeStatus::Lost);
    assert!(!lost, "the node itself lives");
}

#[tokio::test]
async fn a_node_is_killed_for_good_and_replaced() {
    let stack = in_the_middle().await;
    let node = busy_node(&stack);
    let held = stack.log.read(|state| state.fleet.nodes[&node].attempts.len() as u32);
    assert!(held >= 1, "nothing was in flight at the kill");
    for pid in stack.pids(&node, "") {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    stack
        .wait("the node is lost", Duration::from_secs(60), |state| {
            state.fleet.nodes[&node].status == NodeStatus::Lost
        })
        .await;
    ends_well(&stack, 20).await;
    let (nodes, by_status) = stack.log.read(|state| {
        let mut by_status = BTreeMap::new();
        for known in state.fleet.nodes.values() {
            *by_status.entry(known.status).or_insert(0) += 1;
        }
        (state.fleet.nodes.len(), by_status)
    });
    assert!(nodes >= 4, "three nodes and a replacement: {by_status:?}");
}

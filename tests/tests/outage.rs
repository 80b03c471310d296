//! nats-server is away for a while, under 34 nodes in the middle of their calls, and all of them come back to it at once.
//! Calls go on by the flow's fallback; nobody is rung whom no order names; what happened stays in the spools and is in the
//! log afterwards; and the agents stay small. 15 s by default, the whole two minutes with `ASTERISM_TEST_FULL=1`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::fleet::NodeStatus;
use asterism_domain::invariant;
use asterism_proto::Role;
use asterism_tests::child::pids;
use asterism_tests::stack::{CAMPAIGN, Stack, StackOptions, StackPbx};

const NODES: u32 = 34;
const CAPACITY: u32 = 3;
const CONTACTS: u64 = 180;
const PATIENCE: Duration = Duration::from_secs(120);
/// An order's window at most, and the time until a node has noticed everything that came before.
const WINDOW: Duration = Duration::from_secs(4);
/// Most memory of an agent, KiB; it is a program of 20 MiB before it has done anything.
const AGENT_MAX_KIB: u64 = 60 * 1024;

fn outage() -> Duration {
    let full = std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|full| full == "1");
    Duration::from_secs(if full { 120 } else { 15 })
}

/// Resident memory of every agent of the stack, KiB by process.
fn memory(stack: &Stack) -> BTreeMap<i32, u64> {
    let folder = stack.path().join("data/nodes").display().to_string();
    let resident = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some((pid, line.split_whitespace().nth(1)?.parse().ok()?))
    };
    pids(&["asterism-agent run", &folder]).into_iter().filter_map(resident).collect()
}

#[tokio::test]
async fn an_outage_of_nats_under_34_nodes_loses_nothing_and_rings_nobody_twice() {
    let began = Instant::now();
    let options = StackOptions { max_nodes: NODES, capacity: CAPACITY, pbx: StackPbx::Sim };
    let set = |name: &str, value: u32| (format!("ASTERISM_SCALER__{name}"), value.to_string());
    let all = vec![set("MIN_NODES", NODES), set("LAUNCH_PER_MINUTE", 1_000)];
    let mut stack = Box::pin(Stack::start_with_env(options, all)).await;
    stack
        .wait("34 nodes are ready", PATIENCE, |state| {
            let nodes = state.fleet.nodes.values();
            nodes.filter(|node| node.status == NodeStatus::Ready).count() == NODES as usize
        })
        .await;
    println!("34 nodes were ready after {:?}", began.elapsed());
    stack.campaign(CONTACTS).await;
    stack
        .wait("34 nodes are busy", PATIENCE, |state| {
            let nodes = state.fleet.nodes.values();
            nodes.filter(|node| !node.attempts.is_empty()).count() == NODES as usize && state.up >= 20
        })
        .await;
    let before = memory(&stack);
    assert_eq!(before.len(), NODES as usize, "{before:?}");
    let held = stack.log.read(|state| state.in_flight);
    stack.nats.kill9();
    let began = Instant::now();
    let (mut rings, mut most) = (None, 0);
    while began.elapsed() < outage() {
        if began.elapsed() > WINDOW {
            let now = stack.rings().rings;
            assert_eq!(now, *rings.get_or_insert(now), "somebody was rung behind the window of his order");
        }
        let memory = memory(&stack);
        assert!(memory.keys().eq(before.keys()), "an agent ended\n{}", stack.logs());
        most = most.max(memory.into_values().max().unwrap());
        tokio::time::sleep(Duration::from_millis(250)).await; // the pause of a poll
    }
    stack.nats.restart().await.unwrap();
    let back = Instant::now();
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    println!("{held} attempts were in flight, complete {:?} behind the outage", back.elapsed());
    let reason = serde_json::json!({ "reason": "the story ends" });
    stack.client.role(Role::Scaler, "fleet.stop", &reason).await.unwrap();
    // A node is empty once a checkpoint covers its spool, and only then it is ended.
    stack
        .wait("every spool is covered and every node ended", PATIENCE, |state| {
            state.fleet.nodes.values().all(|node| node.status == NodeStatus::Terminated)
        })
        .await;
    println!("all spools covered {:?} behind the outage", back.elapsed());
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!((u64::from(counts.settled_total()), counts.uncertain), (CONTACTS, 0), "{counts:?}");
    println!("an agent had {} KiB before and {most} KiB at most", before.values().max().unwrap());
    assert!(most < AGENT_MAX_KIB, "{most} KiB");
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
}

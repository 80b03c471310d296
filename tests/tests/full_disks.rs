//! Disks that fill under running programs, in the middle of a campaign: first under a leader's copy of the log, then under
//! every node. Who cannot write stops, with its reason, or takes no calls; once there is room everything goes on, the
//! log has all that was acknowledged, and nobody is rung twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::time::{Duration, Instant};

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::{State, invariant};
use asterism_proto::Role;
use asterism_tests::asterisk::skip;
use asterism_tests::stack::{CAMPAIGN, SERVICES, Stack, StackOptions, StackPbx};

const CONTACTS: u64 = 120;
const NODES: u32 = 2;
const CAPACITY: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(90);
/// The dialer's copy, and the nodes' folders, each on a disk of its own.
const DISKS: [(&str, u64); 2] = [("data/log-dialer", 12 << 20), ("data/nodes", 48 << 20)];

fn settled(state: &State) -> u64 {
    u64::from(state.campaigns[CAMPAIGN].counts.settled_total())
}

/// The dialer's copy cannot be written: the process ends by itself and says why; its next life, with room, goes on.
async fn under_a_leader(stack: &mut Stack) {
    let began = Instant::now();
    println!("{} bytes filled the dialer's disk", stack.disk(0).fill());
    let status = loop {
        if let Some(status) = stack.ended("asterism-dialer") {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "it goes on with a full disk\n{}", stack.said("asterism-dialer"));
        tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
    };
    let said = stack.said("asterism-dialer");
    println!("the dialer ended after {:?} with {status}", began.elapsed());
    assert!(!status.success() && said.contains("AST-L004"), "{status}\n{said}");
    for service in SERVICES {
        assert!(service == "asterism-dialer" || stack.runs(service), "{service}\n{}", stack.said(service));
    }
    // Started without room it ends again, and has done no harm.
    stack.start_service("asterism-dialer");
    let began = Instant::now();
    while stack.ended("asterism-dialer").is_none() {
        assert!(began.elapsed() < PATIENCE, "it runs without room\n{}", stack.said("asterism-dialer"));
        tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
    }
    let before = stack.log.read(settled);
    stack.disk(0).empty();
    stack.start_service("asterism-dialer");
    stack.wait("calls are settled again", PATIENCE, |state| settled(state) > before + 10).await;
}

/// No node can write: each agent stops and is not started again before there is room; nothing is originated meanwhile.
async fn under_every_node(stack: &Stack) {
    let nodes: Vec<String> = stack.log.read(|state| state.fleet.nodes.keys().cloned().collect());
    let stopped = |node: &String| stack.pids(node, "asterism-agent run").is_empty();
    println!("{} bytes filled the nodes' disk", stack.disk(1).fill());
    let began = Instant::now();
    while !nodes.iter().all(stopped) {
        assert!(began.elapsed() < PATIENCE, "agents go on with a full disk\n{}", stack.logs());
        tokio::time::sleep(Duration::from_millis(5)).await; // the pause of a poll
    }
    println!("all agents stopped within {:?}", began.elapsed());
    let rings = stack.rings().rings;
    // Each is started again meanwhile, and the fleet notices.
    while listed(stack, "fresh").await.iter().any(|fresh| *fresh) {
        assert!(
            began.elapsed() < PATIENCE,
            "the fleet believes in nodes that cannot write\n{}",
            stack.logs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
    }
    println!("no node was dialled by any more after {:?}", began.elapsed());
    assert_eq!(stack.rings().rings, rings, "somebody was rung by a node that cannot write");
    stack.disk(1).empty();
}

/// A yes or no about each node, as `fleet list` says it of their last heartbeats.
async fn listed(stack: &Stack, what: &str) -> Vec<bool> {
    let none = serde_json::json!({});
    let list: serde_json::Value = stack.client.role_json(Role::Scaler, "fleet.list", &none).await.unwrap();
    let nodes = list["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["load"][what].as_bool().expect("it was heard of")).collect()
}

#[tokio::test]
async fn disks_that_fill_under_a_leader_and_under_every_node_lose_nothing_and_ring_nobody_twice() {
    let options = StackOptions { max_nodes: NODES, capacity: CAPACITY, pbx: StackPbx::Sim };
    let services = SERVICES.map(|service| (service, Vec::new()));
    let faster = vec![("ASTERISM_CLOCK_SCALE".to_owned(), "4".to_owned())];
    let Some(mut stack) = Box::pin(Stack::start_on(options, faster, &DISKS, &services)).await else {
        return skip("disks_that_fill", "a small disk cannot be mounted here (not root?)");
    };
    stack.campaign(CONTACTS).await;
    stack.wait("calls up and some settled", PATIENCE, |state| state.up >= 2 && settled(state) >= 20).await;
    under_a_leader(&mut stack).await;
    let held = stack.log.read(|state| state.in_flight);
    assert!(held > 0, "nothing was in flight");
    under_every_node(&stack).await;

    stack
        .wait("the campaign completes", Duration::from_secs(150), |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!(settled_and_uncertain(&counts), CONTACTS, "{counts:?}");
    assert!(counts.uncertain <= NODES * CAPACITY, "{counts:?}\n{}", stack.summary());
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    println!("{counts:?}");
}

fn settled_and_uncertain(counts: &asterism_domain::campaign::Counts) -> u64 {
    u64::from(counts.settled_total() + counts.uncertain)
}

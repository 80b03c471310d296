//! A checkpoint signer that equivocates in the middle of a campaign: every node is shown two histories, takes no more
//! calls, and is replaced. None of them stays: the log has all they had to say, and they end (INV-14).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::fleet::NodeStatus;
use asterism_domain::{Event, NodeId, invariant};
use asterism_nats::{Bus, Subject};
use asterism_proto::{Origin, notice};
use asterism_tests::stack::{CAMPAIGN, FLEET, Stack, StackOptions, StackPbx};
use prost::Message as _;

const CONTACTS: u64 = 120;
const NODES: usize = 2;
const PATIENCE: Duration = Duration::from_mins(2);

/// As many nodes as there may be: while these stay, nobody takes their place.
async fn busy_fleet() -> Stack {
    let env = [
        ("ASTERISM_LEDGER__CHECKPOINT_EVERY_MS", "300"),
        ("ASTERISM_SCALER__NOT_READY_GRACE_MS", "1000"),
        ("ASTERISM_SCALER__REFUSING_TERMINATE_AFTER_MS", "1500"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let options = StackOptions { max_nodes: NODES as u32, capacity: 10, pbx: StackPbx::Sim };
    let stack = Stack::start_with_env(options, env).await;
    stack.campaign(CONTACTS).await;
    stack
        .wait("calls up on every node, and some settled", PATIENCE, |state| {
            let ready = state.fleet.nodes.values().filter(|node| node.status == NodeStatus::Ready);
            ready.clone().count() == NODES
                && ready.clone().all(|node| !node.attempts.is_empty())
                && state.campaigns[CAMPAIGN].counts.settled_total() >= 10
        })
        .await;
    stack
}

/// Repeats each checkpoint with another root under the log's own key, until every node has seen one it knows.
async fn equivocate(stack: &Stack) -> BTreeSet<NodeId> {
    let bus = Bus::connect(&stack.nats.service("equivocator").unwrap()).await.unwrap();
    let subject = Subject::checkpoint_notice(FLEET).unwrap();
    let mut notices = bus.subscribe(&subject, None).await.unwrap();
    let key = stack.log_signer();
    let refusing = || -> BTreeSet<NodeId> {
        stack.log.read(|state| {
            let nodes = state.fleet.nodes.iter().filter(|(_, node)| node.refuses_log.is_some());
            nodes.map(|(id, _)| id.clone()).collect()
        })
    };
    let telling = async {
        while refusing().len() < NODES {
            let message = notices.next().await.unwrap();
            let Ok(honest) = notice::open(&message.payload, FLEET, &key.public()) else { continue };
            if honest.root == [0xee; 32] {
                continue; // our own
            }
            let other = asterism_proto::v1::NoticeBody { root: vec![0xee; 32], ..honest };
            bus.publish(&subject, notice::sign(&key, vec![], other).encode_to_vec()).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, telling).await.expect("every node refuses the log");
    refusing()
}

#[tokio::test]
async fn nodes_that_were_shown_two_histories_are_replaced_and_ended_and_the_log_has_all_they_said() {
    let stack = busy_fleet().await;
    let refusing = equivocate(&stack).await;
    assert_eq!(refusing.len(), NODES);
    stack
        .wait("every node that refuses the log is gone", PATIENCE, |state| {
            refusing.iter().all(|id| state.fleet.nodes[id].status == NodeStatus::Terminated)
        })
        .await;
    stack
        .wait("the campaign completes on others", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    // Nothing bills any more, in the log and on the machine.
    stack.wait("no node is left", PATIENCE, |state| state.fleet.existing().count() == 0).await;
    for node in stack.log.read(|state| state.fleet.nodes.keys().cloned().collect::<Vec<_>>()) {
        assert_eq!(stack.pids(&node, ""), Vec::<i32>::new(), "{node}");
    }
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!((u64::from(counts.settled_total()), counts.uncertain), (CONTACTS, 0), "{counts:?}");
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), []);
    let reasons: Vec<String> =
        stack.log.read(|state| state.incident_list.iter().map(|incident| incident.reason.clone()).collect());
    assert!(
        reasons.len() == NODES && reasons.iter().all(|why| why.contains("refuses the log")),
        "{reasons:?}"
    );
    told(&stack, &refusing);
}

/// What the log says of each: that it refuses, which frames are uncovered, and, behind all of these, its end.
fn told(stack: &Stack, refusing: &BTreeSet<NodeId>) {
    let events = stack.sealed_events();
    let mut frames: BTreeMap<&NodeId, BTreeSet<u64>> = BTreeMap::new();
    let (mut uncovered, mut ended) = (BTreeMap::new(), BTreeSet::new());
    for recorded in &events {
        if let Origin::Node(id) = &recorded.origin {
            frames.entry(id).or_default().insert(recorded.id.frame);
        }
        match &recorded.event {
            Event::NodeUncovered { node, from, to, .. } => {
                let held: Vec<u64> = (1..=*to).filter(|number| !frames[node].contains(number)).collect();
                assert!(held.is_empty(), "frames {held:?} of {node} are not in the log");
                assert!(recorded.id.frame > *to, "its word is not behind what it names");
                uncovered.insert(node.clone(), (recorded.sequence, *from, *to));
            }
            Event::NodeTerminating { node, uncovered_from, uncovered_to, cuts, .. }
                if refusing.contains(node) =>
            {
                let (said, from, to) = uncovered[node];
                assert_eq!((*uncovered_from, *uncovered_to, cuts.len()), (from, to, 0));
                let covers = events
                    .iter()
                    .take(recorded.sequence as usize)
                    .any(|before| matches!(before.event, Event::Checkpoint { size, .. } if size > said));
                assert!(covers, "{node} was ended before a checkpoint covered its word");
                ended.insert(node.clone());
            }
            _ => {}
        }
    }
    assert_eq!(&ended, refusing);
    println!("uncovered frames: {uncovered:?}");
}

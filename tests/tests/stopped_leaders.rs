//! A leader is stopped in the middle of a campaign, a rival is elected, and then it is woken: a process that believes what it
//! believed. It commits nothing and orders nothing any more, and follows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::{Event, invariant};

use asterism_nats::{Bus, Parsed, Reader, ReaderEvent, Subject, Verb};
use asterism_proto::v1::{DialOrder, DrainOrder};
use asterism_proto::{OpenFrame, Origin, Role};
use asterism_tests::stack::{CAMPAIGN, FLEET, Stack};
use nix::sys::signal::Signal;
use prost::Message as _;

const CONTACTS: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(150);

/// The orders of a role that pass the bus, by term.
#[derive(Default)]
struct Orders {
    /// Each term's orders, from 0.
    by_term: Mutex<Vec<u64>>,
}

impl Orders {
    /// Listens to what each of these nodes is told.
    async fn of(stack: &Stack, role: Role, nodes: Vec<String>) -> Arc<Self> {
        let orders = Arc::new(Self::default());
        let bus = Bus::connect(&stack.nats.service("listener").unwrap()).await.unwrap();
        for node in nodes {
            let subject = Subject::commands(FLEET, &node).unwrap();
            let mut heard = bus.subscribe(&subject, None).await.unwrap();
            let orders = orders.clone();
            tokio::spawn(async move {
                while let Some(message) = heard.next().await {
                    let Ok(Parsed::Command { verb, .. }) = message.subject.parse() else { continue };
                    let term = match (role, verb) {
                        (Role::Dialer, Verb::Dial) => DialOrder::decode(message.payload).unwrap().term,
                        (Role::Scaler, Verb::Drain) => DrainOrder::decode(message.payload).unwrap().term,
                        _ => continue,
                    };
                    let mut by_term = orders.by_term.lock().unwrap();
                    let length = by_term.len().max(term as usize + 1);
                    by_term.resize(length, 0);
                    by_term[term as usize] += 1;
                }
            });
        }
        orders
    }

    fn in_term(&self, term: u64) -> u64 {
        self.by_term.lock().unwrap().get(term as usize).copied().unwrap_or_default()
    }
}

/// Frames of a role and term in the stream, whether the log took them or not.
async fn frames_in_stream(stack: &Stack, role: Role, term: u64) -> u64 {
    let bus = Bus::connect(&stack.nats.service("counter").unwrap()).await.unwrap();
    let mut reader = Reader::start(&bus, FLEET, 1, None).unwrap();
    let count = AtomicU64::new(0);
    loop {
        match tokio::time::timeout(PATIENCE, reader.next()).await.expect("the stream's end") {
            ReaderEvent::Message { payload, .. } => {
                let frame = OpenFrame::read(&payload).unwrap();
                let ours = frame.origin == Origin::Role(role) && frame.header.term == term;
                count.fetch_add(u64::from(ours), Ordering::Relaxed);
            }
            ReaderEvent::CaughtUp { .. } => return count.into_inner(),
            ReaderEvent::Incident(incident) => panic!("{incident}"),
        }
    }
}

fn nodes(stack: &Stack) -> Vec<String> {
    stack.log.read(|state| state.fleet.existing().map(|(id, _)| id.clone()).collect())
}

fn term(stack: &Stack, role: Role) -> u64 {
    stack.log.read(|state| state.terms.get(role.name()).copied().unwrap_or_default())
}

async fn in_the_middle(service: &'static str, rival: &'static str) -> Stack {
    let mut stack = Stack::start(3, 20).await;
    stack.campaign(CONTACTS).await;
    stack
        .wait("calls up and a tenth settled", PATIENCE, |state| {
            state.up >= 2 && state.campaigns[CAMPAIGN].counts.settled_total() >= 30
        })
        .await;
    // Both see the same nodes of this machine, each has a copy of the log of its own.
    let folder = stack.path().join(rival);
    std::fs::create_dir_all(&folder).unwrap();
    let shared = stack.path().join("data/nodes");
    symlink(shared, folder.join("nodes")).unwrap();
    stack.start_rival(service, rival, &[]);
    stack
}

async fn stopped_and_woken(service: &'static str, role: Role, rival: &'static str) {
    let mut stack = Box::pin(in_the_middle(service, rival)).await;
    assert_eq!(term(&stack, role), 1);
    stack.signal_service(service, Signal::SIGSTOP);
    let in_flight = stack.log.read(|state| state.in_flight);
    assert!(in_flight >= 1, "nothing was in flight at the stop");
    stack.wait("a rival is elected", PATIENCE, |state| state.terms[role.name()] == 2).await;
    // Something happens that a leader has to act upon: the one that sleeps will see it when it wakes.
    if role == Role::Scaler {
        let node = stack.log.read(|state| {
            let busiest = state.fleet.nodes.iter().max_by_key(|(_, node)| node.attempts.len());
            busiest.map(|(id, _)| id.clone()).unwrap()
        });
        for pid in stack.pids(&node, "") {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        let lost = asterism_domain::fleet::NodeStatus::Lost;
        stack.wait("the lost node is seen", PATIENCE, |state| state.fleet.nodes[&node].status == lost).await;
    } else {
        let before = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.attempts);
        stack
            .wait("the rival dials", PATIENCE, |state| state.campaigns[CAMPAIGN].counts.attempts > before)
            .await;
    }
    let orders = Orders::of(&stack, role, nodes(&stack)).await;
    let frames = frames_in_stream(&stack, role, 1).await;
    let woken_at = stack.log.read(|state| state.size);
    stack.signal_service(service, Signal::SIGCONT);
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    stack.wait("the fleet is gone", PATIENCE, |state| state.fleet.existing().count() == 0).await;
    let (woken, next) = (orders.in_term(1), orders.in_term(2));
    println!("{service}: orders of the woken leader {woken}, of its rival {next}; frames {frames}");
    // One may have been on its way to the socket when the process was stopped: no node takes it.
    assert!(woken <= 1, "a woken leader gave {woken} orders");
    assert!(next >= 1, "the rival gave none: the count does not count");
    assert_eq!(frames_in_stream(&stack, role, 1).await, frames, "a woken leader published");

    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!(u64::from(counts.settled_total() + counts.uncertain), CONTACTS, "{counts:?}");
    let lost = if role == Role::Scaler { 20 } else { 0 };
    assert!(counts.uncertain <= lost, "{counts:?}");
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    if role == Role::Dialer {
        assert_eq!(taken_in_term_1(&stack, woken_at), 0, "a node took an order of the former term");
    }
    let late = stack.sealed_events().into_iter().skip_while(
        |recorded| !matches!(&recorded.event, Event::LeaderElected { role: led, term: 2, .. } if led == role.name()),
    );
    let late = late.filter(|recorded| recorded.origin == Origin::Role(role) && recorded.term == 1).count();
    assert_eq!(late, 0, "events of the former term behind the election of the next");

    // It follows: when the rival is gone, it leads again.
    assert!(stack.runs(service), "it left\n{}", stack.logs());
    stack.kill_service(rival);
    stack.wait("the woken one leads again", PATIENCE, |state| state.terms[role.name()] == 3).await;
}

/// Attempts that a node took by an order of the former term, told from a place of the log on.
fn taken_in_term_1(stack: &Stack, from: u64) -> usize {
    let events = stack.sealed_events().into_iter().skip(from as usize);
    events.filter(|recorded| matches!(recorded.event, Event::AttemptAccepted { order_term: 1, .. })).count()
}

#[tokio::test]
async fn a_dialer_stopped_and_woken_behind_its_rival_orders_and_commits_nothing() {
    Box::pin(stopped_and_woken("asterism-dialer", Role::Dialer, "rival-dialer")).await;
}

#[tokio::test]
async fn a_scaler_stopped_and_woken_behind_its_rival_orders_and_commits_nothing() {
    Box::pin(stopped_and_woken("asterism-scaler", Role::Scaler, "rival-scaler")).await;
}

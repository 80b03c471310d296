//! Real Asterisk and SIPp, and whoever stands around an Originate dead before and after it: the agent at each point, the dialer,
//! Asterisk itself. What SIPp was invited to, by distinct Call-ID and number, is at most one INVITE an attempt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use asterism_domain::campaign::{CampaignStatus, ContactStatus};
use asterism_domain::{Event, invariant};
use asterism_tests::asterisk::RealParts;
use asterism_tests::crash::Points;
use asterism_tests::sipp::{Carrier, Habits};
use asterism_tests::stack::{CAMPAIGN, Stack, StackOptions, StackPbx};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(120);
const HABITS: Habits = Habits { press_ms: 8_000, leave_ms: 1_000 };
const SLOTS: u32 = 30;
/// Around the originate, in the order in which they are armed.
const AGENT: [&str; 7] = [
    "originating.unwritten",
    "originating.written",
    "originating.synced",
    "originate.unsent",
    "originate.sent",
    "ring.begun",
    "originate.answered",
];
const DIALER: [&str; 2] = ["order.sent", "intent.committed"];
/// How callees end by the last four digits, and how many of each: refusals at once and later, silence, and early leavers.
const ENDS: [(&str, u32); 5] = [("0186", 60), ("0187", 40), ("0160", 40), ("0144", 30), ("0157", 20)];

fn numbers() -> Vec<String> {
    let of = |(ends, many): (&'static str, u32)| (0..many).map(move |n| format!("+1{}555{ends}", 202 + n));
    ENDS.into_iter().flat_map(of).collect()
}

/// The process of a node's Asterisk.
fn asterisk(stack: &Stack, node: &str) -> Option<i32> {
    let file = stack.path().join("data/nodes/instances").join(node).join("asterisk.pid");
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Kills agents at each point, one after the other; their supervisor starts them again.
async fn kill_agents(stack: &Stack, points: &Points) {
    for (nth, name) in AGENT.iter().enumerate() {
        let point = format!("asterism-agent:{name}");
        points.arm(&point, 1 + nth as u64 % 3);
        hit(stack, points, &point).await;
    }
}

async fn hit(stack: &Stack, points: &Points, point: &str) {
    let began = Instant::now();
    while !points.hit().contains(point) {
        assert!(began.elapsed() < PATIENCE, "{point} was not hit\n{}\n{}", stack.summary(), stack.logs());
        tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
    }
}

async fn kill_dialers(stack: &mut Stack, points: &Points) {
    for name in DIALER {
        let point = format!("asterism-dialer:{name}");
        points.arm(&point, 1);
        hit(stack, points, &point).await;
        stack.kill_service("asterism-dialer"); // it is dead: this reaps it
        stack.start_service("asterism-dialer");
    }
}

/// Kills an Asterisk that has calls.
async fn kill_asterisk(stack: &Stack) -> String {
    stack
        .wait("a node has calls", PATIENCE, |state| {
            state.fleet.nodes.values().any(|node| node.attempts.len() >= 2 && node.dialable())
        })
        .await;
    let busiest = stack.log.read(|state| {
        let nodes = state.fleet.nodes.iter();
        nodes.max_by_key(|(_, node)| node.attempts.len()).map(|(id, _)| id.clone()).unwrap()
    });
    kill(Pid::from_raw(asterisk(stack, &busiest).expect("its pid")), Signal::SIGKILL).unwrap();
    busiest
}

#[tokio::test]
async fn the_carrier_is_invited_once_an_attempt_whoever_dies_around_the_originate() {
    let Some(parts) = RealParts::find("asterisk_kills::whoever_dies_around_the_originate") else { return };
    let began = Instant::now();
    let carrier = Carrier::start(&parts.sipp, HABITS);
    let dir = tempfile::tempdir().unwrap();
    let points = Points::new(dir.path());
    let pbx = StackPbx::Asterisk { root: parts.root, carrier: carrier.port };
    let pace = ("ASTERISM_TRUNKS__CARRIER__CALLS_PER_SECOND".to_owned(), "8".to_owned());
    let options = StackOptions { max_nodes: 2, capacity: SLOTS, pbx };
    let mut stack = Box::pin(Stack::start_with_env(options, vec![points.variable(), pace])).await;
    let list = stack.path().join("contacts.csv");
    let csv = numbers().iter().fold("number\n".to_owned(), |mut csv, number| {
        writeln!(csv, "{number}").unwrap();
        csv
    });
    fs::write(&list, csv).unwrap();
    Box::pin(stack.campaign_of(&list, None, 1)).await;
    stack.wait("calls", PATIENCE, |state| state.campaigns[CAMPAIGN].counts.rang > 2).await;
    let killed = kill_asterisk(&stack).await;
    kill_agents(&stack, &points).await;
    kill_dialers(&mut stack, &points).await;
    // The rest as fast as it goes.
    let set = serde_json::json!({ "campaign": CAMPAIGN, "calls_per_second": 0, "reason": "the test's pace" });
    let mut told = stack.client.role(asterism_proto::Role::Dialer, "campaign.set", &set).await;
    while told.is_err() && began.elapsed() < PATIENCE {
        told = stack.client.role(asterism_proto::Role::Dialer, "campaign.set", &set).await;
    }
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    stack.replay_agrees().await;
    let back = stack
        .sealed_events()
        .into_iter()
        .filter(|recorded| matches!(&recorded.event, Event::NodeReady { node, .. } if *node == killed));
    assert!(back.count() >= 2, "the killed Asterisk did not come back");
    invited_once_an_attempt(&stack, &carrier);
    assert_eq!(stack.log.read(invariant::broken), []);
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    println!("{} points hit, one Asterisk killed, in {:?}", points.hit().len(), began.elapsed());
}

/// Each number was invited as often as the log has attempts that may have rung, less one at most where it is uncertain.
fn invited_once_an_attempt(stack: &Stack, carrier: &Carrier) {
    let invites = carrier.rings();
    let (mut uncertain, mut refused) = (0, 0);
    stack.log.read(|state| {
        let campaign = &state.campaigns[CAMPAIGN];
        refused = campaign.counts.refused;
        let contacts: BTreeMap<[u8; 16], _> =
            campaign.contacts.iter().map(|contact| (contact.number_hash, contact)).collect();
        for number in numbers() {
            let contact = contacts[&stack.number_hash(&number)];
            let (came, said) = (invites.get(&number).copied().unwrap_or_default(), contact.rang as usize);
            let doubt = usize::from(contact.status == ContactStatus::Uncertain);
            uncertain += doubt;
            assert!(
                (said - doubt..=said).contains(&came),
                "{came} INVITEs, the log says {said}: {contact:?}"
            );
            assert!(came <= 1, "one attempt a contact, and {came} INVITEs");
        }
    });
    let total: usize = invites.values().sum();
    println!("{} numbers, {total} INVITEs, {uncertain} uncertain, {refused} refused", numbers().len());
}

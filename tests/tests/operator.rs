//! An operator beside a running system, with the program alone: a node dies with calls on it, so some contacts are uncertain.
//! The numbers are shown, why is asked of each, rows are exported; then the uncertain ones are dialled once more, and all of
//! it is told again, as the carrier saw it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use asterism_domain::State;
use asterism_domain::campaign::{CampaignStatus, ContactStatus};
use asterism_pbx_sim::recorder::read_rings;
use asterism_tests::commands::{done, lines, refused};
use asterism_tests::stack::{CAMPAIGN, Stack, root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const CONTACTS: usize = 60;
const PATIENCE: Duration = Duration::from_mins(2);
const REASON: &str = "the client agrees";

/// The numbers of the list, in its order: contact 0 is the first.
fn list() -> Vec<String> {
    let text = fs::read_to_string(root().join("compose/demo/contacts.csv")).unwrap();
    let number = |line: &str| line.split(',').next().unwrap().to_owned();
    text.lines().skip(1).take(CONTACTS).map(number).collect()
}

fn of_status(stack: &Stack, status: &ContactStatus) -> BTreeSet<usize> {
    let is = |state: &State| {
        let contacts = state.campaigns[CAMPAIGN].contacts.iter().enumerate();
        contacts.filter(|(_, one)| one.status == *status).map(|(index, _)| index).collect()
    };
    stack.log.read(is)
}

async fn completed(stack: &Stack, uncertain: usize) {
    stack
        .wait("the end of the campaign", PATIENCE, |state| {
            let campaign = &state.campaigns[CAMPAIGN];
            campaign.status == CampaignStatus::Completed && campaign.counts.uncertain as usize == uncertain
        })
        .await;
}

/// A node with calls up is gone at once, all of it.
async fn a_node_dies(stack: &Stack) -> String {
    stack.wait("calls are up", PATIENCE, |state| state.up >= 3).await;
    let busiest = |state: &State| {
        let nodes = state.fleet.nodes.iter();
        nodes.max_by_key(|(_, node)| node.attempts.len()).map(|(id, _)| id.clone()).unwrap()
    };
    let node = stack.log.read(busiest);
    for pid in stack.pids(&node, "") {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    let ended = |state: &State| state.campaigns[CAMPAIGN].ended_at.is_some();
    stack.wait("the end of the campaign", PATIENCE, ended).await;
    node
}

/// `campaign show`: every contact in exactly one state, and so many uncertain.
fn shown(stack: &Stack, uncertain: usize) {
    let shown = done(stack, &["campaign", "show", CAMPAIGN]);
    let number = |name: &str| shown[name].as_u64().unwrap();
    let states = ["waiting", "in_flight", "settled", "uncertain", "erased"].map(number);
    assert_eq!(states.iter().sum::<u64>(), CONTACTS as u64, "{shown:#}");
    assert_eq!((number("uncertain"), number("contacts")), (uncertain as u64, CONTACTS as u64), "{shown:#}");
    assert_eq!(shown["status"], "completed");
}

/// `explain +NUMBER`, in one string: the answer, then the events.
fn explained(stack: &Stack, number: &str) -> String {
    let told = done(stack, &["explain", number]);
    assert_eq!(told["called"], true, "{told:#}");
    let texts = |key: &str| told[key].as_array().unwrap().clone();
    let lines = texts("lines").into_iter().map(|line| line["what"].clone());
    let all: Vec<String> = texts("answer").into_iter().chain(lines).map(|it| it.to_string()).collect();
    all.join("\n")
}

/// The rows of contacts and of attempts agree with each other, the state and what the carrier saw.
fn exported(stack: &Stack) {
    let contacts = lines(stack, &["campaign", "export", CAMPAIGN, "--format", "jsonl", "--reveal"]);
    let attempts = lines(stack, &["campaign", "export", CAMPAIGN, "--format", "jsonl", "--attempts"]);
    let numbers: Vec<String> =
        contacts.iter().map(|row| row["number"].as_str().unwrap().to_owned()).collect();
    assert_eq!(numbers, list());
    let mut of_contact: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for row in &attempts {
        assert!(
            row["number"].as_str().unwrap().contains('•'),
            "masked unless they are to be revealed: {row}"
        );
        of_contact.entry(row["contact"].as_u64().unwrap()).or_default().push(row);
    }
    for row in &contacts {
        let own = &of_contact[&row["contact"].as_u64().unwrap()];
        assert_eq!(row["attempts"].as_u64().unwrap(), own.len() as u64, "{row}");
        let last = own.last().unwrap();
        let said = if row["state"] == "uncertain" { &row["state"] } else { &row["outcome"] };
        assert_eq!(said, &last["outcome"], "{row} {last}");
    }
    // What the carrier saw has a row, which says that it was dialled, or that nobody can prove it was not.
    let dialled: BTreeSet<&str> = attempts
        .iter()
        .filter(|row| !row["dialled_ms"].is_null() || row["outcome"] == "uncertain")
        .map(|row| row["attempt"].as_str().unwrap())
        .collect();
    let mut rings = 0;
    read_rings(&stack.path().join("rings.csv"), |ring| {
        assert!(dialled.contains(ring.attempt_id.as_str()), "{} rang and has no row", ring.attempt_id);
        rings += 1;
    })
    .unwrap();
    assert!(rings >= CONTACTS - 20, "{rings} rings");
}

/// What is refused, and a look that changes nothing.
fn asked(stack: &Stack, uncertain: usize, settled: &str) {
    refused(stack, &["campaign", "redial", CAMPAIGN], "--reason");
    refused(stack, &["campaign", "redial", "no-such", "--reason", REASON], "AST-D020");
    refused(stack, &["campaign", "redial", CAMPAIGN, "--number", settled, "--reason", REASON], "AST-D163");
    let look = done(stack, &["campaign", "redial", CAMPAIGN, "--dry-run"]);
    assert_eq!((&look["contacts"], &look["dry_run"]), (&Value::from(uncertain), &Value::Bool(true)));
    assert_eq!(of_status(stack, &ContactStatus::Uncertain).len(), uncertain);
}

#[tokio::test]
async fn an_operator_sees_why_contacts_are_uncertain_and_has_them_dialled_once_more() {
    let (stack, numbers) = (Stack::start(2, 8).await, list());
    stack.campaign(CONTACTS as u64).await;
    let node = a_node_dies(&stack).await;
    let uncertain = of_status(&stack, &ContactStatus::Uncertain);
    assert!(!uncertain.is_empty(), "calls were up on the node that died\n{}", stack.summary());

    shown(&stack, uncertain.len());
    exported(&stack);
    for contact in &uncertain {
        let told = explained(&stack, &numbers[*contact]);
        for word in ["uncertain", &node, "not dialled again by itself"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
    let settled = (0..CONTACTS).find(|index| !uncertain.contains(index)).unwrap();
    let told = explained(&stack, &numbers[settled]);
    assert!(told.contains("called once") && told.contains(&format!("{CAMPAIGN}-{settled}-1")), "{told}");

    asked(&stack, uncertain.len(), &numbers[settled]);
    let first = *uncertain.first().unwrap();
    let one = ["campaign", "redial", CAMPAIGN, "--number", &numbers[first], "--reason", REASON];
    assert_eq!(done(&stack, &one)["contacts"], 1);
    completed(&stack, uncertain.len() - 1).await;
    assert_eq!(of_status(&stack, &ContactStatus::Uncertain).len(), uncertain.len() - 1);
    if uncertain.len() > 1 {
        let all = ["campaign", "redial", CAMPAIGN, "--reason", REASON];
        assert_eq!(done(&stack, &all)["contacts"], uncertain.len() - 1);
        completed(&stack, 0).await;
    }
    refused(&stack, &["campaign", "redial", CAMPAIGN, "--reason", REASON], "AST-D160");

    shown(&stack, 0);
    exported(&stack);
    for contact in &uncertain {
        let told = explained(&stack, &numbers[*contact]);
        let second = format!("{CAMPAIGN}-{contact}-2");
        for word in [REASON, "may have been rung", &second] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), [] as [String; 0]);
}

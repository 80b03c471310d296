//! The emergency stop, as a person gives it, with a node that cannot be reached: nothing is dialled later than the windows of the
//! orders that were out, what rings and what is up ends only where it was said, and it holds until it is resumed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use asterism_dialer::emergency::EmergencyReport;
use asterism_domain::campaign::{AttemptStatus, CampaignStatus};
use asterism_domain::{AttemptId, Event, Recorded, invariant};
use asterism_pbx_sim::recorder::read_rings;
use asterism_tests::stack::{CAMPAIGN, Stack, StackOptions, StackPbx, program, root};
use asterism_tests::wire::Wire;

const CONTACTS: u64 = 260;
const PATIENCE: Duration = Duration::from_secs(90);
/// How far from a decision its last start may be: what a node that is cut off may still dial.
const WINDOW_MS: u64 = 1_000;
/// Everybody rings for seconds, is up for longer than a stop takes to be told, and presses 1.
const CALLEES: &str = "ring = { min_ms = 1500, max_ms = 6000 }\nprompt = { min_ms = 2500, max_ms = 3500 }\n[weights]\n\
    press_1 = 1\npress_2 = 0\npress_nothing = 0\nhang_up_early = 0\nbusy = 0\ndeclined = 0\nnot_found = 0\n\
    unavailable = 0\ncongested = 0\nno_answer = 0\nsilent = 0\n";

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Runs the command, on a thread of its own: the links of the nodes are this one's. What it said as JSON.
async fn emergency(stack: &Stack, words: &[&str]) -> EmergencyReport {
    let mut command = Command::new(program("asterism"));
    command.args(["--json", "--config"]).arg(stack.path().join("asterism.toml")).arg("emergency").args(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Attempts in flight with where they are, and on which node.
fn in_flight(stack: &Stack) -> BTreeMap<AttemptId, (AttemptStatus, String)> {
    stack.log.read(|state| {
        let flights = state.campaigns[CAMPAIGN].in_flight.iter();
        flights.map(|(id, attempt)| (id.clone(), (attempt.status, attempt.node.clone()))).collect()
    })
}

async fn in_the_middle(stack: &Stack) {
    stack
        .wait("calls up and ringing", PATIENCE, |state| {
            let of = |status| {
                let flights = state.campaigns[CAMPAIGN].in_flight.values();
                flights.filter(|attempt| attempt.status == status).count()
            };
            of(AttemptStatus::Answered) >= 8 && of(AttemptStatus::Originating) >= 8
        })
        .await;
}

#[tokio::test]
async fn everything_stops_also_on_a_node_that_is_cut_off_and_goes_on_when_it_is_said() {
    let files = tempfile::tempdir().unwrap();
    let callees = files.path().join("callees.toml");
    fs::write(&callees, CALLEES).unwrap();
    let wire = Wire::listen().await;
    let options = StackOptions { max_nodes: 3, capacity: 30, pbx: StackPbx::SimBehind(wire.port) };
    let env = [
        ("ASTERISM_CALLEES", callees.display().to_string()),
        ("ASTERISM_TRUNKS__CARRIER__CALLS_PER_SECOND", "30".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let stack = Box::pin(Stack::start_with_env(options, env)).await;
    wire.lead_to(stack.nats.service("x").unwrap().url.rsplit(':').next().unwrap().parse().unwrap());
    Box::pin(stack.campaign_of(&root().join("compose/demo/contacts.csv"), Some(CONTACTS), 1)).await;
    let busy = |state: &asterism_domain::State| {
        state.fleet.nodes.values().filter(|node| node.attempts.len() > 3).count() == 3
    };
    stack.wait("three nodes dial", PATIENCE, busy).await;
    // Nodes are packed and begin in waves: each is to have both by the time that one of them is cut off.
    let everywhere = |state: &asterism_domain::State| {
        let flights = &state.campaigns[CAMPAIGN].in_flight;
        let of = |node: &asterism_domain::fleet::Node, status| {
            let is = |id: &&AttemptId| flights.get(*id).is_some_and(|flight| flight.status == status);
            node.attempts.iter().filter(is).count()
        };
        let mixed = |node: &&asterism_domain::fleet::Node| {
            of(node, AttemptStatus::Answered) >= 5 && of(node, AttemptStatus::Originating) >= 6
        };
        state.fleet.nodes.values().filter(mixed).count() == 3
    };
    stack.wait("calls up and ringing on three nodes", PATIENCE, everywhere).await;

    let dry = emergency(&stack, &["stop", "--reason", "a try", "--dry-run"]).await;
    assert!(dry.stop.is_none() && dry.calls > 0 && dry.ringing > 0 && dry.nodes == 3, "{dry:?}");
    assert!(stack.log.read(|state| state.emergency.is_none()), "a dry run stops nothing");

    // One link: one node hears nothing any more, and has orders.
    assert_eq!(wire.cut(|link| link == 0), 1);
    let commanded_ms = now_ms();
    let said = emergency(&stack, &["stop", "--reason", "wrong prompt", "--cancel-ringing"]).await;
    let answered_ms = now_ms();
    let held = said.stop.clone().expect("it holds");
    assert_eq!((held.reason.as_str(), held.cancel_ringing, held.cut_calls), ("wrong prompt", true, false));
    assert!(!held.by.is_empty(), "who stopped is in the log");
    assert_eq!(said.silent.len(), 1, "{said:?}");
    let up: BTreeSet<AttemptId> = in_flight(&stack)
        .into_iter()
        .filter(|(_, (status, node))| *status == AttemptStatus::Answered && !said.silent.contains(node))
        .map(|(id, _)| id)
        .collect();
    assert!(!up.is_empty(), "no call was up");

    // On nodes that hear, nothing is left but calls, which go on to their end.
    let silent = said.silent.clone();
    stack
        .wait("nothing is left where it was heard", PATIENCE, |state| {
            let flights = state.campaigns[CAMPAIGN].in_flight.values();
            flights.filter(|attempt| !silent.contains(&attempt.node)).count() == 0
        })
        .await;
    wire.cut(|_| false);
    stack.wait("nothing is left", PATIENCE, |state| state.in_flight == 0).await;
    let shown = emergency(&stack, &["show"]).await;
    assert_eq!((shown.stop.map(|stop| stop.position), shown.nodes), (Some(held.position), 0));

    // It goes on; and is stopped again, with what is up.
    stack
        .client
        .role(asterism_proto::Role::Dialer, "emergency.resume", &serde_json::json!({ "reason": "mended" }))
        .await
        .unwrap();
    in_the_middle(&stack).await;
    let cut =
        emergency(&stack, &["stop", "--reason", "a legal order", "--cancel-ringing", "--cut-calls"]).await;
    assert!(cut.calls >= 5 && cut.silent.is_empty(), "{cut:?}");
    stack.wait("nothing is left", Duration::from_secs(20), |state| state.in_flight == 0).await;
    let left = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.waiting);
    assert!(left > 0, "nobody was left to be dialled");
    stack
        .client
        .role(asterism_proto::Role::Dialer, "emergency.resume", &serde_json::json!({ "reason": "allowed" }))
        .await
        .unwrap();
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    let events = stack.sealed_events();
    no_ring_but_by_orders_that_were_out(&stack, &events, (commanded_ms, answered_ms));
    let ended: BTreeMap<&AttemptId, &str> = events
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::AttemptEnded { attempt, path, .. } => Some((attempt, path.as_str())),
            _ => None,
        })
        .collect();
    for call in &up {
        assert_eq!(ended[call], "done", "{call} was up at the stop and was to go on to its end");
    }
}

/// No attempt is intended between the first stop and its resumption; what rang after the command had been intended before; and
/// no order may be carried out later than a second after its decision.
fn no_ring_but_by_orders_that_were_out(
    stack: &Stack,
    events: &[Recorded],
    (commanded_ms, answered_ms): (u64, u64),
) {
    let at = |wanted: fn(&Event) -> bool| events.iter().find(|recorded| wanted(&recorded.event)).unwrap();
    let stop = at(|event| matches!(event, Event::EmergencyStopped { .. }));
    let resume = at(|event| matches!(event, Event::EmergencyResumed { .. }));
    let resumed_ms = resume.at;
    let mut intended: BTreeMap<&AttemptId, u64> = BTreeMap::new();
    for recorded in events {
        let Event::AttemptIntended { attempt, not_after_ms, .. } = &recorded.event else { continue };
        assert!(
            !(stop.sequence..resume.sequence).contains(&recorded.sequence),
            "{attempt} was intended while the stop held"
        );
        let ahead_ms = not_after_ms.saturating_sub(recorded.at);
        assert!(
            ahead_ms <= WINDOW_MS,
            "{attempt} might be dialled for {ahead_ms} ms by a node that is cut off"
        );
        intended.insert(attempt, recorded.sequence);
    }
    let (mut late, mut last_ms) = (0, commanded_ms);
    read_rings(&stack.path().join("rings.csv"), |ring| {
        if !(commanded_ms..resumed_ms).contains(&ring.unix_ms) {
            return;
        }
        let id: AttemptId = ring.attempt_id.parse().unwrap();
        assert!(intended[&id] < stop.sequence, "{id} rang, and was intended behind the stop");
        late += 1;
        last_ms = last_ms.max(ring.unix_ms);
    })
    .unwrap();
    println!(
        "the command took {} ms; {late} rings came after it was given, the last {} ms after; the node that was cut off included",
        answered_ms - commanded_ms,
        last_ms - commanded_ms
    );
}

//! Recordings of calls: each that a node made is in the store, byte for byte, whatever died on the way, or the log says
//! that it is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use asterism_cli::{import, ops};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::{Event, State};
use asterism_proto::Role;
use asterism_tests::asterisk::skip;
use asterism_tests::commands::{alone, done, refused};
use asterism_tests::crash::Points;
use asterism_tests::stack::{CALLER, CAMPAIGN, SERVICES, Stack, StackOptions, StackPbx, root};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_mins(4);
const CONTACTS: u64 = 40;

/// A greeting, then whoever answers is recorded.
const FLOW: &str = r##"
name = "message"
start = "welcome"
fallback = "end"

[states.welcome]
play = ["welcome"]
next = "message"

[states.message]
record = { max_s = 10, silence_s = 1, finish = "#" }
next = "thanks"

[states.thanks]
play = ["bye"]
next = "end"

[states.end]
hangup = {}
"##;

/// Starts a campaign of the first so many of the demo's contacts.
async fn campaign(stack: &Stack, contacts: u64, calls_per_second: u32) {
    let store = asterism_object_store::open(&stack.config.objects_url().unwrap()).await.unwrap();
    let demo = root().join("compose/demo");
    let flow = stack.path().join("message.toml");
    fs::write(&flow, FLOW).unwrap();
    let client = &stack.client;
    let prompts = ops::publish_prompts(client, store.as_ref(), &demo.join("prompts"), "demo").await.unwrap();
    let flow = ops::publish_flow(client, store.as_ref(), &flow).await.unwrap();
    let create: CreateCampaign = serde_json::from_value(serde_json::json!({
        "campaign": CAMPAIGN, "flow": flow.id(), "manifest": prompts.manifest_id, "trunk": "carrier",
        "ring_timeout_ms": 5_000, "max_attempts": 1, "caller_id": CALLER,
        "calls_per_second": calls_per_second,
        // A callee behind a full network would be tried for minutes.
        "rules": { "retries": [{ "outcome": "congestion", "delay_ms": 0, "max": 0 }] },
    }))
    .unwrap();
    ops::create_campaign(client, &create).await.unwrap();
    let (list, options) = (demo.join("contacts.csv"), import::Options::default());
    ops::import_contacts(client, CAMPAIGN, &list, &options, Some(contacts), |_| {}).await.unwrap();
    ops::start_campaign(client, CAMPAIGN).await.unwrap();
}

async fn stop_fleet(stack: &Stack) {
    let stop = serde_json::json!({ "reason": "the test is over" });
    stack.client.role(Role::Scaler, "fleet.stop", &stop).await.unwrap();
}

/// The campaign ends, and the fleet is sent home.
async fn to_the_end(stack: &Stack) {
    let ended = |state: &State| state.campaigns.get(CAMPAIGN).is_some_and(|it| it.ended_at.is_some());
    stack.wait("the end of the campaign", PATIENCE, ended).await;
    stop_fleet(stack).await;
    let gone = |state: &State| state.fleet.existing().count() == 0 && state.fleet.peak_nodes > 0;
    stack.wait("the end of the fleet", PATIENCE, gone).await;
}

/// The folder behind the services' object store.
fn objects(stack: &Stack) -> PathBuf {
    Path::new(stack.config.objects_url().unwrap().strip_prefix("file://").unwrap()).to_owned()
}

/// Files of recordings still on nodes.
fn left_on_nodes(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "wav") {
                found.push(path);
            }
        }
    }
    found
}

fn pending(state: &State) -> usize {
    state.fleet.nodes.values().map(|node| node.recordings.len()).sum()
}

/// Steps that were to record, in calls that were up.
fn recorded(stack: &Stack) -> BTreeSet<String> {
    let records = |event: &Event| match event {
        Event::StepTaken { call, step, reply, .. } if reply.starts_with("record|") => {
            Some(format!("{call}-{step}"))
        }
        _ => None,
    };
    stack.sealed_events().iter().filter_map(|recorded| records(&recorded.event)).collect()
}

/// Recordings that no one has: each of a step in which the callee hung up, or was hung up on, before it recorded.
fn lost(stack: &Stack) -> BTreeSet<String> {
    let events = stack.sealed_events();
    let goes_on = |call, step| {
        events.iter().any(|it| {
            matches!(&it.event, Event::StepTaken { call: of, step: next, .. } if of == call && *next > step)
        })
    };
    let mut lost = BTreeSet::new();
    for recorded in &events {
        let Event::RecordingLost { call, step, reason, .. } = &recorded.event else { continue };
        assert!(reason.contains("no file"), "{call}: {reason}");
        assert!(!goes_on(call, *step), "{call} went on after step {step}");
        lost.insert(format!("{call}-{step}"));
    }
    lost
}

/// Each stored recording is in the store as the log says it is.
fn all_whole(stack: &Stack) -> usize {
    let folder = objects(stack);
    let (mut count, mut spoken) = (0, 0);
    for recorded in stack.sealed_events() {
        let Event::RecordingStored { object, sha256, size_bytes, .. } = recorded.event else { continue };
        let bytes = fs::read(folder.join(&object)).unwrap();
        assert_eq!(bytes.len() as u64, size_bytes, "{object}");
        assert_eq!(Sha256::digest(&bytes).as_slice(), sha256, "{object}");
        assert!(size_bytes >= 44, "{object}: a file has a head, also where the callee hung up at once");
        count += 1;
        spoken += usize::from(size_bytes > 44 + 16 * 1_000);
    }
    assert!(spoken * 2 > count, "{spoken} of {count}: who does not hang up speaks two seconds");
    count
}

#[tokio::test]
async fn what_callees_say_is_in_the_store_before_their_nodes_go() {
    let stack = Box::pin(Stack::start(2, 20)).await;
    campaign(&stack, CONTACTS, 0).await;
    to_the_end(&stack).await;
    stack.replay_agrees().await;
    let lost = lost(&stack);
    let wanted = recorded(&stack);
    assert!(wanted.len() > 5, "{} calls were recorded", wanted.len());
    let stored: BTreeSet<String> =
        stack.log.read(|state| state.recordings.of(CAMPAIGN).map(|(id, _)| id.to_string()).collect());
    assert_eq!(stack.log.read(pending), 0, "{}", stack.logs());
    assert!(stored.is_disjoint(&lost) && lost.len() <= 1, "{lost:?}");
    assert_eq!(stored.union(&lost).cloned().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(all_whole(&stack), stored.len());
    assert_eq!(left_on_nodes(&stack.path().join("data/nodes")), Vec::<PathBuf>::new());
    people_can_have_them_and_have_them_erased(&stack, &stored);
}

fn people_can_have_them_and_have_them_erased(stack: &Stack, wanted: &BTreeSet<String>) {
    let all = wanted.len();
    let listed = done(stack, &["recordings", "list", "--campaign", CAMPAIGN]);
    let names: BTreeSet<String> = listed["stored"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["recording"].as_str().unwrap().into())
        .collect();
    assert_eq!((&names, listed["unsent"].as_u64()), (wanted, Some(0)));
    let one = wanted.first().unwrap().as_str();
    assert_eq!(done(stack, &["recordings", "fetch", "some", one])["fetched"], 1);
    let fetched = done(stack, &["recordings", "fetch", "some", "--campaign", CAMPAIGN]);
    assert_eq!((fetched["fetched"].as_u64(), fetched["kept"].as_u64()), (Some(all as u64 - 1), Some(1)));
    assert_eq!(left_on_nodes(&stack.path().join("some")).len(), all);
    refused(stack, &["recordings", "fetch", "some", "c-9999-1-1"], "AST-M087");
    refused(stack, &["recordings", "keep", "nobody", "9"], "AST-M082");
    refused(stack, &["recordings", "erase"], "required");

    let would = done(stack, &["recordings", "erase", "--campaign", CAMPAIGN, "--dry-run"]);
    assert_eq!((would["recordings"].as_array().unwrap().len(), would["erased"].as_u64()), (all, Some(0)));
    let old = ["recordings", "erase", "--campaign", CAMPAIGN, "--older-than-days", "1"];
    assert_eq!(done(stack, &old)["erased"], 0, "none is a day old");
    assert_eq!(done(stack, &["recordings", "erase", one, "--reason", "asked for it"])["erased"], 1);
    refused(stack, &["recordings", "erase", one], "AST-M087");
    assert_eq!(done(stack, &["recordings", "keep", CAMPAIGN, "30"])["due"], 0);
    let listed = done(stack, &["recordings", "list"]);
    let line = &listed["stored"][0];
    let days = (line["erased_at_ms"].as_u64().unwrap() - line["stored_at_ms"].as_u64().unwrap()) / 86_400_000;
    assert_eq!(
        (listed["stored"].as_array().unwrap().len(), listed["erased"].as_u64(), days),
        (all - 1, Some(1), 30)
    );
    assert_eq!(left_on_nodes(&objects(stack).join("recordings")).len(), all - 1, "its object is gone");
}

/// The agent's steps with a recording, in their order.
const AGENT: [&str; 10] = [
    "recording.sealed",
    "recording.hashed",
    "recording.unwritten",
    "recording.written",
    "recording.placed",
    "recording.half",
    "recording.sent",
    "recording.confirmed",
    "recording.dropped",
    "recording.removed",
];
/// Media-sync's: between reading back and committing, and between that and the answer.
const MEDIA_SYNC: [&str; 2] = ["recording.verified", "recording.committed"];

#[tokio::test]
async fn whoever_is_killed_at_each_step_every_recording_is_stored_or_said_to_be_lost() {
    let crashes = tempfile::tempdir().unwrap();
    let points = Points::new(crashes.path());
    let options = StackOptions { max_nodes: 2, capacity: 20, pbx: StackPbx::Sim };
    // Nodes seal what they send, for whoever has the key.
    let key = crashes.path().join("key.txt").display().to_string();
    let made = alone(&["recordings", "keygen", &key]);
    let recipient = made["recipient"].as_str().unwrap().to_owned();
    let env = vec![points.variable(), ("ASTERISM_RECORDINGS_RECIPIENT".to_owned(), recipient)];
    let mut stack = Box::pin(Stack::start_with_env(options, env)).await;
    campaign(&stack, 400, 5).await;
    let mut armed: Vec<String> = AGENT.iter().map(|point| format!("asterism-agent:{point}")).collect();
    armed.extend(MEDIA_SYNC.iter().map(|point| format!("asterism-media-sync:{point}")));
    for point in &armed {
        points.arm(point, 1);
        let began = Instant::now();
        while !points.hit().contains(point) {
            assert!(began.elapsed() < PATIENCE, "{point} was not passed\n{}", stack.logs());
            tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
        }
        if point.starts_with("asterism-media-sync") {
            stack.kill_service("asterism-media-sync"); // dead already: it is waited for
            stack.start_service("asterism-media-sync");
        }
    }
    to_the_end(&stack).await;

    stack.replay_agrees().await;
    let (wanted, whole) = (recorded(&stack), all_whole(&stack));
    let stored: BTreeSet<String> =
        stack.log.read(|state| state.recordings.of(CAMPAIGN).map(|(id, _)| id.to_string()).collect());
    let lost = lost(&stack);
    assert_eq!(stack.log.read(pending), 0, "nobody knows what became of them");
    assert!(stored.is_disjoint(&lost));
    assert_eq!(stored.union(&lost).cloned().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(whole, stored.len());
    assert!(lost.len() < AGENT.len() && stored.len() > 30, "{} stored, {lost:?} lost", stored.len());
    only_who_has_the_key_can_listen(&stack, &key, stored.len() as u64);
    assert_eq!(left_on_nodes(&stack.path().join("data/nodes")), Vec::<PathBuf>::new());
}

fn only_who_has_the_key_can_listen(stack: &Stack, key: &str, all: u64) {
    let fetch = ["recordings", "fetch", "closed", "--campaign", CAMPAIGN];
    let closed = done(stack, &fetch);
    assert_eq!((closed["fetched"].as_u64(), closed["sealed"].as_u64()), (Some(all), Some(all)), "{closed}");
    assert_eq!(done(stack, &fetch)["kept"], all, "whole, and not fetched again");
    let fetch = ["recordings", "fetch", "open", "--campaign", CAMPAIGN, "--identity", key];
    assert_eq!(done(stack, &fetch)["fetched"], all);
    for file in fs::read_dir(stack.path().join("open")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(bytes.starts_with(b"RIFF") && bytes[8..].starts_with(b"WAVE"), "it is what a PBX wrote");
    }
    assert_eq!(done(stack, &fetch)["kept"], all);
    let other = stack.path().join("other.txt").display().to_string();
    done(stack, &["recordings", "keygen", &other]);
    refused(stack, &["recordings", "keygen", &other], "AST-U153");
    let fetch = ["recordings", "fetch", "none", "--campaign", CAMPAIGN, "--identity", &other];
    refused(stack, &fetch, "AST-U152");
    refused(
        stack,
        &["recordings", "fetch", "none", "--campaign", CAMPAIGN, "--identity", "voices.csv"],
        "AST-U151",
    );
}

/// The store's disk, and the nodes'.
const DISKS: [(&str, u64); 2] = [("objects", 24 << 20), ("data/nodes", 48 << 20)];

fn stored(state: &State) -> usize {
    state.recordings.of(CAMPAIGN).count()
}

/// A field of each node's last heartbeat, as `fleet list` has it.
fn heard(stack: &Stack, field: &str) -> Vec<String> {
    let list = done(stack, &["fleet", "list"]);
    let nodes = list["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| node["load"][field].as_str().unwrap_or_default().to_owned()).collect()
}

/// The store has no room: nodes keep what they have, say why, and send it once there is room.
async fn without_room_in_the_store(stack: &Stack) {
    stack.wait("the first recordings", PATIENCE, |state| stored(state) >= 2).await;
    stack.disk(0).fill();
    stack.wait("recordings that cannot be stored", PATIENCE, |state| pending(state) >= 5).await;
    let began = Instant::now();
    while !heard(stack, "recordings_problem").iter().any(|why| why.contains("No space left")) {
        assert!(began.elapsed() < PATIENCE, "{:?}", heard(stack, "recordings_problem"));
        tokio::time::sleep(Duration::from_millis(200)).await; // the pause of a poll
    }
    let before = stack.log.read(stored);
    stack.disk(0).empty();
    stack.wait("what was kept is stored", PATIENCE, |state| stored(state) >= before + 5).await;
}

/// The nodes have no room: what their PBX cannot write is lost, and the log says so.
async fn without_room_on_the_nodes(stack: &Stack) {
    let talking = |state: &State| state.fleet.nodes.values().any(|node| !node.attempts.is_empty());
    stack.wait("calls", PATIENCE, talking).await;
    stack.disk(1).fill();
    let nodes: Vec<String> = stack.log.read(|state| state.fleet.nodes.keys().cloned().collect());
    let began = Instant::now();
    while !nodes.iter().any(|node| stack.pids(node, "asterism-agent run").is_empty()) {
        assert!(began.elapsed() < PATIENCE, "no agent minds a full disk\n{}", stack.logs());
        tokio::time::sleep(Duration::from_millis(5)).await; // the pause of a poll
    }
    // The calls that are up go on with nobody to write down what they say.
    tokio::time::sleep(Duration::from_secs(3)).await;
    stack.disk(1).empty();
}

#[tokio::test]
async fn full_disks_delay_recordings_and_none_is_lost_without_a_word() {
    let options = StackOptions { max_nodes: 2, capacity: 20, pbx: StackPbx::Sim };
    let services = SERVICES.map(|service| (service, Vec::new()));
    let Some(stack) = Box::pin(Stack::start_on(options, Vec::new(), &DISKS, &services)).await else {
        return skip("full_disks_delay_recordings", "a small disk cannot be mounted here (not root?)");
    };
    campaign(&stack, 240, 5).await;
    without_room_in_the_store(&stack).await;
    without_room_on_the_nodes(&stack).await;
    to_the_end(&stack).await;

    stack.replay_agrees().await;
    assert_eq!(stack.log.read(pending), 0, "nobody knows what became of them");
    let stored: BTreeSet<String> =
        stack.log.read(|state| state.recordings.of(CAMPAIGN).map(|(id, _)| id.to_string()).collect());
    let mut lost = BTreeSet::new();
    for recorded in stack.sealed_events() {
        if let Event::RecordingLost { call, step, reason, .. } = recorded.event {
            assert!(reason.contains("disk was full"), "{call}: {reason}");
            lost.insert(format!("{call}-{step}"));
        }
    }
    assert!(stored.is_disjoint(&lost));
    assert_eq!(stored.union(&lost).cloned().collect::<BTreeSet<_>>(), recorded(&stack));
    assert_eq!(all_whole(&stack), stored.len());
    assert_eq!(left_on_nodes(&stack.path().join("data/nodes")), Vec::<PathBuf>::new());
}

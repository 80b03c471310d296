//! A campaign's prompts changed by commands while it dials: calls keep what they have, new ones play what is new, one can
//! go back, and what nobody needs goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use asterism_domain::{Event, State};
use asterism_tests::asterisk::skip;
use asterism_tests::commands::{done, refused};
use asterism_tests::stack::{CAMPAIGN, SERVICES, Stack, StackOptions, StackPbx, root};

const PATIENCE: Duration = Duration::from_mins(1);
const CONTACTS: u64 = 200;

/// The demo's prompts in two languages, `bye` said anew.
fn said_anew(folder: &Path) {
    let demo = root().join("compose/demo/prompts");
    for language in ["en", "de"] {
        fs::create_dir_all(folder.join(language)).unwrap();
        for entry in fs::read_dir(&demo).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), folder.join(language).join(entry.file_name())).unwrap();
        }
        fs::remove_file(folder.join(language).join("bye.wav")).unwrap();
        fs::write(folder.join(language).join("bye.ulaw"), [0x55; 4_000]).unwrap();
    }
}

fn plays(state: &State, manifest: &str) -> bool {
    state.campaigns[CAMPAIGN].in_flight.values().any(|flight| flight.manifest == manifest)
}

#[tokio::test]
async fn prompts_change_while_calls_are_up_and_go_back() {
    let stack = Box::pin(Stack::start(2, 20)).await;
    stack.campaign(CONTACTS).await;
    done(&stack, &["campaign", "set", CAMPAIGN, "--calls-per-second", "5", "--reason", "slowly"]);
    let first = stack.log.read(|state| state.campaigns[CAMPAIGN].manifest.clone());
    stack.wait("calls with the first prompts", PATIENCE, |state| plays(state, &first)).await;

    let folder = stack.path().join("anew");
    said_anew(&folder);
    let path = folder.display().to_string();
    let publish = ["media", "publish", &path, "--name", "demo", "--campaign"];
    refused(&stack, &[&publish[..], &["nobody"]].concat(), "AST-U140");
    let would = done(&stack, &[&publish[..], &[CAMPAIGN, "--dry-run"]].concat());
    assert_eq!(stack.log.read(|state| state.catalogue.manifests.len()), 1, "a dry run publishes nothing");
    let second = done(&stack, &[&publish[..], &[CAMPAIGN, "--reason", "said anew"]].concat());
    let second = second["manifest"].as_str().unwrap().to_owned();
    assert_eq!(would["manifest"], second.as_str());
    stack.wait("calls with the new prompts", PATIENCE, |state| plays(state, &second)).await;

    let diff = done(&stack, &["media", "diff", &first[..8], "demo"]);
    let changed: BTreeMap<&str, &str> = diff
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["file"].as_str().unwrap(), line["change"].as_str().unwrap()))
        .collect();
    assert_eq!(changed.len(), 5, "{diff:#}");
    assert_eq!((changed["en/bye.ulaw"], changed["de/welcome.ulaw"]), ("changed", "added"));
    let shown = done(&stack, &["media", "show", "demo"]);
    assert_eq!(
        (&shown["set"]["campaigns"][0], shown["prompts"].as_array().unwrap().len()),
        (&CAMPAIGN.into(), 8)
    );

    done(&stack, &["media", "rollback", CAMPAIGN, "--reason", "wrong voice"]);
    stack.wait("going back", PATIENCE, |state| state.campaigns[CAMPAIGN].manifest == first).await;
    done(&stack, &["campaign", "set", CAMPAIGN, "--calls-per-second", "0", "--reason", "on with it"]);
    stack.wait("the end", PATIENCE, |state| state.campaigns[CAMPAIGN].ended_at.is_some()).await;
    refused(&stack, &["media", "rollback", CAMPAIGN], "AST-U141");
    verified_and_collected(&stack, &second);

    // What each call was to play is in the log, and it never changed.
    stack.replay_agrees().await;
    let mut played: BTreeMap<String, u32> = BTreeMap::new();
    let mut state = State::default();
    for recorded in stack.sealed_events() {
        state.apply(&recorded);
        if let Event::AttemptIntended { attempt, .. } = &recorded.event
            && let Some(flight) = state.campaigns[CAMPAIGN].in_flight.get(attempt)
        {
            *played.entry(flight.manifest.clone()).or_default() += 1;
        }
    }
    assert!(played[&first] > 0 && played[&second] > 0 && played.len() == 2, "{played:?}");
}

/// A damaged sound is found; what is not needed goes, the rest is whole.
fn verified_and_collected(stack: &Stack, second: &str) {
    let all = done(stack, &["media", "verify"]);
    assert_eq!((all["sets"].as_u64(), all["bad"].as_array().map(Vec::len)), (Some(2), Some(0)));
    let entry = &done(stack, &["media", "show", second])["prompts"][0];
    let hash = entry["sha256"].as_str().unwrap();
    let objects = stack.config.objects_url().unwrap();
    let folder = Path::new(objects.strip_prefix("file://").unwrap()).to_owned();
    let sound = folder.join(format!("blobs/sha256/{}/{hash}", &hash[..2]));
    let mut bytes = fs::read(&sound).unwrap();
    bytes[0] ^= 1;
    fs::write(&sound, &bytes).unwrap();
    refused(stack, &["media", "verify", second], "AST-U142");

    let would = done(stack, &["media", "gc", "--keep", "0", "--dry-run"]);
    let did = done(stack, &["media", "gc", "--keep", "0"]);
    assert_eq!((&would["objects"], &would["size_bytes"]), (&did["objects"], &did["size_bytes"]));
    assert_eq!(did["retired"].as_array().unwrap().len(), 2, "the campaign has ended");
    assert!(!sound.exists());
    assert_eq!(done(stack, &["media", "list"]), serde_json::json!([]));
}

/// Room on the nodes' disk, of which prompts may take three quarters.
const DISK_BYTES: u64 = 64 << 20;
const FILLER_BYTES: usize = 40 << 20;

#[tokio::test]
async fn a_set_there_is_no_room_for_is_said_so_and_calls_go_on_with_the_one_before() {
    let options = StackOptions { max_nodes: 1, capacity: 20, pbx: StackPbx::Sim };
    let services = SERVICES.map(|service| (service, Vec::new()));
    let disks = [("data/nodes", DISK_BYTES)];
    let Some(stack) = Box::pin(Stack::start_on(options, Vec::new(), &disks, &services)).await else {
        return skip("a_set_there_is_no_room_for", "a small disk cannot be mounted here (not root?)");
    };
    stack.campaign(CONTACTS).await;
    done(&stack, &["campaign", "set", CAMPAIGN, "--calls-per-second", "4", "--reason", "slowly"]);
    let first = stack.log.read(|state| state.campaigns[CAMPAIGN].manifest.clone());
    stack.wait("calls with the first prompts", PATIENCE, |state| plays(state, &first)).await;

    let filler = stack.path().join("data/nodes/filler");
    fs::write(&filler, vec![0; FILLER_BYTES]).unwrap();
    let folder = stack.path().join("long");
    said_anew(&folder);
    for number in 0..12_u8 {
        fs::write(folder.join(format!("en/long{number}.ulaw")), vec![0x50 + number; 1 << 20]).unwrap();
    }
    let path = folder.display().to_string();
    let second = done(&stack, &["media", "publish", &path, "--name", "demo", "--campaign", CAMPAIGN]);
    let second = second["manifest"].as_str().unwrap().to_owned();
    let deadline = std::time::Instant::now() + PATIENCE;
    let said = loop {
        let list = done(&stack, &["fleet", "list"]);
        let said = list["nodes"][0]["load"]["prompts_problem"].as_str().unwrap_or_default().to_owned();
        if said.contains("no space left for prompts") {
            break said;
        }
        assert!(std::time::Instant::now() < deadline, "{list:#}");
        tokio::time::sleep(Duration::from_millis(200)).await; // the pause of a poll
    };
    assert!(said.starts_with("AST-A007") && said.contains(&second), "{said}");
    let before = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.settled_total());
    stack
        .wait("calls go on", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].counts.settled_total() > before + 5 && plays(state, &first)
        })
        .await;
    assert!(stack.log.read(|state| !plays(state, &second)), "nobody plays what is not there");

    fs::remove_file(&filler).unwrap();
    stack.wait("calls with the new prompts", PATIENCE, |state| plays(state, &second)).await;
    done(&stack, &["campaign", "set", CAMPAIGN, "--calls-per-second", "0", "--reason", "on with it"]);
    stack.wait("the end", PATIENCE, |state| state.campaigns[CAMPAIGN].ended_at.is_some()).await;
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
}

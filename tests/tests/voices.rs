//! Two hundred prompts in two languages on real Asterisk, on nodes that begin with empty disks. While fifty calls are up one of
//! the prompts is said anew, as long as it was: no call changes its voice. Callees are recorded, and when the fleet is gone all
//! they said is in the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use asterism_cli::{import, ops};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::{AttemptId, Event, State, invariant};
use asterism_tests::asterisk::RealParts;
use asterism_tests::commands::done;
use asterism_tests::sipp::{Carrier, Habits, Media, TALK_SAMPLE};
use asterism_tests::stack::{CALLER, CAMPAIGN, Stack, StackOptions, StackPbx};
use serde_json::json;
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_mins(3);
/// Nobody presses or leaves.
const HABITS: Habits = Habits { press_ms: 60_000, leave_ms: 60_000 };
const LANGUAGES: [&str; 2] = ["en", "de"];
/// Names of prompts beside `welcome`; a callee hears as many of them as go into one step.
const NAMES: usize = 200;
const A_STEP: usize = 8;
const PARTS: usize = NAMES / A_STEP;
/// Calls that are up when the prompts change, and those behind them.
const UP: usize = 50;
const CONTACTS: usize = 60;
/// Four seconds, and a tenth of one, of µ-law.
const WELCOME_BYTES: usize = 32_000;
const SHORT_BYTES: usize = 800;

/// Noise that no other prompt is: what a prompt is called, in what language and which edition, is its seed.
fn noise(seed: &str, bytes: usize) -> Vec<u8> {
    let blocks = (0_u32..).map(|n| Sha256::digest(format!("{seed}/{n}")));
    blocks.flatten().take(bytes).collect()
}

fn welcome(language: &str, edition: u32) -> Vec<u8> {
    noise(&format!("{language}/welcome/{edition}"), WELCOME_BYTES)
}

fn short(language: &str, name: usize) -> Vec<u8> {
    noise(&format!("{language}/{name}"), SHORT_BYTES)
}

fn write_prompts(folder: &Path, edition: u32) {
    for language in LANGUAGES {
        let folder = folder.join(language);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("welcome.ulaw"), welcome(language, edition)).unwrap();
        for name in 0..NAMES {
            fs::write(folder.join(format!("p{name:03}.ulaw")), short(language, name)).unwrap();
        }
    }
}

/// Everybody is welcomed, hears some of the prompts, is welcomed again by the same voice, and is recorded.
fn flow() -> String {
    let mut flow = "name = \"voices\"\nstart = \"hello\"\nfallback = \"end\"\n\
        [states.hello]\nplay = [\"welcome\"]\nnext = \"part\"\n\
        [states.again]\nplay = [\"welcome\"]\nnext = \"message\"\n\
        [states.message]\nrecord = { max_s = 2, silence_s = 0 }\nnext = \"end\"\n[states.end]\nhangup = {}\n"
        .to_owned();
    let on: Vec<String> = (0..PARTS).map(|part| format!("\"{part}\" = \"part-{part}\"")).collect();
    let on = on.join(", ");
    writeln!(flow, "[states.part]\nmatch = \"part\"\non = {{ {on} }}\notherwise = \"end\"").unwrap();
    for part in 0..PARTS {
        let names = part * A_STEP..(part + 1) * A_STEP;
        let prompts: Vec<String> = names.map(|name| format!("\"p{name:03}\"")).collect();
        let prompts = prompts.join(", ");
        writeln!(flow, "[states.part-{part}]\nplay = [{prompts}]\nnext = \"again\"").unwrap();
    }
    flow
}

struct Callee {
    number: String,
    /// As lists have it; what nobody speaks here is said in English.
    says: &'static str,
    hears: &'static str,
    part: usize,
}

fn callees() -> Vec<Callee> {
    let others = [(" DE ", "de"), ("", "en"), ("fr", "en"), ("de_AT", "de")];
    let of = |n: usize| {
        let (says, hears) = match n / PARTS {
            0 => ("en", "en"),
            1 => ("de", "de"),
            _ => others[n % others.len()],
        };
        Callee { number: format!("+1{}5550150", 202 + n), says, hears, part: n % PARTS }
    };
    (0..CONTACTS).map(of).collect()
}

async fn campaign(stack: &Stack, prompts: &Path) {
    let store = asterism_object_store::open(&stack.config.objects_url().unwrap()).await.unwrap();
    let (client, file) = (&stack.client, stack.path().join("voices.toml"));
    fs::write(&file, flow()).unwrap();
    let prompts = ops::publish_prompts(client, store.as_ref(), prompts, "voices").await.unwrap();
    let flow = ops::publish_flow(client, store.as_ref(), &file).await.unwrap();
    let create: CreateCampaign = serde_json::from_value(json!({
        "campaign": CAMPAIGN, "flow": flow.id(), "manifest": prompts.manifest_id, "trunk": "carrier",
        "ring_timeout_ms": 10_000, "max_attempts": 1, "caller_id": CALLER, "max_channels": UP,
        "calls_per_second": 25,
    }))
    .unwrap();
    ops::create_campaign(client, &create).await.unwrap();
    let list = stack.path().join("voices.csv");
    let csv = callees().iter().fold("number,language,part\n".to_owned(), |mut csv, callee| {
        writeln!(csv, "{},{},{}", callee.number, callee.says, callee.part).unwrap();
        csv
    });
    fs::write(&list, csv).unwrap();
    let options = import::Options::default();
    ops::import_contacts(client, CAMPAIGN, &list, &options, None, |_| {}).await.unwrap();
    ops::start_campaign(client, CAMPAIGN).await.unwrap();
}

/// Which prompts each number's call was to play, by the log.
fn editions(stack: &Stack, first: &str) -> BTreeMap<String, u32> {
    let mut state = State::default();
    let mut editions = BTreeMap::new();
    for recorded in stack.sealed_events() {
        state.apply(&recorded);
        if let Event::AttemptIntended { attempt, .. } = &recorded.event
            && let Some(flight) = state.campaigns[CAMPAIGN].in_flight.get(attempt)
        {
            let number = callees()[attempt.contact as usize].number.clone();
            editions.insert(number, if flight.manifest == first { 1 } else { 2 });
        }
    }
    editions
}

/// Byte for byte, by callee: the welcome of its call's edition, twice, no other; and each prompt of its part, in its language.
fn heard(stack: &Stack, carrier: &Carrier, first: &str) {
    let (media, editions) = (carrier.media(), editions(stack, first));
    for callee in callees() {
        let (came, own) = (&media[&callee.number], editions[&callee.number]);
        let said = format!("{} {:?} edition {own}, {} packets", callee.number, callee.says, came.packets);
        for language in LANGUAGES {
            for edition in [1, 2] {
                let times = times(came, &welcome(language, edition));
                let wanted = if language == callee.hears && edition == own { 2 } else { 0 };
                assert_eq!(times, wanted, "{said}: {language} {edition}");
            }
        }
        for name in callee.part * A_STEP..(callee.part + 1) * A_STEP {
            assert!(came.heard(&short(callee.hears, name)), "{said}: p{name:03}");
        }
    }
    let with = |edition| editions.values().filter(|own| **own == edition).count();
    assert!(with(1) >= UP && with(2) > 0, "{editions:?}");
}

/// How often a sound was heard whole.
fn times(media: &Media, sound: &[u8]) -> usize {
    let whole = &sound[..sound.len() - 160];
    media.ulaw.windows(whole.len()).filter(|part| *part == whole).count()
}

/// Each call has its recording in the store, with the hash that its node told; and it is what its callee said.
fn recorded(stack: &Stack) {
    let fetched = done(stack, &["recordings", "fetch", "said", "--campaign", CAMPAIGN]);
    assert_eq!(fetched["fetched"], CONTACTS, "{fetched}");
    let mut made: BTreeMap<AttemptId, Vec<u8>> = BTreeMap::new();
    for recorded in stack.sealed_events() {
        match recorded.event {
            Event::RecordingMade { call, step, sha256, .. } => {
                let file = stack.path().join(format!("said/{call}-{step}.wav"));
                let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                assert_eq!(Sha256::digest(&bytes).as_slice(), sha256, "{call}");
                let samples = bytes[44..].chunks_exact(2);
                let loud = samples.filter(|pair| i16::from_le_bytes([pair[0], pair[1]]) == TALK_SAMPLE);
                let loud = loud.count();
                assert!(loud > 8_000, "{call}: {loud} samples of what it said");
                assert!(made.insert(call, sha256).is_none(), "a call records once");
            }
            Event::RecordingStored { call, sha256, .. } => assert_eq!(made[&call], sha256),
            Event::RecordingLost { call, reason, .. } => panic!("{call}: {reason}"),
            _ => {}
        }
    }
    assert_eq!(made.len(), CONTACTS);
}

#[tokio::test]
async fn two_hundred_prompts_in_two_languages_reach_real_nodes_and_what_is_said_comes_back() {
    let name = "voices::two_hundred_prompts_in_two_languages_reach_real_nodes_and_what_is_said_comes_back";
    let Some(parts) = RealParts::find(name) else { return };
    let carrier = Carrier::start_talking(&parts.sipp, HABITS);
    let pbx = StackPbx::Asterisk { root: parts.root, carrier: carrier.port };
    let stack =
        Box::pin(Stack::start_with(StackOptions { max_nodes: 2, capacity: UP as u32 / 2, pbx })).await;
    let (one, two) = (stack.path().join("first"), stack.path().join("second"));
    write_prompts(&one, 1);
    write_prompts(&two, 2);
    Box::pin(campaign(&stack, &one)).await;
    let first = stack.log.read(|state| state.campaigns[CAMPAIGN].manifest.clone());
    stack.wait("fifty calls", PATIENCE, |state| state.campaigns[CAMPAIGN].counts.up as usize == UP).await;
    let two = two.display().to_string();
    let publish = ["media", "publish", &two, "--name", "voices", "--campaign", CAMPAIGN, "--reason", "anew"];
    let second = done(&stack, &publish)["manifest"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let up = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.up as usize);
    assert!(up * 2 > UP, "{up} calls were up when the new prompts were published");
    stack.wait("the end", PATIENCE, |state| state.campaigns[CAMPAIGN].ended_at.is_some()).await;
    let down = done(&stack, &["fleet", "down", "--reason", "done", "--wait", "60"]);
    assert_eq!(down["instances"], 0, "{down}");
    // This copy of the log may be behind the scaler's, which was asked.
    let all = |state: &State| state.recordings.of(CAMPAIGN).count() == CONTACTS;
    stack
        .wait("the end, in this copy", PATIENCE, |state| state.fleet.existing().count() == 0 && all(state))
        .await;
    Box::pin(stack.replay_agrees()).await;
    assert_eq!(stack.log.read(invariant::broken), []);
    heard(&stack, &carrier, &first);
    recorded(&stack);
}

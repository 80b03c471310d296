//! One survey by four ways on real Asterisk: callees press their keys by SIPp; whether a file, an HTTP server, an XML-RPC server
//! or somebody on the bus decides, the log says the same, call by call and step by step, and callees hear the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use asterism_cli::{import, ops};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::campaign::{CampaignStatus, ContactStatus};
use asterism_domain::event::StepSource;
use asterism_domain::ids::Outcome;
use asterism_domain::{Event, invariant};
use asterism_media_sync::publish::{DEFAULT_FORMATS, convert, read_folder};
use asterism_tests::asterisk::RealParts;
use asterism_tests::sipp::{Carrier, Habits};
use asterism_tests::stack::{Stack, StackOptions, StackPbx};
use asterism_tests::survey::{Survey, WAYS, write_prompts};

/// Prompts take half a second and a question waits for 8 s: a key each 4 s is in the middle of its question.
const HABITS: Habits = Habits { press_ms: 4_000, leave_ms: 5_500 };
const PATIENCE: Duration = Duration::from_mins(3);
const CALLER_ID: &str = "+12025550100";

/// What callees press, by the end of their numbers; what their calls come to.
struct Callee {
    ends: &'static str,
    keys: &'static str,
    heard: &'static [&'static str],
    steps: &'static [&'static str],
}

const GATHER: &str = "|1|8|1|#";
/// Whom callees are joined with, by language: one answers and leaves after a while, the other is busy.
const SUPPORT: [(&str, &str); 2] = [("+14155550157", "ANSWER"), ("+14155550186", "BUSY")];
/// All answers in German; a wrong key for the language, then an answer and the opt-out; a wrong answer; nothing at all; who leaves;
/// who wants to talk to somebody, and does; who would, and nobody is free.
const CALLEES: [Callee; 7] = [
    Callee {
        ends: "0161",
        keys: "2315",
        heard: &["greeting", "menu", "q1", "q2", "q3", "thanks"],
        steps: &["gather|greeting&menu", "gather|q1", "gather|q2", "gather|q3", "play|thanks|0", "hangup|16"],
    },
    Callee {
        ends: "0162",
        keys: "7149",
        heard: &["greeting", "menu", "q1", "q2", "bye"],
        steps: &["gather|greeting&menu", "gather|menu", "gather|q1", "gather|q2", "optout|bye"],
    },
    Callee {
        ends: "0163",
        keys: "18",
        heard: &["greeting", "menu", "q1", "bye"],
        steps: &["gather|greeting&menu", "gather|q1", "play|bye|0", "hangup|16"],
    },
    Callee {
        ends: "0150",
        keys: "",
        heard: &["greeting", "menu", "bye"],
        steps: &["gather|greeting&menu", "gather|menu", "play|bye|0", "hangup|16"],
    },
    Callee { ends: "0157", keys: "", heard: &["greeting", "menu"], steps: &["gather|greeting&menu"] },
    Callee {
        ends: "0164",
        keys: "10",
        heard: &["greeting", "menu", "q1", "thanks"],
        steps: &["gather|greeting&menu", "gather|q1", "dial|support-en|20|600", "play|thanks|0", "hangup|16"],
    },
    Callee {
        ends: "0165",
        keys: "230",
        heard: &["engaged", "greeting", "menu", "q1", "q2"],
        steps: &[
            "gather|greeting&menu",
            "gather|q1",
            "gather|q2",
            "dial|support-de|20|600",
            "play|engaged|0",
            "hangup|16",
        ],
    },
];

fn number(way: usize, callee: &Callee) -> String {
    format!("+1{}555{}", 202 + way, callee.ends)
}

/// Publishes the survey of each way and calls everybody of its list.
async fn call_everybody(stack: &Stack, surveys: &[Survey]) {
    let store = asterism_object_store::open(&stack.config.objects_url().unwrap()).await.unwrap();
    let prompts = write_prompts(stack.path());
    let prompts = ops::publish_prompts(&stack.client, store.as_ref(), &prompts, "survey").await.unwrap();
    for (index, survey) in surveys.iter().enumerate() {
        let flow = ops::publish_flow(&stack.client, store.as_ref(), &survey.file).await.unwrap();
        let create: CreateCampaign = serde_json::from_value(serde_json::json!({
            "campaign": survey.way, "flow": flow.id(), "manifest": prompts.manifest_id, "trunk": "carrier",
            "ring_timeout_ms": 20_000, "max_attempts": 1, "calls_per_second": 2, "caller_id": CALLER_ID,
        }))
        .unwrap();
        ops::create_campaign(&stack.client, &create).await.unwrap();
        let list = stack.path().join(format!("{}.csv", survey.way));
        let csv = CALLEES.iter().fold("number\n".to_owned(), |mut csv, callee| {
            writeln!(csv, "{}", number(index, callee)).unwrap();
            csv
        });
        fs::write(&list, csv).unwrap();
        let options = import::Options::default();
        ops::import_contacts(&stack.client, survey.way, &list, &options, None, |_| {}).await.unwrap();
    }
    for survey in surveys {
        ops::start_campaign(&stack.client, survey.way).await.unwrap();
    }
}

#[tokio::test]
async fn one_survey_has_the_same_log_by_four_ways_on_real_asterisk() {
    let name = "survey::one_survey_has_the_same_log_by_four_ways_on_real_asterisk";
    let Some(parts) = RealParts::find(name) else { return };
    let keys: Vec<(&str, &str)> = CALLEES
        .iter()
        .filter(|callee| !callee.keys.is_empty())
        .map(|callee| (callee.ends, callee.keys))
        .collect();
    let carrier = Carrier::start_pressing(&parts.sipp, HABITS, &keys);
    let pbx = StackPbx::Asterisk { root: parts.root, carrier: carrier.port };
    let stack = Box::pin(Stack::start_with(StackOptions { max_nodes: 1, capacity: 24, pbx })).await;
    let surveys = WAYS.map(|way| Survey::start(way, &stack.nats, stack.path()));
    Box::pin(call_everybody(&stack, &surveys)).await;
    let completed = |state: &asterism_domain::State| {
        WAYS.iter().all(|way| state.campaigns[*way].status == CampaignStatus::Completed)
    };
    stack.wait("all four are through", PATIENCE, completed).await;
    assert_eq!(stack.log.read(invariant::broken), []);
    Box::pin(stack.replay_agrees()).await;
    each_way_is_what_its_callees_pressed(&stack);
    the_log_is_the_same(&stack);
    callees_heard_the_prompts(&stack, &carrier);
    somebody_was_talked_to(&stack, &carrier);
}

/// Outcome, keys, tags and the do-not-call list, by the state.
fn each_way_is_what_its_callees_pressed(stack: &Stack) {
    stack.log.read(|state| {
        for (index, way) in WAYS.iter().enumerate() {
            let campaign = &state.campaigns[*way];
            for callee in &CALLEES {
                let hash = stack.number_hash(&number(index, callee));
                let contact = campaign.contacts.iter().find(|contact| contact.number_hash == hash).unwrap();
                let said = (&contact.status, contact.digits.as_str());
                assert_eq!(
                    said,
                    (&ContactStatus::Settled(Outcome::Answered), callee.keys),
                    "{way} {}",
                    callee.ends
                );
                let listed = state.do_not_call.values().any(|list| list.numbers.contains(&hash));
                assert_eq!(listed, callee.ends == "0162", "{way} {}", callee.ends);
            }
            let tags: Vec<(&str, u32)> =
                campaign.counts.tags.iter().map(|(tag, count)| (tag.as_str(), *count)).collect();
            assert_eq!(tags, [("de", 2), ("en", 3), ("opted-out", 1)], "{way}");
        }
    });
}

/// Each call's decisions and steps, by the events.
fn the_log_is_the_same(stack: &Stack) {
    type Calls = BTreeMap<u32, Vec<String>>;
    let mut decided: BTreeMap<String, Calls> = BTreeMap::new();
    let mut taken: BTreeMap<String, Calls> = BTreeMap::new();
    for event in stack.sealed_events() {
        match event.event {
            Event::StepDecided { call, step, state, next_state, reply, input, tags, .. } => {
                let line = format!("{step} {state:?} {input:?} {reply} {next_state} {tags:?}");
                decided.entry(call.campaign).or_default().entry(call.contact).or_default().push(line);
            }
            Event::StepTaken { call, step, reply, source, input, reason, tags, .. } => {
                assert_eq!((source, reason.as_str()), (StepSource::Responder, ""), "{call} {step}");
                let line = format!("{step} {input:?} {reply} {tags:?}");
                taken.entry(call.campaign).or_default().entry(call.contact).or_default().push(line);
            }
            Event::LogicFailed { call, step, code, reason, .. } => panic!("{call} {step}: {code} {reason}"),
            _ => {}
        }
    }
    for (contact, callee) in (0..).zip(&CALLEES) {
        let said = &decided["file"][&contact];
        let full =
            |step: &str| if step.starts_with("gather") { format!("{step}{GATHER}") } else { step.to_owned() };
        for (line, step) in said.iter().zip(callee.steps) {
            assert!(line.contains(&format!(" {} ", full(step))), "{}: {step}\n{said:#?}", callee.ends);
        }
        assert_eq!(taken["file"][&contact].len(), callee.steps.len(), "{}: {said:#?}", callee.ends);
    }
    for way in &WAYS[1..] {
        assert_eq!(decided[*way], decided["file"], "{way}");
        assert_eq!(taken[*way], taken["file"], "{way}");
    }
}

/// One leg for each who asked for it, by the number of the flow and as the campaign; and the log says how it ended.
fn somebody_was_talked_to(stack: &Stack, carrier: &Carrier) {
    let rings = carrier.rings();
    let mut ended: BTreeMap<String, Vec<(String, u32, bool)>> = BTreeMap::new();
    for event in stack.sealed_events() {
        if let Event::BridgeEnded { attempt, step, status, talk_ms, .. } = event.event {
            // The other end leaves 5.5 s after its answer.
            let talked = (5_000..8_000).contains(&talk_ms);
            assert!(talked || talk_ms == 0, "{attempt}: {talk_ms} ms");
            ended.entry(attempt.campaign).or_default().push((status, step, talked));
        }
    }
    for (number, _) in SUPPORT {
        assert_eq!(rings[number], WAYS.len(), "{rings:?}");
    }
    for way in WAYS {
        let legs = ended.get_mut(way).unwrap();
        legs.sort();
        let expected = [(SUPPORT[0].1.to_owned(), 3, true), (SUPPORT[1].1.to_owned(), 4, false)];
        assert_eq!(*legs, expected, "{way}");
    }
    let shown: Vec<String> = carrier.callers_of(SUPPORT[0].0).into_iter().collect();
    assert_eq!(shown, [CALLER_ID], "the other end sees what the callee saw");
    assert_eq!(stack.log.read(|state| state.trunks["carrier"].channels), 0, "every channel is given back");
}

/// Byte for byte what was to be played, and nothing else.
fn callees_heard_the_prompts(stack: &Stack, carrier: &Carrier) {
    let sounds: BTreeMap<String, Vec<u8>> = read_folder(&stack.path().join("survey-prompts"), "en")
        .unwrap()
        .iter()
        .map(|source| {
            let sound = convert(source, &DEFAULT_FORMATS).unwrap();
            (sound.name, sound.files[0].1.to_vec())
        })
        .collect();
    let media = carrier.media();
    for way in 0..WAYS.len() {
        for callee in &CALLEES {
            let came = &media[&number(way, callee)];
            let heard: Vec<&str> =
                sounds.iter().filter(|(_, sound)| came.heard(sound)).map(|(name, _)| name.as_str()).collect();
            let mut expected = callee.heard.to_vec();
            expected.sort_unstable();
            assert_eq!(heard, expected, "{} {} ({} packets)", WAYS[way], callee.ends, came.packets);
        }
    }
}

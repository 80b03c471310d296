//! The real thing: the services as programs, two nodes with real Asterisk 22, SIPp as the carrier. Each callee does what
//! the last four digits of its number say; the log, the carrier's messages and what came over RTP must agree with that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use asterism_domain::campaign::{CampaignStatus, ContactStatus};
use asterism_domain::fleet::Node;
use asterism_domain::ids::Outcome;
use asterism_domain::{State, invariant};
use asterism_media_sync::publish::{DEFAULT_FORMATS, convert, read_folder};
use asterism_tests::asterisk::RealParts;
use asterism_tests::sipp::{Carrier, Habits};
use asterism_tests::stack::{CALLER, CAMPAIGN, Stack, StackOptions, StackPbx, root};

/// The greeting of the demo takes 3.5 s, its question 2.1 s, and then it waits 5 s: from 5.6 s to 10.6 s, less the pauses between
/// them. A key at 8 s is in the middle, with seconds to spare on a busy machine; who leaves at 7 s has heard the greeting.
const HABITS: Habits = Habits { press_ms: 8_000, leave_ms: 7_000 };
/// Longest wait for two nodes to come, and for the campaign to end.
const PATIENCE: Duration = Duration::from_mins(3);
/// Attempts that reach the carrier, for each contact nobody answers at.
const MAX_ATTEMPTS: u32 = 2;

/// What a number's last four digits make of its contact, and how many of each there are.
struct Callee {
    ends: &'static str,
    outcome: Outcome,
    digits: &'static str,
    many: u32,
}

const CALLEES: [Callee; 13] = [
    Callee { ends: "0151", outcome: Outcome::Answered, digits: "1", many: 8 },
    Callee { ends: "0152", outcome: Outcome::Answered, digits: "2", many: 8 },
    Callee { ends: "0150", outcome: Outcome::Answered, digits: "", many: 3 },
    Callee { ends: "0158", outcome: Outcome::Answered, digits: "", many: 1 },
    Callee { ends: "0183", outcome: Outcome::Answered, digits: "", many: 1 },
    Callee { ends: "0157", outcome: Outcome::Answered, digits: "", many: 2 },
    Callee { ends: "0186", outcome: Outcome::Busy, digits: "", many: 4 },
    Callee { ends: "0160", outcome: Outcome::Declined, digits: "", many: 3 },
    Callee { ends: "0144", outcome: Outcome::InvalidNumber, digits: "", many: 3 },
    Callee { ends: "0180", outcome: Outcome::Unavailable, digits: "", many: 2 },
    Callee { ends: "0153", outcome: Outcome::Congestion, digits: "", many: 1 },
    Callee { ends: "0199", outcome: Outcome::NoAnswer, digits: "", many: 2 },
    Callee { ends: "0190", outcome: Outcome::NoAnswer, digits: "", many: 2 },
];

/// Every number with its callee. Areas tell callees of one habit apart.
fn numbers() -> BTreeMap<String, &'static Callee> {
    let of = |callee: &'static Callee| {
        (0..callee.many).map(move |n| (format!("+1{}555{}", 202 + n, callee.ends), callee))
    };
    CALLEES.iter().flat_map(of).collect()
}

#[tokio::test]
async fn a_campaign_over_real_asterisk_and_sip() {
    let Some(parts) = RealParts::find("real_asterisk::a_campaign_over_real_asterisk_and_sip") else { return };
    let carrier = Carrier::start(&parts.sipp, HABITS);
    let pbx = StackPbx::Asterisk { root: parts.root, carrier: carrier.port };
    let stack = Stack::start_with(StackOptions { max_nodes: 2, capacity: 12, pbx }).await;
    let list = stack.path().join("contacts.csv");
    let csv = numbers().keys().fold("number\n".to_owned(), |mut csv, number| {
        writeln!(csv, "{number}").unwrap();
        csv
    });
    fs::write(&list, csv).unwrap();
    stack.campaign_of(&list, None, MAX_ATTEMPTS).await;
    stack.wait("calls on two nodes", PATIENCE, |state| busy_nodes(state) == 2).await;
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    each_contact_is_what_its_callee_did(&stack);
    the_carrier_saw_what_the_log_says(&stack, &carrier);
    callees_heard_the_prompts(&carrier);
    assert_eq!(stack.log.read(invariant::broken), []);
    stack.replay_agrees().await;
}

/// Nodes with real Asterisk that hold attempts.
fn busy_nodes(state: &State) -> usize {
    let busy = |node: &&Node| !node.attempts.is_empty() && node.pbx.starts_with("Asterisk 22.");
    state.fleet.nodes.values().filter(busy).count()
}

/// Outcome and digits stand at the contact whose number makes its callee do so.
fn each_contact_is_what_its_callee_did(stack: &Stack) {
    stack.log.read(|state| {
        let campaign = &state.campaigns[CAMPAIGN];
        assert_eq!(campaign.contacts.len(), numbers().len());
        for (number, callee) in numbers() {
            let hash = stack.number_hash(&number);
            let contact = campaign.contacts.iter().find(|contact| contact.number_hash == hash).unwrap();
            let said = (&contact.status, contact.digits.as_str());
            assert_eq!(said, (&ContactStatus::Settled(callee.outcome), callee.digits), "{number}");
            let dialled = if callee.outcome == Outcome::Answered { 1 } else { MAX_ATTEMPTS };
            assert_eq!(u32::from(contact.rang), dialled, "{number}");
        }
    });
}

/// Each number was invited, by distinct Call-ID, exactly as often as the log has attempts that rang; no other was.
fn the_carrier_saw_what_the_log_says(stack: &Stack, carrier: &Carrier) {
    let rang: BTreeMap<[u8; 16], usize> = stack.log.read(|state| {
        let contacts = &state.campaigns[CAMPAIGN].contacts;
        contacts.iter().map(|contact| (contact.number_hash, contact.rang as usize)).collect()
    });
    let log: BTreeMap<String, usize> =
        numbers().into_keys().map(|number| (number.clone(), rang[&stack.number_hash(&number)])).collect();
    assert_eq!(carrier.rings(), log, "{}", carrier.complaints());
    assert_eq!(carrier.callers(), BTreeSet::from([CALLER.to_owned()]), "the caller id reaches the carrier");
}

/// Who was answered heard the greeting, byte for byte, and then what its keys led to.
fn callees_heard_the_prompts(carrier: &Carrier) {
    let sounds: BTreeMap<String, Vec<u8>> = read_folder(&root().join("compose/demo/prompts"), "en")
        .unwrap()
        .iter()
        .map(|source| {
            let sound = convert(source, &DEFAULT_FORMATS).unwrap();
            (sound.name, sound.files[0].1.to_vec())
        })
        .collect();
    let media = carrier.media();
    for (number, callee) in numbers() {
        let heard: Vec<&str> = match (callee.outcome, callee.ends) {
            (Outcome::Answered, "0157") => vec!["welcome"],
            (Outcome::Answered, _) if callee.digits.is_empty() => vec!["welcome", "press-1-or-2", "bye"],
            (Outcome::Answered, _) => vec!["welcome", "press-1-or-2", "thanks"],
            _ => Vec::new(),
        };
        assert_eq!(media.contains_key(&number), !heard.is_empty(), "{number}");
        let came = media.get(&number).cloned().unwrap_or_default();
        for (name, sound) in &sounds {
            let expected = heard.contains(&name.as_str());
            let whole = callee.ends != "0157" || name != "press-1-or-2";
            if whole {
                assert_eq!(came.heard(sound), expected, "{number}, {name}, {} packets", came.packets);
            }
        }
    }
}

//! Call detail records: one for each call, none for what was never one, numbers for those who have the keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use asterism_domain::event::SealedContact;
use asterism_domain::{Event, Outcome, wire};
use asterism_event_log::testkit::Script;
use serde_json::Value;
use support::{
    DIALER, IMPORT_KEY, NODE, NUMBERS, attempt, campaign, done, ordered, program, seal, sealed, write,
};

const OUTCOMES: [(Outcome, u32); 7] = [
    (Outcome::Busy, 17),
    (Outcome::Declined, 21),
    (Outcome::NoAnswer, 19),
    (Outcome::InvalidNumber, 1),
    (Outcome::Unavailable, 20),
    (Outcome::Congestion, 34),
    (Outcome::Failed, 38),
];

/// At the node's clock, ms after 2023-11-14T22:13:00Z.
fn told(script: &mut Script, at_ms: u64, event: &Event) {
    let meta =
        wire::Envelope { occurred_at_ms: 1_700_000_000_000 - 20_000 + at_ms, ..wire::Envelope::default() };
    script.write(NODE, vec![wire::encode(event, &meta)]);
}

fn ended(contact: u32, outcome: Outcome, cause: u32, times: (u32, u32), never_rang: bool) -> Event {
    Event::AttemptEnded {
        attempt: attempt(contact, 1),
        outcome,
        cause,
        reason: 0,
        ring_ms: times.0,
        talk_ms: times.1,
        digits: if times.1 > 0 { "=1".into() } else { String::new() },
        path: "menu".into(),
        never_rang,
        sip_status: 0,
        heard: asterism_domain::trunk::health::Heard::Unknown,
    }
}

/// The campaign goes on with 12 more contacts: each outcome once, one that failed before it left, one refused, one
/// uncertain by its node, two cut by its end of which one was answered.
fn history() -> Script {
    let mut script = campaign();
    let number = |contact: u32| format!("+1555555{contact:04}");
    let contacts = (2..14)
        .map(|contact| SealedContact {
            contact,
            number_hash: [contact as u8; 16],
            sealed: seal("two", &number(contact)),
            ..SealedContact::default()
        })
        .collect();
    let imported = Event::ContactsImported {
        campaign: "demo".into(),
        import: "two".into(),
        contacts,
        duplicates: 0,
        last: true,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    };
    write(&mut script, DIALER, &imported);
    let originating =
        |contact| Event::AttemptOriginating { attempt: attempt(contact, 1), boot_id: "b".into() };
    for contact in 2..14 {
        // Ten channels at most.
        if contact < 12 {
            write(&mut script, DIALER, &ordered(contact, 1));
            write(&mut script, NODE, &Event::AttemptAccepted { attempt: attempt(contact, 1), order_term: 1 });
        }
    }
    for (contact, (outcome, cause)) in (2..).zip(OUTCOMES) {
        told(&mut script, 0, &originating(contact));
        told(&mut script, 6_900, &ended(contact, outcome, cause, (4_000, 0), false));
    }
    told(&mut script, 10_000, &ended(9, Outcome::Failed, 0, (0, 0), true));
    write(&mut script, NODE, &Event::AttemptRefused { attempt: attempt(10, 1), reason: "too late".into() });
    told(&mut script, 1_500, &originating(11));
    write(
        &mut script,
        NODE,
        &Event::AttemptUncertain { attempt: attempt(11, 1), reason: "the PBX is gone".into() },
    );
    for contact in [12, 13] {
        write(&mut script, DIALER, &ordered(contact, 1));
        write(&mut script, NODE, &Event::AttemptAccepted { attempt: attempt(contact, 1), order_term: 1 });
    }
    told(&mut script, 2_000, &originating(12));
    told(&mut script, 4_000, &Event::AttemptAnswered { attempt: attempt(12, 1) });
    write(
        &mut script,
        support::SCALER,
        &Event::NodeLost { node: "i-1".into(), reason: "the cloud ended it".into() },
    );
    script
}

fn keys(folder: &Path) -> String {
    let keys = folder.join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("import-two.key"), hex::encode(IMPORT_KEY)).unwrap();
    keys.to_str().unwrap().to_owned()
}

#[test]
fn every_call_is_a_record_in_asterisks_columns_and_ours() {
    let folder = sealed(&history());
    let told = done("cdr", folder.path(), &[]);
    assert_eq!(told, include_str!("golden/cdr.csv"));
    assert!(!told.contains("5555"), "a number got out");
    let bare = done("cdr", folder.path(), &["--no-header"]);
    assert_eq!(told.split_once('\n').unwrap().1, bare);
    let safe = done("cdr", folder.path(), &["--spreadsheet"]);
    assert_eq!(safe, told, "no cell is a formula");
    let lines = done("cdr", folder.path(), &["--json"]);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["uniqueid"], &first["disposition"]), (&"demo-0-1".into(), &"ANSWERED".into()));
    assert_eq!(lines.lines().count(), bare.lines().count());
}

#[test]
fn numbers_are_for_those_who_have_the_keys() {
    let folder = sealed(&history());
    let keys = keys(folder.path());
    let rows =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let told = rows(&done("cdr", folder.path(), &["--keys", &keys, "--json"]));
    // The first contact's import has no key here: it was erased.
    assert_eq!((&told[0]["dst"], &told[1]["dst"]), (&"".into(), &"+15555550002".into()));
    assert!(told[1..].iter().all(|row| row["dst"].as_str().unwrap().starts_with("+1555555")));
    let safe = done("cdr", folder.path(), &["--keys", &keys, "--spreadsheet"]);
    assert!(safe.contains(",'+15555550002,"), "{safe}");
    // Another fleet's key, no key at all, no folder.
    let path = folder.path().to_str().unwrap();
    let file = Path::new(&keys).join("import-two.key");
    for (content, why) in [("07".repeat(32), "does not open the contacts"), ("x".into(), "no key of 64")] {
        std::fs::write(&file, content).unwrap();
        let (status, _, problem) = program(&["cdr", path, "--keys", &keys]);
        assert!(status == 1 && problem.contains("AST-V006") && problem.contains(why), "{problem}");
    }
    let (status, _, problem) = program(&["cdr", path, "--keys", "/nowhere"]);
    assert!(status == 1 && problem.contains("/nowhere cannot be used"), "{problem}");
    assert!(NUMBERS.iter().all(|number| !problem.contains(number)));
}

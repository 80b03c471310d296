//! Contacts and attempts one by one: every format says the same, what strangers wrote stays text, numbers are masked unless asked.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use asterism_domain::contact::number_hash;
use asterism_domain::event::SealedContact;
use asterism_domain::{Event, Outcome};
use asterism_event_log::testkit::Script;
use asterism_replay::cdr::Keys;
use asterism_replay::fold::Pass;
use asterism_replay::people::{self, Shown};
use asterism_replay::table::Format;
use serde_json::Value;
use support::{DIALER, IMPORT_KEY, KEY, NODE, attempt, campaign, ordered, seal_fields, sealed, write};

/// What a list may hold, and a spreadsheet, a terminal or a careless reader may trip over.
const HOSTILE: [&str; 12] = [
    "=cmd|' /C calc'!A0",
    "+1+cmd",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "a,\"b\"\r\nc;d",
    "\u{0}\u{1b}[31m",
    "007",
    "𝔘 ñ \u{202e}abc",
];

/// The demo, with a contact for each hostile value, whose attempts end in every way.
fn history() -> Script {
    let mut script = campaign();
    let number = |contact: usize| format!("+1555556{contact:04}");
    let contacts = (2..).zip(HOSTILE).map(|(contact, value)| SealedContact {
        contact: contact as u32,
        number_hash: number_hash(&KEY, &number(contact)),
        sealed: seal_fields("two", &number(contact), &[("name", value), (value, "x")]),
        ..SealedContact::default()
    });
    let imported = Event::ContactsImported {
        campaign: "demo".into(),
        import: "two".into(),
        contacts: contacts.collect(),
        duplicates: 0,
        last: true,
        zones: vec!["=1+1".into()],
        skip_known: vec![],
        known: 0,
    };
    write(&mut script, DIALER, &imported);
    for contact in 2..7 {
        let id = attempt(contact, 1);
        write(&mut script, DIALER, &ordered(contact, 1));
        write(&mut script, NODE, &Event::AttemptAccepted { attempt: id.clone(), order_term: 1 });
        match contact {
            2 => write(&mut script, NODE, &Event::AttemptRefused { attempt: id, reason: "late".into() }),
            3 => write(&mut script, NODE, &Event::AttemptUncertain { attempt: id, reason: "lost".into() }),
            4 => {} // in flight
            _ => {
                let originating = Event::AttemptOriginating { attempt: id.clone(), boot_id: "b".into() };
                write(&mut script, NODE, &originating);
                let ended = Event::AttemptEnded {
                    attempt: id,
                    outcome: if contact == 5 { Outcome::Busy } else { Outcome::Answered },
                    cause: 17,
                    reason: 0,
                    ring_ms: 800,
                    talk_ms: if contact == 5 { 0 } else { 9_000 },
                    digits: if contact == 5 { "" } else { "0071" }.into(),
                    path: "=menu".into(),
                    never_rang: false,
                    sip_status: if contact == 5 { 486 } else { 0 },
                    heard: asterism_domain::trunk::health::Heard::Unknown,
                };
                write(&mut script, NODE, &ended);
            }
        }
    }
    script
}

fn keys(folder: &Path) -> Keys {
    for import in ["one", "two"] {
        std::fs::write(folder.join(format!("import-{import}.key")), hex::encode(IMPORT_KEY)).unwrap();
    }
    Keys::open(folder).unwrap()
}

fn export(folder: &Path, attempts: bool, reveal: bool, format: Format) -> Vec<u8> {
    let mut shown = Shown { keys: Some(keys(folder)), reveal };
    let mut pass = Pass { folder, anchor: None, progress: &mut |_| {} };
    let mut out = Vec::new();
    let done = if attempts {
        people::attempts(&mut pass, "demo", &mut shown, format, &mut out)
    } else {
        people::contacts(&mut pass, "demo", &mut shown, format, &mut out)
    };
    assert_eq!(done.unwrap(), if attempts { 6 } else { 14 });
    out
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn rows(bytes: &[u8]) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(bytes).deserialize().map(Result::unwrap).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn strict_csv_is_rfc_4180_and_reads_back_as_the_json_lines_say() {
    let folder = sealed(&history());
    for attempts in [false, true] {
        let wanted = lines(&export(folder.path(), attempts, true, Format::Jsonl));
        let bytes = export(folder.path(), attempts, true, Format::Strict);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.ends_with("\r\n") && !text.starts_with('\u{feff}'));
        let got = rows(&bytes);
        assert_eq!(got.len(), wanted.len());
        for (row, line) in got.iter().zip(&wanted) {
            assert!(line.as_object().unwrap().keys().all(|key| row.contains_key(key)), "{line}");
            for (name, text) in row {
                assert_eq!(*text, cell(&line[name]), "{name}");
            }
        }
    }
    // Whatever a list held is there, byte for byte.
    let wanted = lines(&export(folder.path(), false, true, Format::Jsonl));
    for (line, value) in wanted[2..].iter().zip(HOSTILE) {
        assert_eq!(
            (line["fields"]["name"].as_str(), line["fields"][value].as_str()),
            (Some(value), Some("x"))
        );
    }
}

#[test]
fn in_a_spreadsheet_no_cell_is_a_formula_and_no_text_becomes_a_number() {
    let folder = sealed(&history());
    for attempts in [false, true] {
        let bytes = export(folder.path(), attempts, true, Format::Spreadsheet);
        let wanted = lines(&export(folder.path(), attempts, true, Format::Jsonl));
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).expect("it says that it is UTF-8");
        for (row, line) in rows(bytes).iter().zip(&wanted) {
            for (name, text) in row {
                let first = text.chars().next().unwrap_or('a');
                assert!(!"=+-@\t\r\n＝＋－＠".contains(first), "{name}: {text:?}");
                assert_eq!(text.strip_prefix('\'').unwrap_or(text), cell(&line[name]), "{name}");
            }
            assert!(row["number"].starts_with("'+1"), "{row:?}");
        }
    }
    let attempts = export(folder.path(), true, true, Format::Spreadsheet);
    let attempts = String::from_utf8(attempts).unwrap();
    assert!(attempts.contains("'0071") && attempts.contains("'=menu"), "{attempts}");
}

#[test]
fn numbers_are_masked_unless_asked_and_absent_without_their_key() {
    let folder = sealed(&history());
    for attempts in [false, true] {
        for format in [Format::Strict, Format::Spreadsheet, Format::Jsonl] {
            let text = String::from_utf8(export(folder.path(), attempts, false, format)).unwrap();
            assert!(text.contains("+1•••••••000") || text.contains("+1•••••••100"), "{text}");
            assert!(!text.contains("555555") && !text.contains("Ada"), "{text}");
        }
    }
    let mut shown = Shown { keys: None, reveal: true };
    let mut pass = Pass { folder: folder.path(), anchor: None, progress: &mut |_| {} };
    let mut out = Vec::new();
    people::contacts(&mut pass, "demo", &mut shown, Format::Jsonl, &mut out).unwrap();
    assert!(lines(&out).iter().all(|line| line["number"].is_null() && line["fields"].is_null()));
    // An erased key opens nobody; the others stay.
    let known = keys(folder.path());
    std::fs::remove_file(folder.path().join("import-two.key")).unwrap();
    let mut shown = Shown { keys: Some(known), reveal: true };
    let mut out = Vec::new();
    let mut pass = Pass { folder: folder.path(), anchor: None, progress: &mut |_| {} };
    people::contacts(&mut pass, "demo", &mut shown, Format::Jsonl, &mut out).unwrap();
    let there = lines(&out).iter().filter(|line| !line["number"].is_null()).count();
    assert_eq!(there, 2);
}

#[test]
fn each_attempt_says_what_became_of_it_and_each_contact_where_it_stands() {
    let folder = sealed(&history());
    let attempts = lines(&export(folder.path(), true, false, Format::Jsonl));
    let said: Vec<_> = attempts
        .iter()
        .map(|line| (line["attempt"].as_str().unwrap(), line["outcome"].as_str().unwrap_or("in flight")))
        .collect();
    let wanted = [
        ("demo-0-1", "answered"),
        ("demo-2-1", "refused"),
        ("demo-3-1", "uncertain"),
        ("demo-5-1", "busy"),
        ("demo-6-1", "answered"),
        ("demo-4-1", "in flight"),
    ];
    assert_eq!(said, wanted);
    assert_eq!((&attempts[3]["sip_status"], &attempts[3]["cause"]), (&486.into(), &17.into()));
    let contacts = lines(&export(folder.path(), false, false, Format::Jsonl));
    let states: Vec<_> = contacts.iter().map(|line| line["state"].as_str().unwrap()).collect();
    assert_eq!(
        states[..7],
        ["settled", "waiting", "waiting", "uncertain", "in-flight", "settled", "settled"]
    );
    assert_eq!((&contacts[0]["finished"], &contacts[6]["finished"]), (&true.into(), &false.into()));
    let ids: BTreeSet<u64> = contacts.iter().map(|line| line["contact"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..14).collect());
}

#[test]
fn a_campaign_that_is_not_there_is_an_error_with_a_code() {
    let folder = sealed(&history());
    let mut shown = Shown { keys: None, reveal: false };
    let mut pass = Pass { folder: folder.path(), anchor: None, progress: &mut |_| {} };
    let failed = people::attempts(&mut pass, "nobody", &mut shown, Format::Jsonl, &mut Vec::new());
    assert!(failed.unwrap_err().to_string().starts_with("AST-V022"));
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_how_to_get_one() {
    let folder = sealed(&history());
    let mut shown = Shown { keys: None, reveal: false };
    let mut pass = Pass { folder: folder.path(), anchor: None, progress: &mut |_| {} };
    let failed = people::contacts(&mut pass, "demo", &mut shown, Format::Parquet, &mut Vec::new());
    assert!(failed.unwrap_err().to_string().starts_with("AST-V020"));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_says_what_the_json_lines_say() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    let folder = sealed(&history());
    for attempts in [false, true] {
        let wanted = lines(&export(folder.path(), attempts, true, Format::Jsonl));
        let file = bytes::Bytes::from(export(folder.path(), attempts, true, Format::Parquet));
        let reader = SerializedFileReader::new(file).unwrap();
        let mut rows = 0;
        for (row, line) in reader.get_row_iter(None).unwrap().zip(&wanted) {
            for (name, field) in row.unwrap().get_column_iter() {
                let said = match field {
                    Field::Null => String::new(),
                    Field::Long(number) | Field::TimestampMillis(number) => number.to_string(),
                    Field::Str(text) => text.clone(),
                    other => panic!("no column is a {other:?}"),
                };
                assert_eq!(said, cell(&line[name]), "{name}");
            }
            rows += 1;
        }
        assert_eq!(rows, wanted.len());
    }
}

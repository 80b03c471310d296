//! A log in numbers, what changed in it, its calls and its last events.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use asterism_domain::event::SealedContact;
use asterism_domain::rules::{CampaignRules, Exclusion, Price};
use asterism_domain::{AttemptId, Event, Outcome};
use serde_json::Value;
use support::{done, log};

fn json(command: &str, arguments: &[&str]) -> Value {
    let folder = log();
    serde_json::from_str(&done(command, folder.path(), &[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn a_log_in_numbers() {
    let folder = log();
    let told = done("stats", folder.path(), &[]);
    let files: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ast"))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    // How well a file packs is the compressor's affair.
    assert_eq!(
        told.replace(&format!("{files} of files"), "FILES of files"),
        include_str!("golden/stats.txt")
    );
    let told = json("stats", &[]);
    let sum = |counts: &Value| counts.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    for counts in ["types", "origins", "hours"] {
        assert_eq!(sum(&told[counts]), 22, "{counts}: {told}");
    }
    assert_eq!(
        (&told["calls"]["seizures"], &told["calls"]["answer_seizure_permille"]),
        (&1.into(), &1_000.into())
    );
    // A log without calls has no ratio.
    let folder = support::sealed(&asterism_event_log::testkit::Script::begin());
    let told = done("stats", folder.path(), &[]);
    assert!(told.contains("answer-seizure ratio none: no seizures"), "{told}");
}

/// The demo of [`log`], and a campaign with a price whose people were busy, answered twice, or never reached.
fn campaigns() -> tempfile::TempDir {
    let mut script = support::campaign();
    let mut created = support::created("paid", "Paid");
    if let Event::CampaignCreated { rules, max_attempts, .. } = &mut created {
        let price = Price { call_micro: 10_000, minute_micro: 60_000, currency: "EUR".into() };
        *rules = Some(CampaignRules { price, ..CampaignRules::default() });
        *max_attempts = 2;
    }
    support::write(&mut script, support::DIALER, &created);
    let contacts = (0..4u8).map(|n| SealedContact {
        contact: n.into(),
        number_hash: [n + 50; 16],
        sealed: vec![n; 60],
        ..SealedContact::default()
    });
    let imported = Event::ContactsImported {
        campaign: "paid".into(),
        import: "two".into(),
        contacts: contacts.collect(),
        duplicates: 0,
        last: true,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    };
    support::write(&mut script, support::DIALER, &imported);
    support::write(&mut script, support::DIALER, &Event::CampaignStarted { campaign: "paid".into() });
    let excluded = Event::ContactsExcluded {
        campaign: "paid".into(),
        contacts: vec![3],
        rule: Exclusion::DoNotCall,
        detail: "list global".into(),
    };
    support::write(&mut script, support::DIALER, &excluded);
    for (contact, ordinal, outcome, cause, talk_ms, digits) in [
        (0, 1, Outcome::Busy, 17, 0, ""),
        (0, 2, Outcome::Answered, 16, 61_000, "12"),
        (1, 1, Outcome::Congestion, 34, 0, ""),
        (1, 2, Outcome::Answered, 0, 30_500, ""),
    ] {
        let attempt = AttemptId { campaign: "paid".into(), contact, ordinal };
        let mut intended = support::ordered(0, 1);
        if let Event::AttemptIntended { attempt: id, not_before_ms, not_after_ms, .. } = &mut intended {
            id.clone_from(&attempt);
            // Behind the ring before it.
            *not_before_ms += 10_000_000 * u64::from(ordinal);
            *not_after_ms += 10_000_000 * u64::from(ordinal);
        }
        support::write(&mut script, support::DIALER, &intended);
        let node = [
            Some(Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 }),
            Some(Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() }),
            (outcome == Outcome::Answered).then(|| Event::AttemptAnswered { attempt: attempt.clone() }),
        ];
        for fact in node.into_iter().flatten() {
            support::write(&mut script, support::NODE, &fact);
        }
        let ended = Event::AttemptEnded {
            attempt,
            outcome,
            cause,
            reason: 4,
            ring_ms: 1_000,
            talk_ms,
            digits: digits.into(),
            path: if talk_ms > 0 { "thanks".into() } else { String::new() },
            never_rang: false,
            sip_status: 0,
            heard: asterism_domain::trunk::health::Heard::Unknown,
        };
        support::write(&mut script, support::NODE, &ended);
        // Told twice it counts once.
        support::write(&mut script, support::NODE, &ended);
    }
    support::sealed(&script)
}

#[test]
fn campaigns_in_numbers() {
    let folder = campaigns();
    let told = done("report", folder.path(), &[]);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/report.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(golden, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(golden).unwrap_or_default());
    let told: Value =
        serde_json::from_str(&done("report", folder.path(), &["--campaign", "paid", "--json"])).unwrap();
    let [paid] = told.as_array().unwrap().as_slice() else { panic!("{told}") };
    let sum: u64 = paid["contacts"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!((sum, &paid["funnel"]["imported"]), (4, &4.into()), "each contact is in exactly one state");
    assert_eq!(paid["cost"]["calls_per_answer"], "0.05575 EUR", "2 calls and 91.5 s: 0.1115 in all");
    assert_eq!(paid["answer_seizure_permille"], 500);
    let (status, _, err) = support::program(&["report", folder.path().to_str().unwrap(), "--campaign", "no"]);
    assert!(status == 1 && err.contains("AST-V005"), "{err}");
}

#[test]
fn a_state_with_attempts_in_flight_is_json() {
    let folder = log();
    let told: Value = serde_json::from_str(&done("state", folder.path(), &["--at", "18"])).unwrap();
    let flight = &told["state"]["campaigns"]["demo"]["in_flight"]["demo-0-1"];
    assert_eq!((&told["size"], &flight["status"]), (&18.into(), &"Originating".into()), "{told}");
    let held = &told["state"]["fleet"]["nodes"]["i-1"]["attempts"];
    assert_eq!(held, &serde_json::json!(["demo-0-1"]));
}

#[test]
fn what_changed_between_two_moments() {
    let folder = log();
    let told = done("diff", folder.path(), &["--from", "15", "--to", "22"]);
    assert_eq!(told, include_str!("golden/diff.txt"));
    // The same moments by their times.
    let times = ["--from", "2023-11-14T22:13:20.042Z", "--to", "2023-11-14T22:13:20.057Z"];
    assert_eq!(done("diff", folder.path(), &times).lines().nth(2), Some("campaign demo"));
    let whole = json("diff", &["--from", "0", "--to", "22"]);
    assert_eq!(
        (&whole["leaders"]["dialer"]["to"], &whole["holders"]["dialer"]),
        (&1.into(), &"a test".into())
    );
    assert_eq!(
        (&whole["nodes"]["i-1"]["from"], &whole["nodes"]["i-1"]["to"]),
        (&Value::Null, &"ready".into())
    );
    assert_eq!((&whole["contacts_changed"], &whole["incidents_counted"]), (&2.into(), &3.into()));
    let none = json("diff", &["--from", "22", "--to", "22"]);
    assert_eq!((&none["campaigns"], &none["contacts_changed"]), (&serde_json::json!({}), &0.into()));
}

#[test]
fn a_long_list_of_contacts_is_cut_and_counted() {
    let mut script = support::campaign();
    let contacts = (2..40)
        .map(|contact| SealedContact {
            contact,
            number_hash: [contact as u8; 16],
            sealed: vec![1; 40],
            ..SealedContact::default()
        })
        .collect();
    let more = Event::ContactsImported {
        campaign: "demo".into(),
        import: "one".into(),
        contacts,
        duplicates: 0,
        last: true,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    };
    let before = script.sequencer.size().to_string();
    support::write(&mut script, support::DIALER, &more);
    let after = script.sequencer.size().to_string();
    let folder = support::sealed(&script);
    let told = done("diff", folder.path(), &["--from", &before, "--to", &after]);
    assert!(told.contains("contacts that changed: 38\n"), "{told}");
    assert!(told.contains("and 18 more; --all lists them"), "{told}");
    let told = done("diff", folder.path(), &["--from", &before, "--to", &after, "--all"]);
    assert!(told.contains("demo/39") && !told.contains("more;"), "{told}");
}

#[test]
fn moments_in_the_wrong_order_or_past_the_end_say_so() {
    let folder = log();
    let ask = |from: &str, to: &str| {
        let (status, _, problem) =
            support::program(&["diff", folder.path().to_str().unwrap(), "--from", from, "--to", to]);
        assert_eq!(status, 1, "{from} {to}");
        problem
    };
    assert!(ask("20", "10").contains("AST-V009: 20 events is after 10 events"));
    assert!(ask("2023-11-14T22:13:20.050Z", "2023-11-14T22:13:20.040Z").contains("AST-V009"));
    assert!(ask("2023-11-14T22:13:20.050Z", "3").contains("AST-V009"));
    assert!(ask("3", "23").contains("AST-V002"));
}

#[test]
fn the_last_events_in_words() {
    let folder = log();
    let told = done("tail", folder.path(), &["-n", "4"]);
    assert_eq!(told, include_str!("golden/tail.txt"));
    assert_eq!(done("tail", folder.path(), &[]).matches("  #").count(), 10);
    assert_eq!(done("tail", folder.path(), &["-n", "0"]), "");
    let told = json("tail", &["-n", "500"]);
    assert_eq!((told["lines"].as_array().unwrap().len(), &told["events"]), (22, &22.into()));
}

/// Rows of CSV by the names in their header.
fn rows(text: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn every_event_is_a_row_with_the_cells_of_its_json_line() {
    let mut script = support::campaign();
    let paused = Event::CampaignPaused { campaign: "demo".into(), reason: "lunch".into() };
    script.write(support::DIALER, vec![support::encode(&paused, "=cmd(\"x\"), \"y\"\n+1")]);
    let folder = support::sealed(&script);
    let lines = done("export", folder.path(), &[]);
    let rows_plain = rows(&done("export", folder.path(), &["--format", "csv"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), rows_plain.len()), (23, 23));
    for (line, row) in lines.iter().zip(&rows_plain) {
        let line = line.as_object().unwrap();
        assert!(line.keys().all(|key| row.contains_key(key)), "a column is missing: {line:?}");
        for (key, cell) in row {
            let value = line.get(key).map_or(String::new(), |value| {
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            });
            assert_eq!(*cell, value, "{key}");
        }
    }
    assert_eq!(rows_plain[22]["actor"], "=cmd(\"x\"), \"y\"\n+1");
    let safe = rows(&done("export", folder.path(), &["--format", "csv", "--spreadsheet"]));
    assert_eq!(safe[22]["actor"], "'=cmd(\"x\"), \"y\"\n+1");
    assert_eq!(safe[21], rows_plain[21]);
    let path = folder.path().to_str().unwrap();
    let (status, _, problem) = support::program(&["export", path, "--spreadsheet"]);
    assert!(status == 1 && problem.contains("AST-V010"), "{problem}");
    let (status, told, problem) = support::program(&["export", "/nowhere", "--format", "csv"]);
    assert!(status == 1 && told.is_empty() && problem.contains("AST-L016"), "{told}{problem}");
}

/// What the log has of them stays, sealed, under its proofs; the export says that it can never be read again.
#[test]
fn an_export_shows_who_was_erased_as_erased_wherever_they_are_in_the_log() {
    let mut script = support::campaign();
    let hash = asterism_domain::contact::number_hash(&support::KEY, support::NUMBERS[0]);
    let erased = Event::ContactsErased {
        import: "one".into(),
        contacts: vec![hash],
        reason: "asked to be forgotten".into(),
    };
    support::write(&mut script, support::DIALER, &erased);
    let before = done("export", log().path(), &[]);
    assert!(!before.contains("\"erased\""), "nobody is");
    let folder = support::sealed(&script);
    let lines: Vec<Value> =
        done("export", folder.path(), &[]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = lines
        .iter()
        .filter(|line| !line["erased"].is_null())
        .map(|line| (line["type"].as_str().unwrap(), line["erased"].to_string()))
        .collect();
    let of_contact_0 = [
        "CONTACTS_IMPORTED",
        "ATTEMPT_INTENDED",
        "ATTEMPT_ACCEPTED",
        "ATTEMPT_ORIGINATING",
        "ATTEMPT_ANSWERED",
        "STEP_TAKEN",
        "ATTEMPT_ENDED",
        "ATTEMPT_INTENDED",
    ];
    assert_eq!(said, of_contact_0.map(|kind| (kind, "[0]".to_owned())));
    let csv = done("export", folder.path(), &["--format", "csv"]);
    assert_eq!(csv.lines().filter(|row| row.ends_with(",[0]")).count(), 8);
    assert_eq!(csv.lines().filter(|row| row.ends_with(',')).count(), 15);
    let same = done("export", folder.path(), &["--json"]);
    assert_eq!(same.lines().count(), 23);
    assert_eq!(done("state", folder.path(), &["--json"]).lines().count(), 1);
}

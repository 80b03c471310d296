//! "Was this one called, when, by which node, who decided it and why": asked of a small campaign.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{NUMBERS, attempt, log, program};

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    program(&[&["explain", folder.to_str().unwrap()], arguments].concat())
}

#[test]
fn a_number_is_told_in_one_command() {
    let folder = log();
    let key = folder.path().join("numbers.key");
    let ask = |number: &str| run(folder.path(), &[number, "--numbers-key", key.to_str().unwrap()]);
    let (status, told, _) = ask("+1 555 555 0100");
    assert_eq!(status, 0);
    assert_eq!(told, include_str!("golden/explain-number.txt"));
    let (_, told, _) = ask(NUMBERS[1]);
    assert!(told.contains("=> NO, never called"), "{told}");
    assert!(
        told.contains("=> contact 1 of campaign demo waits to be dialled: for its turn: it can be dialled now; no attempt was ordered"),
        "{told}"
    );
    assert!(told.contains("checked: the whole log, 22 events from 2023-11-14T22:13:20"), "{told}");
    for secret in NUMBERS.map(|number| &number[1..]) {
        assert!(!told.contains(secret));
    }
}

/// Nobody has the number: that is an answer only if the key is the fleet's, which its import's key proves.
#[test]
fn a_number_is_denied_only_by_a_key_that_is_proved_to_be_the_fleets() {
    let folder = log();
    let (right, keys) = (folder.path().join("numbers.key"), tempfile::tempdir().unwrap());
    let wrong = keys.path().join("numbers.key");
    std::fs::write(&wrong, "ab".repeat(32)).unwrap();
    let ask = |key: &Path, number: &str| {
        run(folder.path(), &[number, "--numbers-key", key.to_str().unwrap(), "--json"])
    };
    let answer = |key: &Path, number: &str| {
        let (status, told, problem) = ask(key, number);
        assert_eq!(status, 0, "{problem}");
        let told: Value = serde_json::from_str(&told).unwrap();
        (told["called"].as_bool(), told["answer"][0].as_str().unwrap()[..10].to_owned())
    };
    for key in [&right, &wrong] {
        assert_eq!(answer(key, "+15555550199"), (None, "CANNOT TEL".into()), "no import's key is there");
    }
    assert_eq!(answer(&wrong, NUMBERS[0]).0, None, "it was called, and that key knows nobody");
    assert_eq!(answer(&right, NUMBERS[0]), (Some(true), "YES, calle".into()));
    for folder in [folder.path(), keys.path()] {
        std::fs::write(folder.join("import-one.key"), hex::encode(support::IMPORT_KEY)).unwrap();
    }
    assert_eq!(answer(&right, "+15555550199"), (Some(false), "NO, never ".into()));
    let (status, _, problem) = ask(&wrong, NUMBERS[0]);
    assert!(
        status == 1 && problem.contains("AST-V006") && problem.contains("not this fleet's key"),
        "{problem}"
    );
}

#[test]
fn who_was_erased_is_told_as_erased_and_what_happened_stands() {
    let mut script = support::campaign();
    let hash = asterism_domain::contact::number_hash(&support::KEY, NUMBERS[0]);
    let erased = |contacts| asterism_domain::Event::ContactsErased {
        import: "one".into(),
        contacts,
        reason: "asked to be forgotten".into(),
    };
    support::write(&mut script, support::DIALER, &erased(vec![hash]));
    support::write(&mut script, support::DIALER, &erased(vec![]));
    let folder = support::sealed(&script);
    let key = folder.path().join("numbers.key");
    std::fs::write(&key, hex::encode(support::KEY)).unwrap();
    std::fs::write(folder.path().join("import-one.key"), hex::encode(support::IMPORT_KEY)).unwrap();
    let ask = |number: &str| {
        let (status, told, problem) = run(folder.path(), &[number, "--numbers-key", key.to_str().unwrap()]);
        assert_eq!(status, 0, "{problem}");
        told
    };
    let told = ask(NUMBERS[0]);
    assert!(
        told.contains("=> YES, called once\n=> demo-0-1: dialled at 2023-11-14T22:13:20.045Z by i-1"),
        "{told}"
    );
    assert!(told.contains("is settled: answered, its number and fields are erased"), "{told}");
    // The index has the erasure too.
    let (_, told, _) = run(folder.path(), &["demo/0"]);
    assert!(
        told.contains("checked: by the index") && told.contains("its number and fields are erased"),
        "{told}"
    );
    assert!(told.contains("1 contacts of import one are erased: asked to be forgotten"), "{told}");
    let told = ask(NUMBERS[1]);
    assert!(
        told.contains("=> NO, never called") && told.contains("was erased before it was settled"),
        "{told}"
    );
    assert!(ask("+15555550199").contains("CANNOT TELL"), "nobody's number is left to prove the key by");
}

#[test]
fn a_call_is_found_by_the_index_and_only_what_was_checked_is_said() {
    let folder = log();
    let ask = |arguments: &[&str]| {
        let (status, told, problem) = run(folder.path(), &[arguments, &["--json"]].concat());
        assert_eq!(status, 0, "{problem}");
        serde_json::from_str::<Value>(&told).unwrap()
    };
    for subject in ["demo/0", "demo-0-1"] {
        let (quick, full) = (ask(&[subject]), ask(&[subject, "--full"]));
        assert_eq!((quick["full"].as_bool(), full["full"].as_bool()), (Some(false), Some(true)));
        let said = quick["checked"].as_str().unwrap();
        assert!(
            said.starts_with("by the index, 1 of 1 chunks read: of the 7 frames") || subject == "demo/0",
            "{said}"
        );
        assert!(said.contains("Not checked: that nothing else is there"), "{said}");
        // The same call, whoever is asked; the whole log also knows what had no effect.
        assert_eq!(quick["calls"][0], full["calls"][0]);
        assert_eq!(quick["answer"][1], full["answer"][1]);
        assert_eq!(full["calls"].as_array().unwrap().len(), 1, "the order that came too late is none");
    }
    for subject in ["demo/1", "demo/7", "demo-0-2", "demo-1-1"] {
        let told = ask(&[subject]);
        assert_eq!(
            (told["called"].as_bool(), told["full"].as_bool()),
            (Some(false), Some(true)),
            "{subject}"
        );
    }
}

/// A node says that it dialled what was never put on it.
#[test]
fn a_call_is_not_told_on_the_word_of_a_node_it_was_not_put_on() {
    let mut script = support::campaign();
    support::write(&mut script, support::DIALER, &support::ordered(1, 1));
    let lie = asterism_domain::Event::AttemptOriginating { attempt: attempt(1, 1), boot_id: "b".into() };
    support::write(&mut script, 3, &lie);
    let folder = support::sealed(&script);
    let (_, told, _) = run(folder.path(), &["demo/1", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((told["called"].as_bool(), told["full"].as_bool()), (Some(false), Some(true)), "{told}");
    assert!(
        told["answer"][1].as_str().unwrap().contains("ordered on i-1, which has not dialled it"),
        "{told}"
    );
}

#[test]
fn a_frame_that_does_not_check_is_never_shown_by_the_index() {
    let script = support::campaign();
    let mut frames: Vec<_> =
        script.accepted.iter().map(asterism_event_log::AcceptedFrame::to_stored).collect();
    // The node's word that it dials, signed by nobody who may.
    let at = frames.iter().rposition(|frame| frame.frame.origin.to_string() == "node/i-1").unwrap();
    frames[at].frame.signature[3] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    asterism_event_log::testkit::forge(folder.path(), &frames, 100);
    let (status, told, problem) = run(folder.path(), &["demo-0-1"]);
    assert_eq!((status, told.as_str()), (1, ""));
    assert!(problem.contains("the signature is not the origin's"), "{problem}");
}

#[test]
fn a_contact_a_call_a_node_and_a_moment_are_told() {
    let folder = log();
    let told = |subject: &str| {
        let (status, told, problem) = run(folder.path(), &[subject]);
        assert_eq!(status, 0, "{problem}");
        told
    };
    let contact = told("demo/0");
    assert!(
        contact.starts_with("contact 0 of campaign demo\n=> YES, called once\n=> demo-0-1: dialled at "),
        "{contact}"
    );
    assert!(
        contact.contains("ended answered (cause 16, rang 1200 ms, talked 3400 ms, pressed 1)"),
        "{contact}"
    );
    let call = told("demo-0-1");
    assert!(call.contains("attempt demo-0-1 is ordered on i-1") && !call.contains("demo-0-2"), "{call}");
    assert!(told("demo-1-1").contains("=> this log has no attempt demo-1-1"));
    let node = told("i-1");
    let launch = node.find("a local is to be launched (intent intent-1): 2 contacts wait");
    assert!(launch < node.find("i-1 is ready: 20 slots, pbx-sim") && launch.is_some(), "{node}");
    assert!(node.contains("=> 2 attempts were ordered on i-1"), "{node}");
    assert!(told("i-9").contains("=> this log knows no node i-9"));
    let moment = told("2023-11-14T22:13:20.033Z");
    assert!(moment.contains("=> campaign demo: 2 imported, 2 waiting, 0 in flight, 0 settled"), "{moment}");
}

#[test]
fn the_answer_as_json_has_every_event_and_a_wrong_question_says_why() {
    let folder = log();
    let (_, told, _) = run(folder.path(), &["demo-0-1", "--json", "--full"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["lines"].as_array().unwrap().len(), 9, "{told}");
    assert_eq!(told["lines"][0]["asked_by"], "ops@example.com");
    let (status, _, problem) = run(folder.path(), &[NUMBERS[0]]);
    assert!(
        status == 1 && problem.contains("needs --numbers-key") && !problem.contains("5550100"),
        "{problem}"
    );
    let (status, _, problem) = run(folder.path(), &[NUMBERS[0], "--numbers-key", "/nowhere"]);
    assert!(status == 1 && problem.contains("/nowhere cannot be used"), "{problem}");
}

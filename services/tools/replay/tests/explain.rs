//! "Was this one called, when, by which node, who decided it and why": asked of a small campaign.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{NUMBERS, log, program};

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
    assert!(
        told.contains("=> contact 1 of campaign demo waits to be dialled; attempts: 0, may have rung: 0"),
        "{told}"
    );
    let (_, told, _) = ask("+15555550199");
    assert!(told.contains("=> no contact of this log has this number"), "{told}");
    for secret in NUMBERS.map(|number| &number[1..]) {
        assert!(!told.contains(secret));
    }
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
    let (_, told, _) = run(folder.path(), &["demo-0-1", "--json"]);
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

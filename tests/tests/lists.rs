//! Lists as people have them, through the real programs: several in one campaign, numbers other campaigns have, fields
//! that a flow looks at; and a campaign that a deadline or a budget ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use asterism_tests::stack::root;
use asterism_tests::up::Up;
use serde_json::Value;

/// One greeting for each language, and nobody greeted in a language nobody asked for.
const FLOW: &str = r#"
name = "greet"
start = "language"
fallback = "bye"
[states.language]
match = "language"
on = { "de" = "german", "fr|hangup|21" = "french" }
otherwise = "english"
[states.german]
gather = { prompts = ["welcome"], max_digits = 1, timeout_s = 5, attempts = 1 }
on = { "1" = "bye" }
otherwise = "bye"
[states.french]
play = ["thanks"]
next = "bye"
[states.english]
play = ["bye"]
next = "bye"
[states.bye]
hangup = {}
"#;

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

fn create(up: &Up, campaign: &str, flow: &str, more: &str) -> String {
    let prompts = root().join("compose/demo/prompts");
    up.done(&format!(
        "campaign create {campaign} --flow {flow} --prompts {} --trunk carrier {more} --start",
        prompts.display()
    ))
}

fn list(up: &Up, name: &str, numbers: std::ops::Range<u32>) {
    let mut text = String::from("number,Language\n");
    for n in numbers {
        writeln!(
            text,
            "+1202555{:04},{}",
            100 + n,
            ["de", "en", "fr|hangup|21", "${SHELL(id)}"][n as usize % 4]
        )
        .unwrap();
    }
    fs::write(up.path().join(name), text).unwrap();
}

#[tokio::test]
async fn lists_come_one_after_another_and_their_fields_reach_the_flow() {
    let mut up = Up::start().await;
    fs::write(up.path().join("flow.toml"), FLOW).unwrap();
    list(&up, "first.csv", 0..8);
    list(&up, "second.csv", 4..12);
    create(&up, "spring", "flow.toml", "--contacts first.csv --max-channels 1");
    // While it runs: four are there already.
    let second = up.done("campaign import spring second.csv");
    assert!(
        second.contains("8 good") && second.contains("4 of these contacts were in the campaign"),
        "{second}"
    );
    list(&up, "third.csv", 8..14);
    let dry = up.done("campaign import spring third.csv --dry-run");
    assert!(
        dry.contains("could be dialled: 2 now, 0 later, 0 never; 4 are in the campaign already"),
        "{dry}"
    );
    let again = up.done("campaign import spring second.csv");
    assert!(again.contains("nothing changed"), "{again}");
    up.done("campaign set spring --max-channels 0 --reason faster");
    up.until("all twelve have answered", |shown| shown["status"] == "completed").await;
    let late = up.run(&["campaign", "import", "spring", "third.csv"]);
    assert!(late.status == 1 && late.err.contains("AST-D012"), "{}", late.err);
    others_have_them(&up).await;
    deadline_and_budget(&up).await;
    assert_eq!(up.rings().values().max(), Some(&1));
    up.stop().await;
    let verified = up.run(&["replay", "verify", "fleet/log"]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
    for (contact, state) in [(0, "german"), (1, "english"), (2, "french"), (3, "english"), (8, "german")] {
        let told = up.done(&format!("replay explain fleet/log spring/{contact}"));
        assert!(told.contains(state), "contact {contact}: no {state} in\n{told}");
        assert!(!told.contains("SHELL"), "a field's value is in no event");
    }
}

async fn others_have_them(up: &Up) {
    create(up, "summer", "flow.toml", "--contacts third.csv --skip-known spring");
    let shown = up.until_of("summer", "two are rung", |shown| shown["status"] == "completed").await;
    assert_eq!((number(&shown, "contacts"), number(&shown, "known_elsewhere")), (2, 4), "{shown:#}");
    let gone = up.run(&["campaign", "import", "summer", "third.csv", "--skip-known", "nobody"]);
    assert!(gone.status == 1, "{}", gone.err);
    assert!(up.done("campaign show summer").contains("4 rows whose numbers other campaigns have"));
}

async fn deadline_and_budget(up: &Up) {
    list(up, "many.csv", 100..160);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(6);
    let at = asterism_replay::when::shown(at.as_millis() as u64);
    fs::write(up.path().join("rules.toml"), format!("deadline = \"{at}\"\n")).unwrap();
    create(up, "late", "flow.toml", "--contacts many.csv --rules rules.toml --max-channels 2");
    let shown = up.until_of("late", "its deadline has come", |shown| shown["status"] == "completed").await;
    let out = number(&shown["excluded_by"], "deadline");
    assert!(out > 20 && out + number(&shown, "answered") == 60, "{shown:#}");
    let rules =
        "budget = { answered = 3 }\nprice = { call = \"0.01\", minute = \"0.06\", currency = \"EUR\" }\n";
    fs::write(up.path().join("rules.toml"), rules).unwrap();
    list(up, "more.csv", 200..220);
    create(up, "cheap", "flow.toml", "--contacts more.csv --rules rules.toml");
    let shown = up.until_of("cheap", "its budget is used up", |shown| shown["status"] == "paused").await;
    assert_eq!((number(&shown, "answered"), number(&shown, "waiting")), (3, 17), "{shown:#}");
    let said = up.done("campaign show cheap");
    assert!(said.contains("paused, its budget is used up: 3 of 3 answered calls"), "{said}");
    assert!(said.contains("0.03 EUR"), "{said}");
    fs::write(up.path().join("rules.toml"), rules.replace("= 3", "= 5")).unwrap();
    up.done("campaign set cheap --rules rules.toml --reason more");
    up.done("campaign resume cheap");
    let shown = up.until_of("cheap", "and again", |shown| shown["status"] == "paused").await;
    assert_eq!(number(&shown, "answered"), 5, "{shown:#}");
    up.done("campaign stop cheap --reason enough");
}

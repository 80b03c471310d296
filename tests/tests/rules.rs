//! Whom a campaign rings, as the carrier saw it: calling windows, do-not-call lists and prefixes, consent and a gap over two
//! campaigns, through the real programs and back out of the sealed log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use asterism_tests::stack::root;
use asterism_tests::up::Up;
use serde_json::Value;

/// Hours around now in UTC, on the other side of the earth from the night's.
fn hours_around_now() -> String {
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600 % 24;
    let (from, to) = (hour.saturating_sub(2), (hour + 3).min(24));
    format!("windows = [{{ days = \"daily\", from = \"{from:02}:00\", to = \"{to:02}:00\" }}]\n")
}

/// Twenty in London's zone but for its summer time, eight in Auckland: eleven to thirteen hours apart. One of London has
/// not consented, two are on a list, three begin with digits that are.
fn people() -> String {
    let mut list = String::from("number,name,timezone,consent\n");
    for n in 0..20 {
        let consent = if n == 19 { "no" } else { "yes" };
        writeln!(list, "+1202555{:04},Person {n},UTC,{consent}", 100 + n).unwrap();
    }
    for n in 20..28 {
        writeln!(list, "+1202555{:04},Person {n},Pacific/Auckland,yes", 100 + n).unwrap();
    }
    list
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

fn create(up: &Up, campaign: &str) -> String {
    let demo = root().join("compose/demo");
    let (prompts, flow) = (demo.join("prompts"), demo.join("flow.toml"));
    up.done(&format!(
        "campaign create {campaign} --flow {} --prompts {} --trunk carrier --contacts people.csv --rules rules.toml \
         --start",
        flow.display(),
        prompts.display()
    ))
}

#[tokio::test]
async fn nobody_is_rung_whom_a_rule_keeps_out() {
    let mut up = Up::start().await;
    let rules = hours_around_now() + "consent_required = true\nmin_gap = \"4h\"\n";
    fs::write(up.path().join("people.csv"), people()).unwrap();
    fs::write(up.path().join("rules.toml"), &rules).unwrap();
    fs::write(up.path().join("list.txt"), "# asked to\n+12025550100\n+12025550101\n").unwrap();
    lists(&up);
    asked_before(&up, &rules);
    create(&up, "spring");
    let shown = up
        .until_of("spring", "all that is open is done", |shown| {
            number(shown, "waiting") == 8 && number(shown, "in_flight") == 0
        })
        .await;
    // Persons 10 to 12 have the prefix; their contacts came back from the node that was not to dial them.
    let by = &shown["excluded_by"];
    assert_eq!((by["do-not-call"].as_u64(), by["no-consent"].as_u64()), (Some(2), Some(1)), "{shown:#}");
    assert_eq!(by["do-not-call-prefix"], 3, "{shown:#}");
    assert!(number(&shown, "next_due_ms") > 0);
    let rung = up.rings();
    let expected: Vec<String> = (0..20)
        .filter(|n| ![0, 1, 10, 11, 12, 19].contains(n))
        .map(|n| format!("+1202555{:04}", 100 + n))
        .collect();
    assert_eq!(rung.keys().cloned().collect::<Vec<_>>(), expected, "as the carrier saw it");
    assert!(rung.values().all(|rings| *rings == 1));
    again_in_another(&up).await;
    at_any_hour(&up, &rules).await;
    proved(&mut up).await;
}

/// Lists by command: a file, a prefix, what was there already, what is no number.
fn lists(up: &Up) {
    let first = up
        .done("dnc add --file list.txt --prefix 120255501100 --prefix 120255501 --reason asked-to --dry-run");
    assert!(
        first.contains("2 numbers and 2 prefixes would go on the list global; nothing changed"),
        "{first}"
    );
    let added = up.done("dnc add --file list.txt --reason asked-to");
    assert!(added.starts_with("2 numbers and 0 prefixes are on the list global, at position "), "{added}");
    for last in ["12025550110", "12025550111", "12025550112"] {
        up.done(&format!("dnc add --prefix {last} --reason premium"));
    }
    let listed = up.json("dnc list");
    assert_eq!((&listed[0]["list"], number(&listed[0], "numbers")), (&"global".into(), 2));
    let bad = up.run(&["dnc", "add", "2025550100", "--reason", "x"]);
    assert!(bad.status == 2 && !bad.err.contains("2025550100"), "{}", bad.err);
    let nothing = up.run(&["dnc", "add", "--reason", "x"]);
    assert!(nothing.status == 2 && nothing.err.contains("AST-U120"), "{}", nothing.err);
}

/// A dry run says whom the campaign would ring, and everything that is wrong with one that cannot be.
fn asked_before(up: &Up, rules: &str) {
    let demo = root().join("compose/demo");
    let (prompts, flow) =
        (demo.join("prompts").display().to_string(), demo.join("flow.toml").display().to_string());
    let dry = |trunk: &str, more: &[&str]| {
        let words =
            ["campaign", "create", "spring", "--flow", &flow, "--prompts", &prompts, "--trunk", trunk];
        let rest = ["--contacts", "people.csv", "--rules", "rules.toml", "--dry-run"];
        up.run(&[&words[..], &rest, more].concat())
    };
    let good = dry("carrier", &[]);
    assert_eq!((good.status, good.err.as_str()), (0, ""), "{}", good.out);
    for wanted in [
        "could be dialled: 14 now, 8 later, 6 never",
        "later          8  when its calling window opens, from 20",
        "never          2  do-not-call: on a do-not-call list",
        "never          3  do-not-call-prefix: ",
        "never          1  no-consent: ",
    ] {
        assert!(good.out.contains(wanted), "{wanted:?} is missing in\n{}", good.out);
    }
    assert!(up.done("campaign list").contains("There is no campaign yet"));
    refused(up, &prompts);
    assert!(
        up.done("media list").contains("No prompts are published"),
        "nothing is published for a campaign that cannot be"
    );
    fs::write(up.path().join("rules.toml"), rules).unwrap();
}

/// Everything wrong with a campaign is said at once, in the words of `golden/refused_campaigns.txt`, by a dry run and by the
/// real one alike. `UPDATE_EXPECT=1` writes them anew.
fn refused(up: &Up, prompts: &str) {
    up.done("trunk add limited --host 127.0.0.1:5999 --caller-id +12015550198");
    fs::write(up.path().join("nobody.csv"), "number\nnone\n").unwrap();
    fs::write(up.path().join("empty.csv"), "number\n").unwrap();
    let unreadable = "caps = [{ per = \"24h\", max = 0 }]\ndefault_zone = \"Mars\"\nholidays = [\"never\"]\n\
                windows = [{ days = \"\", from = \"09:00\", to = \"18:00\" }]\n";
    // Each can be meant; together they cannot.
    let meant = "starts_at = \"2030-01-02T00:00:00Z\"\nends_at = \"2030-01-01T00:00:00Z\"\n\
                 deadline = \"2030-01-01T00:00:00Z\"\nretries = { busy = { after = \"5m\", max = 2 } }\n\
                 budget = { cost = \"10\" }\nmin_gap = \"4h\"\n";
    let never = "starts_at = \"2030-01-01T10:00:00Z\"\nends_at = \"2030-01-03T00:00:00Z\"\n\
                 windows = [{ days = \"mon\", from = \"09:00\", to = \"18:00\" }]\n";
    let other: &[&str] = &["--trunk", "nowhere", "--ring-timeout", "5m", "--flow", "no-such"];
    let shows: &[&str] = &["--trunk", "limited", "--caller-id", "+12015550197", "--flow", "no-such"];
    let mut told = String::new();
    for (id, list, rules, more) in [
        ("a b", "nobody.csv", unreadable, other),
        ("spring", "empty.csv", meant, shows),
        ("spring", "empty.csv", never, shows),
    ] {
        fs::write(up.path().join("rules.toml"), rules).unwrap();
        let words =
            ["campaign", "create", id, "--prompts", prompts, "--contacts", list, "--rules", "rules.toml"];
        let dry = up.run(&[&words[..], more, &["--dry-run"]].concat());
        let meant_so = up.run(&[&words[..], more].concat());
        assert_eq!((dry.status, meant_so.status, &dry.err), (1, 1, &meant_so.err));
        write!(
            told,
            "campaign create {id:?} --contacts {list} {}\n{rules}=> {}\n",
            more.join(" "),
            meant_so.err
        )
        .unwrap();
    }
    let golden = root().join("tests/tests/golden/refused_campaigns.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&golden, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(&golden).unwrap_or_default());
}

/// Another campaign has the same people: none of them rings twice within the gap.
async fn again_in_another(up: &Up) {
    let before = up.rings();
    create(up, "summer");
    let shown = up
        .until_of("summer", "all are waiting or out", |shown| {
            number(shown, "in_flight") == 0 && number(shown, "excluded") == 6
        })
        .await;
    assert_eq!(number(&shown, "rang"), 0, "{shown:#}");
    assert_eq!(up.rings(), before);
    up.done("campaign stop summer --reason enough");
}

/// Without windows those who slept are dialled, and the campaign ends.
async fn at_any_hour(up: &Up, rules: &str) {
    let any_hour = rules.lines().skip(1).collect::<Vec<_>>().join("\n");
    fs::write(up.path().join("rules.toml"), any_hour).unwrap();
    up.done("campaign set spring --rules rules.toml --reason any-hour");
    up.until_of("spring", "it is complete", |shown| shown["status"] == "completed").await;
    let rung = up.rings();
    assert_eq!(rung.len(), 22);
    assert!(rung.contains_key("+12025550127") && rung.values().all(|rings| *rings == 1), "{rung:?}");
}

/// The sealed log says the same to somebody who has nothing else.
async fn proved(up: &mut Up) {
    up.stop().await;
    let verified = up.run(&["replay", "verify", "fleet/log"]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
    let inv12 = verified.out.lines().find(|line| line.contains("INV-12")).unwrap_or_default();
    assert!(!inv12.contains("not applicable"), "{}", verified.out);
    let asked = |number: &str| {
        up.done(&format!("replay explain fleet/log {number} --numbers-key fleet/keys/numbers.key"))
    };
    for (number, wanted) in [
        ("+12025550100", "do-not-call"),
        ("+12025550110", "prefix 12025550110 of list global"),
        ("+12025550119", "no-consent"),
        ("+12025550127", "answered"),
    ] {
        let told = asked(number);
        assert!(told.contains(wanted), "{number}: {wanted:?} is missing in\n{told}");
    }
}

//! The commands as a person gives them, one program run each, against `asterism up`: a campaign is made, paused, gone on
//! with and stopped, one test call is placed, the fleet is sent home, and the sealed log says what the commands said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::{Duration, Instant};

use asterism_tests::child::{Guarded, pids};
use asterism_tests::stack::{program, root};
use asterism_tests::up::{PATIENCE, Up};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Contacts that can be dialled.
const GOOD: u64 = 60;
/// The number of the test call; it is not on the list.
const TESTED: &str = "+12025550199";

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

/// Contacts, among them three rows that cannot be dialled and one twice.
fn contacts() -> String {
    let row = |n| format!("+1202555{:04},Person {n}\n", 200 + n);
    let rows: String = (0..GOOD).map(row).collect();
    "number,name\n".to_owned()
        + &rows
        + "2025550123,No Country\n+1202555012x,A Letter\n,Nobody\n+12025550200,Again\n"
}

#[tokio::test]
async fn a_campaign_by_commands_from_its_prompts_to_its_proof() {
    let mut up = Up::start().await;
    made(&up);
    halted_and_gone_on(&up).await;
    one_test_call(&up);
    let rang = erased(&up).await;
    let last = stopped(&up).await;
    looked_at(&up);
    sent_home(&mut up).await;
    proved(&up, &last, rang);
    replayed_under_other_policies(&up);
}

/// Contacts of the list that is interrupted: enough that a kill finds it on its way.
const MANY: u64 = 20_000;

#[tokio::test]
async fn an_import_that_is_killed_or_stopped_goes_on_and_the_same_file_again_changes_nothing() {
    let up = Up::start().await;
    let demo = root().join("compose/demo");
    let row = |n| format!("+12022{n:06},Person {n}\n");
    let rows: String = (0..MANY).map(row).collect();
    fs::write(up.path().join("many.csv"), "number,name\n".to_owned() + &rows).unwrap();
    let (flow, prompts) =
        (demo.join("flow.toml").display().to_string(), demo.join("prompts").display().to_string());
    let create = ["create", "spring", "--flow", &flow, "--prompts", &prompts, "--trunk", "carrier"];
    let create = [&["campaign"], &create[..], &["--contacts", "many.csv"]].concat();
    let import = ["campaign", "import", "spring", "many.csv"];
    let mut there = 0;
    for (words, signal) in
        [(&create[..], Signal::SIGKILL), (&import, Signal::SIGKILL), (&import, Signal::SIGINT)]
    {
        let words = [&["--config", "fleet/asterism.toml"], words].concat();
        let mut running = Guarded::start("import", &program("asterism"), &words, up.path());
        let began = Instant::now();
        let more = loop {
            let now = up.json("contacts list")[0]["contacts"].as_u64().unwrap_or(0);
            if now > there {
                break now;
            }
            assert!(running.runs() && began.elapsed() < PATIENCE, "no contact came\n{}", running.log());
        };
        running.signal(signal);
        while running.runs() {
            assert!(began.elapsed() < PATIENCE, "it does not end\n{}", running.log());
            tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
        }
        if signal == Signal::SIGINT {
            let said = running.log();
            assert!(
                said.contains("AST-U027") && said.contains("next: asterism campaign import spring many.csv"),
                "{said}"
            );
        }
        there = up.json("contacts list")[0]["contacts"].as_u64().unwrap();
        assert!((more..MANY).contains(&there), "it was on its way: {there}");
    }
    let rest = up.done("campaign import spring many.csv");
    assert!(rest.contains("imported by an earlier try; the import went on behind them"), "{rest}");
    let spring = || up.json("campaign show spring");
    assert_eq!((number(&spring(), "contacts"), number(&spring(), "waiting")), (MANY, MANY));
    let again = up.done("campaign import spring many.csv");
    assert!(
        again.contains("every contact of the file is in the campaign already: nothing changed"),
        "{again}"
    );
    // Read in another way it is another list, whose people are all there.
    let other = up.done("campaign import spring many.csv --omit name");
    assert!(
        other.contains("every contact of the file is in the campaign already: nothing changed"),
        "{other}"
    );
    fs::write(up.path().join("one.csv"), "number\n+12025550123\n").unwrap();
    let second = up.done("campaign import spring one.csv");
    assert!(second.contains("one.csv: 1 rows: 1 good"), "a campaign takes more than one list: {second}");
    assert_eq!(number(&spring(), "contacts"), MANY + 1);
}

/// Prompts, flow, list: what is sound is said to be, and what is not goes to a file with place and reason.
fn made(up: &Up) {
    let demo = root().join("compose/demo");
    let (prompts, flow) =
        (demo.join("prompts").display().to_string(), demo.join("flow.toml").display().to_string());
    fs::write(up.path().join("people.csv"), contacts()).unwrap();
    assert!(up.done("media list").starts_with("No prompts are published."));
    let published = up.done(&format!("media publish {prompts} --name demo"));
    assert!(published.contains("4 prompts published as \"demo\", id "), "{published}");
    let listed = up.done("media list");
    assert!(listed.lines().any(|line| line.starts_with("demo ")), "{listed}");
    assert!(up.done(&format!("logic check {flow}")).contains(": ok: flow \"demo\", "));
    assert!(up.done("campaign list").starts_with("There is no campaign yet."));
    let created = up.done(&format!(
        "campaign create spring --flow {flow} --prompts demo --trunk carrier --contacts people.csv --max-channels 6 --start"
    ));
    for wanted in [
        "people.csv: 64 rows: 60 good, 3 rejected, 1 duplicate left out",
        "rejected rows are in people.csv.rejects.csv",
        "campaign spring created and started",
        "Next: asterism campaign show spring",
    ] {
        assert!(created.contains(wanted), "{wanted:?} is missing in\n{created}");
    }
    let rejects = fs::read_to_string(up.path().join("people.csv.rejects.csv")).unwrap();
    let places: Vec<String> =
        rejects.lines().skip(1).map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(places, ["62,1,number,AST-I011", "63,1,number,AST-I009", "64,1,number,AST-I007"], "{rejects}");
    assert!(!rejects.contains("20255") && !created.contains("20255"), "no number in\n{rejects}{created}");
    let again = up.run(&["campaign", "start", "spring"]);
    assert!(again.status == 1 && again.err.contains("next: asterism campaign list"), "{}", again.err);
}

/// A pause: nothing new from there on, what is under way ends. Then it goes on.
async fn halted_and_gone_on(up: &Up) {
    up.until("some are settled, some in flight", |shown| {
        number(shown, "settled") >= 4 && number(shown, "in_flight") >= 2
    })
    .await;
    let said = up.json("campaign pause spring --reason a-look");
    let at_pause = up.json("campaign show spring");
    assert_eq!(at_pause["status"], "paused");
    assert!(number(&said, "in_flight") >= 1 && number(&at_pause, "in_flight") <= number(&said, "in_flight"));
    let quiet = up.until("what was under way has ended", |shown| number(shown, "in_flight") == 0).await;
    assert_eq!(quiet["attempts"], at_pause["attempts"], "nothing new after the pause");
    assert!(number(&quiet, "settled") > number(&at_pause, "settled"), "calls were not cut");
    assert_eq!(quiet["uncertain"], 0);
    assert_eq!(up.rings().len() as u64, number(&quiet, "rang"), "the carrier agrees");
    assert!(up.done("campaign show spring").contains("status       paused\n"));
    assert_eq!(up.done("campaign resume spring"), "campaign spring resumed\n");
    up.until("new attempts", |shown| number(shown, "attempts") > number(&quiet, "attempts")).await;
}

/// One test call beside the campaign: it rings once, at its number, and its outcome is the exit status. The nodes are
/// at work meanwhile.
fn one_test_call(up: &Up) {
    let ran = up.run(&["call", TESTED, "--flow", "demo", "--prompts", "demo"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("outcome   answered\ndigits    1\n"), "{}", ran.out);
    assert!(ran.err.starts_with("calling +1•••••••199 as campaign call-"), "{}", ran.err);
    assert_eq!(up.rings().get(TESTED), Some(&1));
    let fleet = up.json("fleet list");
    let nodes = fleet["nodes"].as_array().unwrap();
    assert!(
        nodes.iter().any(|node| number(node, "active") > 0 && number(node, "capacity") == 4),
        "{fleet:#}"
    );
    let listed = up.done("fleet list");
    assert!(listed.starts_with("NODE ") && listed.contains("/4 "), "{listed}");
}

/// A second list is erased while it is dialled: who is in flight ends, nobody of it is dialled again, the key is gone
/// for good, and nothing can be imported under its name. How many of it rang.
async fn erased(up: &Up) -> u64 {
    let row = |n| format!("+1202555{:04}\n", 300 + n);
    let rows: String = (0..20).map(row).collect();
    fs::write(up.path().join("gone.csv"), "number\n".to_owned() + &rows).unwrap();
    up.done("campaign create gone --flow demo --prompts demo --trunk carrier --contacts gone.csv --start");
    let dialled = |shown: &Value| number(shown, "settled") >= 1 && number(shown, "in_flight") >= 1;
    up.until_of("gone", "one is settled, one in flight", dialled).await;
    let imports = up.json("contacts list");
    let of_gone = imports.as_array().unwrap().iter().find(|one| one["campaign"] == "gone").unwrap();
    assert_eq!((number(of_gone, "contacts"), number(of_gone, "erased")), (20, 0));
    let import = of_gone["import"].as_str().unwrap();
    let key = up.path().join(format!("fleet/keys/import-{import}.key"));
    let erase = format!("contacts erase --import {import} --reason asked-to");
    let looked = up.done(&format!("{erase} --dry-run"));
    assert!(looked.contains("nothing was erased") && looked.contains("gone"), "{looked}");
    let refused = up.run(&erase.split(' ').collect::<Vec<_>>());
    assert!(refused.status == 2 && refused.err.contains("AST-U111") && key.exists(), "{}", refused.err);
    let said = up.done(&format!("{erase} --yes"));
    assert!(said.starts_with("20 contacts are erased, at position "), "{said}");
    assert!(!key.exists());
    let last = up.until_of("gone", "it is complete", |shown| shown["status"] == "completed").await;
    assert!(number(&last, "erased") > 0, "{last:#}");
    assert_eq!((number(&last, "waiting"), number(&last, "uncertain")), (0, 0));
    assert_eq!(number(&last, "settled") + number(&last, "erased"), 20);
    // Once more changes nothing, and the same list is not taken again.
    assert_eq!(up.json(&format!("{erase} --yes"))["erased"], true);
    // A key that is there all the same, as after a crash between the log and the folder, does not stay.
    fs::write(&key, "0".repeat(64)).unwrap();
    let began = Instant::now();
    while key.exists() {
        assert!(began.elapsed() < PATIENCE, "the key of an erased import stays");
        tokio::time::sleep(Duration::from_millis(100)).await; // the pause of a poll
    }
    let again = "campaign create again --flow demo --prompts demo --trunk carrier --contacts gone.csv";
    let refused = up.run(&again.split(' ').collect::<Vec<_>>());
    assert!(refused.status == 1 && refused.err.contains("AST-D015") && !key.exists(), "{}", refused.err);
    number(&last, "rang")
}

/// The end of the campaign before its last contact; what `show` says then.
async fn stopped(up: &Up) -> Value {
    let said = up.done("campaign stop spring --reason enough");
    assert!(said.starts_with("campaign spring stopped for good: nothing new is dialled; "), "{said}");
    assert!(said.contains(" under way"), "{said}");
    let last = up.until("what was under way has ended", |shown| number(shown, "in_flight") == 0).await;
    assert_eq!((last["status"].as_str(), number(&last, "contacts")), (Some("stopped"), GOOD));
    assert!(number(&last, "waiting") > 0, "it was stopped before its end\n{last:#}");
    assert_eq!(number(&last, "waiting") + number(&last, "settled"), GOOD);
    let refused = up.run(&["campaign", "resume", "spring"]);
    assert!(
        refused.status == 1 && refused.err.contains("AST-D021") && refused.err.contains(": it is stopped; "),
        "{}",
        refused.err
    );
    last
}

/// The doctor and the list, while everything stands still.
fn looked_at(up: &Up) {
    let doctor = up.done("doctor");
    assert!(doctor.ends_with(" 0 failed\n") && doctor.contains("\nok    dialer "), "{doctor}");
    let campaigns = up.json("campaign list");
    let statuses: Vec<&str> =
        campaigns.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(
        statuses,
        ["created", "completed", "completed", "stopped"],
        "again, the test call, gone, spring"
    );
    let refused = up.run(&["up", "--dir", "other"]);
    assert!(
        refused.err.contains("AST-U079: fleet/asterism.toml is written by `asterism up` itself"),
        "{}",
        refused.err
    );
    assert!(refused.status == 1 && !up.path().join("other").exists());
}

/// The fleet is told to go and the cloud lists nothing of it. Ctrl-C: the services end, nothing is left running.
async fn sent_home(up: &mut Up) {
    let down = up.json("fleet down --reason done --wait 90");
    let left = ["instances", "volumes", "addresses"].map(|name| number(&down, name));
    assert_eq!(left, [0, 0, 0], "{down}");
    up.stop().await;
    for line in [
        "Sending the fleet home; Ctrl-C again ends at once.",
        "All nodes are gone and the log is sealed. Next: ",
    ] {
        assert!(up.said().contains(line), "{line:?} is missing in\n{}", up.said());
    }
    let left = pids(&[&up.path().to_string_lossy()]);
    assert_eq!(left, Vec::<i32>::new(), "processes are left");
    eprintln!("--- asterism up said\n{}", up.said());
}

/// The sealed log, read by nobody who took part, says what `show` said last, and what the carrier counted.
fn proved(up: &Up, last: &Value, rang_of_gone: u64) {
    let anchor = fs::read_to_string(up.path().join("fleet/keys/anchor")).unwrap();
    let verified = up.json(&format!("replay verify fleet/log --anchor {}", anchor.trim()));
    assert_eq!(
        (&verified["replay_ok"], number(&verified, "incidents")),
        (&Value::Bool(true), 0),
        "{verified:#}"
    );
    // An orderly end leaves all of it in the archive too.
    let fetched = up.json("archive fetch audit");
    assert_eq!((&fetched["root"], &fetched["events"]), (&verified["root"], &verified["events"]));
    let state: Value = serde_json::from_str(&up.done("replay state fleet/log")).unwrap();
    assert_eq!(state["state_hash"], verified["state_hash"]);
    let counts = &state["state"]["campaigns"]["spring"]["counts"];
    let same = ["waiting", "in_flight", "uncertain", "attempts", "rang", "answered", "refused", "digits"];
    for key in same {
        assert_eq!(counts[key], last[key], "{key}");
    }
    assert_eq!(counts["imported"], last["contacts"]);
    let exported = up.done("replay export fleet/log");
    let events: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len() as u64, number(&verified, "events"));
    let of = |kind: &str, campaign: &str| {
        let is = |event: &&Value| event["type"] == kind && event["campaign"] == campaign;
        events.iter().filter(is).count() as u64
    };
    assert_eq!(of("ATTEMPT_ORIGINATING", "spring"), number(last, "rang"));
    assert_eq!((of("CAMPAIGN_PAUSED", "spring"), of("CAMPAIGN_STOPPED", "spring")), (1, 1));
    let rings = up.rings();
    assert!(rings.values().all(|count| *count == 1), "{rings:?}");
    let rang = number(last, "rang") + rang_of_gone + 1;
    assert_eq!(rings.len() as u64, rang, "both campaigns and the test call");
    assert_eq!(events.iter().filter(|event| event["type"] == "CONTACTS_ERASED").count(), 1);
    let told = up.done("replay explain fleet/log gone/19");
    assert!(
        told.contains("its number and fields are erased") || told.contains("was erased before"),
        "{told}"
    );
    let records = up.done("replay cdr fleet/log --keys fleet/keys --json");
    for record in records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let erased = record["campaign"] == "gone";
        assert_eq!(record["dst"].as_str().unwrap().is_empty(), erased, "{record}");
    }
    // Neither as it is written nor as its bytes are; long enough not to stand in a hash by chance.
    for number in ["120255502", "313230323535353032"] {
        assert!(!exported.contains(number), "a number is in the log");
    }
}

/// The same log under other policies: no call is lost or invented, and fewer slots take longer.
fn replayed_under_other_policies(up: &Up) {
    let stats = up.json("replay stats fleet/log --json");
    let made = number(&stats["calls"], "attempts") - number(&stats["calls"], "refused");
    let told = |policy: &str| {
        fs::write(up.path().join("other.toml"), policy).unwrap();
        up.json("lab what-if --log fleet/log --policy other.toml")
    };
    let narrow = told("max_nodes = 1\nnode_capacity = 1\nprice_micro_usd_per_hour = 1000000\n");
    let (recorded, replayed, asked) = (&narrow["recorded"], &narrow["replayed"], &narrow["asked"]);
    assert_eq!(number(recorded, "done"), made, "{narrow:#}");
    for run in [replayed, asked] {
        let all = number(run, "done") + number(run, "late");
        assert_eq!(all, number(&narrow, "calls"), "{narrow:#}");
    }
    // What is stopped at a moment is cut a little differently.
    assert!(3 * number(replayed, "done") >= 2 * made, "its own policy does about what it did: {narrow:#}");
    assert!(number(asked, "done") < number(replayed, "done"), "one slot is too few in that time: {narrow:#}");
    assert_eq!(number(asked, "peak_nodes"), 1, "{narrow:#}");
    let cost = number(asked, "node_ms") * 10 / 36;
    assert!(cost.abs_diff(number(asked, "micro_usd")) <= 1, "a dollar an hour: {narrow:#}");
    let peak = told("rule = 'static-peak'\n");
    assert_eq!(peak["recorded"], narrow["recorded"]);
    assert_eq!(peak["replayed"], narrow["replayed"], "twice the same");
    let shown = up.done("lab what-if --log fleet/log --policy other.toml");
    assert!(shown.contains("what really happened") && shown.contains("static-peak"), "{shown}");
    fs::write(up.path().join("other.toml"), "max_nodes = -1\n").unwrap();
    let refused = up.run(&["lab", "what-if", "--log", "fleet/log", "--policy", "other.toml"]);
    assert!(refused.status == 1 && refused.err.contains("AST-P036"), "{}", refused.err);
    let refused = up.run(&["lab", "what-if", "--log", "fleet/keys", "--policy", "other.toml"]);
    assert!(refused.status == 1 && refused.err.contains("AST-"), "{}", refused.err);
}

//! The real program as a stranger meets it: help, exit statuses, codes, nasty files. None of this needs a server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the program did.
#[derive(Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program in a folder, with nothing of this machine's configuration.
fn asterism(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env("USER", "tester").env_remove("COLUMNS");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASTERISM_")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

const FLOW: &str = "name = \"demo\"\nstart = \"hello\"\nfallback = \"done\"\n\n[states.hello]\nplay = [\"welcome\"]\nnext = \"done\"\n\n\
                    [states.done]\nhangup = { cause = 16 }\n";

/// A folder with a flow and one second of a tone as its prompt.
fn campaign_folder() -> tempfile::TempDir {
    let dir = folder();
    std::fs::write(dir.path().join("flow.toml"), FLOW).unwrap();
    std::fs::create_dir(dir.path().join("prompts")).unwrap();
    let tone: Vec<u8> = (0..8_000u32).map(|n| if n % 16 < 8 { 0x90 } else { 0x10 }).collect();
    std::fs::write(dir.path().join("prompts/welcome.ulaw"), tone).unwrap();
    dir
}

fn create(dir: &Path, list: &[u8], more: &[&str]) -> Ran {
    std::fs::write(dir.join("list.csv"), list).unwrap();
    let mut args = vec!["campaign", "create", "spring", "--flow", "flow.toml", "--prompts", "prompts/"];
    args.extend(["--trunk", "carrier", "--contacts", "list.csv", "--dry-run"]);
    args.extend(more);
    asterism(dir, &args)
}

#[test]
fn the_help_is_as_it_was_agreed() {
    let help = asterism(folder().path(), &["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    let golden = include_str!("help.txt");
    assert_eq!(help.out, golden, "changed on purpose? asterism --help > services/tools/cli/tests/help.txt");
    assert!(!help.out.contains('\u{1b}'), "no colours without a terminal");
}

#[test]
fn a_wrong_command_line_is_status_2_and_points_to_the_help() {
    let dir = folder();
    let wrong: [&[&str]; 5] =
        [&[], &["frob"], &["campaign"], &["campaign", "create", "x"], &["fleet", "list", "--frob"]];
    for args in wrong {
        let ran = asterism(dir.path(), args);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{args:?}");
        assert!(ran.err.contains("help") && !ran.err.contains('\u{1b}'), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_number_is_never_repeated_not_even_a_wrong_one() {
    let dir = campaign_folder();
    let call = asterism(dir.path(), &["call", "2025550123", "--flow", "flow.toml"]);
    assert_eq!(call.status, 2);
    assert!(call.err.contains("AST-I011") && !call.err.contains("5550123"), "{}", call.err);
    let list = b"number,name\n+12025550123,Ada\n+12025550199x,Bob\n";
    for more in [
        &["--allow", "+1202555019x"] as &[&str],
        &["--caller-id", "2025550177"],
        &[],
        &["--json"],
        &["--verbose"],
    ] {
        let ran = create(dir.path(), list, more);
        for digits in ["5550123", "555019", "5550177"] {
            assert!(!ran.out.contains(digits) && !ran.err.contains(digits), "{more:?}: {ran:?}");
        }
    }
}

#[test]
fn a_sound_flow_is_said_to_be_and_a_broken_one_is_told_line_path_and_reason() {
    let dir = campaign_folder();
    let good = asterism(dir.path(), &["logic", "check", "flow.toml"]);
    assert_eq!(good.status, 0, "{good:?}");
    assert!(
        good.out.starts_with("flow.toml: ok: flow \"demo\", 2 states, 1 prompts (welcome)"),
        "{}",
        good.out
    );

    std::fs::write(dir.path().join("bad.toml"), FLOW.replace("next = \"done\"", "next = \"dona\"")).unwrap();
    let bad = asterism(dir.path(), &["logic", "check", "bad.toml"]);
    assert_eq!(bad.status, 1);
    let line = bad.out.lines().next().unwrap();
    assert!(line.starts_with("bad.toml:7:8: AST-F008 states.hello.next: "), "{line}");
    assert!(line.ends_with("did you mean \"done\"?"), "{line}");
    let json = asterism(dir.path(), &["--json", "logic", "check", "bad.toml"]);
    assert_eq!((json.status, json.json()["ok"].as_bool()), (1, Some(false)));
    assert_eq!(json.json()["problems"][0]["code"], "AST-F008");
    assert_eq!(json.json()["problems"][0]["line"], 7);
}

#[test]
fn nasty_flows_are_refused_with_a_code() {
    let dir = folder();
    let nasty: [(&str, Vec<u8>, &str); 6] = [
        ("empty", Vec::new(), "AST-F005"),
        ("zeroes", vec![0; 100], "AST-F00"),
        ("latin-1", b"name = \"caf\xe9\"\n".to_vec(), "AST-F001"),
        ("no toml", b"{\"name\": 1}".to_vec(), "AST-F002"),
        ("too long", vec![b'#'; 70_000], "AST-F001"),
        ("deep", [b"a = ".to_vec(), vec![b'['; 5_000]].concat(), "AST-F002"),
    ];
    for (what, document, code) in nasty {
        std::fs::write(dir.path().join("flow.toml"), document).unwrap();
        let ran = asterism(dir.path(), &["logic", "check", "flow.toml"]);
        assert_eq!(ran.status, 1, "{what}: {ran:?}");
        assert!(ran.out.contains(code), "{what}: {}", ran.out);
        assert!(!ran.err.contains("panicked"), "{what}: {}", ran.err);
    }
    let gone = asterism(dir.path(), &["--json", "logic", "check", "gone.toml"]);
    let error: Value = serde_json::from_str(&gone.err).unwrap();
    assert_eq!((gone.status, error["error"]["code"].as_str()), (1, Some("AST-U010")));
    assert_eq!(asterism(dir.path(), &["logic", "check", "."]).status, 1);
}

#[test]
fn a_dry_run_shows_what_would_be_imported_and_changes_nothing() {
    let dir = campaign_folder();
    let list = "name;Phone;city\nAda;+1 202 555 0123;Rome\nBob;2025550124;\n\"Eve;+12025550125;\nJo;+1.2E10;\nTwo;+12025550123;\n";
    let ran = create(dir.path(), list.as_bytes(), &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    for wanted in [
        "flow \"demo\": ok",
        "list.csv: 5 rows: 1 good, 3 rejected, 1 duplicate left out",
        "number   column \"Phone\"",
        "rejected       1  AST-I004",
        "rejected       1  AST-I008",
        "rejected       1  AST-I011",
        "sample   +1•••••••123  name, city",
        "rejected rows would go to list.csv.rejects.csv (--rejects FILE writes them now)",
        "dry run: nothing changed",
    ] {
        assert!(ran.out.contains(wanted), "{wanted:?} is missing in:\n{}", ran.out);
    }
    let json = create(dir.path(), list.as_bytes(), &["--json"]).json();
    assert_eq!(json["import"]["rejected_by_code"]["AST-I004"], 1);
    assert_eq!(json["import"]["samples"][0]["number"], "+1•••••••123");
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["flow.toml", "list.csv", "prompts"]);
}

#[test]
fn nasty_lists_are_refused_with_a_code() {
    let dir = campaign_folder();
    let nasty: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "AST-I032"),
        ("a workbook", b"PK\x03\x04....".to_vec(), "AST-I031"),
        ("no header", b"+12025550123,Ada\n".to_vec(), "AST-I026"),
        ("no number column", b"name,city\nAda,Rome\n".to_vec(), "AST-I020"),
        ("two number columns", b"number,phone\n1,2\n".to_vec(), "AST-I022"),
        ("old line ends", b"number,name\r+12025550123,Ada\r".to_vec(), "AST-I033"),
        ("only bad rows", b"number\n12\nn/a\n".to_vec(), "AST-U020"),
        ("one endless line", vec![b'"'; 300_000], "AST-I033"),
    ];
    for (what, list, code) in nasty {
        let ran = create(dir.path(), &list, &[]);
        assert_eq!(ran.status, 1, "{what}: {ran:?}");
        assert!(ran.err.starts_with(&format!("asterism: {code}: ")), "{what}: {}", ran.err);
    }
    let ran = create(dir.path(), b"a,b\n+12025550123,x\n", &["--number-column", "A"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = create(dir.path(), b"a,b\n+12025550123,x\n", &["--number-column", "tel"]);
    assert!(ran.err.contains("AST-I021"), "{ran:?}");
}

#[test]
fn an_ugly_list_is_explained_before_anything_is_sent() {
    let dir = folder();
    // What a spreadsheet of a European desk writes: Windows characters, semicolons, mangled numbers.
    let list = b"Name;Tel. mobil;Ort;Notiz\r\nM\xfcller;+49 30 23125 000;K\xf6ln;=1+1\r\nAda;4,93E+11;;\r\n\
        Bob;'+493023125001;;\r\nCy;\"=\"\"+493023125002\"\"\";;\r\nDi;493023125003;;\r\nEd;030 23125004;;\r\n\
        Flo;493023125005.0;;\r\nGil;=+493023125006;;\r\nHal;+999 123 456 789;;\r\nIda;+49 (0)30 23125 000;;\r\n";
    std::fs::write(dir.path().join("list.csv"), list).unwrap();
    let look = |more: &[&str]| {
        let words =
            ["campaign", "import", "spring", "list.csv", "--dry-run", "--number-column", "tel. mobil"];
        asterism(dir.path(), &[&words, more].concat())
    };
    let plain = look(&["--rejects", "bad.csv", "--map", "city=Ort", "--omit", "notiz"]);
    assert_eq!((plain.status, plain.err.as_str()), (0, ""), "{plain:?}");
    for wanted in [
        "list.csv: 10 rows: 1 good, 8 rejected, 1 duplicate left out",
        "read as  windows-1252 (by its bytes), columns separated by ';'",
        "fields   Name (1 filled, longest 7 bytes), city (1 filled, longest 5 bytes)",
        "zones    Europe/Berlin 1",
        "note     the file is no UTF-8",
        "rejected       1  AST-I008",
        "rejected       1  AST-I011",
        "rejected       4  AST-I015",
        "rejected       1  AST-I016",
        "rejected       1  AST-I018",
        "sample   +4••••••••000  Name, city",
        "rejected rows are in bad.csv",
        "dry run: nothing changed",
    ] {
        assert!(plain.out.contains(wanted), "{wanted:?} is missing in:\n{}", plain.out);
    }
    let rejects = std::fs::read_to_string(dir.path().join("bad.csv")).unwrap();
    assert!(rejects.contains("import with --mend") && rejects.contains("--region GB"), "{rejects}");
    assert!(!rejects.contains("4930"), "rejects hold no value of a row: {rejects}");
    let mended = look(&["--region", "de", "--mend", "--json"]).json();
    assert_eq!((&mended["import"]["good"], &mended["import"]["national"]), (&7.into(), &3.into()));
    assert_eq!(mended["import"]["mended"]["a trailing .0"], 1);
    for (more, status, code) in [
        (&["--region", "UK"][..], 2, "AST-U026"),
        (&["--map", "city"], 2, "AST-U025"),
        (&["--encoding", "klingon"], 2, "AST-U028"),
        (&["--omit", "nobody"], 1, "AST-I021"),
        (&["--omit", "tel. mobil"], 0, ""),
    ] {
        let ran = look(more);
        assert!(ran.status == status && ran.err.contains(code), "{more:?}: {ran:?}");
    }
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["bad.csv", "list.csv"], "a dry run writes what it is told to and no more");
}

#[test]
fn a_flow_or_prompts_that_do_not_fit_stop_a_campaign_before_it_begins() {
    let dir = campaign_folder();
    let list = b"number\n+12025550123\n";
    std::fs::write(dir.path().join("flow.toml"), FLOW.replace("welcome", "welcom")).unwrap();
    let ran = create(dir.path(), list, &[]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("AST-U043") && ran.err.contains("missing: welcom"), "{}", ran.err);
    std::fs::write(dir.path().join("flow.toml"), "name = 1").unwrap();
    let ran = create(dir.path(), list, &[]);
    assert!(
        ran.err.contains("AST-F004") && ran.err.contains("next: asterism logic check flow.toml"),
        "{}",
        ran.err
    );
    std::fs::write(dir.path().join("flow.toml"), FLOW).unwrap();
    std::fs::write(dir.path().join("prompts/Bad Name.wav"), b"RIFF").unwrap();
    let ran = create(dir.path(), list, &[]);
    assert!(ran.status == 1 && ran.err.contains("\"Bad Name.wav\": AST-M02"), "{ran:?}");
}

#[test]
fn values_out_of_range_are_the_command_lines_fault() {
    let dir = campaign_folder();
    let list = b"number\n+12025550123\n";
    assert_eq!(create(dir.path(), list, &["--ring-timeout", "30"]).status, 2);
    let ran = create(dir.path(), list, &["--ring-timeout", "1h"]);
    assert!(ran.status == 2 && ran.err.contains("AST-U023"), "{ran:?}");
    let ran = asterism(
        dir.path(),
        &[
            "campaign",
            "create",
            "a b",
            "--flow",
            "flow.toml",
            "--prompts",
            "p",
            "--trunk",
            "t",
            "--contacts",
            "list.csv",
        ],
    );
    assert!(ran.status == 2 && ran.err.contains("AST-U022"), "{ran:?}");
}

#[test]
fn init_makes_a_fleet_once_and_keeps_it() {
    let dir = folder();
    let first = asterism(dir.path(), &["--json", "init", "--fleet", "spring"]);
    assert_eq!(first.status, 0, "{first:?}");
    let again = asterism(dir.path(), &["--json", "init"]);
    assert_eq!(first.json()["anchor"], again.json()["anchor"]);
    assert_eq!(
        (first.json()["config_written"].as_bool(), again.json()["config_written"].as_bool()),
        (Some(true), Some(false))
    );
    let other = asterism(dir.path(), &["init", "--fleet", "autumn"]);
    assert!(other.status == 1 && other.err.contains("AST-U031"), "{other:?}");
    assert_eq!(asterism(dir.path(), &["init", "--fleet", "a b"]).status, 2);
    let check = asterism(dir.path(), &["config", "check"]);
    assert_eq!((check.status, check.out.as_str()), (0, "asterism.toml: ok: fleet \"spring\"\n"));
    let print = asterism(dir.path(), &["--set", "media.http_listen=127.0.0.1:9000", "config", "print"]);
    assert!(print.out.contains("fleet = \"spring\"  # asterism.toml:3"), "{}", print.out);
    assert!(print.out.contains("# --set media.http_listen"), "{}", print.out);
}

#[test]
fn a_broken_configuration_is_told_with_every_place() {
    let dir = folder();
    std::fs::write(dir.path().join("asterism.toml"), "fleet = \"x\"\nflet = 1\n[dialer]\ntick_ms = 5\n")
        .unwrap();
    let ran = asterism(dir.path(), &["config", "check"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("AST-C003: asterism.toml:2"), "{}", ran.err);
    let gone = asterism(dir.path(), &["--config", "gone.toml", "config", "check"]);
    assert!(gone.status == 1 && gone.err.contains("AST-C001"), "{gone:?}");
}

#[test]
fn a_doctor_without_a_server_says_what_fails_and_how_to_mend_it() {
    let dir = folder();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let set = format!("nats.url=nats://127.0.0.1:{port}");
    assert_eq!(asterism(dir.path(), &["init"]).status, 0);
    let ran = asterism(dir.path(), &["--json", "--set", &set, "doctor"]);
    assert_eq!((ran.status, ran.json()["ok"].as_bool()), (1, Some(false)));
    let status = |name: &str| {
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}"))
    };
    for name in ["configuration", "keys", "objects"] {
        assert_eq!(status(name)["status"], "ok", "{name}: {ran:?}");
    }
    assert_eq!(status("bus")["status"], "fail");
    assert!(status("bus")["found"].as_str().unwrap().contains("AST-N002"));
    assert!(!status("bus")["fix"].as_str().unwrap().is_empty());
    let list = asterism(dir.path(), &["--set", &set, "campaign", "list"]);
    assert!(
        list.status == 1 && list.err.contains("AST-N002") && list.err.contains("next: asterism doctor"),
        "{list:?}"
    );
    std::fs::remove_file(dir.path().join("asterism-data/keys/role-dialer.nk")).unwrap();
    let ran = asterism(dir.path(), &["--set", &set, "doctor"]);
    assert!(ran.out.contains("FAIL  keys") && ran.out.contains("fix: asterism init"), "{}", ran.out);
}

#[test]
fn an_auditor_needs_only_the_folder() {
    let dir = folder();
    for verb in ["verify", "state", "export"] {
        let ran = asterism(dir.path(), &["replay", verb, "nowhere"]);
        assert!(ran.status == 1 && ran.err.starts_with("asterism: AST-L"), "{verb}: {ran:?}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = asterism(folder().path(), &["completions", shell]);
        assert!(
            ran.status == 0 && ran.out.contains("asterism") && ran.out.contains("go-live"),
            "{shell}: {}",
            ran.err
        );
    }
}

#[test]
fn a_price_book_is_checked_and_a_fleet_without_a_price_does_not_start() {
    let dir = folder();
    let example = asterism(dir.path(), &["prices", "example"]);
    std::fs::write(dir.path().join("prices.toml"), &example.out).unwrap();
    let checked =
        asterism(dir.path(), &["prices", "check", "prices.toml", "--slots", "m7g.large=110", "--json"]);
    let prices = checked.json()["prices"].as_array().unwrap().clone();
    let per_slot = |market: &str| {
        let mut of = prices.iter().filter(|row| row["type"] == "m7g.large" && row["market"] == market);
        of.next().unwrap()["micro_usd_per_slot_hour"].as_u64().unwrap()
    };
    assert_eq!((checked.status, per_slot("on-demand"), per_slot("spot")), (0, 742, 371), "{checked:?}");
    let used = ["prices", "check", "prices.toml", "--used", "--set", "scaler.provider=ec2"];
    let fleet =
        ["scaler.ec2.image_id=ami-1", "scaler.ec2.instance_type=c7g.large", "scaler.ec2.region=us-east-1"];
    let args: Vec<&str> = used.into_iter().chain(fleet.into_iter().flat_map(|one| ["--set", one])).collect();
    let refused = asterism(dir.path(), &args);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.out.contains("AST-S071: c7g.large on-demand has no price in us-east-1"), "{refused:?}");
    let broken = example.out.replace("billing = \"second\"", "billing = \"day\"");
    std::fs::write(dir.path().join("prices.toml"), broken).unwrap();
    let refused = asterism(dir.path(), &["prices", "check", "prices.toml", "--json"]);
    assert_eq!((refused.status, refused.json()["problems"].as_array().unwrap().len()), (1, 4), "{refused:?}");
}

#[test]
fn a_plan_is_made_without_a_server_and_says_what_it_costs() {
    let plan = |more: &[&str]| {
        let args = ["plan", "--calls", "300", "--within", "20m", "--alone", "--json"];
        asterism(folder().path(), &[&args[..], more].concat())
    };
    let told = plan(&[]);
    assert_eq!(told.status, 0, "{told:?}");
    let plan_json = told.json()["plan"].clone();
    assert!(plan_json["micro_usd"][1].as_u64().unwrap() > 0 && plan_json["late"] == 0, "{plan_json}");
    let poor = plan(&["--set", "scaler.budget_micro_usd=1"]);
    assert_eq!(poor.json()["plan"]["late"], 300, "{poor:?}");
}

//! Every local disk is lost at once: `asterism up` is killed in the middle of its life, the stream, the copies and the
//! nodes' folders are gone. What is left are the keys, the prompts and the archive, and from there the fleet goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use asterism_tests::child::{Guarded, pids};
use asterism_tests::stack::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longest wait for anything to become true.
const PATIENCE: Duration = Duration::from_secs(90);
/// Everybody answers at once and presses nothing.
const CALLEES: &str = "ring = { min_ms = 10, max_ms = 50 }\n[weights]\npress_1 = 1\npress_2 = 0\npress_nothing = 0\n\
    hang_up_early = 0\nbusy = 0\ndeclined = 0\nnot_found = 0\nunavailable = 0\ncongested = 0\nno_answer = 0\nsilent = 0\n";
const FLOW: &str = "name = \"demo\"\nstart = \"hello\"\nfallback = \"done\"\n\n[states.hello]\nplay = [\"welcome\"]\nnext = \"done\"\n\n\
    [states.done]\nhangup = { cause = 16 }\n";

/// Starts `asterism up` and waits until it answers.
async fn up(dir: &Path, life: &str) -> Guarded {
    let folder = dir.join("fleet").display().to_string();
    let server = asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
    let server = server.display().to_string();
    let words =
        ["up", "--dir", &folder, "--max-nodes", "2", "--callees", "callees.toml", "--nats-server", &server];
    // The node that is lost with the machine is given up soon: the next call needs another one.
    let sets = [
        "--set",
        "ledger.seal_every_ms=1000",
        "--set",
        "ledger.checkpoint_every_ms=500",
        "--set",
        "agent.dead_after_ms=6000",
        "--set",
        "scaler.gone_after_ms=3000",
    ];
    let mut child = Guarded::start(life, &program("asterism"), &[words.as_slice(), &sets].concat(), dir);
    let began = Instant::now();
    while !child.log().contains("Asterism is up.") {
        assert!(child.runs() && began.elapsed() < PATIENCE, "it does not come up\n{}", child.log());
        tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
    }
    child
}

/// A command that succeeds; what it printed.
fn run(dir: &Path, words: &[&str]) -> Value {
    let mut command = Command::new(program("asterism"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASTERISM_")) {
        command.env_remove(name);
    }
    let config = ["--json", "--config", "fleet/asterism.toml"];
    let output = command.args(config).args(words).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "asterism {}\n{out}{err}", words.join(" "));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Waits until the archive ends at this size or behind.
async fn archived(dir: &Path, size: u64) {
    let began = Instant::now();
    while run(dir, &["log", "head"])["archived"].as_u64().unwrap() < size {
        assert!(began.elapsed() < PATIENCE, "not archived up to {size}");
        tokio::time::sleep(Duration::from_millis(100)).await; // the pause of a poll
    }
}

#[tokio::test]
async fn a_fleet_that_lost_every_disk_but_its_archive_goes_on_with_the_same_log() {
    let root = tempfile::Builder::new().prefix("asterism-lost-").tempdir().unwrap();
    let dir = root.path();
    fs::write(dir.join("callees.toml"), CALLEES).unwrap();
    fs::write(dir.join("flow.toml"), FLOW).unwrap();
    fs::create_dir(dir.join("prompts")).unwrap();
    let tone: Vec<u8> = (0..2_000u32).map(|n| if n % 16 < 8 { 0x90 } else { 0x10 }).collect();
    fs::write(dir.join("prompts/welcome.ulaw"), tone).unwrap();
    let first = up(dir, "first").await;
    let call = ["call", "+12025550123", "--flow", "flow.toml", "--prompts", "prompts"];
    assert_eq!(run(dir, &call)["outcome"], "answered");
    archived(dir, run(dir, &["log", "head"])["size"].as_u64().unwrap()).await;
    let before = run(dir, &["archive", "list"]);
    let before = before["segments"].as_array().unwrap().last().unwrap().clone();

    first.signal(Signal::SIGKILL);
    let folder = dir.join("fleet");
    let began = Instant::now();
    loop {
        let left = pids(&[&folder.display().to_string()]);
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{left:?} do not end");
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended by itself
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let kept = ["archive", "keys", "objects"].iter().any(|kept| entry.file_name() == *kept);
        if entry.path().is_dir() && !kept {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }

    let mut second = up(dir, "second").await;
    // It knows the campaign of its former life, and places a call in a new one.
    let campaigns = run(dir, &["campaign", "list"]);
    assert_eq!(campaigns.as_array().unwrap().len(), 1, "{campaigns}");
    let call = ["call", "+12025550124", "--flow", "flow.toml", "--prompts", "prompts"];
    assert_eq!(run(dir, &call)["outcome"], "answered");
    archived(dir, run(dir, &["log", "head"])["size"].as_u64().unwrap()).await;
    let after = run(dir, &["archive", "list"]);
    assert!(after["segments"].as_array().unwrap().contains(&before), "{after}");
    let fetched = run(dir, &["archive", "fetch", "copy"]);
    let anchor = fs::read_to_string(folder.join("keys/anchor")).unwrap();
    let verified = run(dir, &["replay", "verify", "copy", "--anchor", anchor.trim()]);
    assert_eq!(verified["root"], fetched["root"]);
    assert!(verified["events"].as_u64() > before["end"].as_u64());
    second.signal(Signal::SIGINT);
    assert!(second.ended_within(PATIENCE).await.success(), "{}", second.log());
}

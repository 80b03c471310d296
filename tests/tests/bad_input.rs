//! Bad input and bad surroundings, through the real programs: a clear message with a stable code, an exit status that is
//! not zero, and nothing lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use asterism_nats::NatsServer;
use asterism_runtime::keys::Keyring;
use asterism_tests::disk::SmallDisk;
use asterism_tests::stack::program;

fn run(name: &str, arguments: &[&str], folder: &Path) -> Output {
    Command::new(program(name))
        .args(arguments)
        .current_dir(folder)
        .env_remove("ASTERISM_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Fails with this code, and says it on standard error.
fn refused(name: &str, arguments: &[&str], folder: &Path, code: &str) -> String {
    let output = run(name, arguments, folder);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{name} {arguments:?} succeeded: {said}");
    assert!(said.contains(code), "{name} {arguments:?}: expected {code}, said: {said}");
    said
}

fn folder(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("asterism.toml"), config).unwrap();
    dir
}

const CONFIG: [&str; 2] = ["--config", "asterism.toml"];

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    let dir = folder("[dialer]\ntick = 5\n");
    for name in ["asterism-dialer", "asterism-scaler", "asterism-ledger", "asterism-media-sync"] {
        let said = refused(name, &CONFIG, dir.path(), "AST-C003");
        assert!(said.contains("asterism.toml:2") && said.contains("tick_ms"), "{said}");
    }
}

#[test]
fn a_server_that_is_not_there_and_one_beyond_this_machine_are_told_apart() {
    let absent = folder("[nats]\nurl = \"nats://127.0.0.1:1\"\n");
    refused("asterism", &["campaign", "list"], absent.path(), "AST-N002");
    let outside = folder("[nats]\nurl = \"nats://192.0.2.1:4222\"\n");
    refused("asterism", &["campaign", "list"], outside.path(), "AST-N001");
    refused("asterism-dialer", &CONFIG, outside.path(), "AST-N001");
}

#[tokio::test]
async fn a_server_that_refuses_the_password_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let binary = asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
    let nats = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
    fs::write(dir.path().join("wrong"), "not-it\n").unwrap();
    let url = nats.service("x").unwrap().url;
    let config = format!("[nats]\nurl = \"{url}\"\nuser = \"service\"\npassword_file = \"wrong\"\n");
    fs::write(dir.path().join("asterism.toml"), config).unwrap();
    refused("asterism", &["campaign", "list"], dir.path(), "AST-N003");
    refused("asterism-ledger", &CONFIG, dir.path(), "AST-N003");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = folder("");
    for (name, section) in [
        ("asterism-ledger", "ledger"),
        ("asterism-logic-responder", "logic"),
        ("asterism-media-sync", "media"),
    ] {
        let key = format!("{section}.http_listen");
        let set = format!("{key}={address}");
        let said = refused(name, &["--config", "asterism.toml", "--set", &set], dir.path(), "AST-R001");
        assert!(said.contains(&key), "{said}");
    }
}

#[test]
fn a_flow_with_mistakes_is_refused_with_line_and_path() {
    let dir = folder("");
    fs::write(
        dir.path().join("flow.toml"),
        "name = \"x\"\nstart = \"a\"\nfallback = \"a\"\n[states.a]\nplay = [\"No Such Name\"]\nnxt = \"b\"\n",
    )
    .unwrap();
    let output = run("asterism", &["logic", "check", "flow.toml"], dir.path());
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success());
    assert!(said.contains("AST-F0") && said.contains("flow.toml:") && said.contains("states.a"), "{said}");
}

#[tokio::test]
async fn a_full_disk_under_the_log_stops_the_process_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let Some(disk) = SmallDisk::mount(&data, 16 << 20) else {
        asterism_tests::asterisk::skip(
            "a_full_disk_under_the_log",
            "a small disk cannot be mounted here (not root?)",
        );
        return;
    };
    let binary = asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
    let nats = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
    Keyring::init(&dir.path().join("keys"), "demo", 1).unwrap();
    let config = format!(
        "[nats]\nurl = \"{}\"\nuser = \"service\"\npassword_file = \"{}\"\n[paths]\ndata_dir = \"data\"\nkeys_dir = \"keys\"\n\
         [ledger]\ncheckpoint_every_ms = 1000\n",
        nats.service("x").unwrap().url,
        nats.password_file("service").display(),
    );
    fs::write(dir.path().join("asterism.toml"), config).unwrap();
    let mut ledger = Ledger::start(dir.path()).await;
    disk.fill();
    // Each seal makes a checkpoint, and a checkpoint is an event to be made durable.
    let began = Instant::now();
    let status = loop {
        if let Some(status) = ledger.0.try_wait().unwrap() {
            break status;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it goes on with a full disk: {}",
            log_of(dir.path())
        );
        run("asterism", &["--config", "asterism.toml", "log", "head"], dir.path());
        let _ = run("asterism", &["--config", "asterism.toml", "log", "seal"], dir.path());
    };
    assert!(!status.success(), "{}", log_of(dir.path()));
    assert!(log_of(dir.path()).contains("AST-L0"), "{}", log_of(dir.path()));
    disk.empty();
    fs::remove_file(dir.path().join("ledger.log")).unwrap();
    let ledger = Ledger::start(dir.path()).await;
    let sealed = run("asterism", &["--config", "asterism.toml", "log", "seal"], dir.path());
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    drop(ledger);
    let verified = run("asterism-replay", &["verify", "data/log-ledger"], dir.path());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("ledger.log")).unwrap_or_default()
}

struct Ledger(std::process::Child);

impl Ledger {
    async fn start(folder: &Path) -> Self {
        let child = Command::new(program("asterism-ledger"))
            .args(CONFIG)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("ledger.log")).unwrap())
            .spawn()
            .unwrap();
        let ledger = Self(child);
        let began = Instant::now();
        while !log_of(folder).contains("leading role=ledger") {
            assert!(began.elapsed() < Duration::from_secs(30), "{}", log_of(folder));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ledger
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! The two programs as a parent sees them: port files, ends, kills, memory and mistakes at start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use asterism_pbx_sim::recorder::{RecorderClient, read_rings};
use common::{Ami, DEADLINE, STEP_SECRET, Steps, eventually, hold};

/// A child that never outlives its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(exe: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(exe);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the end of the program", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Resident memory in KiB: now, or the most so far.
    fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &self.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

async fn port(file: &Path) -> SocketAddr {
    eventually("the port file", || file.exists()).await;
    let port: u16 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    ([127, 0, 0, 1], port).into()
}

async fn recorder(folder: &Path) -> (Program, SocketAddr) {
    let file = folder.join("recorder.port");
    let _ = std::fs::remove_file(&file);
    let out = folder.join("rings.csv");
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--port-file",
        file.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--exit-on-stdin-eof",
    ];
    let program = Program::start(env!("CARGO_BIN_EXE_carrier-recorder"), &arguments);
    let addr = port(&file).await;
    (program, addr)
}

async fn sim(folder: &Path, steps: SocketAddr, carrier: SocketAddr, more: &[&str]) -> (Program, SocketAddr) {
    std::fs::write(folder.join("ami.secret"), format!("{}\n", common::SECRET)).unwrap();
    std::fs::write(folder.join("step.secret"), format!("{STEP_SECRET}\n")).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (port_file, ami, step) = (path("sim.port"), path("ami.secret"), path("step.secret"));
    let (url, carrier) = (format!("http://{steps}"), carrier.to_string());
    let mut arguments = vec![
        "--ami-listen",
        "127.0.0.1:0",
        "--port-file",
        &port_file,
        "--ami-user",
        common::USER,
        "--ami-secret-file",
        &ami,
        "--step-secret-file",
        &step,
        "--step-url",
        &url,
        "--carrier",
        &carrier,
        "--node",
        "n1",
        "--exit-on-stdin-eof",
    ];
    arguments.extend_from_slice(more);
    let program = Program::start(env!("CARGO_BIN_EXE_pbx-sim"), &arguments);
    let addr = port(Path::new(&port_file)).await;
    (program, addr)
}

#[tokio::test]
async fn two_hundred_calls_up_at_once_stay_small() {
    let folder = tempfile::tempdir().unwrap();
    let steps = Steps::start(hold).await;
    let (_recorder, carrier) = recorder(folder.path()).await;
    let callees = folder.path().join("callees.toml");
    std::fs::write(&callees, "[[number]]\nnumber = \"*\"\nhabit = \"press_nothing\"\nring_ms = 50\n")
        .unwrap();
    let (mut sim, addr) =
        sim(folder.path(), steps.addr, carrier, &["--callees", callees.to_str().unwrap()]).await;
    let mut ami = Ami::login(addr).await;
    for n in 0..200 {
        ami.originate(&format!("+155501{n:05}"), &format!("a{n}"), 8000).await;
    }
    for n in 0..200 {
        let id = format!("a{n}");
        ami.until("answer", |m| m.get("DialStatus") == Some("ANSWER") && m.get("DestUniqueid") == Some(&id))
            .await;
    }
    eventually("all in their first step", || steps.asked.lock().unwrap().len() == 200).await;
    let peak_kib = sim.memory_kib("VmHWM");
    assert!(peak_kib < 15 * 1024, "{peak_kib} KiB resident with 200 calls up");

    sim.signal("TERM");
    ami.until("the shutdown", |m| m.get("Event") == Some("Shutdown")).await;
    assert!(sim.ended().await.success());
    assert_eq!(ami.seen.iter().filter(|m| m.get("Event") == Some("Hangup")).count(), 200);
    assert_eq!(steps.ended.lock().unwrap().len(), 200, "each call reported its end");
}

#[tokio::test]
async fn both_end_when_their_parent_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let steps = Steps::start(hold).await;
    let (mut recorder, carrier) = recorder(folder.path()).await;
    let (mut sim, _) = sim(folder.path(), steps.addr, carrier, &[]).await;
    drop(sim.0.stdin.take());
    drop(recorder.0.stdin.take());
    assert!(sim.ended().await.success());
    assert!(recorder.ended().await.success());
}

#[tokio::test]
async fn a_killed_recorder_lost_no_confirmed_ring() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, addr) = recorder(folder.path()).await;
    let client = RecorderClient::new(addr);
    let mut rings = tokio::task::JoinSet::new();
    for n in 0..500 {
        let client = client.clone();
        rings.spawn(
            async move { client.ring(&format!("a{n}"), "+15550100001", "n1").await.is_ok().then_some(n) },
        );
    }
    let mut confirmed = Vec::new();
    while confirmed.len() < 50 {
        confirmed.extend(rings.join_next().await.unwrap().unwrap());
    }
    first.0.kill().unwrap();
    first.ended().await;
    confirmed.extend(rings.join_all().await.into_iter().flatten());

    let (_second, addr) = recorder(folder.path()).await;
    RecorderClient::new(addr).ring("after", "+15550100001", "n1").await.unwrap();
    let mut recorded = std::collections::HashSet::new();
    let count = read_rings(&folder.path().join("rings.csv"), |ring| {
        recorded.insert(ring.attempt_id.clone());
    })
    .unwrap();
    assert_eq!(count.double_rings, 0);
    for n in confirmed {
        assert!(recorded.contains(&format!("a{n}")), "a{n} was confirmed and is gone");
    }
    assert!(recorded.contains("after"));
}

#[tokio::test]
async fn mistakes_at_start_are_told_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("secret"), "long-enough\n").unwrap();
    std::fs::write(path("short"), "x\n").unwrap();
    std::fs::write(path("callees"), "rings = 1\n").unwrap();
    std::fs::write(path("rings"), "not a ring\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|addr| (taken, addr.to_string())).unwrap();
    let (sim, recorder) = (env!("CARGO_BIN_EXE_pbx-sim"), env!("CARGO_BIN_EXE_carrier-recorder"));
    let secrets = |name: &str| {
        vec!["--ami-secret-file".to_owned(), path(name), "--step-secret-file".to_owned(), path(name)]
    };
    let with = |mut base: Vec<String>, more: &[&str]| {
        base.extend(more.iter().map(|s| (*s).to_owned()));
        base
    };
    for (exe, arguments, code) in [
        (sim, with(secrets("secret"), &["--ami-listen", &taken.1]), "AST-P001"),
        (sim, secrets("none"), "AST-P002"),
        (sim, with(secrets("secret"), &["--callees", &path("callees")]), "AST-P003"),
        (sim, with(secrets("secret"), &["--step-url", "https://example.com"]), "AST-P005"),
        (sim, secrets("short"), "AST-P006"),
        (sim, with(secrets("secret"), &["--node", "a b"]), "AST-P007"),
        (recorder, with(vec![], &["--out", &path("rings")]), "AST-P004"),
        (recorder, with(vec![], &["--out", &path("no/such/folder/rings")]), "AST-P002"),
        (recorder, with(vec![], &["--out", &path("new"), "--listen", &taken.1]), "AST-P001"),
    ] {
        let mut command = tokio::process::Command::new(exe);
        command.args(&arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it must end").unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(code), "{arguments:?}: {said}");
        assert!(!said.contains("long-enough"), "a secret was printed");
    }
    let printed = Command::new(sim).arg("--print-callees").output().unwrap();
    assert!(String::from_utf8(printed.stdout).unwrap().contains("press_1 ="));
}

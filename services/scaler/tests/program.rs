//! `asterism-scaler` as a program, with local instances: killed in the middle of its launches it starts none twice, and
//! what it launches knows its intent and token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use asterism_domain::fleet::{IntentStatus, NodeStatus};
use asterism_nats::server::SERVICE_USER;
use asterism_scaler::token::launch_token;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use support::{Rig, eventually, with_status};

/// Notes what it was started with and runs until told to end.
const AGENT: &str = "#!/bin/sh\necho \"$ASTERISM_FLEET $ASTERISM_INTENT $ASTERISM_TOKEN $ASTERISM_LOG_KEY $ASTERISM_NATS_URL $5\" >> \"$3/starts\"\nexec sleep 600\n";
const NODES: usize = 3;

/// A running program and its instances; all of it is killed at the end of the test.
struct Program {
    dir: PathBuf,
    child: Child,
}

impl Program {
    fn start(rig: &Rig) -> Self {
        Self::start_with(rig, "")
    }

    /// With more of the section `scaler`.
    fn start_with(rig: &Rig, more: &str) -> Self {
        let dir = rig.dir.path().to_owned();
        let agent = dir.join("agent");
        if !agent.exists() {
            fs::write(&agent, AGENT).unwrap();
            fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let config = format!(
            "fleet = \"lab\"\n[nats]\nurl = \"{}\"\nuser = \"service\"\npassword_file = \"{}\"\n[paths]\ndata_dir = \"{}\"\n\
             keys_dir = \"{}\"\n[scaler]\nagent_bin = \"{}\"\nnode_capacity = 2\nmax_nodes = {NODES}\ntick_ms = 50\n\
             launch_per_minute = 60\n{more}",
            rig.server.url,
            rig.server.password_file(SERVICE_USER).display(),
            dir.join("data").display(),
            dir.join("keys").display(),
            agent.display(),
        );
        fs::write(dir.join("asterism.toml"), config).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("scaler.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_asterism-scaler"))
            .arg("--config")
            .arg(dir.join("asterism.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn instances(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join("data/nodes/instances")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.instances().iter().filter_map(|instance| pid(instance)) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.dir.join("scaler.log")).unwrap_or_default());
        }
    }
}

fn pid(instance: &Path) -> Option<Pid> {
    let text = fs::read_to_string(instance.join("cloud/pid")).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

/// Whether the process runs; one that has ended and waits to be reaped does not.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[tokio::test]
async fn killed_in_the_middle_of_its_launches_it_starts_none_twice() {
    let mut rig = Rig::start().await;
    let mut first = Program::start(&rig);
    rig.campaign("c", 2 * NODES as u8).await;
    rig.until("the launches are owed", |state| !state.fleet.intents.is_empty()).await;
    first.kill9();

    let mut second = Program::start(&rig);
    rig.until("every launch has its instance", |state| {
        state.fleet.intents.len() == NODES
            && state.fleet.intents.values().all(|intent| matches!(intent.status, IntentStatus::Launched(_)))
    })
    .await;
    let intents = rig.log().read(|state| state.fleet.intents.clone());
    assert_eq!(second.instances().len(), NODES);
    for (intent, known) in &intents {
        let IntentStatus::Launched(node) = &known.status else { panic!("{known:?}") };
        let starts = rig.dir.path().join("data/nodes/instances").join(node).join("starts");
        let token = launch_token(&rig.deps.keyring, intent).unwrap();
        let log_key = hex::encode(rig.deps.keyring.log_key().unwrap().to_bytes());
        let want = format!("lab {intent} {token} {log_key} {} {node}\n", rig.server.url);
        eventually("the agent has started", || fs::read_to_string(&starts).is_ok_and(|text| text == want))
            .await;
    }

    let running: Vec<Pid> = second.instances().iter().map(|instance| pid(instance).unwrap()).collect();
    assert!(running.iter().all(|pid| runs(*pid)));
    let stopped = rig.command("fleet.stop", "").await;
    assert_eq!(stopped.code, "", "{}", stopped.reason);
    rig.until("all have ended", |state| with_status(state, NodeStatus::Terminated).len() == NODES).await;
    eventually("no process is left", || !running.iter().any(|pid| runs(*pid))).await;

    kill(Pid::from_raw(second.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = tokio::task::spawn_blocking(move || (second.child.wait().unwrap(), second)).await.unwrap().0;
    assert!(status.success(), "{status}");
    rig.log().read(|state| assert_eq!((state.voids, state.incidents), (0, 0), "{:?}", state.incident_list));
}

#[tokio::test]
async fn nodes_cost_what_the_price_book_says_and_without_their_price_nothing_starts() {
    let mut rig = Rig::start().await;
    let book = rig.dir.path().join("prices.toml");
    let with = |region: &str, price: u32| {
        let row = format!(
            "region = '{region}'\ntype = 'local'\nmarket = 'on-demand'\nmicro_usd_per_hour = {price}"
        );
        let text = format!("dated = '2026-12-01'\nsource = 'test'\n[[price]]\n{row}\nbilling = 'hour'\n");
        fs::write(&book, text).unwrap();
    };
    let setting = format!("prices = \"{}\"\n", book.display());
    with("elsewhere", 70_000);
    let mut refused = Program::start_with(&rig, &setting);
    let status =
        tokio::task::spawn_blocking(move || (refused.child.wait().unwrap(), refused)).await.unwrap().0;
    let said = fs::read_to_string(rig.dir.path().join("scaler.log")).unwrap();
    assert!(!status.success() && said.contains("AST-S071: local on-demand has no price in local"), "{said}");

    with("local", 70_000);
    let _scaler = Program::start_with(&rig, &setting);
    rig.campaign("c", 2).await;
    rig.until("a node runs and costs its first hour", |state| {
        state.fleet.micro_usd_per_hour() == 70_000 && state.fleet.spent_micro_usd(state.at) == Some(70_000)
    })
    .await;
    let reply = rig.command("fleet.list", "").await;
    let list: serde_json::Value = serde_json::from_slice(&reply.json).unwrap();
    assert_eq!(
        (&list["micro_usd_per_hour"], &list["cost_micro_usd"]),
        (&70_000.into(), &70_000.into()),
        "{list}"
    );
    assert_eq!(
        (&list["prices"], &list["nodes"][0]["instance_type"]),
        (&"2026-12-01 local".into(), &"local".into())
    );
    rig.command("fleet.stop", "").await;
    rig.until("it has ended", |state| with_status(state, NodeStatus::Terminated).len() == 1).await;
}

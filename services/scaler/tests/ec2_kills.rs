//! `asterism-scaler` as a program on an EC2 that loses answers, killed or stopped at each step of a launch: one instance
//! for each intent, by moto's own listing, and none when the fleet has gone.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};

use asterism_domain::fleet::NodeStatus;
use asterism_ec2_proxy::{Fault, Proxy, REGION};
use asterism_nats::server::SERVICE_USER;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::Rig;
use support::sky::{IMAGE, Sky, TYPE, count};

const NODES: usize = 3;

/// A running program.
struct Program(Child);

impl Program {
    fn start(rig: &Rig, proxy: &Proxy, name: &str) -> Self {
        let dir = rig.dir.path();
        let config = format!(
            "fleet = \"lab\"\n[nats]\nurl = \"{}\"\nuser = \"service\"\npassword_file = \"{}\"\n[paths]\ndata_dir = \"{}\"\n\
             keys_dir = \"{}\"\n[scaler]\nprovider = \"ec2\"\nnode_capacity = 2\nmax_nodes = {NODES}\ntick_ms = 50\n\
             launch_per_minute = 60\n[scaler.ec2]\nregion = \"{REGION}\"\nendpoint = \"http://127.0.0.1:{}\"\n\
             image_id = \"{IMAGE}\"\ninstance_type = \"{TYPE}\"\n",
            rig.server.url,
            rig.server.password_file(SERVICE_USER).display(),
            dir.join(name).display(),
            dir.join("keys").display(),
            proxy.port,
        );
        let file = dir.join(format!("{name}.toml"));
        fs::write(&file, config).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("scaler.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_asterism-scaler"))
            .arg("--config")
            .arg(file)
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    fn kill9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A launch is under way, held or lost at one step of it.
async fn under_way(sky: &Sky, action: &'static str, fault: Fault, test: &str) -> (Rig, Program) {
    let mut rig = Rig::start().await;
    // Listings are late: only the token knows of a launch that was made since.
    sky.proxy.script(|script| {
        script.stale_ms = 600_000;
        script.next(action, fault);
    });
    let program = Program::start(&rig, &sky.proxy, "one");
    rig.campaign("c", 2 * NODES as u8).await;
    sky.met(&fault.name(), 1).await;
    rig.log().read(|state| assert_eq!(state.fleet.intents.len(), NODES, "{test}"));
    (rig, program)
}

async fn all_launched(rig: &Rig, sky: &Sky) {
    rig.until("every intent has its instance", |state| count(state, NodeStatus::Launched) == NODES).await;
    assert_eq!(sky.alive().len(), NODES);
    sky.proxy.script(|script| script.stale_ms = 0);
}

async fn killed_at(test: &str, action: &'static str, fault: Fault, launches_again: bool) {
    let Some(sky) = Sky::start(test) else { return };
    let (rig, first) = under_way(&sky, action, fault, test).await;
    first.kill9();
    sky.proxy.release();
    let _second = Program::start(&rig, &sky.proxy, "two");
    all_launched(&rig, &sky).await;
    assert_eq!(sky.proxy.hits("token repeated") > 0, launches_again, "{:?}", sky.proxy.record().hits);
    sky.ends(&rig).await;
}

#[tokio::test]
async fn killed_after_its_commit_and_before_its_request() {
    killed_at("killed_after_its_commit_and_before_its_request", "RunInstances", Fault::LoseRequest, false)
        .await;
}

#[tokio::test]
async fn killed_while_its_request_is_under_way() {
    // The request comes through after its sender has died, beside its successor's.
    killed_at("killed_while_its_request_is_under_way", "RunInstances", Fault::HoldRequest, true).await;
}

#[tokio::test]
async fn killed_after_the_launch_and_before_its_answer() {
    killed_at("killed_after_the_launch_and_before_its_answer", "RunInstances", Fault::HoldAnswer, true).await;
}

#[tokio::test]
async fn killed_after_its_answer_was_lost() {
    killed_at("killed_after_its_answer_was_lost", "RunInstances", Fault::LoseAnswer, true).await;
}

#[tokio::test]
async fn stopped_in_the_middle_of_a_launch_and_woken_under_another_leader() {
    let test = "stopped_in_the_middle_of_a_launch_and_woken_under_another_leader";
    let Some(sky) = Sky::start(test) else { return };
    let (rig, first) = under_way(&sky, "RunInstances", Fault::HoldAnswer, test).await;
    first.signal(Signal::SIGSTOP);
    let _second = Program::start(&rig, &sky.proxy, "two");
    all_launched(&rig, &sky).await;
    rig.log().read(|state| assert_eq!(state.terms["scaler"], 2));
    // It wakes up with its answer, in a term that is not its own.
    first.signal(Signal::SIGCONT);
    sky.proxy.release();
    sky.ends(&rig).await;
    assert_eq!(sky.runs().len(), 2, "one each: the woken one asks for nothing more");
    assert_eq!(sky.proxy.hits("token repeated"), 1);
    rig.log().read(|state| assert_eq!(state.terms["scaler"], 2, "INV-13"));
}

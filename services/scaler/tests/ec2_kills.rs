//! `asterism-scaler` as a program on an EC2 that loses answers, killed or stopped at each step of a launch: one instance
//! for each intent, by moto's own listing, and none when the fleet has gone.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};

use asterism_domain::State;
use asterism_domain::fleet::{AddressStatus, NodeStatus};
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
        Self::start_with(rig, proxy, name, "")
    }

    /// The same with further lines for `[scaler.ec2]`.
    fn start_with(rig: &Rig, proxy: &Proxy, name: &str, ec2: &str) -> Self {
        let dir = rig.dir.path();
        let config = format!(
            "fleet = \"lab\"\n[nats]\nurl = \"{}\"\nuser = \"service\"\npassword_file = \"{}\"\n[paths]\ndata_dir = \"{}\"\n\
             keys_dir = \"{}\"\n[scaler]\nprovider = \"ec2\"\nnode_capacity = 2\nmax_nodes = {NODES}\ntick_ms = 50\n\
             launch_per_minute = 60\n[scaler.ec2]\nregion = \"{REGION}\"\nendpoint = \"http://127.0.0.1:{}\"\n\
             image_id = \"{IMAGE}\"\ninstance_type = \"{TYPE}\"\n{ec2}",
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

/// A fleet of one node whose calls need an address of a pool of one; the address, and the lines that say so.
async fn pooled(sky: &Sky) -> (Rig, String, String) {
    let mut rig = Rig::start().await;
    let address = sky.allocate();
    let lines = format!("address_pool = \"carrier\"\naddresses = [\"{address}\"]\n");
    rig.campaign("c", 2 * NODES as u8).await;
    (rig, address, lines)
}

fn has(state: &State, status: AddressStatus) -> bool {
    state.fleet.nodes.values().any(|node| node.address.as_ref().is_some_and(|held| held.status == status))
}

/// The scaler dies at a step of giving the address, and its successor of taking it back.
async fn killed_around_an_address(test: &str, fault: Fault) {
    let Some(sky) = Sky::start(test) else { return };
    let (rig, address, lines) = pooled(&sky).await;
    sky.proxy.script(|script| {
        script.next("AssociateAddress", fault);
        script.next("DisassociateAddress", fault);
    });
    let first = Program::start_with(&rig, &sky.proxy, "one", &lines);
    sky.met(&fault.name(), 1).await;
    rig.log().read(|state| {
        assert!(has(state, AddressStatus::Intended), "promised in the log before it is asked for");
    });
    first.kill9();
    sky.proxy.release();
    let second = Program::start_with(&rig, &sky.proxy, "two", &lines);
    rig.until("the node has its address", |state| has(state, AddressStatus::Associated)).await;
    let nodes = rig.nodes(NodeStatus::Launched);
    assert_eq!(nodes.len(), 1, "one address, one node");
    assert_eq!(sky.owner(&address), nodes[0], "by moto's own listing");

    let stopped = rig.command("fleet.stop", "").await;
    assert_eq!(stopped.code, "", "{}", stopped.reason);
    sky.met(&fault.name(), 2).await;
    second.kill9();
    sky.proxy.release();
    let _third = Program::start_with(&rig, &sky.proxy, "three", &lines);
    sky.ends_with(&rig, 1).await;
    assert_eq!(sky.owner(&address), "", "nobody has it, and it is still the account's");
    rig.log().read(|state| assert!(has(state, AddressStatus::Released)));
}

#[tokio::test]
async fn killed_before_an_address_was_asked_for() {
    killed_around_an_address("killed_before_an_address_was_asked_for", Fault::LoseRequest).await;
}

#[tokio::test]
async fn killed_while_an_address_was_under_way() {
    killed_around_an_address("killed_while_an_address_was_under_way", Fault::HoldRequest).await;
}

#[tokio::test]
async fn killed_after_an_address_was_given_and_before_the_answer() {
    killed_around_an_address("killed_after_an_address_was_given_and_before_the_answer", Fault::HoldAnswer)
        .await;
}

#[tokio::test]
async fn killed_after_the_answer_about_an_address_was_lost() {
    killed_around_an_address("killed_after_the_answer_about_an_address_was_lost", Fault::LoseAnswer).await;
}

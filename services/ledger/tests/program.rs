//! `asterism-ledger` as a process: survives kill -9, ends on SIGTERM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::v1::CheckpointNotice;
use prost::Message;
use support::{FLEET, Fixture, within};

/// A process that is gone with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(fixture: &Fixture) -> Self {
        let path = |name: &str| fixture.dir.path().join(name).display().to_string();
        let password = fixture.server.password_file("service").display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism-ledger"));
        for (key, value) in [
            ("fleet", FLEET),
            ("nats.url", &fixture.server.url),
            ("nats.user", "service"),
            ("nats.password_file", &password),
            ("paths.data_dir", &path("data")),
            ("paths.keys_dir", &path("keys")),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    async fn ended(&mut self) -> ExitStatus {
        within("the end of the process", async {
            loop {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

async fn checkpoint(bus: &Bus) -> CheckpointNotice {
    let subject = Subject::checkpoint_request(FLEET).unwrap();
    let answer = within("a checkpoint", async {
        loop {
            match bus.request(&subject, vec![], Duration::from_secs(2)).await {
                Err(RequestError::NoResponders | RequestError::Deadline) => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    })
    .await;
    CheckpointNotice::decode(answer.as_slice()).unwrap()
}

#[tokio::test]
async fn a_ledger_killed_and_started_again_goes_on_and_ends_when_told() {
    let fixture = Fixture::start().await;
    let bus = fixture.service("asker").await;
    let mut first = Program::start(&fixture);
    let before = checkpoint(&bus).await;
    first.0.kill().unwrap();
    assert!(!first.ended().await.success());

    let mut second = Program::start(&fixture);
    let after = checkpoint(&bus).await;
    assert!(after.size > before.size, "{} after {}", after.size, before.size);
    let told = Command::new("kill").args(["-TERM", &second.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(second.ended().await.success(), "drained on SIGTERM");
}

//! `asterism-media-sync` as a process: survives kill -9, ends on SIGTERM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism-media-sync"));
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

/// Asks what is published, until somebody who leads answers.
async fn list(bus: &Bus) -> RoleReply {
    let subject = Subject::role(FLEET, Role::MediaSync).unwrap();
    let command = RoleCommand { command_id: "c".into(), verb: "media.list".into(), ..RoleCommand::default() };
    let answer = within("an answer", async {
        loop {
            match bus.request(&subject, command.encode_to_vec(), Duration::from_secs(2)).await {
                Err(RequestError::NoResponders | RequestError::Deadline) => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    })
    .await;
    RoleReply::decode(answer.as_slice()).unwrap()
}

#[tokio::test]
async fn media_sync_killed_and_started_again_leads_again_and_ends_when_told() {
    let fixture = Fixture::start().await;
    let bus = fixture.service("asker").await;
    let mut first = Program::start(&fixture);
    let before = list(&bus).await;
    assert_eq!((before.code.as_str(), before.json.as_slice()), ("", b"[]".as_slice()));
    first.0.kill().unwrap();
    assert!(!first.ended().await.success());

    let mut second = Program::start(&fixture);
    let after = list(&bus).await;
    assert!(after.position > before.position, "its own election at least");
    let told = Command::new("kill").args(["-TERM", &second.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(second.ended().await.success(), "drained on SIGTERM");
}

//! `asterism-media-sync` as a process: survives kill -9, ends on SIGTERM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::testkit::{FLEET, Fixture, within};
use prost::Message;

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
    let start = || fixture.program(env!("CARGO_BIN_EXE_asterism-media-sync"));
    let mut first = start();
    let before = list(&bus).await;
    assert_eq!((before.code.as_str(), before.json.as_slice()), ("", b"[]".as_slice()));
    first.kill9().await;

    let mut second = start();
    let after = list(&bus).await;
    assert!(after.position > before.position, "its own election at least");
    assert!(second.terminate().await.success(), "drained on SIGTERM");
}

//! `asterism-ledger` as a process: survives kill -9, ends on SIGTERM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::v1::CheckpointNotice;
use asterism_runtime::testkit::{FLEET, Fixture, within};
use prost::Message;

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
    let start = || fixture.program(env!("CARGO_BIN_EXE_asterism-ledger"));
    let mut first = start();
    let before = checkpoint(&bus).await;
    first.kill9().await;

    let mut second = start();
    let after = checkpoint(&bus).await;
    assert!(after.size > before.size, "{} after {}", after.size, before.size);
    assert!(second.terminate().await.success(), "drained on SIGTERM");
}

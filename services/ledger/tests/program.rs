//! `asterism-ledger` as a process: survives kill -9, ends on SIGTERM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::v1::CheckpointNotice;
use asterism_proto::{OpenFrame, v1};
use asterism_runtime::archive::Archive;
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

#[tokio::test]
async fn a_ledger_on_an_empty_machine_with_an_empty_stream_goes_on_with_the_archived_log() {
    let mut fixture = Fixture::start().await;
    let url = format!("file://{}", fixture.dir.path().join("archive").display());
    let sets = [format!("ledger.archive={url}"), "ledger.seal_every_ms=1000".to_owned()];
    let mut first = fixture.program_with(env!("CARGO_BIN_EXE_asterism-ledger"), &sets);
    let bus = fixture.service("asker").await;
    checkpoint(&bus).await;
    let log_key = fixture.keyring.log_key().unwrap();
    let archive = Archive::open(&url, FLEET, fixture.keyring.anchor(), log_key).await.unwrap();
    let end = within("an archived segment", async {
        loop {
            if let Some(segment) = archive.last_segment().await.unwrap()
                && archive.note_at(segment.end).await.unwrap().is_some()
            {
                return segment;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
        }
    })
    .await;
    first.kill9().await;
    fixture.server.kill9();
    for lost in ["nats/store", "data"] {
        std::fs::remove_dir_all(fixture.dir.path().join(lost)).unwrap();
    }
    within("nats-server", fixture.server.restart()).await.unwrap();

    let mut second = fixture.program_with(env!("CARGO_BIN_EXE_asterism-ledger"), &sets);
    let bus = fixture.service("asker-2").await;
    let after = checkpoint(&bus).await;
    assert!(after.size > end.end, "{} after {}", after.size, end.end);
    let frame = asterism_nats::stream::frame_at(&bus, FLEET, 1).await.unwrap().unwrap();
    let frame = OpenFrame::read(&frame.payload).unwrap();
    let event = v1::Event::decode(&frame.events[0]).unwrap();
    let continues = v1::Continues::decode(event.body.as_slice()).unwrap();
    let chain = archive.chain_from(0).await.unwrap();
    let archived =
        chain.iter().find(|segment| segment.end == continues.size).expect("it continues what is archived");
    assert_eq!(archived.root, hex::encode(&continues.root));
    assert!(continues.size >= end.end);
    assert!(second.terminate().await.success(), "drained on SIGTERM");
}

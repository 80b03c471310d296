//! A leader's frame is lost and its process starts again: what its spool kept on disk closes the gap.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_ledger::{LedgerConfig, run};
use asterism_nats::Subject;
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::{Origin, Role, notice, v1};
use asterism_runtime::log::Log;
use asterism_runtime::spool::Spool;
use asterism_runtime::testkit::{FLEET, Fixture, PATIENCE, within};
use prost::Message as _;

const EPOCH: [u8; 16] = [3; 16];

fn frame(fixture: &Fixture, origin: &Origin, number: u64) -> Vec<u8> {
    let event = if number == 1 {
        Event::LeaderElected { role: "scaler".to_owned(), term: 1, holder: "test".to_owned() }
    } else {
        Event::FleetStopRequested { reason: number.to_string() }
    };
    let draft = FrameDraft { fleet: FLEET, origin, epoch: EPOCH, number, term: 1, based_on: 0 };
    let key = fixture.keyring.role(Role::Scaler).unwrap();
    draft.sign(&key, vec![wire::encode(&event, &Envelope::default())]).unwrap()
}

/// Waits until this copy holds the origin's frames up to a number; gives the log's size then.
async fn holds(log: &Log, origin: &Origin, number: u64) -> u64 {
    let mut head = log.head();
    within("a frame in the log", async {
        while log.sequencer(|log, _, _| log.mark(origin).is_none_or(|mark| mark.number < number)) {
            head.changed().await.unwrap();
        }
    })
    .await;
    log.head().borrow().size
}

#[tokio::test]
async fn a_leaders_lost_frame_comes_from_the_disk_of_its_next_life() {
    let fixture = Fixture::start().await;
    let (deps, copy) = (fixture.process("ledger").await, fixture.process("copy").await);
    // After the first of its term it makes checkpoints only when asked.
    let config = LedgerConfig { checkpoint_every_ms: 600_000, ..LedgerConfig::default() };
    let _ledger = tokio::spawn(run(config, deps.clone()));
    let (bus, origin) = (fixture.service("scaler").await, Origin::Role(Role::Scaler));
    let dir = fixture.dir.path().join("scaler.spool");

    // All six were acknowledged, but the stream has lost the third.
    let spool = Spool::open(&dir).unwrap();
    for number in 1..=6 {
        let frame = frame(&fixture, &origin, number);
        if number != 3 {
            let id = message_id(&origin, &EPOCH, number);
            within("an acknowledgement", bus.publish_frame(FLEET, &origin, frame.clone(), &id, None))
                .await
                .unwrap();
        }
        spool.push(&origin, EPOCH, number, &frame);
    }
    drop(spool);
    let mut gaps = deps.log.gaps();
    let noticed =
        |gaps: &asterism_runtime::gaps::Gaps| gaps.open().get(&origin).is_some_and(|gap| gap.seen == 6);
    let gap = within("a gap", gaps.wait_for(noticed)).await.unwrap().open()[&origin];
    assert_eq!((gap.expected, gap.epoch), (3, EPOCH));

    let spool = Spool::open(&dir).unwrap();
    let mut status = spool.status();
    let log_key = fixture.keyring.log_key().unwrap();
    let serving = tokio::spawn(spool.serve(bus.clone(), FLEET.to_owned(), log_key));
    let size = holds(&deps.log, &origin, 6).await;
    within("no gap", gaps.wait_for(|gaps| gaps.open().is_empty())).await.unwrap();
    assert!(copy.log.at_least(size, PATIENCE).await);
    let root = |log: &Log| log.sequencer(|log, _, _| log.root_at(size).unwrap());
    assert_eq!(root(&copy.log), root(&deps.log));

    // Another on the bus says that all of it is covered.
    let mark = v1::Mark { origin: origin.to_string(), epoch: EPOCH.to_vec(), number: 6 };
    let body =
        v1::NoticeBody { fleet: FLEET.to_owned(), size: size + 9, marks: vec![mark], ..Default::default() };
    let forged = notice::sign(&fixture.keyring.role(Role::Dialer).unwrap(), vec![], body);
    let subject = Subject::checkpoint_notice(FLEET).unwrap();
    bus.publish(&subject, forged.encode_to_vec()).await.unwrap();
    let now = *within("a refusal", status.wait_for(|status| status.refused == 1)).await.unwrap();
    // The first checkpoint of the ledger's term may have covered what stands before the hole.
    assert!((4..=6).contains(&now.frames), "{now:?}");

    let request = Subject::checkpoint_request(FLEET).unwrap();
    within("a checkpoint", bus.request(&request, vec![], PATIENCE)).await.unwrap();
    within("an empty spool", status.wait_for(|status| status.frames == 0)).await.unwrap();
    serving.abort();
    let _ = serving.await;
    assert_eq!(Spool::open(&dir).unwrap().status().borrow().frames, 0, "nothing is left on disk");
    deps.shutdown.request();
}

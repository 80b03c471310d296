//! A frame that is acknowledged and yet not in the stream: the ledger notices, asks, and the responder sends it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use asterism_ledger::LedgerConfig;
use asterism_nats::{Bus, LeaseTiming, Subject};
use asterism_proto::Origin;
use asterism_runtime::role;
use asterism_runtime::shutdown::Shutdown;
use support::*;

#[tokio::test]
async fn a_lost_frame_is_asked_for_and_every_copy_ends_complete_and_equal() {
    let lab = Lab::start().await;
    let bus = Bus::connect(&lab.server.service("ledger").unwrap()).await.unwrap();
    let log = open_log(&lab.keyring, &bus, &lab.dir.path().join("log-ledger"), 64 << 20).await;
    let deps = role::Deps {
        bus,
        log: log.clone(),
        keyring: lab.keyring.clone(),
        holder: "ledger".to_owned(),
        lease_timing: LeaseTiming::faster(10),
        shutdown: Shutdown::new(),
    };
    let _ledger = tokio::spawn(asterism_ledger::run(LedgerConfig::default(), deps));
    let replica = lab.replica_on(&lossy::losing(&lab.server, &lab.bus, 2).await).await;
    let mut answers = Vec::new();
    for contact in 1..=4 {
        answers.push(ask(&lab.bus, &question(contact, "1")).await);
    }
    let origin: Origin = answers[0].origin.parse().unwrap();
    let numbers: Vec<u64> = lab.frames().await.iter().map(|frame| frame.header.number).collect();
    assert_eq!(numbers[..2], [1, 3], "frame 2 was acknowledged and is not in the stream");
    until("the ledger's copy has all four", || {
        log.sequencer(|log, _, _| log.mark(&origin).is_some_and(|mark| mark.number == 4))
    })
    .await;
    let gaps = log.gaps().borrow().clone();
    assert_eq!((gaps.open().len(), gaps.opened()), (0, 1));

    // Each answer names a decision that is in the log, and nothing is there twice.
    let size = log.head().borrow().size;
    assert!(lab.log.at_least(size, PATIENCE).await);
    let root = |log: &asterism_runtime::log::Log| log.sequencer(|log, _, _| log.root_at(size).unwrap());
    assert_eq!(root(&lab.log), root(&log));
    let fresh = open_log(&lab.keyring, &lab.bus, &lab.dir.path().join("log-fresh"), 64 << 20).await;
    assert!(fresh.at_least(size, PATIENCE).await);
    assert_eq!(root(&fresh), root(&log), "a copy that reads it all later");

    // A checkpoint covers them: nothing is held any more.
    let held = || {
        let text = replica.health.metrics().text();
        text.lines().find_map(|line| line.strip_prefix("asterism_spool_frames ")?.parse::<u64>().ok())
    };
    until("the spool shows its frames", || held().is_some_and(|frames| frames > 0)).await;
    let request = Subject::checkpoint_request(FLEET).unwrap();
    lab.bus.request(&request, vec![], PATIENCE).await.unwrap();
    until("the spool is empty", || held() == Some(0)).await;
    replica.stop().await;
}

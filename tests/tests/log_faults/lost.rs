//! Frames nobody has any more: given up in the open, by their origin's word or a person's, and never in silence.

use std::time::Duration;

use asterism_domain::Event;
use asterism_ledger::LedgerConfig;
use asterism_ledger::commands::Accepted;
use asterism_ledger::losses::GapShown;
use asterism_runtime::spool::Spool;
use asterism_runtime::testkit::{FLEET, Fixture};
use serde_json::json;

use crate::fleet::*;

#[tokio::test]
async fn frames_their_origin_no_longer_has_are_an_event_and_the_log_goes_on_behind_them() {
    let fixture = Fixture::start().await;
    let (deps, copy) = (Process::start(&fixture, "ledger").await, Process::start(&fixture, "copy").await);
    let _ledger = deps.ledger(&LedgerConfig { lost_after_ms: 1_500, ..ON_REQUEST });
    let writer = fixture.service("scaler").await;
    // The stream has lost 3 and 4, and the disk of their origin too: it holds the rest.
    publish(&fixture, &writer, 3, [1, 2, 5, 6]).await;
    let spool = Spool::open(&fixture.dir.path().join("scaler.spool")).unwrap();
    for number in [5, 6] {
        spool.push(&scaler(), [3; 16], number, &frame(&fixture, 3, number));
    }
    let log_key = fixture.keyring.log_key().unwrap();
    let serving = tokio::spawn(spool.serve(writer.clone(), FLEET.to_owned(), log_key));
    let size = holds(&deps.log, &scaler(), 6).await;
    for log in [&deps.log, &copy.log] {
        assert!(log.at_least(size, PATIENCE).await);
        let mut gaps = log.gaps();
        drop(within("no gap any more", gaps.wait_for(|gaps| gaps.open().is_empty())).await.unwrap());
    }
    assert_eq!(root(&deps.log, size), root(&copy.log, size));
    for log in [&deps.log, &copy.log] {
        let (incidents, said) = log.read(|state| {
            let lost = "frames 3 to 4 of role/scaler are lost";
            let said = state.incident_list.iter().any(|incident| incident.reason.contains(lost));
            (state.incidents, said)
        });
        assert!(incidents == 1 && said, "{incidents}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_silent_origin_is_waited_for_over_a_restart_until_a_person_gives_its_frames_up() {
    let fixture = Fixture::start().await;
    let deps = Process::start(&fixture, "ledger").await;
    let _ledger = deps.ledger(&LedgerConfig { lost_after_ms: 1, ..ON_REQUEST });
    let writer = fixture.service("scaler").await;
    publish(&fixture, &writer, 3, [1, 2, 4]).await;
    let mut gaps = deps.log.gaps();
    within("a gap", gaps.wait_for(|gaps| !gaps.open().is_empty())).await.unwrap();
    // Behind the frame that showed the gap: it is not read again in the next life.
    checkpoint(&deps.bus).await;
    let kept = fixture.dir.path().join("log/ledger.gaps");
    within("the kept gaps", async {
        while !std::fs::read(&kept).is_ok_and(|bytes| bytes.len() > 2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within("the disk", deps.log.sync()).await.unwrap();
    drop((deps, gaps));

    let deps = Process::start(&fixture, "ledger").await;
    let _ledger = deps.ledger(&LedgerConfig { lost_after_ms: 1, ..ON_REQUEST });
    let shown = command(&deps.bus, "ledger.gaps", json!({})).await;
    let gaps: Vec<GapShown> = serde_json::from_slice(&shown.json).unwrap();
    let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
    assert_eq!((gap.origin.as_str(), gap.from, gap.seen, gap.lost_to), ("role/scaler", 3, 4, 0));
    // Asked a few times by now, and silent: nothing is given up by itself.
    let accept = |to: Option<u64>, dry_run| json!({"origin": "role/scaler", "to": to, "reason": "disk gone", "dry_run": dry_run});
    let refused = command(&deps.bus, "ledger.accept-loss", accept(Some(9), false)).await;
    assert_eq!(refused.code, "AST-G033", "{}", refused.reason);
    let size = deps.log.read(|state| state.size);
    let dry = command(&deps.bus, "ledger.accept-loss", accept(Some(3), true)).await;
    let dry: Accepted = serde_json::from_slice(&dry.json).unwrap();
    assert_eq!((dry.from, dry.to, dry.committed), (3, 3, false));
    // The log may have grown by the ledger's own beginning, not by a loss, which is an incident.
    assert_eq!(deps.log.read(|state| state.incidents), 0);

    let done = command(&deps.bus, "ledger.accept-loss", accept(Some(3), false)).await;
    assert_eq!(done.code, "", "{}", done.reason);
    assert!(done.position > size);
    writer.publish_frame_again(FLEET, &scaler(), frame(&fixture, 3, 4)).await.unwrap();
    holds(&deps.log, &scaler(), 4).await;
    let again = command(&deps.bus, "ledger.accept-loss", accept(None, false)).await;
    assert_eq!(again.code, "AST-G032", "{}", again.reason);
    // Who decided it is in the log.
    within("the seal", deps.log.seal()).await.unwrap();
    let folder = asterism_event_log::LogFolder::open(&fixture.dir.path().join("log/ledger"), None).unwrap();
    let mut actors = Vec::new();
    for frame in folder.frames() {
        let frame = frame.unwrap();
        for index in 0..frame.frame.events.len() as u32 {
            let at = frame.first + u64::from(index);
            let recorded =
                asterism_domain::wire::recorded(&frame.frame, index, at, frame.record_time_ms).unwrap();
            if let Event::FramesLost { from, to, reason, .. } = &recorded.event {
                actors.push((*from, *to, reason.clone(), recorded.actor.clone()));
            }
        }
    }
    assert_eq!(actors, [(3, 3, "disk gone".to_owned(), "ada".to_owned())]);
}

//! A spot instance that will be taken away: its own metadata service says so, the node closes within five seconds, and
//! the calls that are up end as they would have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use asterism_ec2_proxy::imds::Metadata;
use asterism_proto::v1::EventType;
use support::{Fleet, LONG_FLOW, callees, numbers, wait};

/// What `OriginateResponse` gives as its reason for a call that was answered.
const ANSWERED: u32 = 4;
/// From the notice to the last new call: row 21 of the faults.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_spot_notice_closes_the_node_and_its_calls_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let metadata = Metadata::start("i-1");
        let url = format!("http://127.0.0.1:{}", metadata.port);
        let table = fleet.dir.path().join("callees.toml");
        std::fs::write(&table, callees()).unwrap();
        let carrier = format!("127.0.0.1:{}", fleet.carrier);
        let args = ["--carrier", &carrier, "--callees", table.to_str().unwrap()];
        let _node = fleet.launch_in(20, &args, &[("ASTERISM_METADATA_URL", &url)]);
        fleet.prepare().await;
        let all = numbers(0..8, Some(0));
        metadata.recommend_rebalance("2026-12-01T11:50:00Z");
        let is_asked = || metadata.requests().iter().filter(|r| r.ends_with("/rebalance")).count() > 0;
        wait("the recommendation is read", is_asked).await;
        let taken = fleet.dial(1, LONG_FLOW, &all[..4]).await;
        assert!(taken.taken && taken.code.is_empty(), "a recommendation changes nothing: {taken:?}");
        let up = |log: &support::Log| (log.of(EventType::AttemptAnswered).len() == 4).then_some(());
        fleet.until("four calls are up", up).await;

        let noticed = Instant::now();
        metadata.interrupt("2026-12-01T12:00:00Z");
        let closed = || {
            let heartbeat = fleet.heartbeat.lock().unwrap();
            heartbeat.as_ref().is_some_and(|h| h.why_not_ready == "the cloud takes this instance away")
        };
        wait("the node says that it is closed", closed).await;
        assert!(noticed.elapsed() < CLOSED_WITHIN, "closed after {:?}", noticed.elapsed());
        let refused = fleet.dial(1, LONG_FLOW, &all[4..]).await;
        assert_eq!(refused.code, "AST-X002", "{refused:?}");

        let ended = fleet.until("four ends", |log| Some(log.ended()).filter(|ended| ended.len() == 4)).await;
        assert!(ended.values().all(|end| end.reason == ANSWERED), "{ended:?}");
        assert_eq!(fleet.log.lock().unwrap().of(EventType::AttemptUncertain).len(), 0);
        assert_eq!(fleet.rings().len(), 4);
        assert_eq!(metadata.refused(), 0, "a page was asked for without a token");
        fleet.check_frames();
    });
}

//! A real node that is shown two histories under the log's own key: it cosigns the first, and stops at the second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use asterism_nats::{Subject, Verb};
use asterism_proto::note::{self, TreeHead};
use asterism_proto::v1::EventType;
use asterism_proto::{PublicKey, cosign, notice, v1};
use prost::Message as _;
use support::{FLEET, Fleet, NODE, PATIENCE, callees, log_key, notice_body, numbers};

const LOG: &str = "asterism/test-0011223344556677/log";

#[test]
fn a_node_cosigns_what_continues_the_log_and_refuses_a_second_history_for_good() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let _node = fleet.launch(5, &callees());
        fleet.prepare().await;
        assert!(fleet.dial(1, "demo", &numbers(0..2, Some(0))).await.code.is_empty());
        fleet.until("2 ends", |log| (log.ended().len() == 2).then_some(())).await;
        let subject = Subject::cosignatures(FLEET).unwrap();
        let mut cosignatures = fleet.bus.subscribe(&subject, None).await.unwrap();

        let all = notice_body(&fleet.log.lock().unwrap());
        let marks = |number| vec![v1::Mark { number, ..all.marks[0].clone() }];
        let head = TreeHead { size: 7, root: [1; 32] };
        let known =
            v1::NoticeBody { size: 7, root: vec![1; 32], log: LOG.into(), marks: marks(1), ..all.clone() };
        fleet.announce(&notice::sign(&log_key(), vec![], known.clone())).await;
        let cosigned = tokio::time::timeout(PATIENCE, cosignatures.next()).await.unwrap().unwrap();
        assert_eq!(cosigned.subject, Subject::cosignature(FLEET, NODE).unwrap());
        let cosigned = v1::Cosignature::decode(cosigned.payload).unwrap();
        let key = fleet.registrations.lock().unwrap()[0].public_key.clone();
        let (key, text) = (PublicKey::from_bytes(&key).unwrap(), note::text(LOG, &head));
        assert!(cosign::is_cosigned(&key, &text, cosigned.time_s, &cosigned.signature), "{cosigned:?}");
        fleet.until_gone(1).await;
        fleet.until_metric("asterism_node_checkpoint_size", 7).await;

        // The same size with another root, which would let the node forget all it has.
        let other = v1::NoticeBody { root: vec![2; 32], marks: all.marks.clone(), ..known.clone() };
        fleet.announce(&notice::sign(&log_key(), vec![], other)).await;
        let told = async || {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let heartbeat = fleet.heartbeat.lock().unwrap().clone();
                if heartbeat.is_some_and(|heartbeat| heartbeat.why_not_ready.starts_with("AST-A025")) {
                    return;
                }
                assert!(Instant::now() < deadline, "no heartbeat says it");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        told().await;
        assert!(fleet.holds(2).await, "it forgot on the word of a second history");
        assert_eq!(fleet.dial(1, "demo", &numbers(5..6, Some(0))).await.code, "AST-A025");

        // Another agent on the same disk knows it too, whatever it is told.
        fleet.kill9("agent");
        *fleet.heartbeat.lock().unwrap() = None;
        told().await;
        fleet.announce(&notice::sign(&log_key(), vec![], v1::NoticeBody { marks: all.marks, ..known })).await;
        assert_eq!(fleet.dial(1, "demo", &numbers(6..7, Some(0))).await.code, "AST-A025");
        assert!(fleet.holds(2).await);

        // Drained, it says that it is empty, and which frames are behind no checkpoint it believes.
        let drain = v1::DrainOrder { term: 1, drain: 4, undrain: false };
        assert!(fleet.order(Verb::Drain, &drain).await.taken);
        let said = fleet.until("its last word", |log| log.first(EventType::NodeUncovered)).await;
        let said = v1::NodeUncovered::decode(said.body.as_slice()).unwrap();
        assert_eq!((said.drain, said.from), (4, 2));
        let log = fleet.log.lock().unwrap();
        let told = log.first(EventType::LogRefused).unwrap();
        let told = v1::LogRefused::decode(told.body.as_slice()).unwrap();
        assert_eq!(
            (told.size, told.root, told.shown_size, told.shown_root),
            (7, vec![1; 32], 7, vec![2; 32])
        );
        let frames: Vec<u64> = log.frames.iter().map(|frame| frame.header.number).collect();
        assert!(
            (1..=said.to).all(|number| frames.contains(&number)),
            "{frames:?} without one up to {}",
            said.to
        );
    });
}

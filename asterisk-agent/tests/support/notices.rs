//! What the ledger says, and what a node has forgotten by it.

use std::time::{Duration, Instant};

use asterism_nats::{Subject, Verb};
use asterism_proto::{OriginKey, v1};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{FLEET, Fleet, Log, PATIENCE};

/// The key that signs this log's checkpoints.
pub fn log_key() -> OriginKey {
    OriginKey::from_entropy([5; 32])
}

/// A checkpoint of all there is.
pub fn notice_body(log: &Log) -> v1::NoticeBody {
    let marks = log.frames.last().map(|frame| v1::Mark {
        origin: frame.header.origin.clone(),
        epoch: frame.epoch.to_vec(),
        number: frame.header.number,
    });
    v1::NoticeBody {
        fleet: FLEET.into(),
        size: log.events.len() as u64,
        root: vec![0; 32],
        marks: marks.into_iter().collect(),
        ..Default::default()
    }
}

impl Fleet {
    /// Says on the bus that there is a checkpoint.
    pub async fn announce(&self, notice: &v1::CheckpointNotice) {
        let subject = Subject::checkpoint_notice(FLEET).unwrap();
        self.bus.publish(&subject, notice.encode_to_vec()).await.unwrap();
    }

    /// Whether the node has the frame still: asked for it, it sends it again.
    pub async fn holds(&self, number: u64) -> bool {
        let order = v1::ResendOrder { from_number: number, epoch: vec![] };
        self.order(Verb::Resend, &order).await.taken
    }

    /// Waits until the node has the frame no more.
    pub async fn until_gone(&self, number: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.holds(number).await {
            assert!(Instant::now() < deadline, "frame {number} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the node's metrics show a value.
    pub async fn until_metric(&self, name: &str, value: u64) {
        let ports = std::fs::read(self.node_dir().join("ports.json")).unwrap();
        let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap();
        let address = format!("127.0.0.1:{}", ports["http"]);
        let wanted = format!("\n{name} {value}\n");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut link = tokio::net::TcpStream::connect(&address).await.unwrap();
            link.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
            let mut text = String::new();
            link.read_to_string(&mut text).await.unwrap();
            if text.contains(&wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "no {name} {value}: {text}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

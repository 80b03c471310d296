//! What people ask the ledger: `ledger.head` and `ledger.seal`.

use std::path::PathBuf;
use std::time::Duration;

use asterism_event_log::sealed::SealedSegment;
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::leader::AskError;
use asterism_runtime::log::Log;
use asterism_runtime::role::{Deps, refusal, reply_json};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::office::Ask;

/// The verbs.
pub const VERBS: [&str; 2] = ["ledger.head", "ledger.seal"];
/// How long a seal waits for its checkpoint.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);

/// Answer of `ledger.head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Events in the log.
    pub size: u64,
    /// Its root, hex.
    pub root: String,
    /// Events durable in the ledger's copy.
    pub durable: u64,
    /// Size of the newest checkpoint in the log; 0 before the first.
    pub checkpoint: u64,
    /// Size up to which the log says it is archived; 0 without an archive.
    pub archived: u64,
    /// The stream read.
    pub stream_id: String,
    /// Position in it.
    pub stream_sequence: u64,
}

/// Answer of `ledger.seal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Size of the checkpoint made before.
    pub checkpoint: u64,
    /// Its root, hex.
    pub root: String,
    /// Segments made by this seal; none if nothing came since the last.
    pub segments: Vec<Segment>,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The file, on the ledger's machine.
    pub path: PathBuf,
    /// First event in it.
    pub first: u64,
    /// Log size after it.
    pub end: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

impl From<SealedSegment> for Segment {
    fn from(segment: SealedSegment) -> Self {
        let SealedSegment { path, first, end, size, sha256 } = segment;
        Self { path, first, end, size_bytes: size, sha256: hex::encode(sha256) }
    }
}

/// Answers commands while this process leads.
pub(crate) fn serve(deps: &Deps, leading: watch::Receiver<Option<u64>>, asks: mpsc::Sender<Ask>) {
    let log = deps.log.clone();
    deps.serve_while(Role::Ledger, leading, move |command| {
        let (log, asks) = (log.clone(), asks.clone());
        async move { handle(&log, &asks, &command).await }
    });
}

async fn handle(log: &Log, asks: &mpsc::Sender<Ask>, command: &RoleCommand) -> RoleReply {
    match command.verb.as_str() {
        "ledger.head" => {
            let head = head(log);
            reply_json(head.size, &head)
        }
        "ledger.seal" => seal(log, asks).await,
        _ => refusal("AST-G001", format!("the ledger knows {}", VERBS.join(", "))),
    }
}

fn head(log: &Log) -> Head {
    let durable = log.durable();
    let archived = log.read(|state| state.archived);
    log.sequencer(|sequencer, stream_id, stream_sequence| Head {
        size: sequencer.size(),
        root: hex::encode(sequencer.root()),
        durable,
        checkpoint: sequencer.checkpoint().map_or(0, |seen| seen.size),
        archived,
        stream_id: stream_id.to_owned(),
        stream_sequence,
    })
}

/// A checkpoint first, so that the last sealed segment proves itself.
async fn seal(log: &Log, asks: &mpsc::Sender<Ask>) -> RoleReply {
    let (ask, made) = oneshot::channel();
    let lost = || refusal("AST-R033", AskError::NotLeading(Role::Ledger).to_string());
    if asks.send(Ask::Checkpoint(ask)).await.is_err() {
        return lost();
    }
    let Ok(Ok(notice)) = tokio::time::timeout(CHECKPOINT_PATIENCE, made).await else { return lost() };
    match log.seal().await {
        Ok(segments) => {
            let segments = segments.into_iter().map(Segment::from).collect();
            let size = log.read(|state| state.size);
            reply_json(size, &Sealed { checkpoint: notice.size, root: hex::encode(notice.root), segments })
        }
        Err(error) => refusal("AST-G002", format!("the log could not be sealed: {error}")),
    }
}

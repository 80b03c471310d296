//! What people ask the ledger: where the log stands, what it misses, to seal, to give up what is lost.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use asterism_domain::state::Incident;
use asterism_event_log::sealed::SealedSegment;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_proto::{Origin, Role};
use asterism_runtime::leader::AskError;
use asterism_runtime::log::Log;
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::losses::{self, Loss, Said};
use crate::office::{Ask, Marked};

/// The verbs.
pub const VERBS: [&str; 5] =
    ["ledger.head", "ledger.seal", "ledger.gaps", "ledger.accept-loss", "ledger.incidents"];
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
    /// Why nothing new is dialled: too much is not archived. Empty if nothing holds.
    #[serde(default)]
    pub hold: String,
    /// Things in the log that must not be.
    #[serde(default)]
    pub incidents: u64,
}

/// Answer of `ledger.incidents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    /// All there were.
    pub all: u64,
    /// The newest, the oldest of them first.
    pub newest: Vec<Incident>,
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

/// Body of `ledger.accept-loss`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptLoss {
    /// Whose frames.
    pub origin: String,
    /// Give up to this number; without one, to what the origin says it has not, or else to what came last.
    pub to: Option<u64>,
    /// Why, for the log.
    pub reason: String,
    /// Only say what would be given up.
    pub dry_run: bool,
}

/// Answer of `ledger.accept-loss`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whose frames.
    pub origin: String,
    /// First given up.
    pub from: u64,
    /// Last given up.
    pub to: u64,
    /// Whether it is in the log.
    pub committed: bool,
}

/// Answers commands while this process leads.
pub(crate) fn serve(
    deps: &Deps,
    leading: watch::Receiver<Option<u64>>,
    asks: mpsc::Sender<Ask>,
    losses: (Said, mpsc::Sender<Loss>),
) {
    let log = deps.log.clone();
    deps.serve_while(Role::Ledger, leading, move |command| {
        let (log, asks, losses) = (log.clone(), asks.clone(), losses.clone());
        async move { handle(&log, &asks, &losses, &command).await }
    });
}

async fn handle(
    log: &Log,
    asks: &mpsc::Sender<Ask>,
    (said, hand_in): &(Said, mpsc::Sender<Loss>),
    command: &RoleCommand,
) -> RoleReply {
    match command.verb.as_str() {
        "ledger.head" => {
            let head = head(log);
            reply_json(head.size, &head)
        }
        "ledger.seal" => seal(log, asks).await,
        "ledger.gaps" => {
            let size = log.read(|state| state.size);
            reply_json(size, &losses::shown(log, said, Instant::now()))
        }
        "ledger.incidents" => {
            let (size, all, newest) = log
                .read(|state| (state.size, state.incidents, state.incident_list.iter().cloned().collect()));
            reply_json(size, &Incidents { all, newest })
        }
        "ledger.accept-loss" => match serde_json::from_slice(&command.json) {
            Ok(accept) => accept_loss(log, said, hand_in, command, accept).await,
            Err(error) => refusal("AST-G031", format!("the command cannot be read: {error}")),
        },
        _ => refusal("AST-G001", format!("the ledger knows {}", VERBS.join(", "))),
    }
}

fn head(log: &Log) -> Head {
    let durable = log.durable();
    let (archived, hold, incidents) =
        log.read(|state| (state.archived, state.archive_hold.clone(), state.incidents));
    log.sequencer(|sequencer, stream_id, stream_sequence| Head {
        size: sequencer.size(),
        root: hex::encode(sequencer.root()),
        durable,
        checkpoint: sequencer.checkpoint().map_or(0, |seen| seen.size),
        archived,
        stream_id: stream_id.to_owned(),
        stream_sequence,
        hold,
        incidents,
    })
}

/// A person gives up what is missing, also of an origin that only is silent.
async fn accept_loss(
    log: &Log,
    said: &Said,
    hand_in: &mpsc::Sender<Loss>,
    command: &RoleCommand,
    AcceptLoss { origin, to, reason, dry_run }: AcceptLoss,
) -> RoleReply {
    let Ok(parsed) = origin.parse::<Origin>() else {
        return refusal(
            "AST-G031",
            format!("{origin} is no origin; they are spelt node/ID, role/NAME, proc/NAME-ID"),
        );
    };
    let gap = log.gaps().borrow().open().get(&parsed).copied();
    let Some(gap) = gap else {
        return refusal("AST-G032", format!("the log misses nothing of {origin}; see asterism log gaps"));
    };
    let to = to.or_else(|| said.of(&parsed, &gap)).unwrap_or(gap.seen);
    if to < gap.expected || to > gap.seen {
        let reason = format!("{origin} misses {} to {}, {to} is not among them", gap.expected, gap.seen);
        return refusal("AST-G033", reason);
    }
    let accepted = Accepted { origin, from: gap.expected, to, committed: !dry_run };
    if dry_run {
        return reply_json(log.read(|state| state.size), &accepted);
    }
    let (answer, done) = oneshot::channel();
    let loss = Loss { origin: parsed, epoch: gap.epoch, to, reason, meta: envelope_of(command), answer };
    let handed_in = hand_in.send(loss).await.is_ok();
    match tokio::time::timeout(CHECKPOINT_PATIENCE, done).await {
        Ok(Ok(Ok(size))) if handed_in => reply_json(size, &accepted),
        Ok(Ok(Err(why))) => refusal("AST-G032", why),
        _ => refusal("AST-R033", AskError::NotLeading(Role::Ledger).to_string()),
    }
}

/// A checkpoint first, so that the last sealed segment proves itself.
async fn seal(log: &Log, asks: &mpsc::Sender<Ask>) -> RoleReply {
    let (ask, made) = oneshot::channel();
    let lost = || refusal("AST-R033", AskError::NotLeading(Role::Ledger).to_string());
    if asks.send(Ask::Checkpoint(ask)).await.is_err() {
        return lost();
    }
    let Ok(Ok(Marked { notice, .. })) = tokio::time::timeout(CHECKPOINT_PATIENCE, made).await else {
        return lost();
    };
    match log.seal().await {
        Ok(segments) => {
            let segments = segments.into_iter().map(Segment::from).collect();
            let size = log.read(|state| state.size);
            reply_json(size, &Sealed { checkpoint: notice.size, root: hex::encode(notice.root), segments })
        }
        Err(error) => refusal("AST-G002", format!("the log could not be sealed: {error}")),
    }
}

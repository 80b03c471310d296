//! The deterministic sequencer: which frames of the stream are the log, in which place, with which root.
//!
//! Pure: no clock, no randomness, no storage. Two copies that judge the same frames in the same order agree on every
//! verdict and every root, and neither duplicates nor refused frames change anything. It reads the envelope and the
//! seven event types of [`asterism_proto::v1`] numbered 1 to 7; all other events are bytes.

mod control;
mod origins;
mod rules;
mod saved;
mod verdict;

use std::collections::VecDeque;

use asterism_proto::frame::FrameError;
use asterism_proto::hash::{Hash, event_leaves};
use asterism_proto::{OpenFrame, Origin, PublicKey, Role, v1};

pub use origins::{EPOCHS_PER_NODE_MAX, LogCreated, NODES_MAX, PROCS_MAX};
pub use verdict::{RefusedReason, StopReason, Verdict};

use crate::growth::Growth;
use crate::merkle::Frontier;
use crate::record::{AcceptedFrame, StoredFrame, StreamAt};
use origins::{Origins, Staged};
use verdict::Denied;

/// Positions whose root is remembered, one for each accepted frame: half a minute at 500 frames/s, so that a
/// checkpoint (every 10 s) finds the root it names.
pub const RECENT_ROOTS_MAX: usize = 16_384;

/// Whether [`Sequencer::readmit`] checks the signature again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureCheck {
    /// Check it.
    Check,
    /// The bytes are known to be those checked before.
    Trust,
}

/// How far the rules check a signature now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    /// All the way.
    Now,
    /// That of a frame with events of the log's own; the key of any other is handed out.
    Later,
    /// Not at all.
    Trusted,
}

/// What a checkpoint says compared with the log here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointCheck {
    /// Same root at that size.
    Agrees,
    /// Another root, or a size at which no frame ends, or one not reached here.
    Differs,
    /// Older than the roots remembered here.
    TooOld,
}

/// The newest checkpoint in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenCheckpoint {
    /// Size it covers.
    pub size: u64,
    /// Root it names.
    pub root: Hash,
    /// Global sequence of its own event.
    pub position: u64,
    /// What that means for this copy.
    pub check: CheckpointCheck,
}

/// How the checkpoints seen so far compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    /// Same root.
    pub agreed: u64,
    /// Another root, or a size the log never had.
    pub differed: u64,
    /// Covering a size whose root was no longer remembered.
    pub unchecked: u64,
}

/// The last accepted frame: what the stream must still hold at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastFrame {
    /// SHA-256 of its header.
    pub header_hash: Hash,
    /// Where it stood.
    pub at: StreamAt,
}

/// State of a log: its origins, its tree and its last record time. See the module's text.
#[derive(Debug, Clone)]
pub struct Sequencer {
    fleet: String,
    configured_anchor: Option<Hash>,
    created: Option<LogCreated>,
    origins: Origins,
    tree: Frontier,
    record_time_ms: u64,
    position: Option<StreamAt>,
    last: Option<LastFrame>,
    recent: VecDeque<(u64, Hash)>,
    checkpoint: Option<SeenCheckpoint>,
    checkpoint_counts: CheckpointCounts,
    awaiting_continues: bool,
    growth: Growth,
}

/// What a frame that is accepted changes.
#[derive(Debug, Default)]
struct Changes {
    staged: Staged,
    created: Option<LogCreated>,
    checkpoints: Vec<(u32, v1::Checkpoint)>,
    continued: bool,
    /// Whose signature was not checked.
    unsigned: Option<PublicKey>,
}

impl Sequencer {
    /// An empty log of a fleet. With an anchor, only the first frame whose header hash it is begins the log.
    pub fn new(fleet: &str, anchor: Option<Hash>) -> Self {
        Self {
            fleet: fleet.to_owned(),
            configured_anchor: anchor,
            created: None,
            origins: Origins::default(),
            tree: Frontier::new(),
            record_time_ms: 0,
            position: None,
            last: None,
            recent: VecDeque::new(),
            checkpoint: None,
            checkpoint_counts: CheckpointCounts::default(),
            awaiting_continues: false,
            growth: Growth::default(),
        }
    }

    /// Judges a frame as it came from the stream.
    pub fn judge(&mut self, bytes: &[u8], at: StreamAt) -> Verdict {
        match OpenFrame::read(bytes) {
            Ok(frame) => self.admit(frame, at, Signature::Now, None).0,
            Err(FrameError::Version(version)) if self.is_ours(bytes) => {
                Verdict::Stop { reason: StopReason::FrameVersion(version) }
            }
            Err(error) => {
                self.position = Some(at);
                Verdict::Refused { origin: None, reason: RefusedReason::Malformed(error) }
            }
        }
    }

    /// Judges a frame that was stored or is repaired from another copy, by the same rules. The caller compares
    /// `record_time_ms` with the stored one.
    pub fn readmit(&mut self, stored: StoredFrame, check: SignatureCheck) -> Verdict {
        let StoredFrame { frame, record_time_ms, at, leaves } = stored;
        let signature = match check {
            SignatureCheck::Check => Signature::Now,
            SignatureCheck::Trust => Signature::Trusted,
        };
        self.admit(frame, at, signature, Some((record_time_ms, leaves))).0
    }

    /// As [`Sequencer::readmit`], but of a frame without events of the log's own (keys, elections, checkpoints) the
    /// signature is owed: the key to check it with comes with the verdict.
    pub(crate) fn readmit_later(&mut self, stored: StoredFrame) -> (Verdict, Option<PublicKey>) {
        let StoredFrame { frame, record_time_ms, at, leaves } = stored;
        self.admit(frame, at, Signature::Later, Some((record_time_ms, leaves)))
    }

    fn admit(
        &mut self,
        frame: OpenFrame,
        at: StreamAt,
        signature: Signature,
        known: Option<(u64, Vec<Hash>)>,
    ) -> (Verdict, Option<PublicKey>) {
        let header_hash = frame.header_hash();
        let record_time_ms = self.record_time_ms.max(at.time_ms);
        let leaves = match known {
            Some((time_ms, leaves)) if time_ms == record_time_ms => leaves,
            _ => event_leaves(&header_hash, 0, record_time_ms, &frame.events),
        };
        let ruling = self.rule(&frame, signature);
        if !matches!(ruling, Err(Denied::Stop(_))) {
            self.position = Some(at);
        }
        let unsigned = ruling.as_ref().ok().and_then(|changes| changes.unsigned);
        let verdict = match ruling {
            Ok(changes) => Verdict::Accepted(self.accept(
                AcceptedFrame { frame, header_hash, first: self.tree.size(), record_time_ms, at, leaves },
                changes,
            )),
            Err(Denied::Duplicate) => Verdict::Duplicate,
            Err(Denied::Gap { expected, got }) => {
                Verdict::Gap { origin: frame.origin.to_string(), expected, got }
            }
            Err(Denied::Refused(reason)) => {
                Verdict::Refused { origin: Some(frame.origin.to_string()), reason }
            }
            Err(Denied::Stop(reason)) => Verdict::Stop { reason },
        };
        (verdict, unsigned)
    }

    fn accept(&mut self, accepted: AcceptedFrame, changes: Changes) -> AcceptedFrame {
        for (index, checkpoint) in &changes.checkpoints {
            self.see_checkpoint(accepted.first + u64::from(*index), checkpoint);
        }
        if changes.created.is_some() {
            self.created = changes.created;
        }
        if changes.continued {
            self.awaiting_continues = false;
        }
        self.origins.commit(changes.staged);
        self.tree.extend(&accepted.leaves);
        self.growth.extend(&accepted.leaves);
        if let Some(origin) = self.origins.known.get_mut(&accepted.frame.origin) {
            origin.number = accepted.frame.header.number;
            origin.end = self.tree.size();
        }
        self.record_time_ms = accepted.record_time_ms;
        self.last = Some(LastFrame { header_hash: accepted.header_hash, at: accepted.at });
        if self.recent.len() == RECENT_ROOTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((self.tree.size(), self.tree.root()));
        accepted
    }

    fn see_checkpoint(&mut self, position: u64, checkpoint: &v1::Checkpoint) {
        let root = checkpoint.root.as_slice().try_into().unwrap_or_default();
        let check = self.check_checkpoint(checkpoint.size, &root);
        let counts = &mut self.checkpoint_counts;
        *match check {
            CheckpointCheck::Agrees => &mut counts.agreed,
            CheckpointCheck::Differs => &mut counts.differed,
            CheckpointCheck::TooOld => &mut counts.unchecked,
        } += 1;
        if check == CheckpointCheck::Agrees {
            self.growth.checkpointed(checkpoint.size);
        }
        self.checkpoint = Some(SeenCheckpoint { size: checkpoint.size, root, position, check });
    }

    /// Number of events in the log.
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// RFC 6962 root of the log.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The tree's frontier.
    pub const fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// What proves that the log only grew since the checkpoints in it.
    pub const fn growth(&self) -> &Growth {
        &self.growth
    }

    /// The key an origin signs with, while it may write.
    pub fn key(&self, origin: &Origin) -> Option<PublicKey> {
        self.origins.known.get(origin).filter(|state| !state.closed).map(|state| state.key)
    }

    /// Root at an earlier size at which a frame ended, while it is remembered.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        if size == self.size() {
            return Some(self.root());
        }
        let found = self.recent.binary_search_by_key(&size, |(at, _)| *at).ok()?;
        self.recent.get(found).map(|(_, root)| *root)
    }

    /// Compares a checkpoint with the log here.
    pub fn check_checkpoint(&self, size: u64, root: &Hash) -> CheckpointCheck {
        // The newest is remembered however old: two roots of one size are two histories.
        let signed = self.checkpoint.filter(|seen| seen.size == size).map(|seen| seen.root);
        if signed.is_some_and(|signed| signed != *root) {
            return CheckpointCheck::Differs;
        }
        match self.root_at(size) {
            Some(ours) if ours == *root => CheckpointCheck::Agrees,
            None if self.recent.front().is_some_and(|(oldest, _)| size < *oldest) && size > 0 => {
                CheckpointCheck::TooOld
            }
            _ => CheckpointCheck::Differs,
        }
    }

    /// The newest checkpoint in the log and whether this copy agreed with it where it stood.
    pub const fn checkpoint(&self) -> Option<&SeenCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// How all checkpoints in the log compared where they stood.
    pub const fn checkpoint_counts(&self) -> CheckpointCounts {
        self.checkpoint_counts
    }

    /// Fleet whose log this is.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// What the first frame established, once there is one.
    pub const fn created(&self) -> Option<&LogCreated> {
        self.created.as_ref()
    }

    /// The trust anchor: header hash of the first frame.
    pub fn anchor(&self) -> Option<Hash> {
        self.created.as_ref().map(|created| created.anchor)
    }

    /// The anchor this log was told to begin with.
    pub const fn configured_anchor(&self) -> Option<Hash> {
        self.configured_anchor
    }

    /// Term of a leading role; 0 before its first election.
    pub fn term(&self, role: Role) -> u64 {
        self.origins.known.get(&Origin::Role(role)).map_or(0, |state| state.term)
    }

    /// Record time of the last accepted frame in ms, 0 in an empty log.
    pub const fn record_time_ms(&self) -> u64 {
        self.record_time_ms
    }

    /// Where in the stream the last judged frame stood.
    pub const fn position(&self) -> Option<StreamAt> {
        self.position
    }

    /// The last accepted frame: the reader checks that the stream still holds it.
    pub const fn last_frame(&self) -> Option<&LastFrame> {
        self.last.as_ref()
    }

    /// Last accepted frame of every origin that is open and has written.
    pub fn marks(&self) -> Vec<v1::OriginMark> {
        self.marks_where(|state| !state.closed)
    }

    /// Last accepted frame of every origin that wrote at or after this log size, closed ones included: what a
    /// checkpoint must say beyond the one at `size`.
    pub fn marks_since(&self, size: u64) -> Vec<v1::OriginMark> {
        self.marks_where(|state| state.end > size)
    }

    /// Last accepted frame of one origin.
    pub fn mark(&self, origin: &Origin) -> Option<v1::OriginMark> {
        self.origins.known.get(origin).filter(|state| state.number > 0).map(|state| mark(origin, state))
    }

    /// Epoch of an origin and the number the log takes next of it. `None` for one never seen.
    pub fn next_of(&self, origin: &Origin) -> Option<([u8; 16], u64)> {
        self.origins.known.get(origin).map(|state| (state.epoch, state.number + 1))
    }

    fn marks_where(&self, wanted: impl Fn(&origins::OriginState) -> bool) -> Vec<v1::OriginMark> {
        let marked = self.origins.known.iter().filter(|(_, state)| state.number > 0 && wanted(state));
        marked.map(|(origin, state)| mark(origin, state)).collect()
    }

    /// Whether an origin was closed. `false` for one never seen.
    pub fn is_closed(&self, origin: &Origin) -> bool {
        self.origins.known.get(origin).is_some_and(|state| state.closed)
    }

    /// The stream was deleted and made anew: nothing in it counts before the ledger's `Continues` for this very
    /// log. Call it when the stream's id is not the one this log was read from.
    pub const fn await_continues(&mut self) {
        self.awaiting_continues = true;
    }

    /// Whether the ledger has still to continue this log in a stream that was made anew.
    pub const fn is_awaiting_continues(&self) -> bool {
        self.awaiting_continues
    }
}

fn mark(origin: &Origin, state: &origins::OriginState) -> v1::OriginMark {
    v1::OriginMark { origin: origin.to_string(), epoch: state.epoch.to_vec(), number: state.number }
}

//! The node's rules, pure: no input or output, no clock, no randomness.
//!
//! The shell feeds it orders, what the PBX says, questions of the dialplan and ticks, each with the corrected time. It
//! answers with an [`Output`]: facts for the log, changes for the store, and effects. **The shell performs effects only
//! after the facts and changes of the same output, and of all outputs before it, are synced**; a crash in between loses
//! the effect and never the memory of it. What [`Effect::waits_for_sync`] excepts follows when they are written ahead.
//!
//! `order` takes and refuses, `call` dials and ends, `step` answers the dialplan, `life` knows whether the node can
//! work, `memory` keeps what left, `witness` checks the log's checkpoints.

mod attempt;
mod call;
mod life;
mod lost;
mod memory;
mod order;
mod recording;
mod step;
mod witness;

#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod listened_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod ring_tests;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vars_tests;
#[cfg(test)]
mod witness_tests;

use std::collections::{BTreeMap, BTreeSet};

use asterism_proto::hash::Hash;
use asterism_proto::v1;
use serde::{Deserialize, Serialize};

pub use attempt::{
    Attempt, DIGITS_MAX, Drain, Fields, Number, Past, Phase, Spoken, Talk, Trail, Verdict, Watch, Whom,
};
pub use call::PbxEvent;
pub use life::{Gate, LOAD_EVERY_MS, PBX_LOST_MS, PbxUp, SpoolView};
pub use memory::{MEMORY_MAX, Memory, PastKey, past_key};
pub use order::{ATTEMPTS_PER_ORDER_MAX, WINDOW_MAX_MS};
pub use recording::{Made, Recording};
pub use witness::{Judged, Witnessed};

use crate::fact::{Body, Fact};

/// Most slots of one node.
pub const CAPACITY_MAX: u32 = 10_000;

/// A change the store makes durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// An active attempt, new or changed.
    PutAttempt(String, Box<Attempt>),
    /// An attempt is active no more.
    DropAttempt(String),
    /// An attempt left.
    PutPast(PastKey, Past),
    /// An attempt is forgotten.
    DropPast(PastKey),
    /// The highest term seen of a role.
    PutTerm(String, u64),
    /// The drain.
    PutDrain(Drain),
    /// The boot id the last `NodeReady` named; `None` after `NodeStopped`.
    PutReady(Option<String>),
    /// The manifest was told to the log.
    PutManifest(String),
    /// The log was told that the manifest goes.
    DropManifest(String),
    /// The newest checkpoint checked, and what is wrong with the log.
    PutWitnessed(Box<Witnessed>),
    /// A recording is expected, or made.
    PutRecording(String, Box<Recording>),
    /// It is stored, or lost.
    DropRecording(String),
}

/// What the shell does once the output is synced, or written ahead.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answer the order that came with this ticket.
    ReplyOrder {
        /// The shell's own number of the order.
        ticket: u64,
        /// The answer.
        reply: v1::OrderReply,
    },
    /// Send the originate, once.
    Originate(Originate),
    /// Hang the attempt's channel up.
    Hangup {
        /// The attempt.
        attempt: String,
    },
    /// Ask the logic responder; the answer comes back by [`Machine::on_answer`].
    Ask(v1::StepQuestion),
    /// Give this line to whoever asks (call, step).
    Answer {
        /// The call.
        call: String,
        /// The step.
        step: u32,
        /// The reply line; `None` = refuse the question.
        line: Option<String>,
    },
    /// Give whoever asks (call, step) this verb, which dials somebody.
    Join {
        /// The call.
        call: String,
        /// The step.
        step: u32,
        /// The verb as the log has it: it names a destination.
        body: String,
        /// Who that is.
        whom: Whom,
        /// The trunk its leg leaves by.
        trunk: String,
    },
    /// Fetch a manifest; [`Machine::on_manifest`] follows.
    Sync(v1::SyncOrder),
    /// Remove a manifest's files.
    Forget(String),
    /// Have these trunks; [`Machine::on_trunks_tried`] follows.
    Trunks {
        /// The shell's own number of the order.
        ticket: u64,
        /// What was ordered.
        order: v1::TrunkOrder,
    },
    /// Look at a recording's file; [`Machine::on_recording_taken`] follows.
    TakeRecording(String),
    /// Send it; [`Machine::on_recording_stored`] follows, or [`Machine::on_recording_gone`].
    SendRecording {
        /// Its name.
        name: String,
        /// What it is.
        made: Made,
    },
    /// Remove its file.
    RemoveRecording(String),
    /// Ask the ledger for a checkpoint.
    RequestCheckpoint,
    /// Ask the PBX which channels it has; [`Machine::on_channels`] follows.
    ListChannels,
    /// Cosign a checkpoint that continues the log.
    Cosign {
        /// The log's name.
        log: String,
        /// Its size.
        size: u64,
        /// Its root.
        root: Hash,
    },
}

impl Effect {
    /// Whether what led to it must outlive the machine, not just the agent. An answer to the dialplan serves a call that
    /// ends with the machine; a question commits to nothing.
    pub fn waits_for_sync(&self) -> bool {
        !matches!(self, Self::Answer { .. } | Self::Ask(_))
    }
}

/// What the PBX is told to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originate {
    /// The attempt, which becomes the channel's id.
    pub attempt: String,
    /// The number.
    pub number: Number,
    /// The trunk.
    pub trunk: String,
    /// The number shown; empty for none.
    pub caller_id: Number,
    /// How long it may ring, ms.
    pub ring_timeout_ms: u32,
    /// The flow.
    pub flow: String,
    /// The campaign.
    pub campaign: String,
    /// Who answers is listened to before the flow begins.
    pub detect_machine: bool,
}

/// What one input led to.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Output {
    /// For the log, in order.
    pub facts: Vec<Fact>,
    /// For the store, in order.
    pub changes: Vec<Change>,
    /// After both are synced, in order.
    pub effects: Vec<Effect>,
}

impl Output {
    /// Whether nothing came of it.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.changes.is_empty() && self.effects.is_empty()
    }
}

/// What the store held when the agent started.
#[derive(Debug, Default, Clone)]
pub struct Saved {
    /// Active attempts.
    pub attempts: BTreeMap<String, Attempt>,
    /// Attempts that left.
    pub past: BTreeMap<PastKey, Past>,
    /// Highest term of each role.
    pub terms: BTreeMap<String, u64>,
    /// The drain.
    pub drain: Drain,
    /// The boot id the last `NodeReady` named.
    pub ready: Option<String>,
    /// Manifests told to the log.
    pub manifests: BTreeSet<String>,
    /// The newest checkpoint checked.
    pub witnessed: Witnessed,
    /// Recordings the store is not known to have.
    pub recordings: BTreeMap<String, Recording>,
}

/// The node's state.
#[derive(Debug, Clone)]
pub struct Machine {
    node: String,
    capacity: u32,
    active: BTreeMap<String, Attempt>,
    memory: Memory,
    terms: BTreeMap<String, u64>,
    drain: Drain,
    /// Boot id the log knows this node ready with.
    announced: Option<String>,
    /// Manifests on disk, verified by this process.
    held: BTreeSet<String>,
    /// Manifests the log knows of.
    told: BTreeSet<String>,
    /// Trunks the PBX proved to have with the newest order, with their revisions: none before the first of this process.
    trunks: Vec<(String, String)>,
    recordings: recording::Recordings,
    life: life::Life,
    witness: witness::Witness,
}

/// Slots, for heartbeats and facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots {
    /// Accepted or ringing.
    pub ringing: u32,
    /// Up.
    pub up: u32,
    /// Free.
    pub free: u32,
}

impl Machine {
    /// The state as the store held it.
    pub fn new(node: &str, capacity: u32, saved: Saved) -> Self {
        Self {
            node: node.to_owned(),
            capacity: capacity.min(CAPACITY_MAX),
            active: saved.attempts,
            memory: Memory::load(saved.past),
            terms: saved.terms,
            drain: saved.drain,
            announced: saved.ready,
            held: BTreeSet::new(),
            told: saved.manifests,
            trunks: Vec::new(),
            recordings: recording::Recordings::load(saved.recordings),
            life: life::Life::default(),
            witness: witness::Witness::new(saved.witnessed),
        }
    }

    /// The slots as they are. Accepted attempts count: the cap holds before anything is sent.
    pub fn slots(&self) -> Slots {
        let up = self.active.values().filter(|a| a.phase == Phase::Answered).count() as u32;
        let ringing = self.active.len() as u32 - up;
        Slots { ringing, up, free: self.capacity.saturating_sub(ringing + up) }
    }

    /// The number of slots.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The active attempt of this id.
    pub fn attempt(&self, id: &str) -> Option<&Attempt> {
        self.active.get(id)
    }

    /// The active attempts.
    pub fn attempts(&self) -> impl Iterator<Item = (&str, &Attempt)> {
        self.active.iter().map(|(id, attempt)| (id.as_str(), attempt))
    }

    /// How an attempt left, if it is remembered.
    pub fn past(&self, id: &str) -> Option<Past> {
        self.memory.get(id)
    }

    /// Manifests on disk.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(String::as_str)
    }

    /// The highest term seen of a role, 0 before the first.
    pub fn term(&self, role: &str) -> u64 {
        self.terms.get(role).copied().unwrap_or_default()
    }

    /// Writes an attempt's record.
    fn save(&self, id: &str, out: &mut Output) {
        if let Some(attempt) = self.active.get(id) {
            out.changes.push(Change::PutAttempt(id.to_owned(), Box::new(attempt.clone())));
        }
    }

    /// Takes an attempt out of the active ones, remembers how it left and says so.
    fn leave(&mut self, id: &str, verdict: Verdict, body: Body, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.remove(id) else { return };
        out.facts.push(Fact::of_campaign(&attempt.campaign, body));
        out.changes.push(Change::DropAttempt(id.to_owned()));
        self.remember(id, verdict, now_ms, None, out);
    }

    fn remember(&mut self, id: &str, verdict: Verdict, now_ms: u64, refused: Option<u8>, out: &mut Output) {
        let past = Past { verdict, at_ms: now_ms, refused };
        let key = self.memory.put(id, past);
        out.changes.push(Change::PutPast(key, past));
    }
}

/// The carrier's final response, and what was heard before it. Nobody can have been rung where the channel was watched
/// from its dial to a refusal and nothing of a ring came; a 408 is the PBX's own word for silence.
fn heard(attempt: &Attempt, cause: Option<u32>) -> (u32, v1::Heard) {
    use crate::ami::reason::TIMEOUT;
    let watch = &attempt.watch;
    let given_up = watch.failed_reason == Some(TIMEOUT) || watch.sip_status == 408;
    let status = if attempt.phase == Phase::Answered { 0 } else { watch.sip_status };
    let heard = match () {
        () if watch.rang || attempt.phase == Phase::Answered => v1::Heard::Ringing,
        () if watch.trail != Trail::Dialled => v1::Heard::Unspecified,
        () if given_up => v1::Heard::Silence,
        () if status >= 300 && cause.is_some() && watch.hangup_cause == cause => v1::Heard::OnlyTheEnd,
        () => v1::Heard::Unspecified,
    };
    (status, heard)
}

/// How an attempt ended, from what is known of it.
fn ended_body(id: &str, attempt: &Attempt, cause: Option<u32>, never_rang: bool, now_ms: u64) -> Body {
    let answered = attempt.phase == Phase::Answered;
    let ring_until_ms = if answered { attempt.answered_ms } else { now_ms };
    let between = |from: u64, to: u64| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
    let (sip_status, heard) = heard(attempt, cause);
    let reason = if answered { Some(crate::ami::reason::ANSWERED) } else { attempt.watch.failed_reason };
    Body::Ended(v1::AttemptEnded {
        attempt: id.to_owned(),
        outcome: 0, // what the raw codes mean, whoever reads the log decides, by one table
        cause: cause.unwrap_or_default(),
        reason: reason.unwrap_or_default(),
        ring_ms: if never_rang { 0 } else { between(attempt.originated_ms, ring_until_ms) },
        talk_ms: if answered { between(attempt.answered_ms, now_ms) } else { 0 },
        digits: attempt.talk.digits.clone(),
        path: attempt.talk.state.clone(),
        never_rang,
        sip_status,
        heard: heard as u32,
    })
}

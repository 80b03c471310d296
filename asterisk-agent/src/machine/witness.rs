//! The node as a witness of the log: each checkpoint must continue the one before, and what does is cosigned.
//!
//! Two roots of one size, or a proof that fails, are two histories under one key: the node keeps its facts from then on
//! and takes no calls, whatever it is told. A proof that is missing is no such thing: the node asks for it, believes as
//! much of the checkpoint as its signature carries, and does not cosign.

use std::collections::VecDeque;

use asterism_proto::hash::{Hash, check_consistency};
use asterism_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Change, Effect, Machine, Output};
use crate::error::code;
use crate::fact::{Body, Fact};

/// Checkpoints remembered besides the newest one: a late notice is told from a rewritten one by them.
const EARLIER_MAX: usize = 64;

/// Longest name of a log.
const LOG_NAME_MAX_BYTES: usize = 160;

/// The newest checkpoint this node has checked, and why it believes no more, if it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnessed {
    /// Its size; 0 before the first.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The log's name in its notes.
    pub log: String,
    /// What was wrong with the log.
    pub refused: Option<String>,
}

/// What a node makes of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It continues the log this node knows.
    Proved,
    /// It may: the proof is from another size. [`Machine::on_growth`] may follow.
    Unproved,
    /// It is older than what this node knows.
    Late,
    /// It does not.
    Refused,
}

/// Checkpoints in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness {
    pub(super) newest: Witnessed,
    earlier: VecDeque<(u64, Hash)>,
}

impl Witness {
    pub(super) fn new(newest: Witnessed) -> Self {
        Self { newest, earlier: VecDeque::new() }
    }
}

impl Machine {
    /// A checkpoint signed by the log key. The first one is trusted on that signature.
    pub fn on_notice(&mut self, notice: &v1::NoticeBody) -> (Judged, Output) {
        let known = &self.witness.newest;
        let Some(root) = hash(&notice.root).filter(|_| known.refused.is_none()) else {
            // A root that is none proves nothing and is nothing to remember.
            let judged = if known.refused.is_some() { Judged::Refused } else { Judged::Unproved };
            return (judged, Output::default());
        };
        if !names_a_log(&notice.log) || !(known.log.is_empty() || known.log == notice.log) {
            // Nothing to cosign, or another log of this fleet's name: its sizes say nothing of ours.
            return (Judged::Unproved, Output::default());
        }
        if known.size == 0 {
            return self.continues(&notice.log, notice.size, root);
        }
        if notice.size <= known.size {
            let all = self.witness.earlier.iter().copied().chain([(known.size, known.root)]);
            return match all.into_iter().find(|(size, _)| *size == notice.size) {
                Some((_, ours)) if ours != root => self.two_roots(notice.size, &notice.root),
                Some((size, _)) if size == known.size => (Judged::Proved, Output::default()),
                _ => (Judged::Late, Output::default()),
            };
        }
        if notice.previous_size != known.size {
            return (Judged::Unproved, Output::default());
        }
        if notice.previous_root != known.root {
            return self.two_roots(notice.previous_size, &notice.previous_root);
        }
        match path(&notice.proof) {
            Some(path) if check_consistency(known.size, notice.size, &known.root, &root, &path) => {
                self.continues(&notice.log, notice.size, root)
            }
            _ => {
                let why = format!("size {} does not continue size {}", notice.size, known.size);
                self.refuse_log(why, notice.size, &notice.root)
            }
        }
    }

    /// The steps between what this node knows and a checkpoint it could not prove. They are nobody's word: only what
    /// proves itself up to the signed checkpoint counts, and what does not is as if it were never said.
    pub fn on_growth(&mut self, notice: &v1::NoticeBody, steps: &[v1::GrowthStep]) -> (Judged, Output) {
        let known = &self.witness.newest;
        if known.refused.is_some() {
            return (Judged::Refused, Output::default());
        }
        if known.log != notice.log {
            return (Judged::Unproved, Output::default());
        }
        let (mut size, mut root) = (known.size, known.root);
        for step in steps.iter().skip_while(|step| step.from < known.size) {
            let Some((to_root, path)) = hash(&step.to_root).zip(path(&step.path)) else { break };
            if size == notice.size {
                break;
            }
            if step.from != size || !check_consistency(size, step.to, &root, &to_root, &path) {
                break;
            }
            (size, root) = (step.to, to_root);
        }
        if size == notice.size && root.as_slice() == notice.root && size > known.size {
            self.continues(&notice.log, size, root)
        } else {
            (Judged::Unproved, Output::default())
        }
    }

    /// What was wrong with the log, if it showed two histories.
    pub fn log_refused(&self) -> Option<&str> {
        self.witness.newest.refused.as_deref()
    }

    /// The newest checkpoint checked; 0 before the first.
    pub fn witnessed(&self) -> u64 {
        self.witness.newest.size
    }

    fn continues(&mut self, log: &str, size: u64, root: Hash) -> (Judged, Output) {
        let newest = Witnessed { size, root, log: log.to_owned(), refused: None };
        let before = std::mem::replace(&mut self.witness.newest, newest);
        if self.witness.earlier.len() == EARLIER_MAX {
            self.witness.earlier.pop_front();
        }
        if before.size > 0 {
            self.witness.earlier.push_back((before.size, before.root));
        }
        let mut out = Output::default();
        out.changes.push(Change::PutWitnessed(Box::new(self.witness.newest.clone())));
        out.effects.push(Effect::Cosign { log: log.to_owned(), size, root });
        (Judged::Proved, out)
    }

    fn two_roots(&mut self, size: u64, shown: &[u8]) -> (Judged, Output) {
        self.refuse_log(format!("two roots of size {size}"), size, shown)
    }

    /// The log is told, with both heads: they outlive the machine.
    fn refuse_log(&mut self, why: String, shown_size: u64, shown_root: &[u8]) -> (Judged, Output) {
        tracing::error!(
            "{}: the log shows two histories: {why}; this node keeps its facts and takes no calls. Compare the ledger's \
             log with the archive: asterism replay verify",
            code::TWO_HISTORIES
        );
        let known = &self.witness.newest;
        let told = v1::LogRefused {
            node: self.node.clone(),
            reason: why.clone(),
            size: known.size,
            root: known.root.to_vec(),
            shown_size,
            shown_root: shown_root.iter().copied().take(size_of::<Hash>()).collect(),
        };
        self.witness.newest.refused = Some(why);
        let mut out = Output::default();
        out.facts.push(Fact::of_node(Body::LogRefused(told)));
        out.changes.push(Change::PutWitnessed(Box::new(self.witness.newest.clone())));
        if self.announced.is_some() {
            self.say_stopped("the log shows two histories", &mut out);
        }
        (Judged::Refused, out)
    }
}

fn hash(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok()
}

fn path(hashes: &[Vec<u8>]) -> Option<Vec<Hash>> {
    hashes.iter().map(|bytes| hash(bytes)).collect()
}

/// A name that can stand in a note: one word of printable ASCII.
fn names_a_log(name: &str) -> bool {
    (1..=LOG_NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

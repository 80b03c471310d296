//! What an event is made of and stands in: its place in the log, who wrote it and when.

use asterism_proto::Origin;

use super::Event;
use crate::ids::{ContactId, NumberHash, Timestamp};

/// Where an event stands: its derived id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct EventRef {
    /// The origin, spelt.
    pub origin: String,
    /// Its epoch.
    pub epoch: Vec<u8>,
    /// Its frame number.
    pub frame: u64,
    /// Index in the frame.
    pub index: u32,
}

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Global sequence, from 0.
    pub sequence: u64,
    /// Record time: the stream's, monotone.
    pub at: Timestamp,
    /// Who wrote it.
    pub origin: Origin,
    /// Its derived id.
    pub id: EventRef,
    /// The leader's term; 0 for nodes and processes.
    pub term: u64,
    /// The command it answers, empty if none.
    pub command_id: String,
    /// Who asked, empty if a role's own tick.
    pub actor: String,
    /// The event.
    pub event: Event,
}

/// A contact as imported: what names it is sealed or hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedContact {
    /// Number within the campaign.
    pub contact: ContactId,
    /// Keyed hash of the number.
    pub number_hash: NumberHash,
    /// Nonce and ciphertext of number and fields.
    pub sealed: Vec<u8>,
    /// 1 = the first zone the campaign's imports named; 0 = nobody knows.
    pub zone: u32,
    /// It agreed to be called.
    pub consent: bool,
}

/// Where a step's answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum StepSource {
    /// A responder's committed decision.
    Responder,
    /// The flow's fallback, held by the node.
    Fallback,
    /// The same question again: the same answer.
    Repeated,
}

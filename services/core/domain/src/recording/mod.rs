//! Recordings of calls: made on a node, sent to the object store, and there until they are erased.
//!
//! A node says of each recording what it is (`RecordingMade`: size and hash); from then on the log knows that the node has
//! it, until media-sync has read it back from the store (`RecordingStored`) or nobody can have it any more
//! (`RecordingLost`). What a node still has keeps it from being ended, for as long as the policy waits.

pub mod decide;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Event, Recorded};
use crate::fleet::Node;
use crate::ids::{AttemptId, CampaignId, NodeId, Timestamp};
use crate::state::{Effectless, State};

pub use decide::{DAY_MS, RecordingCommand, decide, due};

/// Most recordings one event erases: their names fit a frame.
pub const ERASED_PER_EVENT: usize = 200;
/// Longest time a campaign's recordings may be kept, in days.
pub const KEEP_DAYS_MAX: u32 = 36_500;

/// One recording: a step of a call. Its spelling is that of its file, `<call>-<step>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingId {
    /// The call.
    pub call: AttemptId,
    /// The step that recorded.
    pub step: u32,
}

/// The text names no recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a recording: expected <campaign>-<contact>-<ordinal>-<step>")]
pub struct RecordingIdError;

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.call, self.step)
    }
}

impl FromStr for RecordingId {
    type Err = RecordingIdError;

    fn from_str(text: &str) -> Result<Self, RecordingIdError> {
        let (call, step) = text.rsplit_once('-').ok_or(RecordingIdError)?;
        let call = call.parse().map_err(|_| RecordingIdError)?;
        let plain = !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
        let step = step.parse().ok().filter(|_| plain).ok_or(RecordingIdError)?;
        Ok(Self { call, step })
    }
}

impl Serialize for RecordingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (&self.call, self.step).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RecordingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom);
        }
        let (call, step) = Deserialize::deserialize(deserializer)?;
        Ok(Self { call, step })
    }
}

/// A recording that a node has and the store has not, as far as the log knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// SHA-256 of its file.
    pub sha256: [u8; 32],
    /// Bytes of its file.
    pub size_bytes: u64,
    /// How long it is; 0 = its header does not say.
    pub duration_ms: u32,
    /// When the node said so.
    pub at: Timestamp,
}

/// A recording in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// What it is.
    pub made: Made,
    /// The node that made it.
    pub node: NodeId,
    /// When media-sync had read it back.
    pub at: Timestamp,
    /// Where the log says so.
    pub position: u64,
}

/// Recordings of all campaigns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recordings {
    /// In the object store.
    pub stored: BTreeMap<RecordingId, Stored>,
    /// How many days a campaign's are kept, where that is set; 0 = until they are erased.
    pub keep_days: BTreeMap<CampaignId, u32>,
    /// How many were lost.
    pub lost: u64,
    /// How many were erased.
    pub erased: u64,
}

impl Recordings {
    /// Those of a campaign, in the order of calls.
    pub fn of<'a>(&'a self, campaign: &'a str) -> impl Iterator<Item = (&'a RecordingId, &'a Stored)> {
        let first = AttemptId { campaign: campaign.to_owned(), contact: 0, ordinal: 0 };
        self.stored
            .range(RecordingId { call: first, step: 0 }..)
            .take_while(move |(id, _)| id.call.campaign == campaign)
    }
}

/// Where recordings of this log lie in the object store, which may be shared with others.
pub fn folder(state: &State) -> String {
    format!("recordings/{}-{}/", state.fleet_name, state.log_tag)
}

/// Where a recording lies. Its hash is in the name, so that other bytes cannot take its place.
pub fn object(state: &State, id: &RecordingId, sha256: &[u8; 32]) -> String {
    format!("{}{}/{id}-{}.wav", folder(state), id.call.campaign, hex::encode(&sha256[..8]))
}

/// Whether an object is a recording that is stored, or one that a node has yet to send.
pub fn is_known(state: &State, object: &str) -> bool {
    let name = object.strip_suffix(".wav").and_then(|name| name.rsplit('/').next()?.rsplit_once('-'));
    let Some(id) = name.and_then(|(id, _)| id.parse::<RecordingId>().ok()) else { return false };
    let is = |made: &Made| self::object(state, &id, &made.sha256) == object;
    state.recordings.stored.get(&id).is_some_and(|stored| is(&stored.made))
        || state.fleet.nodes.values().any(|node| node.recordings.get(&id).is_some_and(is))
}

/// Whether a node may remove its file: the store has it, or had it until it was erased.
pub fn is_settled(state: &State, node: &str, id: &RecordingId) -> bool {
    state.recordings.stored.contains_key(id)
        || state.fleet.nodes.get(node).is_some_and(|node| node.erased_recordings.contains(id))
}

/// What a node has that the store has not.
pub fn pending<'a>(state: &'a State, node: &str, id: &RecordingId) -> Option<&'a Made> {
    state.fleet.nodes.get(node)?.recordings.get(id)
}

/// Recordings of nodes that have ended: each is in the store all the same, or lost. Media-sync owes the answer.
pub fn unsettled(state: &State) -> impl Iterator<Item = (&NodeId, &RecordingId, &Made)> {
    let gone = state.fleet.nodes.iter().filter(|(_, node)| !node.status.exists());
    gone.flat_map(|(id, node)| node.recordings.iter().map(move |(recording, made)| (id, recording, made)))
}

/// Whether an empty node may be ended: it has sent its recordings, or was waited for long enough.
pub(crate) fn may_end(node: &Node, wait_ms: u64, at: Timestamp) -> bool {
    let waited = at.saturating_sub(node.empty_at.unwrap_or(at));
    node.recordings.is_empty() || waited >= wait_ms
}

/// Applies an event about recordings.
pub(crate) fn apply(state: &mut State, recorded: &Recorded) -> Result<(), Effectless> {
    let (at, position) = (recorded.at, recorded.sequence);
    match recorded.event.clone() {
        Event::RecordingMade { node, call, step, sha256, size_bytes, duration_ms } => {
            let sha256 = hash(&sha256)?;
            let id = RecordingId { call, step };
            let known = state.fleet.nodes.get_mut(&node).ok_or(Effectless::incident("unknown node"))?;
            match state.recordings.stored.get(&id) {
                // A node whose file outlived the answer tells again.
                Some(stored) if stored.made.sha256 == sha256 => return Ok(()),
                Some(_) => return Err(Effectless::incident("another recording of a step that has one")),
                None if known.erased_recordings.contains(&id) => return Ok(()),
                None => {}
            }
            known.recordings.insert(id, Made { sha256, size_bytes, duration_ms, at });
        }
        Event::RecordingStored { node, call, step, sha256, .. } => {
            let (id, sha256) = (RecordingId { call, step }, hash(&sha256)?);
            let known = state.fleet.nodes.get_mut(&node).ok_or(Effectless::incident("unknown node"))?;
            let made = known.recordings.get(&id).filter(|made| made.sha256 == sha256);
            let made = made.ok_or(Effectless::void("the node does not have such a recording"))?.clone();
            known.recordings.remove(&id);
            state.recordings.stored.insert(id, Stored { made, node, at, position });
        }
        Event::RecordingLost { node, call, step, .. } => {
            let known = state.fleet.nodes.get_mut(&node).ok_or(Effectless::incident("unknown node"))?;
            let id = RecordingId { call, step };
            if state.recordings.stored.contains_key(&id) {
                return Err(Effectless::void("it is in the store"));
            }
            known.recordings.remove(&id);
            state.recordings.lost += 1;
        }
        Event::RecordingsErased { recordings, .. } => {
            let mut gone = 0;
            for id in recordings {
                let Some(stored) = state.recordings.stored.remove(&id) else { continue };
                gone += 1;
                if let Some(home) = state.fleet.nodes.get_mut(&stored.node).filter(|it| it.status.exists()) {
                    home.erased_recordings.insert(id);
                }
            }
            state.recordings.erased += gone;
            if gone == 0 {
                return Err(Effectless::void("none of them is in the store"));
            }
        }
        Event::RecordingsKept { campaign, days, .. } => {
            if !state.campaigns.contains_key(&campaign) {
                return Err(Effectless::incident("unknown campaign"));
            }
            state.recordings.keep_days.insert(campaign, days);
        }
        _ => {}
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], Effectless> {
    bytes.try_into().map_err(|_| Effectless::incident("no sha-256"))
}

#[cfg(test)]
mod tests;

//! Media-sync's decisions about recordings.

use super::{ERASED_PER_EVENT, KEEP_DAYS_MAX, RecordingId, object, pending};
use crate::Rejection;
use crate::event::Event;
use crate::ids::{CampaignId, NodeId, Timestamp};
use crate::state::State;

/// A day.
pub const DAY_MS: u64 = 86_400_000;

/// What media-sync asks its leader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingCommand {
    /// The shell has read the object and found size and hash right.
    Store {
        /// Who has it.
        node: NodeId,
        /// Which.
        recording: RecordingId,
        /// What was read.
        sha256: [u8; 32],
    },
    /// Its node has ended, and the store does not have it.
    Lose {
        /// Who had it.
        node: NodeId,
        /// Which.
        recording: RecordingId,
        /// Why.
        reason: String,
    },
    /// They are to go. Their objects go behind the event.
    Erase {
        /// Which, at most [`ERASED_PER_EVENT`].
        recordings: Vec<RecordingId>,
        /// Why.
        reason: String,
    },
    /// For how long a campaign's are kept.
    Keep {
        /// The campaign.
        campaign: CampaignId,
        /// Days; 0 = until they are erased.
        days: u32,
        /// Why.
        reason: String,
    },
}

/// Decides; what the log has already needs no event.
///
/// # Errors
/// AST-M080 nobody has such a recording, AST-M081 too many at once, AST-M082 no such campaign, AST-M083 too many days,
/// AST-M084 a recording is not in the store.
pub fn decide(state: &State, command: &RecordingCommand) -> Result<Vec<Event>, Rejection> {
    match command.clone() {
        RecordingCommand::Store { node, recording, sha256 } => {
            if state.recordings.stored.get(&recording).is_some_and(|stored| stored.made.sha256 == sha256) {
                return Ok(Vec::new());
            }
            let made = pending(state, &node, &recording).filter(|made| made.sha256 == sha256);
            let why = "the log does not say that the node has this recording";
            let made = made.ok_or(Rejection::new("AST-M080", why))?;
            Ok(vec![Event::RecordingStored {
                node,
                object: object(state, &recording, &sha256),
                sha256: sha256.to_vec(),
                size_bytes: made.size_bytes,
                call: recording.call,
                step: recording.step,
            }])
        }
        RecordingCommand::Lose { node, recording, reason } => {
            if pending(state, &node, &recording).is_none() {
                return Ok(Vec::new());
            }
            let RecordingId { call, step } = recording;
            Ok(vec![Event::RecordingLost { node, call, step, reason }])
        }
        RecordingCommand::Erase { recordings, reason } => {
            if !(1..=ERASED_PER_EVENT).contains(&recordings.len()) {
                return Err(Rejection::new("AST-M081", "1 to 200 recordings are erased at once"));
            }
            if !recordings.iter().all(|id| state.recordings.stored.contains_key(id)) {
                return Err(Rejection::new("AST-M084", "one of the recordings is not in the store"));
            }
            Ok(vec![Event::RecordingsErased { recordings, reason }])
        }
        RecordingCommand::Keep { campaign, days, reason } => {
            if !state.campaigns.contains_key(&campaign) {
                return Err(Rejection::new("AST-M082", "there is no such campaign"));
            }
            if days > KEEP_DAYS_MAX {
                return Err(Rejection::new(
                    "AST-M083",
                    "recordings are kept at most 36500 days; 0 = no limit",
                ));
            }
            if state.recordings.keep_days.get(&campaign) == Some(&days) {
                return Ok(Vec::new());
            }
            Ok(vec![Event::RecordingsKept { campaign, days, reason }])
        }
    }
}

/// Recordings whose time is over, at most one event's, with their hashes. `default_days` holds where a campaign has no
/// number of its own; 0 keeps them. A day has `day_ms`, [`DAY_MS`] outside tests.
pub fn due(state: &State, (default_days, day_ms): (u32, u64), at: Timestamp) -> Vec<(RecordingId, [u8; 32])> {
    let of =
        |campaign: &CampaignId| state.recordings.keep_days.get(campaign).copied().unwrap_or(default_days);
    let over = state.recordings.stored.iter().filter(|(id, stored)| {
        let days = of(&id.call.campaign);
        days > 0 && at.saturating_sub(stored.at) >= u64::from(days).saturating_mul(day_ms)
    });
    over.take(ERASED_PER_EVENT).map(|(id, stored)| (id.clone(), stored.made.sha256)).collect()
}

//! What people ask about recordings: which there are, to erase some, for how long a campaign's are kept.

use std::ops::Bound;

use asterism_domain::State;
use asterism_domain::catalogue::CatalogueCommand;
use asterism_domain::recording::{self, RecordingCommand, RecordingId, Stored};
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::leader::Desk;
use asterism_runtime::log::Log;
use asterism_runtime::role::{envelope_of, refusal, reply_json, reply_of};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recordings::Keeper;

/// Lines of one answer: it is one message of the bus.
pub const LINES_MAX: usize = 1_000;
const DAY_MS: u64 = 86_400_000;

/// `recordings.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRecordings {
    /// Those of one campaign.
    pub campaign: Option<String>,
    /// Where an earlier answer said to go on.
    pub after: Option<String>,
}

/// Its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// What is in the store, by campaign, contact, call and step.
    pub stored: Vec<RecordingLine>,
    /// Recordings that nodes have and the store has not.
    pub unsent: u64,
    /// Recordings lost so far, of all campaigns.
    pub lost: u64,
    /// Recordings erased so far, of all campaigns.
    pub erased: u64,
    /// The log's time.
    pub now_ms: u64,
    /// Where to go on, if it is not at its end.
    pub next: Option<String>,
}

/// A recording in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingLine {
    /// Its name, `<call>-<step>`.
    pub recording: String,
    /// The campaign.
    pub campaign: String,
    /// Its name in the object store.
    pub object: String,
    /// SHA-256 of its file, hex.
    pub sha256: String,
    /// Bytes of its file.
    pub size_bytes: u64,
    /// How long it is; 0 = unknown.
    pub duration_ms: u32,
    /// Since when it is there.
    pub stored_at_ms: u64,
    /// When it will be erased by itself, if it will.
    pub erased_at_ms: Option<u64>,
}

/// `recordings.erase`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseRecordings {
    /// Which, at most 200.
    pub recordings: Vec<String>,
    /// Why, for the log.
    pub reason: String,
}

/// `recordings.keep`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepRecordings {
    /// The campaign.
    pub campaign: String,
    /// Days; 0 = until they are erased.
    pub days: u32,
    /// Why, for the log.
    pub reason: String,
    /// Nothing is changed.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Recordings erased.
    pub erased: u64,
    /// Recordings whose days are over.
    pub due: u64,
}

pub(crate) fn list(log: &Log, command: &RoleCommand, default_days: u32) -> RoleReply {
    let asked: ListRecordings = match read(command) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let (position, listed) = log.read(|state| (state.size, listed(state, &asked, default_days)));
    match listed {
        Some(listed) => reply_json(position, &listed),
        None => refusal("AST-M070", "after names no recording"),
    }
}

fn listed(state: &State, asked: &ListRecordings, default_days: u32) -> Option<Listed> {
    let recordings = &state.recordings;
    let after = asked.after.as_deref().map(str::parse::<RecordingId>).transpose().ok()?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let of = |id: &RecordingId| asked.campaign.as_ref().is_none_or(|campaign| id.call.campaign == *campaign);
    let days =
        |id: &RecordingId| recordings.keep_days.get(&id.call.campaign).copied().unwrap_or(default_days);
    let line = |(id, Stored { made, at, .. }): (&RecordingId, &Stored)| RecordingLine {
        recording: id.to_string(),
        campaign: id.call.campaign.clone(),
        object: recording::object(state, id, &made.sha256),
        sha256: hex::encode(made.sha256),
        size_bytes: made.size_bytes,
        duration_ms: made.duration_ms,
        stored_at_ms: *at,
        erased_at_ms: Some(days(id)).filter(|days| *days > 0).map(|days| at + u64::from(days) * DAY_MS),
    };
    let range = recordings.stored.range((from, Bound::Unbounded)).filter(|(id, _)| of(id));
    let mut stored: Vec<RecordingLine> = range.take(LINES_MAX + 1).map(line).collect();
    let more = stored.len() > LINES_MAX;
    stored.truncate(LINES_MAX);
    let unsent =
        state.fleet.nodes.values().flat_map(|node| node.recordings.keys()).filter(|id| of(id)).count();
    Some(Listed {
        next: stored.last().filter(|_| more).map(|line| line.recording.clone()),
        stored,
        unsent: unsent as u64,
        lost: recordings.lost,
        erased: recordings.erased,
        now_ms: state.at,
    })
}

pub(crate) async fn erase(
    keeper: &Keeper,
    desk: &Desk<CatalogueCommand>,
    command: &RoleCommand,
) -> RoleReply {
    let EraseRecordings { recordings, reason } = match read(command) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let ids: Result<Vec<RecordingId>, _> = recordings.iter().map(|name| name.parse()).collect();
    let Ok(ids) = ids else { return refusal("AST-M070", "a name is no recording's") };
    let objects = keeper.objects(&ids);
    let erase = CatalogueCommand::Recording(RecordingCommand::Erase { recordings: ids, reason });
    match desk.ask(erase, envelope_of(command)).await {
        Ok(answer) => {
            keeper.remove(&objects).await; // what stays is removed by the next sweep
            reply_json(answer.position, &Erased { erased: objects.len() as u64, due: 0 })
        }
        refused => reply_of(refused),
    }
}

pub(crate) async fn keep(log: &Log, desk: &Desk<CatalogueCommand>, command: &RoleCommand) -> RoleReply {
    let KeepRecordings { campaign, days, reason, dry_run } = match read(command) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let now_ms = log.now_ms();
    let due = log.read(|state| {
        let over = |stored: &Stored| now_ms.saturating_sub(stored.at) >= u64::from(days) * DAY_MS;
        state.recordings.of(&campaign).filter(|(_, stored)| days > 0 && over(stored)).count() as u64
    });
    let keep = CatalogueCommand::Recording(RecordingCommand::Keep { campaign, days, reason });
    if dry_run {
        let judged =
            log.read(|state| asterism_domain::catalogue::decide(state, &keep, now_ms).map(|_| state.size));
        return match judged {
            Ok(position) => reply_json(position, &Erased { erased: 0, due }),
            Err(rejection) => refusal(rejection.code, rejection.reason.into_owned()),
        };
    }
    match desk.ask(keep, envelope_of(command)).await {
        Ok(answer) => reply_json(answer.position, &Erased { erased: 0, due }),
        refused => reply_of(refused),
    }
}

fn read<T: DeserializeOwned>(command: &RoleCommand) -> Result<T, RoleReply> {
    serde_json::from_slice(&command.json)
        .map_err(|error| refusal("AST-M070", format!("the arguments cannot be read: {error}")))
}

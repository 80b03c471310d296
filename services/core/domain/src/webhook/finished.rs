//! Notices that are owed no more, the newest of them: what `webhook list` shows, and what can be owed once more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Notice, NoticeId, Outbox};
use crate::campaign::ContactStatus;
use crate::ids::{ContactId, Timestamp};
use crate::state::State;

/// Most notices kept that were delivered, and as many that were given up.
pub const FINISHED_KEPT: usize = 1_000;
/// Most notices in one list.
pub const LISTED_MAX: usize = 2_000;

/// A notice that is owed no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its name.
    pub id: NoticeId,
    /// What it says.
    pub notice: Notice,
    /// When it was taken or given up, by the log.
    pub at: Timestamp,
    /// How often it was tried, of those given up together the one that was tried most; 0 = it was delivered.
    pub tries: u32,
    /// What its receiver did last; empty if it took it.
    pub reason: String,
}

pub(super) fn keep(all: &mut VecDeque<Finished>, one: Finished) {
    if all.len() == FINISHED_KEPT {
        all.pop_front();
    }
    all.push_back(one);
}

/// Where a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is to be delivered.
    Owed,
    /// Its receiver took it.
    Delivered,
    /// Nobody tries it any more.
    GivenUp,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owed, Self::Delivered, Self::GivenUp];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Delivered => "delivered",
            Self::GivenUp => "given-up",
        }
    }
}

/// One line about a notice. Nothing in it names a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeLine {
    /// Its name within its log: `POSITION-PLACE`.
    pub id: String,
    /// Where it stands.
    pub standing: Standing,
    /// What of.
    pub kind: String,
    /// When it happened, by the log.
    pub at_ms: Timestamp,
    /// The campaign it is about.
    pub campaign: String,
    /// The contact, if it is about one.
    pub contact: Option<ContactId>,
    /// How that was settled: an outcome, a rule, or `uncertain`.
    pub settled: Option<String>,
    /// When it was delivered or given up.
    pub finished_ms: Option<Timestamp>,
    /// How often it was tried before it was given up.
    pub tries: u32,
    /// Why it was given up.
    pub reason: String,
}

/// Which notices are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// Those that stand so; none = all.
    pub standing: Option<Standing>,
    /// Those about this campaign; empty = all.
    pub campaign: String,
    /// The newest of these; 0 = as many as a list holds.
    pub limit: usize,
}

/// What is owed, and what became of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxReport {
    /// Scheme, host and port of the receiver; empty = none.
    pub endpoint: String,
    /// The kinds it wants.
    pub kinds: Vec<String>,
    /// Notices owed.
    pub owed: u64,
    /// When the oldest of them happened.
    pub oldest_ms: Option<Timestamp>,
    /// Notices taken, ever.
    pub delivered: u64,
    /// Notices given up, ever.
    pub given_up: u64,
    /// Those asked for, newest first.
    pub notices: Vec<NoticeLine>,
}

/// The outbox with the notices asked for.
pub fn report(state: &State, asked: &Asked) -> OutboxReport {
    let outbox = &state.webhook;
    let limit = if asked.limit == 0 { LISTED_MAX } else { asked.limit.min(LISTED_MAX) };
    let owed = outbox.owed.iter().rev().map(|(id, notice)| line(*id, notice, None));
    let done = |all: &'_ VecDeque<Finished>| -> Vec<NoticeLine> {
        all.iter().rev().map(|one| line(one.id, &one.notice, Some(one))).collect()
    };
    let meant = |line: &NoticeLine| {
        asked.standing.is_none_or(|standing| standing == line.standing)
            && (asked.campaign.is_empty() || asked.campaign == line.campaign)
    };
    let all = owed.chain(done(&outbox.lost)).chain(done(&outbox.taken));
    OutboxReport {
        endpoint: outbox.endpoint.clone(),
        kinds: outbox.kinds.iter().map(|kind| kind.name().to_owned()).collect(),
        owed: outbox.owed.len() as u64,
        oldest_ms: outbox.owed.values().next().map(|notice| notice.at),
        delivered: outbox.delivered,
        given_up: outbox.given_up,
        notices: all.filter(meant).take(limit).collect(),
    }
}

/// The notice of this name, if it is owed or was not long ago.
pub fn find(state: &State, id: NoticeId) -> Option<(NoticeLine, Notice)> {
    let outbox = &state.webhook;
    if let Some(notice) = outbox.owed.get(&id) {
        return Some((line(id, notice, None), notice.clone()));
    }
    let one = outbox.finished(id)?;
    Some((line(id, &one.notice, Some(one)), one.notice.clone()))
}

impl Outbox {
    /// A notice that is owed no more, if it is still kept.
    pub fn finished(&self, id: NoticeId) -> Option<&Finished> {
        self.lost.iter().chain(&self.taken).find(|one| one.id == id)
    }
}

fn line(id: NoticeId, notice: &Notice, done: Option<&Finished>) -> NoticeLine {
    let settled = notice.contact.as_ref().map(|contact| match &contact.status {
        ContactStatus::Settled(outcome) => outcome.name().to_owned(),
        ContactStatus::Excluded(rule) => rule.name().to_owned(),
        _ => "uncertain".to_owned(),
    });
    NoticeLine {
        id: id.to_string(),
        standing: match done {
            None => Standing::Owed,
            Some(one) if one.reason.is_empty() => Standing::Delivered,
            Some(_) => Standing::GivenUp,
        },
        kind: notice.kind.name().to_owned(),
        at_ms: notice.at,
        campaign: notice.campaign.clone(),
        contact: notice.contact.as_ref().map(|contact| contact.contact),
        settled,
        finished_ms: done.map(|one| one.at),
        tries: done.map_or(0, |one| one.tries),
        reason: done.map_or_else(String::new, |one| one.reason.clone()),
    }
}

//! What is posted next, and when: pure, and forgotten with the process, but for what the log has.
//!
//! Notices go in the order of the log, many in a request. After a failure each goes alone until one gets through, so that one
//! the receiver does not like stands in nobody's way but its own contact's.

use std::collections::{BTreeMap, BTreeSet};

use asterism_domain::webhook::{NOTICES_PER_EVENT, Notice, NoticeId};
use asterism_domain::{ContactId, Timestamp};
use asterism_runtime::config::WebhookConfig;

/// Failures before anything is given up because it is old: one is soon had after a night without anybody.
const FAILURES_MIN: u32 = 5;

/// How it is done.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    batch: usize,
    first_ms: u64,
    max_ms: u64,
    max_tries: u32,
    give_up_after_ms: u64,
    max_owed: usize,
}

impl From<&WebhookConfig> for Limits {
    fn from(config: &WebhookConfig) -> Self {
        Self {
            batch: config.batch as usize,
            first_ms: config.retry_first_ms,
            max_ms: config.retry_max_ms,
            max_tries: config.max_tries,
            give_up_after_ms: config.give_up_after_s * 1_000,
            max_owed: config.max_owed as usize,
        }
    }
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Post these.
    Send(Vec<NoticeId>),
    /// Wait until then; `all` = whatever is owed meanwhile.
    Wait { until: Timestamp, all: bool },
    /// Nothing is owed.
    Idle,
    /// More is owed than may be: give up these, the oldest.
    TooMany(Vec<NoticeId>),
}

/// A notice that failed alone.
#[derive(Debug, Clone, Copy)]
struct Stuck {
    tries: u32,
    due: Timestamp,
}

/// The state of one term's posting.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    stuck: BTreeMap<NoticeId, Stuck>,
    batch: usize,
    /// In a row.
    failures: u32,
    paused_until: Timestamp,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        let batch = limits.batch;
        Self { limits, stuck: BTreeMap::new(), batch, failures: 0, paused_until: 0 }
    }

    pub(super) fn next(&mut self, owed: &BTreeMap<NoticeId, Notice>, now: Timestamp) -> Next {
        self.stuck.retain(|id, _| owed.contains_key(id));
        if owed.len() > self.limits.max_owed {
            let over = owed.len() - self.limits.max_owed;
            return Next::TooMany(owed.keys().take(over.min(NOTICES_PER_EVENT)).copied().collect());
        }
        if owed.is_empty() {
            return Next::Idle;
        }
        if now < self.paused_until {
            return Next::Wait { until: self.paused_until, all: true };
        }
        let due = self.stuck.iter().find(|(_, stuck)| stuck.due <= now).map(|(id, _)| vec![*id]);
        // What failed alone stays alone; and right after a failure another is tried, which tells whose fault it was.
        let fresh = || Some(self.fresh(owed)).filter(|fresh| !fresh.is_empty());
        let chosen = if self.failures == 0 { due.or_else(fresh) } else { fresh().or(due) };
        match self.stuck.values().map(|stuck| stuck.due).min() {
            _ if chosen.is_some() => Next::Send(chosen.unwrap_or_default()),
            Some(until) => Next::Wait { until, all: false },
            None => Next::Idle,
        }
    }

    /// The first ones that wait for nobody.
    fn fresh(&self, owed: &BTreeMap<NoticeId, Notice>) -> Vec<NoticeId> {
        let mut behind = Behind::default();
        let mut taken = Vec::new();
        for (id, notice) in owed {
            if self.stuck.contains_key(id) || behind.holds(notice) {
                behind.add(notice);
                continue;
            }
            taken.push(*id);
            if taken.len() == self.batch {
                break;
            }
        }
        taken
    }

    /// The receiver has taken them.
    pub(super) fn delivered(&mut self, notices: &[NoticeId]) {
        for id in notices {
            self.stuck.remove(id);
        }
        self.failures = 0;
        self.batch = (self.batch * 2).min(self.limits.batch);
    }

    /// It has not, or nobody knows. `jitter`: anything.
    pub(super) fn failed(&mut self, notices: &[NoticeId], now: Timestamp, jitter: u16) {
        self.failures = self.failures.saturating_add(1);
        self.paused_until = now + self.pause(self.failures, jitter);
        self.batch = 1;
        if let [alone] = notices {
            let tries = self.stuck.get(alone).map_or(0, |stuck| stuck.tries) + 1;
            let due = now + self.pause(tries, jitter);
            self.stuck.insert(*alone, Stuck { tries, due });
        }
    }

    /// What is given up after a failure, with how often the one was tried that was tried most.
    pub(super) fn give_up(
        &self,
        owed: &BTreeMap<NoticeId, Notice>,
        now: Timestamp,
    ) -> Option<(Vec<NoticeId>, u32)> {
        let tried_out = |id: &NoticeId| self.stuck.get(id).is_some_and(|s| s.tries >= self.limits.max_tries);
        let too_old = |notice: &Notice| {
            self.failures >= FAILURES_MIN && notice.at + self.limits.give_up_after_ms <= now
        };
        let lost = owed.iter().filter(|(id, notice)| tried_out(id) || too_old(notice));
        let lost: Vec<NoticeId> = lost.map(|(id, _)| *id).take(NOTICES_PER_EVENT).collect();
        let tries = lost.iter().filter_map(|id| self.stuck.get(id)).map(|stuck| stuck.tries).max();
        (!lost.is_empty()).then_some((lost, tries.unwrap_or_default()))
    }

    /// Twice as long each time, up to the longest; of that between half and all.
    fn pause(&self, failures: u32, jitter: u16) -> u64 {
        let doubled = self.limits.first_ms.saturating_mul(1 << failures.saturating_sub(1).min(30));
        let longest = doubled.min(self.limits.max_ms);
        longest / 2 + longest * u64::from(jitter) / u64::from(u16::MAX) / 2
    }
}

/// Contacts with a notice that waits: those behind it wait too, and the end of their campaign.
#[derive(Default)]
struct Behind<'a>(BTreeMap<&'a str, BTreeSet<ContactId>>);

impl<'a> Behind<'a> {
    fn add(&mut self, notice: &'a Notice) {
        let contacts = self.0.entry(&notice.campaign).or_default();
        contacts.extend(notice.contact.as_ref().map(|one| one.contact));
    }

    fn holds(&self, notice: &Notice) -> bool {
        let Some(contacts) = self.0.get(notice.campaign.as_str()) else { return false };
        notice.contact.as_ref().is_none_or(|one| contacts.contains(&one.contact))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

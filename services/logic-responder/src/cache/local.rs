//! What this process holds: bounded; what was used longest ago goes first.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::logic::web::{Parts, WebReply};
use lru::LruCache;
use tokio::time::Instant;

use super::{BAD_FOR, Key, PASS_FOR};
use crate::backend::Failure;

/// Places of which something is known, however few answers are held: they are small.
const MIN_RULES: usize = 256;

/// What is known of a place.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Answers may be kept, by these parts.
    By(Parts),
    /// They may not.
    Pass,
}

/// What is held of a question.
#[derive(Debug)]
pub(super) enum Found {
    Fresh(Arc<WebReply>),
    /// Its answers may not be kept.
    Pass,
    /// Its answer just now could not be used.
    Bad(Failure),
    Nothing,
}

#[derive(Debug, Default)]
struct Entry {
    answer: Option<Answer>,
    bad: Option<(Failure, Instant)>,
    pass_until: Option<Instant>,
}

#[derive(Debug)]
struct Answer {
    reply: Arc<WebReply>,
    fresh_until: Instant,
    stale_until: Instant,
}

#[derive(Debug)]
pub(super) struct Local {
    entries: LruCache<Key, Entry>,
    rules: LruCache<Key, (Rule, Option<Instant>)>,
}

impl Local {
    /// None for no entries.
    pub(super) fn new(entries: usize) -> Option<Self> {
        let rules = NonZeroUsize::new(entries.max(MIN_RULES))?;
        let entries = NonZeroUsize::new(entries)?;
        Some(Self { entries: LruCache::new(entries), rules: LruCache::new(rules) })
    }

    pub(super) fn rule(&mut self, place: &Key, now: Instant) -> Option<Rule> {
        let (rule, until) = self.rules.get(place)?;
        until.is_none_or(|until| now < until).then(|| rule.clone())
    }

    /// Puts what answers at a place depend on together with what is known of it; what it comes to.
    pub(super) fn learn(&mut self, place: Key, parts: Parts) -> Parts {
        let parts = match self.rules.get(&place) {
            Some((Rule::By(known), _)) => known.with(&parts),
            _ => parts,
        };
        self.rules.put(place, (Rule::By(parts.clone()), None));
        parts
    }

    /// An answer at this place may not be kept; that others may is not forgotten.
    pub(super) fn pass_at(&mut self, place: Key, now: Instant) {
        if !matches!(self.rules.get(&place), Some((Rule::By(_), _))) {
            self.rules.put(place, (Rule::Pass, Some(now + PASS_FOR)));
        }
    }

    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Found {
        let Some(entry) = self.entries.get(key) else { return Found::Nothing };
        match (&entry.answer, &entry.bad, entry.pass_until) {
            (Some(answer), _, _) if now < answer.fresh_until => Found::Fresh(answer.reply.clone()),
            (_, Some((failure, until)), _) if now < *until => Found::Bad(failure.clone()),
            (_, _, Some(until)) if now < until => Found::Pass,
            _ => Found::Nothing,
        }
    }

    pub(super) fn stale(&mut self, key: &Key, now: Instant) -> Option<Arc<WebReply>> {
        let answer = self.entries.get(key)?.answer.as_ref()?;
        (now < answer.stale_until).then(|| answer.reply.clone())
    }

    pub(super) fn put(&mut self, key: Key, reply: Arc<WebReply>, fresh_s: u32, now: Instant) {
        let fresh_until = now + Duration::from_secs(fresh_s.into());
        let stale_until = fresh_until + Duration::from_secs(reply.kept.stale_s.into());
        let answer = Some(Answer { reply, fresh_until, stale_until });
        self.entries.put(key, Entry { answer, ..Entry::default() });
    }

    /// What cannot be used is remembered for a moment; what is late or away is the breaker's business.
    pub(super) fn bad(&mut self, key: Key, failure: &Failure, now: Instant) {
        if failure.is_unusable() {
            self.entries.get_or_insert_mut(key, Entry::default).bad = Some((failure.clone(), now + BAD_FOR));
        }
    }

    pub(super) fn pass(&mut self, key: Key, now: Instant) {
        self.entries.get_or_insert_mut(key, Entry::default).pass_until = Some(now + PASS_FOR);
    }
}

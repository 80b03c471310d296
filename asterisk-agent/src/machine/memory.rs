//! The attempts that left this node, remembered so that an order for one has no second effect.
//!
//! Keyed by 16 bytes of the id's hash: 100,000 of them take a few megabytes. Forgotten a day after they left, and
//! earlier only when there are too many, but never while a fact about them may be uncovered by a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use asterism_proto::hash::sha256;

use super::Past;

/// Most attempts remembered.
pub const MEMORY_MAX: usize = 100_000;
/// How long an attempt is remembered, ms.
pub const MEMORY_MS: u64 = 24 * 3_600 * 1_000;
/// Most attempts forgotten in one tick: bounds the work of a tick.
const FORGET_MAX: usize = 256;

/// 16 bytes of SHA-256 over the attempt's id.
pub type PastKey = [u8; 16];

/// The key of an attempt.
pub fn past_key(attempt: &str) -> PastKey {
    let mut key = [0; 16];
    key.copy_from_slice(&sha256(attempt.as_bytes())[..16]);
    key
}

/// The memory.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    by_key: BTreeMap<PastKey, Past>,
    by_time: BTreeSet<(u64, PastKey)>,
}

impl Memory {
    /// From what the store held.
    pub fn load(saved: BTreeMap<PastKey, Past>) -> Self {
        let by_time = saved.iter().map(|(key, past)| (past.at_ms, *key)).collect();
        Self { by_key: saved, by_time }
    }

    /// How the attempt left, if it is remembered.
    pub fn get(&self, attempt: &str) -> Option<Past> {
        self.by_key.get(&past_key(attempt)).copied()
    }

    /// Remembers it.
    pub fn put(&mut self, attempt: &str, past: Past) -> PastKey {
        let key = past_key(attempt);
        if let Some(old) = self.by_key.insert(key, past) {
            self.by_time.remove(&(old.at_ms, key));
        }
        self.by_time.insert((past.at_ms, key));
        key
    }

    /// Forgets what may be forgotten: left before `uncovered_ms` (the oldest fact no checkpoint covers; `None` = all
    /// are covered), and a day ago or over the limit. Returns the keys.
    pub fn forget(&mut self, now_ms: u64, uncovered_ms: Option<u64>) -> Vec<PastKey> {
        let mut gone = Vec::new();
        while gone.len() < FORGET_MAX {
            let Some((at_ms, key)) = self.by_time.first().copied() else { break };
            let old = at_ms.saturating_add(MEMORY_MS) < now_ms || self.by_key.len() > MEMORY_MAX;
            if !old || uncovered_ms.is_some_and(|oldest| at_ms >= oldest) {
                break;
            }
            self.by_time.remove(&(at_ms, key));
            self.by_key.remove(&key);
            gone.push(key);
        }
        gone
    }

    /// Whether no more can be taken until a checkpoint comes.
    pub fn is_full(&self) -> bool {
        self.by_key.len() >= MEMORY_MAX + FORGET_MAX
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn left(at_ms: u64) -> Past {
        Past { verdict: Verdict::Ended, at_ms, refused: None }
    }

    #[test]
    fn an_attempt_is_kept_a_day_and_never_lost_before_a_checkpoint() {
        let mut memory = Memory::default();
        memory.put("a", left(1_000));
        memory.put("b", left(2_000));
        assert!(memory.forget(MEMORY_MS, None).is_empty());
        assert!(memory.forget(MEMORY_MS + 5_000, Some(900)).is_empty(), "its fact may be uncovered");
        assert_eq!(memory.forget(MEMORY_MS + 5_000, Some(1_500)), [past_key("a")]);
        assert!(memory.get("a").is_none() && memory.get("b").is_some());
        assert_eq!(memory.forget(MEMORY_MS + 5_000, None), [past_key("b")]);
        assert!(memory.is_empty());
    }

    #[test]
    fn over_the_limit_the_oldest_covered_goes_first() {
        let mut memory = Memory::default();
        for n in 0..MEMORY_MAX as u64 + 2 {
            memory.put(&n.to_string(), left(n));
        }
        assert_eq!(memory.forget(10, Some(1)), [past_key("0")]);
        assert!(memory.forget(10, Some(1)).is_empty(), "the next one is not covered");
        assert_eq!(memory.forget(10, None), [past_key("1")]);
        assert_eq!(memory.len(), MEMORY_MAX);
    }
}

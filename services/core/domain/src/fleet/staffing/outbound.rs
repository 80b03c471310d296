//! How many slots outbound calls must have for every list to start in time.

use serde::{Deserialize, Serialize};

use super::fixed::{decay_ppb, ratio, times};
use super::policy::StaffingPolicy;

/// What an outbound call holds its slot for until calls have shown it, and how many calls that is worth.
const PRIOR_HOLD_MS: u64 = 30_000;
const PRIOR_CALLS_MC: u64 = 30_000;
/// How long holding times are remembered.
const HOLD_MEMORY_MS: u64 = 900_000;
/// The least time a list's calls are spread over.
const SPREAD_LEAST_MS: u64 = 30_000;

/// A list of calls still to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// From when on its calls may start.
    pub open_ms: i64,
    /// Until when they must have started.
    pub deadline_ms: i64,
    /// Calls not started yet.
    pub calls: u32,
}

/// Holding times of outbound calls, as seen lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    ended_mc: u64,
    held_ms_milli: u64,
}

impl Holding {
    /// Takes note of the calls that ended in one second, and of the time they held their slots in all.
    pub fn note(&mut self, ended: u32, held_ms: u64) {
        let keep = decay_ppb(1_000, HOLD_MEMORY_MS);
        self.ended_mc = times(self.ended_mc, keep) + u64::from(ended) * 1_000;
        self.held_ms_milli = times(self.held_ms_milli, keep) + held_ms.saturating_mul(1_000);
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> u64 {
        let prior = PRIOR_HOLD_MS * PRIOR_CALLS_MC;
        ((self.held_ms_milli + prior) / (self.ended_mc + PRIOR_CALLS_MC)).max(1)
    }
}

/// What the lists ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Required {
    /// Slots they must have on average from now on, in milli-calls.
    pub slots_mc: u64,
    /// Calls that may start now or within a boot, and have not.
    pub calls: u64,
    /// These calls as slots, if all were up at once: calls, not milli-calls, cut to what can be dialled in a mean hold.
    pub holding_ms: u64,
}

/// The slots that all lists open within a boot need together: the earliest deadlines first, whichever is tightest.
pub fn required(backlog: &[Backlog], holding: &Holding, at_ms: i64, policy: &StaffingPolicy) -> Required {
    let holding_ms = holding.mean_ms();
    let soon = at_ms + policy.boot_ms as i64;
    let mut lists: Vec<&Backlog> =
        backlog.iter().filter(|list| list.calls > 0 && list.open_ms <= soon).collect();
    lists.sort_by_key(|list| list.deadline_ms);
    let (mut calls, mut slots_mc) = (0, 0);
    for list in lists {
        calls += u64::from(list.calls);
        let span = (list.deadline_ms - at_ms.max(list.open_ms)).max(0) as u64;
        // Two hundredths of the time, and a while before the deadline, are kept for what nobody foresees.
        let left = (span * 98 / 100).saturating_sub(policy.finish_early_ms).max(SPREAD_LEAST_MS);
        slots_mc = slots_mc.max(ratio(calls * 1_000, holding_ms, left));
    }
    let most = u64::from(policy.dials_per_s) * holding_ms;
    Required { slots_mc: slots_mc.min(most), calls, holding_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> StaffingPolicy {
        StaffingPolicy { finish_early_ms: 0, ..StaffingPolicy::new(100, 90_000, 150_000, 680) }
    }

    #[test]
    fn the_tightest_deadline_counts_with_all_before_it() {
        let near = Backlog { open_ms: 0, deadline_ms: 1_000_000, calls: 1_000 };
        let far = Backlog { open_ms: 0, deadline_ms: 100_000_000, calls: 1_000 };
        let holding = Holding::default();
        let both = required(&[far, near], &holding, 0, &policy());
        // 1,000 calls of 30 s in 980 s.
        assert_eq!((both.slots_mc, both.calls), (30_612, 2_000));
        let later = Backlog { open_ms: 90_001, ..near };
        assert_eq!(
            required(&[later], &holding, 0, &policy()),
            Required { holding_ms: 30_000, ..Required::default() }
        );
    }

    #[test]
    fn what_cannot_be_dialled_is_not_asked_for() {
        let late = Backlog { open_ms: 0, deadline_ms: 10, calls: 4_000_000 };
        let asked = required(&[late], &Holding::default(), 0, &policy());
        assert_eq!(asked.slots_mc, 680 * 30_000);
    }

    #[test]
    fn holding_times_are_learnt() {
        let mut holding = Holding::default();
        for _ in 0..2_000 {
            holding.note(20, 20 * 60_000);
        }
        assert!(holding.mean_ms().abs_diff(60_000) < 200, "{}", holding.mean_ms());
    }
}

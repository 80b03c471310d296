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
/// How much of the time to its deadline a list is given; the rest is for what nobody foresees.
const USED_HUNDREDTHS: u64 = 98;
/// However long nothing ends, holding times fade as in so much time.
const FADE_MOST_MS: u64 = 60_000;

/// A list of calls still to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// From when on its calls may start.
    pub open_ms: i64,
    /// Until when they must have started.
    pub deadline_ms: i64,
    /// Calls not started yet.
    pub calls: u32,
    /// Slots it can use at most, whatever it asks for: a cap, or what its pace fills; 0 = no such limit.
    #[serde(default)]
    pub slots_most: u32,
}

impl Backlog {
    /// Calls that nobody wants by a time: as many slots as calls, as long as a call lasts half a minute. Shorter calls,
    /// and nodes that boot slowly, share fewer: a node launched for them works twice as long as it boots at least.
    pub fn at_once(calls: u32, slots_most: u32, at_ms: i64, policy: &StaffingPolicy) -> Self {
        let spread = SPREAD_LEAST_MS.max(2 * policy.boot_ms) + policy.finish_early_ms;
        let span = spread.saturating_mul(100).div_ceil(USED_HUNDREDTHS) as i64;
        Self { open_ms: at_ms, deadline_ms: at_ms.saturating_add(span), calls, slots_most }
    }

    /// Slots it needs on average to be through in `left_ms`, in milli-calls.
    fn slots_mc(&self, holding_ms: u64, left_ms: u64) -> u64 {
        let most = if self.slots_most == 0 { u64::MAX } else { u64::from(self.slots_most) * 1_000 };
        ratio(u64::from(self.calls) * 1_000, holding_ms, left_ms).min(most)
    }
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
        self.fade(1_000);
        self.add(ended, held_ms);
    }

    /// Lets what was seen before weigh less. A night without a call fades no more than a minute of calls.
    pub fn fade(&mut self, elapsed_ms: u64) {
        let keep = decay_ppb(elapsed_ms.min(FADE_MOST_MS), HOLD_MEMORY_MS);
        self.ended_mc = times(self.ended_mc, keep);
        self.held_ms_milli = times(self.held_ms_milli, keep);
    }

    /// Takes note of calls that ended, and of the time they held their slots in all.
    pub fn add(&mut self, ended: u32, held_ms: u64) {
        self.ended_mc = self.ended_mc.saturating_add(u64::from(ended) * 1_000);
        self.held_ms_milli = self.held_ms_milli.saturating_add(held_ms.saturating_mul(1_000));
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
    let soon = at_ms.saturating_add(policy.boot_ms as i64);
    let mut lists: Vec<&Backlog> =
        backlog.iter().filter(|list| list.calls > 0 && list.open_ms <= soon).collect();
    lists.sort_by_key(|list| list.deadline_ms);
    let (mut calls, mut slots_mc) = (0, 0);
    for (place, list) in lists.iter().enumerate() {
        calls += u64::from(list.calls);
        let span = list.deadline_ms.saturating_sub(at_ms.max(list.open_ms)).max(0) as u64;
        let left =
            ratio(span, USED_HUNDREDTHS, 100).saturating_sub(policy.finish_early_ms).max(SPREAD_LEAST_MS);
        let together = lists[..=place].iter().map(|list| list.slots_mc(holding_ms, left));
        slots_mc = slots_mc.max(together.fold(0, u64::saturating_add));
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
        let near = Backlog { deadline_ms: 1_000_000, calls: 1_000, ..Backlog::default() };
        let far = Backlog { deadline_ms: 100_000_000, calls: 1_000, ..Backlog::default() };
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
    fn a_deadline_beyond_all_days_is_far_off() {
        let never = Backlog { deadline_ms: i64::MAX, calls: 1_000, ..Backlog::default() };
        assert_eq!(required(&[never], &Holding::default(), -1, &policy()).slots_mc, 0);
    }

    #[test]
    fn what_cannot_be_dialled_is_not_asked_for() {
        let late = Backlog { deadline_ms: 10, calls: 4_000_000, ..Backlog::default() };
        let asked = required(&[late], &Holding::default(), 0, &policy());
        assert_eq!(asked.slots_mc, 680 * 30_000);
    }

    #[test]
    fn a_list_asks_for_no_more_than_it_can_use_and_the_others_for_all_the_same() {
        let capped = Backlog { deadline_ms: 10, calls: 4_000_000, slots_most: 7, ..Backlog::default() };
        let other = Backlog { deadline_ms: 1_000_000, calls: 1_000, ..Backlog::default() };
        let asked = |lists: &[Backlog]| required(lists, &Holding::default(), 0, &policy()).slots_mc;
        assert_eq!(asked(&[capped]), 7_000);
        assert_eq!(asked(&[other, capped]), 37_612);
    }

    #[test]
    fn calls_nobody_wants_by_a_time_get_a_slot_each_unless_boots_are_slow() {
        let slots = |policy: &StaffingPolicy| {
            let list = Backlog::at_once(60, 0, 1_000, policy);
            required(&[list], &Holding::default(), 1_000, policy).slots_mc.div_ceil(1_000)
        };
        assert_eq!(slots(&StaffingPolicy { boot_ms: 0, ..policy() }), 60);
        assert_eq!(slots(&StaffingPolicy { boot_ms: 0, finish_early_ms: 150_000, ..policy() }), 60);
        assert_eq!(slots(&policy()), 10, "spread over two boots of 90 s");
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

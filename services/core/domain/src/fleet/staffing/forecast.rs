//! How many inbound calls will be up when a node launched now can take them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::fixed::{ONE_PPB, decay_ppb, ratio, sqrt_mc, times};
use super::history::{BIN_MS, BINS, DAYS};
use super::policy::StaffingPolicy;

/// How long the level of today remembers.
pub const LEVEL_MEMORY_MS: u64 = 600_000;
/// What past days weigh against what today shows, in arrivals (milli-calls): days differ by about a fifth of their
/// level, which 25 arrivals measure as well.
pub const LEVEL_PRIOR_MC: u64 = 25_000;
/// Seconds of arrivals that are kept.
const RECENT_S: usize = 300;
/// Without a past the rate is that of so many seconds.
const RATE_S: usize = 180;
/// A burst that was seen is believed for so long.
const BURST_MS: u64 = 60_000;
const DAY_MS: u64 = BIN_MS * BINS as u64;

/// Calls that will be up after the lead time, in milli-calls: those up now end, and others arrive at `rate` (milli-calls
/// a second, by milliseconds from now).
pub fn up_after(up_mc: u64, policy: &StaffingPolicy, rate: impl Fn(u64) -> u64) -> u64 {
    const STEPS: u64 = 4;
    let step = policy.lead_ms() / STEPS;
    let stay = decay_ppb(step, policy.mean_hold_ms);
    (0..STEPS).fold(up_mc, |up, index| {
        let arriving = ratio(rate(index * step + step / 2), policy.mean_hold_ms, 1_000);
        times(up, stay) + times(arriving, ONE_PPB - stay)
    })
}

/// Two rates (milli-calls a second) of two spans of one length, the later first.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Of the later span.
    pub now: u64,
    /// Of the span before.
    pub before: u64,
}

impl Rates {
    /// The rate so much later if it goes on growing as it did from one span to the next; it is not expected to fall.
    pub fn ahead(self, by_ms: u64, span_ms: u64) -> u64 {
        self.now + ratio(self.now.saturating_sub(self.before), by_ms, span_ms)
    }
}

/// What tells a burst from chance.
pub mod burst {
    use super::{StaffingPolicy, sqrt_mc};

    /// Whether so many calls are too many for `expected_mc` to be chance.
    pub fn is_one(calls: u64, expected_mc: u64, policy: &StaffingPolicy) -> bool {
        let expected = expected_mc.max(1_000);
        calls * 1_000 > expected + sqrt_mc(expected) * policy.burst_deviations_milli / 1_000
    }
}

/// What is known of inbound calls today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// Expected arrivals, milli-calls a second, by weekday and bin; empty without a past.
    pub(super) shape: Vec<Vec<u64>>,
    seen_mc: u64,
    expected_mc: u64,
    recent: VecDeque<u32>,
    burst_until_ms: i64,
}

impl Inbound {
    /// Takes note of the arrivals of one second that ends at `at_ms`.
    pub fn note(&mut self, at_ms: i64, arrivals: u32) {
        self.recent.push_back(arrivals);
        if self.recent.len() > RECENT_S {
            self.recent.pop_front();
        }
        let keep = decay_ppb(1_000, LEVEL_MEMORY_MS);
        self.seen_mc = times(self.seen_mc, keep) + u64::from(arrivals) * 1_000;
        self.expected_mc = times(self.expected_mc, keep) + self.shape_at(at_ms - 500);
    }

    /// The forecast in milli-calls for the time after the lead, `up` calls being up at `at_ms`.
    pub fn forecast(&mut self, at_ms: i64, up: u32, policy: &StaffingPolicy) -> u64 {
        let up_mc = u64::from(up) * 1_000;
        let calm = if self.shape.is_empty() {
            self.by_trend(up_mc, policy)
        } else {
            up_after(up_mc, policy, |ahead_ms| self.level(self.shape_at(at_ms + ahead_ms as i64)))
        };
        let usual =
            if self.shape.is_empty() { self.rate(RATE_S) } else { self.level(self.shape_at(at_ms - 500)) };
        if burst::is_one(self.sum(20), usual * 20, policy) {
            self.burst_until_ms = at_ms + BURST_MS as i64;
        }
        if at_ms >= self.burst_until_ms {
            return calm;
        }
        let (now, growth) = (self.rate(30), self.growth(1_000));
        calm.max(up_after(up_mc, policy, |ahead_ms| now + growth * (ahead_ms.min(60_000) + 15_000) / 1_000))
    }

    /// Arrivals a second lately, in milli-calls.
    pub fn rate(&self, seconds: usize) -> u64 {
        let known = self.recent.len().clamp(1, seconds) as u64;
        self.sum(seconds) * 1_000 / known
    }

    /// Expected arrivals, milli-calls a second, by past days alone; 0 before the first day.
    pub(super) fn shape_at(&self, at_ms: i64) -> u64 {
        let Ok(at) = u64::try_from(at_ms) else { return 0 };
        let day = (at / DAY_MS) as usize % DAYS;
        let bin = (at % DAY_MS / BIN_MS) as usize;
        self.shape.get(day).and_then(|bins| bins.get(bin)).copied().unwrap_or(0)
    }

    /// Past days at the level of today.
    fn level(&self, rate: u64) -> u64 {
        ratio(rate, self.seen_mc + LEVEL_PRIOR_MC, self.expected_mc + LEVEL_PRIOR_MC)
    }

    /// Without a past: the rate of the last minutes, and half of its growth where that is more than chance. What comes and
    /// goes never grows for as long as a boot takes; what does grow is told by the burst as well.
    fn by_trend(&self, up_mc: u64, policy: &StaffingPolicy) -> u64 {
        let (usual, growth, minute) = (self.rate(RATE_S), self.growth(800), self.rate(60));
        up_after(up_mc, policy, |ahead_ms| {
            if growth == 0 { usual } else { usual.max(minute + growth * (30_000 + ahead_ms) / 2_000) }
        })
    }

    /// Growth of the rate, milli-calls a second and second, by the last two minutes, less so many thousandths of what
    /// chance makes of it.
    fn growth(&self, deviations_milli: u64) -> u64 {
        let last = self.sum(60);
        let before = self.sum(120) - last;
        let chance = sqrt_mc((last + before + 4) * 1_000) * deviations_milli / 1_000;
        (last * 1_000).saturating_sub(before * 1_000 + chance) / 3_600
    }

    fn sum(&self, seconds: usize) -> u64 {
        self.recent.iter().rev().take(seconds).map(|arrivals| u64::from(*arrivals)).sum()
    }
}

//! What past days teach about inbound calls: the shape of a day, and how much more than the forecast to hold ready.

use serde::{Deserialize, Serialize};

use super::fixed::{ONE_PPB, decay_ppb, ratio, sqrt_mc, times};
use super::forecast::{LEVEL_MEMORY_MS, LEVEL_PRIOR_MC, Rates, burst, up_after};
use super::policy::StaffingPolicy;

/// Length of a bin of history.
pub const BIN_MS: u64 = 30_000;
/// Bins of a day.
pub const BINS: usize = 2_880;
/// Days of history that are looked at: the last week.
pub const DAYS: usize = 7;
/// Bins on each side that smooth the shape of a day.
const SMOOTH_BINS: usize = 12;
/// A weekday whose total differs by more than this from the week's mean has a level of its own.
const OWN_LEVEL_PPM: u64 = 450_000;
/// By how much the target is relaxed, step by step, where no reserve meets it.
const RELAXED: [u64; 3] = [1, 3, 10];
/// Fewer arrivals than these in a day teach nothing.
const DAY_LEAST: u64 = 100;

/// Half a minute of the past, as folded from the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryBin {
    /// Day, 0 to 6, the oldest first. Day 0 is the same weekday as the first one that is planned.
    pub day: u32,
    /// Where in the day it begins.
    pub at_ms: u64,
    /// Inbound calls that arrived in it, turned away ones included.
    pub arrivals: u32,
    /// Inbound calls up when it began.
    pub busy: u32,
}

/// What is held ready beyond the forecast: `sqrt_milli / 1000` roots of it for chance, and a share for what nobody
/// announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// Thousandths of a square root.
    pub sqrt_milli: u64,
    /// Share of the forecast, in millionths.
    pub share_ppm: u64,
}

impl Reserve {
    /// For a fleet without a past: for chance alone, since nothing says how much comes unannounced.
    pub const UNTAUGHT: Self = Self { sqrt_milli: 2_500, share_ppm: 0 };

    /// The reserve for a forecast, both in milli-calls.
    pub fn of(self, calls_mc: u64) -> u64 {
        ratio(sqrt_mc(calls_mc), self.sqrt_milli, 1_000) + ratio(calls_mc, self.share_ppm, 1_000_000)
    }
}

/// A week of history as columns.
pub(super) struct Week {
    arrivals: Vec<Vec<u64>>,
    busy: Vec<Vec<u64>>,
    totals: Vec<u64>,
}

impl Week {
    /// Sorts bins into days; what does not fit into a week is left out. Nothing if no day teaches anything.
    pub(super) fn read(bins: &[HistoryBin]) -> Option<Self> {
        let mut arrivals = vec![vec![0; BINS]; DAYS];
        let mut busy = vec![vec![0; BINS]; DAYS];
        for bin in bins {
            let (day, index) = (bin.day as usize, (bin.at_ms / BIN_MS) as usize);
            if day < DAYS && index < BINS {
                arrivals[day][index] = u64::from(bin.arrivals);
                busy[day][index] = u64::from(bin.busy);
            }
        }
        let totals: Vec<u64> = arrivals.iter().map(|day| day.iter().sum()).collect();
        totals.iter().any(|total| *total >= DAY_LEAST).then_some(Self { arrivals, busy, totals })
    }

    /// Expected arrivals a second (milli-calls) in each bin of each weekday: the mean shape of all days that teach,
    /// smoothed, at the week's level, or at the weekday's own where that is plainly another one.
    pub(super) fn shape(&self) -> Vec<Vec<u64>> {
        let taught: Vec<usize> = (0..DAYS).filter(|day| self.totals[*day] >= DAY_LEAST).collect();
        let mean_share = |bin: usize| -> u64 {
            let shares = taught.iter().map(|day| ratio(self.arrivals[*day][bin], ONE_PPB, self.totals[*day]));
            shares.sum::<u64>() / taught.len().max(1) as u64
        };
        let raw: Vec<u64> = (0..BINS).map(mean_share).collect();
        let smooth: Vec<u64> = (0..BINS)
            .map(|bin| {
                let span = &raw[bin.saturating_sub(SMOOTH_BINS)..(bin + SMOOTH_BINS + 1).min(BINS)];
                span.iter().sum::<u64>() / span.len() as u64
            })
            .collect();
        let mean = self.totals.iter().sum::<u64>() / DAYS as u64;
        let level = |day: usize| {
            let total = self.totals[day];
            if ratio(total.abs_diff(mean), 1_000_000, mean) > OWN_LEVEL_PPM { total } else { mean }
        };
        (0..DAYS)
            .map(|day| {
                smooth
                    .iter()
                    .map(|share| ratio(*share, level(day) * 1_000, ONE_PPB) * 1_000 / BIN_MS)
                    .collect()
            })
            .collect()
    }

    /// The cheapest reserve that would have kept the blocked share of this week at or below the target.
    pub(super) fn reserve(&self, shape: &[Vec<u64>], policy: &StaffingPolicy) -> Reserve {
        let forecasts: Vec<Vec<u64>> =
            (0..DAYS).map(|day| self.forecasts(day, &shape[day], policy)).collect();
        // A week that no reserve would have served so well, by one burst as a rule: as well as it can be, before the
        // largest reserve is held all the time for its sake.
        let cheapest = RELAXED.iter().find_map(|times| {
            let target_ppm = policy.replay_target_ppm().saturating_mul(*times);
            self.cheapest(&forecasts, ratio(self.totals.iter().sum(), target_ppm, 1_000), policy)
        });
        cheapest.unwrap_or(Reserve { sqrt_milli: 6_200, share_ppm: 380_000 })
    }

    /// The cheapest reserve that turns away no more.
    fn cheapest(&self, forecasts: &[Vec<u64>], allowed_mc: u64, policy: &StaffingPolicy) -> Option<Reserve> {
        let mut best = None;
        for sqrt_step in 0..14 {
            for share_step in 0..20 {
                let reserve = Reserve { sqrt_milli: 1_000 + sqrt_step * 400, share_ppm: share_step * 20_000 };
                let trial = Trial { week: self, reserve, policy };
                let Some(cost) = trial.cost(forecasts, allowed_mc) else { continue };
                if best.is_none_or(|(cheapest, _)| cost < cheapest) {
                    best = Some((cost, reserve));
                }
                break; // a larger share costs more
            }
        }
        best.map(|(_, reserve)| reserve)
    }

    /// Forecasts as they would have been made at each bin of a day for the time a boot later.
    fn forecasts(&self, day: usize, shape: &[u64], policy: &StaffingPolicy) -> Vec<u64> {
        let keep = decay_ppb(BIN_MS, LEVEL_MEMORY_MS);
        let (mut seen, mut expected, mut burst_until) = (0, 0, 0);
        let mut out = Vec::with_capacity(BINS);
        for bin in 0..BINS {
            let level = |rate: u64| ratio(rate, seen + LEVEL_PRIOR_MC, expected + LEVEL_PRIOR_MC);
            let up_mc = self.busy[day][bin] * 1_000;
            let at = |ahead_ms: u64| shape[(bin + (ahead_ms / BIN_MS) as usize).min(BINS - 1)];
            let mut mean = up_after(up_mc, policy, |ahead_ms| level(at(ahead_ms)));
            if bin >= 2 {
                let (last, before) = (self.arrivals[day][bin - 1], self.arrivals[day][bin - 2]);
                if burst::is_one(last, level(shape[bin - 1]) * BIN_MS / 1_000, policy) {
                    burst_until = bin + 2;
                }
                if bin < burst_until {
                    let rates = Rates { now: last * 1_000_000 / BIN_MS, before: before * 1_000_000 / BIN_MS };
                    mean = mean.max(up_after(up_mc, policy, |_| rates.ahead(20_000, BIN_MS)));
                }
            }
            out.push(mean);
            seen = times(seen, keep) + self.arrivals[day][bin] * 1_000;
            expected = times(expected, keep) + shape[bin] * BIN_MS / 1_000;
        }
        out
    }
}

/// One reserve, tried on a week.
struct Trial<'a> {
    week: &'a Week,
    reserve: Reserve,
    policy: &'a StaffingPolicy,
}

impl Trial<'_> {
    /// Node-bins the week would have cost, or nothing as soon as more than `allowed_mc` calls were turned away.
    fn cost(&self, forecasts: &[Vec<u64>], allowed_mc: u64) -> Option<u64> {
        let (mut cost, mut blocked_mc) = (0, 0);
        for (day, means) in forecasts.iter().enumerate() {
            let nodes = self.nodes(day, means);
            cost += nodes.iter().sum::<u64>();
            blocked_mc += self.blocked(day, &nodes, allowed_mc.saturating_sub(blocked_mc));
            if blocked_mc > allowed_mc {
                return None;
            }
        }
        Some(cost)
    }

    /// Nodes there would have been, booting ones included: as many as wanted at once, and one fewer once it was not
    /// wanted for the hold time and its calls had time to end.
    fn nodes(&self, day: usize, means: &[u64]) -> Vec<u64> {
        let capacity_mc = u64::from(self.policy.capacity) * 1_000;
        let hold = (self.policy.hold_ms() / BIN_MS) as usize;
        let mut last_needed = vec![0_usize; 512];
        let (mut have, mut out) = (0_u64, Vec::with_capacity(means.len()));
        for (bin, mean) in means.iter().enumerate() {
            let want =
                if *mean < 500 { 0 } else { (mean + self.reserve.of(*mean)).div_ceil(capacity_mc) }.min(511);
            last_needed[..=want as usize].fill(bin);
            if have < want {
                have = want;
            } else if have > want && bin >= 6 && bin - last_needed[have as usize] > hold {
                let fits = (have - 1) * u64::from(self.policy.capacity);
                if self.week.busy[day][bin - 6..=bin].iter().all(|busy| *busy < fits) {
                    have -= 1;
                }
            }
            out.push(have);
        }
        out
    }

    /// Calls turned away, in milli-calls; counting stops above `enough`. The week's calls up are those of a fleet that
    /// turned nobody away: what is above the limit is cut off and leaves as calls end. Between two bins the calls
    /// reach higher than at either end, by 0.5826 of their deviation (Broadie, Glasserman and Kou 1997).
    fn blocked(&self, day: usize, nodes: &[u64], enough: u64) -> u64 {
        let boot = self.policy.boot_ms.div_ceil(BIN_MS).max(1) as usize;
        let ending = ONE_PPB - decay_ppb(BIN_MS, self.policy.mean_hold_ms);
        let busy = &self.week.busy[day];
        let (mut up, mut absent, mut blocked) = (busy[0] as i64 * 1_000, 0_u64, 0_u64);
        for bin in 1..nodes.len() {
            let ready = nodes[bin.saturating_sub(boot)..=bin].iter().min().copied().unwrap_or(0);
            let between = sqrt_mc(2_000 * self.week.arrivals[day][bin - 1]) * 5_826 / 10_000;
            let limit = (ready * u64::from(self.policy.capacity) * 1_000).saturating_sub(between) as i64;
            let unblocked = busy[bin] as i64 * 1_000;
            let next = up + unblocked - busy[bin - 1] as i64 * 1_000 + times(absent, ending) as i64;
            up = next.min(limit);
            blocked += (next - up) as u64;
            absent = (unblocked - up).max(0) as u64;
            if blocked > enough {
                break;
            }
        }
        blocked
    }
}

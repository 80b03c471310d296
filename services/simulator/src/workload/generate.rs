//! Random parts of workloads: rates of a day, arrivals, holding times, boots.

use asterism_domain::fleet::staffing::{BIN_MS, BINS, HistoryBin};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Gamma, LogNormal, Normal, Poisson};

use super::Call;

/// Quarters of an hour hold the level of a day's random walk.
const WALK_S: usize = 900;

/// What a day of inbound calls is made of.
pub(super) struct Day<'a> {
    /// Calls a second at the peak.
    pub peak: f64,
    /// Share of the peak by hour of the week, from 0.
    pub shape: &'a dyn Fn(f64) -> f64,
    /// Unannounced bursts a day, between 8 and 20 o'clock.
    pub bursts: f64,
    /// Mean and coefficient of variation of the holding time, in seconds.
    pub hold: (f64, f64),
}

impl Day<'_> {
    /// Calls a second in each second of a day: the shape, at a level of its own (gamma, 16 %), with a slow walk around it
    /// (AR(1) by quarters of an hour, 0.8, 8 %), and bursts of 60 % within a minute that decay in eight.
    pub fn rates(&self, rng: &mut ChaCha8Rng, day: i64) -> Vec<f64> {
        const SECONDS: usize = 86_400;
        let level = sample(rng, Gamma::new(40.0, 1.0 / 40.0));
        let mut walk = vec![sample(rng, Normal::new(0.0, 0.08 / (1.0 - 0.8_f64 * 0.8).sqrt()))];
        for index in 0..=SECONDS / WALK_S {
            let next = 0.8 * walk[index] + sample(rng, Normal::new(0.0, 0.08));
            walk.push(next);
        }
        let mut rates: Vec<f64> = (0..SECONDS)
            .map(|second| {
                let (index, part) = (second / WALK_S, (second % WALK_S) as f64 / WALK_S as f64);
                let walked = walk[index] * (1.0 - part) + walk[index + 1] * part;
                let hour = second as f64 / 3_600.0 + 24.0 * day as f64;
                self.peak * level * (self.shape)(hour) * walked.exp()
            })
            .collect();
        let bursts = if self.bursts > 0.0 { sample(rng, Poisson::new(self.bursts)) as usize } else { 0 };
        for _ in 0..bursts {
            let start = rng.random_range(8 * 3_600..20 * 3_600);
            for (after, rate) in rates[start..].iter_mut().enumerate().take(3_600) {
                let after = after as f64;
                *rate *=
                    1.0 + 0.6 * if after < 60.0 { after / 60.0 } else { (-(after - 60.0) / 480.0).exp() };
            }
        }
        rates
    }

    /// Calls that arrive at such rates, from `from_ms` on.
    pub fn calls(&self, rng: &mut ChaCha8Rng, rates: &[f64], from_ms: i64) -> Vec<Call> {
        let mut calls = Vec::new();
        for (second, rate) in rates.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
            let arriving = sample(rng, Poisson::new(*rate)) as usize;
            let from = calls.len();
            for _ in 0..arriving {
                let at_ms = from_ms + second as i64 * 1_000 + rng.random_range(0..1_000);
                calls.push(Call { at_ms, hold_ms: hold(rng, self.hold), deadline_ms: None });
            }
            calls[from..].sort_by_key(|call| call.at_ms);
        }
        calls
    }
}

fn sample<D: rand_distr::Distribution<f64>, E>(rng: &mut ChaCha8Rng, distribution: Result<D, E>) -> f64 {
    // The parameters are constants of this file or checked by its callers; a wrong one gives nothing.
    distribution.map_or(0.0, |distribution| distribution.sample(rng))
}

/// A log-normal holding time with a mean and a coefficient of variation, at most four hours.
pub(super) fn hold(rng: &mut ChaCha8Rng, (mean_s, variation): (f64, f64)) -> i64 {
    let square = (1.0 + variation * variation).ln();
    let seconds = sample(rng, LogNormal::new(mean_s.ln() - square / 2.0, square.sqrt()));
    ((seconds * 1_000.0) as i64).clamp(1_000, 4 * 3_600_000)
}

/// How long each of many boots takes: 15 % around the nominal, one in 200 never comes up.
pub(super) fn boots(rng: &mut ChaCha8Rng, nominal_ms: i64) -> Vec<i64> {
    let boot = |rng: &mut ChaCha8Rng| {
        let fails = rng.random_range(0..200) == 0;
        if fails { -1 } else { (nominal_ms as f64 * rng.random_range(0.85..1.15)) as i64 }
    };
    (0..997).map(|_| boot(rng)).collect()
}

/// A drifting share of outbound calls is answered (10 s and a log-normal 45); the others ring for 18 to 26 s.
pub(super) fn outbound(rng: &mut ChaCha8Rng, open_ms: i64, deadline_ms: i64, calls: u32) -> Vec<Call> {
    let mut answered = 0.35;
    let mut out = Vec::with_capacity(calls as usize);
    for index in 0..calls {
        if index % 2_000 == 0 {
            answered = (answered + sample(rng, Normal::new(0.0, 0.02))).clamp(0.22, 0.48);
        }
        let hold_ms = if rng.random_bool(answered) {
            10_000 + hold(rng, (45.0, 1.0))
        } else {
            rng.random_range(18_000..26_000)
        };
        out.push(Call { at_ms: open_ms, hold_ms, deadline_ms: Some(deadline_ms) });
    }
    out
}

/// Half-minutes of a day, as the log would have counted them.
pub(super) fn bins(day: u32, calls: &[Call], out: &mut Vec<HistoryBin>) {
    let bin_ms = BIN_MS as i64;
    let mut arrivals = vec![0_u32; BINS];
    let mut change = vec![0_i64; BINS + 1];
    for call in calls {
        if let Some(count) = arrivals.get_mut((call.at_ms / bin_ms) as usize) {
            *count += 1;
        }
        // Up at the beginning of a bin: arrived by then, and not ended.
        let first = ((call.at_ms + bin_ms - 1) / bin_ms) as usize;
        let past = ((call.at_ms + call.hold_ms + bin_ms - 1) / bin_ms) as usize;
        if first < past && first < BINS {
            change[first] += 1;
            change[past.min(BINS)] -= 1;
        }
    }
    let mut busy = 0;
    for (index, arrived) in arrivals.iter().enumerate() {
        busy += change[index];
        out.push(HistoryBin { day, at_ms: index as u64 * BIN_MS, arrivals: *arrived, busy: busy as u32 });
    }
}

//! Families of workloads, each made from a seed.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::generate::{Day, bins, boots, outbound};
use super::{DAY_MS, FleetFacts, List, Shortage, TrunkChange, TrunkEvent, Workload};
use crate::error::LabError;

/// Calls up at the peak, as a rule.
const PEAK: f64 = 1_500.0;
/// Mean and coefficient of variation of an inbound call, in seconds.
const HOLD: (f64, f64) = (150.0, 1.2);
const HOUR_MS: i64 = 3_600_000;
/// A stopped instance costs its volume: 20 GiB at 0.08 dollars a month, against 0.0816 dollars an hour.
const STANDING_PPM: i64 = 27_000;

/// A family of workloads.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    make: fn(u64) -> Workload,
}

impl Family {
    /// The workload of a seed.
    pub fn workload(&self, seed: u64) -> Workload {
        let mut workload = (self.make)(seed);
        workload.fleet.name = format!("{}-{seed}", self.name);
        self.name.clone_into(&mut workload.fleet.family);
        workload.fleet.seed = seed;
        workload.calls.sort_by_key(|call| call.at_ms);
        workload
    }
}

/// All families.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "smooth",
        about: "inbound, a day of two humps",
        make: |seed| inbound(seed, &days(0.0, 90_000)),
    },
    Family {
        name: "bursty",
        about: "the same with unannounced bursts of 60 % in a minute",
        make: |seed| inbound(seed, &days(4.0, 90_000)),
    },
    Family {
        name: "bursty-warm",
        about: "the same on stopped instances that boot in 30 s",
        make: |seed| {
            let mut workload = inbound(seed, &days(4.0, 30_000));
            workload.fleet.standing_ppm = STANDING_PPM;
            workload
        },
    },
    Family {
        name: "bursty-slow",
        about: "the same on nodes that boot in 300 s",
        make: |seed| inbound(seed, &days(4.0, 300_000)),
    },
    Family {
        name: "shortage",
        about: "bursty inbound, and the cloud has no instance from nine to ten",
        make: |seed| {
            let mut workload = inbound(seed, &days(4.0, 90_000));
            workload.fleet.shortages.push(Shortage { from_ms: 9 * HOUR_MS, until_ms: 10 * HOUR_MS });
            workload
        },
    },
    Family {
        name: "outage",
        about: "inbound whose trunk is down for forty minutes, and everybody calls again",
        make: outage,
    },
    Family { name: "weekly", about: "seven days, quiet weekends, dead nights", make: weekly },
    Family {
        name: "step",
        about: "inbound without a past that trebles at six o'clock",
        make: |seed| inbound(seed, &STEP),
    },
    Family {
        name: "flash",
        about: "inbound without a past that grows fourfold in six minutes",
        make: |seed| inbound(seed, &FLASH),
    },
    Family {
        name: "on-off",
        about: "inbound that comes and goes every 200 s",
        make: |seed| inbound(seed, &ON_OFF),
    },
    Family { name: "campaign", about: "600,000 outbound calls in four hours", make: campaign },
    Family {
        name: "mixed",
        about: "bursty inbound, and half as much outbound work by 22 o'clock",
        make: mixed,
    },
];

/// The family of a name.
pub fn family(name: &str) -> Result<&'static Family, LabError> {
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| LabError::Family {
        name: name.to_owned(),
        known: FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", "),
    })
}

/// How the inbound calls of a family come.
struct Inbound {
    shape: fn(f64) -> f64,
    bursts: f64,
    boot_ms: i64,
    days: i64,
    past: bool,
}

const fn days(bursts: f64, boot_ms: i64) -> Inbound {
    Inbound { shape: two_humps, bursts, boot_ms, days: 1, past: true }
}

const STEP: Inbound = Inbound { shape: step, bursts: 0.0, boot_ms: 90_000, days: 1, past: false };
const FLASH: Inbound = Inbound { shape: flash, bursts: 0.0, boot_ms: 90_000, days: 1, past: false };
const ON_OFF: Inbound = Inbound { shape: on_off, bursts: 0.0, boot_ms: 90_000, days: 1, past: false };

fn two_humps(hour: f64) -> f64 {
    let hour = hour.rem_euclid(24.0);
    let hump = |middle: f64, width: f64| (-(hour - middle) * (hour - middle) / (2.0 * width * width)).exp();
    0.06 + 0.94 * (0.95 * hump(10.5, 2.0) + hump(15.5, 2.4)).min(1.2) / 1.05
}

fn quiet_week(hour: f64) -> f64 {
    let (day, hour) = ((hour / 24.0) as i64 % 7, hour.rem_euclid(24.0));
    let level = if day >= 5 { 0.35 } else { 1.0 };
    if (6.0..22.0).contains(&hour) { level * two_humps(hour) } else { 0.0 }
}

fn step(hour: f64) -> f64 {
    match hour {
        hour if hour < 6.0 => 0.3,
        hour if hour < 14.0 => 1.0,
        _ => 0.45,
    }
}

fn flash(hour: f64) -> f64 {
    match hour {
        hour if hour < 9.0 => 0.25,
        hour if hour < 9.1 => 0.25 + 0.75 * (hour - 9.0) / 0.1,
        _ => 0.25 + 0.75 * (-(hour - 9.1) / 1.2).exp(),
    }
}

fn on_off(hour: f64) -> f64 {
    if (hour * 3_600.0) % 400.0 < 200.0 { 0.6 } else { 0.01 }
}

fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed.wrapping_mul(7_919) + 13)
}

fn facts(rng: &mut ChaCha8Rng, horizon_ms: i64, boot_ms: i64, mean_hold_s: f64) -> FleetFacts {
    FleetFacts {
        horizon_ms,
        prelaunch_ms: HOUR_MS,
        capacity: 100,
        boot_nominal_ms: boot_ms,
        boot_ms: boots(rng, boot_ms),
        min_bill_ms: 60_000,
        dials_per_s: 680,
        mean_inbound_hold_ms: (mean_hold_s * 1_000.0) as i64,
        ..FleetFacts::default()
    }
}

fn inbound(seed: u64, like: &Inbound) -> Workload {
    let mut rng = random(seed);
    let day = Day { peak: PEAK / HOLD.0, shape: &like.shape, bursts: like.bursts, hold: HOLD };
    let mut workload = Workload::default();
    for past in 0..if like.past { 7 } else { 0 } {
        let rates = day.rates(&mut rng, past);
        let calls = day.calls(&mut rng, &rates, 0);
        bins(past as u32, &calls, &mut workload.history);
    }
    for index in 0..like.days {
        let rates = day.rates(&mut rng, index);
        workload.calls.extend(day.calls(&mut rng, &rates, index * DAY_MS));
        workload.truth.extend(rates);
    }
    workload.fleet = facts(&mut rng, like.days * DAY_MS, like.boot_ms, HOLD.0);
    workload
}

/// From 14:00 one call in twenty comes through; from 14:40 on those who did not call again, within a quarter of an hour.
fn outage(seed: u64) -> Workload {
    let mut workload = inbound(seed, &days(0.0, 90_000));
    let mut rng = random(seed.wrapping_add(15_485_863));
    let (from_ms, until_ms) = (14 * HOUR_MS, 14 * HOUR_MS + 2_400_000);
    for call in &mut workload.calls {
        if (from_ms..until_ms).contains(&call.at_ms) && rng.random_bool(0.95) {
            call.at_ms = until_ms + (rng.random::<f64>().powi(2) * 900_000.0) as i64;
        }
    }
    let event = |t_ms, event| TrunkEvent { t_ms, event };
    workload.fleet.events =
        vec![event(from_ms, TrunkChange::TrunkDown), event(until_ms, TrunkChange::TrunkUp)];
    // Nobody knows the rate of such a day.
    workload.truth.clear();
    workload
}

fn weekly(seed: u64) -> Workload {
    inbound(seed, &Inbound { shape: quiet_week, bursts: 1.0, boot_ms: 90_000, days: 7, past: true })
}

fn add_list(workload: &mut Workload, rng: &mut ChaCha8Rng, list: List) {
    workload.calls.extend(outbound(rng, list.open_ms, list.deadline_ms, list.calls));
    workload.fleet.campaigns.push(list);
}

fn campaign(seed: u64) -> Workload {
    let mut rng = random(seed);
    let mut workload = Workload { fleet: facts(&mut rng, 8 * HOUR_MS, 90_000, 150.0), ..Workload::default() };
    add_list(&mut workload, &mut rng, List { open_ms: HOUR_MS, deadline_ms: 5 * HOUR_MS, calls: 600_000 });
    workload
}

fn mixed(seed: u64) -> Workload {
    let mut workload = inbound(seed, &days(3.0, 90_000));
    let mut rng = random(seed.wrapping_add(104_729));
    let work_ms: i64 = workload.calls.iter().map(|call| call.hold_ms).sum();
    let calls = (work_ms / 2 / 33_000) as u32;
    add_list(&mut workload, &mut rng, List { open_ms: 8 * HOUR_MS, deadline_ms: 22 * HOUR_MS, calls });
    workload
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_workload() {
        let smooth = family("smooth").expect("known");
        let (one, again, other) = (smooth.workload(1), smooth.workload(1), smooth.workload(2));
        assert_eq!(one.calls, again.calls);
        assert_eq!(one.fleet, again.fleet);
        assert_ne!(one.calls, other.calls);
        assert_eq!(one.history.len(), 7 * 2_880);
        let busiest = one.history.iter().map(|bin| bin.busy).max().expect("a past");
        assert!((800..4_000).contains(&busiest), "{busiest} calls up at most, wanted about {PEAK}");
    }

    #[test]
    fn bursts_are_there() {
        let grows = |name: &str| {
            let truth = family(name).expect("known").workload(3).truth;
            truth.windows(61).filter(|pair| pair[60] > pair[0] * 1.4 && pair[0] > 1.0).count()
        };
        assert_eq!(grows("smooth"), 0);
        assert!(grows("bursty") > 0);
    }

    #[test]
    fn an_unknown_family_is_told_what_there_is() {
        let error = family("bumpy").err().expect("unknown").to_string();
        assert!(error.contains("AST-W004") && error.contains("smooth, bursty"), "{error}");
    }
}

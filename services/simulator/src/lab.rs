//! The table: families by policies, each over several seeds.

use serde::Serialize;

use crate::account::{Account, account};
use crate::engine::run;
use crate::optimum::lower_bound;
use crate::policies;
use crate::workload::Family;

/// A policy's figures over the seeds of a family.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The family.
    pub family: String,
    /// The policy.
    pub policy: String,
    /// Seeds.
    pub seeds: u64,
    /// Mean cost against the clairvoyant lower bound.
    pub cost: f64,
    /// The same of the worst seed.
    pub cost_worst: f64,
    /// Mean share of inbound calls turned away, in percent.
    pub blocked_percent: f64,
    /// The same of the worst seed.
    pub blocked_percent_worst: f64,
    /// Outbound calls late or never started, over all seeds.
    pub late: u32,
    /// Calls cut by the end of a node, over all seeds.
    pub cut: u32,
    /// Other rules broken, over all seeds.
    pub fouls: u32,
    /// From the first inbound call turned away to the next one taken: the median of all such times, in seconds.
    pub to_capacity_p50_s: f64,
    /// The same, 99 % of them.
    pub to_capacity_p99_s: f64,
    /// Launches an hour.
    pub launches_per_hour: f64,
    /// Mean cost where each node is billed by the hour, against the same bound.
    pub cost_hourly: f64,
    /// Mean cost with that of a warm tier's stopped instances, against the same bound.
    pub cost_standing: f64,
}

/// Runs every policy on each of a family's seeds; `progress` hears of each seed that is done.
pub fn table(
    family: &Family,
    seeds: std::ops::RangeInclusive<u64>,
    mut progress: impl FnMut(u64),
) -> Vec<Row> {
    let mut rows: Vec<(String, Vec<Judged>)> = Vec::new();
    for seed in seeds {
        let workload = family.workload(seed);
        let bound = lower_bound(&workload);
        let hours = workload.fleet.horizon_ms as f64 / 3_600_000.0;
        for (place, policy) in policies::all(&workload).iter_mut().enumerate() {
            let run = run(&workload, policy.as_mut());
            let judged = Judged { account: account(&workload, &run), bound, hours };
            match rows.get_mut(place) {
                Some((_, seeds)) => seeds.push(judged),
                None => rows.push((policy.name(), vec![judged])),
            }
        }
        progress(seed);
    }
    rows.into_iter().map(|(policy, seeds)| row(family.name, policy, &seeds)).collect()
}

struct Judged {
    account: Account,
    bound: f64,
    hours: f64,
}

fn row(family: &str, policy: String, seeds: &[Judged]) -> Row {
    let mean =
        |value: &dyn Fn(&Judged) -> f64| seeds.iter().map(value).sum::<f64>() / seeds.len().max(1) as f64;
    let worst = |value: &dyn Fn(&Judged) -> f64| seeds.iter().map(value).fold(0.0, f64::max);
    let sum = |value: &dyn Fn(&Account) -> u32| seeds.iter().map(|judged| value(&judged.account)).sum();
    let cost = |judged: &Judged| judged.account.cost_ms as f64 / judged.bound;
    let blocked = |judged: &Judged| judged.account.blocked_percent();
    let mut full: Vec<i64> = seeds.iter().flat_map(|judged| judged.account.full_ms.iter().copied()).collect();
    full.sort_unstable();
    Row {
        family: family.to_owned(),
        policy,
        seeds: seeds.len() as u64,
        cost: mean(&cost),
        cost_worst: worst(&cost),
        blocked_percent: mean(&blocked),
        blocked_percent_worst: worst(&blocked),
        late: sum(&|account| account.late),
        cut: sum(&|account| account.cut),
        fouls: sum(&|account| account.fouls),
        to_capacity_p50_s: quantile_s(&full, 50),
        to_capacity_p99_s: quantile_s(&full, 99),
        launches_per_hour: mean(&|judged| f64::from(judged.account.launches) / judged.hours),
        cost_hourly: mean(&|judged| judged.account.billed_hours as f64 * 3_600_000.0 / judged.bound),
        cost_standing: mean(&|judged| {
            (judged.account.cost_ms + judged.account.standing_ms) as f64 / judged.bound
        }),
    }
}

/// The value that so many percent do not exceed, in seconds; 0 of none.
fn quantile_s(sorted_ms: &[i64], percent: usize) -> f64 {
    let last = sorted_ms.len().saturating_sub(1);
    sorted_ms.get((last * percent).div_ceil(100)).map_or(0.0, |ms| *ms as f64 / 1_000.0)
}

/// The rows as a text table.
pub fn text(rows: &[Row]) -> String {
    use std::fmt::Write as _;
    let mut out = format!(
        "{:12} {:22} {:>6} {:>6} {:>9} {:>9} {:>6} {:>4} {:>6} {:>6} {:>7} {:>8} {:>7} {:>8}\n",
        "family",
        "policy",
        "cost",
        "worst",
        "blocked %",
        "worst",
        "late",
        "cut",
        "fouls",
        "p50 s",
        "p99 s",
        "launch/h",
        "hourly",
        "standing"
    );
    for row in rows {
        let _ = writeln!(
            out,
            "{:12} {:22} {:>6.3} {:>6.3} {:>9.4} {:>9.4} {:>6} {:>4} {:>6} {:>6.1} {:>7.1} {:>8.1} {:>7.3} {:>8.3}",
            row.family,
            row.policy,
            row.cost,
            row.cost_worst,
            row.blocked_percent,
            row.blocked_percent_worst,
            row.late,
            row.cut,
            row.fouls,
            row.to_capacity_p50_s,
            row.to_capacity_p99_s,
            row.launches_per_hour,
            row.cost_hourly,
            row.cost_standing
        );
    }
    out
}

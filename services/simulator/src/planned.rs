//! A campaign before it is run: the plan production makes, in virtual time.
//!
//! `fleet::plan` itself decides, on a fleet that is folded by production's own reducer from the events such decisions are
//! in a log; the engine starts and ends the calls. So limits, launches a minute, budget and prices are those of the real
//! thing. What nobody knows (how long calls last, how many people have to be rung again) is drawn anew for each run.

mod alternatives;
pub(crate) mod fleet;

use std::collections::BTreeMap;

use asterism_domain::campaign::outlook::Outlook;
use asterism_domain::fleet::FleetPolicy;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use serde::Serialize;

use crate::engine::run;
use crate::workload::{Call, Caps, DAY_MS, FleetFacts, Workload};
pub use alternatives::{Alternative, alternatives};
use fleet::{Dialled, Planner};

/// Boots until one was seen.
const BOOT_MS: u64 = 90_000;
/// No plan looks farther ahead.
const HORIZON_MS: i64 = 14 * DAY_MS;
/// Calls that are simulated at most.
pub const CALLS_MAX: u64 = 5_000_000;
/// Pace where there is none.
const NO_PACE: u32 = 10_000;
/// Spread of what nobody has seen yet, in natural logarithms: a third up or down.
const UNSEEN_SPREAD: f64 = 0.3;
/// Spread that stays however much was seen.
const SEEN_SPREAD: f64 = 0.03;
/// How much a call's length varies around the mean.
const HOLD_VARIATION: f64 = 1.0;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The campaign.
    pub outlook: Outlook,
    /// Limits and prices.
    pub policy: FleetPolicy,
    /// Where nodes are launched: type and market.
    pub place: (String, String),
    /// Nodes of a hundred that are launched as spot, whatever the market there; the policy's prices have both.
    pub spot_percent: u32,
    /// Runs.
    pub seeds: u64,
}

/// One run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// From now to the end of the last call; none if it was not through within 14 days.
    pub finish_ms: Option<i64>,
    /// Calls that never started in time.
    pub late: u32,
    /// Calls that started.
    pub started: u32,
    /// What the nodes cost, micro-dollars.
    pub micro_usd: u64,
    /// Most nodes at once.
    pub peak_nodes: u32,
    /// Nodes that bill, where their number changes: from when on, how many.
    pub nodes: Vec<(i64, u32)>,
    /// The last plan that decided something, in its own words.
    pub last_plan: String,
}

/// Runs, and what lies between them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    /// The runs by their cost: the least, the middle one and the most.
    pub micro_usd: [u64; 3],
    /// From now to the end, the same; none if a run was not through within 14 days.
    pub finish_ms: [Option<i64>; 3],
    /// Late calls of the worst run.
    pub late: u32,
    /// Calls that are reckoned with in the middle run.
    pub calls: u32,
    /// Most nodes of the middle run.
    pub peak_nodes: u32,
    /// The middle run's nodes.
    pub nodes: Vec<(i64, u32)>,
    /// What the last plan of a run with late calls said; empty if there is none.
    pub held_back: String,
}

/// Runs the campaign with several draws of what nobody knows.
pub fn tell(asked: &Asked) -> Told {
    let mut runs: Vec<Outcome> = (1..=asked.seeds.max(1)).map(|seed| simulate(asked, seed)).collect();
    let ends = |runs: &mut Vec<Outcome>, key: fn(&Outcome) -> i64| {
        runs.sort_by_key(key);
        [0, runs.len() / 2, runs.len() - 1]
    };
    let order = ends(&mut runs, |run| run.finish_ms.unwrap_or(i64::MAX));
    let finish_ms = order.map(|at| runs[at].finish_ms);
    let order = ends(&mut runs, |run| i64::try_from(run.micro_usd).unwrap_or(i64::MAX));
    let micro_usd = order.map(|at| runs[at].micro_usd);
    let middle = runs[runs.len() / 2].clone();
    let late = runs.iter().map(|run| run.late).max().unwrap_or_default();
    let held_back = runs.iter().find(|run| run.late > 0).map(|run| run.last_plan.clone()).unwrap_or_default();
    let (calls, peak_nodes) = (middle.started + middle.late, middle.peak_nodes);
    Told { micro_usd, finish_ms, late, calls, peak_nodes, nodes: middle.nodes, held_back }
}

/// One run.
pub fn simulate(asked: &Asked, seed: u64) -> Outcome {
    let workload = workload(asked, seed);
    let dialled = Dialled {
        lists: (0..asked.outlook.lists.len()).map(|index| deadline_ms(&asked.outlook, index)).collect(),
        outlook: asked.outlook.clone(),
        runs: Vec::new(),
    };
    let boot_ms = workload.fleet.boot_nominal_ms as u64;
    let planner = Planner::new(vec![dialled], asked.policy.clone(), asked.place.clone(), boot_ms);
    let mut planner = planner.with_spot(asked.spot_percent);
    let done = run(&workload, &mut planner);
    let mut outcome = Outcome::default();
    for (call, placed) in workload.calls.iter().zip(&done.placements) {
        let Some((_, start)) = *placed else {
            outcome.late += 1;
            continue;
        };
        outcome.started += 1;
        let is_late = asked.outlook.until_ms.is_some() && call.deadline_ms.is_some_and(|until| start > until);
        outcome.late += u32::from(is_late);
        let end = start + call.hold_ms;
        outcome.finish_ms = Some(outcome.finish_ms.unwrap_or(0).max(end));
    }
    if outcome.late > 0 && asked.outlook.until_ms.is_none() {
        outcome.finish_ms = None;
    }
    outcome.micro_usd = planner.spent_micro_usd();
    outcome.peak_nodes = planner.peak_nodes();
    outcome.last_plan = planner.last_plan();
    outcome.nodes = planner.timeline;
    outcome
}

/// The campaign's calls. Their mean length and number are drawn: widely while little was seen.
fn workload(asked: &Asked, seed: u64) -> Workload {
    let outlook = &asked.outlook;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let spread = UNSEEN_SPREAD / (1.0 + outlook.attempts_seen as f64 / 20.0).sqrt() + SEEN_SPREAD;
    // The middle one of several runs is the one that expects what was learnt.
    let factor = |rng: &mut ChaCha8Rng| {
        if seed == 1 { 1.0 } else { LogNormal::new(0.0, spread).map_or(1.0, |drawn| drawn.sample(rng)) }
    };
    let mean_ms = outlook.learnt.holding().mean_ms() as f64 * factor(&mut rng);
    let again = factor(&mut rng);
    let square = (1.0 + HOLD_VARIATION * HOLD_VARIATION).ln();
    let hold = LogNormal::new(mean_ms.max(1.0).ln() - square / 2.0, square.sqrt()).ok();
    let (mut calls, mut hours, mut again_rows) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let now = outlook.at_ms as i64;
    for (index, list) in outlook.lists.iter().enumerate() {
        let until = outlook.until_ms.map_or(HORIZON_MS, |until| until as i64 - now);
        let deadline_ms = deadline_ms(outlook, index);
        let more = (f64::from(list.calls.saturating_sub(list.contacts)) * again) as usize;
        let first = calls.len();
        let all = list.contacts as usize + if list.contacts == 0 { 0 } else { more };
        for _ in 0..all {
            let drawn = hold.map_or(mean_ms, |hold| hold.sample(&mut rng));
            let hold_ms = (drawn as i64).clamp(1_000, 4 * 3_600_000);
            calls.push(Call { at_ms: 0, hold_ms, deadline_ms: Some(deadline_ms) });
        }
        let retry_ms = i64::try_from(outlook.retry_ms).unwrap_or(i64::MAX);
        for (before, next) in followers(first, list.contacts as usize, all) {
            again_rows.insert(before, (next, retry_ms));
        }
        if !list.hours.is_empty() {
            let from_now = |at: u64| i64::try_from(at).map_or(i64::MAX, |at| at.saturating_sub(now));
            let open = list.hours.iter().map(|(from, to)| (from_now(*from), from_now(*to)));
            // Nothing is started after the deadline.
            hours.insert(deadline_ms, open.map(|(from, to)| (from, to.min(until))).collect());
        } else if outlook.until_ms.is_some() {
            hours.insert(deadline_ms, vec![(0, until)]);
        }
    }
    let boot = match outlook.learnt.boot_ms() {
        0 => BOOT_MS,
        learnt => learnt,
    } as i64;
    let fleet = FleetFacts {
        name: outlook.name.clone(),
        horizon_ms: HORIZON_MS,
        capacity: asked.policy.node_capacity.max(1),
        boot_nominal_ms: boot,
        boot_ms: (0..97).map(|index| boot * (90 + index * 20 / 96) / 100).collect(),
        dials_per_s: if outlook.calls_per_second == 0 { NO_PACE } else { outlook.calls_per_second },
        ..FleetFacts::default()
    };
    let lists = (0..outlook.lists.len()).map(|index| deadline_ms(outlook, index)).collect();
    let caps = vec![Caps { lists, channels: outlook.max_channels, dials_per_s: 0 }];
    Workload { fleet, calls, hours, caps, again: again_rows, ..Workload::default() }
}

/// When the calls of a list must have started, from now; a millisecond tells the lists apart.
fn deadline_ms(outlook: &Outlook, index: usize) -> i64 {
    let until = outlook.until_ms.map_or(HORIZON_MS, |until| until as i64 - outlook.at_ms as i64);
    until - index as i64
}

/// Which call follows which: the calls beyond one a contact come after one of theirs, each round after the one before. As
/// many go on to the next round as the share of all that does: the last round has what is left.
fn followers(first: usize, contacts: usize, all: usize) -> Vec<(usize, usize)> {
    let share = |round: usize| round * (all - contacts) / all.max(1);
    let (mut pairs, mut round, mut next) = (Vec::new(), (first, contacts), first + contacts);
    while next < first + all && round.1 > 0 {
        let size = share(round.1).clamp(1, round.1).min(first + all - next);
        pairs.extend((0..size).map(|index| (round.0 + index * round.1 / size, next + index)));
        round = (next, size);
        next += size;
    }
    pairs
}

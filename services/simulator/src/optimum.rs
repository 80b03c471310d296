//! What a planner that knows every call in advance would pay at least.
//!
//! Calls may move between nodes and nothing is blocked, so the fleet is a staircase that splits into levels: level k is
//! up whenever more than k nodes' worth of calls are, and over a gap it is kept if the gap is shorter than a boot. That
//! is exact for this relaxed problem. Outbound work gets a price for each slot-second of its windows (Lagrange): every
//! price gives a valid bound, and the best of 21 is taken.

use crate::workload::Workload;

/// A span of time.
type Span = (i64, i64);

/// Node-milliseconds nobody can beat without turning a call away.
pub fn lower_bound(workload: &Workload) -> f64 {
    let fleet = &workload.fleet;
    let boot = fleet.boot_nominal_ms;
    let inbound = || workload.calls.iter().filter(|call| call.deadline_ms.is_none());
    let up = up(inbound().map(|call| (call.at_ms, call.hold_ms)), fleet.horizon_ms);
    let levels = levels(&up, i64::from(fleet.capacity));
    let alone = |level: &Vec<Span>| -> i64 {
        let up: i64 = level.iter().map(|(from, to)| to - from).sum();
        boot + up + level.windows(2).map(|pair| (pair[1].0 - pair[0].1).min(boot)).sum::<i64>()
    };
    let base: i64 = levels.iter().map(alone).sum();
    let lists = lists(workload);
    if lists.is_empty() {
        return base as f64;
    }
    let work: i64 = lists.iter().map(|list| list.work).sum();
    let capacity = f64::from(fleet.capacity);
    if up.is_empty() {
        return work as f64 / capacity + least_nodes(&lists, capacity) * boot as f64;
    }
    let windows = windows(&lists);
    let inside = |time: i64| -> i64 { windows.iter().map(|(from, to)| time.clamp(*from, *to) - from).sum() };
    let inbound_inside: f64 =
        up.windows(2).map(|pair| pair[0].1 as f64 * (inside(pair[1].0) - inside(pair[0].0)) as f64).sum();
    let bound = |mu: f64| {
        let cost = |(from, to): Span| (to - from) as f64 - mu * (inside(to) - inside(from)) as f64;
        let level_cost = |level: &Vec<Span>| {
            let up: f64 = level.iter().map(|span| cost(*span)).sum();
            let gaps = level.windows(2).map(|pair| cost((pair[0].1, pair[1].0)).min(boot as f64));
            boot as f64 + up + gaps.sum::<f64>()
        };
        mu * (work as f64 + inbound_inside) / capacity + levels.iter().map(level_cost).sum::<f64>()
    };
    (0..=20).map(|step| bound(f64::from(step) / 20.0)).fold(base as f64, f64::max)
}

/// Times and the number of calls up from each on, to the horizon.
fn up(calls: impl Iterator<Item = (i64, i64)>, horizon_ms: i64) -> Vec<(i64, i64)> {
    let mut changes = Vec::new();
    for (at, hold) in calls.filter(|(at, _)| *at < horizon_ms) {
        changes.push((at, 1));
        changes.push(((at + hold).min(horizon_ms), -1));
    }
    changes.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::new();
    let mut up = 0;
    for (at, change) in changes {
        up += change;
        match out.last_mut() {
            Some(last) if last.0 == at => last.1 = up,
            _ => out.push((at, up)),
        }
    }
    out
}

/// For each node of the staircase: the spans it must be up in.
fn levels(up: &[(i64, i64)], capacity: i64) -> Vec<Vec<Span>> {
    let most = up.iter().map(|(_, calls)| *calls).max().unwrap_or(0);
    let nodes = (most + capacity - 1) / capacity;
    let level = |below: i64| {
        let (mut spans, mut since) = (Vec::new(), None);
        for (at, calls) in up {
            if *calls > below * capacity {
                since.get_or_insert(*at);
            } else if let Some(from) = since.take() {
                spans.push((from, *at));
            }
        }
        spans
    };
    (0..nodes).map(level).collect()
}

/// A list's work; times in milliseconds.
struct List {
    opens: i64,
    deadline: i64,
    work: i64,
    longest: i64,
}

fn lists(workload: &Workload) -> Vec<List> {
    let mut lists: Vec<List> = Vec::new();
    for call in &workload.calls {
        let Some(deadline_ms) = call.deadline_ms else { continue };
        let known = lists.iter_mut().find(|list| list.opens == call.at_ms && list.deadline == deadline_ms);
        match known {
            Some(list) => {
                list.work += call.hold_ms;
                list.longest = list.longest.max(call.hold_ms);
            }
            None => lists.push(List {
                opens: call.at_ms,
                deadline: deadline_ms,
                work: call.hold_ms,
                longest: call.hold_ms,
            }),
        }
    }
    lists
}

/// The fewest nodes whose slots hold the work of every set of lists that lies between an opening and a deadline.
fn least_nodes(lists: &[List], capacity: f64) -> f64 {
    let mut least: f64 = 0.0;
    for from in lists {
        for to in lists.iter().filter(|to| to.deadline > from.opens) {
            let within = || lists.iter().filter(|l| l.opens >= from.opens && l.deadline <= to.deadline);
            let longest = within().map(|list| list.longest).max().unwrap_or(0);
            let work: i64 = within().map(|list| list.work).sum();
            let span = to.deadline - from.opens + longest;
            least = least.max((work as f64 / (capacity * span as f64)).ceil());
        }
    }
    least
}

/// When outbound calls may be up: from an opening to the end of the last call that starts in time.
fn windows(lists: &[List]) -> Vec<Span> {
    let mut spans: Vec<Span> = lists.iter().map(|list| (list.opens, list.deadline + list.longest)).collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::workload::{Call, FleetFacts};

    /// The cheapest fleet over time: every fleet of up to `most` nodes considered at every step.
    fn by_dynamic_programme(need: &[i64], step: i64, boot: i64, most: usize) -> i64 {
        let mut cost: Vec<i64> = (0..=most as i64).map(|nodes| nodes * boot).collect();
        for (index, need) in need.iter().enumerate() {
            if index > 0 {
                let (mut down, mut up) = (cost.clone(), cost);
                (0..most).rev().for_each(|nodes| down[nodes] = down[nodes].min(down[nodes + 1]));
                (1..=most).for_each(|nodes| up[nodes] = up[nodes].min(up[nodes - 1] + boot));
                cost = down.into_iter().zip(up).map(|(down, up)| down.min(up)).collect();
            }
            for (nodes, cost) in cost.iter_mut().enumerate() {
                *cost = if nodes as i64 >= *need { *cost + nodes as i64 * step } else { i64::MAX / 4 };
            }
        }
        cost.into_iter().min().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn the_bound_is_the_cheapest_of_all_fleets(
            calls in prop::collection::vec((0_i64..59, 1_i64..25), 1..80),
            boot in 1_i64..12,
        ) {
            const STEP: i64 = 10_000;
            let call = |(at, hold): &(i64, i64)| Call { at_ms: at * STEP, hold_ms: hold * STEP, deadline_ms: None };
            let fleet = FleetFacts {
                horizon_ms: 60 * STEP, capacity: 3, boot_nominal_ms: boot * STEP, ..FleetFacts::default()
            };
            let workload = Workload { fleet, calls: calls.iter().map(call).collect(), ..Workload::default() };
            let need: Vec<i64> = (0..60)
                .map(|step| calls.iter().filter(|(at, hold)| *at <= step && step < at + hold).count() as i64)
                .map(|calls| (calls + 2) / 3)
                .collect();
            prop_assert_eq!(lower_bound(&workload) as i64, by_dynamic_programme(&need, STEP, boot * STEP, 40));
        }
    }
}

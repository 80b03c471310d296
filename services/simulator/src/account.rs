//! What a run cost and whom it harmed, recomputed from its nodes and placements alone; what breaks a rule is a foul.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::Run;
use crate::workload::Workload;

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Node-milliseconds billed.
    pub cost_ms: i64,
    /// Node-hours, each node rounded up to hours.
    pub billed_hours: i64,
    /// Node-milliseconds a warm tier costs beyond them: its instances while they are stopped.
    pub standing_ms: i64,
    /// Nodes launched.
    pub launches: u32,
    /// Inbound calls.
    pub inbound: u32,
    /// Inbound calls turned away.
    pub blocked: u32,
    /// Outbound calls.
    pub outbound: u32,
    /// Outbound calls started after their deadline, or never.
    pub late: u32,
    /// Calls that outlive their node.
    pub cut: u32,
    /// Other rules broken: nodes overfull, not ready, closed or ended, calls early, too many dials in a second.
    pub fouls: u32,
    /// How long the fleet was full, each time: from the first inbound call turned away to the next one taken.
    pub full_ms: Vec<i64>,
}

impl Account {
    /// Share of inbound calls that were turned away, in percent.
    pub fn blocked_percent(&self) -> f64 {
        if self.inbound == 0 { 0.0 } else { 100.0 * f64::from(self.blocked) / f64::from(self.inbound) }
    }
}

/// From need to capacity, each time there was none: calls are in the order of their arrivals.
fn full(workload: &Workload, run: &Run) -> Vec<i64> {
    let (mut since, mut spells) = (None, Vec::new());
    let inbound = workload.calls.iter().zip(&run.placements).filter(|(call, _)| call.deadline_ms.is_none());
    for (call, placed) in inbound {
        match (placed, since) {
            (None, None) => since = Some(call.at_ms),
            (Some(_), Some(from)) => {
                spells.push(call.at_ms - from);
                since = None;
            }
            _ => {}
        }
    }
    spells.extend(since.map(|from| workload.fleet.horizon_ms - from));
    spells
}

/// Judges a run.
pub fn account(workload: &Workload, run: &Run) -> Account {
    let launches = run.nodes.len() as u32;
    let mut account = Account { launches, full_ms: full(workload, run), ..Account::default() };
    bill(workload, run, &mut account);
    let mut dials: BTreeMap<i64, u32> = BTreeMap::new();
    let mut loads: Vec<Vec<(i64, i32)>> = vec![Vec::new(); run.nodes.len()];
    for (call, placed) in workload.calls.iter().zip(&run.placements) {
        match call.deadline_ms {
            None => account.inbound += 1,
            Some(_) => account.outbound += 1,
        }
        let Some((index, start)) = *placed else {
            match call.deadline_ms {
                None => account.blocked += 1,
                Some(_) => account.late += 1,
            }
            continue;
        };
        let early = start < call.at_ms || (call.deadline_ms.is_none() && start > call.at_ms);
        account.fouls += u32::from(early);
        if let Some(deadline) = call.deadline_ms {
            account.late += u32::from(start > deadline);
            *dials.entry(start.div_euclid(1_000)).or_default() += 1;
        }
        let Some(node) = run.nodes.get(index) else {
            account.fouls += 1;
            continue;
        };
        let closed =
            node.drain_ms.is_some_and(|drain| start > drain) || node.end_ms.is_some_and(|end| start >= end);
        account.fouls += u32::from(start < node.ready_ms || closed);
        let outlives = |end: i64| start + call.hold_ms > end && end < workload.fleet.horizon_ms;
        account.cut += u32::from(node.end_ms.is_some_and(outlives));
        loads[index].push((start, 1));
        loads[index].push((start + call.hold_ms, -1));
    }
    account.fouls += dials.values().filter(|dials| **dials > workload.fleet.dials_per_s).count() as u32;
    for load in &mut loads {
        load.sort_unstable(); // ends before starts of one millisecond
        let mut calls = 0;
        for (_, step) in load {
            calls += *step;
            account.fouls += u32::from(*step > 0 && calls > workload.fleet.capacity as i32);
        }
    }
    account
}

fn bill(workload: &Workload, run: &Run, account: &mut Account) {
    let horizon = workload.fleet.horizon_ms;
    for node in run.nodes.iter().filter(|node| node.launch_ms < horizon) {
        let up = node.end_ms.unwrap_or(horizon).min(horizon) - node.launch_ms;
        account.cost_ms += up.max(workload.fleet.min_bill_ms);
        account.billed_hours += (up.max(1) + 3_599_999) / 3_600_000;
    }
    account.standing_ms = standing(workload, run, account.cost_ms);
}

/// What stopped instances cost: as many as the busiest moment of the past week needs and a third more, or as there were
/// nodes at once, less those that run.
fn standing(workload: &Workload, run: &Run, running_ms: i64) -> i64 {
    let fleet = &workload.fleet;
    let busiest = workload.history.iter().map(|bin| i64::from(bin.busy)).max().unwrap_or(0);
    let foreseen = (busiest * 4 + 2) / 3 / i64::from(fleet.capacity.max(1)) + 1;
    let mut steps: Vec<(i64, i64)> = Vec::new();
    for node in &run.nodes {
        steps.push((node.launch_ms, 1));
        steps.extend(node.end_ms.map(|end| (end, -1)));
    }
    steps.sort_unstable();
    let at_once = steps.iter().scan(0, |up, (_, step)| {
        *up += step;
        Some(*up)
    });
    let kept = foreseen.max(at_once.max().unwrap_or(0));
    (kept * fleet.horizon_ms - running_ms).max(0) / 1_000 * fleet.standing_ppm / 1_000
}

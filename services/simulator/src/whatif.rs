//! A recorded log under another policy: the same calls, boots and hours, other nodes and another bill.
//!
//! Beside it stands the log's own policy, replayed in the same way: what differs between that and what really happened is
//! the simulation's, not the policy's.

use asterism_domain::fleet::prices::micro_usd;
use asterism_domain::fleet::{Billing, FleetPolicy, NodePrice, PriceLine, Prices};
use serde::{Deserialize, Serialize};

use crate::engine::{NodeLife, Orders, Policy, Run, View, run};
use crate::planned::fleet::Planner;
use crate::policies::{Buffer, StaticPeak, Steps, Threshold, Tracking};
use crate::recorded::Log;

/// Which policy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Production's plan.
    #[default]
    Asterism,
    /// A share of the slots used is aimed at.
    TargetTracking,
    /// Steps above and below.
    StepScaling,
    /// One node more above a load, one less below.
    Threshold,
    /// A share of the slots is free.
    Buffer,
    /// As many as the busiest moment needs, all the time.
    StaticPeak,
}

/// What is asked: where a field is nothing, it is as in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// Which policy decides.
    pub rule: Rule,
    /// Its share in percent: of `target-tracking` and `buffer`.
    pub percent: Option<u32>,
    /// Call slots of a node.
    pub node_capacity: Option<u32>,
    /// Nodes kept without work.
    pub min_nodes: Option<u32>,
    /// Nodes at most.
    pub max_nodes: Option<u32>,
    /// Launches in a minute.
    pub launch_per_minute: Option<u32>,
    /// Of a node, micro-dollars.
    pub price_micro_usd_per_hour: Option<u64>,
    /// How time is billed.
    pub billing: Option<Bill>,
    /// Of all nodes together, micro-dollars; 0 = no limit.
    pub max_micro_usd_per_hour: Option<u64>,
    /// In all, micro-dollars; 0 = no limit.
    pub budget_micro_usd: Option<u64>,
    /// What every boot takes.
    pub boot_ms: Option<u64>,
}

/// How time is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bill {
    /// As it passes.
    Second,
    /// Each begun hour.
    Hour,
}

impl Asked {
    /// What is out of bounds, in words.
    pub fn problem(&self) -> Option<String> {
        const MILLION: u64 = 1_000_000;
        let count = |value: Option<u32>| value.map(u64::from);
        let bounds = [
            ("percent", count(self.percent), 1, 99),
            ("node_capacity", count(self.node_capacity), 1, 10_000),
            ("min_nodes", count(self.min_nodes), 0, 10_000),
            ("max_nodes", count(self.max_nodes), 1, 10_000),
            ("launch_per_minute", count(self.launch_per_minute), 1, 10_000),
            ("price_micro_usd_per_hour", self.price_micro_usd_per_hour, 0, 1_000 * MILLION),
            ("max_micro_usd_per_hour", self.max_micro_usd_per_hour, 0, MILLION * MILLION),
            ("budget_micro_usd", self.budget_micro_usd, 0, MILLION * MILLION),
            ("boot_ms", self.boot_ms, 1_000, 3_600_000),
        ];
        let outside = |(_, value, least, most): &&(&str, Option<u64>, u64, u64)| {
            value.is_some_and(|value| !(*least..=*most).contains(&value))
        };
        if let Some((name, value, least, most)) = bounds.iter().find(outside) {
            return Some(format!("{name} is {}, expected {least} to {most}", value.unwrap_or_default()));
        }
        let has_share = matches!(self.rule, Rule::TargetTracking | Rule::Buffer);
        if has_share != self.percent.is_some() {
            return Some(
                "percent goes with the rules target-tracking and buffer, and with no other".to_owned(),
            );
        }
        let (min, max) = (self.min_nodes?, self.max_nodes?);
        (min > max).then(|| format!("min_nodes is {min}, more than max_nodes ({max})"))
    }
}

/// What a fleet did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Calls that were made in time.
    pub done: u32,
    /// People or calls left without one: the deadline came first, or the campaign was stopped.
    pub late: u32,
    /// Calls for which their node had no slot: decided, and refused by it. In a replay, inbound ones that found none.
    pub blocked: u32,
    /// Nodes launched.
    pub nodes: u32,
    /// Most of them at once.
    pub peak_nodes: u32,
    /// How long they ran in all, milliseconds.
    pub node_ms: u64,
    /// What they cost, micro-dollars.
    pub micro_usd: u64,
    /// From the beginning to the end of the last call.
    pub took_ms: u64,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct WhatIf {
    /// Calls that are replayed.
    pub calls: u32,
    /// What really happened.
    pub recorded: Figures,
    /// The log's own policy, simulated.
    pub replayed: Figures,
    /// The other policy.
    pub asked: Figures,
}

/// Replays a log.
pub fn what_if(log: &Log, asked: &Asked) -> WhatIf {
    WhatIf {
        calls: u32::try_from(log.workload.calls.len()).unwrap_or(u32::MAX),
        recorded: log.figures.clone(),
        replayed: replay(log, &Asked::default()),
        asked: replay(log, asked),
    }
}

/// The log's limits and prices with what is asked in their place.
fn policy(log: &Log, asked: &Asked) -> FleetPolicy {
    let fleet = &log.state.fleet;
    let limits = fleet.limited.limits.unwrap_or_default();
    let own = fleet.nodes.values().find_map(|node| node.price).unwrap_or_default();
    let mut price = own;
    price.micro_usd_per_hour = asked.price_micro_usd_per_hour.unwrap_or(own.micro_usd_per_hour);
    match asked.billing {
        Some(Bill::Second) => price.billing = Billing::Second,
        Some(Bill::Hour) => price = NodePrice { billing: Billing::Hour, least_ms: 0, ..price },
        None => {}
    }
    let (instance_type, market) = (String::new(), String::new());
    let line = PriceLine { instance_type, market, price, slots: 0 };
    FleetPolicy {
        min_nodes: asked.min_nodes.unwrap_or(0),
        max_nodes: asked.max_nodes.unwrap_or(if limits.max_nodes == 0 { 10_000 } else { limits.max_nodes }),
        node_capacity: asked.node_capacity.unwrap_or(log.workload.fleet.capacity),
        price_micro_usd_per_hour: price.micro_usd_per_hour,
        prices: Some(Prices { lines: vec![line], ..Prices::default() }),
        max_micro_usd_per_hour: asked.max_micro_usd_per_hour.unwrap_or(limits.max_micro_usd_per_hour),
        budget_micro_usd: asked.budget_micro_usd.unwrap_or(limits.budget_micro_usd),
        launches_per_minute: asked.launch_per_minute.unwrap_or(match limits.launches_per_minute {
            0 => 10_000,
            launches => launches,
        }),
        // A recorded boot may be long, and it did end.
        boot_deadline_ms: 600_000,
        ..FleetPolicy::default()
    }
}

fn replay(log: &Log, asked: &Asked) -> Figures {
    let policy = policy(log, asked);
    let mut workload = log.workload.clone();
    workload.fleet.capacity = policy.node_capacity;
    if let Some(boot_ms) = asked.boot_ms {
        workload.fleet.boot_nominal_ms = boot_ms as i64;
        workload.fleet.boot_ms = vec![boot_ms as i64];
    }
    let boot_ms = workload.fleet.boot_nominal_ms;
    let stays_ms = log.state.at.saturating_sub(log.began) as i64;
    let percent = asked.percent.unwrap_or_default();
    let baseline: Box<dyn Policy> = match asked.rule {
        Rule::Asterism => {
            let place = (String::new(), String::new());
            let planner = Planner::new(log.dialled(), policy.clone(), place, boot_ms as u64);
            let mut watched = Watched::new(planner.staying(stays_ms));
            let run = run(&workload, &mut watched);
            return figures(&workload.calls, &run, watched.at_ms, &policy);
        }
        Rule::TargetTracking => Box::new(Tracking::new(percent)),
        Rule::StepScaling => Box::new(Steps::default()),
        Rule::Threshold => Box::new(Threshold::new(boot_ms)),
        Rule::Buffer => Box::new(Buffer::new(percent)),
        Rule::StaticPeak => Box::new(StaticPeak::new(&workload)),
    };
    let mut watched =
        Watched::new(Bounded { inner: baseline, policy: policy.clone(), stays_ms, done: false });
    let run = run(&workload, &mut watched);
    figures(&workload.calls, &run, watched.at_ms, &policy)
}

/// A policy, and how far its run went.
struct Watched<P> {
    inner: P,
    at_ms: i64,
}

impl<P: Policy> Watched<P> {
    fn new(inner: P) -> Self {
        Self { inner, at_ms: 0 }
    }
}

impl<P: Policy> Policy for Watched<P> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        self.at_ms = view.at_ms;
        self.inner.look(view)
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}

/// What others do, within the limit of nodes, until nothing is left.
struct Bounded {
    inner: Box<dyn Policy>,
    policy: FleetPolicy,
    stays_ms: i64,
    done: bool,
}

impl Policy for Bounded {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        let mut orders = self.inner.look(view);
        let room = self.policy.max_nodes.saturating_sub(view.nodes.len() as u32);
        orders.launch = orders.launch.min(room);
        let calls = view.backlog.iter().map(|list| list.calls).chain(view.later.iter().copied());
        let open = view.backlog.iter().any(|list| view.at_ms <= list.deadline_ms);
        let left = open && calls.sum::<u32>() > 0;
        let stays = self.policy.min_nodes > 0 && view.at_ms < self.stays_ms;
        self.done = !left && view.outbound_up == 0 && !stays;
        orders
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

fn figures(calls: &[crate::workload::Call], run: &Run, end_ms: i64, policy: &FleetPolicy) -> Figures {
    let mut figures = Figures { nodes: run.nodes.len() as u32, ..Figures::default() };
    for (call, placed) in calls.iter().zip(&run.placements) {
        match (placed, call.deadline_ms) {
            (Some((_, start)), deadline) if deadline.is_none_or(|deadline| *start <= deadline) => {
                figures.done += 1;
                figures.took_ms = figures.took_ms.max((start + call.hold_ms).max(0).unsigned_abs());
            }
            (None, None) => figures.blocked += 1,
            _ => figures.late += 1,
        }
    }
    let price = policy.prices.as_ref().and_then(|prices| prices.lines.first()).map(|line| line.price);
    let mut cost = 0_u128;
    let mut steps: Vec<(i64, i32)> = Vec::new();
    for NodeLife { launch_ms, end_ms: ended, .. } in &run.nodes {
        let lived = (ended.unwrap_or(end_ms) - launch_ms).max(0).unsigned_abs();
        figures.node_ms += lived;
        cost += price.unwrap_or_default().new_for(lived);
        steps.extend([(*launch_ms, 1), (ended.unwrap_or(i64::MAX), -1)]);
    }
    steps.sort_unstable();
    let mut at_once = 0;
    for (_, step) in steps {
        at_once += step;
        figures.peak_nodes = figures.peak_nodes.max(at_once.unsigned_abs());
    }
    figures.micro_usd = micro_usd(cost);
    figures
}

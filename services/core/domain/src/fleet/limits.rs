//! What no plan may go beyond, as the log has it: nodes, launches a minute and money (INV-06).
//!
//! Each plan carries the limits and the price it was made under, and they hold from there on: a launch is judged again
//! where it lands, and an auditor needs no configuration file to see that none went beyond them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::plan::FleetPolicy;
use super::state::Fleet;
use crate::ids::Timestamp;
use crate::state::Effectless;

/// Time in which launches are counted.
pub(super) const LAUNCH_SPAN_MS: u64 = 60_000;

/// The limits of a fleet, and what a node costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLimits {
    /// Nodes at most, booting and owed ones included.
    pub max_nodes: u32,
    /// Launches at most in any 60 s.
    pub launches_per_minute: u32,
    /// Whole budget, micro-dollars; 0 = none set.
    pub budget_micro_usd: u64,
    /// Price of a node, micro-dollars an hour.
    pub price_micro_usd_per_hour: u64,
}

impl FleetLimits {
    /// What node time costs, micro-dollars, billed by the millisecond.
    pub fn cost_micro_usd(&self, node_ms: u64) -> u64 {
        let cost = u128::from(node_ms) * u128::from(self.price_micro_usd_per_hour) / 3_600_000;
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}

impl From<&FleetPolicy> for FleetLimits {
    fn from(policy: &FleetPolicy) -> Self {
        Self {
            max_nodes: policy.max_nodes,
            launches_per_minute: policy.launches_per_minute,
            budget_micro_usd: policy.budget_micro_usd,
            price_micro_usd_per_hour: policy.price_micro_usd_per_hour,
        }
    }
}

/// The limits as the log has them, and what is counted against them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Those of the newest plan; logs of older versions have none.
    pub limits: Option<FleetLimits>,
    /// More nodes than `max_nodes`: as many there were when it was lowered, or when the cloud launched one it had refused.
    pub above_max: u32,
    /// What node time cost before the price was last set, micro-dollars.
    spent_before_micro_usd: u64,
    /// Node time until then.
    priced_node_ms: u64,
    /// Launches of the newest minute that has any, oldest first.
    launches: VecDeque<Timestamp>,
}

impl Limited {
    /// What the fleet has cost, micro-dollars; `None` if the log has no price.
    pub fn spent_micro_usd(&self, node_ms: u64) -> Option<u64> {
        let since = node_ms.saturating_sub(self.priced_node_ms);
        self.limits.map(|limits| self.spent_before_micro_usd.saturating_add(limits.cost_micro_usd(since)))
    }

    /// Launches in the 60 s before a time.
    pub(super) fn launches_before(&self, at: Timestamp) -> usize {
        self.launches.iter().filter(|launch| launch.saturating_add(LAUNCH_SPAN_MS) > at).count()
    }

    /// From here on these hold.
    fn set(&mut self, limits: FleetLimits, node_ms: u64, billing: u32) {
        if let Some(spent) = self.spent_micro_usd(node_ms) {
            (self.spent_before_micro_usd, self.priced_node_ms) = (spent, node_ms);
        }
        self.limits = Some(limits);
        self.above_max = if billing > limits.max_nodes { billing } else { 0 };
    }

    fn may_launch(&self, node_ms: u64, billing: u32, at: Timestamp) -> Result<(), Effectless> {
        let Some(limits) = self.limits else { return Ok(()) };
        let spent = self.spent_micro_usd(node_ms).unwrap_or_default();
        if billing >= limits.max_nodes {
            return Err(Effectless::void("the fleet has as many nodes as it may have"));
        }
        if self.launches_before(at) >= limits.launches_per_minute as usize {
            return Err(Effectless::void("as many were launched in this minute as may be"));
        }
        if limits.budget_micro_usd > 0 && spent >= limits.budget_micro_usd {
            return Err(Effectless::void("the budget is used up"));
        }
        Ok(())
    }

    fn launched(&mut self, at: Timestamp) {
        while self.launches.front().is_some_and(|first| first.saturating_add(LAUNCH_SPAN_MS) <= at) {
            self.launches.pop_front();
        }
        self.launches.push_back(at);
    }

    /// As many bill now as there are.
    fn billing(&mut self, billing: u32, came: bool) {
        let Some(limits) = self.limits else { return };
        let above = if came { self.above_max.max(billing) } else { self.above_max.min(billing) };
        self.above_max = if billing > limits.max_nodes { above } else { 0 };
    }
}

impl Fleet {
    /// Instances that bill, or that the cloud owes.
    pub fn billing(&self) -> u32 {
        (self.existing().count() + self.owed_launches().count()) as u32
    }

    /// What the fleet has cost up to a time by the prices in the log, micro-dollars; `None` if it has none.
    pub fn spent_micro_usd(&self, at: Timestamp) -> Option<u64> {
        self.limited.spent_micro_usd(self.node_ms(at))
    }

    /// A plan was made under these.
    pub(super) fn set_limits(&mut self, limits: FleetLimits, at: Timestamp) {
        let (node_ms, billing) = (self.node_ms(at), self.billing());
        self.limited.set(limits, node_ms, billing);
    }

    /// Counts a launch, if the limits let it be.
    pub(super) fn count_launch(&mut self, at: Timestamp) -> Result<(), Effectless> {
        self.limited.may_launch(self.node_ms(at), self.billing(), at)?;
        self.limited.launched(at);
        Ok(())
    }

    /// An instance came that no limit could stop, or one has ended.
    pub(super) fn recount(&mut self, came: bool) {
        let billing = self.billing();
        self.limited.billing(billing, came);
    }
}

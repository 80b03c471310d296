//! What no plan may go beyond, as the log has it: nodes, launches a minute and money (INV-06).
//!
//! Each plan carries the limits it was made under, and they hold from there on: a launch is judged again where it lands,
//! and an auditor needs no configuration file to see that none went beyond them. What nodes cost is metered along the
//! log ([`Meter`]), each by the price of its own type and market, or by the one price of the limits while the log has no
//! other.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::plan::FleetPolicy;
use super::prices::{Billing, NodePrice, Prices};
use super::state::{Fleet, Place};
use crate::ids::Timestamp;
use crate::state::Effectless;

/// Time in which launches are counted.
pub(super) const LAUNCH_SPAN_MS: u64 = 60_000;

/// The limits of a fleet, and what a node costs where nothing else says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLimits {
    /// Nodes at most, booting and owed ones included.
    pub max_nodes: u32,
    /// Launches at most in any 60 s.
    pub launches_per_minute: u32,
    /// Whole budget, micro-dollars; 0 = none set.
    pub budget_micro_usd: u64,
    /// Price of a node, micro-dollars an hour, while no price book is in use.
    pub price_micro_usd_per_hour: u64,
    /// What all nodes together may cost, micro-dollars an hour; 0 = none set.
    pub max_micro_usd_per_hour: u64,
}

impl FleetLimits {
    /// What node time costs at the one price, micro-dollars, billed by the millisecond.
    pub fn cost_micro_usd(&self, node_ms: u64) -> u64 {
        let cost = u128::from(node_ms) * u128::from(self.price_micro_usd_per_hour) / 3_600_000;
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// The one price.
    pub(super) fn price(&self) -> NodePrice {
        NodePrice { micro_usd_per_hour: self.price_micro_usd_per_hour, billing: Billing::Second, least_ms: 0 }
    }
}

impl From<&FleetPolicy> for FleetLimits {
    fn from(policy: &FleetPolicy) -> Self {
        Self {
            max_nodes: policy.max_nodes,
            launches_per_minute: policy.launches_per_minute,
            budget_micro_usd: policy.budget_micro_usd,
            price_micro_usd_per_hour: policy.price_micro_usd_per_hour,
            max_micro_usd_per_hour: policy.max_micro_usd_per_hour,
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
    /// More than `max_micro_usd_per_hour`: as much it was when that was lowered, or a price was raised.
    pub above_rate: u64,
    /// What was spent.
    pub meter: Meter,
    /// Launches of the newest minute that has any, oldest first.
    launches: VecDeque<Timestamp>,
}

impl Limited {
    /// Launches in the 60 s before a time.
    pub(super) fn launches_before(&self, at: Timestamp) -> usize {
        self.launches.iter().filter(|launch| launch.saturating_add(LAUNCH_SPAN_MS) > at).count()
    }

    fn may_launch(
        &self,
        billing: u32,
        addresses: u32,
        rate_with_it: u64,
        at: Timestamp,
    ) -> Result<(), Effectless> {
        let Some(limits) = self.limits else { return Ok(()) };
        let spent = self.meter.spent_micro_usd(at).unwrap_or_default();
        if billing >= limits.max_nodes {
            return Err(Effectless::void("the fleet has as many nodes as it may have"));
        }
        if billing >= addresses {
            return Err(Effectless::void("the fleet has as many nodes as there are addresses for"));
        }
        if self.launches_before(at) >= limits.launches_per_minute as usize {
            return Err(Effectless::void("as many were launched in this minute as may be"));
        }
        if limits.budget_micro_usd > 0 && spent >= limits.budget_micro_usd {
            return Err(Effectless::void("the budget is used up"));
        }
        if limits.max_micro_usd_per_hour > 0 && rate_with_it > limits.max_micro_usd_per_hour {
            return Err(Effectless::void("the fleet costs as much an hour as it may cost"));
        }
        Ok(())
    }

    fn launched(&mut self, at: Timestamp) {
        while self.launches.front().is_some_and(|first| first.saturating_add(LAUNCH_SPAN_MS) <= at) {
            self.launches.pop_front();
        }
        self.launches.push_back(at);
    }

    /// As many bill now as there are; `grew` if something came that no limit could stop.
    fn count(&mut self, billing: u32, grew: bool) {
        let Some(limits) = self.limits else { return };
        let above = if grew { self.above_max.max(billing) } else { self.above_max.min(billing) };
        self.above_max = if billing > limits.max_nodes { above } else { 0 };
        let rate = self.meter.micro_usd_per_hour();
        let above = if grew { self.above_rate.max(rate) } else { self.above_rate.min(rate) };
        self.above_rate = if rate > limits.max_micro_usd_per_hour { above } else { 0 };
    }
}

impl Fleet {
    /// Instances that bill, or that the cloud owes.
    pub fn billing(&self) -> u32 {
        (self.existing().count() + self.owed_launches().count()) as u32
    }

    /// What the fleet has cost up to a time by the prices in the log, micro-dollars; `None` if it has none.
    pub fn spent_micro_usd(&self, at: Timestamp) -> Option<u64> {
        self.limited.meter.spent_micro_usd(at)
    }

    /// What its nodes cost now, micro-dollars an hour.
    pub fn micro_usd_per_hour(&self) -> u64 {
        self.limited.meter.micro_usd_per_hour()
    }

    /// What a node at a place costs; `None` while the log has no price.
    pub fn price_of(&self, place: &Place) -> Option<NodePrice> {
        let booked = self.prices.as_ref().map(|prices| prices.charged(place));
        booked.or_else(|| self.limited.limits.map(|limits| limits.price()))
    }

    /// A plan was made under these.
    pub(super) fn set_limits(&mut self, limits: FleetLimits, at: Timestamp) {
        let before = self.limited.limits.replace(limits).map(|before| before.price());
        if self.prices.is_none() && before != Some(limits.price()) {
            self.reprice(limits.price(), at);
        }
        self.recount(true);
    }

    /// From here on instances cost this.
    pub(super) fn set_prices(&mut self, prices: Prices, at: Timestamp) -> Result<(), Effectless> {
        if prices.lines.is_empty() {
            return Err(Effectless::void("there is no price in it"));
        }
        let dearest = prices.dearest();
        self.prices = Some(prices);
        self.reprice(dearest, at);
        self.recount(true);
        Ok(())
    }

    /// Every node costs from here on what prices say now. The time before them, if nothing had a price, costs `first`.
    fn reprice(&mut self, first: NodePrice, at: Timestamp) {
        if !self.limited.meter.is_priced() {
            let node_ms = self.node_ms(at);
            self.limited.meter.begin(node_ms, first);
        }
        let (prices, limits) = (&self.prices, self.limited.limits);
        let meter = &mut self.limited.meter;
        for node in self.nodes.values_mut().filter(|node| node.status.exists()) {
            let booked = prices.as_ref().map(|prices| prices.charged(&node.place));
            let Some(new) = booked.or_else(|| limits.map(|limits| limits.price())) else { continue };
            if let Some(old) = node.price.replace(new) {
                meter.leave(old, node.launched_at, at);
            }
            meter.go_on(new, node.launched_at, at);
        }
    }

    /// A node was launched. What it costs.
    pub(super) fn start_billing(&mut self, place: &Place, at: Timestamp) -> Option<NodePrice> {
        let price = self.price_of(place)?;
        self.limited.meter.start(price, at);
        Some(price)
    }

    /// A node has ended.
    pub(super) fn stop_billing(&mut self, price: Option<NodePrice>, launched_at: Timestamp, at: Timestamp) {
        if let Some(price) = price {
            self.limited.meter.stop(price, launched_at, at);
        }
    }

    /// Counts a launch, if the limits let it be.
    pub(super) fn count_launch(&mut self, at: Timestamp) -> Result<(), Effectless> {
        let billing = self.billing();
        let addresses = self.addresses.as_ref().map_or(u32::MAX, |pool| pool.addresses.len() as u32);
        self.limited.may_launch(billing, addresses, self.rate_with(1), at)?;
        self.limited.launched(at);
        Ok(())
    }

    /// What the nodes would cost an hour with what the cloud owes and so many more, each as dear as any may be.
    fn rate_with(&self, more: u64) -> u64 {
        let flat = self.limited.limits.map(|limits| limits.price()).unwrap_or_default();
        let dearest = self.prices.as_ref().map_or(flat, Prices::dearest).micro_usd_per_hour;
        let owed = self.owed_launches().count() as u64 + more;
        self.micro_usd_per_hour().saturating_add(owed.saturating_mul(dearest))
    }

    /// An instance came that no limit could stop, or one has ended.
    pub(super) fn recount(&mut self, grew: bool) {
        let billing = self.billing();
        self.limited.count(billing, grew);
    }
}

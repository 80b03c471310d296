//! What the fleet costs, and what its budget still allows (INV-06). Integers only, rounded against the fleet.

use super::limits::FleetLimits;
use super::plan::FleetPolicy;
use super::prices::{HOUR_MS, NodePrice, Prices};
use super::state::{Fleet, Place};
use crate::ids::Timestamp;

/// What the budget allows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// The fleet is to be drained: what is left is what the nodes cost until they are empty.
    pub drain: bool,
    /// Nodes that may be launched: for twice that time what is left carries them and those that bill already, and all
    /// together cost no more an hour than they may.
    pub launches: u32,
    /// Spent so far, micro-dollars.
    pub spent: u64,
}

/// Judges the budget. A budget that drained the fleet once is used up for good: the nodes that ended give nothing back,
/// and a fleet that came and went with every remainder would serve nobody.
pub(super) fn allowance(fleet: &Fleet, policy: &FleetPolicy, at: Timestamp) -> Allowance {
    let spent = fleet.spent_micro_usd(at).unwrap_or_else(|| cost_micro_usd(fleet.node_ms(at), policy));
    let hourly = within_rate(fleet, policy);
    if policy.budget_micro_usd == 0 {
        return Allowance { drain: false, launches: hourly, spent };
    }
    let left = policy.budget_micro_usd.saturating_sub(spent);
    let left_exact = u128::from(left).saturating_mul(u128::from(HOUR_MS));
    let reserve = reserve(fleet, policy, at, policy.budget_reserve_ms);
    let drain = left == 0 || policy.budget_micro_usd <= fleet.budget_drained || reserve > left_exact;
    let twice = policy.budget_reserve_ms.saturating_mul(2);
    // Nothing is rounded: what is launched now must not leave room for more at the next look.
    let beyond = left_exact.saturating_sub(self::reserve(fleet, policy, at, twice));
    let carried = beyond / dearest(policy).new_for(twice).max(1);
    Allowance { drain, launches: u32::try_from(carried).unwrap_or(u32::MAX).min(hourly), spent }
}

/// What those that bill already, and those the cloud owes, cost within a time, as [`NodePrice::between`] counts.
fn reserve(fleet: &Fleet, policy: &FleetPolicy, at: Timestamp, ms: u64) -> u128 {
    let until = at.saturating_add(ms);
    let running =
        fleet.existing().map(|(_, node)| price(policy, &node.place).until_end(node.launched_at, at, until));
    let owed = dearest(policy).new_for(ms).saturating_mul(fleet.owed_launches().count() as u128);
    running.fold(owed, u128::saturating_add)
}

/// How many more may be launched until all cost as much an hour as they may.
fn within_rate(fleet: &Fleet, policy: &FleetPolicy) -> u32 {
    if policy.max_micro_usd_per_hour == 0 {
        return u32::MAX;
    }
    let dearest = dearest(policy).micro_usd_per_hour;
    let running = fleet.existing().map(|(_, node)| price(policy, &node.place).micro_usd_per_hour);
    let owed = dearest.saturating_mul(fleet.owed_launches().count() as u64);
    let rate = running.fold(owed, u64::saturating_add);
    let more = policy.max_micro_usd_per_hour.saturating_sub(rate) / dearest.max(1);
    u32::try_from(more).unwrap_or(u32::MAX)
}

/// What a node at a place costs by a policy.
pub(super) fn price(policy: &FleetPolicy, place: &Place) -> NodePrice {
    let flat = || FleetLimits::from(policy).price();
    policy.prices.as_ref().map_or_else(flat, |prices| prices.charged(place))
}

fn dearest(policy: &FleetPolicy) -> NodePrice {
    policy.prices.as_ref().map_or_else(|| FleetLimits::from(policy).price(), Prices::dearest)
}

/// What node time costs at the one price of a policy, micro-dollars, billed by the millisecond.
pub fn cost_micro_usd(node_ms: u64, policy: &FleetPolicy) -> u64 {
    FleetLimits::from(policy).cost_micro_usd(node_ms)
}

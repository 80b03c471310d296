//! What the fleet costs, and what its budget still allows (INV-06). Integers only, rounded against the fleet.

use super::limits::FleetLimits;
use super::plan::FleetPolicy;
use super::state::Fleet;
use crate::ids::Timestamp;

/// What the budget allows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// The fleet is to be drained: what is left is what the nodes cost until they are empty.
    pub drain: bool,
    /// Nodes that may be launched: for twice that time what is left carries them and those that bill already.
    pub launches: u32,
    /// Spent so far, micro-dollars.
    pub spent: u64,
}

/// Judges the budget. A budget that drained the fleet once is used up for good: the nodes that ended give nothing back,
/// and a fleet that came and went with every remainder would serve nobody.
pub(super) fn allowance(fleet: &Fleet, policy: &FleetPolicy, at: Timestamp) -> Allowance {
    let spent = fleet.spent_micro_usd(at).unwrap_or_else(|| cost_micro_usd(fleet.node_ms(at), policy));
    if policy.budget_micro_usd == 0 {
        return Allowance { drain: false, launches: u32::MAX, spent };
    }
    let left = policy.budget_micro_usd.saturating_sub(spent);
    let billing = u64::from(fleet.billing());
    let reserve = |nodes: u64| cost_micro_usd(nodes.saturating_mul(policy.budget_reserve_ms), policy);
    let drain = left == 0 || policy.budget_micro_usd <= fleet.budget_drained || reserve(billing) > left;
    let carried = left / reserve(2).max(1);
    Allowance { drain, launches: u32::try_from(carried.saturating_sub(billing)).unwrap_or(u32::MAX), spent }
}

/// What node time costs, micro-dollars, billed by the millisecond.
pub fn cost_micro_usd(node_ms: u64, policy: &FleetPolicy) -> u64 {
    FleetLimits::from(policy).cost_micro_usd(node_ms)
}

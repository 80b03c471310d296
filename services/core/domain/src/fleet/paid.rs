//! What the plan knows of time that is paid for already, by each node's own price ([`super::staffing::paid`]). By the second
//! a launch's least time is such a time too.

use super::budget::price;
use super::plan::{FleetPolicy, FleetView};
use super::prices::Billing;
use super::staffing::paid;
use super::state::Node;
use crate::ids::Timestamp;

/// For how long a node is paid for beyond now, by the price it has or would have.
pub(super) fn left_ms(node: &Node, policy: &FleetPolicy, at: Timestamp) -> u64 {
    let price = node.price.unwrap_or_else(|| price(policy, &node.place));
    price.paid_until(node.launched_at, at).saturating_sub(at)
}

/// Whether closing a node nobody needs saves anything.
pub(super) fn may_close(node: &Node, view: &FleetView<'_>, policy: &FleetPolicy, at: Timestamp) -> bool {
    paid::may_close(left_ms(node, policy, at), view.need.holding_ms)
}

/// Whether ending an empty node saves anything: it may be wanted again while it is paid for.
pub(super) fn may_end(node: &Node, policy: &FleetPolicy, at: Timestamp) -> bool {
    let billing = node.price.unwrap_or_else(|| price(policy, &node.place)).billing;
    let ahead = if billing == Billing::Hour { paid::END_AHEAD_MS } else { 0 };
    left_ms(node, policy, at) <= ahead
}

//! The plan: how many nodes are wanted, and which to launch, drain, un-drain and terminate.
//!
//! Pure and integer. Planning twice in the same state changes nothing the second time. Need comes from calls to be
//! sent and calls up, never from CPU; a node without a fresh heartbeat counts as fully loaded (INV-07).

use std::collections::BTreeSet;

use super::apply::may_terminate;
use super::state::{Fleet, IntentStatus, Node, NodeStatus};
use crate::ids::{NodeId, Timestamp};

/// Launches of the last minute that may fail for good before the plan waits until they are a minute old: what refuses
/// them will refuse the next ones too.
pub const FAILED_LAUNCHES_MAX: usize = 3;

/// Limits and prices. Absolute limits hold whatever the plan would like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPolicy {
    /// Nodes kept while the fleet is not told to go.
    pub min_nodes: u32,
    /// Nodes at most, booting ones included.
    pub max_nodes: u32,
    /// Call slots of a node.
    pub node_capacity: u32,
    /// Price of a node, micro-dollars an hour.
    pub price_micro_usd_per_hour: u64,
    /// Whole budget, micro-dollars; 0 = none set.
    pub budget_micro_usd: u64,
    /// Launches at most in any 60 s.
    pub launches_per_minute: u32,
    /// A node not ready by then is given up.
    pub boot_deadline_ms: u64,
    /// What the cloud calls the machine.
    pub instance_type: String,
}

/// What the plan looks at: taken from the log's state and the fresh heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetView<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// Attempts still to be sent by running campaigns, as far as their caps let them be at once.
    pub waiting: u32,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Nodes heard of lately.
    pub fresh: &'a BTreeSet<NodeId>,
}

/// What is to be done, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nodes wanted.
    pub wanted: u32,
    /// Nodes open to calls.
    pub up: u32,
    /// Nodes launched or intended, not open yet.
    pub booting: u32,
    /// Open nodes without a fresh heartbeat.
    pub stale: u32,
    /// Launch this many.
    pub launch: u32,
    /// Close these to new calls.
    pub drain: Vec<NodeId>,
    /// Open these again.
    pub undrain: Vec<NodeId>,
    /// End these: drained and empty, or never able to take a call.
    pub terminate: Vec<NodeId>,
    /// One sentence with the numbers.
    pub reason: String,
}

impl Plan {
    /// Whether it decides anything.
    pub fn is_empty(&self) -> bool {
        self.launch == 0 && self.drain.is_empty() && self.undrain.is_empty() && self.terminate.is_empty()
    }
}

/// Makes the plan.
pub fn plan(view: &FleetView<'_>, policy: &FleetPolicy, at: Timestamp) -> Plan {
    let given_up: BTreeSet<&NodeId> = given_up(view, policy, at).collect();
    let mut plan = count(view, &given_up);
    plan.wanted = wanted(view, policy);
    let coming = plan.up + plan.booting;
    let limit_note = if plan.wanted > coming {
        grow(view, policy, at, &mut plan, coming)
    } else {
        shrink(view, &mut plan);
        ""
    };
    plan.terminate = given_up.into_iter().cloned().collect();
    let emptied = view
        .fleet
        .existing()
        .filter(|(id, node)| {
            node.status == NodeStatus::Draining && may_terminate(node) && !plan.undrain.contains(id)
        })
        .map(|(id, _)| id.clone());
    plan.terminate.extend(emptied);
    plan.reason = format!(
        "{} waiting and {} in flight at {} a node want {} nodes; {} up, {} booting{}",
        view.waiting, view.in_flight, policy.node_capacity, plan.wanted, plan.up, plan.booting, limit_note
    );
    plan
}

fn wanted(view: &FleetView<'_>, policy: &FleetPolicy) -> u32 {
    if view.fleet.stop_requested {
        return 0;
    }
    let calls = view.waiting.saturating_add(view.in_flight);
    calls.div_ceil(policy.node_capacity.max(1)).max(policy.min_nodes).min(policy.max_nodes)
}

/// Nodes that never took a call and are not waited for any longer.
fn given_up<'a>(
    view: &FleetView<'a>,
    policy: &FleetPolicy,
    at: Timestamp,
) -> impl Iterator<Item = &'a NodeId> {
    let stop = view.fleet.stop_requested;
    let is_late = move |node: &Node, deadline| at.saturating_sub(node.launched_at) > deadline;
    let deadline = policy.boot_deadline_ms;
    view.fleet
        .existing()
        .filter(|(_, node)| matches!(node.status, NodeStatus::Launched | NodeStatus::Admitted))
        .filter(move |(_, node)| may_terminate(node) && (stop || is_late(node, deadline)))
        .map(|(id, _)| id)
}

fn count(view: &FleetView<'_>, given_up: &BTreeSet<&NodeId>) -> Plan {
    let mut plan = Plan::default();
    for (id, node) in view.fleet.existing() {
        match node.status {
            NodeStatus::Ready => {
                plan.up += 1;
                plan.stale += u32::from(!view.fresh.contains(id));
            }
            NodeStatus::Launched | NodeStatus::Admitted if !given_up.contains(id) => plan.booting += 1,
            _ => {}
        }
    }
    plan.booting += view.fleet.owed_launches().count() as u32;
    plan
}

/// Un-drains before it launches: a paid, warm node is the fastest capacity there is.
fn grow(
    view: &FleetView<'_>,
    policy: &FleetPolicy,
    at: Timestamp,
    plan: &mut Plan,
    coming: u32,
) -> &'static str {
    let missing = plan.wanted - coming;
    plan.undrain = view
        .fleet
        .existing()
        .filter(|(id, node)| {
            node.status == NodeStatus::Draining && node.pbx_up && !node.held && view.fresh.contains(*id)
        })
        .map(|(id, _)| id.clone())
        .take(missing as usize)
        .collect();
    let missing = missing - plan.undrain.len() as u32;
    let existing = view.fleet.existing().count() as u32 + view.fleet.owed_launches().count() as u32;
    let recent = || view.fleet.intents.values().filter(|intent| intent.at.saturating_add(60_000) > at);
    let failed = recent().filter(|intent| intent.status == IntentStatus::Failed).count();
    let room = policy
        .max_nodes
        .saturating_sub(existing)
        .min(policy.launches_per_minute.saturating_sub(recent().count() as u32));
    if policy.budget_micro_usd > 0
        && cost_micro_usd(view.fleet.node_ms(at), policy) >= policy.budget_micro_usd
    {
        return "; the budget is spent, nothing is launched";
    }
    if failed >= FAILED_LAUNCHES_MAX {
        return "; the last launches failed for good, the next one waits for a minute";
    }
    plan.launch = missing.min(room);
    if plan.launch < missing { "; held back by the limits on nodes or launches a minute" } else { "" }
}

/// Names the nodes that will be empty soonest: fewest attempts first, booting ones are left to boot. A stale node
/// is never a victim: it counts as loaded. Nothing open is closed because something else is booting.
fn shrink(view: &FleetView<'_>, plan: &mut Plan) {
    let surplus = plan.up.saturating_sub(plan.wanted) as usize;
    let mut victims: Vec<(&NodeId, usize)> = view
        .fleet
        .existing()
        .filter(|(id, node)| node.status == NodeStatus::Ready && view.fresh.contains(*id))
        .map(|(id, node)| (id, node.attempts.len()))
        .collect();
    victims.sort_by_key(|(id, attempts)| (*attempts, std::cmp::Reverse(*id)));
    plan.drain = victims.into_iter().take(surplus).map(|(id, _)| id.clone()).collect();
}

/// What node time costs, micro-dollars, billed by the millisecond.
pub fn cost_micro_usd(node_ms: u64, policy: &FleetPolicy) -> u64 {
    (u128::from(node_ms) * u128::from(policy.price_micro_usd_per_hour) / 3_600_000) as u64
}

//! What staffing sees of the fleet, and how many nodes it asks for: the staffing the policy lab measures, on the log's
//! state.

use super::hearing::Standing;
use super::plan::{FleetPolicy, FleetView};
use super::staffing::{NodeSeen, Seen, Staff, Staffing, StaffingPolicy, staffing_ms};
use super::state::{Fleet, Node};
use crate::campaign::backlog::{self, Demand};
use crate::ids::Timestamp;
use crate::state::State;

/// The least time the fleet looks ahead for windows that open and delays that end.
const LEAD_LEAST_MS: u64 = 60_000;
/// While a low load may come from something broken, nodes are kept for what could be dialled within this time.
const TROUBLE_AHEAD_MS: u64 = 3_600_000;
/// Inbound calls are not in the log yet: staffing is told of none, and this is not used.
const INBOUND_HOLD_MS: u64 = 150_000;

/// What calls ask of the fleet, before any node is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// What the campaigns ask for.
    pub demand: Demand,
    /// How long a call holds its slot.
    pub holding_ms: u64,
    /// Why a low load may come from something broken.
    pub trouble: Option<String>,
    /// Attempts nodes are kept for while it may, those in flight included: 0 if nothing is broken.
    pub kept_for: u32,
}

/// The need by the log's state.
pub fn need(state: &State, policy: &FleetPolicy, at: Timestamp) -> Need {
    let staffing = staffing_policy(&state.fleet, policy);
    let holding_ms = state.fleet.learnt.holding().mean_ms();
    let lead_ms = staffing.lead_ms().max(LEAD_LEAST_MS);
    let demand = backlog::demand(state, &staffing, holding_ms, lead_ms, at);
    let trouble = state.fleet.learnt.trouble();
    let kept_for = if trouble.is_some() {
        backlog::within(state, TROUBLE_AHEAD_MS, at).saturating_add(state.in_flight)
    } else {
        0
    };
    Need { demand, holding_ms, trouble, kept_for }
}

fn staffing_policy(fleet: &Fleet, policy: &FleetPolicy) -> StaffingPolicy {
    // A node fills no more slots than its pace lets it.
    let (pace, holding_ms) = (fleet.paced.caps.node_calls_per_second, fleet.learnt.holding().mean_ms());
    let capacity = backlog::slots_for(policy.node_capacity, pace, holding_ms);
    StaffingPolicy::new(capacity, fleet.learnt.boot_ms(), INBOUND_HOLD_MS, u32::MAX)
}

/// Asks staffing, which sees what is up, or counted on, or could be opened again; not what is lost.
pub(super) fn staff<'a>(
    view: &FleetView<'_>,
    policy: &FleetPolicy,
    open: impl Iterator<Item = (&'a Node, Standing)>,
    booting: u32,
    at: Timestamp,
) -> Staff {
    let at_ms = staffing_ms(at);
    let counted = open.filter(|(_, standing)| !matches!(standing, Standing::Shut | Standing::Dead));
    let up = counted.map(|(node, _)| NodeSeen {
        ready: true,
        calls: node.attempts.len() as u32,
        launched_ms: staffing_ms(node.launched_at),
        ..NodeSeen::default()
    });
    let coming = (0..booting).map(|_| NodeSeen { launched_ms: at_ms, ..NodeSeen::default() });
    let nodes: Vec<NodeSeen> =
        up.chain(coming).enumerate().map(|(index, node)| NodeSeen { index, ..node }).collect();
    let learnt = view.fleet.learnt.holding().clone();
    Staffing::with_holding(staffing_policy(view.fleet, policy), learnt).look(&Seen {
        at_ms,
        nodes: &nodes,
        arrivals: 0,
        inbound_up: 0,
        outbound_ended: (0, 0),
        backlog: &view.need.demand.lists,
        kept_calls: view.need.kept_for,
    })
}

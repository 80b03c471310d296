//! The scaler's decisions.

use std::collections::BTreeSet;

use asterism_proto::Origin;

use super::command::{FleetCommand, Inventory, LaunchOutcome};
use super::plan::{FleetPolicy, FleetView, plan};
use super::state::NodeStatus;
use crate::Rejection;
use crate::event::Event;
use crate::ids::{NodeId, Timestamp};
use crate::state::State;

/// Launches at most in one decision: one frame holds them.
pub const LAUNCHES_MAX: u32 = 100;

/// Decides a command on the scaler's state.
pub fn decide(state: &State, command: &FleetCommand, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command {
        FleetCommand::Tick { policy, fresh, inventory } => {
            let mut events = inventory.as_ref().map(|seen| ended(state, seen)).unwrap_or_default();
            // A plan is made on a state that knows who ended: the next tick.
            if events.is_empty() {
                events = planned(state, policy, fresh, at);
            }
            Ok(events)
        }
        FleetCommand::Launch { intent, outcome } => {
            if !state.fleet.intents.contains_key(intent) {
                return Err(Rejection::new("AST-S001", "there is no such launch intent"));
            }
            Ok(vec![match outcome.clone() {
                LaunchOutcome::Launched { node } => Event::NodeLaunched { intent: intent.clone(), node },
                LaunchOutcome::Failed { code, reason, is_final } => {
                    Event::LaunchFailed { intent: intent.clone(), code, reason, r#final: is_final }
                }
            }])
        }
        FleetCommand::Register { node, intent, public_key, epoch } => {
            register(state, node, intent, public_key, epoch)
        }
        FleetCommand::Drain { node, reason } => {
            let known =
                state.fleet.nodes.get(node).ok_or(Rejection::new("AST-S005", "there is no such node"))?;
            if !matches!(known.status, NodeStatus::Ready | NodeStatus::Admitted) {
                return Err(Rejection::new("AST-S006", "the node is not open"));
            }
            Ok(vec![draining(state, node, reason)])
        }
        FleetCommand::Stop { reason } => {
            if state.fleet.stop_requested {
                return Ok(Vec::new());
            }
            Ok(vec![Event::FleetStopRequested { reason: reason.clone() }])
        }
    }
}

fn register(
    state: &State,
    node: &NodeId,
    intent: &str,
    public_key: &[u8],
    epoch: &[u8],
) -> Result<Vec<Event>, Rejection> {
    let known = state
        .fleet
        .nodes
        .get(node)
        .ok_or(Rejection::new("AST-S002", "the log knows no launch of this node yet; ask again"))?;
    if known.intent != intent {
        return Err(Rejection::new("AST-S003", "the node names another launch intent than its own"));
    }
    if !known.status.exists() {
        return Err(Rejection::new("AST-S004", "the node has ended"));
    }
    if public_key.len() != 32 || epoch.len() != 16 {
        return Err(Rejection::new("AST-S007", "key or epoch is malformed"));
    }
    Ok(vec![Event::NodeAdmitted {
        node: node.clone(),
        public_key: public_key.to_vec(),
        epoch: epoch.to_vec(),
        intent: intent.to_owned(),
    }])
}

/// Nodes the cloud confirms have ended. Absence from a listing proves nothing.
fn ended(state: &State, seen: &Inventory) -> Vec<Event> {
    let mut events = Vec::new();
    for (id, node) in state.fleet.existing() {
        if seen.ended.get(id) != Some(&true) {
            continue;
        }
        let told = node.status == NodeStatus::Terminating;
        events.push(Event::OriginClosed {
            origin: Origin::Node(id.clone()).to_string(),
            reason: if told { "terminated" } else { "lost" }.to_owned(),
        });
        events.push(if told {
            Event::NodeTerminated { node: id.clone() }
        } else {
            Event::NodeLost { node: id.clone(), reason: "the cloud says the instance has ended".to_owned() }
        });
        if events.len() >= 200 {
            break;
        }
    }
    events
}

fn planned(state: &State, policy: &FleetPolicy, fresh: &BTreeSet<NodeId>, at: Timestamp) -> Vec<Event> {
    let view = FleetView { fleet: &state.fleet, waiting: demand(state), in_flight: state.in_flight, fresh };
    let plan = plan(&view, policy, at);
    if plan.is_empty() {
        return Vec::new();
    }
    let mut events = vec![Event::FleetPlanned {
        waiting: view.waiting,
        in_flight: view.in_flight,
        nodes_up: plan.up,
        nodes_booting: plan.booting,
        nodes_wanted: plan.wanted,
        nodes_draining: plan.drain.len() as u32,
        reason: plan.reason.clone(),
        nodes_stale: plan.stale,
    }];
    for index in 0..plan.launch.min(LAUNCHES_MAX) {
        events.push(Event::LaunchIntended {
            intent: format!("{}-{}-{}-{index}", state.fleet_name, state.log_tag, state.size),
            reason: plan.reason.clone(),
            instance_type: policy.instance_type.clone(),
        });
    }
    for node in &plan.drain {
        events.push(draining(state, node, &plan.reason));
    }
    for node in &plan.undrain {
        events.push(Event::NodeUndrained { node: node.clone(), reason: plan.reason.clone() });
    }
    for node in &plan.terminate {
        events.push(Event::NodeTerminating {
            node: node.clone(),
            reason: "drained and empty, or never ready in time".to_owned(),
        });
    }
    events.truncate(200);
    events
}

fn draining(state: &State, node: &NodeId, reason: &str) -> Event {
    let drain = state.fleet.nodes.get(node).map_or(1, |known| known.drain + 1);
    Event::NodeDraining { node: node.clone(), reason: reason.to_owned(), drain }
}

/// Attempts that could be sent now if slots were free: a campaign's cap bounds what it can want at once.
pub fn demand(state: &State) -> u32 {
    state
        .campaigns
        .values()
        .filter(|campaign| campaign.status == crate::campaign::CampaignStatus::Running)
        .map(|campaign| match campaign.max_channels {
            0 => campaign.counts.waiting,
            cap => campaign.counts.waiting.min(cap.saturating_sub(campaign.counts.in_flight)),
        })
        .sum()
}

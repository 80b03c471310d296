//! The scaler's decisions.

use asterism_proto::origin::is_token;
use asterism_proto::{Origin, PublicKey};

use super::addresses;
use super::command::{FleetCommand, Inventory, LaunchOutcome};
use super::hearing::Hearing;
use super::limits::FleetLimits;
use super::plan::{FleetPolicy, FleetView, plan};
use super::refusing;
use super::seen::need;
use super::state::{IntentStatus, Node, NodeStatus, Place};
use crate::Rejection;
use crate::event::Event;
use crate::ids::{IntentId, NodeId, Timestamp};
use crate::state::State;

/// Launches at most in one decision: one frame holds them.
pub const LAUNCHES_MAX: u32 = 100;

/// Listings in a row that must lack a node before it counts as gone.
pub const GONE_LISTINGS: u32 = 5;
/// Epochs a node may have had; the sequencer's limit.
pub const EPOCHS_MAX: usize = 64;
/// Characters of the fleet's name in an intent id, which is a client token of at most 64; the log's tag tells apart.
const INTENT_FLEET_CHARS: usize = 24;

/// Decides a command on the scaler's state.
pub fn decide(state: &State, command: &FleetCommand, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command {
        FleetCommand::Tick { policy, hearing, inventory } => {
            let seen = inventory.as_ref();
            let mut events = seen.map(|seen| ended(state, policy, hearing, seen, at)).unwrap_or_default();
            // A plan is made on a state that knows who ended: the next tick.
            if events.is_empty() {
                events = planned(state, policy, hearing, seen, at);
            }
            Ok(events)
        }
        FleetCommand::Place { intents, place, reason } => placed(state, intents, place, reason),
        FleetCommand::Launch { intent, outcome } => launch_outcome(state, intent, outcome),
        FleetCommand::Launches { outcomes } => {
            let events = outcomes.iter().map(|(intent, outcome)| launch_outcome(state, intent, outcome));
            Ok(events.collect::<Result<Vec<_>, _>>()?.concat())
        }
        FleetCommand::Addressed { node, address } => Ok(addressed(state, node, address, false)),
        FleetCommand::Unaddressed { node, address } => Ok(addressed(state, node, address, true)),
        FleetCommand::Register { node, intent, public_key, epoch } => {
            register(state, node, intent, public_key, epoch)
        }
        FleetCommand::Drain { node, reason } => {
            let known =
                state.fleet.nodes.get(node).ok_or(Rejection::new("AST-S005", "there is no such node"))?;
            if !matches!(known.status, NodeStatus::Ready | NodeStatus::Admitted) {
                return Err(Rejection::new("AST-S006", "the node is not open"));
            }
            Ok(vec![draining(state, node, reason, true)])
        }
        FleetCommand::Undrain { node, reason } => {
            let known =
                state.fleet.nodes.get(node).ok_or(Rejection::new("AST-S005", "there is no such node"))?;
            if known.status != NodeStatus::Draining {
                return Err(Rejection::new("AST-S009", "the node is not draining"));
            }
            Ok(vec![Event::NodeUndrained { node: node.clone(), reason: reason.clone() }])
        }
        FleetCommand::Stop { reason } => {
            if state.fleet.stop_requested {
                return Ok(Vec::new());
            }
            Ok(vec![Event::FleetStopRequested { reason: reason.clone() }])
        }
    }
}

/// The group is the client token: the log's size makes it new, so that no token ever stands for two requests.
fn placed(state: &State, intents: &[IntentId], place: &Place, reason: &str) -> Result<Vec<Event>, Rejection> {
    if state.fleet.stop_requested {
        return Err(Rejection::new("AST-S061", "the fleet was told to go: nothing more is launched"));
    }
    let waits =
        |id: &IntentId| state.fleet.intents.get(id).is_some_and(|i| i.status == IntentStatus::Requested);
    if intents.is_empty() || intents.len() > LAUNCHES_MAX as usize || !intents.iter().all(waits) {
        return Err(Rejection::new("AST-S062", "one of the launch intents is answered already"));
    }
    let fleet: String = state.fleet_name.chars().take(INTENT_FLEET_CHARS).collect();
    Ok(vec![Event::LaunchPlaced {
        group: format!("{fleet}-{}-{}-g", state.log_tag, state.size),
        intents: intents.to_vec(),
        instance_type: place.instance_type.clone(),
        subnet: place.subnet.clone(),
        market: place.market.clone(),
        reason: reason.to_owned(),
    }])
}

/// The cloud has given a node its address, or has it back; nothing if the log has it so.
fn addressed(state: &State, node: &NodeId, address: &str, is_back: bool) -> Vec<Event> {
    let fleet = &state.fleet;
    let is_of = |(id, held): (&NodeId, &str)| id == node && held == address;
    let (node, address) = (node.clone(), address.to_owned());
    if is_back && fleet.owed_releases().any(is_of) {
        vec![Event::AddressReleased { node, address }]
    } else if !is_back && fleet.owed_addresses().any(is_of) {
        vec![Event::AddressAssociated { node, address }]
    } else {
        Vec::new()
    }
}

fn launch_outcome(state: &State, intent: &str, outcome: &LaunchOutcome) -> Result<Vec<Event>, Rejection> {
    let known = state
        .fleet
        .intents
        .get(intent)
        .ok_or(Rejection::new("AST-S001", "there is no such launch intent"))?;
    match (&known.status, outcome) {
        (IntentStatus::Launched(first), LaunchOutcome::Launched { node }) if first != node => {
            Err(Rejection::new("AST-S011", "the launch intent has another instance already"))
        }
        (IntentStatus::Launched(_), _) | (IntentStatus::Failed, LaunchOutcome::Failed { .. }) => {
            Ok(Vec::new())
        }
        (_, LaunchOutcome::Launched { node }) => {
            if !is_token(node) || state.fleet.nodes.contains_key(node) {
                return Err(Rejection::new("AST-S008", "this instance id cannot name a new node"));
            }
            Ok(vec![Event::NodeLaunched { intent: intent.to_owned(), node: node.clone() }])
        }
        (IntentStatus::Requested, LaunchOutcome::Failed { code, reason, is_final }) => {
            Ok(vec![Event::LaunchFailed {
                intent: intent.to_owned(),
                code: code.clone(),
                reason: reason.clone(),
                r#final: *is_final,
            }])
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
    if !known.status.exists() || known.admission.as_ref().is_some_and(|admission| admission.closed) {
        return Err(Rejection::new("AST-S004", "the node has ended"));
    }
    if PublicKey::from_bytes(public_key).is_err() || epoch.len() != 16 {
        return Err(Rejection::new("AST-S007", "key or epoch is malformed"));
    }
    if let Some(admission) = &known.admission {
        if admission.epoch == epoch {
            return if admission.public_key == public_key {
                Ok(Vec::new())
            } else {
                Err(Rejection::new("AST-S010", "the epoch belongs to another key"))
            };
        }
        // The sequencer's own rules: a frame it refuses would cost the scaler its term.
        if admission.past_epochs.iter().any(|past| past == epoch) {
            return Err(Rejection::new("AST-S010", "the epoch was used before"));
        }
        if admission.past_epochs.len() + 1 >= EPOCHS_MAX {
            return Err(Rejection::new("AST-S010", "the node had too many epochs"));
        }
    }
    Ok(vec![Event::NodeAdmitted {
        node: node.clone(),
        public_key: public_key.to_vec(),
        epoch: epoch.to_vec(),
        intent: intent.to_owned(),
    }])
}

/// Nodes the cloud confirms have ended, and those it has stopped to list.
fn ended(
    state: &State,
    policy: &FleetPolicy,
    hearing: &Hearing,
    seen: &Inventory,
    at: Timestamp,
) -> Vec<Event> {
    let mut events = Vec::new();
    for (id, node) in state.fleet.existing() {
        let gone = match seen.ended.get(id) {
            Some(true) => Some("the cloud says the instance has ended".to_owned()),
            Some(false) => None,
            None => vanished(policy, hearing, seen, id, node, at),
        };
        let Some(reason) = gone else { continue };
        let told = node.status == NodeStatus::Terminating;
        // The sequencer refuses to close an origin that was never admitted.
        if node.admission.is_some() {
            events.push(Event::OriginClosed {
                origin: Origin::Node(id.clone()).to_string(),
                reason: if told { "terminated" } else { "lost" }.to_owned(),
            });
        }
        events.push(if told {
            Event::NodeTerminated { node: id.clone(), reason }
        } else {
            Event::NodeLost { node: id.clone(), reason }
        });
        if events.len() >= 200 {
            break;
        }
    }
    events
}

/// Why a node the cloud does not list is gone. Absence alone proves nothing: many listings in a row must lack it for a
/// while, and nobody may have heard of it. One that was told to end must also have had that time for it.
fn vanished(
    policy: &FleetPolicy,
    hearing: &Hearing,
    seen: &Inventory,
    id: &NodeId,
    node: &Node,
    at: Timestamp,
) -> Option<String> {
    let absence = seen.absent.get(id)?;
    let since = |time: Timestamp| at.saturating_sub(time);
    let told_long_ago = node.terminating_at.is_none_or(|told| since(told) >= policy.gone_after_ms);
    let unlisted = absence.listings >= GONE_LISTINGS && absence.ms >= policy.gone_after_ms;
    let unheard = hearing.is_dead(id, policy) && since(node.heard_at) > policy.dead_after_ms;
    (unlisted && unheard && told_long_ago).then(|| {
        format!(
            "the cloud has not listed it for {} s, in {} complete listings; last word in the log {} s ago",
            absence.ms / 1_000,
            absence.listings,
            since(node.heard_at) / 1_000
        )
    })
}

fn planned(
    state: &State,
    policy: &FleetPolicy,
    hearing: &Hearing,
    seen: Option<&Inventory>,
    at: Timestamp,
) -> Vec<Event> {
    let need = need(state, policy, at);
    let (fleet, in_flight, checkpoint) = (&state.fleet, state.in_flight, state.checkpoint);
    let view = FleetView { fleet, need: &need, in_flight, hearing, seen, checkpoint };
    let plan = plan(&view, policy, at);
    if plan.is_empty() {
        return Vec::new();
    }
    let (pool, given) = addresses::events(&plan, policy);
    let mut events: Vec<Event> = priced(policy).filter(|_| plan.prices_are_news).into_iter().collect();
    events.extend(pool);
    events.push(Event::FleetPlanned {
        waiting: need.demand.due,
        in_flight: view.in_flight,
        nodes_up: plan.up,
        nodes_booting: plan.booting,
        nodes_wanted: plan.wanted,
        nodes_draining: (plan.drain.len() + plan.shut.len()) as u32,
        reason: plan.reason.clone(),
        nodes_stale: plan.stale,
        nodes_lost: plan.lost,
        budget_micro_usd: plan.budget_micro_usd,
        limits: Some(FleetLimits::from(policy)),
    });
    events.extend(given);
    let name: String = state.fleet_name.chars().take(INTENT_FLEET_CHARS).collect();
    for index in 0..plan.launch.min(LAUNCHES_MAX) {
        events.push(Event::LaunchIntended {
            intent: format!("{name}-{}-{}-{index}", state.log_tag, state.size),
            reason: plan.need.clone(),
            instance_type: policy.instance_type.clone(),
        });
    }
    let why = if plan.budget_micro_usd > 0 { "the budget is nearly used up" } else { &plan.need };
    for node in &plan.drain {
        events.push(draining(state, node, why, false));
    }
    for node in &plan.shut {
        let leaves = hearing.is_leaving(node);
        let why = if leaves { "its cloud takes it away" } else { "it could not take calls for too long" };
        events.push(draining(state, node, why, false));
    }
    for node in &plan.undrain {
        events.push(Event::NodeUndrained { node: node.clone(), reason: plan.need.clone() });
    }
    for node in &plan.terminate {
        events.push(Event::NodeTerminating {
            node: node.clone(),
            reason: "drained and empty, or never ready in time".to_owned(),
            cuts: Vec::new(),
            silent_since_ms: 0,
            uncovered_from: 0,
            uncovered_to: 0,
        });
    }
    let ends = plan.refusing.iter().filter_map(|id| refusing::end(id, state.fleet.nodes.get(id)?, at));
    events.extend(ends);
    events.extend(plan.unreachable.iter().filter_map(|id| cut(state, hearing, id, at)));
    events.truncate(200);
    events
}

/// What instances cost from here on, and how they compare.
fn priced(policy: &FleetPolicy) -> Option<Event> {
    let prices = policy.prices.as_ref()?;
    Some(Event::PricesSet {
        book: prices.book.clone(),
        region: prices.region.clone(),
        source: prices.source.clone(),
        prices: prices.lines.clone(),
        reason: prices.compared(policy.node_capacity),
    })
}

/// The end of a node nobody hears of: it names what it cuts (INV-04).
fn cut(state: &State, hearing: &Hearing, id: &NodeId, at: Timestamp) -> Option<Event> {
    let node = state.fleet.nodes.get(id)?;
    Some(Event::NodeTerminating {
        node: id.clone(),
        reason: format!(
            "unreachable: no heartbeat for {} s, no word in the log for {} s, and the cloud lists it as running; {} \
             attempts are cut",
            hearing.silent_ms(id) / 1_000,
            at.saturating_sub(node.heard_at) / 1_000,
            node.attempts.len()
        ),
        cuts: node.attempts.iter().cloned().collect(),
        silent_since_ms: node.heard_at,
        uncovered_from: 0,
        uncovered_to: 0,
    })
}

fn draining(state: &State, node: &NodeId, reason: &str, held: bool) -> Event {
    let drain = state.fleet.nodes.get(node).map_or(1, |known| known.drain + 1);
    Event::NodeDraining { node: node.clone(), reason: reason.to_owned(), drain, held }
}

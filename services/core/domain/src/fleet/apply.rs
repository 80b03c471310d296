//! The fleet's reducer: total, and the only writer of [`Fleet`].

use std::collections::BTreeSet;

use asterism_proto::Origin;

use super::prices::Prices;
use super::state::{Admission, Fleet, Intent, IntentStatus, Node, NodeStatus, Place, Placed, Uncovered};
use super::{addresses, refusing};
use crate::event::{Event, Recorded};
use crate::ids::{AttemptId, IntentId, NodeId, Timestamp};
use crate::state::Effectless;

/// What INV-05 looks for: the cloud named two instances for one intent.
pub(crate) const SECOND_INSTANCE: &str = "a second instance for one intent";

/// What the caller has to settle because a node ended, or holds no call any more: its attempts that nothing can prove.
pub type Orphaned = Vec<AttemptId>;

/// Applies a fleet event. Decisions are judged again where they land; what does not fit is void and changes nothing.
pub fn apply(fleet: &mut Fleet, recorded: &Recorded) -> Result<Orphaned, Effectless> {
    let at = recorded.at;
    match &recorded.event {
        Event::LaunchIntended { intent, instance_type, .. } => {
            launch_intended(fleet, intent, instance_type, at)?;
        }
        event @ Event::LaunchPlaced { .. } => placed(fleet, event)?,
        Event::NodeLaunched { intent, node } => launched(fleet, intent, node, at)?,
        Event::LaunchFailed { intent, r#final, .. } => {
            let known = fleet.intents.get_mut(intent).ok_or(Effectless::incident("unknown intent"))?;
            known.failures += 1;
            if *r#final && known.status == IntentStatus::Requested {
                known.status = IntentStatus::Failed;
                fleet.recount(false);
            }
        }
        Event::NodeAdmitted { node, public_key, epoch, .. } => {
            let known = existing(fleet, node)?;
            admit(known, public_key, epoch);
            known.heard_at = known.heard_at.max(at);
            if known.status == NodeStatus::Launched {
                known.status = NodeStatus::Admitted;
            }
        }
        event @ Event::NodeReady { node, .. } => {
            if let Some(took_ms) = ready(existing(fleet, node)?, event, at) {
                fleet.learnt.booted(took_ms);
            }
        }
        Event::NodeStopped { node, .. } => {
            let known = existing(fleet, node)?;
            known.pbx_up = false;
            known.down_since.get_or_insert(at);
        }
        Event::ManifestHeld { node, manifest } => {
            existing(fleet, node)?.manifests.insert(manifest.clone());
        }
        Event::ManifestDropped { node, manifest } => {
            existing(fleet, node)?.manifests.remove(manifest);
        }
        Event::OriginClosed { origin, .. } => {
            if let Ok(Origin::Node(node)) = origin.parse()
                && let Some(admission) = fleet.nodes.get_mut(&node).and_then(|known| known.admission.as_mut())
            {
                admission.closed = true;
            }
        }
        Event::NodeDraining { node, drain, held, .. } => {
            draining(existing(fleet, node)?, *drain, *held)?;
        }
        Event::NodeUndrained { node, .. } => undrained(existing(fleet, node)?)?,
        Event::NodeEmpty { node, drain } => {
            let known = existing(fleet, node)?;
            if known.status == NodeStatus::Draining && known.drain == *drain {
                known.empty = true;
                known.empty_at = Some(at);
                return Ok(unproved(known));
            }
        }
        Event::NodeUncovered { node, drain, from, to } => {
            let known = existing(fleet, node)?;
            if known.status == NodeStatus::Draining && known.drain == *drain {
                let position = recorded.sequence;
                known.uncovered = Some(Uncovered { from: *from, to: *to, position, at });
                return Ok(unproved(known));
            }
        }
        Event::NodeHolds { node, attempts, after, until } => {
            return Ok(ended_unheard(existing(fleet, node)?, attempts, (after, until)));
        }
        Event::LogRefused { node, .. } => {
            existing(fleet, node)?.refuses_log.get_or_insert(at);
        }
        event @ Event::NodeTerminating { node, .. } => terminating(existing(fleet, node)?, event, at)?,
        Event::NodeTerminated { node, .. } => return ended(fleet, node, NodeStatus::Terminated, at),
        Event::NodeLost { node, .. } => return ended(fleet, node, NodeStatus::Lost, at),
        Event::FleetPlanned { reason, budget_micro_usd, limits, .. } => {
            if let Some(limits) = limits {
                fleet.set_limits(*limits, at);
            }
            fleet.plans += 1;
            fleet.budget_drained = fleet.budget_drained.max(*budget_micro_usd);
            fleet.last_plan.clone_from(reason);
        }
        Event::PricesSet { book, region, source, prices, .. } => {
            let (book, region, source) = (book.clone(), region.clone(), source.clone());
            fleet.set_prices(Prices { book, region, source, lines: prices.clone() }, at)?;
        }
        event @ (Event::AddressPoolSet { .. }
        | Event::AddressIntended { .. }
        | Event::AddressAssociated { .. }
        | Event::AddressShown { .. }
        | Event::AddressReleased { .. }) => addresses::apply(fleet, event)?,
        Event::FleetStopRequested { .. } => fleet.stop_requested = true,
        _ => {}
    }
    Ok(Orphaned::new())
}

/// Judged again where it lands: the fleet may have been told to go, or be as large as it may be.
fn launch_intended(
    fleet: &mut Fleet,
    intent: &str,
    instance_type: &str,
    at: Timestamp,
) -> Result<(), Effectless> {
    if fleet.intents.contains_key(intent) {
        return Err(Effectless::void("the intent exists already"));
    }
    if fleet.stop_requested {
        return Err(Effectless::void("the fleet was told to go"));
    }
    fleet.count_launch(at)?;
    let instance_type = instance_type.to_owned();
    let new = Intent { status: IntentStatus::Requested, at, instance_type, failures: 0, placed: None };
    fleet.intents.insert(intent.to_owned(), new);
    Ok(())
}

/// A node can take calls. What its boot took, if it says so for the first time.
fn ready(node: &mut Node, event: &Event, at: Timestamp) -> Option<u64> {
    let Event::NodeReady { capacity, pbx, boot_id, .. } = event else { return None };
    node.capacity = *capacity;
    node.pbx.clone_from(pbx);
    node.boot_id.clone_from(boot_id);
    node.pbx_up = true;
    node.down_since = None;
    if node.status == NodeStatus::Admitted {
        node.status = NodeStatus::Ready;
    }
    let first = node.ready_at.is_none();
    node.ready_at.get_or_insert(at);
    first.then(|| at.saturating_sub(node.launched_at))
}

/// INV-04: drained and confirmed empty, or never able to take a call.
pub(super) fn may_terminate(node: &Node) -> bool {
    let never_ready =
        matches!(node.status, NodeStatus::Launched | NodeStatus::Admitted) && node.ready_at.is_none();
    node.attempts.is_empty() && (never_ready || (node.status == NodeStatus::Draining && node.empty))
}

fn draining(node: &mut Node, drain: u64, held: bool) -> Result<(), Effectless> {
    if !matches!(node.status, NodeStatus::Admitted | NodeStatus::Ready) {
        return Err(Effectless::void("the node is not open"));
    }
    node.status = NodeStatus::Draining;
    node.drain = drain;
    node.held = held;
    node.empty = false;
    node.uncovered = None;
    Ok(())
}

fn undrained(node: &mut Node) -> Result<(), Effectless> {
    if node.status != NodeStatus::Draining {
        return Err(Effectless::void("the node is not draining"));
    }
    node.empty = false;
    node.uncovered = None;
    node.held = false;
    node.status = if node.ready_at.is_some() { NodeStatus::Ready } else { NodeStatus::Admitted };
    Ok(())
}

/// A node holds no call, by its own word, which comes behind all it had to say of its attempts: how those ended that it
/// has taken and not ended is lost. Orders it has not answered yet are refused by it, or pass.
fn unproved(node: &mut Node) -> Orphaned {
    let orphaned = node.attempts.difference(&node.unanswered).cloned().collect();
    node.attempts.clone_from(&node.unanswered);
    orphaned
}

/// What the node had taken and holds no more: how it ended is in frames that are lost. A node writes down what it takes
/// before, and how it ended after, so what the log still has as taken and the node does not name has ended.
fn ended_unheard(node: &mut Node, held: &[AttemptId], (after, until): (&str, &str)) -> Orphaned {
    let ended = |attempt: &&AttemptId| {
        let id = attempt.to_string();
        let named = id.as_str() > after && (until.is_empty() || id.as_str() <= until);
        named && !held.contains(attempt)
    };
    let orphaned: Orphaned = node.attempts.difference(&node.unanswered).filter(ended).cloned().collect();
    for attempt in &orphaned {
        node.attempts.remove(attempt);
    }
    orphaned
}

fn terminating(node: &mut Node, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    let Event::NodeTerminating { cuts, silent_since_ms, uncovered_from, uncovered_to, .. } = event else {
        return Ok(());
    };
    if *silent_since_ms > 0 {
        may_cut(node, cuts, *silent_since_ms)?;
        node.cut = cuts.iter().cloned().collect();
    } else if *uncovered_to > 0 {
        refusing::may_end(node, *uncovered_from, *uncovered_to)?;
    } else if !node.attempts.is_empty() {
        return Err(Effectless::void("the node holds attempts"));
    } else if !may_terminate(node) {
        return Err(Effectless::void("the node is not drained and empty"));
    }
    node.status = NodeStatus::Terminating;
    node.terminating_at = Some(at);
    Ok(())
}

/// INV-04's one exception: nobody has heard of the node since the named time, and each attempt it holds is named.
fn may_cut(node: &Node, cuts: &[AttemptId], silent_since: Timestamp) -> Result<(), Effectless> {
    if !matches!(node.status, NodeStatus::Ready | NodeStatus::Draining) {
        return Err(Effectless::void("the node takes no calls or is being ended already"));
    }
    if node.heard_at != silent_since {
        return Err(Effectless::void("the node was heard of since"));
    }
    if !node.attempts.iter().eq(cuts) {
        return Err(Effectless::void("the attempts named are not those the node holds"));
    }
    Ok(())
}

/// A node wrote something: whatever it says, it is there.
pub(crate) fn heard(fleet: &mut Fleet, node: &NodeId, at: Timestamp) {
    if let Some(known) = fleet.nodes.get_mut(node) {
        known.heard_at = known.heard_at.max(at);
    }
}

fn existing<'a>(fleet: &'a mut Fleet, node: &NodeId) -> Result<&'a mut Node, Effectless> {
    let known = fleet.nodes.get_mut(node).ok_or(Effectless::incident("unknown node"))?;
    if known.status.exists() { Ok(known) } else { Err(Effectless::void("the node has ended")) }
}

/// The newest admission counts; the epoch before it is past for good.
fn admit(node: &mut Node, public_key: &[u8], epoch: &[u8]) {
    let mut past_epochs = Vec::new();
    if let Some(old) = node.admission.take() {
        past_epochs = old.past_epochs;
        if old.epoch != epoch {
            past_epochs.push(old.epoch);
        }
    }
    let (public_key, epoch) = (public_key.to_vec(), epoch.to_vec());
    node.admission = Some(Admission { public_key, epoch, past_epochs, closed: false });
}

/// All of the intents are asked for in one request, or none.
fn placed(fleet: &mut Fleet, event: &Event) -> Result<(), Effectless> {
    let Event::LaunchPlaced { group, intents, instance_type, subnet, market, .. } = event else {
        return Ok(());
    };
    if fleet.stop_requested {
        return Err(Effectless::void("the fleet was told to go"));
    }
    let waits = |id: &IntentId| fleet.intents.get(id).is_some_and(|i| i.status == IntentStatus::Requested);
    let is_used = |i: &Intent| i.placed.as_ref().is_some_and(|placed| placed.group == *group);
    if intents.is_empty() || !intents.iter().all(waits) || fleet.intents.values().any(is_used) {
        return Err(Effectless::void("an intent is answered, or the group was used before"));
    }
    let place =
        Place { instance_type: instance_type.clone(), subnet: subnet.clone(), market: market.clone() };
    let placed = Placed { group: group.clone(), count: intents.len() as u32, place };
    for id in intents {
        if let Some(intent) = fleet.intents.get_mut(id) {
            intent.placed = Some(placed.clone());
        }
    }
    Ok(())
}

fn launched(fleet: &mut Fleet, intent: &str, node: &NodeId, at: Timestamp) -> Result<(), Effectless> {
    let known = fleet.intents.get_mut(intent).ok_or(Effectless::incident("unknown intent"))?;
    match &known.status {
        IntentStatus::Launched(first) if first == node => return Err(Effectless::void("told before")),
        IntentStatus::Launched(_) => return Err(Effectless::incident(SECOND_INSTANCE)),
        IntentStatus::Requested | IntentStatus::Failed => {}
    }
    if fleet.nodes.contains_key(node) {
        return Err(Effectless::incident("an instance that another intent has launched"));
    }
    known.status = IntentStatus::Launched(node.clone());
    let unplaced = || Place { instance_type: known.instance_type.clone(), ..Place::default() };
    let place = known.placed.as_ref().map_or_else(unplaced, |placed| placed.place.clone());
    let price = fleet.start_billing(&place, at);
    fleet.nodes.insert(
        node.clone(),
        Node {
            intent: intent.to_owned(),
            place,
            price,
            status: NodeStatus::Launched,
            admission: None,
            pbx_up: false,
            capacity: 0,
            pbx: String::new(),
            boot_id: String::new(),
            manifests: BTreeSet::new(),
            trunks: std::collections::BTreeMap::new(),
            attempts: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            last_start_ms: 0,
            drain: 0,
            held: false,
            empty: false,
            empty_at: None,
            recordings: std::collections::BTreeMap::new(),
            erased_recordings: BTreeSet::new(),
            refuses_log: None,
            uncovered: None,
            down_since: None,
            heard_at: at,
            cut: BTreeSet::new(),
            needs_address: fleet.addresses.is_some(),
            address: None,
            terminating_at: None,
            launched_at: at,
            ready_at: None,
            ended_at: None,
        },
    );
    fleet.recount(true);
    fleet.peak_nodes = fleet.peak_nodes.max(fleet.existing().count() as u32);
    Ok(())
}

fn ended(
    fleet: &mut Fleet,
    node: &NodeId,
    status: NodeStatus,
    at: Timestamp,
) -> Result<Orphaned, Effectless> {
    let known = existing(fleet, node)?;
    if status == NodeStatus::Terminated && known.status != NodeStatus::Terminating {
        return Err(Effectless::incident("terminated without being told to"));
    }
    known.status = status;
    known.pbx_up = false;
    known.ended_at = Some(at);
    known.unanswered.clear();
    known.erased_recordings.clear();
    let orphaned: Orphaned = std::mem::take(&mut known.attempts).into_iter().collect();
    let (launched_at, price) = (known.launched_at, known.price);
    fleet.ended_node_ms += at.saturating_sub(launched_at);
    fleet.stop_billing(price, launched_at, at);
    fleet.recount(false);
    Ok(orphaned)
}

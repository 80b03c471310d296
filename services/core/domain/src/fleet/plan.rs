//! The plan: how many nodes are wanted, and which to launch, drain, un-drain and terminate.
//!
//! Pure and integer. Planning twice in the same state changes nothing the second time. Need comes from [`super::staffing`],
//! by calls to be sent, how long they last and until when they must have started, and from calls up, never from CPU. A
//! low load that may come from something broken drains nobody. Capacity is nodes that can dial; one that cannot, or is not heard of, is waited
//! for, then replaced, and what it holds still counts as load (INV-07).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::addresses::{self, AddressPool};
use super::apply::may_terminate;
pub use super::budget::cost_micro_usd;
use super::budget::{Allowance, allowance};
use super::command::Inventory;
use super::hearing::{Hearing, Standing};
use super::limits::{FleetLimits, LAUNCH_SPAN_MS};
use super::paid;
use super::prices::Prices;
use super::probing::{Probing, probing};
use super::refusing;
use super::seen::{self, Need};
use super::staffing::Staff;
use super::state::{Fleet, Node, NodeStatus};
use crate::ids::{NodeId, Timestamp};
use crate::recording;

/// Attempts an unreachable node may hold to be ended by the plan: their names fit one frame.
pub const CUTS_MAX: usize = 300;

/// Limits and prices. Absolute limits hold whatever the plan would like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPolicy {
    /// Nodes kept while the fleet is not told to go.
    pub min_nodes: u32,
    /// Nodes at most, booting ones included.
    pub max_nodes: u32,
    /// Call slots of a node.
    pub node_capacity: u32,
    /// Price of a node, micro-dollars an hour, where `prices` does not say what each type costs.
    pub price_micro_usd_per_hour: u64,
    /// What the types and markets that may be launched cost; `None` = one price counts for all.
    pub prices: Option<Prices>,
    /// What all nodes together may cost, micro-dollars an hour; 0 = none set.
    pub max_micro_usd_per_hour: u64,
    /// Whole budget, micro-dollars; 0 = none set.
    pub budget_micro_usd: u64,
    /// The public addresses carriers know: each node has one, and there are no more nodes than these; `None` = any will do.
    pub addresses: Option<AddressPool>,
    /// Launches at most in any 60 s.
    pub launches_per_minute: u32,
    /// A node not ready by then is given up.
    pub boot_deadline_ms: u64,
    /// What the cloud calls the machine.
    pub instance_type: String,
    /// A node not heard of for longer gets no new calls.
    pub stale_after_ms: u64,
    /// A node not heard of for longer is no capacity any more.
    pub dead_after_ms: u64,
    /// A node that is heard of and cannot take calls for longer is drained and replaced.
    pub not_ready_grace_ms: u64,
    /// A node not heard of for longer, which the cloud lists as running, is ended; 0 = never. Its calls may be alive.
    pub unreachable_terminate_after_ms: u64,
    /// A node the cloud has not listed for longer has ended.
    pub gone_after_ms: u64,
    /// A node that refuses the log, drained and without a call, is kept for so long before it is ended: people may look.
    pub refusing_terminate_after_ms: u64,
    /// An empty node that has recordings to send is waited for so long; what it has not sent by then is lost.
    pub recordings_wait_ms: u64,
    /// The fleet is drained when its budget leaves less than its nodes cost in this time.
    pub budget_reserve_ms: u64,
}

/// What a fleet has that nobody configured: the only place where these numbers stand.
impl Default for FleetPolicy {
    fn default() -> Self {
        Self {
            min_nodes: 0,
            max_nodes: 8,
            node_capacity: 20,
            price_micro_usd_per_hour: 41_600,
            prices: None,
            max_micro_usd_per_hour: 0,
            budget_micro_usd: 10_000_000,
            addresses: None,
            launches_per_minute: 30,
            boot_deadline_ms: 180_000,
            instance_type: String::new(),
            stale_after_ms: 5_000,
            dead_after_ms: 30_000,
            not_ready_grace_ms: 60_000,
            unreachable_terminate_after_ms: 900_000,
            gone_after_ms: 300_000,
            refusing_terminate_after_ms: 300_000,
            recordings_wait_ms: 600_000,
            budget_reserve_ms: 600_000,
        }
    }
}

/// What the plan looks at: taken from the log's state, the heartbeats and the cloud's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetView<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// What calls ask for.
    pub need: &'a Need,
    /// Attempts in flight.
    pub in_flight: u32,
    /// What the nodes said last.
    pub hearing: &'a Hearing,
    /// A complete listing of the cloud, when a new one has come.
    pub seen: Option<&'a Inventory>,
    /// Size of the log's newest checkpoint.
    pub checkpoint: u64,
}

/// What is to be done, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // what is news are facts, each of its own
pub struct Plan {
    /// Nodes wanted.
    pub wanted: u32,
    /// Open nodes that can take calls.
    pub up: u32,
    /// Open nodes that cannot take calls and are waited for.
    pub closed: u32,
    /// Nodes launched or intended, not open yet.
    pub booting: u32,
    /// Open nodes not heard of lately that are waited for.
    pub stale: u32,
    /// Open nodes that were waited for long enough: no capacity.
    pub lost: u32,
    /// Open nodes nobody needs that are paid for: they stay until their hours end.
    pub paid: u32,
    /// Launch this many.
    pub launch: u32,
    /// Close these to new calls.
    pub drain: Vec<NodeId>,
    /// These too: they could not take calls for too long.
    pub shut: Vec<NodeId>,
    /// Open these again.
    pub undrain: Vec<NodeId>,
    /// End these: drained and empty, or never able to take a call.
    pub terminate: Vec<NodeId>,
    /// End these: drained, and no checkpoint will cover them, because they refuse the log.
    pub refusing: Vec<NodeId>,
    /// End this one although it may hold calls: nobody has heard of it for too long. One at a time.
    pub unreachable: Option<NodeId>,
    /// The budget that is nearly used up, so that the fleet is drained; 0 if it is not.
    pub budget_micro_usd: u64,
    /// The log does not say so yet.
    pub budget_is_news: bool,
    /// Limits or price are not those of the newest plan in the log.
    pub limits_are_news: bool,
    /// Prices are not those of the log.
    pub prices_are_news: bool,
    /// The pool of addresses is not that of the log.
    pub pool_is_news: bool,
    /// Promise these nodes these addresses.
    pub address: Vec<(NodeId, String)>,
    /// These nodes have said that their PBX shows their address.
    pub shown: Vec<(NodeId, String)>,
    /// The need in numbers, short: it stands in each launch and drain.
    pub need: String,
    /// One sentence with all numbers.
    pub reason: String,
}

impl Plan {
    /// Whether it decides anything.
    pub fn is_empty(&self) -> bool {
        self.launch == 0
            && self.drain.is_empty()
            && self.shut.is_empty()
            && self.undrain.is_empty()
            && self.terminate.is_empty()
            && self.refusing.is_empty()
            && self.unreachable.is_none()
            && !self.budget_is_news
            && !self.limits_are_news
            && !self.prices_are_news
            && !self.pool_is_news
            && self.address.is_empty()
            && self.shown.is_empty()
    }
}

/// Makes the plan.
pub fn plan(view: &FleetView<'_>, policy: &FleetPolicy, at: Timestamp) -> Plan {
    let budget = allowance(view.fleet, policy, at);
    let going = view.fleet.stop_requested || budget.drain;
    let given_up: BTreeSet<&NodeId> = given_up(view, policy, going, at).collect();
    let standings = standings(view, policy, at);
    let mut plan = count(view, &standings, &given_up);
    let open = standings.iter().map(|(_, node, standing)| (*node, *standing));
    let staff = seen::staff(view, policy, open, plan.booting, at);
    let asked = wanted(view, policy, &staff);
    plan.wanted = if going { 0 } else { asked.min(addresses::most_nodes(policy)) };
    // Whatever is wanted: what could not dial for too long takes no calls, and may go when its calls have ended.
    plan.shut = of(&standings, Standing::Shut).cloned().collect();
    let coming = plan.up + plan.closed + plan.stale + plan.booting;
    let limit_note = if plan.wanted > coming {
        grow(view, policy, &budget, at, &mut plan, coming)
    } else {
        let may_close = |node: &Node| going || paid::may_close(node, view, policy, at);
        shrink(&standings, may_close, &mut plan);
        String::new()
    };
    plan.terminate = given_up.into_iter().cloned().collect();
    let emptied = view
        .fleet
        .existing()
        .filter(|(id, node)| {
            node.status == NodeStatus::Draining
                && may_terminate(node)
                && !plan.undrain.contains(id)
                && recording::may_end(node, policy.recordings_wait_ms, at)
                && (going || node.held || node.refuses_log.is_some() || paid::may_end(node, policy, at))
        })
        .map(|(id, _)| id.clone());
    plan.terminate.extend(emptied);
    plan.refusing =
        refusing::due(view, policy, at).filter(|id| !plan.undrain.contains(id)).cloned().collect();
    plan.unreachable = unreachable(view, policy, at);
    if budget.drain {
        plan.budget_micro_usd = policy.budget_micro_usd;
        plan.budget_is_news = policy.budget_micro_usd > view.fleet.budget_drained;
    }
    plan.limits_are_news = view.fleet.limited.limits != Some(FleetLimits::from(policy));
    plan.prices_are_news = policy.prices.is_some() && view.fleet.prices != policy.prices;
    plan.need = sentence(view, policy, &staff, &plan);
    plan.reason = reason(policy, &plan, &budget, &limit_note);
    addresses::plan(view, policy, if going { 0 } else { asked }, &mut plan);
    if let Some(trouble) = view.need.trouble.as_ref().filter(|_| staff.kept > 0 && plan.wanted == staff.kept)
    {
        let _ = write!(plan.reason, "; {trouble}: no node goes for want of work");
    }
    plan
}

fn sentence(view: &FleetView<'_>, policy: &FleetPolicy, staff: &Staff, plan: &Plan) -> String {
    format!(
        "{} waiting and {} in flight of about {} s each ask for {} slots at {} a node: {} nodes; {} up, {} booting",
        view.need.demand.due,
        view.in_flight,
        view.need.holding_ms.div_ceil(1_000),
        staff.required.slots_mc.div_ceil(1_000),
        policy.node_capacity,
        plan.wanted,
        plan.up,
        plan.booting
    )
}

fn reason(policy: &FleetPolicy, plan: &Plan, budget: &Allowance, limit_note: &str) -> String {
    let mut text = plan.need.clone();
    let others = [
        (plan.paid, "not needed and paid for longer than their calls last"),
        (plan.closed, "cannot dial now"),
        (plan.stale, "not heard of lately"),
        (plan.lost, "out of use: unable to dial, or silent, for too long"),
    ];
    for (nodes, what) in others.into_iter().filter(|(nodes, _)| *nodes > 0) {
        let _ = write!(text, ", {nodes} {what}");
    }
    if budget.drain {
        let _ = write!(
            text,
            "; {} of the budget of {} micro-dollars are spent and the rest is what the nodes cost until they are \
             empty: the fleet is drained",
            budget.spent, policy.budget_micro_usd
        );
    }
    text + limit_note
}

/// What staffing asks for, and room for the calls up: a node that is closed under them would be opened again by the
/// first of them that is to be repeated.
fn wanted(view: &FleetView<'_>, policy: &FleetPolicy, staff: &Staff) -> u32 {
    let up = view.in_flight.div_ceil(policy.node_capacity.max(1));
    staff.count.want.max(up).max(policy.min_nodes).min(policy.max_nodes)
}

/// Nodes that never took a call and are not waited for any longer.
fn given_up<'a>(
    view: &FleetView<'a>,
    policy: &FleetPolicy,
    going: bool,
    at: Timestamp,
) -> impl Iterator<Item = &'a NodeId> {
    let is_late = move |node: &Node, deadline| at.saturating_sub(node.launched_at) > deadline;
    let deadline = policy.boot_deadline_ms;
    view.fleet
        .existing()
        .filter(|(_, node)| matches!(node.status, NodeStatus::Launched | NodeStatus::Admitted))
        .filter(move |(_, node)| may_terminate(node) && (going || is_late(node, deadline)))
        .map(|(id, _)| id)
}

type Standings<'a> = Vec<(&'a NodeId, &'a Node, Standing)>;

/// The open nodes, and what each is good for.
fn standings<'a>(view: &FleetView<'a>, policy: &FleetPolicy, at: Timestamp) -> Standings<'a> {
    let open = view.fleet.existing().filter(|(_, node)| node.status == NodeStatus::Ready);
    open.map(|(id, node)| (id, node, view.hearing.standing(id, node, policy, at))).collect()
}

fn of<'a>(standings: &Standings<'a>, wanted: Standing) -> impl Iterator<Item = &'a NodeId> {
    standings.iter().filter(move |(_, _, standing)| *standing == wanted).map(|(id, _, _)| *id)
}

fn count(view: &FleetView<'_>, standings: &Standings<'_>, given_up: &BTreeSet<&NodeId>) -> Plan {
    let number = |standing| of(standings, standing).count() as u32;
    let boots = |(id, node): &(&NodeId, &Node)| {
        matches!(node.status, NodeStatus::Launched | NodeStatus::Admitted) && !given_up.contains(id)
    };
    Plan {
        up: number(Standing::Dials),
        closed: number(Standing::Closed),
        stale: number(Standing::Stale),
        lost: number(Standing::Shut) + number(Standing::Dead),
        booting: (view.fleet.existing().filter(boots).count() + view.fleet.owed_launches().count()) as u32,
        ..Plan::default()
    }
}

/// Un-drains before it launches: a paid, warm node is the fastest capacity there is.
fn grow(
    view: &FleetView<'_>,
    policy: &FleetPolicy,
    budget: &Allowance,
    at: Timestamp,
    plan: &mut Plan,
    coming: u32,
) -> String {
    let missing = plan.wanted - coming;
    let mut warm: Vec<_> = view
        .fleet
        .existing()
        .filter(|(id, node)| {
            let open = node.status == NodeStatus::Draining && !node.held && node.refuses_log.is_none();
            open && view.hearing.could_dial(id, node, policy)
        })
        .collect();
    warm.sort_by_key(|(_, node)| std::cmp::Reverse(paid::left_ms(node, policy, at)));
    plan.undrain = warm.into_iter().map(|(id, _)| id.clone()).take(missing as usize).collect();
    let missing = missing - plan.undrain.len() as u32;
    let existing = view.fleet.billing();
    let recent =
        view.fleet.intents.values().filter(|intent| intent.at.saturating_add(LAUNCH_SPAN_MS) > at).count();
    let room = addresses::most_nodes(policy)
        .saturating_sub(existing)
        .min(policy.launches_per_minute.saturating_sub(recent as u32));
    if missing == 0 {
        return String::new();
    }
    if budget.launches == 0 {
        return "; the budget is too nearly used up to launch".to_owned();
    }
    let (most, note) = match probing(view.fleet, policy, at) {
        Probing::Open => (missing, String::new()),
        Probing::Try(failed) => (1, format!("; the last {failed} launches failed: one is tried")),
        Probing::Wait(failed, ms) => {
            return format!(
                "; the last {failed} launches failed: the next is tried in {} s",
                ms.div_ceil(1_000)
            );
        }
    };
    plan.launch = missing.min(most).min(room).min(budget.launches);
    if plan.launch < missing.min(most) {
        "; held back by the limits on nodes, launches a minute or money".to_owned()
    } else {
        note
    }
}

/// Names the nodes that will be empty soonest: those that cannot dial, then fewest attempts first; booting ones are
/// left to boot. A stale node is never a victim, and takes nobody's place: it counts as loaded. Nothing open is closed
/// because something else is booting.
fn shrink(standings: &Standings<'_>, may_close: impl Fn(&Node) -> bool, plan: &mut Plan) {
    let surplus = (plan.up + plan.closed).saturating_sub(plan.wanted) as usize;
    let mut victims: Vec<_> = standings
        .iter()
        .filter(|(_, _, standing)| matches!(standing, Standing::Dials | Standing::Closed))
        .map(|(id, node, standing)| (*standing == Standing::Dials, node.attempts.len(), *id, *node))
        .collect();
    victims.sort_by_key(|(dials, attempts, id, _)| (*dials, *attempts, std::cmp::Reverse(*id)));
    // One that is paid for stays open, and others go in its place.
    let victims = victims.into_iter().filter(|(.., node)| may_close(node));
    plan.drain = victims.take(surplus).map(|(_, _, id, _)| id.clone()).collect();
    plan.paid = (surplus - plan.drain.len()) as u32;
}

/// The node that is silent the longest, by its heartbeats and by its word in the log, for longer than its calls are
/// waited for, and that the cloud's newest listing still has as running: it bills for nobody.
fn unreachable(view: &FleetView<'_>, policy: &FleetPolicy, at: Timestamp) -> Option<NodeId> {
    let limit = policy.unreachable_terminate_after_ms.max(policy.dead_after_ms);
    let seen = view.seen.filter(|_| policy.unreachable_terminate_after_ms > 0)?;
    view.fleet
        .existing()
        .filter(|(id, node)| {
            matches!(node.status, NodeStatus::Ready | NodeStatus::Draining)
                && !may_terminate(node)
                && node.attempts.len() <= CUTS_MAX
                && view.hearing.is_dead(id, policy)
                && view.hearing.silent_ms(id) > limit
                && at.saturating_sub(node.heard_at) > limit
                && seen.ended.get(*id) == Some(&false)
        })
        .min_by_key(|(id, node)| (node.heard_at, *id))
        .map(|(id, _)| id.clone())
}

//! Production's plan as a policy of the engine: what the engine does is written as events, production's reducer folds
//! them, `fleet::plan` looks at the result, and what it decides is done.

use std::collections::BTreeMap;

use asterism_domain::campaign::backlog::Demand;
use asterism_domain::campaign::outlook::Outlook;
use asterism_domain::fleet::learnt::Learnt;
use asterism_domain::fleet::prices::SPOT;
use asterism_domain::fleet::staffing::StaffingPolicy;
use asterism_domain::fleet::{
    self, Fleet, FleetLimits, FleetPolicy, FleetView, Heard, Hearing, Need, NodeStatus, Plan,
};
use asterism_domain::ids::Timestamp;
use asterism_domain::{AttemptId, Event, EventRef, NodeId, Recorded};
use asterism_proto::{Origin, Role};

use crate::engine::{Orders, Policy, TICK_MS, View};

/// Time between two plans: production's is half a second, and staffing does not look closer than this.
const PLAN_EVERY_MS: i64 = 5 * TICK_MS;

/// A campaign of a run.
pub(crate) struct Dialled {
    /// What production knows of it.
    pub outlook: Outlook,
    /// The engine's lists by their deadlines, in the outlook's order.
    pub lists: Vec<i64>,
    /// When it runs; none: all the time.
    pub runs: Vec<(i64, i64)>,
}

impl Dialled {
    fn is_over(&self, at_ms: i64, at: Timestamp) -> bool {
        let ended = self.runs.last().is_some_and(|(_, until)| at_ms >= *until);
        ended || self.outlook.until_ms.is_some_and(|until| at >= until)
    }

    fn runs(&self, at_ms: i64) -> bool {
        self.runs.is_empty() || self.runs.iter().any(|(from, to)| (*from..*to).contains(&at_ms))
    }

    /// Calls left of each list, and calls up.
    fn left(&self, view: &View<'_>) -> (Vec<u32>, u32) {
        // With a time to end by, calls that wait for others are work to come too, as they are for the dialer.
        let dated = self.outlook.until_ms.is_some();
        let (mut left, mut all_up) = (Vec::new(), 0);
        for deadline in &self.lists {
            let of_it = view.backlog.iter().zip(view.later).zip(view.up);
            let mut calls = 0;
            for ((list, later), up) in of_it.filter(|((list, _), _)| list.deadline_ms == *deadline) {
                all_up += up;
                if list.open_ms <= view.at_ms {
                    calls += list.calls + if dated { *later } else { 0 };
                }
            }
            left.push(calls);
        }
        (left, all_up)
    }
}

/// The scaler of one run.
pub(crate) struct Planner {
    campaigns: Vec<Dialled>,
    policy: FleetPolicy,
    place: (String, String),
    spot_percent: u32,
    staffing: StaffingPolicy,
    fleet: Fleet,
    nodes: Vec<NodeId>,
    sequence: u64,
    began: Timestamp,
    at: Timestamp,
    /// With nodes that are kept without work: until when the run lasts at least.
    stays_ms: i64,
    done: bool,
    pub timeline: Vec<(i64, u32)>,
}

impl Planner {
    /// For campaigns from `began` on, of which all know the same of calls and boots.
    pub fn new(
        mut campaigns: Vec<Dialled>,
        policy: FleetPolicy,
        place: (String, String),
        boot_ms: u64,
    ) -> Self {
        let mut learnt = campaigns.first().map(|one| one.outlook.learnt.clone()).unwrap_or_default();
        if learnt.boot_ms() == 0 {
            learnt = Learnt::assumed(learnt.holding().mean_ms(), boot_ms);
        }
        for campaign in &mut campaigns {
            campaign.outlook.learnt = learnt.clone();
        }
        let began = campaigns.first().map_or(0, |one| one.outlook.at_ms);
        Self {
            staffing: StaffingPolicy::new(policy.node_capacity, boot_ms, 150_000, u32::MAX),
            campaigns,
            policy,
            place,
            spot_percent: 0,
            fleet: Fleet { learnt, ..Fleet::default() },
            nodes: Vec::new(),
            sequence: 0,
            began,
            at: began,
            stays_ms: 0,
            done: false,
            timeline: vec![(0, 0)],
        }
    }

    /// So many of a hundred nodes are spot.
    pub fn with_spot(self, spot_percent: u32) -> Self {
        Self { spot_percent, ..self }
    }

    /// A run with kept nodes lasts for so long at least.
    pub fn staying(self, stays_ms: i64) -> Self {
        Self { stays_ms, ..self }
    }

    /// What the nodes have cost, by the log's own meter.
    pub fn spent_micro_usd(&self) -> u64 {
        self.fleet.spent_micro_usd(self.at).unwrap_or_default()
    }

    pub fn last_plan(&self) -> String {
        self.fleet.last_plan.clone()
    }

    pub fn peak_nodes(&self) -> u32 {
        self.fleet.peak_nodes
    }

    fn write(&mut self, origin: Origin, event: Event) {
        let id = EventRef { origin: String::new(), epoch: Vec::new(), frame: self.sequence, index: 0 };
        let recorded = Recorded {
            sequence: self.sequence,
            at: self.at,
            origin,
            id,
            term: 1,
            command_id: String::new(),
            actor: String::new(),
            event,
        };
        self.sequence += 1;
        // What is void is void in production too.
        let _ = fleet::apply::apply(&mut self.fleet, &recorded);
    }

    fn scaler(&mut self, event: Event) {
        self.write(Origin::Role(Role::Scaler), event);
    }

    /// What the engine shows, as the nodes would have said it.
    fn hear(&mut self, view: &View<'_>) -> Hearing {
        let mut hearing = Hearing { listening_ms: u64::MAX, nodes: BTreeMap::new(), ..Hearing::default() };
        for seen in view.nodes {
            let Some(node) = self.nodes.get(seen.index).cloned() else { continue };
            let Some(known) = self.fleet.nodes.get_mut(&node) else { continue };
            while known.attempts.len() > seen.calls as usize {
                known.attempts.pop_last();
            }
            for contact in known.attempts.len() as u32..seen.calls {
                known.attempts.insert(AttemptId { campaign: String::new(), contact, ordinal: 1 });
            }
            let (is_new, drain) = (known.ready_at.is_none(), known.drain);
            let empties = known.status == NodeStatus::Draining && !known.empty && seen.calls == 0;
            let origin = Origin::Node(node.clone());
            if seen.ready && is_new {
                let (pbx, capacity) = ("simulated".to_owned(), view.capacity);
                let ready = Event::NodeReady { node: node.clone(), capacity, pbx, boot_id: String::new() };
                self.write(origin, ready);
            } else if empties {
                self.write(origin, Event::NodeEmpty { node: node.clone(), drain });
            }
            if seen.ready {
                hearing.nodes.insert(node, Heard::default());
            }
        }
        hearing
    }

    fn need(&self, view: &View<'_>) -> Need {
        let mut demand = Demand::default();
        for campaign in self.campaigns.iter().filter(|campaign| campaign.runs(view.at_ms)) {
            let (left, up) = campaign.left(view);
            let (due, lists) = campaign.outlook.demand(&left, up, &self.staffing, self.at);
            demand.due = demand.due.saturating_add(due);
            demand.lists.extend(lists);
        }
        let holding_ms = self.fleet.learnt.holding().mean_ms();
        Need { demand, holding_ms, trouble: None, kept_for: 0 }
    }

    /// Whether something may still be started, some time.
    fn is_left(&self, view: &View<'_>) -> bool {
        let waits = |deadline: &i64| {
            let mut all = view.backlog.iter().zip(view.later);
            all.any(|(list, later)| list.deadline_ms == *deadline && list.calls + later > 0)
        };
        let open = self.campaigns.iter().filter(|campaign| !campaign.is_over(view.at_ms, self.at));
        open.into_iter().any(|campaign| campaign.lists.iter().any(waits))
    }

    /// Does what a plan says, in the log and in the engine.
    fn carry_out(&mut self, plan: &Plan, policy: &FleetPolicy) -> Orders {
        let mut orders = Orders::default();
        if let Some(prices) = policy.prices.clone().filter(|_| plan.prices_are_news) {
            let (book, region, source) = (prices.book, prices.region, prices.source);
            self.scaler(Event::PricesSet {
                book,
                region,
                source,
                prices: prices.lines,
                reason: String::new(),
            });
        }
        self.scaler(planned(plan, policy));
        for _ in 0..plan.launch {
            self.launch();
            orders.launch += 1;
        }
        let index = |node: &NodeId| self.nodes.iter().position(|known| known == node);
        let of = |nodes: &[NodeId]| nodes.iter().filter_map(index).collect::<Vec<_>>();
        orders.close = [of(&plan.drain), of(&plan.shut)].concat();
        (orders.open, orders.end) = (of(&plan.undrain), of(&plan.terminate));
        for node in plan.drain.iter().chain(&plan.shut) {
            let drain = self.fleet.nodes.get(node).map_or(1, |known| known.drain + 1);
            let (node, reason) = (node.clone(), String::new());
            self.scaler(Event::NodeDraining { node, reason, drain, held: false });
        }
        for node in &plan.undrain {
            self.scaler(Event::NodeUndrained { node: node.clone(), reason: String::new() });
        }
        for node in &plan.terminate {
            let (reason, cuts) = (String::new(), Vec::new());
            let end = Event::NodeTerminating {
                node: node.clone(),
                reason: reason.clone(),
                cuts,
                silent_since_ms: 0,
                uncovered_from: 0,
                uncovered_to: 0,
            };
            self.scaler(end);
            self.scaler(Event::NodeTerminated { node: node.clone(), reason });
        }
        orders
    }

    fn launch(&mut self) {
        let node = format!("i-{:06}", self.nodes.len());
        let (intent, reason) = (node.clone(), String::new());
        let (instance_type, mut market) = self.place.clone();
        // Spread evenly: so many of each hundred.
        let share = |nodes: usize| nodes * self.spot_percent.min(100) as usize / 100;
        if share(self.nodes.len() + 1) > share(self.nodes.len()) {
            SPOT.clone_into(&mut market);
        }
        self.scaler(Event::LaunchIntended {
            intent: intent.clone(),
            reason: reason.clone(),
            instance_type: instance_type.clone(),
        });
        let (group, intents, subnet) = (node.clone(), vec![intent.clone()], String::new());
        self.scaler(Event::LaunchPlaced { group, intents, instance_type, subnet, market, reason });
        self.scaler(Event::NodeLaunched { intent: intent.clone(), node: node.clone() });
        let (public_key, epoch) = (vec![0; 32], vec![0; 16]);
        self.scaler(Event::NodeAdmitted { node: node.clone(), public_key, epoch, intent });
        self.nodes.push(node);
    }
}

fn planned(plan: &Plan, policy: &FleetPolicy) -> Event {
    Event::FleetPlanned {
        waiting: 0,
        in_flight: 0,
        nodes_up: plan.up,
        nodes_booting: plan.booting,
        nodes_wanted: plan.wanted,
        nodes_draining: plan.drain.len() as u32,
        reason: plan.reason.clone(),
        nodes_stale: plan.stale,
        nodes_lost: plan.lost,
        budget_micro_usd: plan.budget_micro_usd,
        limits: Some(FleetLimits::from(policy)),
    }
}

impl Policy for Planner {
    fn name(&self) -> String {
        "asterism, as it is run".to_owned()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        let quiet = Orders { outbound_slots: u32::MAX, ..Orders::default() };
        if view.at_ms % PLAN_EVERY_MS != 0 {
            return quiet;
        }
        self.at = self.began.saturating_add_signed(view.at_ms);
        let hearing = self.hear(view);
        let need = self.need(view);
        let policy = self.policy.clone();
        let in_flight = view.outbound_up;
        let seen = FleetView {
            fleet: &self.fleet,
            need: &need,
            in_flight,
            hearing: &hearing,
            seen: None,
            checkpoint: 0,
        };
        let plan = fleet::plan(&seen, &policy, self.at);
        let left = self.is_left(view);
        let stuck = self.fleet.budget_drained > 0 && self.fleet.existing().next().is_none();
        let orders = if plan.is_empty() {
            quiet
        } else {
            Orders { outbound_slots: u32::MAX, ..self.carry_out(&plan, &policy) }
        };
        let nodes = self.fleet.existing().count() as u32;
        if self.timeline.last().is_none_or(|(_, last)| *last != nodes) {
            self.timeline.push((view.at_ms, nodes));
        }
        // With a least number of nodes kept, the fleet stays when the campaign is through.
        let stays = policy.min_nodes > 0 && view.at_ms < self.stays_ms;
        self.done = (!left || stuck) && in_flight == 0 && nodes <= policy.min_nodes && !stays;
        orders
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

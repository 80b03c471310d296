//! Production's plan as a policy of the engine: what the engine does is written as events, production's reducer folds
//! them, `fleet::plan` looks at the result, and what it decides is done.

use std::collections::BTreeMap;

use asterism_domain::campaign::backlog::Demand;
use asterism_domain::fleet::learnt::Learnt;
use asterism_domain::fleet::prices::SPOT;
use asterism_domain::fleet::staffing::StaffingPolicy;
use asterism_domain::fleet::{
    self, Fleet, FleetLimits, FleetPolicy, FleetView, Heard, Hearing, Need, NodeStatus, Plan,
};
use asterism_domain::{AttemptId, Event, EventRef, NodeId, Recorded};
use asterism_proto::{Origin, Role};

use super::Asked;
use crate::engine::{Orders, Policy, TICK_MS, View};
use crate::workload::Workload;

/// Time between two plans: production's is half a second, and staffing does not look closer than this.
const PLAN_EVERY_MS: i64 = 5 * TICK_MS;

/// The scaler of one run.
pub(super) struct Planner {
    asked: Asked,
    staffing: StaffingPolicy,
    /// Deadlines of the engine's lists, in the outlook's order.
    lists: Vec<i64>,
    fleet: Fleet,
    nodes: Vec<NodeId>,
    sequence: u64,
    at: u64,
    done: bool,
    pub timeline: Vec<(i64, u32)>,
}

impl Planner {
    pub fn new(asked: &Asked, workload: &Workload) -> Self {
        let mut asked = asked.clone();
        let boot = workload.fleet.boot_nominal_ms as u64;
        if asked.outlook.learnt.boot_ms() == 0 {
            asked.outlook.learnt = Learnt::assumed(asked.outlook.learnt.holding().mean_ms(), boot);
        }
        let mut lists: Vec<i64> = workload.calls.iter().filter_map(|call| call.deadline_ms).collect();
        lists.dedup();
        let fleet = Fleet { learnt: asked.outlook.learnt.clone(), ..Fleet::default() };
        Self {
            staffing: StaffingPolicy::new(asked.policy.node_capacity, boot, 150_000, u32::MAX),
            at: asked.outlook.at_ms,
            asked,
            lists,
            fleet,
            nodes: Vec::new(),
            sequence: 0,
            done: false,
            timeline: vec![(0, 0)],
        }
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
        let mut hearing = Hearing { listening_ms: u64::MAX, nodes: BTreeMap::new() };
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
        // With a time to end by, calls that wait for others are work to come too, as they are for the dialer.
        let dated = self.asked.outlook.until_ms.is_some();
        let left = |deadline: &i64| {
            let all = view.backlog.iter().zip(view.later);
            let of = all.filter(|(list, _)| list.deadline_ms == *deadline);
            of.map(|(list, later)| list.calls + if dated { *later } else { 0 }).sum::<u32>()
        };
        let left: Vec<u32> = self.lists.iter().map(left).collect();
        let outlook = &self.asked.outlook;
        let (due, lists) = outlook.demand(&left, view.outbound_up, &self.staffing, self.at);
        let holding_ms = outlook.learnt.holding().mean_ms();
        Need { demand: Demand { due, lists }, holding_ms, trouble: None, kept_for: 0 }
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
        let (instance_type, mut market) = self.asked.place.clone();
        // Spread evenly: so many of each hundred.
        let share = |nodes: usize| nodes * self.asked.spot_percent.min(100) as usize / 100;
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
        let channels = self.asked.outlook.max_channels;
        let outbound_slots = if channels == 0 { u32::MAX } else { channels };
        let quiet = Orders { outbound_slots, ..Orders::default() };
        if view.at_ms % PLAN_EVERY_MS != 0 {
            return quiet;
        }
        self.at = self.asked.outlook.at_ms.saturating_add_signed(view.at_ms);
        let hearing = self.hear(view);
        let need = self.need(view);
        let policy = self.asked.policy.clone();
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
        let over = self.asked.outlook.until_ms.is_some_and(|until| self.at >= until);
        let waits =
            view.backlog.iter().any(|list| list.calls > 0) || view.later.iter().any(|calls| *calls > 0);
        let left = waits && !over;
        let stuck = self.fleet.budget_drained > 0 && self.fleet.existing().next().is_none();
        let orders =
            if plan.is_empty() { quiet } else { Orders { outbound_slots, ..self.carry_out(&plan, &policy) } };
        let nodes = self.fleet.existing().count() as u32;
        if self.timeline.last().is_none_or(|(_, last)| *last != nodes) {
            self.timeline.push((view.at_ms, nodes));
        }
        // With a least number of nodes kept, the fleet stays when the campaign is through.
        self.done = (!left || stuck) && in_flight == 0 && nodes <= policy.min_nodes;
        orders
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

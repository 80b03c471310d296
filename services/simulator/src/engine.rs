//! A fleet in virtual time: calls arrive, are placed and end; a policy looks once a second and says what to do.
//!
//! The simulator gives nothing away: a policy sees what a scaler can see, and neither holding times nor boot times
//! before they have passed.

mod dialling;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use asterism_domain::fleet::staffing::{Backlog, NodeSeen};

use dialling::{List, Used};

use crate::workload::{Call, TrunkChange, Workload};

/// Time between two looks of a policy.
pub const TICK_MS: i64 = 1_000;

/// What a policy sees.
pub struct View<'a> {
    /// Now, in milliseconds from the start of the run.
    pub at_ms: i64,
    /// Calls a node may hold.
    pub capacity: u32,
    /// Nodes that exist, in the order of launches.
    pub nodes: &'a [NodeSeen],
    /// Inbound calls that arrived in the last second.
    pub arrivals: u32,
    /// Inbound calls up.
    pub inbound_up: u32,
    /// Outbound calls up.
    pub outbound_up: u32,
    /// Outbound calls that ended in the last second, and how long they were up in all.
    pub outbound_ended: (u32, u64),
    /// Lists with what may start of them.
    pub backlog: &'a [Backlog],
    /// Calls of each list that wait for another one's end, or for some time after it.
    pub later: &'a [u32],
    /// Calls of each list that are up.
    pub up: &'a [u32],
    /// Whether the carrier takes outbound calls.
    pub trunk_up: bool,
}

/// What a policy says.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Launch so many.
    pub launch: u32,
    /// Open these again.
    pub open: Vec<usize>,
    /// Close these to new calls.
    pub close: Vec<usize>,
    /// End these; one that holds a call is left alone, and counted.
    pub end: Vec<usize>,
    /// Inbound calls go here only if nowhere else.
    pub outbound_only: Vec<usize>,
    /// Outbound calls that may be up at once.
    pub outbound_slots: u32,
}

/// A scaling policy.
pub trait Policy {
    /// Its name in the table.
    fn name(&self) -> String;
    /// Looks and decides, once a second.
    fn look(&mut self, view: &View<'_>) -> Orders;
    /// Nothing will come any more: the run may end before its horizon.
    fn is_done(&self) -> bool {
        false
    }
}

/// A node's life.
#[derive(Clone, Debug)]
pub struct NodeLife {
    /// Launched.
    pub launch_ms: i64,
    /// When it comes up; `i64::MAX` never.
    pub ready_ms: i64,
    /// It was seen to be up.
    pub ready: bool,
    /// Closed for the last time.
    pub drain_ms: Option<i64>,
    /// Ended.
    pub end_ms: Option<i64>,
    outbound_only: bool,
    calls: u32,
    inbound: u32,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Nodes in the order of launches.
    pub nodes: Vec<NodeLife>,
    /// By call: the node and the start, or nothing if it was turned away or never started.
    pub placements: Vec<Option<(usize, i64)>>,
    /// Orders to end a node that held calls: not carried out.
    pub refused_ends: u32,
}

struct Engine<'a> {
    workload: &'a Workload,
    run: Run,
    /// Nodes that exist.
    alive: Vec<usize>,
    /// When calls end: time, node, call.
    ends: BinaryHeap<Reverse<(i64, usize, usize)>>,
    lists: Vec<List<'a>>,
    /// The list of each outbound call.
    list_of: Vec<usize>,
    used: Vec<Used>,
    /// Calls that follow others and wait for their time: it, the list, the call.
    waiting: BinaryHeap<Reverse<(i64, usize, usize)>>,
    inbound_up: u32,
    outbound_up: u32,
    outbound_slots: u32,
    outbound_ended: (u32, u64),
    trunk_up: bool,
    /// The calendar second that counts dials, and its dials.
    dials: (i64, u32),
}

/// Runs a workload under a policy.
pub fn run(workload: &Workload, policy: &mut dyn Policy) -> Run {
    let mut engine = Engine::new(workload);
    let fleet = &workload.fleet;
    let inbound: Vec<usize> =
        (0..workload.calls.len()).filter(|row| workload.calls[*row].deadline_ms.is_none()).collect();
    let (mut next_call, mut next_event, mut arrivals) = (0, 0, 0);
    let mut at_ms = -fleet.prelaunch_ms;
    while at_ms < fleet.horizon_ms {
        while let Some(event) = fleet.events.get(next_event).filter(|event| event.t_ms <= at_ms) {
            engine.trunk_up = event.event == TrunkChange::TrunkUp;
            next_event += 1;
        }
        engine.look(policy, at_ms, arrivals);
        if policy.is_done() {
            break;
        }
        arrivals = 0;
        let next_ms = at_ms + TICK_MS;
        loop {
            let arrives = inbound.get(next_call).map_or(i64::MAX, |row| workload.calls[*row].at_ms);
            let ends = engine.ends.peek().map_or(i64::MAX, |Reverse((ends, ..))| *ends);
            if arrives.min(ends) >= next_ms {
                break;
            }
            if ends <= arrives {
                engine.end_call();
            } else {
                engine.arrive(inbound[next_call]);
                next_call += 1;
                arrivals += 1;
            }
        }
        at_ms = next_ms;
    }
    engine.run
}

impl<'a> Engine<'a> {
    fn new(workload: &'a Workload) -> Self {
        let mut lists: Vec<List<'a>> = Vec::new();
        let follows: HashSet<usize> = workload.again.values().map(|(row, _)| *row).collect();
        for (row, call) in workload.calls.iter().enumerate() {
            let Some(deadline_ms) = call.deadline_ms else { continue };
            let known =
                lists.iter_mut().find(|list| list.open_ms == call.at_ms && list.deadline_ms == deadline_ms);
            if let Some(list) = known {
                if follows.contains(&row) {
                    list.later += 1;
                } else {
                    list.rows.push_back(row);
                }
                continue;
            }
            let hours = workload.hours.get(&deadline_ms).map(Vec::as_slice).unwrap_or_default();
            lists.push(List {
                open_ms: call.at_ms,
                deadline_ms,
                rows: VecDeque::from([row]),
                later: 0,
                up: 0,
                hours,
                caps: workload.caps.iter().position(|caps| caps.lists.contains(&deadline_ms)),
            });
        }
        lists.sort_by_key(|list| list.deadline_ms);
        let places: HashMap<(i64, i64), usize> =
            lists.iter().enumerate().map(|(place, list)| ((list.open_ms, list.deadline_ms), place)).collect();
        let of = |call: &Call| call.deadline_ms.and_then(|until| places.get(&(call.at_ms, until)).copied());
        let list_of = workload.calls.iter().map(|call| of(call).unwrap_or(usize::MAX)).collect();
        let placements = vec![None; workload.calls.len()];
        Self {
            workload,
            run: Run { placements, ..Run::default() },
            alive: Vec::new(),
            ends: BinaryHeap::new(),
            lists,
            list_of,
            used: vec![Used::default(); workload.caps.len()],
            waiting: BinaryHeap::new(),
            inbound_up: 0,
            outbound_up: 0,
            outbound_slots: 0,
            outbound_ended: (0, 0),
            trunk_up: true,
            dials: (i64::MIN, 0),
        }
    }

    /// Lets the policy look, and does what it says.
    fn look(&mut self, policy: &mut dyn Policy, at_ms: i64, arrivals: u32) {
        for index in &self.alive {
            let node = &mut self.run.nodes[*index];
            node.ready = node.ready_ms <= at_ms;
        }
        let seen: Vec<NodeSeen> = self
            .alive
            .iter()
            .map(|index| {
                let node = &self.run.nodes[*index];
                NodeSeen {
                    index: *index,
                    launched_ms: node.launch_ms,
                    ready: node.ready,
                    closed: node.drain_ms.is_some(),
                    calls: node.calls,
                    inbound: node.inbound,
                }
            })
            .collect();
        let left = |list: &List<'_>| Backlog {
            open_ms: list.open_ms,
            deadline_ms: list.deadline_ms,
            calls: list.rows.len() as u32,
            slots_most: 0,
        };
        self.release(at_ms);
        let backlog: Vec<Backlog> = self.lists.iter().map(left).collect();
        let later: Vec<u32> = self.lists.iter().map(|list| list.later).collect();
        let up: Vec<u32> = self.lists.iter().map(|list| list.up).collect();
        let view = View {
            at_ms,
            capacity: self.workload.fleet.capacity,
            nodes: &seen,
            arrivals,
            inbound_up: self.inbound_up,
            outbound_up: self.outbound_up,
            outbound_ended: std::mem::take(&mut self.outbound_ended),
            backlog: &backlog,
            later: &later,
            up: &up,
            trunk_up: self.trunk_up,
        };
        let orders = policy.look(&view);
        self.obey(&orders, at_ms);
        self.outbound_slots = orders.outbound_slots;
        self.dial(at_ms);
    }

    fn obey(&mut self, orders: &Orders, at_ms: i64) {
        for index in &self.alive {
            self.run.nodes[*index].outbound_only = false;
        }
        for index in &orders.outbound_only {
            self.run.nodes[*index].outbound_only = true;
        }
        for index in &orders.open {
            self.run.nodes[*index].drain_ms = None;
        }
        for index in &orders.close {
            self.run.nodes[*index].drain_ms.get_or_insert(at_ms);
        }
        for index in &orders.end {
            let node = &mut self.run.nodes[*index];
            if node.calls > 0 {
                self.run.refused_ends += 1;
            } else {
                node.drain_ms.get_or_insert(at_ms);
                node.end_ms.get_or_insert(at_ms);
            }
        }
        self.alive.retain(|index| self.run.nodes[*index].end_ms.is_none());
        let boots = &self.workload.fleet.boot_ms;
        let mut shortages = self.workload.fleet.shortages.iter();
        let refused = shortages.any(|short| (short.from_ms..short.until_ms).contains(&at_ms));
        for _ in 0..if refused { 0 } else { orders.launch } {
            let index = self.run.nodes.len();
            let boot = boots.get(index % boots.len().max(1)).copied().unwrap_or(-1);
            self.alive.push(index);
            self.run.nodes.push(NodeLife {
                launch_ms: at_ms,
                ready_ms: if boot < 0 { i64::MAX } else { at_ms + boot },
                ready: false,
                drain_ms: None,
                end_ms: None,
                outbound_only: false,
                calls: 0,
                inbound: 0,
            });
        }
    }

    fn has_room(&self, index: usize) -> bool {
        let node = &self.run.nodes[index];
        node.ready && node.drain_ms.is_none() && node.calls < self.workload.fleet.capacity
    }

    fn start(&mut self, row: usize, index: usize, at_ms: i64) {
        self.run.nodes[index].calls += 1;
        self.run.placements[row] = Some((index, at_ms));
        self.ends.push(Reverse((at_ms + self.workload.calls[row].hold_ms, index, row)));
    }

    /// An inbound call: to the oldest node with a free slot.
    fn arrive(&mut self, row: usize) {
        let room = |spare: bool| {
            let usual =
                |index: &usize| self.has_room(*index) && self.run.nodes[*index].outbound_only == spare;
            self.alive.iter().copied().find(usual)
        };
        let Some(index) = room(false).or_else(|| room(true)) else { return };
        self.run.nodes[index].inbound += 1;
        self.inbound_up += 1;
        self.start(row, index, self.workload.calls[row].at_ms);
    }

    fn end_call(&mut self) {
        let Some(Reverse((at_ms, index, row))) = self.ends.pop() else { return };
        let node = &mut self.run.nodes[index];
        node.calls -= 1;
        if self.workload.calls[row].deadline_ms.is_none() {
            node.inbound -= 1;
            self.inbound_up -= 1;
        } else {
            self.outbound_up -= 1;
            if let Some(list) = self.lists.get_mut(self.list_of[row]) {
                list.up -= 1;
                if let Some(used) = list.caps.and_then(|caps| self.used.get_mut(caps)) {
                    used.up -= 1;
                }
            }
            self.outbound_ended.0 += 1;
            self.outbound_ended.1 += self.workload.calls[row].hold_ms as u64;
            self.follow(row, at_ms);
            self.dial(at_ms);
        }
    }
}

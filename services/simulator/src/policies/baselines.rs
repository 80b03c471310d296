//! What others do, in their kindest form: nodes are closed before they end, and no call is cut.

use crate::engine::{Orders, Policy, View};
use crate::workload::Workload;

/// A boot is given up after so long.
const BOOT_DEADLINE_MS: i64 = 300_000;
const MINUTE_MS: i64 = 60_000;

fn calls(view: &View<'_>) -> u32 {
    view.inbound_up + view.outbound_up
}

fn open(view: &View<'_>) -> u32 {
    view.nodes.iter().filter(|node| node.ready && !node.closed).count() as u32
}

/// Calls there is work for: those up, and outbound ones that wait, so that a campaign starts at all.
fn demand(view: &View<'_>) -> u32 {
    let waiting: u32 =
        view.backlog.iter().filter(|list| list.open_ms <= view.at_ms).map(|list| list.calls).sum();
    calls(view) + waiting.min(1)
}

fn capacity(view: &View<'_>) -> u32 {
    open(view) * view.capacity
}

/// Target tracking, as AWS does it: out after three minutes above the target, in after fifteen well below.
pub struct Tracking {
    target_percent: u32,
    loads: Vec<u32>,
    desired: u32,
}

impl Tracking {
    /// Towards a load in percent.
    pub fn new(target_percent: u32) -> Self {
        Self { target_percent, loads: Vec::new(), desired: 1 }
    }
}

impl Policy for Tracking {
    fn name(&self) -> String {
        format!("target tracking {} %", self.target_percent)
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        if view.at_ms.rem_euclid(MINUTE_MS) == 0 {
            let (calls, capacity) = (demand(view), capacity(view));
            let load = (calls * 100).checked_div(capacity).unwrap_or(if calls > 0 { 100 } else { 0 });
            self.loads.push(load);
            let wanted = (calls * 100).div_ceil(self.target_percent * view.capacity).max(1);
            let last = |minutes: usize| self.loads.iter().rev().take(minutes);
            if self.loads.len() >= 3 && last(3).all(|load| *load > self.target_percent) {
                self.desired = self.desired.max(wanted);
            }
            if self.loads.len() >= 15 && last(15).all(|load| *load * 10 < self.target_percent * 9) {
                self.desired = self.desired.min(wanted);
                self.loads.clear();
            }
        }
        super::resize(view, self.desired, BOOT_DEADLINE_MS)
    }
}

/// Step scaling: a tenth more above 70 %, a third more above 90 %, a tenth less below 40 %, each five minutes apart.
#[derive(Default)]
pub struct Steps {
    desired: u32,
    next_ms: i64,
}

impl Policy for Steps {
    fn name(&self) -> String {
        "step scaling".to_owned()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        self.desired = self.desired.max(1);
        if view.at_ms.rem_euclid(MINUTE_MS) == 0 && view.at_ms >= self.next_ms {
            let (calls, capacity) = (demand(view), capacity(view));
            let load = (calls * 100).checked_div(capacity).unwrap_or(0);
            let before = self.desired;
            self.desired = match load {
                91.. => before + before.div_ceil(3),
                71..=90 => before + before.div_ceil(10),
                0..=39 => before.saturating_sub(before / 10).max(1),
                _ => before,
            };
            if self.desired != before {
                self.next_ms = view.at_ms + 5 * MINUTE_MS;
            }
        }
        super::resize(view, self.desired, BOOT_DEADLINE_MS)
    }
}

/// One more if the last two minutes were above 80 %, one less if the last four were below 50 %, then eight minutes of
/// grace, as the autoscaler of a video bridge does it.
pub struct Threshold {
    loads: Vec<u32>,
    desired: u32,
    next_ms: i64,
    boot_ms: i64,
}

impl Threshold {
    /// For nodes with a nominal boot time.
    pub fn new(boot_ms: i64) -> Self {
        Self { loads: Vec::new(), desired: 1, next_ms: i64::MIN, boot_ms }
    }
}

impl Policy for Threshold {
    fn name(&self) -> String {
        "threshold 80/50".to_owned()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        if view.at_ms.rem_euclid(MINUTE_MS) == 0 {
            let (calls, capacity) = (demand(view), capacity(view));
            self.loads.push((calls * 100).checked_div(capacity).unwrap_or(if calls > 0 { 100 } else { 0 }));
            let last = |minutes: usize| self.loads.iter().rev().take(minutes);
            if self.loads.len() >= 2 && last(2).all(|load| *load > 80) {
                self.desired += 1;
                self.next_ms = view.at_ms + 8 * MINUTE_MS;
                self.loads.clear();
            } else if view.at_ms >= self.next_ms && self.loads.len() >= 4 && last(4).all(|load| *load < 50) {
                self.desired = self.desired.saturating_sub(1).max(1);
                self.next_ms = view.at_ms + 8 * MINUTE_MS;
                self.loads.clear();
            }
        }
        super::resize(view, self.desired, self.boot_ms * 3)
    }
}

/// A share of the slots is always free, looked at every 30 s, as game servers are scaled.
pub struct Buffer {
    percent: u32,
    desired: u32,
}

impl Buffer {
    /// So many percent of the slots free.
    pub fn new(percent: u32) -> Self {
        Self { percent, desired: 1 }
    }
}

impl Policy for Buffer {
    fn name(&self) -> String {
        format!("buffer {} %", self.percent)
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        if view.at_ms.rem_euclid(30_000) == 0 {
            self.desired = (demand(view) * 100).div_ceil((100 - self.percent) * view.capacity).max(1);
        }
        super::resize(view, self.desired, BOOT_DEADLINE_MS)
    }
}

/// As many nodes as the busiest moment needs, all the time.
pub struct StaticPeak {
    nodes: u32,
}

impl StaticPeak {
    /// Knows the busiest moment of the past week, or of the workload itself if there is no past.
    pub fn new(workload: &Workload) -> Self {
        let past = workload.history.iter().map(|bin| bin.busy).max();
        let lists = workload.fleet.campaigns.iter().map(|list| {
            let span = (list.deadline_ms - list.open_ms).max(1);
            (i64::from(list.calls) * 36_000 / span) as u32
        });
        let calls = past.unwrap_or_else(|| busiest(workload)) + lists.sum::<u32>();
        Self { nodes: (calls * 105 / 100).div_ceil(workload.fleet.capacity).max(1) }
    }
}

fn busiest(workload: &Workload) -> u32 {
    let inbound = workload.calls.iter().filter(|call| call.deadline_ms.is_none());
    let mut changes: Vec<(i64, i32)> =
        inbound.flat_map(|call| [(call.at_ms, 1), (call.at_ms + call.hold_ms, -1)]).collect();
    changes.sort_unstable();
    let up = changes.iter().scan(0, |up, (_, change)| {
        *up += change;
        Some(*up)
    });
    up.max().unwrap_or(0).max(0) as u32
}

impl Policy for StaticPeak {
    fn name(&self) -> String {
        "static peak".to_owned()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        super::resize(view, self.nodes, BOOT_DEADLINE_MS)
    }
}

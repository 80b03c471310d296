//! Staffing: how many nodes calls need, and when, from what is up, what past days teach and what lists must be dialled.
//!
//! Pure and in integers. A forecast of the calls that will be up when a node launched now is ready, a reserve learnt by
//! replaying the past week, and outbound work in whatever is left: short calls that give their slots back are the
//! cheapest reserve of all. `services/simulator` measures it, `fleet::plan` asks it; inbound calls are not in the log yet, so
//! that the plan has only its outbound half.

// Times are within years and calls within millions; what is subtracted is compared before.
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

pub mod fixed;
mod forecast;
mod history;
mod outbound;
pub mod paid;
mod place;
mod policy;

use serde::{Deserialize, Serialize};

use fixed::{ONE_PPB, decay_ppb, sqrt_mc, times};
pub use forecast::Inbound;
pub use history::{BIN_MS, BINS, DAYS, HistoryBin, Reserve};
pub use outbound::{Backlog, Holding, Required};
pub use place::{Count, Moves, NodeSeen};
pub use policy::StaffingPolicy;

/// Most nodes that are reckoned with.
const NODES_MAX: u32 = 10_000;

/// A time of the log as staffing reckons it; one beyond all days is the last there is.
pub fn staffing_ms(at: crate::ids::Timestamp) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// What happened in the last second, and what is up.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Now. Day 0 of the history has the weekday of 0; earlier times are before the first call.
    pub at_ms: i64,
    /// Nodes that exist, booting ones included, in the order of launches.
    pub nodes: &'a [NodeSeen],
    /// Inbound calls that arrived in the last second, turned away ones included.
    pub arrivals: u32,
    /// Inbound calls up.
    pub inbound_up: u32,
    /// Outbound calls that ended in the last second, and the time they held their slots in all.
    pub outbound_ended: (u32, u64),
    /// Lists with calls to be started.
    pub backlog: &'a [Backlog],
    /// While a low load may come from something broken: calls that existing nodes are kept for; else 0.
    pub kept_calls: u32,
}

/// What staffing decides, and what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staff {
    /// Nodes by number.
    pub count: Count,
    /// What to do for it.
    pub moves: Moves,
    /// Outbound calls that may be up at once.
    pub outbound_slots: u32,
    /// Inbound calls expected after a boot, in milli-calls.
    pub forecast_mc: u64,
    /// Held ready beyond that, in milli-calls, outbound calls that would give their slots back included.
    pub reserve_mc: u64,
    /// What the lists ask for.
    pub required: Required,
    /// Nodes that stay because what asks for little may be broken.
    pub kept: u32,
}

impl Staff {
    /// The decision in one sentence with its numbers.
    pub fn reason(&self) -> String {
        format!(
            "{} inbound calls expected after a boot, {} held ready, {} slots for {} outbound calls: {} nodes, {} open",
            self.forecast_mc.div_ceil(1_000),
            self.reserve_mc.div_ceil(1_000),
            self.required.slots_mc.div_ceil(1_000),
            self.required.calls,
            self.count.want,
            self.count.open,
        )
    }
}

/// The staffing of one fleet: what it has learnt and seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staffing {
    policy: StaffingPolicy,
    reserve: Reserve,
    inbound: Inbound,
    holding: Holding,
    last_needed_ms: Vec<i64>,
}

impl Staffing {
    /// Learns from the past week; an empty one teaches nothing.
    pub fn new(policy: StaffingPolicy, history: &[HistoryBin]) -> Self {
        let mut inbound = Inbound::default();
        let mut reserve = Reserve::UNTAUGHT;
        if let Some(week) = history::Week::read(history) {
            inbound.shape = week.shape();
            reserve = week.reserve(&inbound.shape, &policy);
        }
        let last_needed_ms = Vec::new();
        Self { policy, reserve, inbound, holding: Holding::default(), last_needed_ms }
    }

    /// Without a past, but with holding times that were learnt before.
    pub fn with_holding(policy: StaffingPolicy, holding: Holding) -> Self {
        Self { holding, ..Self::new(policy, &[]) }
    }

    /// What it holds ready beyond the forecast.
    pub fn reserve(&self) -> Reserve {
        self.reserve
    }

    /// Decides for one second. Asked once a second, in order.
    pub fn second(&mut self, seen: &Seen<'_>) -> Staff {
        self.inbound.note(seen.at_ms, seen.arrivals);
        self.holding.note(seen.outbound_ended.0, seen.outbound_ended.1);
        self.look(seen)
    }

    /// Decides without having learnt anything new.
    pub fn look(&mut self, seen: &Seen<'_>) -> Staff {
        let forecast_mc = self.inbound.forecast(seen.at_ms, seen.inbound_up, &self.policy);
        let required = outbound::required(seen.backlog, &self.holding, seen.at_ms, &self.policy);
        let reserve_mc = self.reserve.of(forecast_mc).saturating_sub(self.given_back(&required));
        let kept = self.kept(seen);
        let want = self.want(seen, forecast_mc, reserve_mc, &required).max(kept);
        let keep = self.keep(seen.at_ms, want);
        let capacity_mc = u64::from(self.policy.capacity) * 1_000;
        let margin_mc = self.margin_mc(seen.inbound_up);
        let busy_mc = u64::from(seen.inbound_up) * 1_000 + margin_mc;
        let ready = seen.nodes.iter().filter(|node| node.ready).count() as u64;
        let (count, moves) = if required.calls * 1_000 > capacity_mc {
            let count = Count { open: ready as u32, want, keep };
            (count, place::filled(seen.nodes, count, seen.at_ms, &self.policy))
        } else {
            // One is open whenever one is wanted: a first call does not wait for the next second.
            let open =
                (busy_mc + required.calls * 1_000).div_ceil(capacity_mc).max(u64::from(want > 0)) as u32;
            let count = Count { open, want, keep };
            (count, place::packed(seen.nodes, count, seen.at_ms, &self.policy))
        };
        let already = seen.nodes.iter().filter(|node| node.ready && !node.closed).count();
        let open = (already + moves.open.len()).saturating_sub(moves.close.len()) as u64;
        let open_mc = open * capacity_mc;
        let outbound_slots = (open_mc.saturating_sub(busy_mc) / 1_000) as u32;
        Staff { count, moves, outbound_slots, forecast_mc, reserve_mc, required, kept }
    }

    /// Slots that outbound calls give back in half the lead time if no new ones are started.
    fn given_back(&self, required: &Required) -> u64 {
        let stay = decay_ppb(self.policy.lead_ms() / 2, required.holding_ms);
        times(required.slots_mc, ONE_PPB - stay)
    }

    fn want(&self, seen: &Seen<'_>, forecast_mc: u64, reserve_mc: u64, required: &Required) -> u32 {
        let capacity_mc = u64::from(self.policy.capacity) * 1_000;
        let nodes = |calls_mc: u64| {
            if calls_mc < 500 { 0 } else { calls_mc.div_ceil(capacity_mc).min(u64::from(NODES_MAX)) as u32 }
        };
        let up_mc = u64::from(seen.inbound_up) * 1_000;
        let chance =
            if required.calls > 0 { 0 } else { sqrt_mc(up_mc) * self.reserve.sqrt_milli.min(2_000) / 1_000 };
        let mut want = nodes(forecast_mc + reserve_mc + required.slots_mc).max(nodes(up_mc + chance));
        // Less than half a slot is work all the same.
        want = want.max(u32::from(required.calls > 0));
        // Outbound work alone costs the same on few nodes as on many, but each boot and each end costs: none goes early.
        if required.calls > 0 && forecast_mc < 1_000 {
            let have = self.counted_on(seen).filter(|node| !node.closed).count() as u32;
            want = want.max(have.min(nodes(required.calls * 1_000)));
        }
        // Before the first call: its nodes, early enough to launch them again if they do not come up.
        if seen.at_ms < 0 && seen.at_ms > -(self.policy.boot_deadline_ms() as i64) {
            let first =
                forecast::up_after(0, &self.policy, |ahead_ms| self.inbound.shape_at(ahead_ms as i64));
            want = want.max(nodes(first + self.reserve.of(first)));
        }
        want.max(self.policy.min_nodes)
    }

    /// Nodes that are up, or boot and are not late.
    fn counted_on<'a>(&self, seen: &Seen<'a>) -> impl Iterator<Item = &'a NodeSeen> {
        let launched = seen.at_ms - self.policy.late_ms() as i64;
        seen.nodes.iter().filter(move |node| node.ready || node.launched_ms >= launched)
    }

    /// A low load that may come from something broken ends nothing that could be used when it is whole again.
    fn kept(&self, seen: &Seen<'_>) -> u32 {
        let have = self.counted_on(seen).count() as u32;
        have.min(seen.kept_calls.div_ceil(self.policy.capacity))
    }

    /// No more nodes than were wanted within the hold time.
    fn keep(&mut self, at_ms: i64, want: u32) -> u32 {
        if self.last_needed_ms.len() <= want as usize {
            self.last_needed_ms.resize(want as usize + 1, i64::MIN);
        }
        self.last_needed_ms[..=want as usize].fill(at_ms);
        let since = at_ms - self.policy.hold_ms() as i64;
        self.last_needed_ms.iter().rposition(|last| *last >= since).unwrap_or(0) as u32
    }

    /// Slots left free for the inbound calls of the next seconds, in milli-calls.
    fn margin_mc(&self, inbound_up: u32) -> u64 {
        let rate = self.inbound.rate(10);
        3 * sqrt_mc(rate * 3) + rate + if inbound_up > 0 { 2_000 } else { 0 }
    }
}

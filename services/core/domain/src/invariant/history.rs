//! What a state does not show and a log does: paces, orders and their terms, plans and their inputs, launches.

use std::collections::BTreeMap;

use asterism_proto::{Origin, Role};

use super::{Verdict, local};
use crate::event::{Event, Recorded};
use crate::ids::{AttemptId, CampaignId, NodeId};
use crate::state::State;
use crate::trunk::Trunk;
use crate::trunk::state::spacing_us;

/// What has to be remembered of a log so far: a number for each campaign and for each attempt in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Latest start of each campaign with a pace, in microseconds, as late in its millisecond as the pace made it.
    last_start_us: BTreeMap<CampaignId, u64>,
    /// The same of each trunk.
    last_on_trunk_us: BTreeMap<String, u64>,
    /// The same of the fleet, and of each node.
    last_in_fleet_us: u64,
    last_on_node_us: BTreeMap<NodeId, u64>,
    /// The term in which each attempt in flight was decided.
    decided_in: BTreeMap<AttemptId, u64>,
    /// Fewest attempts in flight since the scaler's last word.
    fewest_in_flight: u32,
    plans: u64,
    intended: u64,
    orders: u64,
}

/// What the state says of the event after it was applied.
pub(super) struct Effect {
    /// It changed what it is about.
    pub(super) took: bool,
    /// The fleet had been told to go before it.
    pub(super) going: bool,
}

impl History {
    /// Looks at an event that was applied; which invariants it breaks, and how.
    pub(super) fn after(
        &mut self,
        state: &State,
        recorded: &Recorded,
        effect: &Effect,
    ) -> Vec<(&'static str, Option<String>)> {
        let mut found = Vec::new();
        match &recorded.event {
            Event::AttemptIntended { attempt, node, trunk, not_before_ms, .. } if effect.took => {
                found.push(("INV-03", self.pace(state, attempt, *not_before_ms)));
                found.push(("INV-03", self.trunk_pace(state, attempt, trunk, *not_before_ms)));
                found.push(("INV-03", self.fleet_pace(state, (attempt, node), *not_before_ms)));
                found.push(("INV-03", local::fleet_cap(state)));
                found.push(("INV-12", local::in_bounds(state, attempt)));
                self.intended += 1;
                self.decided_in.insert(attempt.clone(), recorded.term);
            }
            Event::AttemptAccepted { attempt, order_term } if effect.took => {
                found.push(("INV-13", self.order(state, attempt, *order_term)));
            }
            Event::FleetPlanned { in_flight, .. } if effect.took => {
                self.plans += 1;
                let fewest = self.fewest_in_flight;
                let fewer = (*in_flight < fewest).then(|| {
                    format!(
                        "a plan counted {in_flight} attempts in flight, there were never fewer than {fewest}"
                    )
                });
                found.push(("INV-07", fewer));
            }
            Event::LaunchIntended { intent, .. } if effect.took => {
                let why = || format!("{intent} was to be launched after the fleet was told to go");
                found.push(("INV-14", effect.going.then(why)));
            }
            _ => {}
        }
        // The scaler decides on a state that has its own last word.
        let scaler = recorded.origin == Origin::Role(Role::Scaler);
        self.fewest_in_flight =
            if scaler { state.in_flight } else { self.fewest_in_flight.min(state.in_flight) };
        found
    }

    /// An attempt that holds a slot no more.
    pub(super) fn left(&mut self, attempt: &AttemptId) {
        self.decided_in.remove(attempt);
    }

    fn pace(&mut self, state: &State, attempt: &AttemptId, start_ms: u64) -> Option<String> {
        let campaign = state.campaigns.get(&attempt.campaign)?;
        let per_second = Some(campaign.calls_per_second).filter(|limit| *limit > 0)?;
        let last = self.last_start_us.entry(attempt.campaign.clone()).or_default();
        let early = early_us(last, start_ms, per_second.saturating_mul(1_000))?;
        Some(format!("{attempt} was to start {early} µs before the pace of {per_second} a second lets it"))
    }

    fn trunk_pace(
        &mut self,
        state: &State,
        attempt: &AttemptId,
        trunk: &str,
        start_ms: u64,
    ) -> Option<String> {
        let pace = state.trunks.get(trunk).map(Trunk::per_1000_s).filter(|pace| *pace > 0)?;
        let last = self.last_on_trunk_us.entry(trunk.to_owned()).or_default();
        let early = early_us(last, start_ms, pace)?;
        Some(format!(
            "{attempt} was to start {early} µs before the pace of trunk {trunk}, {pace} in 1,000 s, lets it"
        ))
    }

    fn fleet_pace(
        &mut self,
        state: &State,
        (attempt, node): (&AttemptId, &NodeId),
        start_ms: u64,
    ) -> Option<String> {
        let paced = &state.fleet.paced;
        let (all, each) = (paced.per_1000_s(), paced.node_per_1000_s());
        let mut early = None;
        if all > 0 {
            early = early_us(&mut self.last_in_fleet_us, start_ms, all).map(|by| (by, "the fleet", all));
        }
        if each > 0 {
            let last = self.last_on_node_us.entry(node.clone()).or_default();
            early = early.or(early_us(last, start_ms, each).map(|by| (by, node.as_str(), each)));
        }
        let (by, whose, pace) = early?;
        Some(format!("{attempt} was to start {by} µs before the pace of {whose}, {pace} in 1,000 s, lets it"))
    }

    fn order(&mut self, state: &State, attempt: &AttemptId, term: u64) -> Option<String> {
        let decided = *self.decided_in.get(attempt)?;
        self.orders += 1;
        // Logs of older nodes do not say the term.
        let term = Some(term).filter(|term| *term > 0)?;
        let newest = state.terms.get(Role::Dialer.name()).copied();
        if term < decided {
            return Some(format!(
                "{attempt} was decided in term {decided}, its node took an order of term {term}"
            ));
        }
        newest.filter(|newest| term > *newest).map(|newest| {
            format!("a node took an order of term {term} for {attempt}, the log has elected term {newest}")
        })
    }

    /// What is said at the end of a log of an invariant that only a history shows.
    pub(super) fn verdict(&self, id: &str, state: &State) -> Option<Verdict> {
        let judged = |count: u64, what: &str| {
            if count > 0 { Verdict::Holds } else { Verdict::NotApplicable(format!("the log has no {what}")) }
        };
        Some(match id {
            "INV-12" => judged(self.intended, "attempt"),
            "INV-07" => judged(self.plans, "plan"),
            "INV-13" => judged(self.orders, "order that a node took"),
            "INV-14" if !state.fleet.stop_requested => {
                Verdict::NotApplicable("the fleet was not told to go".to_owned())
            }
            "INV-14" => match (state.fleet.existing().count(), state.fleet.owed_launches().count()) {
                (0, 0) => Verdict::Holds,
                (nodes, owed) => Verdict::NotApplicable(format!(
                    "the log ends before it is settled: {nodes} instances have not ended, {owed} launches are owed"
                )),
            },
            _ => return None,
        })
    }
}

/// By how much a start is too early; and the latest start is then this one. A start is known to the millisecond: it may
/// have been meant for that millisecond's end, and counts from its beginning.
fn early_us(last_us: &mut u64, start_ms: u64, per_1000_s: u32) -> Option<u64> {
    let (at, due) = (start_ms.saturating_mul(1_000), last_us.saturating_add(spacing_us(per_1000_s)));
    let first = *last_us == 0;
    *last_us = if first { at } else { due.max(at).min(at.saturating_add(999)) };
    (!first && at.saturating_add(999) < due).then(|| due - at)
}

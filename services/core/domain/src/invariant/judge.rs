//! The invariants at every position of a log, at a cost per event that does not grow with the state.
//!
//! Before an event is applied the judge takes what the event can touch out of its tallies; after it, it looks at
//! exactly that: the contacts, attempts, nodes and counters, each by the predicates of [`local`]. An event costs what it
//! touches: one contact as a rule; the rows of an import; the attempts of a node that ends or says something new; all
//! that an erasure erases.

use std::collections::{BTreeMap, BTreeSet};

use super::bill::Bill;
use super::history::{Effect, History};
use super::local::{self, Tally};
use super::touched::Touched;
use super::{Finding, INVARIANTS, Verdict};
use crate::campaign::apply::{SECOND_ORIGINATE, STEP_INCIDENTS};
use crate::event::Recorded;
use crate::fleet::Node;
use crate::fleet::apply::SECOND_INSTANCE;
use crate::ids::{AttemptId, CampaignId};
use crate::state::State;

/// Follows a log. Each invariant is reported once, where it breaks first; from there on only its break is known.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    tallies: BTreeMap<CampaignId, Tally>,
    bill: Bill,
    history: History,
    broken: BTreeMap<&'static str, String>,
    looks: u64,
}

/// What the judge saw before an event.
#[derive(Debug)]
pub struct Look {
    touched: Touched,
    incidents: u64,
    voids: u64,
    going: bool,
}

/// Breaks found at one position, of invariants that were whole.
type Found = Vec<(&'static str, Option<String>)>;

impl Judge {
    /// A judge of a log from its first event on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an event and says what it broke.
    pub fn apply(&mut self, state: &mut State, recorded: &Recorded) -> Vec<Finding> {
        let look = self.before(state, recorded);
        state.apply(recorded);
        self.after(state, recorded, look)
    }

    /// To be called before the event is applied.
    pub fn before(&mut self, state: &State, recorded: &Recorded) -> Look {
        let touched = Touched::by(state, recorded);
        for (id, index) in &touched.contacts {
            let contact = state.campaigns.get(id).and_then(|one| one.contacts.get(*index as usize));
            if let (Some(contact), Some(tally)) = (contact, self.tallies.get_mut(id))
                && *index < tally.contacts
            {
                tally.remove(contact);
            }
        }
        nodes(state, &touched).for_each(|node| self.bill.remove(node));
        Look { touched, incidents: state.incidents, voids: state.voids, going: state.fleet.stop_requested }
    }

    /// To be called with the same event after it was applied; what it broke, each invariant once.
    pub fn after(&mut self, state: &State, recorded: &Recorded, look: Look) -> Vec<Finding> {
        let Look { touched, incidents, voids, going } = look;
        let mut found = Found::new();
        let newest = state.incident_list.back().filter(|_| state.incidents > incidents);
        if let Some(newest) = newest {
            found.push(("INV-01", local::incident(newest, &[SECOND_ORIGINATE])));
            found.push(("INV-05", local::incident(newest, &[SECOND_INSTANCE])));
            found.push(("INV-10", local::incident(newest, &STEP_INCIDENTS)));
        }
        self.contacts(state, &touched.contacts, &mut found);
        self.campaigns(state, &touched.campaigns, &mut found);
        touched.nodes.iter().for_each(|id| node(state, id, &mut found));
        touched.attempts.iter().for_each(|id| self.attempt(state, id, &mut found));
        nodes(state, &touched).for_each(|node| self.bill.add(node));
        self.bill.intents(&state.fleet, &recorded.event);
        found.push(("INV-06", local::limits(&state.fleet, self.bill.billing(), state.at)));
        let took = newest.is_none() && state.voids == voids;
        found.extend(self.history.after(state, recorded, &Effect { took, going }));
        self.looks += found.len() as u64;
        self.first(found)
    }

    fn contacts(&mut self, state: &State, touched: &BTreeSet<(CampaignId, u32)>, found: &mut Found) {
        for (id, index) in touched {
            let Some(campaign) = state.campaigns.get(id) else { continue };
            let Some(contact) = campaign.contacts.get(*index as usize) else { continue };
            let tally = self.tallies.entry(id.clone()).or_default();
            if *index < tally.contacts {
                tally.add(contact);
            }
            found.push(("INV-01", local::rings(id, campaign, *index, contact)));
            found.push(("INV-15", local::one_state(id, campaign, *index, contact)));
        }
    }

    /// Counters, and the contacts that are new.
    fn campaigns(&mut self, state: &State, touched: &BTreeSet<CampaignId>, found: &mut Found) {
        for id in touched {
            let Some(campaign) = state.campaigns.get(id) else { continue };
            let tally = self.tallies.entry(id.clone()).or_default();
            // A slice: to skip those counted would walk over all of them.
            let new = campaign.contacts.get(tally.contacts as usize..).unwrap_or_default();
            for (index, contact) in (tally.contacts..).zip(new) {
                tally.add(contact);
                found.push(("INV-01", local::rings(id, campaign, index, contact)));
                found.push(("INV-15", local::one_state(id, campaign, index, contact)));
            }
            tally.contacts = campaign.contacts.len() as u32;
            found.push(("INV-01", local::ring_sum(id, campaign, tally)));
            found.push(("INV-02", local::counts(id, campaign, tally)));
            found.push(("INV-03", local::campaign_cap(id, campaign)));
            found.push(("INV-15", local::completed(id, campaign)));
        }
    }

    /// An attempt and its share of the node it is on.
    fn attempt(&mut self, state: &State, id: &AttemptId, found: &mut Found) {
        let flight = state.campaigns.get(&id.campaign).and_then(|campaign| campaign.in_flight.get(id));
        let Some(flight) = flight else { return self.history.left(id) };
        found.push(("INV-11", local::prompts(state, id, flight)));
        if let Some(trunk) = state.trunks.get(&flight.trunk) {
            found.push(("INV-03", local::trunk_cap(&flight.trunk, trunk)));
        }
        if let Some(node) = state.fleet.nodes.get(&flight.node) {
            found.push(("INV-03", local::node_cap(&flight.node, node)));
            found.push(("INV-04", local::cut(&flight.node, node, id)));
        }
    }

    /// Keeps what breaks something for the first time.
    fn first(&mut self, found: Found) -> Vec<Finding> {
        let mut new = Vec::new();
        for (id, why) in found {
            let (Some(why), false) = (why, self.broken.contains_key(id)) else { continue };
            self.broken.insert(id, why.clone());
            new.extend(
                INVARIANTS.iter().find(|known| known.id == id).map(|known| known.found(Verdict::Broken(why))),
            );
        }
        new
    }

    /// How many predicates were asked so far: what judging cost, whatever the machine.
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    /// Whether an invariant broke on the way.
    pub fn is_broken(&self, id: &str) -> bool {
        self.broken.contains_key(id)
    }

    /// All of them at the end of what was followed: what broke on the way, what the whole state says now, and what the
    /// history shows.
    pub fn findings(&self, state: &State) -> Vec<Finding> {
        let found = |invariant: &super::Invariant| {
            let verdict = match self.broken.get(invariant.id) {
                Some(why) => Verdict::Broken(why.clone()),
                None => {
                    self.history.verdict(invariant.id, state).unwrap_or_else(|| (invariant.predicate)(state))
                }
            };
            invariant.found(verdict)
        };
        INVARIANTS.iter().map(found).collect()
    }
}

fn nodes<'a>(state: &'a State, touched: &Touched) -> impl Iterator<Item = &'a Node> {
    touched.nodes.iter().filter_map(|id| state.fleet.nodes.get(id))
}

/// A node that changed, with everything on it.
fn node(state: &State, id: &str, found: &mut Found) {
    let Some(node) = state.fleet.nodes.get(id) else { return };
    found.push(("INV-03", local::node_cap(id, node)));
    found.push(("INV-04", local::cuts(id, node)));
    found.push(("INV-05", local::instance(id, node, &state.fleet)));
    for attempt in &node.attempts {
        let campaign = state.campaigns.get(&attempt.campaign);
        let flight = campaign.and_then(|campaign| campaign.in_flight.get(attempt));
        found.push(("INV-11", flight.and_then(|flight| local::prompts(state, attempt, flight))));
    }
}

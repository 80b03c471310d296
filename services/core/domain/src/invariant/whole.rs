//! The invariants over a whole state: the specification. Costs as much as the state is large.

use super::Verdict;
use super::local::{self, Tally};
use crate::campaign::apply::{SECOND_ORIGINATE, STEP_INCIDENTS};
use crate::campaign::{Campaign, Contact};
use crate::fleet::apply::SECOND_INSTANCE;
use crate::ids::ContactId;
use crate::state::State;

fn verdict(problem: Option<String>) -> Verdict {
    problem.map_or(Verdict::Holds, Verdict::Broken)
}

/// The newest incidents are kept; a judge that follows the log sees each.
fn incident(state: &State, reasons: &[&str]) -> Option<String> {
    state.incident_list.iter().find_map(|incident| local::incident(incident, reasons))
}

fn campaigns(state: &State, look: impl Fn(&str, &Campaign) -> Option<String>) -> Option<String> {
    state.campaigns.iter().find_map(|(id, campaign)| look(id, campaign))
}

type OfContact = fn(&str, &Campaign, ContactId, &Contact) -> Option<String>;

fn contacts(state: &State, look: OfContact) -> Option<String> {
    campaigns(state, |id, campaign| {
        (0u32..).zip(&campaign.contacts).find_map(|(index, contact)| look(id, campaign, index, contact))
    })
}

/// Outside the log the carrier's own count is compared, attempt by attempt.
pub(super) fn one_ring(state: &State) -> Verdict {
    let sums = || campaigns(state, |id, campaign| local::ring_sum(id, campaign, &Tally::of(campaign)));
    verdict(incident(state, &[SECOND_ORIGINATE]).or_else(|| contacts(state, local::rings)).or_else(sums))
}

pub(super) fn conservation(state: &State) -> Verdict {
    verdict(campaigns(state, |id, campaign| local::counts(id, campaign, &Tally::of(campaign))))
}

pub(super) fn caps(state: &State) -> Verdict {
    let node = state.fleet.nodes.iter().find_map(|(id, node)| local::node_cap(id, node));
    let trunk = || state.trunks.iter().find_map(|(name, trunk)| local::trunk_cap(name, trunk));
    verdict(
        node.or_else(|| campaigns(state, local::campaign_cap))
            .or_else(trunk)
            .or_else(|| local::fleet_cap(state)),
    )
}

pub(super) fn no_call_cut(state: &State) -> Verdict {
    verdict(state.fleet.nodes.iter().find_map(|(id, node)| local::cuts(id, node)))
}

pub(super) fn one_instance(state: &State) -> Verdict {
    let mut nodes = state.fleet.nodes.iter();
    let named = || nodes.find_map(|(id, node)| local::instance(id, node, &state.fleet));
    verdict(incident(state, &[SECOND_INSTANCE]).or_else(named))
}

/// The log's end is the time up to which node time is counted.
pub(super) fn limits(state: &State) -> Verdict {
    match state.fleet.limited.limits {
        Some(_) => {
            let fleet = &state.fleet;
            verdict(local::limits(fleet, u64::from(fleet.billing()), state.at))
        }
        None => Verdict::NotApplicable("the log has no plan with its limits".to_owned()),
    }
}

pub(super) fn no_incident_about_steps(state: &State) -> Verdict {
    verdict(incident(state, &STEP_INCIDENTS))
}

pub(super) fn prompts_held(state: &State) -> Verdict {
    verdict(campaigns(state, |_, campaign| {
        campaign.in_flight.iter().find_map(|(id, flight)| local::prompts(state, id, flight))
    }))
}

pub(super) fn explained(state: &State) -> Verdict {
    verdict(contacts(state, local::one_state).or_else(|| campaigns(state, local::completed)))
}

//! Steps of calls: which decision took effect, who opted out, tags.

use std::collections::BTreeMap;

use super::super::state::Campaign;
use super::super::stats;
use super::{STEP_INCIDENTS, contact, in_flight};
use crate::event::{EventRef, StepSource};
use crate::ids::AttemptId;
use crate::logic::{MAX_TAGS, Verb, is_name};
use crate::rules::GLOBAL_LIST;
use crate::state::{Effectless, State};

pub(super) fn taken(
    state: &mut State,
    call: &AttemptId,
    (step, source): (u32, StepSource),
    decision: Option<&EventRef>,
    reply: &str,
) -> Result<(), Effectless> {
    let attempt = in_flight(state, call).ok_or(Effectless::incident("the call is not in flight"))?;
    if step <= attempt.step {
        return Err(Effectless::incident(STEP_INCIDENTS[0]));
    }
    let proven = source != StepSource::Responder
        || decision.is_some_and(|id| attempt.decisions.contains(&(step, id.clone())));
    // A node's facts may lag: decisions of later steps can stand in the log before this one is told as taken.
    let before = attempt.decisions.len();
    attempt.decisions.retain(|(decided, _)| *decided > step);
    let superseded =
        (before - attempt.decisions.len()).saturating_sub(usize::from(decision.is_some())) as u64;
    attempt.step = step;
    match Verb::parse(reply) {
        Ok(Verb::Gather { .. }) => attempt.asked = true,
        Ok(Verb::Hangup { .. }) => attempt.hung_up = true,
        _ => {}
    }
    state.superseded_decisions += superseded;
    state.steps += 1;
    if proven { Ok(()) } else { Err(Effectless::incident(STEP_INCIDENTS[1])) }
}

/// Whoever opts out is on the global list from the decision on: a list is there before the goodbye is heard, and stays if the
/// decision is superseded.
pub(super) fn opted_out(state: &mut State, call: &AttemptId, reply: &str) {
    if Verb::parse(reply).is_ok_and(|verb| matches!(verb, Verb::Optout { .. }))
        && let Some(campaign) = state.campaigns.get(&call.campaign)
        && let Some(person) = campaign.contacts.get(call.contact as usize)
    {
        let number = person.number_hash;
        state.do_not_call.entry(GLOBAL_LIST.to_owned()).or_default().numbers.insert(number);
    }
}

/// What an answer that took effect means for the campaign: its tags, and whether the flow itself ends the call with it.
pub(super) fn heard(campaign: &mut Campaign, call: &AttemptId, reply: &str, tags: &[String]) {
    tag(&mut campaign.counts.tags, tags);
    let ends = matches!(Verb::parse(reply), Ok(Verb::Hangup { .. } | Verb::Optout { .. }));
    contact(campaign, call).finished |= ends;
}

/// Counts tags; a campaign has so many, and what a back end makes up beyond them is counted together.
fn tag(known: &mut BTreeMap<String, u32>, tags: &[String]) {
    for tag in tags.iter().take(MAX_TAGS).filter(|tag| is_name(tag)) {
        stats::count(known, tag.clone(), stats::OTHERS.to_owned());
    }
}

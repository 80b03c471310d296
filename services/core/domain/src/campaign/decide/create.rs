//! What a campaign is made of: everything that is wrong with it is said at once.

use super::find;
use crate::Rejection;
use crate::campaign::command::{Limits, NewCampaign};
use crate::event::Event;
use crate::ids::{CampaignId, Outcome, Timestamp};
use crate::rules::{self, CampaignRules, retry};
use crate::state::State;
use crate::trunk::{Trunk, TrunkSettings, choose};

/// How far a new campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is looked at before its flow and prompts are published: none of either is no problem yet.
    Draft,
    /// It is created.
    Final,
}

/// Everything that is wrong with a new campaign, in the order of its parts.
pub fn problems(state: &State, new: &NewCampaign, how_far: Stage, at: Timestamp) -> Vec<Rejection> {
    let mut found = Vec::new();
    let mut unless = |right: bool, code: &'static str, why: &'static str| {
        if !right {
            found.push(Rejection::new(code, why));
        }
    };
    let id = &new.campaign;
    let token = asterism_proto::origin::is_token(id) && id.len() <= 40;
    unless(token, "AST-D001", "a campaign id is 1 to 40 of [A-Za-z0-9_-]");
    unless(!state.campaigns.contains_key(id), "AST-D002", "a campaign of this id exists already");
    unless(!shares_call_ids(state, id), "AST-D164", SHARED_IDS);
    let later = |published: &str| how_far == Stage::Draft && published.is_empty();
    let flow = later(&new.flow) || state.catalogue.flows.contains_key(&new.flow);
    unless(flow, "AST-D003", "the flow has not been published");
    let manifest = later(&new.manifest) || state.catalogue.manifests.contains_key(&new.manifest);
    unless(manifest, "AST-D004", "the manifest has not been published");
    let allowed = new.allowed_hashes.len() <= 64;
    unless(allowed, "AST-D006", "at most 64 numbers can be allowed before go-live");
    found.extend(limit_problems(&new.limits, at));
    found.extend(one_trunk(&new.limits.rules, &new.trunks));
    found.extend(choose::problems(&new.trunks, &caller_ids(&new.limits), &state.trunks));
    let channels = state.catalogue.channels(&new.flow);
    let caps = new.trunks.iter().filter_map(|name| state.trunks.get(name).and_then(Trunk::usable));
    let mut caps = caps.map(|set| set.max_channels).peekable();
    if caps.peek().is_some() && caps.all(|cap| (1..channels).contains(&cap)) {
        let why = "the flow can join its calls with somebody, and no trunk has room for two channels";
        found.push(Rejection::new("AST-A180", why));
    }
    if lead_outside(state, &new.trunks) && !new.live && new.allowed_hashes.is_empty() {
        let why =
            "the trunk leads outside this machine: name the numbers allowed before go-live, or use --live";
        found.push(Rejection::new("AST-D044", why));
    }
    found
}

/// Why a name like another campaign's calls is refused.
const SHARED_IDS: &str = "a call of another campaign may have an id that this one's calls begin with, or the other way \
    round, and Asterisk takes no channel whose id begins another's: choose a name that is not another campaign's name \
    with two numbers behind it";

/// Whether a campaign that goes on can have a call at whose id calls of the other one begin: `c-1-1` is a call of `c`, and
/// the beginning of every call of a campaign `c-1-1`. Asterisk 22 refuses the second Originate (measured).
fn shares_call_ids(state: &State, id: &str) -> bool {
    let goes_on = |id: &str| {
        state.campaigns.get(id).is_some_and(|known| known.ended_at.is_none() || !known.in_flight.is_empty())
    };
    let begins = |rest: &str| {
        let contact = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let ordinal =
            contact.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        contact.len() < rest.len() && ordinal
    };
    let mut shorter = id.match_indices('-').filter(|(at, _)| begins(&id[at + 1..]));
    if shorter.any(|(at, _)| goes_on(&id[..at])) {
        return true;
    }
    let stem = format!("{id}-");
    let longer = state.campaigns.range(stem.clone()..).map_while(|(name, _)| name.strip_prefix(&stem));
    longer.into_iter().any(|rest| begins(rest) && goes_on(&format!("{stem}{rest}")))
}

fn lead_outside(state: &State, trunks: &[String]) -> bool {
    let settings = trunks.iter().filter_map(|name| state.trunks.get(name).and_then(Trunk::usable));
    settings.into_iter().any(TrunkSettings::is_outside)
}

fn caller_ids(limits: &Limits) -> Vec<&str> {
    let all = std::iter::once(&limits.caller_id).chain(&limits.caller_ids);
    all.map(String::as_str).filter(|number| !number.is_empty()).collect()
}

fn limit_problems(limits: &Limits, at: Timestamp) -> Vec<Rejection> {
    let mut found = Vec::new();
    if !(1_000..=120_000).contains(&limits.ring_timeout_ms) || !(1..=20).contains(&limits.max_attempts) {
        let why = "ring timeout is 1,000 to 120,000 ms and attempts are 1 to 20";
        found.push(Rejection::new("AST-D005", why));
    }
    let rules = rules::check(&limits.rules, at);
    found.extend(rules.iter().map(|problem| Rejection::with(problem.code(), problem.to_string())));
    found
}

/// A retry on another trunk needs one.
fn one_trunk(rules: &CampaignRules, trunks: &[String]) -> Option<Rejection> {
    let rule = rules.retries.iter().find(|rule| rule.another_trunk).filter(|_| trunks.len() == 1)?;
    let outcome = rule.outcome.name();
    let why =
        format!("retries.{outcome}: it is to be on another trunk, and the campaign names one; name a second");
    Some(Rejection::with("AST-D150", why))
}

fn refused(problems: &[Rejection]) -> Result<(), Rejection> {
    Rejection::of_all(problems).map_or(Ok(()), Err)
}

pub(super) fn create(state: &State, new: &NewCampaign, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    refused(&problems(state, new, Stage::Final, at))?;
    let NewCampaign { campaign, name, flow, manifest, trunks, limits, live, allowed_hashes } = new.clone();
    let mut trunks = trunks.into_iter();
    Ok(vec![Event::CampaignCreated {
        campaign,
        name,
        flow,
        manifest,
        trunk: trunks.next().unwrap_or_default(),
        trunks: trunks.collect(),
        max_channels: limits.max_channels,
        calls_per_second: limits.calls_per_second,
        ring_timeout_ms: limits.ring_timeout_ms,
        max_attempts: limits.max_attempts,
        caller_id: limits.caller_id,
        caller_ids: limits.caller_ids,
        live,
        allowed_hashes,
        rules: Some(with_usual_retries(limits.rules)),
    }])
}

pub(super) fn change(
    state: &State,
    campaign: &CampaignId,
    (limits, trunks, manifest): (&Limits, &[String], &String),
    reason: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let known = find(state, campaign)?;
    if known.ended_at.is_some() {
        return Err(Rejection::new("AST-D012", "the campaign has ended"));
    }
    let trunks = if trunks.is_empty() { known.trunks.as_slice() } else { trunks };
    let mut problems = limit_problems(limits, at);
    problems.extend(one_trunk(&limits.rules, trunks));
    problems.extend(choose::problems(trunks, &caller_ids(limits), &state.trunks));
    let others = trunks != known.trunks;
    if others && lead_outside(state, trunks) && !known.live && known.allowed.is_empty() {
        let why = "a trunk leads outside this machine, and no number was allowed before go-live: take the campaign live \
                   first, with `campaign go-live`";
        problems.push(Rejection::new("AST-D044", why));
    }
    let anew = !manifest.is_empty() && *manifest != known.manifest;
    if anew && !state.catalogue.manifests.contains_key(manifest) {
        problems.push(Rejection::new("AST-D004", "the manifest has not been published"));
    }
    refused(&problems)?;
    Ok(vec![Event::CampaignChanged {
        campaign: campaign.clone(),
        max_channels: limits.max_channels,
        calls_per_second: limits.calls_per_second,
        ring_timeout_ms: limits.ring_timeout_ms,
        max_attempts: limits.max_attempts,
        caller_id: limits.caller_id.clone(),
        caller_ids: limits.caller_ids.clone(),
        trunks: if others { trunks.to_vec() } else { Vec::new() },
        manifest: if anew { manifest.clone() } else { String::new() },
        rules: Some(with_usual_retries(limits.rules.clone())),
        reason: reason.to_owned(),
    }])
}

/// What is meant where nothing was said.
fn with_usual_retries(mut rules: CampaignRules) -> CampaignRules {
    if rules.retry(Outcome::Congestion).is_none() {
        rules.retries.push(retry::CONGESTION);
    }
    rules
}

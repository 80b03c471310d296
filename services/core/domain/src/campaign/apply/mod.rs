//! The reducer of campaigns and attempts: total, and the only writer of their state. Attempts are here, people in
//! `contacts`, steps of calls in `steps`, ends in `settled`, what a campaign is and where it stands in `settings`.

mod contacts;
mod settings;
mod settled;
mod steps;
pub(crate) mod trunks;

use self::settled::{count_ring, settle, settle_uncertain, to_waiting};
use self::trunks::Away;
use super::budget;
use super::judge::{Verdict, judge, known_elsewhere};
use super::state::{Attempt, AttemptStatus, Campaign, CampaignStatus, Contact, ContactStatus};
use super::stats::Fate;
use crate::event::{Event, Recorded};
use crate::ids::{AttemptId, Listened, Outcome, Timestamp};
use crate::paces;
use crate::state::{Effectless, State};
use crate::trunk::choose;

/// What INV-01 looks for: the node itself says that it went to the carrier twice.
pub(crate) const SECOND_ORIGINATE: &str = "an attempt is originated a second time";
/// What INV-10 looks for.
pub(crate) const STEP_INCIDENTS: [&str; 2] =
    ["a second answer to one step", "a step taken without its decision in the log"];

/// Applies an event about a campaign or an attempt.
pub fn apply(state: &mut State, recorded: &Recorded) -> Result<(), Effectless> {
    let at = recorded.at;
    match &recorded.event {
        Event::CampaignCreated { campaign, manifest, .. } => {
            if state.campaigns.contains_key(campaign) {
                return Err(Effectless::void("the campaign exists already"));
            }
            still_published(state, manifest)?;
            if let Some(new) = settings::created(&recorded.event, at) {
                state.campaigns.insert(campaign.clone(), new);
            }
            Ok(())
        }
        Event::ContactsImported {
            campaign,
            import,
            contacts,
            duplicates,
            last,
            zones,
            skip_known,
            known: left,
        } => {
            let erasure = state.erasures.get(import);
            if erasure.is_some_and(|erasure| contacts.iter().any(|row| erasure.covers(&row.number_hash))) {
                return Err(Effectless::void("a contact was erased before it was imported"));
            }
            if contacts.iter().any(|row| known_elsewhere(state, campaign, skip_known, &row.number_hash)) {
                return Err(Effectless::void("another campaign has a number that was to be left out"));
            }
            let counted = (*duplicates, *left);
            contacts::imported(known(state, campaign)?, import, (contacts, zones), counted, *last)
        }
        Event::CampaignChanged { campaign, manifest, .. } => {
            still_published(state, manifest)?;
            settings::changed(known(state, campaign)?, &recorded.event)
        }
        Event::ContactsExcluded { campaign, contacts, rule, .. } => {
            contacts::excluded(known(state, campaign)?, contacts, *rule)
        }
        Event::ContactsDeferred { campaign, contacts, until_ms, .. } => {
            contacts::deferred(known(state, campaign)?, contacts, *until_ms)
        }
        Event::ContactsReopened { campaign, contacts, .. } => {
            let prompts = &known(state, campaign)?.manifest.clone();
            still_published(state, prompts)?;
            contacts::reopened(known(state, campaign)?, contacts)
        }
        Event::DoNotCallAdded { .. } | Event::DoNotCallRemoved { .. } => {
            contacts::listed(state, &recorded.event)
        }
        Event::ContactsErased { import, contacts, .. } => contacts::erased(state, import, contacts),
        other if other.attempt().is_some() => of_attempt(state, recorded),
        other => settings::status(state, other, at),
    }
}

/// Its prompts may have been retired between the decision and here.
fn still_published(state: &State, manifest: &str) -> Result<(), Effectless> {
    let gone = state.catalogue.retired.contains(manifest);
    if gone { Err(Effectless::void("its prompts were retired meanwhile")) } else { Ok(()) }
}

fn of_attempt(state: &mut State, recorded: &Recorded) -> Result<(), Effectless> {
    let at = recorded.at;
    match &recorded.event {
        Event::AttemptIntended {
            attempt,
            node,
            trunk,
            not_before_ms,
            not_after_ms,
            closes_at_ms,
            caller_id,
            manifest,
            ..
        } => {
            let new = Attempt {
                node: node.clone(),
                trunk: trunk.clone(),
                caller_id: caller_id.clone(),
                manifest: manifest.clone(),
                status: AttemptStatus::Intended,
                not_before_ms: *not_before_ms,
                not_after_ms: *not_after_ms,
                intended_at: at,
                originated_at: 0,
                closes_at_ms: *closes_at_ms,
                step: 0,
                decisions: Vec::new(),
                machine: false,
                asked: false,
                hung_up: false,
                channels: 1,
            };
            intended(state, attempt, new)
        }
        Event::AttemptAccepted { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            answered_order(state, attempt);
            advance(state, attempt, AttemptStatus::Accepted).map(|_| ())
        }
        Event::AttemptOriginating { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            answered_order(state, attempt);
            if in_flight(state, attempt).is_some_and(|known| known.status >= AttemptStatus::Originating) {
                return Err(Effectless::incident(SECOND_ORIGINATE));
            }
            advance(state, attempt, AttemptStatus::Originating)?.originated_at = at;
            with(state, attempt, |campaign| {
                campaign.counts.rang += 1;
                let person = contact(campaign, attempt);
                person.rang = person.rang.saturating_add(1);
            })
        }
        Event::AttemptAnswered { attempt } => {
            own_attempt(state, attempt, recorded)?;
            advance(state, attempt, AttemptStatus::Answered)?;
            state.up += 1;
            state.peak_up = state.peak_up.max(state.up);
            with(state, attempt, |campaign| {
                campaign.counts.answered += 1;
                campaign.counts.up += 1;
            })
        }
        Event::MachineJudged { attempt, verdict, .. } => {
            own_attempt(state, attempt, recorded)?;
            judged(state, attempt, *verdict)
        }
        Event::BridgeEnded { attempt, .. } => own_attempt(state, attempt, recorded),
        Event::AttemptRefused { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            refused(state, attempt, at)
        }
        Event::AttemptEnded { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            ended(state, attempt, &recorded.event, at)
        }
        Event::AttemptUncertain { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            let released = release(state, attempt)?;
            settle_uncertain(state, attempt, &released, at)
        }
        Event::StepDecided { call, step, reply, .. } => {
            steps::opted_out(state, call, reply);
            let Some(attempt) = in_flight(state, call) else { return Ok(()) };
            if *step > attempt.step {
                attempt.decisions.push((*step, recorded.id.clone()));
            } else {
                state.superseded_decisions += 1;
            }
            Ok(())
        }
        Event::StepTaken { call, step, source, decision, tags, reply, .. } => {
            own_attempt(state, call, recorded)?;
            steps::taken(state, call, (*step, *source), decision.as_ref(), reply)?;
            with(state, call, |campaign| steps::heard(campaign, call, reply, tags))
        }
        _ => Ok(()),
    }
}

fn refused(state: &mut State, attempt: &AttemptId, at: Timestamp) -> Result<(), Effectless> {
    let ended = release(state, attempt)?;
    if ended.status >= AttemptStatus::Originating {
        settle_uncertain(state, attempt, &ended, at)?;
        return Err(Effectless::incident("refused after it was originated"));
    }
    trunks::not_probed(state, &ended);
    with(state, attempt, |campaign| {
        campaign.counts.refused += 1;
        campaign.stats.over(Fate::Refused, at);
        to_waiting(campaign, attempt, 0);
    })
}

fn judged(state: &mut State, attempt: &AttemptId, verdict: Listened) -> Result<(), Effectless> {
    let known = in_flight(state, attempt).ok_or(Effectless::incident("the attempt is not in flight"))?;
    if known.status != AttemptStatus::Answered {
        return Err(Effectless::incident("who answered is judged of a call that is not up"));
    }
    known.machine = verdict == Listened::Machine;
    Ok(())
}

fn ended(state: &mut State, attempt: &AttemptId, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    let Event::AttemptEnded {
        outcome, digits, never_rang, talk_ms, ring_ms, cause, sip_status, path, ..
    } = event
    else {
        return Ok(());
    };
    let released = release(state, attempt)?;
    let answered = released.status == AttemptStatus::Answered || *outcome == Outcome::Answered;
    let away = trunks::ended(state, attempt, &released, event, at);
    with(state, attempt, |campaign| {
        if answered {
            campaign.stats.called(path);
        } else {
            campaign.stats.dropped(&released.trunk, *cause, *sip_status);
        }
    })?;
    if away == Away::Another {
        return with(state, attempt, |campaign| {
            campaign.stats.over(Fate::TurnedAway, at);
            trunks::turn_away(campaign, attempt, &released);
        });
    }
    let silent = *never_rang && !answered;
    count_ring(state, attempt, &released, (silent, silent || away == Away::Last), at)?;
    // No carrier had room: the contact is put back, and it costs it nothing.
    let outcome = if away == Away::Last { Outcome::Congestion } else { *outcome };
    // A node's own word of how long, but no longer than the log says that the slot was held.
    let held_ms = u64::from(*ring_ms) + u64::from(*talk_ms);
    let held_ms = held_ms.min(at.saturating_sub(released.intended_at));
    state.fleet.learnt.ended(at, held_ms, outcome, *never_rang);
    let elsewhere = choose::another_than(&state.campaigns, attempt, &state.trunks, &released.trunk);
    with(state, attempt, |campaign| {
        let outcome = released.comes_to(&campaign.rules, outcome, digits);
        let talked = if answered { u64::from(*talk_ms) } else { 0 };
        campaign.counts.talk_ms = campaign.counts.talk_ms.saturating_add(talked);
        campaign.stats.over(Fate::Ended(outcome), at);
        settle(campaign, attempt, (outcome, digits), elsewhere, at);
    })?;
    if *never_rang && answered {
        return Err(Effectless::incident("an answered attempt that is said not to have rung"));
    }
    Ok(())
}

/// Settles, as uncertain, what a lost node held.
pub fn orphaned(state: &mut State, attempts: &[AttemptId], at: Timestamp) {
    for attempt in attempts {
        if let Some(removed) = take_in_flight(state, attempt) {
            let _ = settle_uncertain(state, attempt, &removed, at);
        }
    }
}

/// The guard of the dialer's decision, judged again where it landed: a drain, a pause, a hold by the ledger, an entry on
/// a do-not-call list or another campaign's ring may have come between.
fn intended(state: &mut State, attempt: &AttemptId, mut new: Attempt) -> Result<(), Effectless> {
    if state.emergency.is_some() {
        return Err(Effectless::void("an emergency stop came between"));
    }
    if !state.archive_hold.is_empty() {
        return Err(Effectless::void("dialling is held until more of the log is archived"));
    }
    let home = state.fleet.nodes.get(&new.node).ok_or(Effectless::void("unknown node"))?;
    let campaign =
        state.campaigns.get_mut(&attempt.campaign).ok_or(Effectless::incident("unknown campaign"))?;
    if !home.dialable() {
        return Err(Effectless::void("the node takes no new calls"));
    }
    if home.free_slots() == 0 {
        return Err(Effectless::void("the node has no free slot"));
    }
    if new.manifest.is_empty() {
        new.manifest.clone_from(&campaign.manifest);
    }
    new.channels = state.catalogue.channels(&campaign.flow);
    if ![&campaign.manifest, &campaign.manifest_before].contains(&&new.manifest) {
        return Err(Effectless::void("the prompts are none of the campaign's"));
    }
    if !home.manifests.contains(&new.manifest) {
        return Err(Effectless::void("the node does not hold the prompts"));
    }
    if campaign.status != CampaignStatus::Running {
        return Err(Effectless::void("the campaign is not running"));
    }
    if campaign.max_channels > 0 && campaign.counts.in_flight >= campaign.max_channels {
        return Err(Effectless::void("the campaign is at its cap"));
    }
    if budget::room(campaign) == Some(0) {
        return Err(Effectless::void("the campaign's budget of answered calls has no room"));
    }
    let deadline_ms = campaign.rules.deadline_ms;
    if deadline_ms > 0 && new.not_after_ms > deadline_ms {
        return Err(Effectless::void("the campaign's deadline comes before"));
    }
    if new.closes_at_ms > 0 && new.not_after_ms > new.closes_at_ms {
        return Err(Effectless::void("the callee's calling window closes before"));
    }
    let rules = &campaign.rules;
    let person =
        campaign.contacts.get(attempt.contact as usize).ok_or(Effectless::incident("unknown contact"))?;
    if person.status != ContactStatus::Waiting || person.attempts + 1 != attempt.ordinal {
        return Err(Effectless::void("the contact is not waiting for this attempt"));
    }
    if judge(&state.do_not_call, &state.numbers, rules, person.asked(), new.not_before_ms) != Verdict::Dial {
        return Err(Effectless::void("a rule about the number came between"));
    }
    trunks::may_carry(state.trunks.get(&new.trunk), (campaign, person), home, (attempt, &new))?;
    paces::may_start(&state.fleet, home, state.in_flight, new.not_before_ms)?;
    let Campaign { contacts, waiting, counts, .. } = campaign;
    let person = contacts.get_mut(attempt.contact as usize).ok_or(Effectless::incident("unknown contact"))?;
    waiting.remove(attempt.contact, person.place());
    person.status = ContactStatus::InFlight;
    person.attempts = attempt.ordinal;
    state.numbers.entry(person.number_hash).or_default().in_flight = true;
    counts.waiting -= 1;
    counts.in_flight += 1;
    counts.attempts += 1;
    campaign.last_start_ms = campaign.last_start_ms.max(new.not_before_ms);
    let home = state.fleet.nodes.get_mut(&new.node).ok_or(Effectless::incident("unknown node"))?;
    home.attempts.insert(attempt.clone());
    home.unanswered.insert(attempt.clone());
    state.fleet.paced.took(home, new.not_before_ms);
    trunks::took(state.trunks.entry(new.trunk.clone()).or_default(), &new);
    campaign.in_flight.insert(attempt.clone(), new);
    state.in_flight += 1;
    state.peak_in_flight = state.peak_in_flight.max(state.in_flight);
    Ok(())
}

fn advance<'a>(
    state: &'a mut State,
    attempt: &AttemptId,
    to: AttemptStatus,
) -> Result<&'a mut Attempt, Effectless> {
    let known = in_flight(state, attempt).ok_or(Effectless::incident("the attempt is not in flight"))?;
    if known.status >= to {
        return Err(Effectless::incident("the attempt is further already"));
    }
    known.status = to;
    Ok(known)
}

fn answered_order(state: &mut State, attempt: &AttemptId) {
    if let Some(node) = in_flight(state, attempt).map(|known| known.node.clone())
        && let Some(home) = state.fleet.nodes.get_mut(&node)
    {
        home.unanswered.remove(attempt);
    }
}
/// Takes the attempt out of flight and gives its slot back.
fn release(state: &mut State, attempt: &AttemptId) -> Result<Attempt, Effectless> {
    let gone = take_in_flight(state, attempt).ok_or(Effectless::incident("the attempt is not in flight"))?;
    if let Some(home) = state.fleet.nodes.get_mut(&gone.node) {
        home.attempts.remove(attempt);
        home.unanswered.remove(attempt);
    }
    Ok(gone)
}

fn take_in_flight(state: &mut State, attempt: &AttemptId) -> Option<Attempt> {
    let campaign = state.campaigns.get_mut(&attempt.campaign)?;
    let gone = campaign.in_flight.remove(attempt)?;
    let held_ms = state.at.saturating_sub(gone.intended_at);
    campaign.stats.slots_ms = campaign.stats.slots_ms.saturating_add(held_ms);
    state.slots_ms = state.slots_ms.saturating_add(held_ms);
    campaign.counts.in_flight -= 1;
    campaign.above_cap = campaign.above_cap.min(campaign.counts.in_flight);
    state.in_flight -= 1;
    state.fleet.paced.above_cap = state.fleet.paced.above_cap.min(state.in_flight);
    if gone.status == AttemptStatus::Answered {
        state.up -= 1;
        campaign.counts.up -= 1;
    }
    if let Some(trunk) = state.trunks.get_mut(&gone.trunk) {
        trunks::left(trunk, &gone);
    }
    if let Some(person) = campaign.contacts.get(attempt.contact as usize)
        && let Some(number) = state.numbers.get_mut(&person.number_hash)
    {
        number.in_flight = false;
        if number.rings == 0 {
            state.numbers.remove(&person.number_hash);
        }
    }
    Some(gone)
}

/// The attempt's contact. An attempt is in flight only for a contact that exists.
fn contact<'a>(campaign: &'a mut Campaign, attempt: &AttemptId) -> &'a mut Contact {
    &mut campaign.contacts[attempt.contact as usize]
}

fn with(
    state: &mut State,
    attempt: &AttemptId,
    change: impl FnOnce(&mut Campaign),
) -> Result<(), Effectless> {
    change(known(state, &attempt.campaign)?);
    Ok(())
}

fn known<'a>(state: &'a mut State, campaign: &str) -> Result<&'a mut Campaign, Effectless> {
    state.campaigns.get_mut(campaign).ok_or(Effectless::incident("unknown campaign"))
}

fn in_flight<'a>(state: &'a mut State, attempt: &AttemptId) -> Option<&'a mut Attempt> {
    state.campaigns.get_mut(&attempt.campaign)?.in_flight.get_mut(attempt)
}

/// A node writes only about attempts that were put on it.
fn own_attempt(state: &mut State, attempt: &AttemptId, recorded: &Recorded) -> Result<(), Effectless> {
    let known = in_flight(state, attempt).ok_or(Effectless::incident("the attempt is not in flight"))?;
    match &recorded.origin {
        asterism_proto::Origin::Node(node) if *node == known.node => Ok(()),
        _ => Err(Effectless::incident("a node wrote about an attempt that is not its own")),
    }
}

//! The reducer of campaigns and attempts: total, and the only writer of their state.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Attempt, AttemptStatus, Campaign, CampaignStatus, Contact, ContactStatus, Counts};
use crate::event::{Event, Recorded, SealedContact, StepSource};
use crate::ids::{AttemptId, NodeId, NumberHash, Outcome, Timestamp};
use crate::state::{Effectless, State};

/// What INV-01 looks for: the node itself says that it went to the carrier twice.
pub(crate) const SECOND_ORIGINATE: &str = "an attempt is originated a second time";
/// What INV-10 looks for.
pub(crate) const STEP_INCIDENTS: [&str; 2] =
    ["a second answer to one step", "a step taken without its decision in the log"];

/// Applies an event about a campaign or an attempt.
pub fn apply(state: &mut State, recorded: &Recorded) -> Result<(), Effectless> {
    let at = recorded.at;
    match &recorded.event {
        Event::CampaignCreated { campaign, .. } => {
            if state.campaigns.contains_key(campaign) {
                return Err(Effectless::void("the campaign exists already"));
            }
            if let Some(new) = created(&recorded.event, at) {
                state.campaigns.insert(campaign.clone(), new);
            }
            Ok(())
        }
        Event::ContactsImported { campaign, import, contacts, duplicates, last } => {
            let erasure = state.erasures.get(import);
            if erasure.is_some_and(|erasure| contacts.iter().any(|row| erasure.covers(&row.number_hash))) {
                return Err(Effectless::void("a contact was erased before it was imported"));
            }
            imported(known(state, campaign)?, import, contacts, *duplicates, *last)
        }
        Event::ContactsErased { import, contacts, .. } => erased(state, import, contacts),
        Event::AttemptIntended { attempt, node, trunk, not_before_ms, not_after_ms, .. } => {
            let window = (*not_before_ms, *not_after_ms);
            intended(state, attempt, node, trunk, window, at)
        }
        Event::AttemptAccepted { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            answered_order(state, attempt);
            advance(state, attempt, AttemptStatus::Accepted)
        }
        Event::AttemptOriginating { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            answered_order(state, attempt);
            if in_flight(state, attempt).is_some_and(|known| known.status >= AttemptStatus::Originating) {
                return Err(Effectless::incident(SECOND_ORIGINATE));
            }
            advance(state, attempt, AttemptStatus::Originating)?;
            with(state, attempt, |campaign| {
                campaign.counts.rang += 1;
                contact(campaign, attempt).rang += 1;
            })
        }
        Event::AttemptAnswered { attempt } => {
            own_attempt(state, attempt, recorded)?;
            advance(state, attempt, AttemptStatus::Answered)?;
            state.up += 1;
            state.peak_up = state.peak_up.max(state.up);
            with(state, attempt, |campaign| campaign.counts.answered += 1)
        }
        Event::AttemptRefused { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            let ended = release(state, attempt)?;
            if ended.status >= AttemptStatus::Originating {
                settle_uncertain(state, attempt, ended.status)?;
                return Err(Effectless::incident("refused after it was originated"));
            }
            with(state, attempt, |campaign| {
                campaign.counts.refused += 1;
                to_waiting(campaign, attempt);
            })
        }
        Event::AttemptEnded { attempt, outcome, digits, never_rang, .. } => {
            own_attempt(state, attempt, recorded)?;
            let released = release(state, attempt)?;
            let answered = released.status == AttemptStatus::Answered || *outcome == Outcome::Answered;
            with(state, attempt, |campaign| {
                count_ring(campaign, attempt, released.status, *never_rang && !answered);
                settle(campaign, attempt, *outcome, digits);
            })?;
            if *never_rang && answered {
                return Err(Effectless::incident("an answered attempt that is said not to have rung"));
            }
            Ok(())
        }
        Event::AttemptUncertain { attempt, .. } => {
            own_attempt(state, attempt, recorded)?;
            let released = release(state, attempt)?;
            settle_uncertain(state, attempt, released.status)
        }
        Event::StepDecided { call, step, .. } => {
            let Some(attempt) = in_flight(state, call) else { return Ok(()) };
            if *step > attempt.step {
                attempt.decisions.push((*step, recorded.id.clone()));
            } else {
                state.superseded_decisions += 1;
            }
            Ok(())
        }
        Event::StepTaken { call, step, source, decision, .. } => {
            own_attempt(state, call, recorded)?;
            step_taken(state, call, *step, *source, decision.as_ref())
        }
        other => status(state, other, at),
    }
}

/// Settles, as uncertain, what a lost node held.
pub fn orphaned(state: &mut State, attempts: &[AttemptId]) {
    for attempt in attempts {
        if let Some(removed) = take_in_flight(state, attempt) {
            let _ = settle_uncertain(state, attempt, removed.status);
        }
    }
}

fn status(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    let Some(id) = event.campaign() else { return Ok(()) };
    let campaign = known(state, id)?;
    let (from, to): (&[CampaignStatus], CampaignStatus) = match event {
        Event::CampaignStarted { .. } => (&[CampaignStatus::Created], CampaignStatus::Running),
        Event::CampaignPaused { .. } => (&[CampaignStatus::Running], CampaignStatus::Paused),
        Event::CampaignResumed { .. } => (&[CampaignStatus::Paused], CampaignStatus::Running),
        Event::CampaignStopped { .. } => (
            &[CampaignStatus::Created, CampaignStatus::Running, CampaignStatus::Paused],
            CampaignStatus::Stopped,
        ),
        Event::CampaignCompleted { .. } => (&[CampaignStatus::Running], CampaignStatus::Completed),
        Event::CampaignLive { .. } => {
            campaign.live = true;
            return Ok(());
        }
        _ => return Ok(()),
    };
    if !from.contains(&campaign.status) {
        return Err(Effectless::void("the campaign is not in a state for this"));
    }
    if to == CampaignStatus::Completed && !(campaign.waiting.is_empty() && campaign.in_flight.is_empty()) {
        return Err(Effectless::void("the campaign has contacts that wait or are in flight"));
    }
    campaign.status = to;
    match to {
        CampaignStatus::Running => {
            campaign.started_at.get_or_insert(at);
        }
        CampaignStatus::Stopped | CampaignStatus::Completed => campaign.ended_at = Some(at),
        CampaignStatus::Created | CampaignStatus::Paused => {}
    }
    Ok(())
}

fn created(event: &Event, at: Timestamp) -> Option<Campaign> {
    let Event::CampaignCreated {
        campaign: _,
        name,
        flow,
        manifest,
        trunk,
        max_channels,
        calls_per_second,
        ring_timeout_ms,
        max_attempts,
        caller_id,
        live,
        allowed_hashes,
    } = event.clone()
    else {
        return None;
    };
    Some(Campaign {
        name,
        flow,
        manifest,
        trunk,
        max_channels,
        calls_per_second,
        ring_timeout_ms,
        max_attempts: max_attempts.max(1),
        caller_id,
        live,
        allowed: allowed_hashes.into_iter().collect(),
        status: CampaignStatus::Created,
        import_complete: false,
        imports: Vec::new(),
        contacts: Vec::new(),
        waiting: BTreeSet::new(),
        numbers: BTreeSet::new(),
        in_flight: BTreeMap::new(),
        counts: Counts::default(),
        last_start_ms: 0,
        created_at: at,
        started_at: None,
        ended_at: None,
    })
}

fn imported(
    campaign: &mut Campaign,
    import: &str,
    contacts: &[SealedContact],
    duplicates: u32,
    last: bool,
) -> Result<(), Effectless> {
    let fits = contacts.iter().enumerate().all(|(index, row)| {
        row.contact as usize == campaign.contacts.len() + index
            && !campaign.numbers.contains(&row.number_hash)
    });
    if !fits {
        return Err(Effectless::void("the contacts do not follow those imported"));
    }
    let index = campaign.imports.iter().position(|known| known == import).unwrap_or_else(|| {
        campaign.imports.push(import.to_owned());
        campaign.imports.len() - 1
    });
    for row in contacts {
        campaign.waiting.insert(row.contact);
        campaign.numbers.insert(row.number_hash);
        campaign.contacts.push(Contact {
            import: index as u16,
            status: ContactStatus::Waiting,
            erased: false,
            attempts: 0,
            rang: 0,
            never_rang: 0,
            digits: Box::default(),
            number_hash: row.number_hash,
            sealed: row.sealed.clone().into_boxed_slice(),
        });
    }
    campaign.counts.imported += contacts.len() as u32;
    campaign.counts.waiting += contacts.len() as u32;
    campaign.counts.duplicates = campaign.counts.duplicates.saturating_add(duplicates);
    campaign.import_complete |= last;
    Ok(())
}

/// Takes people out: who waits is never dialled, who is in flight is not dialled again, what happened stands.
fn erased(state: &mut State, import: &str, numbers: &[NumberHash]) -> Result<(), Effectless> {
    let mut named = false;
    for campaign in state.campaigns.values_mut() {
        let Some(index) = campaign.imports.iter().position(|known| known == import) else { continue };
        named = true;
        let Campaign { contacts, waiting, counts, .. } = campaign;
        let meant = |person: &Contact| {
            usize::from(person.import) == index
                && !person.erased
                && (numbers.is_empty() || numbers.contains(&person.number_hash))
        };
        for (contact, person) in (0u32..).zip(contacts).filter(|(_, person)| meant(person)) {
            person.erased = true;
            person.sealed = Box::default();
            if person.status == ContactStatus::Waiting {
                person.status = ContactStatus::Erased;
                waiting.remove(&contact);
                counts.waiting -= 1;
                counts.erased += 1;
            }
        }
    }
    if !named {
        return Err(Effectless::void("no campaign has contacts of this import"));
    }
    let erasure = state.erasures.entry(import.to_owned()).or_default();
    erasure.whole |= numbers.is_empty();
    erasure.numbers.extend(numbers);
    Ok(())
}

/// The guard of the dialer's decision, judged again where it landed: a drain or a pause may have come between.
fn intended(
    state: &mut State,
    attempt: &AttemptId,
    node: &NodeId,
    trunk: &str,
    (not_before_ms, not_after_ms): (Timestamp, Timestamp),
    at: Timestamp,
) -> Result<(), Effectless> {
    let home = state.fleet.nodes.get_mut(node).ok_or(Effectless::void("unknown node"))?;
    let campaign =
        state.campaigns.get_mut(&attempt.campaign).ok_or(Effectless::incident("unknown campaign"))?;
    if !home.dialable() {
        return Err(Effectless::void("the node takes no new calls"));
    }
    if home.free_slots() == 0 {
        return Err(Effectless::void("the node has no free slot"));
    }
    if !home.manifests.contains(&campaign.manifest) {
        return Err(Effectless::void("the node does not hold the prompts"));
    }
    if campaign.status != CampaignStatus::Running {
        return Err(Effectless::void("the campaign is not running"));
    }
    if campaign.max_channels > 0 && campaign.counts.in_flight >= campaign.max_channels {
        return Err(Effectless::void("the campaign is at its cap"));
    }
    let person =
        campaign.contacts.get_mut(attempt.contact as usize).ok_or(Effectless::incident("unknown contact"))?;
    if person.status != ContactStatus::Waiting || person.attempts + 1 != attempt.ordinal {
        return Err(Effectless::void("the contact is not waiting for this attempt"));
    }
    person.status = ContactStatus::InFlight;
    person.attempts = attempt.ordinal;
    campaign.waiting.remove(&attempt.contact);
    campaign.counts.waiting -= 1;
    campaign.counts.in_flight += 1;
    campaign.counts.attempts += 1;
    campaign.last_start_ms = campaign.last_start_ms.max(not_before_ms);
    let new = Attempt {
        node: node.clone(),
        trunk: trunk.to_owned(),
        status: AttemptStatus::Intended,
        not_before_ms,
        not_after_ms,
        intended_at: at,
        step: 0,
        decisions: Vec::new(),
    };
    campaign.in_flight.insert(attempt.clone(), new);
    home.attempts.insert(attempt.clone());
    home.unanswered.insert(attempt.clone());
    let carried = state.trunks.entry(trunk.to_owned()).or_default();
    carried.in_flight += 1;
    carried.last_start_ms = carried.last_start_ms.max(not_before_ms);
    state.in_flight += 1;
    state.peak_in_flight = state.peak_in_flight.max(state.in_flight);
    Ok(())
}

fn advance(state: &mut State, attempt: &AttemptId, to: AttemptStatus) -> Result<(), Effectless> {
    let known = in_flight(state, attempt).ok_or(Effectless::incident("the attempt is not in flight"))?;
    if known.status >= to {
        return Err(Effectless::incident("the attempt is further already"));
    }
    known.status = to;
    Ok(())
}

fn answered_order(state: &mut State, attempt: &AttemptId) {
    if let Some(node) = in_flight(state, attempt).map(|known| known.node.clone())
        && let Some(home) = state.fleet.nodes.get_mut(&node)
    {
        home.unanswered.remove(attempt);
    }
}

fn step_taken(
    state: &mut State,
    call: &AttemptId,
    step: u32,
    source: StepSource,
    decision: Option<&crate::event::EventRef>,
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
    state.superseded_decisions += superseded;
    state.steps += 1;
    if proven { Ok(()) } else { Err(Effectless::incident(STEP_INCIDENTS[1])) }
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
    campaign.counts.in_flight -= 1;
    state.in_flight -= 1;
    if gone.status == AttemptStatus::Answered {
        state.up -= 1;
    }
    if let Some(trunk) = state.trunks.get_mut(&gone.trunk) {
        trunk.in_flight -= 1;
    }
    Some(gone)
}

/// Counts what an ended attempt was: possibly a ring, as its originate was counted, or certainly none.
fn count_ring(campaign: &mut Campaign, attempt: &AttemptId, before: AttemptStatus, never_rang: bool) {
    let counted = before >= AttemptStatus::Originating;
    // A node that lost its write-ahead would say "ended" alone: count the ring all the same.
    let rings = |count: u32| (count + u32::from(!counted)) - u32::from(never_rang);
    campaign.counts.rang = rings(campaign.counts.rang);
    campaign.counts.never_rang += u32::from(never_rang);
    let person = contact(campaign, attempt);
    person.rang = rings(person.rang);
    person.never_rang = person.never_rang.saturating_add(u16::from(never_rang));
}

fn settle(campaign: &mut Campaign, attempt: &AttemptId, outcome: Outcome, digits: &str) {
    let max_attempts = campaign.max_attempts;
    let person = contact(campaign, attempt);
    if outcome == Outcome::Answered {
        person.digits = digits.into();
    } else if person.rang + u32::from(person.never_rang) < max_attempts {
        to_waiting(campaign, attempt);
        return;
    }
    person.status = ContactStatus::Settled(outcome);
    *campaign.counts.settled.entry(outcome).or_default() += 1;
    if outcome == Outcome::Answered {
        *campaign.counts.digits.entry(digits.to_owned()).or_default() += 1;
    }
}

fn to_waiting(campaign: &mut Campaign, attempt: &AttemptId) {
    if contact(campaign, attempt).erased {
        contact(campaign, attempt).status = ContactStatus::Erased;
        campaign.counts.erased += 1;
        return;
    }
    contact(campaign, attempt).status = ContactStatus::Waiting;
    campaign.waiting.insert(attempt.contact);
    campaign.counts.waiting += 1;
}

/// It may have rung: a node can dial, and be gone before the log hears that it was about to.
fn settle_uncertain(state: &mut State, attempt: &AttemptId, before: AttemptStatus) -> Result<(), Effectless> {
    with(state, attempt, |campaign| {
        count_ring(campaign, attempt, before, false);
        contact(campaign, attempt).status = ContactStatus::Uncertain;
        campaign.counts.uncertain += 1;
    })
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

//! What the end of an attempt comes to for its contact: counted, settled, uncertain, or waiting again.

use super::super::state::{Attempt, AttemptStatus, Campaign, ContactStatus, KeptOff};
use super::super::stats::{self, Fate};
use super::{contact, contacts, known, with};
use crate::ids::{AttemptId, Outcome, Timestamp};
use crate::rules::retry::{self, Behind, Next};
use crate::state::{Effectless, State};

/// Counts what an ended attempt was: possibly a ring, as its originate was counted, or certainly none. `nobody` was rung
/// also where a carrier turned it away, which its own count knows of.
pub(super) fn count_ring(
    state: &mut State,
    attempt: &AttemptId,
    ended: &Attempt,
    (never_rang, nobody): (bool, bool),
    at: Timestamp,
) -> Result<(), Effectless> {
    let counted = ended.status >= AttemptStatus::Originating;
    // A node that lost its write-ahead would say "ended" alone: count the ring all the same.
    let (more, less) = (u16::from(!counted), u16::from(never_rang));
    let campaign = known(state, &attempt.campaign)?;
    campaign.counts.rang = (campaign.counts.rang + u32::from(more)) - u32::from(less);
    campaign.counts.never_rang += u32::from(never_rang);
    let person = contact(campaign, attempt);
    person.rang = person.rang.saturating_add(more).saturating_sub(less);
    person.never_rang = person.never_rang.saturating_add(u16::from(never_rang));
    let hash = person.number_hash;
    if !nobody {
        // Whoever may have been rung counts as rung.
        let when = if ended.originated_at > 0 { ended.originated_at } else { at };
        state.numbers.entry(hash).or_default().rang(when);
    }
    Ok(())
}

/// `elsewhere`: what keeps the next attempt off the trunk of this one, where there is another.
pub(super) fn settle(
    campaign: &mut Campaign,
    attempt: &AttemptId,
    (outcome, digits): (Outcome, &str),
    elsewhere: u8,
    at: Timestamp,
) {
    let (rules, max_attempts) = (&campaign.rules, campaign.max_attempts);
    let Some(person) = campaign.contacts.get_mut(attempt.contact as usize) else { return };
    (person.tried, person.kept_off) = (0, KeptOff::default());
    let same = &mut person.ended[outcome as usize];
    *same = same.saturating_add(1);
    let same = u32::from(*same);
    let free = u32::from(person.ended[Outcome::Congestion as usize]);
    let free = if retry::is_free(rules, Outcome::Congestion) { free } else { 0 };
    let counted = (u32::from(person.rang) + u32::from(person.never_rang)).saturating_sub(free);
    if let Next::Again(due_ms) = retry::after(rules, max_attempts, outcome, Behind { counted, same }, at) {
        if rules.retry(outcome).is_some_and(|rule| rule.another_trunk) && elsewhere != 0 {
            (person.tried, person.kept_off) = (elsewhere, KeptOff::ForARetry);
        }
        return to_waiting(campaign, attempt, due_ms);
    }
    person.status = ContactStatus::Settled(outcome);
    *campaign.counts.settled.entry(outcome).or_default() += 1;
    if outcome == Outcome::Answered {
        person.digits = Box::<str>::from(digits).into();
        stats::count(&mut campaign.counts.digits, digits.to_owned(), stats::OTHERS.to_owned());
    }
}

/// Back to those who wait, unless something came while the attempt was in flight.
pub(super) fn to_waiting(campaign: &mut Campaign, attempt: &AttemptId, due_ms: Timestamp) {
    let Campaign { contacts, waiting, counts, .. } = campaign;
    let Some(person) = contacts.get_mut(attempt.contact as usize) else { return };
    if person.erased {
        person.status = ContactStatus::Erased;
        counts.erased += 1;
    } else if let Some(rule) = person.barred {
        contacts::exclude(counts, person, rule);
    } else {
        person.status = ContactStatus::Waiting;
        person.due_ms = due_ms;
        waiting.insert(attempt.contact, person.place());
        counts.waiting += 1;
    }
}

/// It may have rung: a node can dial, and be gone before the log hears that it was about to.
pub(super) fn settle_uncertain(
    state: &mut State,
    attempt: &AttemptId,
    before: &Attempt,
    at: Timestamp,
) -> Result<(), Effectless> {
    count_ring(state, attempt, before, (false, false), at)?;
    with(state, attempt, |campaign| {
        contact(campaign, attempt).status = ContactStatus::Uncertain;
        campaign.counts.uncertain += 1;
        campaign.stats.over(Fate::Uncertain, at);
    })
}

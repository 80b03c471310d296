//! Uncertain contacts, once more: nobody can prove that they were not rung, so only a person may decide it.

use super::contacts::EXCLUDE_MAX_CONTACTS;
use super::{ERASE_REASON_MAX_BYTES, find};
use crate::Rejection;
use crate::campaign::command::Reopening;
use crate::campaign::state::{Campaign, CampaignStatus, Contact};
use crate::event::Event;
use crate::ids::{ContactId, Timestamp};
use crate::state::State;

/// Numbers named in one command at most.
pub const REOPEN_MAX_NUMBERS: usize = 256;

/// Why a reason is refused.
const REASON: Rejection =
    Rejection::new("AST-D157", "dialling an uncertain contact once more has a reason of 1 to 512 bytes");

/// Each becomes a new attempt, under the rules as they are when it is due.
pub(super) fn reopen(state: &State, asked: &Reopening, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    if asked.reason.trim().is_empty() || asked.reason.len() > ERASE_REASON_MAX_BYTES {
        return Err(REASON);
    }
    let contacts = reopened(state, asked, at)?;
    if contacts.is_empty() {
        return Err(Rejection::new("AST-D160", "no contact of the campaign is uncertain"));
    }
    let event = |contacts: &[ContactId]| Event::ContactsReopened {
        campaign: asked.campaign.clone(),
        contacts: contacts.to_vec(),
        reason: asked.reason.clone(),
    };
    Ok(contacts.chunks(EXCLUDE_MAX_CONTACTS).map(event).collect())
}

/// Whom the command means.
///
/// # Errors
/// An unknown campaign, one that was stopped or whose time is over, and numbers that are not on it or not uncertain.
pub fn reopened(state: &State, asked: &Reopening, at: Timestamp) -> Result<Vec<ContactId>, Rejection> {
    let known = find(state, &asked.campaign)?;
    if known.status == CampaignStatus::Stopped {
        return Err(Rejection::new(
            "AST-D158",
            "the campaign was stopped for good: import them into another",
        ));
    }
    if [known.rules.ends_at_ms, known.rules.deadline_ms].iter().any(|end| (1..=at).contains(end)) {
        let why = "the campaign's end time or deadline has passed: nobody would be dialled; import them into another";
        return Err(Rejection::new("AST-D165", why));
    }
    if state.catalogue.retired.contains(&known.manifest) {
        return Err(Rejection::new(
            "AST-D159",
            "the campaign's prompts were retired: import the contacts into another",
        ));
    }
    if asked.numbers.len() > REOPEN_MAX_NUMBERS {
        return Err(Rejection::new("AST-D161", "at most 256 numbers in one command"));
    }
    if asked.numbers.is_empty() {
        let all = (0u32..).zip(&known.contacts).filter(|(_, person)| person.may_reopen());
        return Ok(all.map(|(contact, _)| contact).collect());
    }
    let mut contacts = Vec::new();
    for number in &asked.numbers {
        let contact = named(known, number)?;
        if !contacts.contains(&contact) {
            contacts.push(contact);
        }
    }
    Ok(contacts)
}

fn named(known: &Campaign, number: &[u8; 16]) -> Result<ContactId, Rejection> {
    let contact = *known
        .numbers
        .get(number)
        .ok_or(Rejection::new("AST-D162", "a number that was named is not on the campaign"))?;
    let uncertain = known.contacts.get(contact as usize).is_some_and(Contact::may_reopen);
    let not = || Rejection::with("AST-D163", format!("contact {contact} of the campaign is not uncertain"));
    uncertain.then_some(contact).ok_or_else(not)
}

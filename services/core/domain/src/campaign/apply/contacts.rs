//! People: taken in, kept out, put off, erased; and the lists of who is not called.

use super::super::state::{Campaign, CampaignStatus, Contact, ContactStatus, Counts, Digits, KeptOff};
use super::super::waiting::{Place, ZoneIndex};
use crate::event::{Event, SealedContact};
use crate::ids::{ContactId, NumberHash, Outcome, Timestamp};
use crate::rules::Exclusion;
use crate::state::{Effectless, State};

pub(super) fn imported(
    campaign: &mut Campaign,
    import: &str,
    (contacts, zones): (&[SealedContact], &[String]),
    (duplicates, elsewhere): (u32, u32),
    last: bool,
) -> Result<(), Effectless> {
    let named = campaign.zones.len() + zones.len();
    let fits = contacts.iter().enumerate().all(|(index, row)| {
        row.contact as usize == campaign.contacts.len() + index
            && row.zone as usize <= named
            && !campaign.numbers.contains_key(&row.number_hash)
    });
    let fits = fits && named <= usize::from(ZoneIndex::MAX);
    if !fits {
        return Err(Effectless::void("the contacts do not follow those imported"));
    }
    let index = if let Some(index) = campaign.import(import) {
        index
    } else {
        let Ok(index) = u16::try_from(campaign.imports.len()) else {
            return Err(Effectless::void("the campaign has as many lists as it can"));
        };
        campaign.imports.push(import.to_owned());
        campaign.open_imports.insert(index);
        index
    };
    campaign.zones.extend_from_slice(zones);
    for row in contacts {
        let zone = row.zone as ZoneIndex;
        campaign.waiting.insert(row.contact, Place { zone, due_ms: 0 });
        campaign.numbers.insert(row.number_hash, row.contact);
        campaign.contacts.push(Contact {
            import: index,
            status: ContactStatus::Waiting,
            erased: false,
            attempts: 0,
            rang: 0,
            never_rang: 0,
            turned_away: 0,
            tried: 0,
            kept_off: KeptOff::default(),
            zone,
            consent: row.consent,
            finished: false,
            due_ms: 0,
            ended: [0; Outcome::ALL.len()],
            barred: None,
            digits: Digits::default(),
            number_hash: row.number_hash,
            sealed: row.sealed.clone().into_boxed_slice(),
        });
    }
    campaign.counts.imported += contacts.len() as u32;
    campaign.counts.waiting += contacts.len() as u32;
    campaign.counts.duplicates = campaign.counts.duplicates.saturating_add(duplicates);
    campaign.counts.known = campaign.counts.known.saturating_add(elsewhere);
    if last {
        campaign.open_imports.remove(&index);
    }
    Ok(())
}

/// Takes people out: who waits is never dialled, who is in flight is not dialled again, what happened stands.
pub(super) fn erased(state: &mut State, import: &str, numbers: &[NumberHash]) -> Result<(), Effectless> {
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
                waiting.remove(contact, person.place());
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

pub(super) fn exclude(counts: &mut Counts, person: &mut Contact, rule: Exclusion) {
    person.status = ContactStatus::Excluded(rule);
    counts.excluded += 1;
    *counts.excluded_by.entry(rule).or_default() += 1;
}

/// Who waits is excluded; who is in flight when its attempt comes back; who is settled stays so.
pub(super) fn excluded(
    campaign: &mut Campaign,
    contacts: &[ContactId],
    rule: Exclusion,
) -> Result<(), Effectless> {
    let Campaign { contacts: people, waiting, counts, .. } = campaign;
    let mut meant = false;
    for contact in contacts {
        let Some(person) = people.get_mut(*contact as usize) else { continue };
        match person.status {
            ContactStatus::Waiting => {
                waiting.remove(*contact, person.place());
                counts.waiting -= 1;
                exclude(counts, person, rule);
                meant = true;
            }
            ContactStatus::InFlight => {
                person.barred = Some(rule);
                meant = true;
            }
            _ => {}
        }
    }
    if meant { Ok(()) } else { Err(Effectless::void("none of the contacts can be excluded any more")) }
}

/// Who is uncertain waits again, and a campaign that was complete runs again. Who was erased or excluded meanwhile stays.
pub(super) fn reopened(campaign: &mut Campaign, contacts: &[ContactId]) -> Result<(), Effectless> {
    if campaign.status == CampaignStatus::Stopped {
        return Err(Effectless::void("the campaign was stopped for good"));
    }
    let Campaign { contacts: people, waiting, counts, .. } = campaign;
    let mut meant = false;
    for contact in contacts {
        let Some(person) = people.get_mut(*contact as usize).filter(|person| person.may_reopen()) else {
            continue;
        };
        person.status = ContactStatus::Waiting;
        person.due_ms = 0;
        waiting.insert(*contact, person.place());
        counts.uncertain -= 1;
        counts.waiting += 1;
        meant = true;
    }
    if !meant {
        return Err(Effectless::void("none of the contacts is uncertain any more"));
    }
    if campaign.status == CampaignStatus::Completed {
        campaign.status = CampaignStatus::Running;
        (campaign.ended_at, campaign.stats.at_end) = (None, None);
    }
    Ok(())
}

pub(super) fn deferred(
    campaign: &mut Campaign,
    contacts: &[ContactId],
    until_ms: Timestamp,
) -> Result<(), Effectless> {
    let Campaign { contacts: people, waiting, .. } = campaign;
    let mut meant = false;
    for contact in contacts {
        let Some(person) = people.get_mut(*contact as usize) else { continue };
        if person.status == ContactStatus::Waiting {
            waiting.remove(*contact, person.place());
            person.due_ms = until_ms;
            waiting.insert(*contact, person.place());
            meant = true;
        }
    }
    if meant { Ok(()) } else { Err(Effectless::void("none of the contacts waits any more")) }
}

pub(super) fn listed(state: &mut State, event: &Event) -> Result<(), Effectless> {
    match event {
        Event::DoNotCallAdded { list, numbers, prefixes, .. } => {
            let list = state.do_not_call.entry(list.clone()).or_default();
            list.numbers.extend(numbers);
            list.prefixes.extend(prefixes.iter().cloned());
            Ok(())
        }
        Event::DoNotCallRemoved { list, numbers, prefixes, .. } => {
            let known = state.do_not_call.get_mut(list).ok_or(Effectless::void("there is no such list"))?;
            known.numbers.retain(|number| !numbers.contains(number));
            known.prefixes.retain(|prefix| !prefixes.contains(prefix));
            Ok(())
        }
        _ => Ok(()),
    }
}

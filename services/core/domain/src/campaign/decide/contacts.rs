//! Decisions about people: taken in, kept out, erased.

use std::collections::BTreeSet;

use super::{
    CONTACTS_PER_EVENT, ERASE_MAX_CONTACTS, ERASE_REASON_MAX_BYTES, IMPORT_MAX_ROWS, SEALED_MAX_BYTES, find,
};
use crate::Rejection;
use crate::campaign::command::{DoNotCallChange, ImportRow};
use crate::campaign::judge::{ALL_CAMPAIGNS, known_elsewhere};
use crate::campaign::state::Campaign;
use crate::event::{Event, SealedContact};
use crate::ids::{CampaignId, ContactId, NumberHash};
use crate::rules::{Exclusion, window};
use crate::state::State;

/// Zones of a campaign at most.
const ZONES_MAX: usize = 1_000;
/// Campaigns an import leaves numbers out of at most, `all` aside.
const SKIP_MAX_CAMPAIGNS: usize = 16;
/// Contacts named in one exclusion at most.
pub(super) const EXCLUDE_MAX_CONTACTS: usize = 512;
/// Entries of one change of a do-not-call list at most.
const LIST_MAX_ENTRIES: usize = 1_000;
/// Digits of a prefix: as many as a number may have.
const PREFIX_MAX_DIGITS: usize = 15;

/// Takes in rows, those that are there already aside.
pub(super) fn import(
    state: &State,
    campaign: &CampaignId,
    import: &str,
    (rows, last): (&[ImportRow], bool),
    skip_known: &[CampaignId],
) -> Result<Vec<Event>, Rejection> {
    let known = find(state, campaign)?;
    if rows.len() > IMPORT_MAX_ROWS {
        return Err(Rejection::new("AST-D010", "at most 200 rows in one import command"));
    }
    if rows.iter().any(|row| row.sealed.len() > SEALED_MAX_BYTES) {
        return Err(Rejection::new("AST-D011", "a contact's number and fields are over 180 bytes"));
    }
    if known.ended_at.is_some() {
        return Err(Rejection::new("AST-D012", "the campaign has ended"));
    }
    match known.import(import) {
        Some(index) if !known.open_imports.contains(&index) => {
            return Err(Rejection::new("AST-D013", "the campaign has this list already, whole"));
        }
        None if known.imports.len() >= usize::from(u16::MAX) => {
            return Err(Rejection::new("AST-D029", "a campaign has at most 65,535 lists"));
        }
        _ => {}
    }
    check_skip(state, skip_known)?;
    let mut seen = BTreeSet::new();
    let own: Vec<&ImportRow> = rows
        .iter()
        .filter(|row| !known.numbers.contains_key(&row.number_hash) && seen.insert(row.number_hash))
        .collect();
    let duplicates = (rows.len() - own.len()) as u32;
    let elsewhere = |row: &&&ImportRow| !known_elsewhere(state, campaign, skip_known, &row.number_hash);
    let fresh: Vec<&ImportRow> = own.iter().filter(elsewhere).copied().collect();
    let left_out = (own.len() - fresh.len()) as u32;
    let mut zones = Zones { known, new: Vec::new(), told: 0 };
    let mut next = known.contacts.len() as u32;
    let mut events = Vec::new();
    for chunk in fresh.chunks(CONTACTS_PER_EVENT) {
        let mut contacts = Vec::with_capacity(chunk.len());
        for row in chunk {
            contacts.push(SealedContact {
                contact: next,
                number_hash: row.number_hash,
                sealed: row.sealed.clone(),
                zone: zones.index(&row.zone)?,
                consent: row.consent,
            });
            next += 1;
        }
        events.push(Event::ContactsImported {
            campaign: campaign.clone(),
            import: import.to_owned(),
            contacts,
            duplicates: 0,
            last: false,
            zones: zones.untold(),
            skip_known: skip_known.to_vec(),
            known: 0,
        });
    }
    if events.is_empty() && (last || duplicates + left_out > 0) {
        events.push(Event::ContactsImported {
            campaign: campaign.clone(),
            import: import.to_owned(),
            contacts: Vec::new(),
            duplicates: 0,
            last: false,
            zones: Vec::new(),
            skip_known: skip_known.to_vec(),
            known: 0,
        });
    }
    if let Some(Event::ContactsImported { duplicates: twice, last: ends, known, .. }) = events.last_mut() {
        *twice = duplicates;
        *known = left_out;
        *ends = last;
    }
    Ok(events)
}

fn check_skip(state: &State, skip_known: &[CampaignId]) -> Result<(), Rejection> {
    if skip_known.len() > SKIP_MAX_CAMPAIGNS {
        return Err(Rejection::new("AST-D030", "at most 16 campaigns whose numbers are left out, or all"));
    }
    let gone = skip_known.iter().find(|id| *id != ALL_CAMPAIGNS && !state.campaigns.contains_key(*id));
    match gone {
        None => Ok(()),
        Some(id) => {
            Err(Rejection::with("AST-D031", format!("there is no campaign `{id}` to leave numbers out of")))
        }
    }
}

/// An erasure that says nothing new needs no event.
pub(super) fn erase(
    state: &State,
    import: &str,
    contacts: &[NumberHash],
    reason: &str,
) -> Result<Vec<Event>, Rejection> {
    if reason.trim().is_empty() || reason.len() > ERASE_REASON_MAX_BYTES {
        return Err(Rejection::new(
            "AST-D016",
            "an erasure has a reason of 1 to 512 bytes, without personal data",
        ));
    }
    if contacts.len() > ERASE_MAX_CONTACTS {
        return Err(Rejection::new("AST-D017", "at most 256 contacts in one erasure"));
    }
    let known: Vec<&Campaign> = state
        .campaigns
        .values()
        .filter(|campaign| campaign.imports.iter().any(|known| known == import))
        .collect();
    if known.is_empty() {
        return Err(Rejection::new("AST-D018", "no campaign has contacts of this import"));
    }
    if !contacts.iter().all(|number| known.iter().any(|campaign| campaign.numbers.contains_key(number))) {
        return Err(Rejection::new("AST-D019", "the import has no contact of this number"));
    }
    let erasure = state.erasures.get(import).cloned().unwrap_or_default();
    let said = erasure.whole || (!contacts.is_empty() && contacts.iter().all(|one| erasure.covers(one)));
    let event = || Event::ContactsErased {
        import: import.to_owned(),
        contacts: contacts.to_vec(),
        reason: reason.to_owned(),
    };
    Ok(if said { vec![] } else { vec![event()] })
}

/// The zones of a campaign while rows are taken in.
struct Zones<'a> {
    known: &'a Campaign,
    new: Vec<String>,
    told: usize,
}

impl Zones<'_> {
    fn index(&mut self, zone: &str) -> Result<u32, Rejection> {
        if zone.is_empty() {
            return Ok(0);
        }
        let mut all = self.known.zones.iter().chain(&self.new);
        if let Some(index) = all.position(|known| known == zone) {
            return Ok(index as u32 + 1);
        }
        if window::zones(zone).is_none() {
            return Err(Rejection::with("AST-D022", format!("`{zone}` is no IANA time zone")));
        }
        if self.known.zones.len() + self.new.len() >= ZONES_MAX {
            return Err(Rejection::new("AST-D023", "a campaign has at most 1,000 time zones"));
        }
        self.new.push(zone.to_owned());
        Ok((self.known.zones.len() + self.new.len()) as u32)
    }

    /// Those no event has named yet.
    fn untold(&mut self) -> Vec<String> {
        let untold = self.new[self.told..].to_vec();
        self.told = self.new.len();
        untold
    }
}

/// What is found out about a contact outside the log: its number begins with digits nobody may call.
pub(super) fn exclude(
    known: &Campaign,
    campaign: &CampaignId,
    contacts: &[ContactId],
    rule: Exclusion,
    detail: &str,
) -> Result<Vec<Event>, Rejection> {
    if contacts.len() > EXCLUDE_MAX_CONTACTS || detail.len() > 256 {
        return Err(Rejection::new("AST-D024", "at most 512 contacts in one exclusion, 256 bytes of detail"));
    }
    let open = |contact: &&ContactId| {
        let person = known.contacts.get(**contact as usize);
        person.is_some_and(|person| person.is_open() && person.barred.is_none())
    };
    let contacts: Vec<ContactId> = contacts.iter().filter(open).copied().collect();
    if known.ended_at.is_some() || contacts.is_empty() {
        return Ok(Vec::new());
    }
    let event =
        Event::ContactsExcluded { campaign: campaign.clone(), contacts, rule, detail: detail.to_owned() };
    Ok(vec![event])
}

/// A change that says nothing new needs no event.
pub(super) fn do_not_call(state: &State, change: &DoNotCallChange) -> Result<Vec<Event>, Rejection> {
    let DoNotCallChange { list, add, numbers, prefixes, reason } = change.clone();
    if !asterism_proto::origin::is_token(&list) || list.len() > 64 {
        return Err(Rejection::new("AST-D025", "a list's name is 1 to 64 of [A-Za-z0-9_-]"));
    }
    if numbers.len() + prefixes.len() > LIST_MAX_ENTRIES {
        return Err(Rejection::new("AST-D026", "at most 1,000 entries in one change of a list"));
    }
    if reason.trim().is_empty() || reason.len() > ERASE_REASON_MAX_BYTES {
        return Err(Rejection::new("AST-D027", "a change of a list has a reason of 1 to 512 bytes"));
    }
    let digits = |text: &String| {
        (1..=PREFIX_MAX_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    if let Some(bad) = prefixes.iter().find(|prefix| !digits(prefix)) {
        return Err(Rejection::with(
            "AST-D028",
            format!("`{bad}` is no prefix: write 1 to 15 digits, country code first, without +"),
        ));
    }
    let known = state.do_not_call.get(&list).cloned().unwrap_or_default();
    let numbers: Vec<NumberHash> =
        numbers.into_iter().filter(|number| known.numbers.contains(number) != add).collect();
    let prefixes: Vec<String> =
        prefixes.into_iter().filter(|prefix| known.prefixes.contains(prefix) != add).collect();
    Ok(match add {
        _ if numbers.is_empty() && prefixes.is_empty() => vec![],
        true => vec![Event::DoNotCallAdded { list, numbers, prefixes, reason }],
        false => vec![Event::DoNotCallRemoved { list, numbers, prefixes, reason }],
    })
}

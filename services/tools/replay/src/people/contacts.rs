//! Contacts as they stand at the end of the log.

use asterism_domain::Outcome;
use asterism_domain::campaign::{Campaign, Contact, ContactStatus};
use serde_json::{Value, json};

use super::Shown;
use crate::Error;
use crate::table::{Columns, Kind, Row, Sink};

pub(super) const COLUMNS: &Columns = &[
    ("campaign", Kind::Text),
    ("contact", Kind::Number),
    ("number", Kind::Text),
    ("state", Kind::Text),
    ("outcome", Kind::Text),
    ("rule", Kind::Text),
    ("attempts", Kind::Number),
    ("rang", Kind::Number),
    ("never_rang", Kind::Number),
    ("turned_away", Kind::Number),
    ("answered", Kind::Number),
    ("finished", Kind::Text),
    ("digits", Kind::Text),
    ("due_ms", Kind::Time),
    ("zone", Kind::Text),
    ("consent", Kind::Text),
    ("import", Kind::Text),
    ("erased", Kind::Text),
    ("fields", Kind::Text),
];

pub(super) fn each(
    id: &str,
    campaign: &Campaign,
    shown: &mut Shown,
    sink: &mut Sink<'_>,
) -> Result<u64, Error> {
    let mut written = 0;
    for (number, contact) in (0u32..).zip(&campaign.contacts) {
        let mut row = row(id, campaign, number, contact);
        let (number, fields) = shown.person(campaign, number)?;
        row.insert("number".to_owned(), number);
        row.insert("fields".to_owned(), fields);
        sink(row)?;
        written += 1;
    }
    Ok(written)
}

fn row(id: &str, campaign: &Campaign, number: u32, contact: &Contact) -> Row {
    let (state, outcome, rule) = match &contact.status {
        ContactStatus::Waiting => ("waiting", None, None),
        ContactStatus::InFlight => ("in-flight", None, None),
        ContactStatus::Settled(outcome) => ("settled", Some(outcome.name()), None),
        ContactStatus::Excluded(rule) => ("excluded", None, Some(rule.name())),
        ContactStatus::Uncertain => ("uncertain", None, None),
        ContactStatus::Erased => ("erased", None, None),
    };
    let waits = contact.status == ContactStatus::Waiting && contact.due_ms > 0;
    let zone = usize::from(contact.zone).checked_sub(1).and_then(|zone| campaign.zones.get(zone));
    let digits = Some(contact.digits.as_str()).filter(|digits| !digits.is_empty());
    let cells: [(&str, Value); 17] = [
        ("campaign", json!(id)),
        ("contact", json!(number)),
        ("state", json!(state)),
        ("outcome", json!(outcome)),
        ("rule", json!(rule)),
        ("attempts", json!(contact.attempts)),
        ("rang", json!(contact.rang)),
        ("never_rang", json!(contact.never_rang)),
        ("turned_away", json!(contact.turned_away)),
        ("answered", json!(contact.ended[Outcome::Answered as usize])),
        ("finished", json!(contact.finished)),
        ("digits", json!(digits)),
        ("due_ms", json!(waits.then_some(contact.due_ms))),
        ("zone", json!(zone)),
        ("consent", json!(contact.consent)),
        ("import", json!(campaign.imports.get(usize::from(contact.import)))),
        ("erased", json!(contact.erased)),
    ];
    cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

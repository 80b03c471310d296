//! A campaign's contacts, or its attempts, one row each: what `asterism campaign export` writes.
//!
//! ```text
//! contacts: campaign, contact, number, state (waiting, in-flight, settled, excluded, uncertain, erased), outcome if it is
//!           settled, rule if it is excluded; attempts ordered, of which rang (may have), never_rang (failed in the PBX),
//!           turned_away (by a carrier), answered; finished (the flow hung up), digits pressed, due_ms while it waits, zone,
//!           consent, import, erased, fields (JSON; with the numbers only)
//! attempts: campaign, contact, ordinal, attempt (its id), number, node, trunk, caller_id, ordered_ms, dialled_ms,
//!           answered_ms, ended_ms (record times of the log), ring_ms and talk_ms (durations, by the node), outcome (or
//!           refused, turned-away, uncertain; empty while it is in flight), cause (Q.850), sip_status, digits, flow_state,
//!           never_rang
//! ```

mod attempts;
mod contacts;

use std::io::Write;

use asterism_domain::ContactId;
use asterism_domain::campaign::Campaign;
use asterism_domain::contact::E164;
use serde_json::{Map, Value};

use crate::Error;
use crate::cdr::Keys;
use crate::fold::Pass;
use crate::table::{self, Format};

/// What of people is shown.
pub struct Shown {
    /// The fleet's keys; without them numbers are empty.
    pub keys: Option<Keys>,
    /// Numbers in full and the fields of the list, not numbers masked.
    pub reveal: bool,
}

/// Writes a row for each contact of a campaign, in the order of its lists; returns how many.
///
/// # Errors
/// The log, a key, no such campaign, or the output.
pub fn contacts(
    pass: &mut Pass<'_>,
    campaign: &str,
    shown: &mut Shown,
    format: Format,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let state = crate::fold::state_at(pass, None)?;
    let known = state.campaigns.get(campaign).ok_or_else(|| Error::NoCampaign { id: campaign.to_owned() })?;
    table::write("contact", contacts::COLUMNS, format, out, |sink| {
        contacts::each(campaign, known, shown, sink)
    })
}

/// Writes a row for each attempt of a campaign, in the order in which they were over; those in flight come last. Returns
/// how many.
///
/// # Errors
/// As [`contacts`].
pub fn attempts(
    pass: &mut Pass<'_>,
    campaign: &str,
    shown: &mut Shown,
    format: Format,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    table::write("attempt", attempts::COLUMNS, format, out, |sink| {
        attempts::each(pass, campaign, shown, sink)
    })
}

impl Shown {
    /// A contact's number as it may be shown, and its fields as JSON.
    fn person(&mut self, campaign: &Campaign, contact: ContactId) -> Result<(Value, Value), Error> {
        let person = match &mut self.keys {
            Some(keys) => keys.person(campaign, contact)?,
            None => None,
        };
        Ok(match person {
            None => (Value::Null, Value::Null),
            Some(person) if self.reveal => {
                let fields: Map<String, Value> =
                    person.fields.into_iter().map(|(name, value)| (name, value.into())).collect();
                (person.number.into(), Value::Object(fields))
            }
            Some(person) => {
                (E164::parse(&person.number).map_or(Value::Null, |one| one.mask().into()), Value::Null)
            }
        })
    }
}

//! One call, in one decision: nothing of it is in the log unless all of it is.

use super::SEALED_MAX_BYTES;
use super::create;
use crate::Rejection;
use crate::campaign::command::NewCall;
use crate::campaign::forecast::{Asked, forecast};
use crate::event::{Event, SealedContact};
use crate::ids::Timestamp;
use crate::rules::window;
use crate::state::State;

/// Refused if the rules would never let it be placed; a call that was asked for before needs no event.
pub(super) fn call(state: &State, call: &NewCall, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    let NewCall { new, import, row, digits } = call;
    if let Some(known) = state.campaigns.get(&new.campaign) {
        if known.imports.first() == Some(import) {
            return Ok(Vec::new());
        }
        return Err(Rejection::new("AST-D032", "another call was asked for under this key"));
    }
    if row.sealed.len() > SEALED_MAX_BYTES {
        return Err(Rejection::new("AST-D011", "a contact's number and fields are over 180 bytes"));
    }
    if !row.zone.is_empty() && window::zones(&row.zone).is_none() {
        return Err(Rejection::with("AST-D022", format!("`{}` is no IANA time zone", row.zone)));
    }
    let mut events = create::create(state, new, at)?;
    let asked = Asked { rules: &new.limits.rules, campaign: None, skip_known: &[], only: None };
    let said = forecast(state, &asked, &[(row, digits)], at);
    if let Some(rule) = said.never.keys().next() {
        return Err(Rejection::with("AST-D033", format!("the number may not be called: {rule}")));
    }
    let zones: Vec<String> = Some(row.zone.clone()).filter(|zone| !zone.is_empty()).into_iter().collect();
    events.push(Event::ContactsImported {
        campaign: new.campaign.clone(),
        import: import.clone(),
        contacts: vec![SealedContact {
            contact: 0,
            number_hash: row.number_hash,
            sealed: row.sealed.clone(),
            zone: zones.len() as u32,
            consent: row.consent,
        }],
        duplicates: 0,
        last: true,
        zones,
        skip_known: Vec::new(),
        known: 0,
    });
    events.push(Event::CampaignStarted { campaign: new.campaign.clone() });
    Ok(events)
}

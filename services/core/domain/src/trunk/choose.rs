//! Which trunks an attempt of a campaign may take, in which order, and which number it shows on each.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::check::{CALLER_IDS_MAX, is_caller_id};
use super::{Trunk, TrunkSettings};
use crate::Rejection;
use crate::campaign::{Campaign, Campaigns, Contact};
use crate::ids::{AttemptId, ContactId};

/// Most trunks of a campaign: each has a bit in what is remembered of a contact.
pub const TRUNKS_PER_CAMPAIGN: usize = 8;

/// The bit of the trunk in that place of a campaign's list, in what is remembered of its contacts.
pub(crate) fn bit(place: usize) -> u8 {
    u32::try_from(place).ok().and_then(|place| 1_u8.checked_shl(place)).unwrap_or_default()
}

/// A campaign's trunks with their places, in the order they are tried in: the highest priority first, then as the campaign
/// names them.
pub fn in_order<'a>(
    campaign: &'a Campaign,
    trunks: &'a BTreeMap<String, Trunk>,
) -> Vec<(usize, &'a str, &'a Trunk)> {
    let known = |(place, name): (usize, &'a String)| Some((place, name.as_str(), trunks.get(name)?));
    let mut all: Vec<_> = campaign.trunks.iter().enumerate().filter_map(known).collect();
    all.sort_by_key(|(place, _, trunk)| (Reverse(trunk.usable().map_or(0, |set| set.priority)), *place));
    all
}

/// Whether the contact may still be tried on another trunk after it was turned away by this one.
pub(crate) fn another_is_left(
    campaign: &Campaign,
    contact: &Contact,
    trunks: &BTreeMap<String, Trunk>,
    turned_away_by: &str,
) -> bool {
    let untried = |place: usize| contact.tried & bit(place) == 0;
    campaign.trunks.iter().enumerate().any(|(place, name)| {
        name != turned_away_by
            && untried(place)
            && trunks.get(name).is_some_and(|trunk| trunk.usable().is_some())
    })
}

/// The bit of an attempt's trunk, where its campaign has another that may be used: what keeps the next one off it.
pub(crate) fn another_than(
    campaigns: &Campaigns,
    attempt: &AttemptId,
    trunks: &BTreeMap<String, Trunk>,
    taken: &str,
) -> u8 {
    let Some(campaign) = campaigns.get(&attempt.campaign) else { return 0 };
    let usable = |name: &String| trunks.get(name).is_some_and(|trunk| trunk.usable().is_some());
    let other = campaign.trunks.iter().any(|name| name != taken && usable(name));
    campaign.trunks.iter().position(|name| name == taken).filter(|_| other).map_or(0, bit)
}

/// The number an attempt shows: of those of its campaign that the trunk allows, or of the trunk's own where the campaign
/// names none, the next one for each further attempt of a contact. Empty = none.
pub fn caller_id<'a>(
    campaign: &'a Campaign,
    settings: &'a TrunkSettings,
    contact: ContactId,
    ordinal: u32,
) -> &'a str {
    let own = campaign.caller_ids();
    let allowed: Vec<&str> = match () {
        () if own.clone().next().is_none() => settings.caller_ids.iter().map(String::as_str).collect(),
        () => own.filter(|number| allows(settings, number)).collect(),
    };
    let turn = (u64::from(contact) + u64::from(ordinal)).saturating_sub(1);
    let at = (turn % (allowed.len().max(1) as u64)) as usize;
    allowed.get(at).copied().unwrap_or_default()
}

/// As [`caller_id`], for an attempt.
pub(crate) fn caller_id_of(campaign: &Campaign, settings: &TrunkSettings, attempt: &AttemptId) -> String {
    caller_id(campaign, settings, attempt.contact, attempt.ordinal).to_owned()
}

fn allows(settings: &TrunkSettings, number: &str) -> bool {
    settings.caller_ids.is_empty() || settings.caller_ids.iter().any(|allowed| allowed == number)
}

/// Everything wrong with the trunks of a campaign and the numbers it shows: each must be allowed on one of them, and one
/// on each.
pub(crate) fn problems(
    names: &[String],
    caller_ids: &[&str],
    trunks: &BTreeMap<String, Trunk>,
) -> Vec<Rejection> {
    let mut found = Vec::new();
    let mut wrong = |code: &'static str, why: String| found.push(Rejection::with(code, why));
    if names.is_empty() || names.len() > TRUNKS_PER_CAMPAIGN {
        wrong("AST-D008", format!("a campaign has 1 to {TRUNKS_PER_CAMPAIGN} trunks"));
    }
    let mut known = Vec::new();
    for (at, name) in names.iter().enumerate() {
        match trunks.get(name).and_then(Trunk::usable) {
            Some(settings) => known.push((name, settings)),
            None => wrong("AST-D043", format!("there is no trunk `{name}`; {}", there_are(trunks))),
        }
        if names.iter().take(at).any(|other| other == name) {
            wrong("AST-D008", format!("the trunk {name} is named twice"));
        }
    }
    if caller_ids.len() > CALLER_IDS_MAX {
        wrong("AST-D009", format!("at most {CALLER_IDS_MAX} caller ids in one campaign"));
    }
    for number in caller_ids {
        if !is_caller_id(number) {
            wrong("AST-D009", format!("{number:?} is no caller id: expected a number like +12025550123"));
        } else if !known.is_empty() && !known.iter().any(|(_, settings)| allows(settings, number)) {
            wrong("AST-D009", format!("no trunk of the campaign may show {number}"));
        }
    }
    for (name, settings) in known {
        if !caller_ids.is_empty() && !caller_ids.iter().any(|number| allows(settings, number)) {
            wrong("AST-D009", format!("the trunk {name} may show none of the campaign's caller ids"));
        }
    }
    found
}

fn there_are(trunks: &BTreeMap<String, Trunk>) -> String {
    let names: Vec<&str> =
        trunks.iter().filter(|(_, trunk)| trunk.usable().is_some()).map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { "there is none yet".to_owned() } else { format!("there are: {}", names.join(", ")) }
}

//! What a trunk says to an attempt: whether it may carry it, and what its end means.

use std::collections::BTreeMap;

use super::super::state::{Attempt, AttemptStatus, Campaign, Campaigns, Contact, KeptOff};
use super::contact;
use super::settled::to_waiting;
use crate::event::Event;
use crate::fleet::Node;
use crate::ids::{AttemptId, Outcome, Timestamp};
use crate::state::{Effectless, State};
use crate::trunk::health::{BreakerState, End, Heard};
use crate::trunk::state::keeps_pace;
use crate::trunk::{Trunk, choose};

/// What the end of an attempt means for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// It was carried, or nobody can say that it was not.
    No,
    /// The carrier turned it away and rang nobody; there is another trunk to try.
    Another,
    /// The carrier turned it away and rang nobody; there is no other.
    Last,
}

/// The guard of the dialer's choice of a trunk, judged again where it landed. A trunk that was never set is one of a log
/// from before trunks were in it: nothing is known of it, and nothing is judged.
pub(super) fn may_carry(
    trunk: Option<&Trunk>,
    (campaign, person): (&Campaign, &Contact),
    home: &Node,
    (attempt, new): (&AttemptId, &Attempt),
) -> Result<(), Effectless> {
    let Some(trunk) = trunk else { return Ok(()) };
    if trunk.removed {
        return Err(Effectless::void("the trunk was removed"));
    }
    let Some(settings) = &trunk.settings else { return Ok(()) };
    let Some(place) = campaign.trunks.iter().position(|name| *name == new.trunk) else {
        return Err(Effectless::void("the trunk is none of the campaign's"));
    };
    if person.tried & choose::bit(place) != 0 {
        return Err(Effectless::void("the contact's next attempt is to be on another trunk"));
    }
    if home.trunks.get(&new.trunk) != Some(&trunk.revision) {
        return Err(Effectless::void("the node does not have the trunk"));
    }
    if !trunk.has_room(new.channels) {
        return Err(Effectless::void("the trunk is at its cap"));
    }
    if !keeps_pace(trunk.last_start_ms, new.not_before_ms, trunk.per_1000_s()) {
        return Err(Effectless::void("the trunk's pace does not let it start then"));
    }
    if trunk.health.probes_left() == Some(0) {
        return Err(Effectless::void("the trunk rests"));
    }
    if new.caller_id != choose::caller_id(campaign, settings, attempt.contact, attempt.ordinal) {
        return Err(Effectless::void("it is not the turn of this caller id"));
    }
    Ok(())
}

/// Counts an attempt that was put on it.
pub(super) fn took(trunk: &mut Trunk, new: &Attempt) {
    trunk.in_flight += 1;
    trunk.channels += new.channels;
    trunk.last_start_ms = trunk.last_start_ms.max(new.not_before_ms);
    if trunk.health.breaker.state == BreakerState::HalfOpen {
        trunk.health.breaker.probes += 1;
        trunk.health.breaker.probes_up += 1;
    }
}

/// An attempt that left it.
pub(super) fn left(trunk: &mut Trunk, gone: &Attempt) {
    trunk.in_flight -= 1;
    trunk.channels = trunk.channels.saturating_sub(gone.channels);
    trunk.above_cap = trunk.above_cap.min(trunk.channels);
    let breaker = &mut trunk.health.breaker;
    if breaker.is_probe(gone.intended_at) {
        breaker.probes_up = breaker.probes_up.saturating_sub(1);
    }
}

/// A probe that never got as far as the carrier says nothing about it.
pub(super) fn not_probed(state: &mut State, released: &Attempt) {
    if let Some(trunk) = state.trunks.get_mut(&released.trunk)
        && trunk.health.breaker.is_probe(released.intended_at)
    {
        trunk.health.breaker.probes = trunk.health.breaker.probes.saturating_sub(1);
    }
}

/// Takes note of how an attempt ended on its trunk, and says what follows for its contact.
pub(super) fn ended(
    state: &mut State,
    attempt: &AttemptId,
    released: &Attempt,
    event: &Event,
    at: Timestamp,
) -> Away {
    let Event::AttemptEnded { outcome, never_rang, sip_status, heard, .. } = event else { return Away::No };
    if *never_rang {
        not_probed(state, released);
        return Away::No;
    }
    let Some(trunk) = state.trunks.get_mut(&released.trunk) else { return Away::No };
    let Some(settings) = &trunk.settings else { return Away::No };
    let answered = released.status == AttemptStatus::Answered || *outcome == Outcome::Answered;
    let outcome = if answered { Outcome::Answered } else { *outcome };
    let turned_away = !answered && *heard == Heard::OnlyTheEnd && settings.failover.contains(sip_status);
    trunk.health.ended(End::of(settings, outcome, *sip_status, *heard, at), released.intended_at);
    let Some(campaign) = state.campaigns.get(&attempt.campaign).filter(|_| turned_away) else {
        return Away::No;
    };
    match campaign.contacts.get(attempt.contact as usize) {
        Some(person) if choose::another_is_left(campaign, person, &state.trunks, &released.trunk) => {
            Away::Another
        }
        _ => Away::Last,
    }
}

/// Back to those who wait, for another trunk: it cost the contact nothing.
pub(super) fn turn_away(campaign: &mut Campaign, attempt: &AttemptId, released: &Attempt) {
    // The campaign may have been taken off it meanwhile.
    let place = campaign.trunks.iter().position(|name| *name == released.trunk);
    let counted = u16::from(released.status >= AttemptStatus::Originating);
    campaign.counts.rang -= u32::from(counted);
    campaign.counts.turned_away += 1;
    let person = contact(campaign, attempt);
    person.rang = person.rang.saturating_sub(counted);
    person.turned_away = person.turned_away.saturating_add(1);
    person.tried |= place.map_or(0, choose::bit);
    to_waiting(campaign, attempt, 0);
}

/// Other trunks, or the same in another order. Who was turned away by one that stays is not tried there again; who has no
/// trunk left to be tried on may be tried on each once more, since nobody was rung.
pub(super) fn relisted(campaign: &mut Campaign, trunks: &[String]) {
    let place = |name: &String| trunks.iter().position(|new| new == name);
    let moved: Vec<u8> = campaign.trunks.iter().map(|name| place(name).map_or(0, choose::bit)).collect();
    let all = (0..trunks.len()).fold(0, |bits, place| bits | choose::bit(place));
    for person in campaign.contacts.iter_mut().filter(|person| person.tried != 0) {
        let old = moved.iter().enumerate().filter(|(place, _)| person.tried & choose::bit(*place) != 0);
        let tried = old.fold(0, |bits, (_, bit)| bits | bit);
        person.tried = if tried == all { 0 } else { tried };
        if person.tried == 0 {
            person.kept_off = KeptOff::default();
        }
    }
    campaign.trunk = trunks.first().cloned().unwrap_or_default();
    campaign.trunks = trunks.to_vec();
}

/// A trunk is gone: who may be tried on none that is left may be tried on each once more.
pub(crate) fn removed(campaigns: &mut Campaigns, trunks: &BTreeMap<String, Trunk>) {
    for campaign in campaigns.values_mut() {
        let usable = |name: &String| trunks.get(name).is_some_and(|trunk| trunk.usable().is_some());
        let places = campaign.trunks.iter().enumerate().filter(|(_, name)| usable(name));
        let left = places.fold(0, |bits, (place, _)| bits | choose::bit(place));
        for person in campaign.contacts.iter_mut().filter(|person| person.tried != 0) {
            if left & !person.tried == 0 {
                (person.tried, person.kept_off) = (0, KeptOff::default());
            }
        }
    }
}

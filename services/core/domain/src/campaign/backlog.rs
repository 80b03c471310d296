//! What campaigns ask of the fleet: lists of calls, until when they must have started, and the slots they can use.

use super::judge::{self, Clock, ZoneStands};
use super::state::Campaign;
use super::waiting::ZoneIndex;
use crate::fleet::staffing::{Backlog, StaffingPolicy, staffing_ms};
use crate::ids::Timestamp;
use crate::rules::CampaignRules;
use crate::state::State;

/// Openings of a calling window that are looked at before the rest is taken to be like them.
const OPENINGS_MAX: u32 = 8;
/// Attempts of one contact that are reckoned with.
const ATTEMPTS_MAX: u32 = 20;

/// What all campaigns ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Attempts that could be sent now, or within the lead time, if slots were free: a cap bounds what its campaign can
    /// want at once.
    pub due: u32,
    /// The same as lists with deadlines.
    pub lists: Vec<Backlog>,
}

/// What the campaigns ask for at `at`, calls holding their slots for `holding_ms` on average. `lead_ms` ahead windows
/// are seen to open and delays to end: what is launched now serves them.
pub fn demand(
    state: &State,
    policy: &StaffingPolicy,
    holding_ms: u64,
    lead_ms: u64,
    at: Timestamp,
) -> Demand {
    let (mut demand, caps) = (Demand::default(), state.fleet.paced.caps);
    let soon = at.saturating_add(lead_ms);
    for campaign in state.campaigns.values() {
        let due = judge::due(campaign, at).max(judge::due(campaign, soon));
        if due == 0 {
            continue;
        }
        let (cap, in_flight) = (least(campaign.max_channels, caps.max_channels), campaign.counts.in_flight);
        let now = if cap == 0 { due } else { due.min(cap.saturating_sub(in_flight)) };
        demand.due = demand.due.saturating_add(now);
        let pace = least(campaign.calls_per_second, caps.calls_per_second);
        let most = slots_for(cap, pace, holding_ms);
        match ends(campaign) {
            None => {
                let calls = due.saturating_add(in_flight);
                demand.lists.push(Backlog::at_once(calls, most, staffing_ms(at), policy));
            }
            Some(until) => dated(campaign, most, (at, soon, until), &mut demand.lists),
        }
    }
    demand.due = demand.due.min(state.fleet.paced.room(state.in_flight));
    share(&mut demand.lists, slots_for(caps.max_channels, caps.calls_per_second, holding_ms));
    demand
}

/// Lists that share the fleet's own caps have their part of them each.
fn share(lists: &mut [Backlog], most: u32) {
    let all: u64 = lists.iter().map(|list| u64::from(list.slots_most)).sum();
    if most == 0 || all <= u64::from(most) {
        return;
    }
    for list in lists {
        let part = (u64::from(list.slots_most) * u64::from(most)).div_ceil(all);
        list.slots_most = u32::try_from(part).unwrap_or(most);
    }
}

/// The lesser of two caps, 0 being none.
pub(super) fn least(one: u32, other: u32) -> u32 {
    [one, other].into_iter().filter(|cap| *cap > 0).min().unwrap_or(0)
}

/// Attempts that can be sent within `ahead_ms`, whatever the caps are.
pub fn within(state: &State, ahead_ms: u64, at: Timestamp) -> u32 {
    let due = |campaign| judge::due(campaign, at.saturating_add(ahead_ms));
    state.campaigns.values().map(due).fold(0, u32::saturating_add)
}

/// When nothing of a campaign may be started any more.
pub(super) fn ends(campaign: &Campaign) -> Option<Timestamp> {
    ends_by(&campaign.rules)
}

pub(super) fn ends_by(rules: &CampaignRules) -> Option<Timestamp> {
    [rules.deadline_ms, rules.ends_at_ms].into_iter().filter(|end| *end > 0).min()
}

/// Slots that can be used at once: the cap, and what the pace fills with three roots for chance; 0 = any number.
pub(crate) fn slots_for(max_channels: u32, calls_per_second: u32, holding_ms: u64) -> u32 {
    let filled = u64::from(calls_per_second).saturating_mul(holding_ms.div_ceil(1_000));
    let filled = u32::try_from(filled.saturating_add(3 * filled.isqrt())).unwrap_or(u32::MAX);
    [max_channels, filled].into_iter().filter(|most| *most > 0).min().unwrap_or(0)
}

/// The lists of a campaign that ends, one a zone: each has the hours in which its people may be rung.
fn dated(
    campaign: &Campaign,
    most: u32,
    (at, soon, until): (Timestamp, Timestamp, Timestamp),
    lists: &mut Vec<Backlog>,
) {
    let clock = Clock::new(campaign);
    let attempts_milli = attempts_milli(campaign);
    let all = u64::from(campaign.waiting.len().max(1));
    for zone in campaign.waiting.zones() {
        let open = |when| clock.look(zone, when) != ZoneStands::Closed;
        if !open(at) && !open(soon) {
            continue;
        }
        let due = campaign.waiting.due_in(zone, soon);
        if due == 0 {
            continue;
        }
        let due = due.saturating_add(campaign.counts.in_flight);
        let waiting = u64::from(campaign.waiting.len_in(zone));
        // A list that shares a cap with the campaign's other zones has its part of it.
        let share = u32::try_from((u64::from(most) * waiting).div_ceil(all)).unwrap_or(u32::MAX);
        let calls = u32::try_from((waiting * attempts_milli).div_ceil(1_000)).unwrap_or(u32::MAX);
        let open_ms = open_within(&clock, zone, at, until);
        lists.push(Backlog {
            open_ms: staffing_ms(at),
            deadline_ms: staffing_ms(at.saturating_add(open_ms)),
            calls,
            slots_most: if share == 0 { due } else { share.min(due) },
        });
    }
}

/// Attempts a waiting contact will take, in thousandths, by how many of those so far led to another one.
pub(super) fn attempts_milli(campaign: &Campaign) -> u64 {
    let counts = &campaign.counts;
    let ended = u64::from(counts.attempts.saturating_sub(counts.refused).saturating_sub(counts.in_flight));
    let last = u64::from(counts.settled.values().sum::<u32>() + counts.uncertain).min(ended);
    chain(((ended - last) * 1_000).checked_div(ended).unwrap_or(0), campaign.max_attempts)
}

/// Attempts of a contact, in thousandths, where so many thousandths of each lead to another one.
pub(super) fn chain(again_milli: u64, max_attempts: u32) -> u64 {
    let (mut sum, mut part) = (1_000, 1_000);
    for _ in 1..max_attempts.clamp(1, ATTEMPTS_MAX) {
        part = part * again_milli / 1_000;
        sum += part;
    }
    sum
}

/// For how long a zone is open from `at` to `until`, in milliseconds.
fn open_within(clock: &Clock<'_>, zone: ZoneIndex, at: Timestamp, until: Timestamp) -> u64 {
    let (mut from, mut open_ms) = (at, 0);
    for _ in 0..OPENINGS_MAX {
        let opens = clock.opens_at(zone, from).filter(|opens| *opens < until);
        let Some(opens) = opens else { return open_ms };
        let closes = match clock.look(zone, opens) {
            ZoneStands::Open(closes) if closes > opens => closes.min(until),
            _ => until,
        };
        open_ms += closes - opens;
        from = closes;
        if from >= until {
            return open_ms;
        }
    }
    // The rest is like what was seen.
    let (seen, rest) = (u128::from(from - at).max(1), u128::from(until - from));
    open_ms.saturating_add(u64::try_from(u128::from(open_ms) * rest / seen).unwrap_or(u64::MAX))
}

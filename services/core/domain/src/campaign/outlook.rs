//! What a campaign will ask of the fleet, as far as the log can say it: what a plan starts from before any money is spent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backlog::{attempts_milli, chain, ends, ends_by, slots_for};
use super::judge::{Clock, ZoneStands};
use super::state::{Campaign, CampaignStatus};
use super::waiting::ZoneIndex;
use crate::fleet::learnt::Learnt;
use crate::fleet::staffing::{Backlog, StaffingPolicy, staffing_ms};
use crate::ids::{Outcome, Timestamp};
use crate::rules::CampaignRules;
use crate::state::State;

/// Openings of a calling window that are told at most.
const OPENINGS_MAX: usize = 60;

/// A campaign from now on, as if it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Its id; empty if there is none yet.
    pub campaign: String,
    /// Its name.
    pub name: String,
    /// Now.
    pub at_ms: Timestamp,
    /// Until when its calls must have started; none if nobody wants them by a time.
    pub until_ms: Option<Timestamp>,
    /// Its people, by time zone.
    pub lists: Vec<OutlookList>,
    /// Calls at once: the least of its own cap and of its trunks'; 0 = no cap.
    pub max_channels: u32,
    /// Calls started a second: the same; 0 = no pace.
    pub calls_per_second: u32,
    /// Attempts that ended: what holding times and answers were learnt from.
    pub attempts_seen: u64,
    /// Answered ones among a thousand of them; none without any.
    pub answered_permille: Option<u32>,
    /// Mean time from an attempt to the next one of its contact, by the campaign's rules.
    #[serde(default)]
    pub retry_ms: u64,
    /// What the log has taught about calls and boots.
    pub learnt: Learnt,
}

/// A campaign that does not exist yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supposed {
    /// Its name.
    pub name: String,
    /// Whom it may ring and when.
    pub rules: CampaignRules,
    /// People by the zone a list would give them; empty = none.
    pub people: BTreeMap<String, u32>,
    /// Attempts of one contact at most.
    pub max_attempts: u32,
    /// Attempts of a thousand that are answered.
    pub answered_permille: u32,
    /// Calls at once; 0 = no cap.
    pub max_channels: u32,
    /// Calls started a second; 0 = no pace.
    pub calls_per_second: u32,
    /// What its trunks carry: calls at once and starts a second each; 0 = no limit.
    pub trunks: Vec<(u32, u32)>,
    /// What is assumed of calls and boots.
    pub learnt: Learnt,
}

/// What it would ask for, from `at` on.
pub fn supposed(asked: Supposed, at: Timestamp) -> Outlook {
    let (zones, people): (Vec<String>, Vec<u32>) = asked.people.into_iter().unzip();
    let (channels, pace) = trunks(asked.trunks.into_iter());
    let again_milli = 1_000 - u64::from(asked.answered_permille.min(1_000));
    let attempts_milli = chain(again_milli, asked.max_attempts);
    let clock = Clock::of(&asked.rules, &zones);
    // Zone 0 is that of people without one; a campaign names its zones from 1 on.
    let zone = |(index, name): (usize, &String)| {
        if name.is_empty() { Some(0) } else { ZoneIndex::try_from(index + 1).ok() }
    };
    let from = at.max(asked.rules.starts_at_ms);
    let lists = zones
        .iter()
        .enumerate()
        .map(zone)
        .zip(people)
        .filter_map(|(zone, contacts)| list(&clock, (zone?, contacts), attempts_milli, (at, from)));
    Outlook {
        name: asked.name,
        at_ms: at,
        until_ms: ends_by(&asked.rules),
        lists: lists.collect(),
        max_channels: least(asked.max_channels, channels),
        calls_per_second: least(asked.calls_per_second, pace),
        answered_permille: Some(asked.answered_permille),
        retry_ms: retry_ms(&asked.rules),
        learnt: asked.learnt,
        ..Outlook::default()
    }
}

/// What trunks carry together: none if one of them has no limit.
fn trunks(all: impl Iterator<Item = (u32, u32)>) -> (Option<u32>, Option<u32>) {
    let (mut channels, mut pace) = (Some(0_u32), Some(0_u32));
    for (its_channels, its_pace) in all {
        let add = |sum: Option<u32>, cap: u32| sum.filter(|_| cap > 0).map(|sum| sum.saturating_add(cap));
        channels = add(channels, its_channels);
        pace = add(pace, its_pace);
    }
    (channels, pace)
}

/// The mean delay of the rules that lead to another attempt, no less than numbers must rest.
fn retry_ms(rules: &CampaignRules) -> u64 {
    let again = || rules.retries.iter().filter(|rule| rule.max > 0 && rule.outcome != Outcome::Congestion);
    let sum = again().fold(0_u64, |sum, rule| sum.saturating_add(rule.delay_ms));
    (sum / (again().count() as u64).max(1)).max(rules.min_gap_ms)
}

/// People who have the same hours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlookList {
    /// How many wait.
    pub contacts: u32,
    /// Attempts they will take, by how many of those so far led to another one.
    pub calls: u32,
    /// When they may be rung, from now on; empty = at any time.
    pub hours: Vec<(Timestamp, Timestamp)>,
}

/// What a campaign that waits, runs or is paused will ask for. `None` if there is none, or it has ended.
pub fn outlook(state: &State, id: &str, at: Timestamp) -> Option<Outlook> {
    let campaign = state.campaigns.get(id)?;
    if matches!(campaign.status, CampaignStatus::Stopped | CampaignStatus::Completed) {
        return None;
    }
    let counts = &campaign.counts;
    let seen = u64::from(counts.attempts.saturating_sub(counts.refused).saturating_sub(counts.in_flight));
    let answered = (u64::from(counts.answered) * 1_000).checked_div(seen);
    Some(Outlook {
        lists: lists(campaign, at),
        attempts_seen: seen,
        answered_permille: answered.and_then(|share| u32::try_from(share).ok()),
        retry_ms: retry_ms(&campaign.rules),
        learnt: state.fleet.learnt.clone(),
        ..replayed(state, id, at)?
    })
}

/// A campaign as it is now, for calls that are known already: no lists of its own, which its caller adds.
pub fn replayed(state: &State, id: &str, at: Timestamp) -> Option<Outlook> {
    let campaign = state.campaigns.get(id)?;
    let (max_channels, calls_per_second) = caps(state, campaign);
    Some(Outlook {
        campaign: id.to_owned(),
        name: campaign.name.clone(),
        at_ms: at,
        until_ms: ends(campaign),
        max_channels,
        calls_per_second,
        ..Outlook::default()
    })
}

/// Calls at once and starts a second: the least of the campaign's own, of what its trunks carry and of the fleet's; 0 = no cap.
fn caps(state: &State, campaign: &Campaign) -> (u32, u32) {
    let usable = campaign.trunks.iter().filter_map(|name| state.trunks.get(name)?.usable());
    // What can be joined with somebody needs two channels of a trunk.
    let needs = state.catalogue.channels(&campaign.flow);
    let carries = |cap: u32| if cap == 0 { 0 } else { (cap / needs).max(1) };
    let (channels, pace) =
        trunks(usable.map(|settings| (carries(settings.max_channels), settings.calls_per_second)));
    let caps = state.fleet.paced.caps;
    let channels = least(campaign.max_channels, channels);
    let pace = least(campaign.calls_per_second, pace);
    (least(channels, Some(caps.max_channels)), least(pace, Some(caps.calls_per_second)))
}

/// The lesser of two caps, 0 and nothing being none.
fn least(own: u32, trunks: Option<u32>) -> u32 {
    [own, trunks.unwrap_or(0)].into_iter().filter(|cap| *cap > 0).min().unwrap_or(0)
}

/// One list a zone.
fn lists(campaign: &Campaign, at: Timestamp) -> Vec<OutlookList> {
    let clock = Clock::new(campaign);
    let attempts_milli = attempts_milli(campaign);
    let from = at.max(campaign.rules.starts_at_ms);
    let waiting = campaign.waiting.zones().map(|zone| (zone, campaign.waiting.len_in(zone)));
    waiting.filter_map(|people| list(&clock, people, attempts_milli, (at, from))).collect()
}

/// People of one zone. Who has no known zone is never rung.
fn list(
    clock: &Clock<'_>,
    (zone, contacts): (ZoneIndex, u32),
    attempts_milli: u64,
    (at, from): (Timestamp, Timestamp),
) -> Option<OutlookList> {
    if contacts == 0 || clock.look(zone, from) == ZoneStands::Unknown {
        return None;
    }
    let calls = (u64::from(contacts) * attempts_milli).div_ceil(1_000);
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    Some(OutlookList { contacts, calls, hours: hours(clock, zone, (at, from)) })
}

/// When a zone may be rung, from `from` on, seen at `at`; empty = at any time.
pub fn hours(
    clock: &Clock<'_>,
    zone: ZoneIndex,
    (at, from): (Timestamp, Timestamp),
) -> Vec<(Timestamp, Timestamp)> {
    let mut hours = Vec::new();
    let mut next = from;
    while hours.len() < OPENINGS_MAX {
        let Some(opens) = clock.opens_at(zone, next) else { break };
        match clock.look(zone, opens) {
            ZoneStands::Open(closes) if closes > opens => {
                hours.push((opens, closes));
                next = closes;
            }
            // No rule about time: from its beginning on.
            _ => {
                if from > at {
                    hours.push((opens, Timestamp::MAX));
                }
                break;
            }
        }
    }
    hours
}

impl Outlook {
    /// What the dialer would ask the fleet for at `at`, `left` calls of each list being left and `up` of all being up: as
    /// [`super::backlog::demand`] does from the log.
    pub fn demand(
        &self,
        left: &[u32],
        up: u32,
        staffing: &StaffingPolicy,
        at: Timestamp,
    ) -> (u32, Vec<Backlog>) {
        let holding_ms = self.learnt.holding().mean_ms();
        let soon = at.saturating_add(staffing.lead_ms().max(60_000));
        let most = slots_for(self.max_channels, self.calls_per_second, holding_ms);
        let opens = |list: &OutlookList| {
            let hits = |(from, to): &(Timestamp, Timestamp)| {
                (*from <= at && at < *to) || (*from <= soon && soon < *to)
            };
            list.hours.is_empty() || list.hours.iter().any(hits)
        };
        let over = self.until_ms.is_some_and(|until| at >= until);
        let all = u64::from(left.iter().fold(0, |sum: u32, calls| sum.saturating_add(*calls)).max(1));
        let open: Vec<(&OutlookList, u32)> = self
            .lists
            .iter()
            .zip(left.iter().copied())
            .filter(|(list, calls)| *calls > 0 && !over && opens(list))
            .collect();
        let due = open.iter().fold(0, |sum: u32, (_, calls)| sum.saturating_add(*calls));
        if due == 0 {
            return (0, Vec::new());
        }
        let now = if self.max_channels == 0 { due } else { due.min(self.max_channels.saturating_sub(up)) };
        let Some(until) = self.until_ms else {
            let calls = due.saturating_add(up);
            return (now, vec![Backlog::at_once(calls, most, staffing_ms(at), staffing)]);
        };
        let dated = |(list, calls): &(&OutlookList, u32)| {
            let share = (u64::from(most) * u64::from(*calls)).div_ceil(all);
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            let due = calls.saturating_add(up);
            Backlog {
                open_ms: staffing_ms(at),
                deadline_ms: staffing_ms(at.saturating_add(open_within(&list.hours, at, until))),
                calls: *calls,
                slots_most: if share == 0 { due } else { share.min(due) },
            }
        };
        (now, open.iter().map(dated).collect())
    }
}

/// For how long hours are open between two times.
fn open_within(hours: &[(Timestamp, Timestamp)], at: Timestamp, until: Timestamp) -> u64 {
    if hours.is_empty() {
        return until.saturating_sub(at);
    }
    hours.iter().map(|(from, to)| (*to).min(until).saturating_sub((*from).max(at))).sum()
}

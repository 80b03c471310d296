//! What a campaign will ask of the fleet, as far as the log can say it: what a plan starts from before any money is spent.

use serde::{Deserialize, Serialize};

use super::backlog::{attempts_milli, ends, slots_for};
use super::judge::{Clock, ZoneStands};
use super::state::{Campaign, CampaignStatus};
use crate::fleet::learnt::Learnt;
use crate::fleet::staffing::{Backlog, StaffingPolicy, staffing_ms};
use crate::ids::Timestamp;
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
    /// What the log has taught about calls and boots.
    pub learnt: Learnt,
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
    let trunks = campaign.trunks.iter().filter_map(|name| state.trunks.get(name)?.usable());
    let (mut channels, mut pace) = (Some(0_u32), Some(0_u32));
    for settings in trunks {
        let add = |sum: Option<u32>, cap: u32| sum.filter(|_| cap > 0).map(|sum| sum.saturating_add(cap));
        channels = add(channels, settings.max_channels);
        pace = add(pace, settings.calls_per_second);
    }
    Some(Outlook {
        campaign: id.to_owned(),
        name: campaign.name.clone(),
        at_ms: at,
        until_ms: ends(campaign),
        lists: lists(campaign, at),
        max_channels: least(campaign.max_channels, channels),
        calls_per_second: least(campaign.calls_per_second, pace),
        attempts_seen: seen,
        answered_permille: answered.and_then(|share| u32::try_from(share).ok()),
        learnt: state.fleet.learnt.clone(),
    })
}

/// The lesser of two caps, 0 and nothing being none.
fn least(own: u32, trunks: Option<u32>) -> u32 {
    [own, trunks.unwrap_or(0)].into_iter().filter(|cap| *cap > 0).min().unwrap_or(0)
}

/// One list a zone. Who has no known zone is never rung.
fn lists(campaign: &Campaign, at: Timestamp) -> Vec<OutlookList> {
    let clock = Clock::new(campaign);
    let attempts_milli = attempts_milli(campaign);
    let from = at.max(campaign.rules.starts_at_ms);
    let list = |zone| {
        let contacts = campaign.waiting.len_in(zone);
        if contacts == 0 || clock.look(zone, from) == ZoneStands::Unknown {
            return None;
        }
        let calls = (u64::from(contacts) * attempts_milli).div_ceil(1_000);
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
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
        Some(OutlookList { contacts, calls, hours })
    };
    campaign.waiting.zones().filter_map(list).collect()
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

//! A recorded log as a workload: the calls it has, how long each held its slot, when it could have been started, and how
//! long nodes booted. The log is folded by production's own reducers.
//!
//! Nothing is invented but one thing: people whom the campaign's deadline left without a call get the holding times of
//! those who were rung, in their order.

use std::collections::{BTreeMap, BTreeSet};

use asterism_domain::campaign::judge::Clock;
use asterism_domain::campaign::outlook::{self, OutlookList};
use asterism_domain::campaign::{Campaign, CampaignStatus, ContactStatus};
use asterism_domain::fleet::learnt::Learnt;
use asterism_domain::fleet::prices::micro_usd;
use asterism_domain::rules::Exclusion;
use asterism_domain::{AttemptId, CampaignId, ContactId, Event, Recorded, State, Timestamp};

use crate::error::LabError;
use crate::planned::fleet::Dialled;
use crate::whatif::Figures;
use crate::workload::{Call, Caps, FleetFacts, List, Workload};

/// No replay looks farther ahead.
const HORIZON_MS: i64 = 14 * crate::workload::DAY_MS;
/// People who are imported while a campaign runs are lists by the minute.
const IMPORT_STEP_MS: u64 = 60_000;
/// Boots until one was seen.
const BOOT_MS: i64 = 90_000;
/// Pace where there is none.
const NO_PACE: u32 = 10_000;

/// One call of the log.
struct Made {
    contact: ContactId,
    held_ms: u64,
    /// From its end to when the contact could be rung again; nothing: it was not to be.
    rest_ms: Option<u64>,
}

/// The calls of one contact: how long each held its slot, and how long the contact rested behind it.
struct Chain {
    open_ms: i64,
    deadline_ms: i64,
    held: Vec<(u64, u64)>,
}

/// What is read of a log, event by event.
#[derive(Default)]
pub struct Reading {
    state: State,
    began: Option<Timestamp>,
    open: BTreeMap<AttemptId, Timestamp>,
    made: BTreeMap<CampaignId, Vec<Made>>,
    runs: BTreeMap<CampaignId, Vec<(Timestamp, Timestamp)>>,
    imported: BTreeMap<(CampaignId, ContactId), Timestamp>,
    refused: u32,
    last_end: Timestamp,
}

/// A log that was read.
pub struct Log {
    /// Its end.
    pub state: State,
    /// Its first event that matters: times of the workload count from here.
    pub began: Timestamp,
    /// Its calls.
    pub workload: Workload,
    /// What really happened.
    pub figures: Figures,
    pub(crate) campaigns: Vec<Recalled>,
}

/// A campaign of it.
pub(crate) struct Recalled {
    id: CampaignId,
    lists: Vec<(i64, OutlookList)>,
    runs: Vec<(i64, i64)>,
}

impl Reading {
    /// Takes note of one event; all of them in the order of the log.
    pub fn note(&mut self, event: &Recorded) {
        let voids = self.state.voids;
        self.state.apply(event);
        let took_effect = self.state.voids == voids;
        match &event.event {
            Event::AttemptIntended { attempt, .. } if took_effect => {
                self.open.insert(attempt.clone(), event.at);
            }
            Event::AttemptRefused { attempt, .. } => {
                self.refused += u32::from(self.open.remove(attempt).is_some());
            }
            Event::AttemptEnded { attempt, .. } | Event::AttemptUncertain { attempt, .. } => {
                self.ended(attempt, event.at);
            }
            Event::NodeLost { .. } | Event::NodeTerminated { .. } => self.sweep(event.at),
            Event::ContactsImported { campaign, contacts, .. } => {
                for contact in contacts {
                    self.imported.insert((campaign.clone(), contact.contact), event.at);
                }
            }
            Event::LaunchIntended { .. } => {
                self.began.get_or_insert(event.at);
            }
            Event::CampaignStarted { .. }
            | Event::CampaignPaused { .. }
            | Event::CampaignResumed { .. }
            | Event::CampaignStopped { .. }
            | Event::CampaignBudgetReached { .. }
            | Event::EmergencyStopped { .. }
            | Event::EmergencyResumed { .. } => self.look_at_runs(event.at),
            _ => {}
        }
    }

    fn ended(&mut self, attempt: &AttemptId, at: Timestamp) {
        let Some(intended) = self.open.remove(attempt) else { return };
        let contact = self
            .state
            .campaigns
            .get(&attempt.campaign)
            .and_then(|campaign| campaign.contacts.get(attempt.contact as usize));
        let waits = contact.filter(|contact| contact.status == ContactStatus::Waiting);
        let rest_ms = waits.map(|contact| contact.due_ms.saturating_sub(at));
        let held_ms = at.saturating_sub(intended).max(1);
        let made = Made { contact: attempt.contact, held_ms, rest_ms };
        self.made.entry(attempt.campaign.clone()).or_default().push(made);
        self.last_end = self.last_end.max(at);
    }

    /// Attempts that ended with their node.
    fn sweep(&mut self, at: Timestamp) {
        let up = |attempt: &AttemptId| {
            let campaign = self.state.campaigns.get(&attempt.campaign);
            campaign.is_some_and(|campaign| campaign.in_flight.contains_key(attempt))
        };
        let gone: Vec<AttemptId> = self.open.keys().filter(|attempt| !up(attempt)).cloned().collect();
        for attempt in &gone {
            self.ended(attempt, at);
        }
    }

    /// Opens and closes the spans in which campaigns run. One that is complete runs on: a replay may take longer.
    fn look_at_runs(&mut self, at: Timestamp) {
        for (id, campaign) in &self.state.campaigns {
            let through = matches!(campaign.status, CampaignStatus::Running | CampaignStatus::Completed);
            let runs = through && self.state.emergency.is_none();
            let spans = self.runs.entry(id.clone()).or_default();
            match spans.last_mut().filter(|(_, until)| *until == Timestamp::MAX) {
                Some((_, until)) if !runs => *until = at,
                None if runs => {
                    self.began.get_or_insert(at);
                    spans.push((at, Timestamp::MAX));
                }
                _ => {}
            }
        }
    }

    /// The log as a workload.
    ///
    /// # Errors
    /// There is no call in it.
    pub fn finish(mut self) -> Result<Log, LabError> {
        let end = self.state.at;
        let still_up: Vec<AttemptId> = self.open.keys().cloned().collect();
        for attempt in &still_up {
            self.ended(attempt, end);
        }
        let done: usize = self.made.values().map(Vec::len).sum();
        let began = self.began.filter(|_| done > 0).ok_or(LabError::NoCalls)?;
        let boots = boots(&self.state);
        let fleet = FleetFacts {
            name: self.state.fleet_name.clone(),
            horizon_ms: HORIZON_MS,
            capacity: capacity(&self.state),
            boot_nominal_ms: middle(&boots).unwrap_or(BOOT_MS),
            boot_ms: if boots.is_empty() { vec![BOOT_MS] } else { boots },
            dials_per_s: NO_PACE,
            ..FleetFacts::default()
        };
        let mut log = Log {
            began,
            workload: Workload { fleet, ..Workload::default() },
            figures: Figures::default(),
            campaigns: Vec::new(),
            state: State::default(),
        };
        let mut late = 0;
        let ids: BTreeSet<CampaignId> = self.runs.keys().cloned().collect();
        for id in ids {
            late += self.campaign(&id, &mut log);
        }
        let lives = self.state.fleet.nodes.values();
        let node_ms: u64 =
            lives.map(|node| node.ended_at.unwrap_or(end).saturating_sub(node.launched_at)).sum();
        log.figures = Figures {
            done: u32::try_from(done).unwrap_or(u32::MAX),
            late,
            blocked: self.refused,
            nodes: u32::try_from(self.state.fleet.nodes.len()).unwrap_or(u32::MAX),
            peak_nodes: self.state.fleet.peak_nodes,
            node_ms,
            micro_usd: self.state.fleet.spent_micro_usd(end).unwrap_or_else(|| micro_usd(0)),
            took_ms: self.last_end.saturating_sub(began),
        };
        log.state = self.state;
        Ok(log)
    }

    /// One campaign's calls; how many people its deadline left without one.
    fn campaign(&self, id: &CampaignId, log: &mut Log) -> u32 {
        let (Some(campaign), Some(runs)) = (self.state.campaigns.get(id), self.runs.get(id)) else {
            return 0;
        };
        let Some((started, _)) = runs.first().copied() else { return 0 };
        let made = self.made.get(id).map(Vec::as_slice).unwrap_or_default();
        let began = log.began;
        let from_began = |at: u64| i64::try_from(at).map_or(i64::MAX, |at| at.saturating_sub(began as i64));
        let mut recalled = Recalled {
            id: id.clone(),
            lists: Vec::new(),
            runs: runs.iter().map(|(from, to)| (from_began(*from), from_began(*to))).collect(),
        };
        let mut chains: BTreeMap<ContactId, Vec<&Made>> = BTreeMap::new();
        for call in made {
            chains.entry(call.contact).or_default().push(call);
        }
        let left = left_over(campaign);
        let clock = Clock::new(campaign);
        let until = outlook::replayed(&self.state, id, began).and_then(|seen| seen.until_ms);
        let mut places: BTreeMap<(u16, u64), i64> = BTreeMap::new();
        let (mut rows, mut drawn) = (Vec::new(), 0_usize);
        for (contact, known) in (0..).zip(&campaign.contacts) {
            let chain = chains.remove(&contact).unwrap_or_default();
            let is_left = left.contains(&contact);
            if chain.is_empty() && !is_left {
                continue;
            }
            let imported = self.imported.get(&(id.clone(), contact)).copied().unwrap_or(started);
            let open = if imported <= started { started } else { imported.next_multiple_of(IMPORT_STEP_MS) };
            let deadline_ms = *places.entry((known.zone, open)).or_insert_with(|| {
                let place = log.workload.fleet.campaigns.len() as i64;
                let horizon = until.map_or(HORIZON_MS, from_began);
                // A millisecond tells the lists apart.
                let deadline_ms = horizon - place;
                let hours = outlook::hours(&clock, known.zone, (started, started));
                log.workload.hours.insert(deadline_ms, within(&hours, runs, began, horizon));
                recalled.lists.push((deadline_ms, OutlookList { hours, ..OutlookList::default() }));
                let open_ms = from_began(open);
                log.workload.fleet.campaigns.push(List { open_ms, deadline_ms, calls: 0 });
                deadline_ms
            });
            let mut held: Vec<(u64, u64)> =
                chain.iter().map(|call| (call.held_ms, call.rest_ms.unwrap_or(0))).collect();
            if is_left && !made.is_empty() {
                held.push((made[drawn % made.len()].held_ms, 0));
                drawn += 1;
            }
            rows.push(Chain { open_ms: from_began(open), deadline_ms, held });
        }
        let (max_channels, dials_per_s) = outlook::replayed(&self.state, id, began)
            .map_or((0, 0), |seen| (seen.max_channels, seen.calls_per_second));
        let lists = recalled.lists.iter().map(|(deadline, _)| *deadline).collect();
        log.workload.caps.push(Caps { lists, channels: max_channels, dials_per_s });
        add(&mut log.workload, rows);
        log.campaigns.push(recalled);
        if made.is_empty() { 0 } else { left.len() as u32 }
    }
}

impl Log {
    /// The campaigns for a run, with what the whole log taught of calls and boots.
    pub(crate) fn dialled(&self) -> Vec<Dialled> {
        let calls = &self.workload.calls;
        let mean = calls.iter().map(|call| call.hold_ms as u64).sum::<u64>() / calls.len().max(1) as u64;
        let learnt = Learnt::assumed(mean, self.workload.fleet.boot_nominal_ms as u64);
        let dialled = |recalled: &Recalled| {
            let mut seen = outlook::replayed(&self.state, &recalled.id, self.began)?;
            seen.lists = recalled.lists.iter().map(|(_, list)| list.clone()).collect();
            seen.learnt = learnt.clone();
            let lists = recalled.lists.iter().map(|(deadline, _)| *deadline).collect();
            Some(Dialled { outlook: seen, lists, runs: recalled.runs.clone() })
        };
        self.campaigns.iter().filter_map(dialled).collect()
    }
}

/// Calls of contacts, each after the one before. All rows of a list open with it: the engine holds back what follows.
fn add(workload: &mut Workload, contacts: Vec<Chain>) {
    for Chain { open_ms, deadline_ms, held } in contacts {
        let first = workload.calls.len();
        for (round, (held_ms, _)) in held.iter().enumerate() {
            let (row, hold_ms) = (first + round, i64::try_from(*held_ms).unwrap_or(i64::MAX));
            workload.calls.push(Call { at_ms: open_ms, hold_ms, deadline_ms: Some(deadline_ms) });
            if round > 0 {
                let rest_ms = i64::try_from(held[round - 1].1).unwrap_or(i64::MAX);
                workload.again.insert(row - 1, (row, rest_ms));
            }
        }
        let list = workload.fleet.campaigns.iter_mut().find(|list| list.deadline_ms == deadline_ms);
        if let Some(list) = list {
            list.calls += held.len() as u32;
        }
    }
}

/// People who wait for a campaign that is over, or whom its deadline left out.
fn left_over(campaign: &Campaign) -> BTreeSet<ContactId> {
    let stopped = campaign.status == CampaignStatus::Stopped;
    let is_left = |status: &ContactStatus| {
        *status == ContactStatus::Excluded(Exclusion::Deadline)
            || (stopped && *status == ContactStatus::Waiting)
    };
    let all = (0..).zip(&campaign.contacts);
    all.filter(|(_, contact)| is_left(&contact.status)).map(|(contact, _)| contact).collect()
}

/// The times in which a zone may be rung and its campaign runs, from the beginning on.
fn within(
    hours: &[(Timestamp, Timestamp)],
    runs: &[(Timestamp, Timestamp)],
    began: Timestamp,
    horizon_ms: i64,
) -> Vec<(i64, i64)> {
    let at = |at: Timestamp| i64::try_from(at.saturating_sub(began)).unwrap_or(i64::MAX).min(horizon_ms);
    let any = [(0, Timestamp::MAX)];
    let hours = if hours.is_empty() { &any[..] } else { hours };
    let both =
        runs.iter().flat_map(|run| hours.iter().map(move |open| (run.0.max(open.0), run.1.min(open.1))));
    let spans: Vec<(i64, i64)> =
        both.filter(|(from, to)| from < to).map(|(from, to)| (at(from), at(to))).collect();
    // No span at all is not "at any time".
    if spans.is_empty() { vec![(0, 0)] } else { spans }
}

/// How long nodes booted, in the order of their launches; those that were ended before they were up teach nothing.
fn boots(state: &State) -> Vec<i64> {
    let mut nodes: Vec<_> = state.fleet.nodes.values().collect();
    nodes.sort_by_key(|node| node.launched_at);
    let boot = |node: &&asterism_domain::fleet::Node| {
        node.ready_at.map(|ready| ready.saturating_sub(node.launched_at) as i64)
    };
    nodes.iter().filter_map(boot).collect()
}

fn capacity(state: &State) -> u32 {
    state.fleet.nodes.values().map(|node| node.capacity).max().unwrap_or(0).max(1)
}

fn middle(boots: &[i64]) -> Option<i64> {
    let mut sorted = boots.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

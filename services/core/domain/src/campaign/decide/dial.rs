//! Whom to dial now: campaigns take turns by priority and weight, each contact is judged by every rule, and caps, pace
//! and slots are drawn down as attempts are put on nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::contacts::EXCLUDE_MAX_CONTACTS;
use crate::campaign::budget::{self, Spent};
use crate::campaign::command::DialTick;
use crate::campaign::judge::{Clock, Verdict, ZoneStands, judge};
use crate::campaign::state::{Campaign, CampaignStatus, Contact, KeptOff};
use crate::campaign::waiting::{Candidates, ZoneIndex};
use crate::event::Event;
use crate::ids::{AttemptId, CampaignId, ContactId, NodeId, NumberHash, Timestamp};
use crate::paces;
use crate::rules::Exclusion;
use crate::state::State;
use crate::trunk::state::spacing_us;
use crate::trunk::{Trunk, TrunkSettings, choose, health};

/// How far ahead a start may be given out.
pub const LOOKAHEAD_MS: u64 = 500;
/// Most from a decision to its latest start: a node cut off stops dialling by itself within it.
pub const ORDER_WINDOW_MAX_MS: u32 = 2_000;
/// Contacts of one campaign looked at in one tick at most: what rules keep out costs no more than what is dialled.
const LOOKED_AT_MAX: u32 = 2_000;

/// Decides one tick.
pub(super) fn dial(state: &State, tick: &DialTick, at: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    let (mut queues, mut late) = (Vec::new(), Vec::new());
    for (id, campaign) in &state.campaigns {
        let rules = &campaign.rules;
        if campaign.status != CampaignStatus::Running {
            continue;
        }
        if campaign.waiting.is_empty() && campaign.in_flight.is_empty() && campaign.import_complete() {
            events.push(Event::CampaignCompleted { campaign: id.clone() });
        } else if rules.deadline_ms > 0 && at >= rules.deadline_ms {
            late.push((id, campaign));
        } else if let Some(reason) = budget::reached(campaign) {
            let Spent { answered, talk_ms, cost_micro } = budget::spent(campaign);
            let campaign = id.clone();
            events.push(Event::CampaignBudgetReached { campaign, answered, talk_ms, cost_micro, reason });
        } else if rules.ends_at_ms > 0 && at >= rules.ends_at_ms {
            let reason = "its end time has come".to_owned();
            events.push(Event::CampaignStopped { campaign: id.clone(), reason });
        } else if at >= rules.starts_at_ms && !state.is_held() {
            queues.push(Queue::new(id, campaign, state, at));
        }
    }
    let before = events.len();
    events.extend(tick.caps.into_iter().flat_map(|caps| paces::decide(state, caps)));
    events.extend(state.trunks.iter().flat_map(|(name, trunk)| health::decide(name, trunk, at)));
    if events.len() > before {
        return events; // what trunks and the fleet may carry changes with these: dialled is with the next tick
    }
    let mut budget = Budget::new(state, tick, at);
    let most = tick.max_intents as usize;
    while events.len() + budget.news.events() < most {
        let open = queues.iter_mut().filter(|queue| !queue.done);
        let Some(queue) = open.max_by_key(|queue| queue.turn()) else { break };
        events.extend(queue.step(&mut budget));
    }
    for (id, campaign) in late {
        expire(&mut budget.news, id, campaign, most.saturating_sub(events.len()));
    }
    events.extend(budget.news.into_events());
    events
}

/// Whoever still waits at the deadline is out, as many at a time as go into so many events.
fn expire(news: &mut News, id: &CampaignId, campaign: &Campaign, events: usize) {
    let detail = format!("{} ms since 1970", campaign.rules.deadline_ms);
    for contact in campaign.waiting.all().take(events.max(1) * EXCLUDE_MAX_CONTACTS) {
        news.exclude(id, Exclusion::Deadline, detail.clone(), contact);
    }
}

/// A campaign's contacts in the order they are dialled in.
struct Queue<'a> {
    id: &'a CampaignId,
    campaign: &'a Campaign,
    /// Its trunks, in the order they are tried in.
    trunks: Vec<(usize, &'a str, &'a Trunk)>,
    zones: BTreeMap<ZoneIndex, ZoneStands>,
    source: Source<'a>,
    in_flight: u32,
    /// How many more its budget of answered calls allows.
    room: Option<u32>,
    next_us: u64,
    looked_at: u32,
    done: bool,
}

enum Source<'a> {
    Everybody(Candidates<'a>),
    /// Until go-live a trunk that leads outside dials allowed numbers only.
    Allowed(std::vec::IntoIter<ContactId>),
}

impl<'a> Queue<'a> {
    fn new(id: &'a CampaignId, campaign: &'a Campaign, state: &'a State, at: Timestamp) -> Self {
        let mut trunks = choose::in_order(campaign, &state.trunks);
        trunks.retain(|(_, _, trunk)| trunk.closed().is_none());
        let outside =
            trunks.iter().any(|(_, _, trunk)| trunk.usable().is_some_and(TrunkSettings::is_outside));
        let mut clock = Clock::new(campaign);
        let zones: BTreeMap<ZoneIndex, ZoneStands> =
            campaign.waiting.zones().map(|zone| (zone, clock.stands(zone, at))).collect();
        // Who can never be rung has a turn, to be told so.
        let zones: BTreeMap<ZoneIndex, ZoneStands> = zones
            .into_iter()
            .filter(|(zone, stands)| *stands != ZoneStands::Closed || clock.never_opens(*zone, at))
            .collect();
        let source = if outside && !campaign.live {
            Source::Allowed(allowed(campaign, &zones, at).into_iter())
        } else {
            let open: Vec<ZoneIndex> = zones.keys().copied().collect();
            Source::Everybody(campaign.waiting.candidates(&open, at))
        };
        Self {
            id,
            campaign,
            trunks,
            zones,
            source,
            in_flight: campaign.counts.in_flight,
            room: budget::room(campaign),
            next_us: after(campaign.last_start_ms, at, campaign.calls_per_second.saturating_mul(1_000)),
            looked_at: 0,
            done: false,
        }
    }

    /// Whose turn it is: the highest priority first, then whoever has least in flight for its weight.
    fn turn(&self) -> (u32, Reverse<u64>, Reverse<&'a CampaignId>) {
        let rules = &self.campaign.rules;
        let share = u64::from(self.in_flight) * 1_000 / u64::from(rules.weight.max(1));
        (rules.priority, Reverse(share), Reverse(self.id))
    }

    /// Looks at the next contact.
    fn step(&mut self, budget: &mut Budget<'a>) -> Option<Event> {
        let campaign = self.campaign;
        let full = campaign.max_channels > 0 && self.in_flight >= campaign.max_channels;
        let full = full || self.room == Some(0);
        let contact = if full || self.looked_at >= LOOKED_AT_MAX { None } else { self.next() };
        let Some(contact) = contact else {
            self.done = true;
            return None;
        };
        self.looked_at += 1;
        let person = campaign.contacts.get(contact as usize)?;
        let (state, at) = (budget.state, budget.at);
        let closes_at_ms = match self.zones.get(&person.zone).copied() {
            Some(ZoneStands::Open(closes)) => closes,
            Some(ZoneStands::Unknown) => {
                budget.news.exclude(self.id, Exclusion::NoZone, String::new(), contact);
                return None;
            }
            Some(ZoneStands::Closed) => {
                budget.news.exclude(self.id, Exclusion::NoWindowOpens, String::new(), contact);
                return None;
            }
            None => return None,
        };
        match judge(&state.do_not_call, &state.numbers, &campaign.rules, person.asked(), at) {
            Verdict::Exclude(rule, detail) => budget.news.exclude(self.id, rule, detail, contact),
            Verdict::Defer(until_ms, rule) => budget.news.defer(self.id, until_ms, rule, contact),
            Verdict::Wait(_) => {}
            Verdict::Dial if !budget.numbers.insert(person.number_hash) => {}
            Verdict::Dial => return self.intend(budget, contact, closes_at_ms),
        }
        None
    }

    fn next(&mut self) -> Option<ContactId> {
        match &mut self.source {
            Source::Everybody(candidates) => candidates.next(),
            Source::Allowed(contacts) => contacts.next(),
        }
    }

    fn intend(
        &mut self,
        budget: &mut Budget<'a>,
        contact: ContactId,
        closes_at_ms: Timestamp,
    ) -> Option<Event> {
        let campaign = self.campaign;
        let person = campaign.contacts.get(contact as usize)?;
        let Some(claim) = budget.take(campaign, &self.trunks, person, self.next_us) else {
            // Who was turned away waits for another trunk, and holds up nobody else.
            self.done = person.tried == 0;
            return None;
        };
        let Claim { start_us, node, trunk, settings } = claim;
        let not_before_ms = start_us / 1000;
        let latest = budget.at + budget.window_ms();
        let not_after_ms = if closes_at_ms > 0 { latest.min(closes_at_ms) } else { latest };
        let deadline_ms = campaign.rules.deadline_ms;
        let not_after_ms = if deadline_ms > 0 { not_after_ms.min(deadline_ms) } else { not_after_ms };
        if not_after_ms <= not_before_ms {
            return None; // its window closes before its turn comes
        }
        self.in_flight += 1;
        self.room = self.room.map(|room| room.saturating_sub(1));
        self.next_us = start_us + spacing_us(campaign.calls_per_second.saturating_mul(1_000));
        let attempt = AttemptId { campaign: self.id.clone(), contact, ordinal: person.attempts + 1 };
        let home = budget.state.fleet.nodes.get(node);
        let prompts =
            home.and_then(|home| campaign.prompts_on(home)).filter(|held| **held != campaign.manifest);
        let manifest = prompts.cloned().unwrap_or_default();
        Some(Event::AttemptIntended {
            node: node.clone(),
            trunk: trunk.to_owned(),
            not_before_ms,
            not_after_ms,
            reason: why(person).to_owned(),
            closes_at_ms,
            caller_id: choose::caller_id_of(campaign, settings, &attempt),
            manifest,
            attempt,
        })
    }
}

fn why(person: &Contact) -> &'static str {
    match () {
        () if person.tried > 0 && person.kept_off == KeptOff::ForARetry => {
            "its delay is over, another trunk than its last, free slot"
        }
        () if person.tried > 0 => "turned away by another trunk, free slot",
        () if person.due_ms > 0 => "its delay is over, free slot",
        () => "waiting contact, free slot",
    }
}

fn allowed(campaign: &Campaign, open: &BTreeMap<ZoneIndex, ZoneStands>, at: Timestamp) -> Vec<ContactId> {
    let contact = |hash: &Vec<u8>| campaign.numbers.get(hash.as_slice()).copied();
    let waits = |contact: &ContactId| {
        campaign.contacts.get(*contact as usize).is_some_and(|person| {
            person.due_ms <= at
                && open.contains_key(&person.zone)
                && campaign.waiting.contains(*contact, person.place())
        })
    };
    let mut contacts: Vec<ContactId> = campaign.allowed.iter().filter_map(contact).filter(waits).collect();
    contacts.sort_unstable();
    contacts
}

/// What the tick found out besides: contacts that are out, or not before a time.
#[derive(Default)]
struct News {
    excluded: BTreeMap<(CampaignId, Exclusion, String), Vec<ContactId>>,
    deferred: BTreeMap<(CampaignId, Timestamp, &'static str), Vec<ContactId>>,
}

impl News {
    fn exclude(&mut self, campaign: &CampaignId, rule: Exclusion, detail: String, contact: ContactId) {
        self.excluded.entry((campaign.clone(), rule, detail)).or_default().push(contact);
    }

    fn defer(&mut self, campaign: &CampaignId, until: Timestamp, rule: &'static str, contact: ContactId) {
        self.deferred.entry((campaign.clone(), until, rule)).or_default().push(contact);
    }

    fn events(&self) -> usize {
        let parts = |contacts: &Vec<ContactId>| contacts.len().div_ceil(EXCLUDE_MAX_CONTACTS);
        self.excluded.values().map(parts).sum::<usize>() + self.deferred.values().map(parts).sum::<usize>()
    }

    fn into_events(self) -> Vec<Event> {
        let mut events = Vec::new();
        for ((campaign, rule, detail), contacts) in self.excluded {
            events.extend(contacts.chunks(EXCLUDE_MAX_CONTACTS).map(|contacts| Event::ContactsExcluded {
                campaign: campaign.clone(),
                contacts: contacts.to_vec(),
                rule,
                detail: detail.clone(),
            }));
        }
        for ((campaign, until_ms, rule), contacts) in self.deferred {
            events.extend(contacts.chunks(EXCLUDE_MAX_CONTACTS).map(|contacts| Event::ContactsDeferred {
                campaign: campaign.clone(),
                contacts: contacts.to_vec(),
                until_ms,
                rule: rule.to_owned(),
            }));
        }
        events
    }
}

/// Slots, caps and pace of one tick, drawn down as attempts are put on nodes.
struct Budget<'a> {
    state: &'a State,
    tick: &'a DialTick,
    at: Timestamp,
    free: BTreeMap<&'a NodeId, Free>,
    fleet: Room,
    trunks: BTreeMap<&'a str, Room>,
    /// Numbers dialled in this tick: another campaign may have the same.
    numbers: BTreeSet<NumberHash>,
    news: News,
}

impl<'a> Budget<'a> {
    fn new(state: &'a State, tick: &'a DialTick, at: Timestamp) -> Self {
        let paced = &state.fleet.paced;
        let node_pace = paced.node_per_1000_s();
        let free = state
            .fleet
            .nodes
            .iter()
            .filter(|(id, node)| node.dialable() && node.free_slots() > 0 && tick.fresh.contains(*id))
            .map(|(id, node)| {
                (id, Free { slots: node.free_slots(), next_us: after(node.last_start_ms, at, node_pace) })
            })
            .collect();
        let next_us = after(paced.last_start_ms, at, paced.per_1000_s());
        // The fleet's cap is one of calls: a leg to somebody else is none.
        let fleet = Room { channels: paced.room(state.in_flight), probes: u32::MAX, next_us };
        Self {
            state,
            tick,
            at,
            free,
            fleet,
            trunks: BTreeMap::new(),
            numbers: BTreeSet::new(),
            news: News::default(),
        }
    }

    /// From the decision to the latest start: what a node that is cut off may still dial.
    fn window_ms(&self) -> u64 {
        u64::from(self.tick.order_window_ms.min(ORDER_WINDOW_MAX_MS))
    }

    /// A start time, a trunk and a slot, or nothing while caps, paces or the fleet are full. Nodes are packed: of those whose
    /// pace lets it start first, the fullest that still has a slot, the prompts and the trunk, so that the emptiest empty
    /// themselves.
    fn take(
        &mut self,
        campaign: &'a Campaign,
        trunks: &[(usize, &'a str, &'a Trunk)],
        person: &Contact,
        earliest_us: u64,
    ) -> Option<Claim<'a>> {
        trunks
            .iter()
            .filter(|(place, ..)| person.tried & choose::bit(*place) == 0)
            .find_map(|(_, name, trunk)| self.take_on(campaign, name, trunk, earliest_us))
    }

    fn take_on(
        &mut self,
        campaign: &'a Campaign,
        name: &'a str,
        trunk: &'a Trunk,
        earliest_us: u64,
    ) -> Option<Claim<'a>> {
        let (at, settings) = (self.at, trunk.usable()?);
        let lookahead_ms = LOOKAHEAD_MS.min(self.window_ms() / 2);
        let needs = self.state.catalogue.channels(&campaign.flow);
        let room = self.trunks.entry(name).or_insert_with(|| Room::of(trunk, at));
        let start_us = earliest_us.max(room.next_us).max(self.fleet.next_us);
        let too_late = |start_us: u64| start_us / 1000 > at + lookahead_ms;
        if !room.has(needs) || !self.fleet.has(1) || too_late(start_us) {
            return None;
        }
        let nodes = &self.state.fleet.nodes;
        let fits = |id: &NodeId| {
            nodes.get(id).is_some_and(|node| {
                campaign.prompts_on(node).is_some() && node.trunks.get(name) == Some(&trunk.revision)
            })
        };
        let (start_us, _, node) = (self.free.iter())
            .filter(|(id, _)| fits(id))
            .map(|(id, free)| (start_us.max(free.next_us), free.slots, *id))
            .min()
            .filter(|(start_us, ..)| !too_late(*start_us))?;
        let paced = &self.state.fleet.paced;
        room.took(needs, start_us, trunk.per_1000_s());
        self.fleet.took(1, start_us, paced.per_1000_s());
        match self.free.get_mut(node) {
            Some(free) if free.slots > 1 => {
                free.slots -= 1;
                free.next_us = start_us + spacing_us(paced.node_per_1000_s());
            }
            _ => drop(self.free.remove(node)),
        }
        Some(Claim { start_us, node, trunk: name, settings })
    }
}

/// What one attempt was given.
struct Claim<'a> {
    start_us: u64,
    node: &'a NodeId,
    trunk: &'a str,
    settings: &'a TrunkSettings,
}

/// What a node may start still in this tick.
struct Free {
    slots: u32,
    next_us: u64,
}

/// What a trunk, or the fleet, may carry still in this tick.
struct Room {
    channels: u32,
    probes: u32,
    next_us: u64,
}

impl Room {
    fn has(&self, channels: u32) -> bool {
        self.channels >= channels && self.probes > 0
    }

    fn took(&mut self, channels: u32, start_us: u64, per_1000_s: u32) {
        self.channels -= channels;
        self.probes -= 1;
        self.next_us = start_us + spacing_us(per_1000_s);
    }

    fn of(trunk: &Trunk, at: Timestamp) -> Self {
        let cap = trunk.usable().map_or(0, |set| set.max_channels);
        let channels = if cap == 0 { u32::MAX } else { cap.saturating_sub(trunk.channels) };
        let probes = trunk.health.probes_left().unwrap_or(u32::MAX);
        Self { channels, probes, next_us: after(trunk.last_start_ms, at, trunk.per_1000_s()) }
    }
}

/// Earliest next start in microseconds: now, or a full spacing after the last one (known to the millisecond, so
/// counted from that millisecond's end).
fn after(last_start_ms: Timestamp, at: Timestamp, per_1000_s: u32) -> u64 {
    let now = at * 1000;
    if per_1000_s == 0 { now } else { now.max(last_start_ms * 1000 + 999 + spacing_us(per_1000_s)) }
}

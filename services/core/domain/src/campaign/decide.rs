//! The dialer's decisions.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{CampaignCommand, DialTick, ImportRow, TrunkLimits};
use super::state::{Campaign, CampaignStatus};
use crate::Rejection;
use crate::event::{Event, SealedContact};
use crate::ids::{AttemptId, CampaignId, ContactId, NodeId, NumberHash, Timestamp};
use crate::state::State;

/// Contacts in one `ContactsImported`: with 96 sealed bytes each it stays under 6 KiB.
pub const CONTACTS_PER_EVENT: usize = 24;
/// Bytes of one sealed contact at most.
pub const SEALED_MAX_BYTES: usize = 220;
/// Most rows of one import command.
pub const IMPORT_MAX_ROWS: usize = 200;
/// Most contacts named in one erasure.
pub const ERASE_MAX_CONTACTS: usize = 256;
/// Longest reason of an erasure.
pub const ERASE_REASON_MAX_BYTES: usize = 512;
/// Why nothing is imported under an erased import's id.
pub const ERASED: Rejection =
    Rejection::new("AST-D015", "this import was erased and takes no contacts any more; import another list");
/// How far ahead a start may be given out.
pub const LOOKAHEAD_MS: u64 = 500;
/// An order's window at most: a node cut off stops dialling by itself within it.
pub const ORDER_WINDOW_MAX_MS: u32 = 2_000;

/// Decides a command on the dialer's state.
pub fn decide(state: &State, command: &CampaignCommand, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command {
        CampaignCommand::Create { .. } => create(state, command),
        CampaignCommand::Import { campaign, import, rows, last } => {
            if state.erasures.get(import).is_some_and(|erasure| erasure.whole) {
                return Err(ERASED);
            }
            import_rows(find(state, campaign)?, campaign, import, rows, *last)
        }
        CampaignCommand::Erase { import, contacts, reason } => erase(state, import, contacts, reason),
        CampaignCommand::Start { campaign } => start(state, campaign),
        CampaignCommand::Pause { campaign, reason } => {
            expect(state, campaign, &[CampaignStatus::Running])?;
            Ok(vec![Event::CampaignPaused { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::Resume { campaign } => {
            expect(state, campaign, &[CampaignStatus::Paused])?;
            Ok(vec![Event::CampaignResumed { campaign: campaign.clone() }])
        }
        CampaignCommand::Stop { campaign, reason } => {
            use CampaignStatus::{Created, Paused, Running};
            expect(state, campaign, &[Created, Running, Paused])?;
            Ok(vec![Event::CampaignStopped { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::GoLive { campaign, reason } => {
            find(state, campaign)?;
            Ok(vec![Event::CampaignLive { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::Tick(tick) => Ok(dial(state, tick, at)),
    }
}

fn create(state: &State, command: &CampaignCommand) -> Result<Vec<Event>, Rejection> {
    let CampaignCommand::Create {
        campaign,
        name,
        flow,
        manifest,
        trunk,
        max_channels,
        calls_per_second,
        ring_timeout_ms,
        max_attempts,
        caller_id,
        live,
        allowed_hashes,
    } = command.clone()
    else {
        return Ok(Vec::new());
    };
    if !asterism_proto::origin::is_token(&campaign) || campaign.len() > 40 {
        return Err(Rejection::new("AST-D001", "a campaign id is 1 to 40 of [A-Za-z0-9_-]"));
    }
    if state.campaigns.contains_key(&campaign) {
        return Err(Rejection::new("AST-D002", "a campaign of this id exists already"));
    }
    if !state.catalogue.flows.contains_key(&flow) {
        return Err(Rejection::new("AST-D003", "the flow has not been published"));
    }
    if !state.catalogue.manifests.contains_key(&manifest) {
        return Err(Rejection::new("AST-D004", "the manifest has not been published"));
    }
    if !(1_000..=120_000).contains(&ring_timeout_ms) || !(1..=20).contains(&max_attempts) {
        return Err(Rejection::new(
            "AST-D005",
            "ring timeout is 1,000 to 120,000 ms and attempts are 1 to 20",
        ));
    }
    if allowed_hashes.len() > 64 {
        return Err(Rejection::new("AST-D006", "at most 64 numbers can be allowed before go-live"));
    }
    Ok(vec![Event::CampaignCreated {
        campaign,
        name,
        flow,
        manifest,
        trunk,
        max_channels,
        calls_per_second,
        ring_timeout_ms,
        max_attempts,
        caller_id,
        live,
        allowed_hashes,
    }])
}

fn import_rows(
    known: &Campaign,
    campaign: &CampaignId,
    import: &str,
    rows: &[ImportRow],
    last: bool,
) -> Result<Vec<Event>, Rejection> {
    if rows.len() > IMPORT_MAX_ROWS {
        return Err(Rejection::new("AST-D010", "at most 200 rows in one import command"));
    }
    if rows.iter().any(|row| row.sealed.len() > SEALED_MAX_BYTES) {
        return Err(Rejection::new("AST-D011", "a contact's number and fields are over 180 bytes"));
    }
    if known.ended_at.is_some() {
        return Err(Rejection::new("AST-D012", "the campaign has ended"));
    }
    if known.import_complete {
        return Err(Rejection::new("AST-D013", "the campaign's import is complete"));
    }
    let mut seen = BTreeSet::new();
    let fresh: Vec<&ImportRow> = rows
        .iter()
        .filter(|row| !known.numbers.contains(&row.number_hash) && seen.insert(row.number_hash))
        .collect();
    let duplicates = (rows.len() - fresh.len()) as u32;
    let mut next = known.contacts.len() as u32;
    let mut events = Vec::new();
    for chunk in fresh.chunks(CONTACTS_PER_EVENT) {
        let contacts = chunk
            .iter()
            .map(|row| {
                next += 1;
                SealedContact { contact: next - 1, number_hash: row.number_hash, sealed: row.sealed.clone() }
            })
            .collect();
        events.push(Event::ContactsImported {
            campaign: campaign.clone(),
            import: import.to_owned(),
            contacts,
            duplicates: 0,
            last: false,
        });
    }
    if events.is_empty() && (last || duplicates > 0) {
        events.push(Event::ContactsImported {
            campaign: campaign.clone(),
            import: import.to_owned(),
            contacts: Vec::new(),
            duplicates: 0,
            last: false,
        });
    }
    if let Some(Event::ContactsImported { duplicates: left_out, last: ends, .. }) = events.last_mut() {
        *left_out = duplicates;
        *ends = last;
    }
    Ok(events)
}

/// An erasure that says nothing new needs no event.
fn erase(
    state: &State,
    import: &str,
    contacts: &[NumberHash],
    reason: &str,
) -> Result<Vec<Event>, Rejection> {
    if reason.trim().is_empty() || reason.len() > ERASE_REASON_MAX_BYTES {
        return Err(Rejection::new(
            "AST-D016",
            "an erasure has a reason of 1 to 512 bytes, without personal data",
        ));
    }
    if contacts.len() > ERASE_MAX_CONTACTS {
        return Err(Rejection::new("AST-D017", "at most 256 contacts in one erasure"));
    }
    let known: Vec<&Campaign> = state
        .campaigns
        .values()
        .filter(|campaign| campaign.imports.iter().any(|known| known == import))
        .collect();
    if known.is_empty() {
        return Err(Rejection::new("AST-D018", "no campaign has contacts of this import"));
    }
    if !contacts.iter().all(|number| known.iter().any(|campaign| campaign.numbers.contains(number))) {
        return Err(Rejection::new("AST-D019", "the import has no contact of this number"));
    }
    let erasure = state.erasures.get(import).cloned().unwrap_or_default();
    let said = erasure.whole || (!contacts.is_empty() && contacts.iter().all(|one| erasure.covers(one)));
    let event = || Event::ContactsErased {
        import: import.to_owned(),
        contacts: contacts.to_vec(),
        reason: reason.to_owned(),
    };
    Ok(if said { vec![] } else { vec![event()] })
}

fn start(state: &State, campaign: &CampaignId) -> Result<Vec<Event>, Rejection> {
    expect(state, campaign, &[CampaignStatus::Created])?;
    if find(state, campaign)?.contacts.is_empty() {
        return Err(Rejection::new("AST-D014", "the campaign has no contacts"));
    }
    Ok(vec![Event::CampaignStarted { campaign: campaign.clone() }])
}

fn find<'a>(state: &'a State, campaign: &str) -> Result<&'a Campaign, Rejection> {
    state.campaigns.get(campaign).ok_or(Rejection::new("AST-D020", "there is no campaign of this id"))
}

fn expect(state: &State, campaign: &str, statuses: &[CampaignStatus]) -> Result<(), Rejection> {
    if statuses.contains(&find(state, campaign)?.status) {
        Ok(())
    } else {
        Err(Rejection::new("AST-D021", "the campaign is not in a state for this"))
    }
}

/// Slots, caps and pace of one tick, drawn down as attempts are put on nodes.
struct Budget<'a> {
    state: &'a State,
    tick: &'a DialTick,
    at: Timestamp,
    free: BTreeMap<&'a NodeId, u32>,
    trunk_in_flight: BTreeMap<&'a str, u32>,
    trunk_next_us: BTreeMap<&'a str, u64>,
}

fn dial(state: &State, tick: &DialTick, at: Timestamp) -> Vec<Event> {
    let free = state
        .fleet
        .nodes
        .iter()
        .filter(|(id, node)| node.dialable() && node.free_slots() > 0 && tick.fresh.contains(*id))
        .map(|(id, node)| (id, node.free_slots()))
        .collect();
    let mut budget =
        Budget { state, tick, at, free, trunk_in_flight: BTreeMap::new(), trunk_next_us: BTreeMap::new() };
    let mut events = Vec::new();
    for (id, campaign) in &state.campaigns {
        if campaign.status != CampaignStatus::Running {
            continue;
        }
        let done = campaign.waiting.is_empty() && campaign.in_flight.is_empty();
        if done && campaign.import_complete {
            events.push(Event::CampaignCompleted { campaign: id.clone() });
        } else if state.archive_hold.is_empty() {
            dial_campaign(&mut budget, id, campaign, &mut events);
        }
    }
    events
}

fn dial_campaign<'a>(
    budget: &mut Budget<'a>,
    id: &CampaignId,
    campaign: &'a Campaign,
    events: &mut Vec<Event>,
) {
    let limits = budget.tick.trunks.get(&campaign.trunk).cloned().unwrap_or_default();
    let window = u64::from(budget.tick.order_window_ms.min(ORDER_WINDOW_MAX_MS));
    let mut own_in_flight = campaign.counts.in_flight;
    let mut own_next_us = after(campaign.last_start_ms, budget.at, campaign.calls_per_second);
    for contact in &campaign.waiting {
        if events.len() >= budget.tick.max_intents as usize
            || (campaign.max_channels > 0 && own_in_flight >= campaign.max_channels)
        {
            return;
        }
        if !may_dial(campaign, *contact, &limits) {
            continue;
        }
        let Some((start_us, node)) = budget.take(campaign, &limits, own_next_us) else { return };
        let not_before_ms = start_us / 1000;
        own_in_flight += 1;
        own_next_us = start_us + spacing_us(campaign.calls_per_second);
        let ordinal = campaign.contacts[*contact as usize].attempts + 1;
        events.push(Event::AttemptIntended {
            attempt: AttemptId { campaign: id.clone(), contact: *contact, ordinal },
            node: node.clone(),
            trunk: campaign.trunk.clone(),
            not_before_ms,
            not_after_ms: not_before_ms.max(budget.at) + window,
            reason: "waiting contact, free slot".to_owned(),
        });
    }
}

/// Until go-live a trunk that leads outside dials allowed numbers only.
fn may_dial(campaign: &Campaign, contact: ContactId, limits: &TrunkLimits) -> bool {
    let person = &campaign.contacts[contact as usize];
    !limits.outside || campaign.live || campaign.allowed.contains(person.number_hash.as_slice())
}

impl<'a> Budget<'a> {
    /// A start time and a slot, or nothing while a cap or the fleet is full. Nodes are packed: the fullest that
    /// still has a slot and the prompts comes first, so that the emptiest empty themselves.
    fn take(
        &mut self,
        campaign: &'a Campaign,
        limits: &TrunkLimits,
        earliest_us: u64,
    ) -> Option<(u64, &'a NodeId)> {
        let trunk = campaign.trunk.as_str();
        let used = self.state.trunks.get(trunk).cloned().unwrap_or_default();
        let in_flight = self.trunk_in_flight.entry(trunk).or_insert(used.in_flight);
        if limits.max_channels > 0 && *in_flight >= limits.max_channels {
            return None;
        }
        let at = self.at;
        let next_us = self
            .trunk_next_us
            .entry(trunk)
            .or_insert_with(|| after(used.last_start_ms, at, limits.calls_per_second));
        let start_us = earliest_us.max(*next_us);
        if start_us / 1000 > at + LOOKAHEAD_MS {
            return None;
        }
        let nodes = &self.state.fleet.nodes;
        let node = self
            .free
            .iter()
            .filter(|(id, _)| nodes.get(**id).is_some_and(|node| node.manifests.contains(&campaign.manifest)))
            .min_by_key(|(id, free)| (**free, **id))
            .map(|(id, _)| *id)?;
        *in_flight += 1;
        *next_us = start_us + spacing_us(limits.calls_per_second);
        match self.free.get_mut(node) {
            Some(free) if *free > 1 => *free -= 1,
            _ => {
                self.free.remove(node);
            }
        }
        Some((start_us, node))
    }
}

fn spacing_us(per_second: u32) -> u64 {
    if per_second == 0 { 0 } else { 1_000_000 / u64::from(per_second) }
}

/// Earliest next start in microseconds: now, or a full spacing after the last one (known to the millisecond, so
/// counted from that millisecond's end).
fn after(last_start_ms: Timestamp, at: Timestamp, per_second: u32) -> u64 {
    let now = at * 1000;
    if per_second == 0 { now } else { now.max(last_start_ms * 1000 + 999 + spacing_us(per_second)) }
}

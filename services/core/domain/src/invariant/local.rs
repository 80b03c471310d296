//! What must hold of one contact, node, attempt or campaign: why it does not, if it does not.

use crate::campaign::judge::{Clock, ZoneStands, on_list};
use crate::campaign::{Attempt, AttemptStatus, Campaign, CampaignStatus, Contact, ContactStatus};
use crate::fleet::state::Fleet;
use crate::fleet::{IntentStatus, Node, NodeStatus};
use crate::ids::{AttemptId, ContactId, Timestamp};
use crate::state::{Incident, State};
use crate::trunk::Trunk;

/// The contacts of a campaign, counted one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Contacts counted: those below this number.
    pub(super) contacts: u32,
    pub(super) waiting: u32,
    pub(super) in_flight: u32,
    pub(super) settled: u32,
    pub(super) uncertain: u32,
    pub(super) erased: u32,
    pub(super) excluded: u32,
    pub(super) rang: u64,
}

impl Tally {
    /// Counts a whole campaign.
    pub(super) fn of(campaign: &Campaign) -> Self {
        let mut tally = Self::default();
        campaign.contacts.iter().for_each(|contact| tally.add(contact));
        tally.contacts = campaign.contacts.len() as u32;
        tally
    }

    const fn class(&mut self, contact: &Contact) -> &mut u32 {
        match contact.status {
            ContactStatus::Waiting => &mut self.waiting,
            ContactStatus::InFlight => &mut self.in_flight,
            ContactStatus::Settled(_) => &mut self.settled,
            ContactStatus::Uncertain => &mut self.uncertain,
            ContactStatus::Erased => &mut self.erased,
            ContactStatus::Excluded(_) => &mut self.excluded,
        }
    }

    pub(super) const fn add(&mut self, contact: &Contact) {
        let class = self.class(contact);
        *class = class.wrapping_add(1);
        self.rang = self.rang.wrapping_add(contact.rang as u64);
    }

    /// Takes out what was added. Wraps where something was changed unseen, so that the tally is wrong and not the judge.
    pub(super) const fn remove(&mut self, contact: &Contact) {
        let class = self.class(contact);
        *class = class.wrapping_sub(1);
        self.rang = self.rang.wrapping_sub(contact.rang as u64);
    }
}

/// The attempts in flight of one contact: at most one, if all is well.
fn flights<'a>(
    id: &str,
    campaign: &'a Campaign,
    contact: ContactId,
) -> impl Iterator<Item = &'a Attempt> + use<'a> {
    let from = |ordinal| AttemptId { campaign: id.to_owned(), contact, ordinal };
    campaign.in_flight.range(from(0)..=from(u32::MAX)).map(|(_, attempt)| attempt)
}

/// INV-01, of a contact: one attempt in flight at most, and its rings are at most the attempts that can have rung.
pub(super) fn rings(id: &str, campaign: &Campaign, index: ContactId, contact: &Contact) -> Option<String> {
    let mut flying = flights(id, campaign, index);
    let silent = flying.next().map_or(0, |flight| u32::from(flight.status < AttemptStatus::Originating));
    if flying.next().is_some() {
        return Some(format!("contact {index} of {id} has two attempts in flight"));
    }
    (u32::from(contact.rang) + u32::from(contact.never_rang) + silent > contact.attempts)
        .then(|| format!("contact {index} of {id} rang more often than it was attempted"))
}

/// INV-01, of a campaign: it counts the rings of its contacts.
pub(super) fn ring_sum(id: &str, campaign: &Campaign, tally: &Tally) -> Option<String> {
    (tally.rang != u64::from(campaign.counts.rang))
        .then(|| format!("{id} counts {} rings, its contacts {}", campaign.counts.rang, tally.rang))
}

/// INV-02, of a campaign.
pub(super) fn counts(id: &str, campaign: &Campaign, tally: &Tally) -> Option<String> {
    let counts = &campaign.counts;
    let sum = counts.settled_total() + counts.waiting + counts.in_flight + counts.uncertain + counts.erased;
    if sum != counts.imported || campaign.contacts.len() as u32 != counts.imported {
        return Some(format!(
            "{id}: imported {} of {} contacts, but states sum to {sum}",
            counts.imported,
            campaign.contacts.len()
        ));
    }
    let classes = [
        ("waiting", counts.waiting, campaign.waiting.len(), tally.waiting),
        ("in flight", counts.in_flight, campaign.in_flight.len() as u32, tally.in_flight),
        ("excluded", counts.excluded, counts.excluded_by.values().sum(), tally.excluded),
        ("settled", counts.settled.values().sum(), tally.settled, tally.settled),
        ("uncertain", counts.uncertain, tally.uncertain, tally.uncertain),
        ("erased", counts.erased, tally.erased, tally.erased),
    ];
    classes.into_iter().find(|(_, counted, listed, are)| counted != listed || counted != are).map(
        |(what, counted, listed, are)| {
            format!("{id}: {counted} are counted as {what}, {listed} are listed, {are} contacts are")
        },
    )
}

/// INV-03, of a node.
pub(super) fn node_cap(id: &str, node: &Node) -> Option<String> {
    (node.attempts.len() as u32 > node.capacity)
        .then(|| format!("node {id} holds {} of {} slots", node.attempts.len(), node.capacity))
}

/// INV-03, of a campaign.
pub(super) fn campaign_cap(id: &str, campaign: &Campaign) -> Option<String> {
    // What was in flight when the cap was lowered ends in its own time.
    let (cap, flying) = (campaign.max_channels.max(campaign.above_cap), campaign.counts.in_flight);
    (campaign.max_channels > 0 && flying > cap)
        .then(|| format!("campaign {id} has {flying} in flight, its cap is {cap}"))
}

/// INV-03, of the fleet.
pub(super) fn fleet_cap(state: &State) -> Option<String> {
    let paced = &state.fleet.paced;
    // What was in flight when the cap was lowered ends in its own time.
    let (cap, flying) = (paced.caps.max_channels.max(paced.above_cap), state.in_flight);
    (paced.caps.max_channels > 0 && flying > cap)
        .then(|| format!("the fleet has {flying} in flight, its cap is {cap}"))
}

/// INV-03, of a trunk that was set.
pub(super) fn trunk_cap(name: &str, trunk: &Trunk) -> Option<String> {
    let set = trunk.settings.as_ref()?;
    // What was in flight when the cap was lowered ends in its own time.
    let cap = set.max_channels.max(trunk.above_cap);
    (set.max_channels > 0 && trunk.channels > cap)
        .then(|| format!("trunk {name} has {} channels in use or kept, its cap is {cap}", trunk.channels))
}

/// INV-04, of an attempt that may be on a node.
pub(super) fn cut(id: &str, node: &Node, attempt: &AttemptId) -> Option<String> {
    let ending = matches!(node.status, NodeStatus::Terminating | NodeStatus::Terminated);
    let held = node.attempts.contains(attempt) || node.unanswered.contains(attempt);
    // Only the end of a node nobody had heard of for too long names any (`fleet::apply`).
    (ending && held && !node.cut.contains(attempt))
        .then(|| format!("node {id} was ended with attempt {attempt}, which no rule names"))
}

/// INV-04, of everything on a node.
pub(super) fn cuts(id: &str, node: &Node) -> Option<String> {
    node.attempts.iter().chain(&node.unanswered).find_map(|attempt| cut(id, node, attempt))
}

/// INV-05, of a node: its intent names it, and so no other.
pub(super) fn instance(id: &str, node: &Node, fleet: &Fleet) -> Option<String> {
    match fleet.intents.get(&node.intent).map(|intent| &intent.status) {
        Some(IntentStatus::Launched(named)) if named == id => None,
        Some(IntentStatus::Launched(other)) => {
            Some(format!("intent {} has instances {other} and {id}", node.intent))
        }
        _ => Some(format!("node {id} was launched by intent {}, which names no instance", node.intent)),
    }
}

/// INV-06, of so many instances that are there or owed, and so much node time.
pub(super) fn limits(fleet: &Fleet, billing: u64, at: Timestamp) -> Option<String> {
    let limits = fleet.limited.limits?;
    let most = limits.max_nodes.max(fleet.limited.above_max);
    if billing > u64::from(most) {
        return Some(format!("{billing} instances are there or owed, {most} may be"));
    }
    let (rate, rate_max) = (fleet.micro_usd_per_hour(), limits.max_micro_usd_per_hour);
    if rate_max > 0 && rate > rate_max.max(fleet.limited.above_rate) {
        return Some(format!("the nodes cost {rate} micro-dollars an hour, they may cost {rate_max}"));
    }
    let (spent, budget) = (fleet.spent_micro_usd(at)?, limits.budget_micro_usd);
    (budget > 0 && spent > budget)
        .then(|| format!("{spent} micro-dollars are spent, the budget is {budget} micro-dollars"))
}

/// INV-11, of an attempt in flight.
pub(super) fn prompts(state: &State, id: &AttemptId, flight: &Attempt) -> Option<String> {
    let node = state.fleet.nodes.get(&flight.node)?;
    (!node.manifests.contains(&flight.manifest))
        .then(|| format!("{id} of {} is on {} without its prompts", id.campaign, flight.node))
}

/// INV-12, of an attempt as it was intended: by the rules as they were then, and by this program's time zones.
pub(super) fn in_bounds(state: &State, id: &AttemptId) -> Option<String> {
    let campaign = state.campaigns.get(&id.campaign)?;
    let (flight, contact) = (campaign.in_flight.get(id)?, campaign.contacts.get(id.contact as usize)?);
    match Clock::new(campaign).stands(contact.zone, flight.not_before_ms) {
        ZoneStands::Open(closes) if closes == 0 || flight.not_after_ms <= closes => {}
        ZoneStands::Open(_) => return Some(format!("{id} may start after its calling window has closed")),
        ZoneStands::Closed => return Some(format!("{id} may start while its calling window is closed")),
        ZoneStands::Unknown => {
            return Some(format!("{id} has no known time zone, and its campaign has hours"));
        }
    }
    if let Some(list) = on_list(&state.do_not_call, &campaign.rules, &contact.number_hash) {
        return Some(format!("{id} was intended for a number on the do-not-call list {list}"));
    }
    (campaign.rules.consent_required && !contact.consent)
        .then(|| format!("{id} was intended for somebody who has not consented"))
}

/// INV-15, of a contact.
pub(super) fn one_state(
    id: &str,
    campaign: &Campaign,
    index: ContactId,
    contact: &Contact,
) -> Option<String> {
    let waits = campaign.waiting.contains(index, contact.place());
    let flies = flights(id, campaign, index).next().is_some();
    let fits = match contact.status {
        ContactStatus::Waiting => waits && !flies,
        ContactStatus::InFlight => flies && !waits,
        ContactStatus::Settled(_)
        | ContactStatus::Uncertain
        | ContactStatus::Erased
        | ContactStatus::Excluded(_) => !waits && !flies,
    };
    (!fits).then(|| format!("contact {index} of {id} is in two states"))
}

/// INV-15, of a campaign.
pub(super) fn completed(id: &str, campaign: &Campaign) -> Option<String> {
    let open = campaign.waiting.len() as usize + campaign.in_flight.len();
    (campaign.status == CampaignStatus::Completed && open > 0)
        .then(|| format!("{id} is complete, and {open} of its contacts wait or are in flight"))
}

/// Whether an incident is one of those an invariant looks for.
pub(super) fn incident(incident: &Incident, reasons: &[&str]) -> Option<String> {
    reasons
        .contains(&incident.reason.as_str())
        .then(|| format!("event {}: {}", incident.sequence, incident.reason))
}

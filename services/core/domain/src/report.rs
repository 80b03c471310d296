//! What a person is told: read from the state, never kept beside it.

pub mod numbers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, CampaignStatus, ContactStatus, budget, judge, waits};
use crate::fleet::NodeStatus;
use crate::ids::Timestamp;
use crate::rules::DoNotCall;
use crate::state::State;

/// A campaign in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignReport {
    /// Its id.
    pub campaign: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: CampaignStatus,
    /// Contacts imported.
    pub contacts: u32,
    /// Contacts to be dialled.
    pub waiting: u32,
    /// Contacts with an attempt in flight.
    pub in_flight: u32,
    /// Contacts settled, excluded ones included.
    pub settled: u32,
    /// Contacts excluded by a rule.
    pub excluded: u32,
    /// These, by rule.
    pub excluded_by: BTreeMap<&'static str, u32>,
    /// When somebody can be dialled next, by hours and delays: now or later. None if nobody waits, or no window opens.
    pub next_due_ms: Option<Timestamp>,
    /// Contacts uncertain.
    pub uncertain: u32,
    /// Contacts erased before they were settled.
    pub erased: u32,
    /// Rows of its lists left out because another campaign has their numbers.
    pub known_elsewhere: u32,
    /// Lists that are still being imported.
    pub importing: Vec<String>,
    /// Talk time of answered calls that have ended.
    pub talk_ms: u64,
    /// What they cost by the campaign's price, like `12.50 USD`; empty if it has none.
    pub cost: String,
    /// Which of its budgets it has used up; empty if none.
    pub budget_reached: String,
    /// Contacts by outcome.
    pub outcomes: BTreeMap<&'static str, u32>,
    /// Answered contacts by digits pressed; the empty string is none.
    pub digits: BTreeMap<String, u32>,
    /// Attempts that took effect.
    pub attempts: u32,
    /// Attempts that may have reached the carrier: what its own count is compared with.
    pub rang: u32,
    /// Attempts that failed in the PBX before anything left for the carrier.
    pub never_rang: u32,
    /// Attempts a carrier turned away, so that another trunk was tried.
    pub turned_away: u32,
    /// Attempts answered.
    pub answered: u32,
    /// Attempts the nodes refused; they never rang.
    pub refused: u32,
    /// Why nothing new is dialled while it runs, whatever it is set to; empty if nothing holds.
    pub hold: String,
    /// While it runs and somebody waits: what keeps the next one from being dialled now.
    pub limited_by: String,
    /// Until when, if that is known.
    pub limited_until_ms: Option<Timestamp>,
}

/// A node in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its id.
    pub node: String,
    /// Where it stands.
    pub status: NodeStatus,
    /// Its public address of the pool; absent where nodes need none, or it has none yet.
    pub address: Option<String>,
    /// Call slots.
    pub capacity: u32,
    /// Slots held.
    pub active: u32,
    /// PBX and version.
    pub pbx: String,
    /// Seconds it has run.
    pub up_s: u64,
    /// Its type, as it was asked for; empty if a launch template says it.
    pub instance_type: String,
    /// `spot` or `on-demand`; empty if the cloud was not asked for either.
    pub market: String,
    /// What it costs, micro-dollars an hour; none while the log has no price.
    pub micro_usd_per_hour: Option<u64>,
}

/// An import's contacts in one campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportReport {
    /// Its id: what its key is named by.
    pub import: String,
    /// The campaign.
    pub campaign: String,
    /// Contacts of the import in it.
    pub contacts: u32,
    /// Of these, to be dialled.
    pub waiting: u32,
    /// Of these, with an attempt in flight.
    pub in_flight: u32,
    /// Of these, erased.
    pub erased: u32,
}

/// Every import of every campaign.
pub fn imports(state: &State) -> Vec<ImportReport> {
    let mut reports = Vec::new();
    for (id, campaign) in &state.campaigns {
        let first = reports.len();
        reports.extend(campaign.imports.iter().map(|import| ImportReport {
            import: import.clone(),
            campaign: id.clone(),
            contacts: 0,
            waiting: 0,
            in_flight: 0,
            erased: 0,
        }));
        for contact in &campaign.contacts {
            let Some(report) = reports.get_mut(first + usize::from(contact.import)) else { continue };
            report.contacts += 1;
            report.waiting += u32::from(contact.status == ContactStatus::Waiting);
            report.in_flight += u32::from(contact.status == ContactStatus::InFlight);
            report.erased += u32::from(contact.erased);
        }
    }
    reports
}

/// A do-not-call list in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListReport {
    /// Its name.
    pub list: String,
    /// Numbers on it.
    pub numbers: u32,
    /// Prefixes on it.
    pub prefixes: Vec<String>,
    /// Running campaigns that obey it.
    pub campaigns: Vec<String>,
}

/// Every do-not-call list.
pub fn lists(state: &State) -> Vec<ListReport> {
    let obeys = |list: &str| {
        let open = state.campaigns.iter().filter(|(_, campaign)| campaign.ended_at.is_none());
        open.filter(|(_, campaign)| campaign.rules.lists().any(|named| named == list))
            .map(|(id, _)| id.clone())
            .collect()
    };
    let report = |(name, list): (&String, &DoNotCall)| ListReport {
        list: name.clone(),
        numbers: list.numbers.len() as u32,
        prefixes: list.prefixes.iter().cloned().collect(),
        campaigns: obeys(name),
    };
    state.do_not_call.iter().map(report).collect()
}

/// What a campaign has cost so far, in words; empty if nobody said what calls cost.
pub fn cost(campaign: &Campaign) -> String {
    let price = &campaign.rules.price;
    let spent = budget::spent(campaign);
    if price.is_known() {
        format!("{} {}", budget::money(spent.cost_micro), price.currency)
    } else {
        String::new()
    }
}

/// Every campaign in numbers, as it is at `at`.
pub fn campaigns(state: &State, at: Timestamp) -> Vec<CampaignReport> {
    state
        .campaigns
        .iter()
        .map(|(id, campaign)| {
            let counts = &campaign.counts;
            let (limited_by, limited_until_ms) = waits::limit(state, id, at).unwrap_or_default();
            CampaignReport {
                campaign: id.clone(),
                name: campaign.name.clone(),
                status: campaign.status,
                contacts: counts.imported,
                waiting: counts.waiting,
                in_flight: counts.in_flight,
                settled: counts.settled_total(),
                excluded: counts.excluded,
                excluded_by: counts.excluded_by.iter().map(|(rule, n)| (rule.name(), *n)).collect(),
                next_due_ms: judge::next_due(campaign, at),
                uncertain: counts.uncertain,
                erased: counts.erased,
                known_elsewhere: counts.known,
                importing: campaign
                    .open_imports
                    .iter()
                    .filter_map(|index| campaign.imports.get(usize::from(*index)).cloned())
                    .collect(),
                talk_ms: counts.talk_ms,
                cost: cost(campaign),
                budget_reached: budget::reached(campaign).unwrap_or_default(),
                outcomes: counts.settled.iter().map(|(outcome, n)| (outcome.name(), *n)).collect(),
                digits: counts.digits.clone(),
                attempts: counts.attempts,
                rang: counts.rang,
                never_rang: counts.never_rang,
                turned_away: counts.turned_away,
                answered: counts.answered,
                refused: counts.refused,
                limited_by,
                limited_until_ms,
                hold: if campaign.status == CampaignStatus::Running { state.hold() } else { String::new() },
            }
        })
        .collect()
}

/// Calls of all campaigns so far.
pub fn answered(state: &State) -> u64 {
    state.campaigns.values().map(|campaign| u64::from(campaign.counts.answered)).sum()
}

/// Every node in numbers.
pub fn nodes(state: &State, at: Timestamp) -> Vec<NodeReport> {
    state
        .fleet
        .nodes
        .iter()
        .map(|(id, node)| NodeReport {
            node: id.clone(),
            status: node.status,
            address: node.address.as_ref().map(|held| held.address.clone()),
            capacity: node.capacity,
            active: node.attempts.len() as u32,
            pbx: node.pbx.clone(),
            up_s: node.ended_at.unwrap_or(at).saturating_sub(node.launched_at) / 1000,
            instance_type: node.place.instance_type.clone(),
            market: node.place.market.clone(),
            micro_usd_per_hour: node.price.map(|price| price.micro_usd_per_hour),
        })
        .collect()
}

//! May this contact be rung now? Asked when the dialer decides, and again where its decision lands in the log.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::state::{Campaign, CampaignStatus};
use super::waiting::ZoneIndex;
use crate::ids::{NumberHash, Timestamp};
use crate::rules::number::Block;
use crate::rules::window::{self, Opening};
use crate::rules::{CampaignRules, DoNotCall, Exclusion};
use crate::state::State;

/// What the rules say about one contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be rung.
    Dial,
    /// Never, by this rule and this detail of it.
    Exclude(Exclusion, String),
    /// Not before, by this rule.
    Defer(Timestamp, &'static str),
    /// Not now; what it waits for says itself when it is over.
    Wait(&'static str),
}

/// A zone of a campaign, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneStands {
    /// Open until then; 0 = the campaign has no rule about time.
    Open(Timestamp),
    /// Closed.
    Closed,
    /// Nobody knows the zone, and the campaign has a rule about time.
    Unknown,
}

/// What the rules say of a number and its owner's consent, the time of day aside.
pub fn judge(
    lists: &BTreeMap<String, DoNotCall>,
    numbers: &BTreeMap<NumberHash, crate::rules::NumberUse>,
    rules: &CampaignRules,
    (number_hash, consent): (&NumberHash, bool),
    at: Timestamp,
) -> Verdict {
    if let Some(list) = on_list(lists, rules, number_hash) {
        return Verdict::Exclude(Exclusion::DoNotCall, format!("list {list}"));
    }
    if rules.consent_required && !consent {
        return Verdict::Exclude(Exclusion::NoConsent, String::new());
    }
    match numbers.get(number_hash).and_then(|number| number.block(rules, at)) {
        None => Verdict::Dial,
        Some(Block::InFlight) => Verdict::Wait("an attempt for its number is in flight"),
        Some(Block::Until(until, rule)) => Verdict::Defer(until, rule),
        Some(Block::Ever(_)) => Verdict::Exclude(Exclusion::CapForEver, String::new()),
    }
}

/// Stands for every campaign where numbers of others are left out.
pub const ALL_CAMPAIGNS: &str = "all";
/// How the ids of test calls begin: no list leaves a number out because of one.
pub const CALL_CAMPAIGN: &str = "call-";

/// Whether another campaign of those named, or of all, has the number.
pub fn known_elsewhere(state: &State, campaign: &str, named: &[String], number: &NumberHash) -> bool {
    let all = named.iter().any(|name| name == ALL_CAMPAIGNS);
    let has = |id: &str| state.campaigns.get(id).is_some_and(|known| known.numbers.contains_key(number));
    if all {
        let others = state.campaigns.keys().filter(|id| *id != campaign && !id.starts_with(CALL_CAMPAIGN));
        return others.into_iter().any(|id| has(id));
    }
    named.iter().filter(|id| *id != campaign).any(|id| has(id))
}

/// The first list the number is on, of those the campaign obeys.
pub fn on_list<'a>(
    lists: &BTreeMap<String, DoNotCall>,
    rules: &'a CampaignRules,
    number: &NumberHash,
) -> Option<&'a str> {
    rules.lists().find(|list| lists.get(*list).is_some_and(|list| list.numbers.contains(number)))
}

/// The first list and prefix a number in clear begins with, of those the campaign obeys. Digits, no `+`.
pub fn on_prefix(state: &State, rules: &CampaignRules, digits: &str) -> Option<(String, String)> {
    rules.lists().find_map(|list| {
        let known = state.do_not_call.get(list)?;
        // Of all texts that are not behind the digits, only their own beginnings can be prefixes of them.
        let prefix = (1..=digits.len()).rev().find_map(|end| known.prefixes.get(digits.get(..end)?))?;
        Some((list.to_owned(), prefix.clone()))
    })
}

/// How each of a campaign's zones stands.
pub struct Clock<'a> {
    rules: &'a CampaignRules,
    named: &'a [String],
    by_default: Option<Vec<Tz>>,
    known: BTreeMap<ZoneIndex, ZoneStands>,
}

impl<'a> Clock<'a> {
    /// Of this campaign.
    pub fn new(campaign: &'a Campaign) -> Self {
        Self::of(&campaign.rules, &campaign.zones)
    }

    /// Of these rules, and zones named as a campaign's imports name them.
    pub fn of(rules: &'a CampaignRules, named: &'a [String]) -> Self {
        let name = rules.default_zone.as_str();
        let by_default = if name.is_empty() { None } else { window::zones(name) };
        Self { rules, named, by_default, known: BTreeMap::new() }
    }

    /// How a zone stands at `at`; remembered, so ask one clock about one moment only.
    pub fn stands(&mut self, zone: ZoneIndex, at: Timestamp) -> ZoneStands {
        if let Some(stands) = self.known.get(&zone) {
            return *stands;
        }
        let stands = self.look(zone, at);
        self.known.insert(zone, stands);
        stands
    }

    /// When the zone opens next, `at` included.
    pub fn opens_at(&self, zone: ZoneIndex, at: Timestamp) -> Option<Timestamp> {
        match self.look(zone, at) {
            ZoneStands::Open(_) => Some(at),
            ZoneStands::Unknown => None,
            ZoneStands::Closed => self.opening().opens_at(&self.zones(zone)?, at),
        }
    }

    /// Whether somebody who may be in any of several zones can never be rung: no moment of a year is within the windows of
    /// all. In one zone alone windows that are checked at creation do open.
    pub fn never_opens(&self, zone: ZoneIndex, at: Timestamp) -> bool {
        let several = self.zones(zone).is_some_and(|zones| zones.len() > 1);
        several && self.look(zone, at) == ZoneStands::Closed && self.opens_at(zone, at).is_none()
    }

    /// [`Clock::stands`] without remembering.
    pub(super) fn look(&self, zone: ZoneIndex, at: Timestamp) -> ZoneStands {
        let opening = self.opening();
        if opening.windows.is_empty() && opening.holidays.is_empty() {
            return ZoneStands::Open(0);
        }
        let Some(zones) = self.zones(zone) else { return ZoneStands::Unknown };
        opening.closes_at(&zones, at).map_or(ZoneStands::Closed, ZoneStands::Open)
    }

    fn opening(&self) -> Opening<'a> {
        Opening { windows: &self.rules.windows, holidays: &self.rules.holidays }
    }

    fn zones(&self, zone: ZoneIndex) -> Option<Vec<Tz>> {
        let named = usize::from(zone).checked_sub(1).and_then(|index| self.named.get(index));
        named.and_then(|name| window::zones(name)).or_else(|| self.by_default.clone())
    }
}

/// Contacts that can be dialled at `at`, for all that time and delays say. Rules about numbers are looked at when a
/// contact's turn comes.
pub fn due(campaign: &Campaign, at: Timestamp) -> u32 {
    let rules = &campaign.rules;
    let passed = |end: Timestamp| end > 0 && at >= end;
    let over = passed(rules.ends_at_ms) || passed(rules.deadline_ms);
    if campaign.status != CampaignStatus::Running || at < rules.starts_at_ms || over {
        return 0;
    }
    let mut clock = Clock::new(campaign);
    let waiting = &campaign.waiting;
    let open = waiting.zones().filter(|zone| clock.stands(*zone, at) != ZoneStands::Closed);
    open.map(|zone| waiting.due_in(zone, at)).sum()
}

/// When somebody of a campaign can be dialled next, by its hours and delays; `at` at the earliest. `None` if nobody
/// waits or no window opens within a year.
pub fn next_due(campaign: &Campaign, at: Timestamp) -> Option<Timestamp> {
    let clock = Clock::new(campaign);
    let waiting = &campaign.waiting;
    let opens = |zone| {
        let due = waiting.next_due(zone)?.max(at).max(campaign.rules.starts_at_ms);
        match clock.look(zone, due) {
            ZoneStands::Unknown => Some(due),
            _ => clock.opens_at(zone, due),
        }
    };
    waiting.zones().filter_map(opens).min()
}

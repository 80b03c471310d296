//! Whom of a list could be dialled now, whom later, and whom never, and why: asked before the list is in the log, of the
//! judge the dialer itself asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::ImportRow;
use super::judge::{Clock, Verdict, ZoneStands, judge, known_elsewhere, on_prefix};
use super::waiting::ZoneIndex;
use crate::ids::{CampaignId, NumberHash, Timestamp};
use crate::rules::{CampaignRules, Exclusion};
use crate::state::State;

/// Turns of "not before this hour, not before that delay" looked at for one contact. Each moves it on; who still has no
/// time then has none that anybody can name.
const TURNS_MAX: u32 = 16;

/// What is asked about.
pub struct Asked<'a> {
    /// Whom the campaign may ring and when.
    pub rules: &'a CampaignRules,
    /// The campaign that would get them, if it exists.
    pub campaign: Option<&'a str>,
    /// Campaigns whose numbers its import leaves out.
    pub skip_known: &'a [CampaignId],
    /// Keyed hashes of the only numbers that may be dialled before go-live; none = all may.
    pub only: Option<&'a BTreeSet<Vec<u8>>>,
}

/// A row, and its number's digits: prefixes need them.
pub type Row<'a> = (&'a ImportRow, &'a str);

/// Contacts that have to wait for the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// How many.
    pub contacts: u64,
    /// When the first of them could be dialled; `None` if nobody can say, as what they wait for is no time.
    pub from_ms: Option<Timestamp>,
}

/// Contacts by when they could be dialled. Each is in exactly one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Now, as soon as there is a slot.
    pub now: u64,
    /// Later, by what they wait for.
    pub later: BTreeMap<String, Later>,
    /// Never, by the rule that keeps them out.
    pub never: BTreeMap<String, u64>,
    /// The campaign has their numbers already.
    pub there: u64,
    /// Other campaigns have them, and the import leaves those out.
    pub known: u64,
}

impl Forecast {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.now + self.later_total() + self.never.values().sum::<u64>() + self.there + self.known
    }

    /// Those who wait.
    pub fn later_total(&self) -> u64 {
        self.later.values().map(|later| later.contacts).sum()
    }

    /// Adds what was said of further rows.
    pub fn add(&mut self, other: &Self) {
        self.now += other.now;
        self.there += other.there;
        self.known += other.known;
        for (why, later) in &other.later {
            self.wait(why, later.contacts, later.from_ms);
        }
        for (why, contacts) in &other.never {
            *self.never.entry(why.clone()).or_default() += contacts;
        }
    }

    fn wait(&mut self, why: &str, contacts: u64, from_ms: Option<Timestamp>) {
        let later = self.later.entry(why.to_owned()).or_default();
        later.from_ms =
            if later.contacts == 0 { from_ms } else { [later.from_ms, from_ms].into_iter().flatten().min() };
        later.contacts += contacts;
    }
}

/// When one contact could be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Now,
    Later(&'static str, Option<Timestamp>),
    Never(&'static str),
}

/// What would become of rows at `at`, if a campaign of these rules took them in and ran. A number that is there twice
/// counts twice; the import finds duplicates.
pub fn forecast(state: &State, asked: &Asked<'_>, rows: &[Row<'_>], at: Timestamp) -> Forecast {
    let mut named: Vec<String> = rows.iter().map(|(row, _)| row.zone.clone()).collect();
    named.sort_unstable();
    named.dedup();
    named.retain(|zone| !zone.is_empty());
    let clock = Clock::of(asked.rules, &named);
    let known = asked.campaign.and_then(|id| state.campaigns.get(id));
    let mut said = Forecast::default();
    for (row, digits) in rows {
        if known.is_some_and(|campaign| campaign.numbers.contains_key(&row.number_hash)) {
            said.there += 1;
            continue;
        }
        let campaign = asked.campaign.unwrap_or_default();
        if known_elsewhere(state, campaign, asked.skip_known, &row.number_hash) {
            said.known += 1;
            continue;
        }
        let zone = named.binary_search(&row.zone).map_or(0, |index| index as ZoneIndex + 1);
        match when(state, asked, &clock, (row, digits, zone), at) {
            When::Now => said.now += 1,
            When::Later(why, from_ms) => said.wait(why, 1, from_ms),
            When::Never(why) => *said.never.entry(why.to_owned()).or_default() += 1,
        }
    }
    said
}

fn when(
    state: &State,
    asked: &Asked<'_>,
    clock: &Clock<'_>,
    (row, digits, zone): (&ImportRow, &str, ZoneIndex),
    at: Timestamp,
) -> When {
    let rules = asked.rules;
    let person: (&NumberHash, bool) = (&row.number_hash, row.consent);
    if clock.look(zone, at) == ZoneStands::Unknown {
        return When::Never(Exclusion::NoZone.name());
    }
    if on_prefix(state, rules, digits).is_some() {
        return When::Never(Exclusion::DoNotCallPrefix.name());
    }
    let mut from = at.max(rules.starts_at_ms);
    let mut why = (from > at).then_some("the campaign begins");
    for _ in 0..TURNS_MAX {
        let until = match judge(&state.do_not_call, &state.numbers, rules, person, from) {
            Verdict::Exclude(rule, _) => return When::Never(rule.name()),
            Verdict::Wait(_) => return When::Later("the attempt for its number has ended", None),
            Verdict::Defer(until, rule) => {
                why = why.or(Some(if rule == "min-gap" { "min_gap is over" } else { "a cap lets it" }));
                until
            }
            Verdict::Dial => from,
        };
        let Some(opens) = clock.opens_at(zone, until) else {
            return When::Never(Exclusion::NoWindowOpens.name());
        };
        if opens > until {
            why = why.or(Some("its calling window opens"));
        }
        let settled = opens == from;
        from = opens;
        if settled {
            break;
        }
    }
    let held = asked.only.is_some_and(|only| !only.contains(row.number_hash.as_slice()));
    match why {
        _ if rules.ends_at_ms > 0 && from >= rules.ends_at_ms => When::Never("the-campaign-ends-before"),
        _ if rules.deadline_ms > 0 && from >= rules.deadline_ms => When::Never(Exclusion::Deadline.name()),
        _ if held => When::Later("the campaign goes live", None),
        None => When::Now,
        Some(why) => When::Later(why, Some(from)),
    }
}

//! Whom a campaign may ring, and when: calling windows, do-not-call lists, consent, caps per number, retries.
//!
//! Reading order: [`CampaignRules`] (what is asked for), [`window`] (when a zone is open), [`retry`] (what an outcome
//! leads to), [`read`] (how they are written), [`number`] (what is remembered of a number, and what its caps say). `campaign::judge` asks them all about
//! one contact; what nobody knows is never a yes.

#![deny(clippy::float_arithmetic)]

pub mod check;
pub mod number;
pub mod read;
pub mod retry;
pub mod window;
mod wire;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{NumberHash, Timestamp};

pub use check::{RuleProblem, check};
pub use number::{AttemptCap, NumberUse};
pub use retry::RetryRule;
pub use window::CallingWindow;

/// The list every campaign obeys.
pub const GLOBAL_LIST: &str = "global";

/// Why a contact is not dialled, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exclusion {
    /// Its number is on a do-not-call list.
    DoNotCall,
    /// Its number begins with digits that are.
    DoNotCallPrefix,
    /// It did not consent, and the campaign asks for that.
    NoConsent,
    /// Nobody knows its time zone, and the campaign has calling windows.
    NoZone,
    /// It rang as often as it ever may.
    CapForEver,
    /// The campaign's deadline came before its turn.
    Deadline,
    /// It may be in several zones, whose calling windows are never all open within a year.
    NoWindowOpens,
}

impl Exclusion {
    /// Every one, in the order of the wire.
    pub const ALL: [Exclusion; 7] = [
        Exclusion::DoNotCall,
        Exclusion::DoNotCallPrefix,
        Exclusion::NoConsent,
        Exclusion::NoZone,
        Exclusion::CapForEver,
        Exclusion::Deadline,
        Exclusion::NoWindowOpens,
    ];

    /// The wire number, as `asterism.v1.ExclusionRule`.
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }

    /// From the wire number.
    pub fn from_number(number: u32) -> Option<Self> {
        Exclusion::ALL.into_iter().find(|rule| rule.number() == number)
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Exclusion::DoNotCall => "do-not-call",
            Exclusion::DoNotCallPrefix => "do-not-call-prefix",
            Exclusion::NoConsent => "no-consent",
            Exclusion::NoZone => "no-zone",
            Exclusion::CapForEver => "cap-for-ever",
            Exclusion::Deadline => "deadline",
            Exclusion::NoWindowOpens => "no-window-opens",
        }
    }

    /// What it means, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Exclusion::DoNotCall => "its number is on a do-not-call list",
            Exclusion::DoNotCallPrefix => "its number begins with digits that are on a do-not-call list",
            Exclusion::NoConsent => "it did not consent, and the campaign asks for that",
            Exclusion::NoZone => "nobody knows its time zone, and the campaign has calling windows",
            Exclusion::CapForEver => "it rang as often as it ever may, over all campaigns",
            Exclusion::Deadline => "the campaign's deadline came before its turn",
            Exclusion::NoWindowOpens => {
                "it may be in any of several time zones, and the calling windows are never open in all of them at once"
            }
        }
    }
}

/// A do-not-call list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoNotCall {
    /// Keyed hashes of numbers.
    pub numbers: BTreeSet<NumberHash>,
    /// First digits of numbers, country code first. Numbers are sealed: whoever opens one to dial it looks here.
    pub prefixes: BTreeSet<String>,
}

/// The rules of one campaign. The default asks for nothing: any time, any number, no retry rule of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CampaignRules {
    /// When callees may be rung, in their own zone; none = at any time.
    pub windows: Vec<CallingWindow>,
    /// Days without calls, `yyyymmdd`, in the callee's own zone.
    pub holidays: Vec<u32>,
    /// Zone of contacts whose zone nobody knows; empty = they are excluded where there are windows.
    pub default_zone: String,
    /// Most rings of one number in a period, over all campaigns.
    pub caps: Vec<AttemptCap>,
    /// Least time between two rings of one number, over all campaigns.
    pub min_gap_ms: u64,
    /// Only contacts that consented are dialled.
    pub consent_required: bool,
    /// Do-not-call lists beside [`GLOBAL_LIST`].
    pub do_not_call: Vec<String>,
    /// What each outcome leads to.
    pub retries: Vec<RetryRule>,
    /// Share of what campaigns of equal priority compete for; 0 counts as 1.
    pub weight: u32,
    /// Higher goes first.
    pub priority: u32,
    /// Nothing is dialled before; 0 = at once.
    pub starts_at_ms: Timestamp,
    /// Nothing new is dialled from then on, and the campaign stops; 0 = never.
    pub ends_at_ms: Timestamp,
    /// Name and date of the profile these came from, for the record.
    pub profile: String,
    /// Whoever still waits then is excluded, and the campaign is complete once its calls have ended; 0 = never.
    pub deadline_ms: Timestamp,
    /// What it may use up; reached, the campaign pauses.
    pub budget: Budget,
    /// What its calls cost.
    pub price: Price,
    /// Nodes listen who answers before the flow begins, and hang up on machines.
    pub detect_machines: bool,
}

/// What a campaign may use up; 0 = no budget of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Answered calls. Calls that ring count as if they were answered, so it is never exceeded.
    pub answered: u32,
    /// Talk time of answered calls, ended ones. Calls up when it is reached go on.
    pub talk_ms: u64,
    /// Cost by the campaign's [`Price`], in millionths of its currency. Calls up when it is reached go on.
    pub cost_micro: u64,
}

/// What calls cost, as the campaign's owner says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// Of an answered call, in millionths of the currency.
    pub call_micro: u64,
    /// Of a minute of it, charged by the millisecond.
    pub minute_micro: u64,
    /// The currency's code, like USD.
    pub currency: String,
}

impl Price {
    /// What so many answered calls and so much talk cost, in millionths of the currency.
    pub fn of(&self, answered: u32, talk_ms: u64) -> u64 {
        let minutes = u128::from(talk_ms) * u128::from(self.minute_micro) / 60_000;
        let all = minutes + u128::from(answered) * u128::from(self.call_micro);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// Whether anything is said.
    pub fn is_known(&self) -> bool {
        self.call_micro > 0 || self.minute_micro > 0
    }
}

impl CampaignRules {
    /// Names of the lists a contact must not be on.
    pub fn lists(&self) -> impl Iterator<Item = &str> {
        std::iter::once(GLOBAL_LIST).chain(self.do_not_call.iter().map(String::as_str))
    }

    /// What an outcome leads to, if a rule says so.
    pub fn retry(&self, outcome: crate::ids::Outcome) -> Option<&RetryRule> {
        self.retries.iter().find(|rule| rule.outcome == outcome)
    }
}

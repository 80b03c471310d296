//! What the log says about campaigns.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::stats::Stats;
use super::waiting::{Place, Waiting, ZoneIndex};
use crate::event::EventRef;
use crate::fleet::Node;
use crate::ids::{AttemptId, CampaignId, ContactId, NodeId, NumberHash, Outcome, Timestamp, by_number};
use crate::rules::{CampaignRules, Exclusion};

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignStatus {
    /// Contacts may still be imported; nothing is dialled.
    Created,
    /// Dialling.
    Running,
    /// Nothing new is dialled; calls go on.
    Paused,
    /// Ended by an operator; waiting contacts stay as they are.
    Stopped,
    /// Every contact is settled or uncertain.
    Completed,
}

/// Where a contact stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContactStatus {
    /// To be dialled.
    Waiting,
    /// An attempt holds a slot.
    InFlight,
    /// Done, with its last outcome.
    Settled(Outcome),
    /// It may have rung and nobody can prove how it ended.
    Uncertain,
    /// Erased before it was settled: there is no number to dial any more.
    Erased,
    /// A rule keeps it from being dialled; counts as settled.
    Excluded(Exclusion),
}

/// Why a contact's next attempt may not take some of its campaign's trunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptOff {
    /// They turned it away.
    #[default]
    TurnedAway,
    /// Its last attempt took one, and its retry is to be on another.
    ForARetry,
}

/// One person on a list. What names the person is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Index of the import, whose key seals it.
    pub import: u16,
    /// Where it stands.
    pub status: ContactStatus,
    /// Its number and fields are erased; what happened to it stands.
    pub erased: bool,
    /// Attempts so far, refused ones included: the next attempt's ordinal less one.
    pub attempts: u32,
    /// Attempts that may have reached the carrier.
    pub rang: u16,
    /// Attempts that certainly did not, though they were sent to a PBX. They count against the most attempts.
    pub never_rang: u16,
    /// Attempts a carrier turned away, so that another trunk was tried: nobody can have been rung, and they cost nothing.
    pub turned_away: u16,
    /// Places of the trunks its next attempt may not take, a bit each: those that turned it away since it was last rung or
    /// put off, or the one its last attempt took.
    pub tried: u8,
    /// Why it may not take those.
    pub kept_off: KeptOff,
    /// Zone it is in: 1 = the first of the campaign's, 0 = nobody knows.
    pub zone: ZoneIndex,
    /// It agreed to be called.
    pub consent: bool,
    /// In one of its calls the flow came to its end: it hung up, the callee did not.
    pub finished: bool,
    /// While it waits: not before; 0 = at once.
    pub due_ms: Timestamp,
    /// Attempts that ended with each outcome, in the order of [`Outcome::ALL`]; 255 is "or more".
    pub ended: [u8; Outcome::ALL.len()],
    /// A rule that was found to hold while an attempt was in flight: it is excluded when that comes back.
    pub barred: Option<Exclusion>,
    /// Digits pressed in the last answered call.
    pub digits: Digits,
    /// Keyed hash of the number.
    pub number_hash: NumberHash,
    /// Nonce and ciphertext; empty once erased.
    pub sealed: Box<[u8]>,
}

/// Digits a contact pressed. One pointer wide: there are a million contacts, and few have pressed anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Box<str>", into = "Box<str>")]
pub struct Digits(Option<Box<Box<str>>>);

impl Digits {
    /// As they were pressed; empty if none were.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |digits| digits)
    }
}

impl From<Box<str>> for Digits {
    fn from(digits: Box<str>) -> Self {
        Self((!digits.is_empty()).then(|| Box::new(digits)))
    }
}

impl From<Digits> for Box<str> {
    fn from(digits: Digits) -> Self {
        digits.0.map_or_else(Self::default, |digits| *digits)
    }
}

impl Contact {
    /// Whether it may still be dialled.
    pub const fn is_open(&self) -> bool {
        matches!(self.status, ContactStatus::Waiting | ContactStatus::InFlight)
    }

    /// Whether an operator may have it dialled again, though it may have been rung.
    pub fn may_reopen(&self) -> bool {
        self.status == ContactStatus::Uncertain && !self.erased && self.barred.is_none()
    }

    /// What the rules ask of it beside the time of day: its number and its consent.
    pub const fn asked(&self) -> (&NumberHash, bool) {
        (&self.number_hash, self.consent)
    }

    /// Where it waits, if it does.
    pub fn place(&self) -> Place {
        Place { zone: self.zone, due_ms: self.due_ms }
    }
}

/// Where an attempt in flight stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttemptStatus {
    /// Committed by the dialer; the order is owed.
    Intended,
    /// Durable at the node.
    Accepted,
    /// About to reach the carrier: from here it may have rung, unless its end proves otherwise.
    Originating,
    /// A call.
    Answered,
}

/// An attempt that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its node.
    pub node: NodeId,
    /// Its trunk.
    pub trunk: String,
    /// The number it shows; empty = its campaign's own, or none.
    pub caller_id: String,
    /// The prompts it plays to its end.
    pub manifest: String,
    /// Where it stands.
    pub status: AttemptStatus,
    /// Earliest originate.
    pub not_before_ms: Timestamp,
    /// Latest originate.
    pub not_after_ms: Timestamp,
    /// When it was intended.
    pub intended_at: Timestamp,
    /// When it was about to reach the carrier; 0 before.
    pub originated_at: Timestamp,
    /// When the callee's calling window closes; 0 = no rule about time.
    pub closes_at_ms: Timestamp,
    /// Highest step whose answer took effect.
    pub step: u32,
    /// Decisions committed for this call whose step has not been told as taken yet.
    pub decisions: Vec<(u32, EventRef)>,
    /// Its node heard a machine.
    pub machine: bool,
    /// The flow asked for digits.
    pub asked: bool,
    /// The flow hung up.
    pub hung_up: bool,
    /// Channels of its trunk that are kept for it.
    pub channels: u32,
}

impl Attempt {
    /// What an end that its node called `outcome` comes to. A machine that has the call is an outcome of its own; that nobody
    /// pressed what the flow asked for until it hung up is one where the campaign has a rule for it.
    pub fn comes_to(&self, rules: &CampaignRules, outcome: Outcome, digits: &str) -> Outcome {
        let answered = self.status == AttemptStatus::Answered || outcome == Outcome::Answered;
        let silent = self.asked && self.hung_up && digits.is_empty();
        match () {
            () if answered && self.machine => Outcome::Machine,
            () if answered && silent && rules.retry(Outcome::NoInput).is_some() => Outcome::NoInput,
            () => outcome,
        }
    }
}

/// Contacts by state, and attempts by fate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Contacts imported.
    pub imported: u32,
    /// Contacts to be dialled.
    pub waiting: u32,
    /// Contacts whose attempt holds a slot.
    pub in_flight: u32,
    /// Contacts settled, by outcome; excluded ones count as settled.
    pub settled: BTreeMap<Outcome, u32>,
    /// Contacts excluded by a rule.
    pub excluded: u32,
    /// These, by rule.
    pub excluded_by: BTreeMap<Exclusion, u32>,
    /// Contacts whose last attempt cannot be explained.
    pub uncertain: u32,
    /// Contacts erased before they were settled.
    pub erased: u32,
    /// Attempts intended and in effect.
    pub attempts: u32,
    /// Attempts refused by the node: never rang.
    pub refused: u32,
    /// Attempts that may have reached the carrier.
    pub rang: u32,
    /// Attempts sent to a PBX that failed before anything left for the carrier.
    pub never_rang: u32,
    /// Attempts a carrier turned away, so that another trunk was tried.
    pub turned_away: u32,
    /// Calls: attempts answered.
    pub answered: u32,
    /// Calls up: attempts answered that have not ended.
    pub up: u32,
    /// Talk time of answered calls that have ended.
    pub talk_ms: u64,
    /// Rows left out at import as duplicates.
    pub duplicates: u32,
    /// Rows left out at import because another campaign has their numbers.
    pub known: u32,
    /// Contacts settled as answered, by digits pressed; those beyond the first of many kinds together.
    pub digits: BTreeMap<String, u32>,
    /// Steps by the tag they gave.
    pub tags: BTreeMap<String, u32>,
}

impl Counts {
    /// Contacts settled, excluded ones included.
    pub fn settled_total(&self) -> u32 {
        self.settled.values().sum::<u32>() + self.excluded
    }
}

/// A campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// Name for people.
    pub name: String,
    /// Flow id.
    pub flow: String,
    /// Manifest id.
    pub manifest: String,
    /// The prompts it had before: nodes that have not got the new ones yet go on with them. Empty = none.
    pub manifest_before: String,
    /// The trunk named first.
    pub trunk: String,
    /// All of its trunks, that one included.
    pub trunks: Vec<String>,
    /// Most attempts in flight; 0 = no cap of its own.
    pub max_channels: u32,
    /// Most attempts started a second; 0 = no cap of its own.
    pub calls_per_second: u32,
    /// How long a callee may ring.
    pub ring_timeout_ms: u32,
    /// Attempts that reach the carrier, per contact.
    pub max_attempts: u32,
    /// Caller id.
    pub caller_id: String,
    /// Further ones: each attempt shows one of all.
    pub more_caller_ids: Vec<String>,
    /// Whom it may ring and when.
    pub rules: CampaignRules,
    /// May use a trunk outside loopback for every number.
    pub live: bool,
    /// Keyed hashes of the numbers allowed before that.
    pub allowed: BTreeSet<Vec<u8>>,
    /// Attempts that were in flight above the cap when that was lowered, and are still.
    pub above_cap: u32,
    /// Where it stands.
    pub status: CampaignStatus,
    /// Indexes of the imports that have not said that they are complete.
    pub open_imports: BTreeSet<u16>,
    /// Import ids; each names a sealing key.
    pub imports: Vec<String>,
    /// Contacts by id.
    pub contacts: Vec<Contact>,
    /// Zones its imports named: an IANA name, or several with `,` between that must all be open.
    pub zones: Vec<String>,
    /// The waiting ones.
    pub waiting: Waiting,
    /// Every number on it, by keyed hash.
    #[serde(with = "by_number")]
    pub numbers: BTreeMap<NumberHash, ContactId>,
    /// Attempts that hold a slot.
    pub in_flight: BTreeMap<AttemptId, Attempt>,
    /// Counts kept by the reducer.
    pub counts: Counts,
    /// What became of its attempts, kept by the reducer.
    pub stats: Stats,
    /// Latest `not_before_ms` given out, for the campaign's own calls per second.
    pub last_start_ms: Timestamp,
    /// When it was created, started and completed.
    pub created_at: Timestamp,
    /// When it was started first.
    pub started_at: Option<Timestamp>,
    /// When it was completed or stopped.
    pub ended_at: Option<Timestamp>,
}

impl Campaign {
    /// The prompts that a call on this node plays: the new ones where it has them, else those of before.
    pub fn prompts_on(&self, node: &Node) -> Option<&String> {
        [&self.manifest, &self.manifest_before].into_iter().find(|held| node.manifests.contains(*held))
    }

    /// Whether all of its lists are in.
    pub fn import_complete(&self) -> bool {
        !self.imports.is_empty() && self.open_imports.is_empty()
    }

    /// Time its attempts have held slots up to a time, those that do still included, ms.
    pub fn slots_ms(&self, at: Timestamp) -> u64 {
        let held = self.in_flight.values().map(|attempt| at.saturating_sub(attempt.intended_at));
        held.fold(self.stats.slots_ms, u64::saturating_add)
    }

    /// The index of an import.
    pub fn import(&self, id: &str) -> Option<u16> {
        self.imports.iter().position(|known| known == id).map(|index| index as u16)
    }

    /// All of its caller ids.
    pub fn caller_ids(&self) -> impl Iterator<Item = &str> + Clone {
        let all = std::iter::once(&self.caller_id).chain(&self.more_caller_ids);
        all.map(String::as_str).filter(|number| !number.is_empty())
    }
}

/// Every campaign.
pub type Campaigns = BTreeMap<CampaignId, Campaign>;

/// What of an import was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// All of it: its key is gone or going.
    pub whole: bool,
    /// Keyed hashes of the numbers erased one by one.
    pub numbers: BTreeSet<NumberHash>,
}

impl Erasure {
    /// Whether it covers the number.
    pub fn covers(&self, number: &NumberHash) -> bool {
        self.whole || self.numbers.contains(number)
    }
}

//! A campaign in numbers: where its contacts stand, funnel, hours, causes, cost. One function for `campaign show` and for
//! `replay report`, of the state the log folds to, so whoever has the log comes to the same numbers.

mod cost;
mod words;

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::campaign::stats::{HOUR_MS, Over};
use crate::campaign::{AttemptStatus, Campaign, Contact, ContactStatus};
use crate::ids::Outcome;
use crate::state::State;

pub use cost::Cost;

/// Contacts with more attempts are counted with those that had so many.
const ATTEMPTS_SHOWN: u32 = 100;

/// How far contacts came: each number counts those of the one before that came further.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funnel {
    /// Imported.
    pub imported: u32,
    /// Whom no rule kept out, and no erasure took out, before a first attempt.
    pub dialable: u32,
    /// With an attempt that a PBX was told to dial.
    pub dialled: u32,
    /// That may have been rung: nobody can prove that the carrier never was asked, or turned it away.
    pub rang: u32,
    /// That answered, machines included.
    pub answered: u32,
    /// Whose flow came to its end in one of these calls: it hung up, not they.
    pub finished: u32,
}

/// A campaign in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignNumbers {
    /// Its id.
    pub campaign: String,
    /// Where it stands.
    pub status: String,
    /// Contacts by state: each is in exactly one. Settled ones by outcome, excluded ones by rule.
    pub contacts: BTreeMap<String, u32>,
    /// How far they came.
    pub funnel: Funnel,
    /// Contacts by how many attempts were ordered for them, refused ones included.
    pub attempts_per_contact: BTreeMap<u32, u32>,
    /// Attempts that were ordered and took effect.
    pub attempts: u32,
    /// Of these, in flight. All others are in `hours`, each once.
    pub in_flight: u32,
    /// Attempts that may have reached the carrier and were not turned away by it.
    pub seizures: u32,
    /// Of these, answered: calls.
    pub calls: u32,
    /// Calls among a thousand seizures; none without seizures.
    pub answer_seizure_permille: Option<u32>,
    /// Talk time of calls that have ended.
    pub talk_ms: u64,
    /// Calls that have ended.
    pub ended_calls: u32,
    /// Their average talk time; none without any.
    pub average_talk_ms: Option<u64>,
    /// Attempts that are over, by the hour (UTC) in which that came into the log, and by what became of them. What was
    /// before the two newest months stands under `earlier`.
    pub hours: BTreeMap<String, BTreeMap<String, u32>>,
    /// Attempts that ended without an answer, by trunk and Q.850 cause.
    pub causes: BTreeMap<String, BTreeMap<u32, u32>>,
    /// The same, by trunk and final SIP response; 0 = none was heard.
    pub responses: BTreeMap<String, BTreeMap<u32, u32>>,
    /// Calls by the last state of the flow they came to.
    pub flow_states: BTreeMap<String, u32>,
    /// Steps by the tag the flow or its back end gave.
    pub tags: BTreeMap<String, u32>,
    /// What it cost, and what is in that.
    pub cost: Cost,
}

/// A campaign in numbers; none if there is none of this id.
pub fn numbers(state: &State, campaign: &str) -> Option<CampaignNumbers> {
    state.campaigns.get(campaign).map(|known| of(state, campaign, known))
}

fn of(state: &State, id: &str, known: &Campaign) -> CampaignNumbers {
    let (counts, past) = (&known.counts, &known.stats);
    let mut found = CampaignNumbers {
        campaign: id.to_owned(),
        status: format!("{:?}", known.status).to_lowercase(),
        attempts: counts.attempts,
        in_flight: counts.in_flight,
        seizures: counts.rang,
        calls: counts.answered,
        answer_seizure_permille: (u64::from(counts.answered) * 1_000)
            .checked_div(counts.rang.into())
            .and_then(|share| u32::try_from(share).ok()),
        talk_ms: counts.talk_ms,
        ended_calls: past.ended_calls,
        average_talk_ms: counts.talk_ms.checked_div(past.ended_calls.into()),
        hours: past.hours.iter().map(|(hour, over)| (shown(*hour), over.named())).collect(),
        causes: past.causes.clone(),
        responses: past.responses.clone(),
        flow_states: past.flow_states.clone(),
        tags: counts.tags.clone(),
        cost: cost::of(state, known),
        ..CampaignNumbers::default()
    };
    if past.earlier != Over::default() {
        found.hours.insert("earlier".to_owned(), past.earlier.named());
    }
    let up = known.in_flight.iter().filter(|(_, attempt)| attempt.status == AttemptStatus::Answered);
    let up: std::collections::BTreeSet<u32> = up.map(|(attempt, _)| attempt.contact).collect();
    for (number, contact) in (0u32..).zip(&known.contacts) {
        *found.contacts.entry(stands(&contact.status)).or_default() += 1;
        *found.attempts_per_contact.entry(contact.attempts.min(ATTEMPTS_SHOWN)).or_default() += 1;
        found.funnel.count(contact, up.contains(&number));
    }
    found
}

impl Funnel {
    fn count(&mut self, contact: &Contact, is_up: bool) {
        let had = |outcome: Outcome| contact.ended[outcome as usize] > 0;
        let answered = is_up || had(Outcome::Answered) || had(Outcome::Machine) || had(Outcome::NoInput);
        let rang = answered || contact.rang > 0;
        let dialled = rang || contact.never_rang > 0 || contact.turned_away > 0;
        let out = matches!(contact.status, ContactStatus::Excluded(_) | ContactStatus::Erased);
        let dialable = dialled || contact.attempts > 0 || !out;
        self.imported += 1;
        self.dialable += u32::from(dialable);
        self.dialled += u32::from(dialled);
        self.rang += u32::from(rang);
        self.answered += u32::from(answered);
        self.finished += u32::from(answered && contact.finished);
    }

    /// Each step with its name, in order.
    pub fn steps(&self) -> [(&'static str, u32); 6] {
        [
            ("imported", self.imported),
            ("dialable", self.dialable),
            ("dialled", self.dialled),
            ("rang", self.rang),
            ("answered", self.answered),
            ("finished", self.finished),
        ]
    }
}

/// The one state a contact is in, in words.
pub fn stands(status: &ContactStatus) -> String {
    match status {
        ContactStatus::Waiting => "waiting".to_owned(),
        ContactStatus::InFlight => "in flight".to_owned(),
        ContactStatus::Settled(outcome) => format!("settled: {}", outcome.name()),
        ContactStatus::Uncertain => "uncertain".to_owned(),
        ContactStatus::Erased => "erased".to_owned(),
        ContactStatus::Excluded(rule) => format!("excluded: {}", rule.name()),
    }
}

fn shown(hour: u64) -> String {
    let moment = i64::try_from(hour.saturating_mul(HOUR_MS)).ok().and_then(DateTime::from_timestamp_millis);
    moment.map_or_else(|| format!("hour {hour}"), |moment| moment.format("%Y-%m-%dT%H:%MZ").to_string())
}

//! `report`: a campaign in numbers, folded from every event of the log. Nothing of it is kept beside the log, so whoever has
//! the log comes to the same numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;

use asterism_domain::campaign::{Attempt, Campaign, ContactStatus, budget};
use asterism_domain::{AttemptId, Event, Outcome, Recorded, State};
use serde::Serialize;

use crate::fold::Pass;
use crate::{Error, when};

const HOUR_MS: u64 = 3_600_000;

/// How far contacts came; each number counts those of the one before that came further.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Funnel {
    /// Imported.
    pub imported: u32,
    /// With an attempt that a node was given.
    pub attempted: u32,
    /// That may have been rung.
    pub rang: u32,
    /// That answered.
    pub answered: u32,
    /// That pressed a key in the answered call.
    pub pressed: u32,
}

/// A campaign in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CampaignNumbers {
    /// Its id.
    pub campaign: String,
    /// Where it stands at the end of the log.
    pub status: String,
    /// Contacts by state: each is in exactly one. Settled ones by outcome, excluded ones by rule.
    pub contacts: BTreeMap<String, u32>,
    /// How far they came.
    pub funnel: Funnel,
    /// Contacts by how many attempts they had.
    pub attempts_per_contact: BTreeMap<u32, u32>,
    /// Attempts that may have reached the carrier.
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
    /// Attempts that ended, by the hour (UTC) it is in the log, and by outcome.
    pub hours: BTreeMap<String, BTreeMap<&'static str, u32>>,
    /// Attempts that ended without an answer, by trunk and Q.850 cause.
    pub causes: BTreeMap<String, BTreeMap<u32, u32>>,
    /// Calls by the last state of the flow they came to.
    pub flow_states: BTreeMap<String, u32>,
    /// What the calls cost by the campaign's price; none if it has none.
    pub cost: Option<String>,
    /// The same for each call; none without a price or without calls.
    pub cost_per_answer: Option<String>,
    #[serde(skip)]
    answered: BTreeSet<u32>,
    #[serde(skip)]
    pressed: BTreeSet<u32>,
}

/// Every campaign of a log in numbers, or the one that is named.
///
/// # Errors
/// What [`crate::verify`] would stop at, the log's integrity aside: it is checked frame by frame.
pub fn report(pass: &mut Pass<'_>, campaign: Option<&str>) -> Result<Vec<CampaignNumbers>, Error> {
    let mut state = State::default();
    let mut numbers: BTreeMap<String, CampaignNumbers> = BTreeMap::new();
    pass.each(&mut |_, recorded| {
        if let Event::AttemptEnded { attempt, .. } = &recorded.event
            && campaign.is_none_or(|id| id == attempt.campaign)
            && let Some(before) = in_flight(&state, attempt).cloned()
        {
            let incidents = state.incidents;
            state.apply(recorded);
            // An end that fits nothing counts nowhere.
            if state.incidents == incidents {
                numbers.entry(attempt.campaign.clone()).or_default().ended(recorded, &before);
            }
        } else {
            state.apply(recorded);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let meant = state.campaigns.iter().filter(|(id, _)| campaign.is_none_or(|named| named == *id));
    Ok(meant.map(|(id, known)| numbers.remove(id).unwrap_or_default().finish(id, known)).collect())
}

fn in_flight<'a>(state: &'a State, attempt: &AttemptId) -> Option<&'a Attempt> {
    state.campaigns.get(&attempt.campaign)?.in_flight.get(attempt)
}

impl CampaignNumbers {
    /// An attempt's end that took effect.
    fn ended(&mut self, recorded: &Recorded, before: &Attempt) {
        let Event::AttemptEnded { attempt, outcome, cause, talk_ms, digits, path, .. } = &recorded.event
        else {
            return;
        };
        let hour = when::shown(recorded.at / HOUR_MS * HOUR_MS);
        *self.hours.entry(hour).or_default().entry(outcome.name()).or_default() += 1;
        if *outcome == Outcome::Answered {
            self.ended_calls += 1;
            self.talk_ms += u64::from(*talk_ms);
            self.answered.insert(attempt.contact);
            *self.flow_states.entry(path.clone()).or_default() += 1;
            if !digits.is_empty() {
                self.pressed.insert(attempt.contact);
            }
        } else {
            *self.causes.entry(before.trunk.clone()).or_default().entry(*cause).or_default() += 1;
        }
    }

    /// What the state at the end says.
    fn finish(mut self, id: &str, known: &Campaign) -> Self {
        id.clone_into(&mut self.campaign);
        self.status = format!("{:?}", known.status).to_lowercase();
        for contact in &known.contacts {
            let stands = match &contact.status {
                ContactStatus::Waiting => "waiting".to_owned(),
                ContactStatus::InFlight => "in flight".to_owned(),
                ContactStatus::Settled(outcome) => format!("settled: {}", outcome.name()),
                ContactStatus::Uncertain => "uncertain".to_owned(),
                ContactStatus::Erased => "erased".to_owned(),
                ContactStatus::Excluded(rule) => format!("excluded: {}", rule.name()),
            };
            *self.contacts.entry(stands).or_default() += 1;
            *self.attempts_per_contact.entry(contact.attempts).or_default() += 1;
            self.funnel.attempted += u32::from(contact.attempts > 0);
            self.funnel.rang += u32::from(contact.rang > 0);
        }
        self.funnel.imported = known.contacts.len() as u32;
        self.funnel.answered = self.answered.len() as u32;
        self.funnel.pressed = self.pressed.len() as u32;
        (self.seizures, self.calls) = (known.counts.rang, known.counts.answered);
        let permille = |part: u32, of: u32| (u64::from(part) * 1_000).checked_div(of.into());
        self.answer_seizure_permille =
            permille(self.calls, self.seizures).and_then(|share| u32::try_from(share).ok());
        self.average_talk_ms = self.talk_ms.checked_div(self.ended_calls.into());
        let price = &known.rules.price;
        if price.is_known() {
            let cost = budget::spent(known).cost_micro;
            let money = |micro| format!("{} {}", budget::money(micro), price.currency);
            self.cost = Some(money(cost));
            self.cost_per_answer = cost.checked_div(self.calls.into()).map(money);
        }
        self
    }

    /// Contacts over all states: as many as there are.
    pub fn contacts_total(&self) -> u32 {
        self.contacts.values().sum()
    }

    /// For people.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "campaign {} ({})", self.campaign, self.status)?;
        writeln!(out, "  contacts {}", self.contacts_total())?;
        for (stands, count) in &self.contacts {
            writeln!(out, "    {count:>8}  {stands}")?;
        }
        let Funnel { imported, attempted, rang, answered, pressed } = self.funnel;
        writeln!(
            out,
            "  funnel   {imported} imported, {attempted} attempted, {rang} rang, {answered} answered, {pressed} pressed a key"
        )?;
        for (attempts, count) in &self.attempts_per_contact {
            writeln!(out, "    {count:>8}  with {attempts} attempts")?;
        }
        let share = self.answer_seizure_permille;
        let share =
            share.map_or_else(|| "none".to_owned(), |share| format!("{}.{} %", share / 10, share % 10));
        writeln!(out, "  answer-seizure ratio {share} ({} of {})", self.calls, self.seizures)?;
        let seconds = |ms: u64| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
        let average = self.average_talk_ms.map_or_else(|| "none".to_owned(), seconds);
        writeln!(
            out,
            "  talk     {} in {} calls, {average} on average",
            seconds(self.talk_ms),
            self.ended_calls
        )?;
        if let Some(cost) = &self.cost {
            let each = self.cost_per_answer.as_deref().unwrap_or("none");
            writeln!(out, "  cost     {cost}, {each} an answer")?;
        }
        for (hour, outcomes) in &self.hours {
            let outcomes: Vec<String> =
                outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
            writeln!(out, "  {hour}  {}", outcomes.join(", "))?;
        }
        for (trunk, causes) in &self.causes {
            let causes: Vec<String> =
                causes.iter().map(|(cause, count)| format!("cause {cause}: {count}")).collect();
            writeln!(out, "  trunk {trunk} without an answer: {}", causes.join(", "))?;
        }
        for (state, count) in &self.flow_states {
            let state = if state.is_empty() { "(none)" } else { state };
            writeln!(out, "    {count:>8}  calls ended in {state}")?;
        }
        Ok(())
    }
}

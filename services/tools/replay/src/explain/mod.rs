//! `explain`: the chain of events and reasons behind a number, a contact, a call, a node or a moment, in plain words.
//!
//! One pass over verified frames; what is kept is what is told.

mod subject;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use asterism_domain::campaign::ContactStatus;
use asterism_domain::ids::IntentId;
use asterism_domain::{AttemptId, CampaignId, ContactId, Event, Recorded, State};
use asterism_proto::Origin;
use serde::Serialize;

pub use subject::Subject;
pub(crate) use words::words;

use crate::fold::Pass;
use crate::{Error, fold, when};

/// Most lines told; the rest is counted.
pub const LINES_MAX: usize = 10_000;

/// One event, told.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Position in the log.
    pub position: u64,
    /// Record time, ms since 1970.
    pub at_ms: u64,
    /// Who wrote it: a role with its term, a node, a process.
    pub by: String,
    /// Who asked for it, if somebody did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub asked_by: String,
    /// What happened or was decided, and why.
    pub what: String,
    /// Why it had no effect, if it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_effect: Option<String>,
}

/// Everything the log says of a subject.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub subject: String,
    /// The answer in one or a few sentences.
    pub answer: Vec<String>,
    /// The events, in log order.
    pub lines: Vec<Line>,
    /// Lines beyond [`LINES_MAX`].
    pub more: u64,
    /// Events read.
    pub events: u64,
}

/// Explains a subject from a folder of sealed segments. Every frame is verified on the way.
pub fn explain(pass: &mut Pass<'_>, subject: &Subject) -> Result<Explanation, Error> {
    let mut teller = Teller::new(subject);
    pass.each(&mut |_, event| {
        teller.hear(event);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(teller.finish())
}

struct Teller<'a> {
    subject: &'a Subject,
    state: State,
    /// The state as it was at the moment asked for.
    moment: Option<Vec<String>>,
    contacts: BTreeSet<(CampaignId, ContactId)>,
    launches: BTreeMap<IntentId, Line>,
    ordered: u64,
    lines: Vec<Line>,
    more: u64,
}

impl<'a> Teller<'a> {
    fn new(subject: &'a Subject) -> Self {
        let mut contacts = BTreeSet::new();
        match subject {
            Subject::Contact { campaign, contact } => drop(contacts.insert((campaign.clone(), *contact))),
            Subject::Call(call) => drop(contacts.insert((call.campaign.clone(), call.contact))),
            Subject::Number { .. } | Subject::Node(_) | Subject::Moment { .. } => {}
        }
        Self {
            subject,
            state: State::default(),
            moment: None,
            contacts,
            launches: BTreeMap::new(),
            ordered: 0,
            lines: Vec::new(),
            more: 0,
        }
    }

    fn hear(&mut self, recorded: &Recorded) {
        if let Subject::Moment { at_ms, .. } = self.subject
            && recorded.at > *at_ms
            && self.moment.is_none()
        {
            self.moment = Some(moment(&self.state));
        }
        let no_effect = fold::apply(&mut self.state, recorded);
        self.find_contacts(recorded);
        let line = || line(recorded, no_effect.clone());
        if let (Subject::Node(_), Event::LaunchIntended { intent, .. }) = (self.subject, &recorded.event) {
            self.launches.insert(intent.clone(), line());
        }
        if let (Subject::Node(node), Event::NodeLaunched { intent, node: launched }) =
            (self.subject, &recorded.event)
            && node == launched
            && let Some(intended) = self.launches.remove(intent)
        {
            self.tell(intended);
        }
        if self.is_about(recorded) {
            self.tell(line());
        }
    }

    /// Which contacts have the number asked for.
    fn find_contacts(&mut self, recorded: &Recorded) {
        let (Subject::Number { hash, .. }, Event::ContactsImported { campaign, contacts, .. }) =
            (self.subject, &recorded.event)
        else {
            return;
        };
        for row in contacts.iter().filter(|row| row.number_hash == *hash) {
            self.contacts.insert((campaign.clone(), row.contact));
        }
    }

    fn is_about(&mut self, recorded: &Recorded) -> bool {
        let event = &recorded.event;
        match self.subject {
            Subject::Moment { at_ms, around_ms } => recorded.at.abs_diff(*at_ms) <= *around_ms,
            Subject::Call(call) => event.attempt() == Some(call) || self.is_campaign_news(event),
            Subject::Number { .. } | Subject::Contact { .. } => {
                let of_contact = |attempt: &AttemptId| {
                    self.contacts.contains(&(attempt.campaign.clone(), attempt.contact))
                };
                event.attempt().is_some_and(of_contact) || self.is_campaign_news(event)
            }
            Subject::Node(node) => {
                if matches!(event, Event::AttemptIntended { node: on, .. } if on == node) {
                    self.ordered += 1;
                }
                let routine = matches!(event, Event::NodeLoad { .. });
                let origin = Origin::Node(node.clone()).to_string();
                let closed = matches!(event, Event::OriginClosed { origin: of, .. } if *of == origin);
                (event.attempt().is_none() && event.node() == Some(node) && !routine) || closed
            }
        }
    }

    /// What bore on every contact of a campaign: its birth, pauses and end, and the import of the contact itself.
    fn is_campaign_news(&self, event: &Event) -> bool {
        match event {
            Event::ContactsImported { campaign, contacts, .. } => {
                contacts.iter().any(|row| self.contacts.contains(&(campaign.clone(), row.contact)))
            }
            other if other.attempt().is_some() => false,
            other => {
                other.campaign().is_some_and(|of| self.contacts.iter().any(|(campaign, _)| campaign == of))
            }
        }
    }

    fn tell(&mut self, line: Line) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Explanation {
        let answer = match self.subject {
            Subject::Moment { .. } => self.moment.take().unwrap_or_else(|| moment(&self.state)),
            Subject::Node(node) if self.lines.is_empty() => vec![format!("this log knows no node {node}")],
            Subject::Node(node) => {
                vec![format!("{} attempts were ordered on {node}", self.ordered)]
            }
            Subject::Call(call) if !self.lines.iter().any(|line| line.what.contains(&call.to_string())) => {
                vec![format!("this log has no attempt {call}: it was never decided")]
            }
            _ => self.contacts_answer(),
        };
        Explanation {
            subject: self.subject.to_string(),
            answer,
            lines: self.lines,
            more: self.more,
            events: self.state.size,
        }
    }

    fn contacts_answer(&self) -> Vec<String> {
        let mut answer: Vec<String> = self
            .contacts
            .iter()
            .map(|(campaign, number)| {
                let contact = self
                    .state
                    .campaigns
                    .get(campaign)
                    .and_then(|campaign| campaign.contacts.get(*number as usize));
                let Some(contact) = contact else {
                    return format!("this log has no contact {number} of campaign {campaign}");
                };
                let stands = match &contact.status {
                    ContactStatus::Waiting => "waits to be dialled".to_owned(),
                    ContactStatus::InFlight => "has an attempt in flight".to_owned(),
                    ContactStatus::Settled(outcome) => format!("is settled: {}", outcome.name()),
                    ContactStatus::Uncertain => "is uncertain and not dialled again by itself".to_owned(),
                    ContactStatus::Erased => "was erased before it was settled".to_owned(),
                };
                let gone = if contact.erased { ", its number and fields are erased" } else { "" };
                let (attempts, rang) = (contact.attempts, contact.rang);
                format!("contact {number} of campaign {campaign} {stands}{gone}; attempts: {attempts}, may have rung: {rang}")
            })
            .collect();
        if answer.is_empty() {
            answer.push(
                "no contact of this log has this number: it was never imported, and never dialled".to_owned(),
            );
        }
        answer
    }
}

/// One event in words.
pub(crate) fn line(recorded: &Recorded, no_effect: Option<String>) -> Line {
    let by = match &recorded.origin {
        Origin::Role(role) if recorded.term > 0 => format!("{role}, term {}", recorded.term),
        other => other.to_string(),
    };
    Line {
        position: recorded.sequence,
        at_ms: recorded.at,
        by,
        asked_by: recorded.actor.clone(),
        what: words(&recorded.event),
        no_effect,
    }
}

fn moment(state: &State) -> Vec<String> {
    let nodes = state.fleet.nodes.len();
    let mut answer = vec![format!(
        "after {} events, the last at {}: {nodes} nodes known, {} contacts waiting",
        state.size,
        when::shown(state.at),
        state.waiting()
    )];
    for (id, campaign) in &state.campaigns {
        let counts = &campaign.counts;
        let settled: u32 = counts.settled.values().sum();
        answer.push(format!(
            "campaign {id}: {} imported, {} waiting, {} in flight, {settled} settled, {} uncertain",
            counts.imported, counts.waiting, counts.in_flight, counts.uncertain
        ));
    }
    answer
}

impl Line {
    /// For people.
    pub(crate) fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let asked = match self.asked_by.as_str() {
            "" => String::new(),
            asked_by => format!(", asked by {asked_by}"),
        };
        let (at, position, by) = (when::shown(self.at_ms), self.position, &self.by);
        writeln!(out, "  {at}  #{position:<7} {by}{asked}: {}", self.what)?;
        self.no_effect.iter().try_for_each(|why| writeln!(out, "      without effect: {why}"))
    }
}

impl Explanation {
    /// For people: the subject, the answer, the events.
    pub fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.subject)?;
        self.lines.iter().try_for_each(|line| line.print(out))?;
        if self.more > 0 {
            writeln!(out, "  and {} more", self.more)?;
        }
        self.answer.iter().try_for_each(|answer| writeln!(out, "=> {answer}"))?;
        writeln!(out, "   from {} verified events", self.events)
    }
}

//! `explain`: the chain of events and reasons behind a number, a contact, a call, a node or a moment, in plain words.
//!
//! The answer comes first, then what was checked for it, then the events. A contact or a call that was called is found by
//! the segments' index ([`quick`]); everything else, and every "no", takes one pass over the whole log, every frame verified.

mod calls;
mod quick;
mod subject;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;

use asterism_domain::campaign::waits;
use asterism_domain::ids::IntentId;
use asterism_domain::{AttemptId, CampaignId, ContactId, Event, Recorded, State};
use asterism_event_log::LogFolder;
use asterism_proto::Origin;
use serde::Serialize;

pub use calls::Call;
pub use subject::{NumbersKey, Subject};
pub(crate) use words::words;

use calls::Calls;

use crate::fold::Pass;
use crate::{Error, fold, when};

/// Attempts told in the answer; all are in its list.
const ANSWERED_MAX: usize = 10;
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
    /// Of a number, contact or call: whether the carrier was asked to ring it, or may have been.
    pub called: Option<bool>,
    /// The answer in one or a few sentences.
    pub answer: Vec<String>,
    /// The attempts behind it, in the order they were decided.
    pub calls: Vec<Call>,
    /// What was checked for this answer, and what was not.
    pub checked: String,
    /// The whole log was checked.
    pub full: bool,
    /// The events, in log order.
    pub lines: Vec<Line>,
    /// Lines beyond [`LINES_MAX`].
    pub more: u64,
    /// Events the log has sealed.
    pub events: u64,
}

/// Explains a subject from a folder of sealed segments: by the index where that can answer, unless it is to be `full`;
/// else every frame is verified on the way.
pub fn explain(pass: &mut Pass<'_>, subject: &Subject, full: bool) -> Result<Explanation, Error> {
    if !full && let Some(told) = quick::quick(pass, subject)? {
        return Ok(told);
    }
    let mut teller = Teller::new(subject);
    pass.each(&mut |_, event| {
        teller.hear(event);
        Ok(ControlFlow::Continue(()))
    })?;
    teller.check_key()?;
    let mut told = teller.finish();
    let unsealed = LogFolder::open(pass.folder, pass.anchor)?.unsealed();
    if let Some(unsealed) = unsealed {
        let events = unsealed.events.map_or_else(|| "events".to_owned(), |events| format!("{events} events"));
        let _ = write!(told.checked, "; {events} behind them are not sealed and were not read");
    }
    if pass.anchor.is_none() {
        told.checked += "; no --anchor was given: that this is the log you mean";
    }
    Ok(told)
}

/// The answer where somebody was called.
fn yes(calls: &[Call]) -> Vec<String> {
    let rang = calls.iter().filter(|call| call.may_have_rung()).count();
    let times = if rang == 1 { "once".to_owned() } else { format!("{rang} times") };
    let told = calls.iter().take(ANSWERED_MAX).map(Call::told);
    let mut answer: Vec<String> = [format!("YES, called {times}")].into_iter().chain(told).collect();
    if calls.len() > ANSWERED_MAX {
        answer.push(format!("and {} attempts more; --json lists them", calls.len() - ANSWERED_MAX));
    }
    answer
}

struct Teller<'a> {
    subject: &'a Subject,
    state: State,
    /// The state as it was at the moment asked for.
    moment: Option<Vec<String>>,
    contacts: BTreeSet<(CampaignId, ContactId)>,
    launches: BTreeMap<IntentId, Line>,
    calls: Calls,
    /// Record time of the first event.
    began_ms: Option<u64>,
    /// The key for numbers is this fleet's, as far as that matters.
    key_proved: bool,
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
            calls: Calls::default(),
            began_ms: None,
            key_proved: true,
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
        self.began_ms.get_or_insert(recorded.at);
        let no_effect = fold::apply(&mut self.state, recorded);
        self.find_contacts(recorded);
        if no_effect.is_none() {
            self.hear_of_calls(recorded);
        }
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

    fn hear_of_calls(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::NodeTerminated { node, .. } | Event::NodeLost { node, .. } => self.calls.lost(node),
            other => {
                let meant = |id: &AttemptId| match self.subject {
                    Subject::Call(call) => call == id,
                    _ => self.contacts.contains(&(id.campaign.clone(), id.contact)),
                };
                if other.attempt().is_some_and(meant) {
                    self.calls.hear(recorded);
                }
            }
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
            Event::ContactsExcluded { campaign, contacts, .. }
            | Event::ContactsDeferred { campaign, contacts, .. }
            | Event::ContactsReopened { campaign, contacts, .. } => {
                contacts.iter().any(|contact| self.contacts.contains(&(campaign.clone(), *contact)))
            }
            Event::DoNotCallAdded { numbers, .. } | Event::DoNotCallRemoved { numbers, .. } => {
                matches!(self.subject, Subject::Number { hash, .. } if numbers.contains(hash))
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

    /// A number nobody has is denied only by the fleet's own key: with another one nobody has any number.
    fn check_key(&mut self) -> Result<(), Error> {
        let Subject::Number { key, .. } = self.subject else { return Ok(()) };
        if !self.contacts.is_empty() {
            return Ok(());
        }
        let proved = key.is_of(&self.state);
        self.key_proved = proved.is_some();
        let why = "it is not this fleet's key for numbers: it hashes a number of this log to something else";
        match proved {
            Some(false) => Err(Error::File { path: key.path.clone(), why: why.into() }),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Explanation {
        let calls = std::mem::take(&mut self.calls).into_list();
        let rang = calls.iter().any(Call::may_have_rung);
        let of_people =
            matches!(self.subject, Subject::Number { .. } | Subject::Contact { .. } | Subject::Call(_));
        let mut answer = match (of_people, rang) {
            (true, true) => yes(&calls),
            (true, false) if !self.key_proved => vec![
                "CANNOT TELL: no contact has this number by the key given, and no import's key lies beside it to prove \
                 that it is this fleet's; name numbers.key in the fleet's own key folder"
                    .to_owned(),
            ],
            (true, false) => {
                let no = "NO, never called: the log has no attempt that reached a carrier or may have".to_owned();
                [no].into_iter().chain(calls.iter().map(Call::told)).collect()
            }
            (false, _) => Vec::new(),
        };
        answer.extend(match self.subject {
            Subject::Moment { .. } => self.moment.take().unwrap_or_else(|| moment(&self.state)),
            Subject::Node(node) if self.lines.is_empty() => vec![format!("this log knows no node {node}")],
            Subject::Node(node) => {
                vec![format!("{} attempts were ordered on {node}", self.ordered)]
            }
            Subject::Call(call) if calls.is_empty() => {
                vec![format!("this log has no attempt {call} that took effect")]
            }
            Subject::Number { .. } if !self.key_proved => Vec::new(),
            _ => self.contacts_answer(),
        });
        let (from, to) = (when::shown(self.began_ms.unwrap_or_default()), when::shown(self.state.at));
        let checked = format!(
            "the whole log, {} events from {from} to {to}: every signature, order, term and root, and what took effect",
            self.state.size
        );
        Explanation {
            subject: self.subject.to_string(),
            called: of_people.then_some(rang).filter(|_| self.key_proved),
            answer,
            calls,
            checked,
            full: true,
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
                let (stands, until) = waits::stands(&self.state, campaign, contact, self.state.at);
                let until = until.map_or(String::new(), |at| format!(", until {}", when::shown(at)));
                let gone = if contact.erased { ", its number and fields are erased" } else { "" };
                let attempts = waits::attempts(contact);
                format!("contact {number} of campaign {campaign} {stands}{until}{gone}; {attempts}")
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

/// Who wrote it, a role with its term.
fn writer(recorded: &Recorded) -> String {
    match &recorded.origin {
        Origin::Role(role) if recorded.term > 0 => format!("{role}, term {}", recorded.term),
        other => other.to_string(),
    }
}

/// One event in words.
pub(crate) fn line(recorded: &Recorded, no_effect: Option<String>) -> Line {
    Line {
        position: recorded.sequence,
        at_ms: recorded.at,
        by: writer(recorded),
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
    /// For people: the subject, the answer, what was checked, the events.
    pub fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.subject)?;
        self.answer.iter().try_for_each(|answer| writeln!(out, "=> {answer}"))?;
        writeln!(out, "checked: {}", self.checked)?;
        self.lines.iter().try_for_each(|line| line.print(out))?;
        if self.more > 0 {
            writeln!(out, "  and {} more", self.more)?;
        }
        Ok(())
    }
}

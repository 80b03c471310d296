//! Attempts as they ended, told while the log is folded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use asterism_domain::campaign::{Attempt, AttemptStatus};
use asterism_domain::rules::CampaignRules;
use asterism_domain::{AttemptId, Event, Recorded, State, Timestamp};
use serde_json::{Value, json};

use super::Shown;
use crate::Error;
use crate::fold::Pass;
use crate::table::{Columns, Kind, Row, Sink};

pub(super) const COLUMNS: &Columns = &[
    ("campaign", Kind::Text),
    ("contact", Kind::Number),
    ("ordinal", Kind::Number),
    ("attempt", Kind::Text),
    ("number", Kind::Text),
    ("node", Kind::Text),
    ("trunk", Kind::Text),
    ("caller_id", Kind::Text),
    ("ordered_ms", Kind::Time),
    ("dialled_ms", Kind::Time),
    ("answered_ms", Kind::Time),
    ("ended_ms", Kind::Time),
    ("ring_ms", Kind::Number),
    ("talk_ms", Kind::Number),
    ("outcome", Kind::Text),
    ("cause", Kind::Number),
    ("sip_status", Kind::Number),
    ("digits", Kind::Text),
    ("flow_state", Kind::Text),
    ("never_rang", Kind::Text),
];

/// The attempts in flight of one campaign, with when they were answered.
struct Book<'a> {
    campaign: &'a str,
    shown: &'a mut Shown,
    state: State,
    answered: BTreeMap<AttemptId, Timestamp>,
    written: u64,
}

pub(super) fn each(
    pass: &mut Pass<'_>,
    campaign: &str,
    shown: &mut Shown,
    sink: &mut Sink<'_>,
) -> Result<u64, Error> {
    let mut book = Book { campaign, shown, state: State::default(), answered: BTreeMap::new(), written: 0 };
    pass.each(&mut |_, event| {
        book.hear(event, sink)?;
        Ok(ControlFlow::Continue(()))
    })?;
    let Some(known) = book.state.campaigns.get(campaign) else {
        return Err(Error::NoCampaign { id: campaign.to_owned() });
    };
    for (id, attempt) in known.in_flight.clone() {
        book.write(&id, &attempt, None, sink)?;
    }
    Ok(book.written)
}

impl Book<'_> {
    fn hear(&mut self, recorded: &Recorded, sink: &mut Sink<'_>) -> Result<(), Error> {
        let before = self.concerned(&recorded.event);
        let turned_away = before.first().map_or(0, |(id, _)| self.turned_away(id));
        self.state.apply(recorded);
        for (id, attempt) in before {
            let now = self.in_flight(&id).map(|attempt| attempt.status);
            match now {
                Some(AttemptStatus::Answered) if attempt.status < AttemptStatus::Answered => {
                    self.answered.insert(id, recorded.at);
                }
                Some(_) => {}
                None => {
                    let away = self.turned_away(&id) > turned_away;
                    self.write(&id, &attempt, Some((recorded, away)), sink)?;
                }
            }
        }
        Ok(())
    }

    /// The attempts of this campaign that an event may end.
    fn concerned(&self, event: &Event) -> Vec<(AttemptId, Attempt)> {
        let of_node = event.node().filter(|_| event.attempt().is_none());
        let node = of_node.and_then(|node| self.state.fleet.nodes.get(node));
        let ids = node.into_iter().flat_map(|node| &node.attempts).chain(event.attempt());
        let of_campaign = ids.filter(|id| id.campaign == self.campaign);
        of_campaign.filter_map(|id| Some((id.clone(), self.in_flight(id)?.clone()))).collect()
    }

    fn in_flight(&self, id: &AttemptId) -> Option<&Attempt> {
        self.state.campaigns.get(&id.campaign)?.in_flight.get(id)
    }

    fn turned_away(&self, id: &AttemptId) -> u16 {
        let campaign = self.state.campaigns.get(&id.campaign);
        let contact = campaign.and_then(|campaign| campaign.contacts.get(id.contact as usize));
        contact.map_or(0, |contact| contact.turned_away)
    }

    fn write(
        &mut self,
        id: &AttemptId,
        attempt: &Attempt,
        end: Option<(&Recorded, bool)>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let known = self.state.campaigns.get(self.campaign);
        let number =
            known.map(|known| self.shown.person(known, id.contact)).transpose()?.map(|(number, _)| number);
        let rules = known.map(|known| &known.rules);
        let answered = self.answered.remove(id);
        let some = |at: Timestamp| (at > 0).then_some(at);
        let mut row: Row = [
            ("campaign", json!(id.campaign)),
            ("contact", json!(id.contact)),
            ("ordinal", json!(id.ordinal)),
            ("attempt", json!(id.to_string())),
            ("number", json!(number)),
            ("node", json!(attempt.node)),
            ("trunk", json!(attempt.trunk)),
            ("caller_id", json!(text(&attempt.caller_id))),
            ("ordered_ms", json!(attempt.intended_at)),
            ("dialled_ms", json!(some(attempt.originated_at))),
            ("answered_ms", json!(answered)),
            ("ended_ms", json!(end.map(|(recorded, _)| recorded.at))),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (name, value) in
            end.into_iter().flat_map(|(recorded, away)| ended(&recorded.event, attempt, away, rules))
        {
            row.insert(name.to_owned(), value);
        }
        self.written += 1;
        sink(row)
    }
}

fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn ended(
    event: &Event,
    attempt: &Attempt,
    away: bool,
    rules: Option<&CampaignRules>,
) -> Vec<(&'static str, Value)> {
    let Event::AttemptEnded {
        outcome, cause, ring_ms, talk_ms, digits, path, never_rang, sip_status, ..
    } = event
    else {
        let refused = matches!(event, Event::AttemptRefused { .. });
        let refused = refused && attempt.status < AttemptStatus::Originating;
        return vec![("outcome", json!(if refused { "refused" } else { "uncertain" }))];
    };
    let came_to = rules.map_or(*outcome, |rules| attempt.comes_to(rules, *outcome, digits));
    let outcome = if away { "turned-away" } else { came_to.name() };
    vec![
        ("ring_ms", json!(ring_ms)),
        ("talk_ms", json!(talk_ms)),
        ("outcome", json!(outcome)),
        ("cause", json!(cause)),
        ("sip_status", json!(Some(sip_status).filter(|status| **status > 0))),
        ("digits", json!(text(digits))),
        ("flow_state", json!(text(path))),
        ("never_rang", json!(never_rang)),
    ]
}

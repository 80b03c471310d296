//! The calls behind an answer: was it called, when, by which node, who decided it and why.
//!
//! Only what counts is told: a decision, and the facts of the node it names that follow it. What the reducers refused is
//! not handed in.

use std::collections::BTreeMap;

use asterism_domain::ids::Listened;
use asterism_domain::logic::Verb;
use asterism_domain::{AttemptId, Event, Outcome, Recorded};
use asterism_proto::Origin;
use serde::Serialize;

use crate::when;

/// One attempt, told from the log.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// Its id: the channel it had.
    pub attempt: String,
    /// Node it was ordered on.
    pub node: String,
    /// Who decided it, with the term.
    pub decided_by: String,
    /// Position of the decision in the log.
    pub decided_at: u64,
    /// Record time of the decision, ms since 1970.
    pub decided_at_ms: u64,
    /// Why, in the decider's words.
    pub why: String,
    /// Record time of the node's word that it is dialling; none if it has not said so.
    pub dialled_at_ms: Option<u64>,
    /// Record time of the answer.
    pub answered_at_ms: Option<u64>,
    /// How it ended: an outcome, `refused` (it was never dialled) or `uncertain`; none while it is open.
    pub ended: Option<String>,
    /// Nothing left for the carrier, by the node's own proof.
    pub never_rang: bool,
    /// The flow asked for digits and hung up, and none came: `no-input` where the campaign has a retry rule for that.
    pub no_input: bool,
    #[serde(skip)]
    heard: Heard,
}

/// What decides how an answer counts.
#[derive(Debug, Clone, Default)]
struct Heard {
    machine: bool,
    asked: bool,
    hung_up: bool,
}

impl Call {
    /// It reached the carrier, or may have: nobody can prove that it did not.
    pub(super) fn may_have_rung(&self) -> bool {
        let told = self.dialled_at_ms.is_some() || self.ended.is_some();
        told && !self.never_rang && self.ended.as_deref() != Some("refused")
    }

    /// For people, in one sentence.
    pub(super) fn told(&self) -> String {
        let when = match (self.dialled_at_ms, self.ended.as_deref()) {
            (_, Some("refused")) => format!("never dialled: {} refused the order", self.node),
            _ if self.never_rang => format!("failed on {} before anything left for the carrier", self.node),
            (Some(at), _) => format!("dialled at {} by {}", when::shown(at), self.node),
            (None, Some(_)) => format!("may have been dialled by {}; it never said when", self.node),
            (None, None) => format!("ordered on {}, which has not dialled it", self.node),
        };
        let answered =
            self.answered_at_ms.map_or(String::new(), |at| format!(", answered at {}", when::shown(at)));
        let ended = match self.ended.as_deref() {
            Some("refused") => String::new(),
            Some(ended) if self.no_input => {
                format!(", ended {ended}: nothing was pressed until the flow hung up")
            }
            Some(ended) => format!(", ended {ended}"),
            None => ", not ended yet".to_owned(),
        };
        format!(
            "{}: {when}{answered}{ended}; decided by the {} at {} (#{}), because: {}",
            self.attempt,
            self.decided_by,
            when::shown(self.decided_at_ms),
            self.decided_at,
            self.why
        )
    }
}

/// The calls heard of so far, in the order they were decided.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    by_id: BTreeMap<AttemptId, usize>,
}

impl Calls {
    /// Hears an event that took effect, or, where that is not known, one that is signed by who it names.
    pub(super) fn hear(&mut self, recorded: &Recorded) {
        if let Event::AttemptIntended { attempt, node, reason, .. } = &recorded.event {
            self.by_id.entry(attempt.clone()).or_insert(self.calls.len());
            if self.by_id.get(attempt) == Some(&self.calls.len()) {
                self.calls.push(Call {
                    attempt: attempt.to_string(),
                    node: node.clone(),
                    decided_by: super::writer(recorded),
                    decided_at: recorded.sequence,
                    decided_at_ms: recorded.at,
                    why: reason.clone(),
                    dialled_at_ms: None,
                    answered_at_ms: None,
                    ended: None,
                    never_rang: false,
                    no_input: false,
                    heard: Heard::default(),
                });
            }
            return;
        }
        let known = recorded.event.attempt().and_then(|attempt| self.by_id.get(attempt));
        let Some(call) = known.and_then(|index| self.calls.get_mut(*index)) else { return };
        // A node speaks of its own calls only, and of none that has ended.
        if recorded.origin != Origin::Node(call.node.clone()) || call.ended.is_some() {
            return;
        }
        match &recorded.event {
            Event::AttemptOriginating { .. } => drop(call.dialled_at_ms.get_or_insert(recorded.at)),
            Event::AttemptAnswered { .. } => drop(call.answered_at_ms.get_or_insert(recorded.at)),
            Event::AttemptRefused { .. } => call.ended = Some("refused".to_owned()),
            Event::AttemptUncertain { .. } => call.ended = Some("uncertain".to_owned()),
            Event::MachineJudged { verdict, .. } => call.heard.machine = *verdict == Listened::Machine,
            Event::StepTaken { reply, .. } => match Verb::parse(reply) {
                Ok(Verb::Gather { .. }) => call.heard.asked = true,
                Ok(Verb::Hangup { .. }) => call.heard.hung_up = true,
                _ => {}
            },
            Event::AttemptEnded { outcome, never_rang, digits, .. } => {
                let answered = call.answered_at_ms.is_some() || *outcome == Outcome::Answered;
                let Heard { machine, asked, hung_up } = call.heard;
                call.never_rang = *never_rang && call.answered_at_ms.is_none();
                call.no_input = answered && !machine && asked && hung_up && digits.is_empty();
                let outcome = if answered && machine { Outcome::Machine } else { *outcome };
                call.ended = Some(outcome.name().to_owned());
            }
            _ => {}
        }
    }

    /// Everything on a node that ended: nobody can tell any more.
    pub(super) fn lost(&mut self, node: &str) {
        for call in self.calls.iter_mut().filter(|call| call.node == node && call.ended.is_none()) {
            call.ended = Some("uncertain".to_owned());
        }
    }

    pub(super) fn into_list(self) -> Vec<Call> {
        self.calls
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_domain::event::{EventRef, StepSource};
    use asterism_domain::trunk::health::Heard;

    use super::*;

    fn told(did: &[&str], digits: &str, machine: bool) -> String {
        let attempt: AttemptId = "c-1-1".parse().unwrap();
        let by = |origin, event| Recorded {
            sequence: 1,
            at: 1,
            origin,
            id: EventRef { origin: String::new(), epoch: vec![], frame: 1, index: 0 },
            term: 1,
            command_id: String::new(),
            actor: String::new(),
            event,
        };
        let mut events = vec![Event::AttemptAnswered { attempt: attempt.clone() }];
        if machine {
            let (attempt, cause) = (attempt.clone(), String::new());
            events.push(Event::MachineJudged { attempt, verdict: Listened::Machine, cause, took_ms: 1 });
        }
        events.extend((1..).zip(did).map(|(step, reply)| Event::StepTaken {
            call: attempt.clone(),
            step,
            reply: (*reply).to_owned(),
            source: StepSource::Fallback,
            decision: None,
            input: String::new(),
            reason: String::new(),
            tags: vec![],
        }));
        events.push(Event::AttemptEnded {
            attempt: attempt.clone(),
            outcome: Outcome::Answered,
            cause: 16,
            reason: 4,
            ring_ms: 1,
            talk_ms: 1,
            digits: digits.to_owned(),
            path: String::new(),
            never_rang: false,
            sip_status: 0,
            heard: Heard::Ringing,
        });
        let intended = Event::AttemptIntended {
            attempt,
            node: "i-1".into(),
            trunk: "t".into(),
            not_before_ms: 1,
            not_after_ms: 2,
            reason: "free slot".into(),
            closes_at_ms: 0,
            caller_id: String::new(),
            manifest: String::new(),
        };
        let mut calls = Calls::default();
        calls.hear(&by(Origin::Role(asterism_proto::Role::Dialer), intended));
        for event in events {
            calls.hear(&by(Origin::Node("i-1".into()), event));
        }
        calls.into_list().remove(0).told()
    }

    #[test]
    fn an_answer_is_told_with_what_came_of_it() {
        let silent = ["gather|menu|1|5|2|#", "hangup|16"];
        let said = told(&silent, "", false);
        assert!(said.contains("ended answered: nothing was pressed until the flow hung up;"), "{said}");
        for (did, digits) in [(&silent[..], "1"), (&silent[..1], ""), (&silent[1..], "")] {
            let said = told(did, digits, false);
            assert!(said.contains(", ended answered; decided"), "{said}");
        }
        assert!(told(&silent, "", true).contains(", ended machine; decided"));
    }
}

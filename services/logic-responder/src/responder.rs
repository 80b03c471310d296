//! From question to answer: check it, decide, commit, answer with the place of the decision in the log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use asterism_domain::logic::Verb;
use asterism_domain::wire::{self, Envelope};
use asterism_domain::{AttemptId, Event, logic};
use asterism_proto::v1::{Bridge, ContactField, StepAnswer, StepQuestion};
use asterism_runtime::config::LogicConfig;
use asterism_runtime::health::Counter;
use asterism_runtime::spool::Spool;

use crate::backend::{Backends, Failure};
use crate::cache::Cache;
use crate::commit::{Commits, Place, Writer};
use crate::flows::Flows;
use crate::{Deps, Error};

/// Longest time a question may wait, whatever it asks for.
const MAX_DEADLINE: Duration = Duration::from_secs(10);
/// Longest status of a verb, in bytes; the dialplan's own limit.
const MAX_STATUS_BYTES: usize = 32;
/// Longest result of a verb, in bytes; the dialplan's own limit.
const MAX_RESULT_BYTES: usize = 192;

/// Why there is no answer. The agent takes the flow's fallback then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// Stable code, `AST-L0xx`.
    pub code: &'static str,
    /// What is wrong, without anything the caller pressed.
    pub reason: String,
}

impl Refusal {
    /// A question that cannot be read.
    pub fn malformed(why: &str) -> Self {
        Self { code: "AST-Q001", reason: format!("the question is malformed: {why}") }
    }
}

impl From<Refusal> for StepAnswer {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code.to_owned(), reason: refusal.reason, ..Self::default() }
    }
}

/// Answers questions. One per process; shared by all that are answered at the same time.
#[derive(Debug)]
pub struct Responder {
    flows: Flows,
    backends: Backends,
    commits: Commits,
    origin: String,
    epoch: Vec<u8>,
    deadline: Duration,
    answered: Counter,
    refused: Counter,
}

impl Responder {
    /// A responder with an origin of its own, and what stops its writer in order.
    pub fn start(config: &LogicConfig, deps: &Deps, spool: &Spool) -> Result<(Self, Writer), Error> {
        let (commits, writer) = Writer::start(deps, spool)?;
        let metrics = deps.health.metrics();
        let cache = Cache::new(config, &deps.key, metrics)?;
        let responder = Self {
            flows: Flows::new(deps.store.clone()),
            backends: Backends::new(config, &deps.fleet, Some(&deps.bus), cache)?,
            commits,
            origin: writer.origin().to_string(),
            epoch: writer.epoch().to_vec(),
            deadline: Duration::from_millis(config.deadline_ms).min(MAX_DEADLINE),
            answered: metrics.counter("asterism_logic_answers_total", "Questions answered with a verb.")?,
            refused: metrics.counter("asterism_logic_refusals_total", "Questions refused.")?,
        };
        Ok((responder, writer))
    }

    /// The origin its decisions are written by.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Answers one question. With a verb only once its decision is in the stream.
    pub async fn answer(&self, question: &StepQuestion) -> StepAnswer {
        match self.decide_and_commit(question).await {
            Ok(answer) => {
                self.answered.increment();
                answer
            }
            Err(refusal) => {
                self.refused.increment();
                tracing::warn!(
                    code = refusal.code,
                    reason = refusal.reason,
                    call = shown(&question.call),
                    "refused"
                );
                refusal.into()
            }
        }
    }

    async fn decide_and_commit(&self, question: &StepQuestion) -> Result<StepAnswer, Refusal> {
        let call = check(question)?;
        let asked = Duration::from_millis(question.deadline_ms);
        let deadline = if asked.is_zero() { self.deadline } else { asked.min(MAX_DEADLINE) };
        let late = |what: &str| {
            let reason = format!("{what} within {} ms", deadline.as_millis());
            Refusal { code: "AST-Q005", reason }
        };
        let until = tokio::time::Instant::now() + deadline;
        let flow = tokio::time::timeout_at(until, self.flows.get(&question.flow))
            .await
            .map_err(|_| late("the flow could not be fetched"))??;
        let began = tokio::time::Instant::now();
        let (next, failure) = step(&self.backends, &flow, question, until).await;
        // Told before the decision it leads to: whoever reads the log meets the reason first.
        if let Some(failure) = failure {
            let told = failed(call.clone(), question, failure, began.elapsed());
            let event = wire::encode(&told, &envelope());
            drop(tokio::time::timeout_at(until, self.commits.commit(event)).await);
        }
        let bridge = bridge(&flow, &next.reply);
        let event = wire::encode(&decided(call, question, &next), &envelope());
        let Place { frame, index } = tokio::time::timeout_at(until, self.commits.commit(event))
            .await
            .map_err(|_| late("the stream did not acknowledge the decision"))??;
        Ok(StepAnswer {
            reply: next.reply,
            next_state: next.next_state,
            origin: self.origin.clone(),
            epoch: self.epoch.clone(),
            frame,
            index,
            code: String::new(),
            reason: next.reason.unwrap_or_default().to_owned(),
            vars: wire_vars(&next.vars),
            tags: next.tags,
            bridge,
        })
    }
}

/// The step that follows, by the flow, or by its back end where the call is in a state of that; and what was wrong there.
pub async fn step(
    backends: &Backends,
    flow: &logic::Flow,
    question: &StepQuestion,
    until: tokio::time::Instant,
) -> (logic::Next, Option<Failure>) {
    let backend = flow
        .backend()
        .filter(|_| question.step <= logic::MAX_STEPS && !flow.has_state(&question.state) && !over(question));
    let Some(backend) = backend else { return (decide(flow, question), None) };
    let (fields, vars) = (named(&question.fields), named(&question.vars));
    let (state, status, digits) = (&question.state, &question.status, &question.digits);
    let asked = logic::Asked { state, status, digits, fields: &fields, vars: &vars };
    let left = until.saturating_duration_since(tokio::time::Instant::now());
    backends.next(flow, backend, question, (&asked, left)).await
}

/// Whom a reply dials: beside the answer, as the log has the destination's name alone.
fn bridge(flow: &logic::Flow, reply: &str) -> Option<Bridge> {
    let Ok(Verb::Dial { to, .. }) = Verb::parse(reply) else { return None };
    let known = flow.destination(to.as_str())?;
    let caller_id = known.caller_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
    Some(Bridge { address: known.address.as_str().to_owned(), caller_id })
}

/// Whether the call has ended: its back end is not asked about that.
fn over(question: &StepQuestion) -> bool {
    matches!(question.verb.as_str(), "hangup" | "optout")
}

/// The verb that follows. A call that never ends is ended: nobody waits for a machine that lets time pass.
fn decide(flow: &logic::Flow, question: &StepQuestion) -> logic::Next {
    if question.step > logic::MAX_STEPS {
        return logic::Next {
            reply: logic::HANGUP_REPLY.to_owned(),
            next_state: question.state.clone(),
            reason: Some("the call has taken too many steps"),
            vars: named(&question.vars),
            tags: Vec::new(),
        };
    }
    let (fields, vars) = (named(&question.fields), named(&question.vars));
    let (state, status, digits) = (&question.state, &question.status, &question.digits);
    logic::next(flow, &logic::Asked { state, status, digits, fields: &fields, vars: &vars })
}

fn decided(call: AttemptId, question: &StepQuestion, next: &logic::Next) -> Event {
    Event::StepDecided {
        call,
        step: question.step,
        flow: question.flow.clone(),
        state: question.state.clone(),
        next_state: next.next_state.clone(),
        reply: next.reply.clone(),
        input: format!("{} {}", question.status, question.digits).trim().to_owned(),
        tags: next.tags.clone(),
    }
}

fn failed(call: AttemptId, question: &StepQuestion, failure: Failure, elapsed: Duration) -> Event {
    tracing::warn!(code = failure.code, reason = failure.reason, call = %call, "a back end failed");
    Event::LogicFailed {
        call,
        step: question.step,
        flow: question.flow.clone(),
        code: failure.code.to_owned(),
        reason: failure.reason,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    }
}

fn wire_vars(vars: &logic::Fields) -> Vec<ContactField> {
    vars.iter().map(|(name, value)| ContactField { name: name.clone(), value: value.clone() }).collect()
}

fn envelope() -> Envelope {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Envelope { occurred_at_ms: u64::try_from(now.as_millis()).unwrap_or_default(), ..Envelope::default() }
}

/// Refuses what no agent of ours asks, before any of it gets into an event or a name.
fn check(question: &StepQuestion) -> Result<AttemptId, Refusal> {
    let call = question.call.parse().map_err(|_| Refusal::malformed("the call is no attempt id"))?;
    let is_flow = question.flow.len() == 32
        && question.flow.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let plain = |text: &str, max_bytes: usize, also: &[u8]| {
        text.len() <= max_bytes
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
    };
    if !is_flow {
        Err(Refusal::malformed("the flow is no id of 32 hex digits"))
    } else if question.step == 0 {
        Err(Refusal::malformed("steps count from 1"))
    } else if !question.state.is_empty() && !logic::is_name(&question.state) {
        Err(Refusal::malformed("the state is no name"))
    } else if !plain(&question.status, MAX_STATUS_BYTES, b"_-") {
        Err(Refusal::malformed("the status is no word"))
    } else if !plain(&question.digits, MAX_RESULT_BYTES, b"._-*#") {
        Err(Refusal::malformed("the digits are none"))
    } else if !fit(&question.fields) {
        Err(Refusal::malformed("the contact's fields are too many or too long"))
    } else if !logic::are_vars(question.vars.iter().map(|var| (var.name.as_str(), var.value.as_str()))) {
        Err(Refusal::malformed("the call's variables are none"))
    } else {
        Ok(call)
    }
}

fn named(values: &[ContactField]) -> logic::Fields {
    values.iter().map(|value| (value.name.clone(), value.value.clone())).collect()
}

/// Whether a contact's fields are as many as a list can have. What is in them is only ever compared.
fn fit(fields: &[ContactField]) -> bool {
    let bytes = fields.iter().map(|field| field.name.len() + field.value.len()).sum::<usize>();
    fields.len() <= logic::MAX_FIELDS && bytes <= logic::MAX_FIELDS_BYTES
}

/// A call's id for a log line, if it is one.
fn shown(call: &str) -> &str {
    if call.parse::<AttemptId>().is_ok() { call } else { "(malformed)" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const FLOW: &str = include_str!("../../../compose/demo/flow.toml");

    fn question() -> StepQuestion {
        let flow = logic::flow_id(FLOW.as_bytes());
        StepQuestion {
            call: "demo-7-1".into(),
            step: 3,
            flow,
            state: "menu".into(),
            ..StepQuestion::default()
        }
    }

    fn refused(change: impl FnOnce(&mut StepQuestion)) {
        let mut question = question();
        change(&mut question);
        assert_eq!(check(&question).unwrap_err().code, "AST-Q001", "{question:?}");
    }

    #[test]
    fn what_no_agent_asks_is_refused() {
        assert!(check(&question()).is_ok());
        refused(|q| q.call = "1763830000.12".into());
        refused(|q| q.flow = "../../secret".into());
        refused(|q| q.flow = q.flow.to_uppercase());
        refused(|q| q.step = 0);
        refused(|q| q.state = "a b".into());
        refused(|q| q.state = "s".repeat(65));
        refused(|q| q.status = "OK\n".into());
        refused(|q| q.status = "S".repeat(33));
        refused(|q| q.digits = "1;2".into());
        refused(|q| q.digits = "1".repeat(193));
        refused(|q| q.vars = vec![ContactField { name: "${SHELL}".into(), value: "x".into() }]);
        refused(|q| q.vars = vec![ContactField { name: "pin".into(), value: "x".repeat(65) }]);
        refused(|q| {
            let var = |n| ContactField { name: format!("v{n}"), value: "x".into() };
            q.vars = (0..17).map(var).collect();
        });
        refused(|q| q.fields = vec![ContactField::default(); 33]);
        refused(|q| q.fields = vec![ContactField { name: "note".into(), value: "x".repeat(1_024) }]);
    }

    #[test]
    fn a_call_that_never_ends_is_ended() {
        let flow = logic::Flow::parse(FLOW).unwrap();
        let ask = |step| {
            decide(&flow, &StepQuestion { step, status: "OK".into(), digits: "1".into(), ..question() })
        };
        assert_eq!(ask(logic::MAX_STEPS).reply, "play|thanks|0");
        assert_eq!(ask(logic::MAX_STEPS + 1).reply, "hangup|16");
    }

    proptest! {
        #[test]
        fn a_question_that_passes_makes_an_event_that_reads_back(
            call in "[a-z]{1,8}-[0-9]{1,4}-[1-9]", step in any::<u32>(), state in "\\PC{0,70}",
            status in "\\PC{0,40}", digits in "\\PC{0,200}"
        ) {
            let question = StepQuestion { call, step, state, status, digits, ..question() };
            if let Ok(call) = check(&question) {
                let next = decide(&logic::Flow::parse(FLOW).unwrap(), &question);
                let event = decided(call, &question, &next);
                let bytes = wire::encode(&event, &envelope());
                prop_assert!(bytes.len() < 2048);
                prop_assert_eq!(wire::decode_bytes(&bytes).unwrap().1, event);
            }
        }
    }
}

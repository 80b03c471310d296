//! Back ends: flows whose answers come from elsewhere, by HTTP, XML-RPC or the bus.
//!
//! An answer that is late, broken or not in the schema never reaches a caller: the flow's own fallback does, and the log says
//! what was wrong. Reading order: this file (who is asked, how often, how long), [`breaker`], [`http`], [`xmlrpc`].

pub mod breaker;
pub mod http;
pub mod xmlrpc;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use asterism_domain::logic::web::{self as words, Follows, WebQuestion, WebReply};
use asterism_domain::logic::{Asked, Backend, BackendKind, Flow, Next};
use asterism_nats::{Bus, Secret, Subject};
use asterism_proto::v1::StepQuestion;
use asterism_runtime::config::LogicConfig;
use asterism_runtime::web;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::ClientConfig;

use crate::cache::{Cache, Given, Said};
use breaker::Breaker;
use http::{Http, MAX_ANSWER_BYTES};

/// Most questions a back end is asked at the same time; further ones get the fallback at once.
const MAX_AT_ONCE: usize = 256;
/// Most back ends remembered; the one unused for longest goes first.
const MAX_BACKENDS: usize = 64;
/// What of a step's deadline is kept for the commit of the decision.
const COMMIT_RESERVE: Duration = Duration::from_millis(150);

/// Stable codes of failures. Those of answers that cannot be used are the domain's.
pub mod code {
    /// No answer in time.
    pub const LATE: &str = "AST-Q120";
    /// Not there, or it broke off, or it said that it could not.
    pub const AWAY: &str = "AST-Q121";
    /// It failed so often that it is left alone for a while.
    pub const RESTS: &str = "AST-Q122";
    /// It is asked too much at the same time.
    pub const BUSY: &str = "AST-Q123";
    /// The key its flow names is not in this responder's configuration.
    pub const NO_KEY: &str = "AST-Q124";
}

/// Why a back end gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable code, `AST-Q1xx`.
    pub code: &'static str,
    /// What is wrong, without anything a caller pressed.
    pub reason: String,
    /// Nothing of the question can have reached it.
    pub is_unsent: bool,
}

impl Failure {
    fn of(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), is_unsent: false }
    }

    /// Whether it answered, and the answer cannot be used.
    pub(crate) fn is_unusable(&self) -> bool {
        use words::code::{
            BAD_NAME, MISSING_KEY, OUT_OF_BOUNDS, UNKNOWN_KEY, UNKNOWN_PROMPT, UNKNOWN_STATE, UNREADABLE,
            VERB, WRONG_TYPE,
        };
        matches!(
            self.code,
            UNREADABLE
                | UNKNOWN_KEY
                | WRONG_TYPE
                | MISSING_KEY
                | OUT_OF_BOUNDS
                | BAD_NAME
                | VERB
                | UNKNOWN_PROMPT
                | UNKNOWN_STATE
        )
    }

    /// Not there.
    fn away(reason: impl Into<String>) -> Self {
        Self::of(code::AWAY, reason)
    }
}

/// Why the back ends cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key cannot be used.
    #[error("AST-Q125: logic.keys.{name}, {path}: {why}")]
    Key {
        /// Its name.
        name: String,
        /// Its file.
        path: std::path::PathBuf,
        /// What is wrong; never the secret.
        why: String,
    },
    /// The certificates cannot be used.
    #[error("AST-Q126: logic.ca_file {0}")]
    Trust(#[from] web::TrustError),
}

/// The back ends of this process.
#[derive(Debug)]
pub struct Backends {
    fleet: String,
    bus: Option<Bus>,
    keys: BTreeMap<String, Secret>,
    tls: Arc<ClientConfig>,
    known: Mutex<BTreeMap<String, Arc<Known>>>,
    cache: Cache,
}

/// One back end.
#[derive(Debug)]
struct Known {
    breaker: Mutex<Breaker>,
    at_once: Semaphore,
    /// None for the bus.
    http: Option<Http>,
    used: Mutex<Instant>,
}

impl Backends {
    /// None asked yet. Reads the keys. Without a bus those on it are away.
    pub fn new(
        config: &LogicConfig,
        fleet: &str,
        bus: Option<&Bus>,
        cache: Cache,
    ) -> Result<Self, SetupError> {
        let mut keys = BTreeMap::new();
        for (name, path) in &config.keys {
            let bad = |why: String| SetupError::Key { name: name.clone(), path: path.clone(), why };
            let secret = Secret::from_file(path).map_err(|error| bad(error.to_string()))?;
            if secret.reveal().len() < web::SECRET_MIN_BYTES {
                return Err(bad(format!("a secret has at least {} characters", web::SECRET_MIN_BYTES)));
            }
            keys.insert(name.clone(), secret);
        }
        let tls = web::trust(config.ca_file.as_deref())?;
        Ok(Self { fleet: fleet.to_owned(), bus: bus.cloned(), keys, tls, known: Mutex::default(), cache })
    }

    /// The step a flow's back end decides, or the fallback and why.
    pub async fn next(
        &self,
        flow: &Flow,
        backend: &Backend,
        question: &StepQuestion,
        (asked, left): (&Asked<'_>, Duration),
    ) -> (Next, Option<Failure>) {
        let limit = Duration::from_millis(backend.timeout_ms.into()).min(left.saturating_sub(COMMIT_RESERVE));
        let question = WebQuestion {
            version: 1,
            fleet: &self.fleet,
            campaign: &question.campaign,
            flow: flow.name(),
            call: &question.call,
            step: question.step,
            state: asked.state,
            verb: &question.verb,
            status: asked.status,
            digits: asked.digits,
            fields: asked.fields,
            vars: asked.vars,
        };
        let ask = async |left| self.ask(flow, backend, &question, left).await;
        match self.cache.answer(flow, &question, limit, ask).await {
            Ok(Given { reply, instead_of }) => (taken(flow, &reply, asked), instead_of),
            Err(failure) => {
                let next = flow.enter(flow.fallback_state(), asked);
                (Next { reason: Some("the back end gave no answer that can be used"), ..next }, Some(failure))
            }
        }
    }

    fn known(&self, flow: &Flow, backend: &Backend) -> Result<Arc<Known>, Failure> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(flow.id()) {
            *known.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return Ok(known.clone());
        }
        let secret = match backend.key.as_str() {
            "" => None,
            name => Some(self.keys.get(name).cloned().ok_or_else(|| {
                Failure::of(
                    code::NO_KEY,
                    format!("logic.keys has no {name}, which the flow's back end is to be asked with"),
                )
            })?),
        };
        let http = match backend.kind {
            BackendKind::Nats => None,
            BackendKind::Http | BackendKind::XmlRpc => {
                Some(Http::new(&backend.url, secret, self.tls.clone())?)
            }
        };
        let known = Arc::new(Known {
            breaker: Mutex::default(),
            at_once: Semaphore::new(MAX_AT_ONCE),
            http,
            used: Mutex::new(Instant::now()),
        });
        all.insert(flow.id().to_owned(), known.clone());
        while all.len() > MAX_BACKENDS {
            let used = |known: &Known| *known.used.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = all.iter().min_by_key(|(_, known)| used(known)).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            all.remove(&oldest);
        }
        Ok(known)
    }

    async fn ask(
        &self,
        flow: &Flow,
        backend: &Backend,
        question: &WebQuestion<'_>,
        limit: Duration,
    ) -> Result<Said, Failure> {
        let known = self.known(flow, backend)?;
        // Before the breaker: that too many ask is no fault of the back end's.
        let _permit = known
            .at_once
            .try_acquire()
            .map_err(|_| Failure::of(code::BUSY, format!("{MAX_AT_ONCE} questions wait for it already")))?;
        if !known.breaker().admits(Instant::now()) {
            return Err(Failure::of(code::RESTS, "it failed too often and is asked again in a while"));
        }
        let result = self.ask_admitted(&known, flow, backend, question, limit).await;
        match &result {
            Ok(_) => known.breaker().well(),
            Err(failure) => {
                if known.breaker().ill(Instant::now()) {
                    tracing::warn!(
                        flow = flow.name(),
                        reason = failure.reason,
                        "a back end is left alone for a while"
                    );
                }
            }
        }
        result
    }

    async fn ask_admitted(
        &self,
        known: &Known,
        flow: &Flow,
        backend: &Backend,
        question: &WebQuestion<'_>,
        limit: Duration,
    ) -> Result<Said, Failure> {
        let question = serde_json::to_value(question).map_err(|error| Failure::away(error.to_string()))?;
        let one = || self.send(known, flow, backend, &question, limit);
        let answer = if backend.idempotent {
            // Both together have the time of one.
            let both = tokio::time::timeout(limit, hedged(one, limit / 2)).await;
            both.unwrap_or_else(|_| Err(late(limit)))
        } else {
            one().await
        }?;
        let reply = flow.read_reply(&answer).map_err(|problems| {
            let more = problems.len().saturating_sub(1);
            let first = problems.first().map_or_else(String::new, ToString::to_string);
            let code = problems.first().map_or(words::code::UNREADABLE, |problem| problem.code);
            let reason = if more == 0 { first } else { format!("{first} (and {more} more)") };
            Failure::of(code, reason)
        })?;
        Ok((answer, Arc::new(reply)))
    }

    /// One request, one answer.
    async fn send(
        &self,
        known: &Known,
        flow: &Flow,
        backend: &Backend,
        words: &Value,
        limit: Duration,
    ) -> Result<Value, Failure> {
        let late = |_| late(limit);
        let at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match (backend.kind, &known.http) {
            (BackendKind::XmlRpc, Some(http)) => {
                let body = Bytes::from(xmlrpc::call(words));
                let answer =
                    tokio::time::timeout(limit, http.post(body, "text/xml", at_s)).await.map_err(late)??;
                match xmlrpc::response(&answer).map_err(|error| unreadable(&error))? {
                    xmlrpc::Response::Value(value) => Ok(value),
                    // Its words may hold what was pressed, and the log forgets nothing.
                    xmlrpc::Response::Fault { code, text } => {
                        tracing::debug!(code, text, "a fault");
                        Err(Failure::away(format!("it said fault {code}")))
                    }
                }
            }
            (BackendKind::Http, Some(http)) => {
                let body = Bytes::from(words.to_string());
                let answer = http.post(body, "application/json", at_s);
                let answer = tokio::time::timeout(limit, answer).await.map_err(late)??;
                serde_json::from_slice(&answer).map_err(|error| unreadable(&error))
            }
            _ => {
                let away = |error: &dyn std::fmt::Display| Failure::away(error.to_string());
                let subject = Subject::backend(&self.fleet, flow.name()).map_err(|error| away(&error))?;
                let bus = self.bus.as_ref().ok_or_else(|| Failure::away("there is no bus here"))?;
                let answer = bus.request(&subject, words.to_string().into_bytes(), limit);
                let answer =
                    tokio::time::timeout(limit, answer).await.map_err(late)?.map_err(|error| away(&error))?;
                if answer.len() > MAX_ANSWER_BYTES {
                    return Err(Failure::away(format!("its answer is longer than {MAX_ANSWER_BYTES} bytes")));
                }
                serde_json::from_slice(&answer).map_err(|error| unreadable(&error))
            }
        }
    }
}

impl Known {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn late(limit: Duration) -> Failure {
    Failure::of(code::LATE, format!("no answer within {} ms", limit.as_millis()))
}

/// What cannot be read is not shown: it may hold anything.
fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    let reason: String = error.to_string().chars().filter(|char| !char.is_control()).take(200).collect();
    Failure::of(words::code::UNREADABLE, reason)
}

/// Asks once more where the first answer takes long, or is none: the first good one counts.
async fn hedged<F>(mut one: impl FnMut() -> F, after: Duration) -> Result<Value, Failure>
where
    F: Future<Output = Result<Value, Failure>>,
{
    let first = one();
    tokio::pin!(first);
    if let Ok(answer) = tokio::time::timeout(after, &mut first).await {
        return match answer {
            Ok(answer) => Ok(answer),
            Err(_) => one().await,
        };
    }
    let second = one();
    tokio::pin!(second);
    tokio::select! {
        answer = &mut first => match answer { Ok(answer) => Ok(answer), Err(_) => second.await },
        answer = &mut second => match answer { Ok(answer) => Ok(answer), Err(_) => first.await },
    }
}

/// The step an answer makes.
fn taken(flow: &Flow, reply: &WebReply, asked: &Asked<'_>) -> Next {
    let mut vars = asked.vars.clone();
    vars.extend(reply.set.iter().cloned());
    match &reply.then {
        Follows::Verb(verb, state) => {
            // What was read is written: the schema allows nothing the grammar does not.
            let text = verb.encode().unwrap_or_else(|_| asterism_domain::logic::HANGUP_REPLY.to_owned());
            Next { reply: text, next_state: state.clone(), reason: None, vars, tags: reply.tags.clone() }
        }
        Follows::Goto(state) => {
            let next = flow.enter(state, &Asked { vars: &vars, ..*asked });
            let mut tags = reply.tags.clone();
            tags.extend(next.tags.iter().filter(|tag| !tags.contains(tag)).cloned().collect::<Vec<_>>());
            tags.truncate(asterism_domain::logic::MAX_TAGS);
            Next { tags, ..next }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    const AFTER: Duration = Duration::from_millis(100);

    /// Answers of the first and the second request: after so long, and whether well.
    async fn asked(first: (u64, bool), second: (u64, bool)) -> (Result<Value, Failure>, u32) {
        let count = Cell::new(0);
        let one = || {
            count.set(count.get() + 1);
            let (number, (wait_ms, well)) = (count.get(), if count.get() == 1 { first } else { second });
            async move {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await; // virtual
                if well { Ok(Value::from(number)) } else { Err(Failure::away("away")) }
            }
        };
        let answer = hedged(one, AFTER).await;
        (answer, count.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_request_goes_out_where_the_first_is_slow_or_fails_and_the_first_good_answer_counts() {
        assert_eq!(asked((50, true), (0, true)).await, (Ok(1.into()), 1));
        assert_eq!(asked((500, true), (10, true)).await, (Ok(2.into()), 2));
        assert_eq!(asked((150, true), (900, true)).await, (Ok(1.into()), 2));
        assert_eq!(asked((50, false), (10, true)).await, (Ok(2.into()), 2));
        assert_eq!(asked((500, true), (10, false)).await, (Ok(1.into()), 2));
        assert!(asked((50, false), (10, false)).await.0.is_err());
    }
}

//! Logic: the flow of a campaign and the one question it answers, "what next?".
//!
//! A [`Flow`] is a checked document: every state it names exists and can be reached, nothing loops without waiting,
//! and the fallback ends by itself. So [`next`] is total: whatever a call brings, there is a verb for it.
//!
//! Reading order: this file, `read` (TOML to a draft, with places), `check` (what must hold between states),
//! `problem` (codes and places).

#![deny(clippy::float_arithmetic)]

mod check;
mod problem;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

pub use problem::{FlowProblem, code};

/// Longest flow document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Most states of a flow.
pub const MAX_STATES: usize = 256;
/// Longest name of a flow, a state or a prompt, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most prompts one verb plays. Keeps the reply far below the 1,000 bytes a dialplan takes.
pub const MAX_PROMPTS: usize = 8;
/// Most digits one gather takes, as the dialplan's grammar has it.
pub const MAX_DIGITS: u32 = 32;
/// Longest wait for a digit, in seconds.
pub const MAX_TIMEOUT_S: u32 = 60;
/// Most attempts of one gather.
pub const MAX_ATTEMPTS: u32 = 9;
/// Longest pause, in seconds.
pub const MAX_PAUSE_S: u32 = 600;
/// Longest value a `match` tells apart, in bytes.
pub const MAX_MATCH_BYTES: usize = 64;
/// Most fields of one contact that go with a call, and most bytes of all of them, names included.
pub const MAX_FIELDS: usize = 32;
/// See [`MAX_FIELDS`].
pub const MAX_FIELDS_BYTES: usize = 1_024;
/// Highest Q.850 cause.
pub const MAX_CAUSE: u32 = 127;
/// Most answers one state tells apart.
pub const MAX_ANSWERS: usize = 64;
/// Most verbs from the fallback to its hangup, both included.
pub const MAX_FALLBACK_STEPS: usize = 5;
/// Most problems reported at once.
pub const MAX_PROBLEMS: usize = 100;
/// Most steps of one call. A caller who only lets time pass stays in no flow for ever.
pub const MAX_STEPS: u32 = 256;
/// The reply to a call that is past [`MAX_STEPS`] or has hung up already: Q.850 cause 16, a normal end.
pub const HANGUP_REPLY: &str = "hangup|16";

/// A flow that passed every check. Cheap to ask, never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    id: String,
    name: String,
    states: Vec<State>,
    by_name: BTreeMap<String, usize>,
    start: usize,
    fallback: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    name: String,
    reply: String,
    prompts: Vec<String>,
    then: Then,
}

/// What follows once a state's verb is done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    /// Nothing: the call is over.
    End,
    /// By what was pressed; without keys always `otherwise`.
    Go { on: BTreeMap<String, usize>, otherwise: usize },
    /// At once, by a field of the contact; the state has no verb.
    Match { field: String, on: BTreeMap<String, usize>, otherwise: usize },
}

/// A contact's own fields, by name.
pub type Fields = BTreeMap<String, String>;

/// What a call does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Verb and arguments as the dialplan splits them: `play|welcome|0`.
    pub reply: String,
    /// The state whose verb this is: what the next question brings back.
    pub next_state: String,
    /// Why this is the fallback and not what the flow says; `None` for an ordinary step.
    pub reason: Option<&'static str>,
}

impl Flow {
    /// Reads and checks a document. All problems are reported at once, in the order of the document.
    pub fn parse(text: &str) -> Result<Self, Vec<FlowProblem>> {
        check::flow(text)
    }

    /// [`Flow::parse`] for bytes that may be no text at all.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, Vec<FlowProblem>> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                let mut problems = problem::Problems::new(good);
                problems.add(
                    code::DOCUMENT,
                    &(good.len()..good.len()),
                    "",
                    "not UTF-8 from here on; save the file as UTF-8",
                );
                Err(problems.into_sorted())
            }
        }
    }

    /// The first 32 hex digits of the document's SHA-256: one text, one id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name people gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every prompt the flow can play, each once, in alphabetical order.
    pub fn prompts(&self) -> Vec<&str> {
        let names: BTreeSet<&str> =
            self.states.iter().flat_map(|s| s.prompts.iter().map(String::as_str)).collect();
        names.into_iter().collect()
    }

    /// Every field of a contact the flow looks at, each once, in alphabetical order.
    pub fn fields(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self
            .states
            .iter()
            .filter_map(|state| match &state.then {
                Then::Match { field, .. } => Some(field.as_str()),
                Then::End | Then::Go { .. } => None,
            })
            .collect();
        names.into_iter().collect()
    }

    /// What an agent does alone when no answer comes in time: the verb of the fallback state.
    pub fn fallback_reply(&self) -> &str {
        &self.states[self.fallback].reply
    }

    /// The fallback state's name.
    pub fn fallback_state(&self) -> &str {
        &self.states[self.fallback].name
    }

    /// Names of all states, in the order of the document.
    pub fn states(&self) -> impl Iterator<Item = &str> {
        self.states.iter().map(|state| state.name.as_str())
    }
}

/// The id a document has as a flow, whether or not it is a good one.
pub fn flow_id(document: &[u8]) -> String {
    let mut id = hex::encode(Sha256::digest(document));
    id.truncate(32);
    id
}

/// The verb after `state`, whose own verb ended with `status` and `digits`. An empty `state` is the start of a call.
///
/// Total: a state the flow does not have leads to the fallback, with the reason named. `fields` are the contact's: data a
/// `match` compares with what the flow names, and nothing more.
pub fn next(flow: &Flow, state: &str, status: &str, digits: &str, fields: &Fields) -> Next {
    if state.is_empty() {
        return flow.step(flow.start, fields, None);
    }
    let Some(done) = flow.by_name.get(state) else {
        return flow.step(flow.fallback, fields, Some("the flow has no such state"));
    };
    match &flow.states[*done].then {
        // The channel is gone, asking again is a repeat, and so is the answer; a call is never in a state without a verb.
        Then::End | Then::Match { .. } => flow.step(*done, fields, None),
        Then::Go { on, otherwise } => {
            // A verb that failed gave no digits a caller meant.
            let failed = matches!(status, "ERROR" | "FAILED" | "HANGUP");
            let pressed = if failed { None } else { on.get(digits) };
            flow.step(*pressed.unwrap_or(otherwise), fields, None)
        }
    }
}

impl Flow {
    fn step(&self, index: usize, fields: &Fields, reason: Option<&'static str>) -> Next {
        let state = &self.states[self.with_verb(index, fields)];
        Next { reply: state.reply.clone(), next_state: state.name.clone(), reason }
    }
}

impl Flow {
    /// The state a call comes to from here without a verb. No loop is without one: the check has seen to that, and
    /// there are as many turns as states.
    fn with_verb(&self, mut index: usize, fields: &Fields) -> usize {
        for _ in 0..self.states.len() {
            let Then::Match { field, on, otherwise } = &self.states[index].then else { return index };
            let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(field));
            let value = found.map(|(_, value)| value.trim().to_lowercase()).unwrap_or_default();
            index = *on.get(&value).unwrap_or(otherwise);
        }
        self.fallback
    }
}

/// Whether the text names a flow, a state or a prompt: `[a-z0-9-]{1,64}`.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

//! Logic: the flow of a campaign and the one question it answers, "what next?".
//!
//! A [`Flow`] is a checked document: every state it names exists and can be reached, nothing loops without waiting,
//! and the fallback ends by itself. So [`next`] is total: whatever a call brings, there is a verb for it.
//!
//! Reading order: this file, `read` (TOML to a draft, with places; single values in `values`), `check` (what must hold between states),
//! `problem` (codes and places), `verb` (what a call does, as the dialplan reads it), `say` (values by recorded parts),
//! `backend` (answers from elsewhere) and `web` (what is asked there, and what may come back), `outline` (for people).

#![deny(clippy::float_arithmetic)]

mod backend;
mod check;
mod destination;
mod outline;
mod pattern;
mod problem;
mod read;
mod read_say;
mod say;
#[cfg(test)]
mod tests;
mod values;
mod verb;
pub mod web;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

pub use backend::{Backend, BackendKind};
pub use destination::{Destination, MAX_DESTINATIONS};
pub use outline::{Does, Outline, StateOutline, Why};
use pattern::Pattern;
pub use problem::{FlowProblem, code};
pub use say::{MAX_NUMBER, MAX_SAID_DIGITS, MAX_SOUNDS_BYTES, Say, SayKind};
pub use verb::{
    Address, Finish, LEG_OUTCOMES, LastVerb, MAX_PARTS, MAX_VERB_BYTES, VERB_ARGS, Verb, VerbError,
    is_prompt_name, leg_outcome,
};

/// Longest flow document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Most states of a flow.
pub const MAX_STATES: usize = 256;
/// Longest name of a flow, a state or a prompt, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most prompts an author names in one verb. Keeps the reply far below the 1,000 bytes a dialplan takes; what `say` makes of a
/// value may be more of shorter names.
pub const MAX_PROMPTS: usize = 8;
/// Most digits one gather takes, as the dialplan's grammar has it.
pub const MAX_DIGITS: u32 = 32;
/// Longest wait for a digit, in seconds.
pub const MAX_TIMEOUT_S: u32 = 60;
/// Most attempts of one gather.
pub const MAX_ATTEMPTS: u32 = 9;
/// Longest pause, in seconds.
pub const MAX_PAUSE_S: u32 = 600;
/// Longest recording, in seconds.
pub const MAX_RECORD_S: u32 = 3_600;
/// Longest value a `match` tells apart, in bytes.
pub const MAX_MATCH_BYTES: usize = 64;
/// Most fields of one contact that go with a call, and most bytes of all of them, names included.
pub const MAX_FIELDS: usize = 32;
/// See [`MAX_FIELDS`].
pub const MAX_FIELDS_BYTES: usize = 1_024;
/// Most variables of a call, and of tags.
pub const MAX_VARS: usize = 16;
/// Longest value of a variable, in bytes.
pub const MAX_VAR_BYTES: usize = 64;
/// Most tags one step gives.
pub const MAX_TAGS: usize = 8;
/// Longest a bridged leg may ring, in seconds.
pub const MAX_RING_S: u32 = 120;
/// Longest two may talk whom a call has joined, in seconds.
pub const MAX_TALK_S: u32 = 4 * 3_600;
/// Longest a node holds a call while no logic answers, in seconds.
pub const MAX_HOLD_S: u32 = 120;
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
    hold_s: u32,
    backend: Option<Backend>,
    destinations: BTreeMap<String, Destination>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    name: String,
    act: Act,
    prompts: Vec<String>,
    then: Then,
}

impl State {
    /// Whether what it says is ordered by the language.
    fn asks_language(&self) -> bool {
        matches!(&self.act, Act::Say { say, .. } if say.kind == SayKind::Date && say.sounds.is_some())
    }
}

/// What a state does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    /// A verb, as it is written.
    Verb(String),
    /// A variable or a field of the contact, said; a value that cannot be leads to `unsaid` at once.
    Say { say: Say, field: String, unsaid: usize },
    /// Nothing a caller could hear: variables, and a tag.
    Silent { set: Vec<(String, String)>, tag: Option<String> },
}

/// What follows once a state is done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    /// Nothing: the call is over.
    End,
    /// By what was pressed; without keys always `otherwise`.
    Go { on: BTreeMap<String, usize>, otherwise: usize, answer: Option<Answer> },
    /// By how a bridged leg ended.
    Leg { on: BTreeMap<String, usize>, otherwise: usize },
    /// At once, by a variable or a field of the contact; the state has no verb.
    Match { field: String, on: BTreeMap<String, usize>, otherwise: usize },
}

/// What is done with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// The variable it becomes.
    save: Option<String>,
    /// What it must be like, and where another one leads.
    only: Option<(Pattern, usize)>,
}

/// Values by name: a contact's own fields, or the variables of a call.
pub type Fields = BTreeMap<String, String>;

/// What a question brings.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The state whose verb was run last; empty at the start of a call.
    pub state: &'a str,
    /// How that ended.
    pub status: &'a str,
    /// What was pressed.
    pub digits: &'a str,
    /// The contact's: data a `match` compares with what the flow names, and nothing more.
    pub fields: &'a Fields,
    /// The call's variables.
    pub vars: &'a Fields,
}

/// What a call does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Verb and arguments as the dialplan splits them: `play|welcome|0`.
    pub reply: String,
    /// The state whose verb this is: what the next question brings back.
    pub next_state: String,
    /// Why this is the fallback and not what the flow says; `None` for an ordinary step.
    pub reason: Option<&'static str>,
    /// The call's variables from now on.
    pub vars: Fields,
    /// Tags given on the way, each once.
    pub tags: Vec<String>,
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
        let declared = self.backend.iter().flat_map(|backend| &backend.prompts);
        let names: BTreeSet<&str> =
            self.states.iter().flat_map(|s| &s.prompts).chain(declared).map(String::as_str).collect();
        names.into_iter().collect()
    }

    /// Every field of a contact the flow looks at, each once, in alphabetical order. A variable hides the field of its name.
    pub fn fields(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self
            .states
            .iter()
            .filter_map(|state| match (&state.then, &state.act) {
                (Then::Match { field, .. }, _) | (_, Act::Say { field, .. }) => Some(field.as_str()),
                _ => None,
            })
            .chain(self.backend.iter().flat_map(|backend| backend.fields.iter().map(String::as_str)))
            .chain(self.states.iter().any(State::asks_language).then_some("language"))
            .collect();
        names.into_iter().collect()
    }

    /// Where its answers come from, if they are not its own.
    pub fn backend(&self) -> Option<&Backend> {
        self.backend.as_ref()
    }

    /// Whether this is a state of its own: a back end's states are its own affair.
    pub fn has_state(&self, state: &str) -> bool {
        self.by_name.contains_key(state)
    }

    /// Checks an answer of its back end.
    pub fn read_reply(&self, answer: &serde_json::Value) -> Result<web::WebReply, Vec<web::ReplyProblem>> {
        let none = BTreeSet::new();
        let prompts = self.backend.as_ref().map_or(&none, |backend| &backend.prompts);
        let fields = self.backend.as_ref().map_or(&[][..], |backend| &backend.fields);
        let (states, destinations) = (&self.by_name, &self.destinations);
        web::read(answer, web::Allowed { prompts, states, fields, destinations })
    }

    /// The step a call comes to that goes on in a state of the flow's own; an unknown one leads to the fallback.
    pub fn enter(&self, state: &str, asked: &Asked<'_>) -> Next {
        let index = self.by_name.get(state).copied().unwrap_or(self.fallback);
        self.step(index, asked, asked.vars.clone())
    }

    /// How long a node holds a call while no logic answers, in seconds, behind the fallback's first verb; 0 = it ends then.
    pub fn hold_s(&self) -> u32 {
        self.hold_s
    }

    /// One of those its calls can be joined with.
    pub fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.get(name)
    }

    /// Whether its calls can be joined with somebody: each may then need a second channel of its trunk.
    pub fn bridges(&self) -> bool {
        let dials = |state: &State| matches!(state.then, Then::Leg { .. });
        self.states.iter().any(dials) || (self.backend.is_some() && !self.destinations.is_empty())
    }

    /// What an agent does alone when no answer comes in time: the verb of the fallback state.
    pub fn fallback_reply(&self) -> &str {
        match &self.states[self.fallback].act {
            Act::Verb(reply) => reply,
            Act::Say { .. } | Act::Silent { .. } => HANGUP_REPLY, // refused by the check
        }
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

/// The verb after the one that a question tells of.
///
/// Total: a state the flow does not have leads to the fallback, with the reason named.
pub fn next(flow: &Flow, asked: &Asked<'_>) -> Next {
    if asked.state.is_empty() {
        return flow.step(flow.start, asked, Fields::new());
    }
    let Some(done) = flow.by_name.get(asked.state) else {
        let next = flow.step(flow.fallback, asked, asked.vars.clone());
        return Next { reason: Some("the flow has no such state"), ..next };
    };
    let mut vars = asked.vars.clone();
    let then = match &flow.states[*done].then {
        // The channel is gone, asking again is a repeat, and so is the answer; a call is never in a state without a verb.
        Then::End | Then::Match { .. } => *done,
        Then::Leg { on, otherwise } => *on.get(leg_outcome(asked.status)).unwrap_or(otherwise),
        Then::Go { on, otherwise, answer } => {
            // A verb that failed gave no digits a caller meant.
            let failed = matches!(asked.status, "ERROR" | "FAILED" | "HANGUP");
            let pressed = if failed { "" } else { asked.digits };
            let Answer { save, only } = answer.as_ref().unwrap_or(&Answer { save: None, only: None });
            match only {
                Some((pattern, invalid)) if !pressed.is_empty() && !pattern.fits(pressed) => *invalid,
                _ => {
                    if let Some(name) = save {
                        vars.insert(name.clone(), pressed.chars().take(MAX_VAR_BYTES).collect());
                    }
                    *on.get(pressed).unwrap_or(otherwise)
                }
            }
        }
    };
    flow.step(then, asked, vars)
}

impl Flow {
    /// The step a call comes to from here: through the states that nobody hears, to a verb. No loop is without one: the
    /// check has seen to that, and there are as many turns as states.
    fn step(&self, mut index: usize, asked: &Asked<'_>, mut vars: Fields) -> Next {
        let mut tags: Vec<String> = Vec::new();
        for _ in 0..self.states.len() {
            let state = &self.states[index];
            let (set, tag) = match &state.act {
                Act::Verb(reply) => {
                    let (reply, next_state) = (reply.clone(), state.name.clone());
                    return Next { reply, next_state, reason: None, vars, tags };
                }
                Act::Say { say, field, unsaid } => {
                    let language = looked_up("language", &vars, asked.fields);
                    let value = looked_up(field, &vars, asked.fields);
                    let Some(reply) = say.verb(&value, &language) else {
                        index = *unsaid;
                        continue;
                    };
                    return Next { reply, next_state: state.name.clone(), reason: None, vars, tags };
                }
                Act::Silent { set, tag } => (set, tag),
            };
            vars.extend(set.iter().cloned());
            tags.extend(tag.iter().filter(|tag| !tags.contains(tag)).cloned().collect::<Vec<_>>());
            index = match &state.then {
                Then::End => self.fallback,
                Then::Go { otherwise, .. } | Then::Leg { otherwise, .. } => *otherwise,
                Then::Match { field, on, otherwise } => {
                    *on.get(&looked_up(field, &vars, asked.fields)).unwrap_or(otherwise)
                }
            };
        }
        let (reply, next_state) = (HANGUP_REPLY.to_owned(), self.states[self.fallback].name.clone());
        Next { reply, next_state, reason: Some("no verb follows"), vars, tags }
    }

    /// The variables its calls can have, each once, in alphabetical order.
    pub fn vars(&self) -> Vec<&str> {
        let mut names = BTreeSet::new();
        for state in &self.states {
            if let Act::Silent { set, .. } = &state.act {
                names.extend(set.iter().map(|(name, _)| name.as_str()));
            }
            if let Then::Go { answer: Some(Answer { save: Some(name), .. }), .. } = &state.then {
                names.insert(name.as_str());
            }
        }
        names.into_iter().collect()
    }

    /// The tags it can give, each once, in alphabetical order.
    pub fn tags(&self) -> Vec<&str> {
        let tags: BTreeSet<&str> = self
            .states
            .iter()
            .filter_map(|state| match &state.act {
                Act::Silent { tag, .. } => tag.as_deref(),
                Act::Verb(_) | Act::Say { .. } => None,
            })
            .collect();
        tags.into_iter().collect()
    }
}

/// A variable of the call, else the contact's field, without capital letters and the space around it.
fn looked_up(name: &str, vars: &Fields, fields: &Fields) -> String {
    let of = |values: &Fields| {
        let found = values.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_lowercase())
    };
    of(vars).or_else(|| of(fields)).unwrap_or_default()
}

/// Whether these can be the variables of a call: as many, named and as long as a flow can make them.
pub fn are_vars<'a>(vars: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut count = 0;
    let mut fine = true;
    for (name, value) in vars {
        count += 1;
        fine &= is_name(name) && value.len() <= MAX_VAR_BYTES && !value.chars().any(char::is_control);
    }
    fine && count <= MAX_VARS
}

/// Whether the text names a flow, a state or a prompt: `[a-z0-9-]{1,64}`.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

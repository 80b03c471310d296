//! What a back end is asked and what it may answer: one schema for JSON, XML-RPC and the bus.
//!
//! An answer is a list of things to do: variables and tags first, then one verb, or a state of the flow's own:
//! `{"do": [{"set": {"language": "de"}}, {"play": {"prompts": ["hello"]}}], "state": "menu"}`.
//! Nothing in it is trusted: keys, types, bounds, names, order and prompts are checked, and every problem names its place.

mod kept;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{Destination, Fields, Verb};
pub use kept::{MAX_PARTS, Parts, Place};
use reader::Reader;

/// Most things one answer does.
pub const MAX_ACTIONS: usize = 16;
/// Longest time an answer may be kept, in seconds, and how long it may stand in for one that does not come.
pub const MAX_CACHE_S: u32 = 86_400;

/// Stable codes of problems of an answer. Each has one meaning for ever.
pub mod code {
    /// The answer could not be read at all.
    pub const UNREADABLE: &str = "AST-Q101";
    /// A key that has no meaning here.
    pub const UNKNOWN_KEY: &str = "AST-Q102";
    /// A value of the wrong type.
    pub const WRONG_TYPE: &str = "AST-Q103";
    /// A key that must be there is not.
    pub const MISSING_KEY: &str = "AST-Q104";
    /// A number, a text or a list outside its bounds.
    pub const OUT_OF_BOUNDS: &str = "AST-Q105";
    /// A name outside the alphabet of names.
    pub const BAD_NAME: &str = "AST-Q106";
    /// A verb nobody knows, none, several, or one out of place.
    pub const VERB: &str = "AST-Q107";
    /// A prompt the flow does not declare.
    pub const UNKNOWN_PROMPT: &str = "AST-Q108";
    /// A state the flow does not have.
    pub const UNKNOWN_STATE: &str = "AST-Q109";
    /// A destination the flow does not describe.
    pub const UNKNOWN_DESTINATION: &str = "AST-Q110";
}

/// "What next?", as a back end is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebQuestion<'a> {
    /// Version of this schema: 1.
    pub version: u32,
    /// The fleet.
    pub fleet: &'a str,
    /// The campaign.
    pub campaign: &'a str,
    /// The flow's name.
    pub flow: &'a str,
    /// The call: with the step, the same question has the same two.
    pub call: &'a str,
    /// The step asked for, from 1.
    pub step: u32,
    /// The state the last answer named; empty at the start.
    pub state: &'a str,
    /// The verb run last: `start` at the start.
    pub verb: &'a str,
    /// How it ended: `OK`, `SUCCESS`, `TIMEOUT`, `ERROR` ..., of a dial `ANSWER`, `BUSY`, `NOANSWER`, `CONGESTION` ...
    pub status: &'a str,
    /// What was pressed.
    pub digits: &'a str,
    /// The contact's fields that the flow asks for.
    pub fields: &'a Fields,
    /// The call's variables.
    pub vars: &'a Fields,
}

/// What is wrong with an answer, where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyProblem {
    /// Stable code, `AST-Q1xx` (see [`code`]).
    pub code: &'static str,
    /// Where: `do[1].play.prompts[0]`; empty for the whole answer.
    pub path: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl std::fmt::Display for ReplyProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, path, reason } = self;
        if path.is_empty() { write!(f, "{code}: {reason}") } else { write!(f, "{code} {path}: {reason}") }
    }
}

/// An answer that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebReply {
    /// Variables to set.
    pub set: Vec<(String, String)>,
    /// Tags, each once.
    pub tags: Vec<String>,
    /// What follows.
    pub then: Follows,
    /// How long it may be given to whoever asks the same.
    pub kept: Kept,
}

/// Whether and how long an answer may be kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// How long the same question may be answered the same, in seconds; 0 = not at all.
    pub for_s: u32,
    /// How long after that it may stand in where the back end fails.
    pub stale_s: u32,
    /// What of a question makes it the same, beside its [`Place`].
    pub by: Parts,
}

/// What follows the silent part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// A verb, and the state in which the next question comes.
    Verb(Verb, String),
    /// A state of the flow's own.
    Goto(String),
}

/// What an answer is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Allowed<'a> {
    /// Prompts the flow declares.
    pub prompts: &'a BTreeSet<String>,
    /// States of the flow's own.
    pub states: &'a BTreeMap<String, usize>,
    /// Fields of a contact that the back end is told.
    pub fields: &'a [String],
    /// Whom its calls can be joined with.
    pub destinations: &'a BTreeMap<String, Destination>,
}

/// Checks an answer. All problems are told at once, up to a bound.
pub fn read(answer: &Value, allowed: Allowed<'_>) -> Result<WebReply, Vec<ReplyProblem>> {
    let mut reader = Reader::new(allowed);
    let reply = reader.reply(answer);
    match reply {
        Some(reply) if reader.problems.is_empty() => Ok(reply),
        _ => Err(reader.problems),
    }
}

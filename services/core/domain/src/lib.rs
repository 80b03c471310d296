//! Every decision of Asterism, as functions of state, command and time; and the reducers that fold the log to state.
//!
//! Reading order: [`event`] (what can happen), [`state`] (what it folds to), [`campaign`] and [`fleet`] (`decide`,
//! `apply`, `plan`), [`logic`] (`next`: one step of a flow), [`invariant`] (what must always hold), [`wire`] (prost), [`upcast`]
//! (bodies of older schemas).
//!
//! No IO, clock, randomness, hash map or float: replaying these functions is the product.

pub mod campaign;
pub mod catalogue;
pub mod contact;
pub mod emergency;
pub mod event;
pub mod fleet;
pub mod ids;
pub mod invariant;
pub mod logic;
pub mod media;
pub mod outcome;
pub mod paces;
pub mod recording;
pub mod report;
pub mod rules;
pub mod state;
pub mod trunk;
pub mod upcast;
pub mod webhook;
pub mod wire;

use std::borrow::Cow;

pub use event::{Event, EventRef, Recorded};
pub use ids::{AttemptId, CampaignId, ContactId, NodeId, Outcome, Timestamp};
pub use state::{REDUCER, State};

/// A command that cannot be done, with a stable code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Rejection {
    /// Stable code.
    pub code: &'static str,
    /// Why.
    pub reason: Cow<'static, str>,
}

impl Rejection {
    /// A rejection.
    pub const fn new(code: &'static str, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// One rejection of everything that is wrong: a single problem as it is, several one a line, each with its code.
    pub fn of_all(problems: &[Self]) -> Option<Self> {
        let [first, rest @ ..] = problems else { return None };
        if rest.is_empty() {
            return Some(first.clone());
        }
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Some(Self::with(first.code, lines.join("\n")))
    }

    /// A rejection whose reason names what was refused.
    pub const fn with(code: &'static str, reason: String) -> Self {
        Self { code, reason: Cow::Owned(reason) }
    }
}

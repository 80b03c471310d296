//! The auditor's program: reads a folder of sealed segments, believes nothing and checks everything again.
//!
//! It reaches no network and writes nothing. Reading order: [`verify`] (the whole check), [`fold`] (the state at a
//! position), [`export`], [`cli`] (arguments and output, shared with `asterism replay`).

pub mod cli;
pub mod export;
pub mod fold;
pub mod verify;

use asterism_domain::wire::DecodeError;

/// Why the program could not do what was asked. Problems of the log itself are findings of [`verify`], not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read, or is not what it must be.
    #[error(transparent)]
    Log(#[from] asterism_event_log::Error),
    /// The anchor is no hash.
    #[error("AST-R001: the anchor is 64 hexadecimal digits; `asterism-replay verify` prints the log's own")]
    Anchor,
    /// A position the log does not have.
    #[error("AST-R002: the log has {size} sealed events, {at} is past its end; ask for at most {size}")]
    PastEnd {
        /// Events there are.
        size: u64,
        /// Position asked for.
        at: u64,
    },
    /// An event the reducers do not know: they stop rather than guess.
    #[error("AST-R003: the event at position {position} is not understood: {source}; use a newer version")]
    Event {
        /// Its global sequence.
        position: u64,
        /// Why.
        source: DecodeError,
    },
    /// The output cannot be written.
    #[error("AST-R004: writing the output failed: {0}; check the disk or the reader of the pipe")]
    Output(#[from] std::io::Error),
}

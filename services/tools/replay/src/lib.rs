//! The auditor's program: reads a folder of sealed segments, believes nothing and checks everything again.
//!
//! It reaches no network and writes nothing but what it is asked for. Reading order: [`verify`] (the whole check),
//! [`fold`] (the state at a position), [`explain`] (what happened to whom, and why), [`proof`] (files that prove one
//! event, or that a log only grew), [`diff`], [`stats`], [`tail`], [`cdr`], [`export`], [`repair`], [`cli`] (arguments and output, shared with `asterism replay`).

pub mod cdr;
pub mod cli;
pub mod diff;
pub mod explain;
pub mod export;
pub mod fold;
pub mod people;
pub mod proof;
pub mod repair;
pub mod report;
mod sheet;
pub mod stats;
pub mod table;
pub mod tail;
pub mod verify;
pub mod when;

use asterism_domain::wire::DecodeError;

/// Why the program could not do what was asked. Problems of the log itself are findings of [`verify`], not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read, or is not what it must be.
    #[error(transparent)]
    Log(#[from] asterism_event_log::Error),
    /// The anchor is no hash.
    #[error("AST-V001: the anchor is 64 hexadecimal digits; `asterism-replay verify` prints the log's own")]
    Anchor,
    /// A position the log does not have.
    #[error("AST-V002: the log has {size} sealed events, {at} is past its end; ask for at most {size}")]
    PastEnd {
        /// Events there are.
        size: u64,
        /// Position asked for.
        at: u64,
    },
    /// An event the log does not have.
    #[error("AST-V014: the log has {size} sealed events, #0 to #{}, and no #{position}; ask for one of these", size.saturating_sub(1))]
    NoEvent {
        /// Events there are.
        size: u64,
        /// The one asked for.
        position: u64,
    },
    /// No log, but one lies below.
    #[error("AST-V015: {folder} is no log; the log in it is {inner}: name that")]
    Below {
        /// The folder named.
        folder: std::path::PathBuf,
        /// Where the log is.
        inner: std::path::PathBuf,
    },
    /// An event the reducers do not know: they stop rather than guess.
    #[error("AST-V003: the event at position {position} is not understood: {source}; use a newer version")]
    Event {
        /// Its global sequence.
        position: u64,
        /// Why.
        source: DecodeError,
    },
    /// Nothing that can be explained.
    #[error(
        "AST-V005: {text} cannot be explained: {why}; ask for +NUMBER, CAMPAIGN/CONTACT, an attempt \
         (CAMPAIGN-CONTACT-ORDINAL), a node or a time (2026-11-22T10:00:00Z)"
    )]
    Subject {
        /// What was asked, a number masked.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that goes with the log cannot be used.
    #[error("AST-V006: {path} cannot be used: {why}")]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it; never a secret.
        why: String,
    },
    /// Nothing in the log to make the proof from.
    #[error("AST-V007: {what} cannot be proved: {why}")]
    Unprovable {
        /// What was asked.
        what: String,
        /// What is missing.
        why: String,
    },
    /// A proof file that proves nothing.
    #[error("AST-V008: {path} proves nothing: {why}; ask whoever made it for another")]
    NotProved {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Two moments in the wrong order.
    #[error("AST-V009: {from} is after {to}; name the earlier moment with --from")]
    Order {
        /// The one named first.
        from: String,
        /// The one named last.
        to: String,
    },
    /// The folder to write to holds something.
    #[error(
        "AST-V013: {folder} is not empty; name a folder that is new: a repair never writes over anything"
    )]
    NotEmpty {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// A flag without the one it goes with.
    #[error("AST-V010: --spreadsheet is for rows: add --format csv")]
    NoRows,
    /// No such campaign.
    #[error("AST-V022: the log has no campaign {id:?}; `asterism replay report DIR` lists those it has")]
    NoCampaign {
        /// What was asked for.
        id: String,
    },
    /// A format this build cannot write.
    #[error(
        "AST-V020: this build writes no Parquet; install one with `cargo install --path services/tools/replay --features parquet`, \
         or export CSV"
    )]
    NoParquet,
    /// Bytes to a terminal.
    #[error(
        "AST-V021: Parquet is no text for a terminal; send it to a file: `... --format parquet >events.parquet`"
    )]
    Terminal,
    /// The output cannot be written.
    #[error("AST-V004: writing the output failed: {0}; check the disk or the reader of the pipe")]
    Output(#[from] std::io::Error),
}

//! Why a list cannot be imported. What is wrong with single rows is `asterism_domain::contact::RowProblem`.

use std::io;

use asterism_domain::contact::ColumnProblem;

use super::MAX_ROWS;

/// Why nothing more of a file can be imported. Each has a stable code (see [`Error::code`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("AST-I030: {path} cannot be read: {source}; check the path and its permissions")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("AST-I031: {path} is no text: it is {what}; save the list as CSV (in a spreadsheet: CSV UTF-8)")]
    NoText {
        /// The file.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It is not what it was a moment ago.
    #[error("AST-I037: {path} changed while it was read; import it again when nobody writes to it")]
    Changed {
        /// The file.
        path: String,
    },
    /// Nothing in it.
    #[error("AST-I032: {path} is empty; the first row names the columns, like number,name")]
    Empty {
        /// The file.
        path: String,
    },
    /// The first row is not readable.
    #[error(
        "AST-I033: {path}:1: the header cannot be read: {why}; the first row names the columns, like number,name"
    )]
    Header {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The header does not say what the columns are.
    #[error("{problem} (in {path})")]
    Columns {
        /// The file.
        path: String,
        /// What is wrong.
        problem: ColumnProblem,
    },
    /// Rejected rows cannot be written down.
    #[error(
        "AST-I034: rejected rows cannot be written to {path}: {source}; free some space or name another file with --rejects"
    )]
    Rejects {
        /// The file of rejects.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// More rows than the limit.
    #[error(
        "AST-I035: {path} has more than {MAX_ROWS} rows; split it (rows before line {line} are imported)"
    )]
    TooManyRows {
        /// The file.
        path: String,
        /// Line of the first row that is too much.
        line: u64,
    },
    /// A batch was not taken.
    #[error("AST-I036: contacts up to line {line} of {path} could not be handed on: {why}")]
    Sink {
        /// The file.
        path: String,
        /// Line of the batch's last row.
        line: u64,
        /// What the taker says.
        why: String,
    },
}

impl Error {
    /// The stable code, like `AST-I030`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "AST-I030",
            Self::NoText { .. } => "AST-I031",
            Self::Changed { .. } => "AST-I037",
            Self::Empty { .. } => "AST-I032",
            Self::Header { .. } => "AST-I033",
            Self::Columns { problem, .. } => problem.code(),
            Self::Rejects { .. } => "AST-I034",
            Self::TooManyRows { .. } => "AST-I035",
            Self::Sink { .. } => "AST-I036",
        }
    }
}

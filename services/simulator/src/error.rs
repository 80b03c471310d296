//! What can be wrong with files and requests.

/// An error of the lab, with a stable code.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file cannot be read or written.
    #[error("AST-W001: {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a file is not what its format asks for.
    #[error("AST-W002: {path}, line {line}: {problem}; the formats are in services/simulator/README.md")]
    Line {
        /// Which file.
        path: String,
        /// Which line, the header being 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The fleet's description contradicts itself.
    #[error("AST-W003: {path}: {problem}")]
    Fleet {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A log without a call has nothing to replay.
    #[error(
        "AST-P034: the log has no call: nothing was dialled up to its last sealed event, so there is nothing to replay"
    )]
    NoCalls,
    /// Nobody knows this family of workloads.
    #[error("AST-W004: there is no family {name}; the families: {known}")]
    Family {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

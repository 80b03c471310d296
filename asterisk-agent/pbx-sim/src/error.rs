//! What can go wrong in the simulator and the recorder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Errors of this crate. Those a user meets at start carry a code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address to listen on is taken or not ours.
    #[error("AST-P001 {what} cannot listen on {addr}: {source}; choose another port, or 0 for a free one")]
    Listen {
        /// Who wanted to listen.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("AST-P002 cannot {what} {path}: {source}")]
    File {
        /// What was tried, a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The callees file is not what it must be.
    #[error("AST-P003 callees file {path}: {why}; see `pbx-sim --print-callees` for a whole one")]
    Callees {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where the parser knows them.
        why: String,
    },
    /// A line of a rings file is no ring.
    #[error(
        "AST-P004 rings file {path} line {line} is not unix_ms,attempt_id,number,node; move the file away to start anew"
    )]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// The step URL is not `http://ADDRESS:PORT`.
    #[error("AST-P005 step url must be http://ADDRESS:PORT with a numeric address")]
    StepUrl,
    /// A secret file is empty, too long or has more than one line.
    #[error("AST-P006 secret file {path} must hold one line of 8 to 128 printable ascii characters")]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// The name of the node cannot be one.
    #[error("AST-P007 node name must be 1 to 64 of A-Za-z0-9._-")]
    NodeName,
    /// More rings than a file may hold.
    #[error("more than {} rings", crate::recorder::MAX_RINGS)]
    TooManyRings,
    /// A ring, or a request to the recorder, that is malformed.
    #[error("not a ring")]
    BadRing,
    /// The recorder did not confirm a ring.
    #[error("carrier recorder did not confirm the ring")]
    NotRecorded,
    /// The agent's step server gave no usable answer.
    #[error("step server: {0}")]
    Step(&'static str),
    /// A socket or thread could not be set up.
    #[error("socket: {0}")]
    Socket(std::io::Error),
}

impl Error {
    pub(crate) fn file(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { what, path: path.to_owned(), source }
    }
}

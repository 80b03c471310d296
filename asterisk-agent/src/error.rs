//! What can stop the agent. Each variant a person meets carries a stable code.

use std::io;
use std::path::PathBuf;

/// An error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or variable has a value that cannot be used.
    #[error("AST-A001: {what} is not usable: {why}")]
    Config {
        /// The flag or setting.
        what: &'static str,
        /// What is wrong with it; never the value of a secret.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("AST-A002: cannot {verb} {path}: {source}")]
    File {
        /// `read`, `write`, `create`, `sync`.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The store cannot be opened or is damaged. The node is disposable: terminate it.
    #[error(
        "AST-A003: the store in {path} is not usable: {why}; calls go on, terminate this node when they ended"
    )]
    Store {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The store cannot take more: a full disk or an input/output error.
    #[error(
        "AST-A004: the store in {path} failed: {why}; free space on its disk, the agent restarts by itself"
    )]
    StoreWrite {
        /// The store's folder.
        path: PathBuf,
        /// What failed.
        why: String,
    },
    /// A port cannot be bound.
    #[error(
        "AST-A005: cannot listen on {address}: {source}; another process has the port, choose one with {flag}"
    )]
    Listen {
        /// The address wanted.
        address: String,
        /// The flag that changes it.
        flag: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A value would leave its place in a configuration file.
    #[error("AST-A006: {what} cannot be written into the configuration of asterisk: {why}")]
    Render {
        /// The value's name.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Prompts could not be fetched or are not what the manifest says.
    #[error("AST-A007: manifest {manifest} was not taken: {why}")]
    Media {
        /// The manifest.
        manifest: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody this machine trusts vouches for the server of prompts.
    #[error(
        "AST-A022: manifest {manifest} was not taken: the certificate of its server is not trusted: {why}; if the \
         store is your own, start the agent with --media-ca-file CERTIFICATES.pem"
    )]
    Untrusted {
        /// The manifest.
        manifest: String,
        /// The server, and what is wrong.
        why: String,
    },
    /// Another process holds what this one needs, or a child could not be started.
    #[error("AST-A008: cannot start {what}: {why}")]
    Start {
        /// The program.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A trunk cannot be used on this node.
    #[error("AST-A026: the trunk {trunk} cannot be used here: {why}")]
    Trunk {
        /// The trunk.
        trunk: String,
        /// What is wrong; never a secret.
        why: String,
    },
    /// Something on the bus refused this node.
    #[error("AST-A009: the fleet refused this node: {0}")]
    Bus(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(verb: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }
}

/// Codes of refusals, in the reply to an order.
pub mod code {
    /// The order's term is below the highest seen.
    pub const FENCED: &str = "AST-A010";
    /// The clock's offset is not known yet.
    pub const CLOCK: &str = "AST-A011";
    /// The node drains.
    pub const DRAINING: &str = "AST-A012";
    /// No slot is free.
    pub const NO_SLOT: &str = "AST-A013";
    /// The manifest is not on this node.
    pub const NO_MANIFEST: &str = "AST-A014";
    /// The PBX is not up.
    pub const PBX_DOWN: &str = "AST-A015";
    /// Its not-after has passed.
    pub const EXPIRED: &str = "AST-A016";
    /// Something in the order cannot be used.
    pub const MALFORMED: &str = "AST-A017";
    /// The spool is full.
    pub const SPOOL_FULL: &str = "AST-A018";
    /// The agent is stopping.
    pub const STOPPING: &str = "AST-A019";
    /// The node is not admitted.
    pub const NOT_ADMITTED: &str = "AST-A020";
    /// Too many ended attempts no checkpoint covers yet.
    pub const MEMORY_FULL: &str = "AST-A021";
    /// The frame asked for again is not in the spool.
    pub const NOT_HELD: &str = "AST-A023";
    /// The trunk is not on this node.
    pub const NO_TRUNK: &str = "AST-A027";
    /// The log showed this node two histories.
    pub const TWO_HISTORIES: &str = "AST-A025";
    /// Withdrawn before its order came.
    pub const WITHDRAWN: &str = "AST-A171";
    /// The cloud takes the instance away.
    pub const LEAVING: &str = "AST-X002";
}

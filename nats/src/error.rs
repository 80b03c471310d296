//! What can go wrong on the bus, each with a stable code and what to do.

use std::path::PathBuf;

use crate::subject::SubjectError;

/// An error of the bus. The text begins with its code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The url leaves this machine without protection.
    #[error(
        "AST-N001: {url} is not on loopback and has no {missing}: use a tls:// url (or nats.ca_file) and nats.user with nats.password_file, or say --insecure"
    )]
    Insecure {
        /// The url, without its user part.
        url: String,
        /// What is missing: TLS, credentials or both.
        missing: &'static str,
    },
    /// Nobody answers at the url.
    #[error("AST-N002: no nats-server answers at {url} ({reason}): start one, or correct nats.url")]
    Unreachable {
        /// The url, without its user part.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The server refused the credentials.
    #[error("AST-N003: the nats-server at {url} refused user {user}: check nats.user and nats.password_file")]
    AuthRefused {
        /// The url, without its user part.
        url: String,
        /// The user that was refused, or `(none)`.
        user: String,
    },
    /// A value of the bus configuration is unusable.
    #[error("AST-N004: {key} is {value:?}: {reason}")]
    Config {
        /// The field.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("AST-N005: TLS with {url} failed ({reason}): check nats.ca_file and the server's certificate")]
    Tls {
        /// The url, without its user part.
        url: String,
        /// What the TLS library said.
        reason: String,
    },
    /// A subject could not be built.
    #[error("AST-N006: {0}")]
    Subject(#[from] SubjectError),
    /// The client could not take the message.
    #[error("AST-N007: could not {what} on {subject}: {reason}")]
    Client {
        /// What was tried: publish, subscribe, respond.
        what: &'static str,
        /// The subject.
        subject: String,
        /// What the client said.
        reason: String,
    },
    /// Someone asked for an answer on a subject that is no inbox.
    #[error("AST-N008: the reply subject is not an inbox, so nothing is sent there")]
    ReplyRefused,
    /// The nats-server binary is too old or no nats-server.
    #[error(
        "AST-N010: {binary} is {found}, 2.12.0 or newer is needed: install one, or run tests/setup/nats-server.sh"
    )]
    ServerVersion {
        /// The binary that was asked.
        binary: PathBuf,
        /// What it said it is.
        found: String,
    },
    /// Another process listens on the port.
    #[error("AST-N011: port {port} on 127.0.0.1 is taken by another process: choose another port or stop it")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The child did not come up.
    #[error("AST-N012: nats-server did not come up ({reason}): see {log}")]
    ServerStart {
        /// Why, with its last log line.
        reason: String,
        /// Its log file.
        log: PathBuf,
    },
    /// A file of the child could not be read or written.
    #[error("AST-N013: {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process of ours uses the server folder.
    #[error("AST-N014: {dir} is in use by another process: stop it, or give this one another folder")]
    DirInUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The existing stream has other limits.
    #[error(
        "AST-N020: stream {stream} exists with other settings ({differences}); it is never deleted or loosened here: correct it by hand, or use another fleet name"
    )]
    StreamDiffers {
        /// The stream.
        stream: String,
        /// Each difference as `name: is X, needs Y`.
        differences: String,
    },
    /// The server refused to make or change the stream.
    #[error("AST-N021: the server refused stream {stream}: {reason}")]
    StreamRefused {
        /// The stream.
        stream: String,
        /// What the server said.
        reason: String,
    },
    /// A request to the stream's API failed; it may be repeated.
    #[error("AST-N022: no answer about stream {stream}: {reason}")]
    StreamUnavailable {
        /// The stream.
        stream: String,
        /// What the client said.
        reason: String,
    },
    /// A lease bucket could not be used.
    #[error("AST-N030: lease bucket {bucket}: {reason}")]
    Lease {
        /// The bucket.
        bucket: String,
        /// What the server or client said.
        reason: String,
    },
    /// A service could not be started.
    #[error("AST-N040: service {name}: {reason}")]
    Service {
        /// The service.
        name: String,
        /// What the client said.
        reason: String,
    },
}

impl Error {
    /// The stable code, `AST-Nxxx`.
    pub const fn code(&self) -> &'static str {
        match self {
            Error::Insecure { .. } => "AST-N001",
            Error::Unreachable { .. } => "AST-N002",
            Error::AuthRefused { .. } => "AST-N003",
            Error::Config { .. } => "AST-N004",
            Error::Tls { .. } => "AST-N005",
            Error::Subject(_) => "AST-N006",
            Error::Client { .. } => "AST-N007",
            Error::ReplyRefused => "AST-N008",
            Error::ServerVersion { .. } => "AST-N010",
            Error::PortTaken { .. } => "AST-N011",
            Error::ServerStart { .. } => "AST-N012",
            Error::File { .. } => "AST-N013",
            Error::DirInUse { .. } => "AST-N014",
            Error::StreamDiffers { .. } => "AST-N020",
            Error::StreamRefused { .. } => "AST-N021",
            Error::StreamUnavailable { .. } => "AST-N022",
            Error::Lease { .. } => "AST-N030",
            Error::Service { .. } => "AST-N040",
        }
    }
}

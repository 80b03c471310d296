//! Why an object could not be stored or read.

use std::io;

use crate::ObjectName;

/// A failure of an object store. Each variant has a stable code (see [`Error::code`]), shown in its message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name or prefix outside the fixed alphabet.
    #[error(
        "AST-B001: object name {name:?} is not allowed: {why}; use letters, digits, '.', '_', '-' and '/'"
    )]
    BadName {
        /// The refused name, cut to its first 80 characters.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A store address that cannot be understood.
    #[error(
        "AST-B002: object store address {url:?} is not usable: {why}; write file:///folder or s3://bucket/prefix?region=...&endpoint=..."
    )]
    BadUrl {
        /// The refused address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No object of that name.
    #[error("AST-B003: object {name} does not exist")]
    NotFound {
        /// The object asked for.
        name: ObjectName,
    },
    /// The object is longer than the caller or the store allows.
    #[error("AST-B004: object {name} has {size_bytes} bytes and at most {max_bytes} are allowed")]
    TooLarge {
        /// The object.
        name: ObjectName,
        /// Its length in bytes, or the first length known to be too long.
        size_bytes: u64,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The bytes are not the ones that were stored, or not the ones the name promises.
    #[error("AST-B005: object {name} does not match its sha-256; delete it and publish it again")]
    WrongContent {
        /// The object.
        name: ObjectName,
    },
    /// No room left. Nothing was changed.
    #[error("AST-B006: no space left for object {name}; free some space and repeat")]
    Full {
        /// The object that was to be written.
        name: ObjectName,
    },
    /// The folder or bucket refuses us.
    #[error("AST-B007: access to {what} was refused: {why}; check the permissions of this account")]
    Denied {
        /// The folder, bucket or object.
        what: String,
        /// The answer of the other side.
        why: String,
    },
    /// The folder failed in another way.
    #[error("AST-B008: {action} {what} failed: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The path or object.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// The store could not be reached or asked us to slow down, and the retries are used up.
    #[error(
        "AST-B009: object store {what} is not answering after {attempts} attempts: {why}; it is safe to repeat"
    )]
    Unavailable {
        /// The bucket or object.
        what: String,
        /// How often it was tried.
        attempts: u32,
        /// The last answer.
        why: String,
    },
    /// The store refused the request for good.
    #[error("AST-B010: object store refused {what}: {why}")]
    Refused {
        /// The bucket or object.
        what: String,
        /// Its answer.
        why: String,
    },
    /// An `s3://` address in a program that was built without the SDK.
    #[error(
        "AST-B011: this program was built without s3; build it with --features aws or use file:///folder"
    )]
    NotBuilt,
    /// A key file that cannot be used.
    #[error("AST-B014: the object store's key file {path} is not usable: {why}")]
    KeyFile {
        /// The file.
        path: String,
        /// What is wrong with it; nothing of what it holds.
        why: String,
    },
    /// In a folder an object cannot be named like a parent of another one.
    #[error("AST-B012: object {name} cannot be stored: a part of its name is already an object or a folder")]
    NameTaken {
        /// The object that was to be written.
        name: ObjectName,
    },
    /// More results than the caller allows.
    #[error("AST-B013: more than {max} {what}; raise the limit or narrow the prefix")]
    TooMany {
        /// What was counted.
        what: String,
        /// The limit.
        max: usize,
    },
}

impl Error {
    /// The stable code of this failure, like `AST-B003`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "AST-B001",
            Self::BadUrl { .. } => "AST-B002",
            Self::NotFound { .. } => "AST-B003",
            Self::TooLarge { .. } => "AST-B004",
            Self::WrongContent { .. } => "AST-B005",
            Self::Full { .. } => "AST-B006",
            Self::Denied { .. } => "AST-B007",
            Self::Io { .. } => "AST-B008",
            Self::Unavailable { .. } => "AST-B009",
            Self::Refused { .. } => "AST-B010",
            Self::NotBuilt => "AST-B011",
            Self::NameTaken { .. } => "AST-B012",
            Self::TooMany { .. } => "AST-B013",
            Self::KeyFile { .. } => "AST-B014",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

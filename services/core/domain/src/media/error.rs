//! Why a manifest is refused.

use super::{EXTENSIONS, MAX_DOCUMENT_BYTES, MAX_DURATION_MS, MAX_ENTRIES, MAX_PROMPT_BYTES};

/// A refused manifest. Each variant has a stable code (see [`Error::code`]), shown in its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The document is over its limit.
    #[error("AST-M001: the manifest has {size_bytes} bytes; at most {MAX_DOCUMENT_BYTES} are allowed")]
    DocumentTooLong {
        /// Its length in bytes.
        size_bytes: usize,
    },
    /// The document is not the JSON of a manifest.
    #[error("AST-M002: the manifest is not readable at line {line}, column {column}: {why}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the reader says.
        why: String,
    },
    /// The same content in another spelling: its id would differ.
    #[error(
        "AST-M003: the manifest is not in canonical form; publish the prompts again instead of editing it"
    )]
    NotCanonical,
    /// Too few or too many prompts.
    #[error("AST-M004: the manifest has {count} prompts; 1 to {MAX_ENTRIES} are allowed")]
    EntryCount {
        /// How many there are.
        count: usize,
    },
    /// A name outside the alphabet.
    #[error("AST-M005: {what} name {name:?} is not allowed; use 1 to 64 of a-z, 0-9 and -")]
    BadName {
        /// What is named.
        what: &'static str,
        /// The refused name, cut and escaped.
        name: String,
    },
    /// A language tag Asterisk would not look for.
    #[error("AST-M006: prompt {prompt} has language {language:?}; use a tag like en or en_GB")]
    BadLanguage {
        /// The prompt.
        prompt: String,
        /// The refused tag, cut and escaped.
        language: String,
    },
    /// A format that is not kept.
    #[error("AST-M007: prompt {prompt} has extension {ext:?}; known are {}", EXTENSIONS.join(", "))]
    BadExtension {
        /// The prompt.
        prompt: String,
        /// The refused extension, cut and escaped.
        ext: String,
    },
    /// Not a SHA-256.
    #[error("AST-M008: {path} has no sha-256 of 64 lower-case hex digits")]
    BadHash {
        /// The prompt's file.
        path: String,
    },
    /// Empty or too large.
    #[error("AST-M009: {path} has {size_bytes} bytes; 1 to {MAX_PROMPT_BYTES} are allowed")]
    PromptSize {
        /// The prompt's file.
        path: String,
        /// Its length in bytes.
        size_bytes: u64,
    },
    /// Silent by length, or too long.
    #[error("AST-M010: {path} lasts {duration_ms} ms; 1 to {MAX_DURATION_MS} ms are allowed")]
    PromptDuration {
        /// The prompt's file.
        path: String,
        /// Its length in ms.
        duration_ms: u64,
    },
    /// Two entries for one file, or two that differ by case only.
    #[error("AST-M011: {path} is there twice (upper and lower case count as one); keep one of them")]
    Twice {
        /// The prompt's file.
        path: String,
    },
    /// One hash cannot have two lengths.
    #[error("AST-M012: {path} has the hash of another prompt but not its length")]
    TwoSizes {
        /// The prompt's file.
        path: String,
    },
}

impl Error {
    /// The stable code of this refusal, like `AST-M003`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DocumentTooLong { .. } => "AST-M001",
            Self::Json { .. } => "AST-M002",
            Self::NotCanonical => "AST-M003",
            Self::EntryCount { .. } => "AST-M004",
            Self::BadName { .. } => "AST-M005",
            Self::BadLanguage { .. } => "AST-M006",
            Self::BadExtension { .. } => "AST-M007",
            Self::BadHash { .. } => "AST-M008",
            Self::PromptSize { .. } => "AST-M009",
            Self::PromptDuration { .. } => "AST-M010",
            Self::Twice { .. } => "AST-M011",
            Self::TwoSizes { .. } => "AST-M012",
        }
    }
}

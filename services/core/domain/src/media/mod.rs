//! Media: the manifest, a content-addressed set of prompts.
//!
//! A manifest is one canonical JSON text; its id is the hash of that text. So a manifest never changes, two
//! publishers of the same prompts make the same one, and a node that holds the id holds exactly these sounds.

#![deny(clippy::float_arithmetic)]

mod error;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use error::Error;

use crate::logic::is_name;

/// Longest manifest document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// Most prompts of a manifest.
pub const MAX_ENTRIES: usize = 10_000;
/// Largest prompt, in bytes.
pub const MAX_PROMPT_BYTES: u64 = 64 * 1024 * 1024;
/// Longest prompt, in ms: an hour.
pub const MAX_DURATION_MS: u64 = 3_600_000;
/// Longest language tag, in bytes.
pub const MAX_LANGUAGE_BYTES: usize = 16;
/// File extensions a prompt may have: one for each format, since Asterisk picks among several by its own order.
pub const EXTENSIONS: [&str; 6] = ["alaw", "g722", "sln16", "ulaw", "wav", "wav16"];

/// A set of prompts as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestDoc {
    /// The name people gave the set.
    pub name: String,
    /// The prompts, sorted by name, language and extension.
    pub entries: Vec<PromptEntry>,
}

/// One prompt of a manifest: a sound in one language and one format.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptEntry {
    /// The name flows use.
    pub name: String,
    /// Asterisk's language tag, like `en` or `en_GB`.
    pub language: String,
    /// File extension, one of [`EXTENSIONS`].
    pub ext: String,
    /// SHA-256 of the sound, 64 lower-case hex digits; the blob's name in the object store.
    pub sha256: String,
    /// Length of the sound in bytes.
    pub size_bytes: u64,
    /// Length of the sound in ms.
    pub duration_ms: u64,
}

impl ManifestDoc {
    /// Makes a manifest of prompts in any order.
    pub fn new(name: impl Into<String>, mut entries: Vec<PromptEntry>) -> Result<Self, Error> {
        entries.sort();
        let doc = Self { name: name.into(), entries };
        doc.check()?;
        Ok(doc)
    }

    /// Reads a published manifest. Any text but the canonical one is refused: it would have another id.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::DocumentTooLong { size_bytes: bytes.len() });
        }
        let doc: Self = serde_json::from_slice(bytes).map_err(|source| Error::Json {
            line: source.line(),
            column: source.column(),
            // The text after the place would only repeat it.
            why: source.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        })?;
        doc.check()?;
        if doc.to_json()? == bytes { Ok(doc) } else { Err(Error::NotCanonical) }
    }

    /// The canonical text: keys and entries in fixed order, no white space.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let text = serde_json::to_vec(self).map_err(|source| Error::Json {
            line: source.line(),
            column: source.column(),
            why: source.to_string(),
        })?;
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::DocumentTooLong { size_bytes: text.len() });
        }
        Ok(text)
    }

    /// The first 32 hex digits of the SHA-256 of the canonical text.
    pub fn id(&self) -> Result<String, Error> {
        Ok(manifest_id(&self.to_json()?))
    }

    /// The prompts' names, each once.
    pub fn prompts(&self) -> BTreeSet<&str> {
        self.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    /// Which of the wanted prompts the manifest lacks, in the order asked.
    pub fn missing<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let held = self.prompts();
        wanted.into_iter().filter(|name| !held.contains(name)).collect()
    }

    /// Length of all sounds in bytes, equal sounds counted once as they are stored once.
    pub fn size_bytes(&self) -> u64 {
        let blobs: BTreeMap<&str, u64> =
            self.entries.iter().map(|e| (e.sha256.as_str(), e.size_bytes)).collect();
        blobs.values().sum()
    }

    fn check(&self) -> Result<(), Error> {
        if !is_name(&self.name) {
            return Err(Error::BadName { what: "manifest", name: shown(&self.name) });
        }
        if !(1..=MAX_ENTRIES).contains(&self.entries.len()) {
            return Err(Error::EntryCount { count: self.entries.len() });
        }
        let mut folded = BTreeSet::new();
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &self.entries {
            entry.check()?;
            // A file system that ignores case would keep only one of the two.
            if !folded.insert(entry.path().to_ascii_lowercase()) {
                return Err(Error::Twice { path: entry.path() });
            }
            if *sizes.entry(&entry.sha256).or_insert(entry.size_bytes) != entry.size_bytes {
                return Err(Error::TwoSizes { path: entry.path() });
            }
        }
        if self.entries.is_sorted() { Ok(()) } else { Err(Error::NotCanonical) }
    }
}

impl PromptEntry {
    /// The prompt's file below a manifest's folder: `en/welcome.ulaw`.
    pub fn path(&self) -> String {
        format!("{}/{}.{}", self.language, self.name, self.ext)
    }

    fn check(&self) -> Result<(), Error> {
        if !is_name(&self.name) {
            return Err(Error::BadName { what: "prompt", name: shown(&self.name) });
        }
        if !is_language(&self.language) {
            return Err(Error::BadLanguage { prompt: self.name.clone(), language: shown(&self.language) });
        }
        if !EXTENSIONS.contains(&self.ext.as_str()) {
            return Err(Error::BadExtension { prompt: self.name.clone(), ext: shown(&self.ext) });
        }
        let is_hash = self.sha256.len() == 64
            && self.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_hash {
            return Err(Error::BadHash { path: self.path() });
        }
        if !(1..=MAX_PROMPT_BYTES).contains(&self.size_bytes) {
            return Err(Error::PromptSize { path: self.path(), size_bytes: self.size_bytes });
        }
        if !(1..=MAX_DURATION_MS).contains(&self.duration_ms) {
            return Err(Error::PromptDuration { path: self.path(), duration_ms: self.duration_ms });
        }
        Ok(())
    }
}

/// The id a document has as a manifest, whether or not it is a good one.
pub fn manifest_id(document: &[u8]) -> String {
    let mut id = hex::encode(Sha256::digest(document));
    id.truncate(32);
    id
}

/// Whether the text is an Asterisk language tag: `en`, `en_GB`, `sr_Latn_RS`.
pub fn is_language(text: &str) -> bool {
    let mut parts = text.split('_');
    let first = parts.next().unwrap_or_default();
    text.len() <= MAX_LANGUAGE_BYTES
        && (2..=3).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_lowercase())
        && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The column of a list, and the variable of a call, that say which language a call plays its prompts in.
pub const LANGUAGE: &str = "language";

/// A language as people write it in a list (` DE `), as the folder of its prompts is named; none where it is no language.
pub fn spoken(text: &str) -> Option<String> {
    let text = text.trim();
    let first = text.find('_').unwrap_or(text.len());
    let text = text[..first].to_ascii_lowercase() + &text[first..];
    is_language(&text).then_some(text)
}

/// The first characters of a refused text, without anything a terminal would act on.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

//! What a manifest has in it, as an order, its document and the node's own list say. Nothing of it is believed unchecked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use asterism_domain::logic::is_prompt_name;
use asterism_domain::media::{self, ManifestDoc};
use asterism_proto::hash::Hash;
use asterism_proto::origin::is_token;
use asterism_proto::v1;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Most prompts in one manifest.
pub const PROMPTS_MAX: usize = media::MAX_ENTRIES;
/// Longest prompt, bytes.
pub const PROMPT_MAX_BYTES: u64 = media::MAX_PROMPT_BYTES;
/// Largest manifest, bytes.
pub const MANIFEST_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Longest document of a manifest, bytes.
pub(super) const DOCUMENT_MAX_BYTES: u64 = media::MAX_DOCUMENT_BYTES as u64;

/// One prompt, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub language: String,
    /// Relative to the manifest's folder, with its extension.
    pub file: String,
    pub size_bytes: u64,
    /// Hex.
    pub sha256: String,
    /// Where it may be had; empty if that has to be asked.
    #[serde(skip)]
    pub url: String,
}

impl Listed {
    /// Its file in the manifest's folder.
    pub(super) fn place(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file)
    }

    /// Its hash.
    pub(super) fn hash(&self) -> Option<Hash> {
        hex::decode(&self.sha256).ok()?.try_into().ok()
    }
}

/// Reads the document of a manifest: the one with this id, or none.
pub(super) fn of_document(manifest: &str, document: &[u8]) -> Result<Vec<Listed>, String> {
    if media::manifest_id(document) != manifest {
        return Err("its document is another one".to_owned());
    }
    let doc = ManifestDoc::parse(document).map_err(|error| error.to_string())?;
    checked(doc.entries.into_iter().map(|entry| Listed {
        file: format!("{}.{}", entry.name, entry.ext),
        language: entry.language,
        size_bytes: entry.size_bytes,
        sha256: entry.sha256,
        url: String::new(),
    }))
}

/// Reads the prompts an order names.
pub(super) fn of_order(prompts: &[v1::Prompt]) -> Result<Vec<Listed>, String> {
    for prompt in prompts {
        let ext_ok =
            (1..=8).contains(&prompt.ext.len()) && prompt.ext.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_prompt_name(&prompt.name) || !ext_ok || prompt.name.len() > 128 {
            return Err("a prompt's name is not usable".to_owned());
        }
        if prompt.sha256.len() != 32 {
            return Err("a prompt has no sha-256".to_owned());
        }
    }
    checked(prompts.iter().map(|prompt| Listed {
        language: prompt.language.clone(),
        file: format!("{}.{}", prompt.name, prompt.ext),
        size_bytes: prompt.size_bytes,
        sha256: hex::encode(&prompt.sha256),
        url: prompt.url.clone(),
    }))
}

/// Only languages that stay in their folder, no file twice, all within the limits.
fn checked(all: impl Iterator<Item = Listed>) -> Result<Vec<Listed>, String> {
    let mut total = 0_u64;
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for listed in all {
        if !is_token(&listed.language) || listed.language.len() > 16 {
            return Err("a prompt's language is not usable".to_owned());
        }
        total = total.saturating_add(listed.size_bytes);
        if listed.size_bytes > PROMPT_MAX_BYTES || total > MANIFEST_MAX_BYTES {
            return Err("it is too large".to_owned());
        }
        if !seen.insert((listed.language.clone(), listed.file.clone())) {
            return Err("a prompt is there twice".to_owned());
        }
        checked.push(listed);
        if checked.len() > PROMPTS_MAX {
            break;
        }
    }
    if checked.is_empty() || checked.len() > PROMPTS_MAX {
        return Err(format!("not 1 to {PROMPTS_MAX} prompts"));
    }
    Ok(checked)
}

/// The node's own list.
pub(super) fn to_bytes(listed: &[Listed], manifest: &str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(listed)
        .map_err(|error| Error::Media { manifest: manifest.to_owned(), why: error.to_string() })
}

/// Reads the node's own list.
pub(super) fn of_bytes(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

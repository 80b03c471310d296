//! Prompts on disk: a manifest is there whole and verified, or not at all.
//!
//! A manifest becomes one folder for each language, `<sounds>/<language>/<manifest>/`, moved into place by one rename
//! each; `<sounds>/.manifests/<manifest>` lists what is in it and is written last. At start the lists are checked
//! against the files; what fails is set aside and fetched again when it is ordered.

mod download;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;
use asterism_proto::origin::is_token;
use asterism_proto::v1;
use serde::{Deserialize, Serialize};

pub use tls::trust_file;

use self::download::Failure;
use self::tls::Trust;
use crate::Error;
use crate::files;
use asterism_domain::logic::is_prompt_name;

/// Most prompts in one manifest.
pub const PROMPTS_MAX: usize = 512;
/// Longest prompt, bytes.
pub const PROMPT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Largest manifest, bytes.
pub const MANIFEST_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Most manifests looked at when the agent starts.
const MANIFESTS_MAX: usize = 256;
const LISTS: &str = ".manifests";

/// One prompt, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    language: String,
    /// Relative to the manifest's folder, with its extension.
    file: String,
    size_bytes: u64,
    sha256: String,
    #[serde(skip)]
    url: String,
}

/// Fetches, verifies and installs a manifest. One that is there already is left alone.
pub async fn fetch(sounds: &Path, order: v1::SyncOrder) -> Result<(), Error> {
    fetch_from(&Trust::of_process(), sounds, order).await
}

async fn fetch_from(trust: &Trust, sounds: &Path, order: v1::SyncOrder) -> Result<(), Error> {
    let manifest = order.manifest.clone();
    let bad = |why: String| Error::Media { manifest: manifest.clone(), why };
    let prompts = check(order).map_err(|why| bad(why.to_owned()))?;
    if list_path(sounds, &manifest).exists() && verify(sounds, &manifest).is_ok() {
        return Ok(());
    }
    let languages: BTreeSet<String> = prompts.iter().map(|prompt| prompt.language.clone()).collect();
    let mut beside = BTreeMap::new();
    for language in &languages {
        let dir = sounds.join(language).join(format!(".tmp-{manifest}"));
        clear(&dir)?;
        fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        beside.insert(language.clone(), dir);
    }
    for prompt in &prompts {
        let Some(dir) = beside.get(&prompt.language) else { continue };
        let path = dir.join(&prompt.file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        }
        let fetched = download::to_file(&prompt.url, &path, prompt.size_bytes, trust).await;
        let (size, sha256) = fetched.map_err(|failure| match failure {
            Failure::Untrusted(why) => Error::Untrusted { manifest: manifest.clone(), why },
            Failure::Other(why) => bad(format!("{}: {why}", prompt.file)),
        })?;
        if size != prompt.size_bytes || hex::encode(sha256) != prompt.sha256 {
            return Err(bad(format!("{} is not what the manifest says", prompt.file)));
        }
    }
    for (language, dir) in &beside {
        sync_tree(dir)?;
        let place = sounds.join(language).join(&manifest);
        clear(&place)?;
        fs::rename(dir, &place).map_err(Error::file("create", &place))?;
        files::sync_dir(&sounds.join(language))?;
    }
    let list = serde_json::to_vec(&prompts).map_err(|error| bad(error.to_string()))?;
    let path = list_path(sounds, &manifest);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    files::write_public(&path, &list)
}

/// Manifests that are on disk, whole and unchanged. What is damaged loses its list, so that it is fetched again.
pub fn held(sounds: &Path) -> Result<Vec<String>, Error> {
    let lists = sounds.join(LISTS);
    let entries = match fs::read_dir(&lists) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", &lists)(error)),
    };
    let mut held = Vec::new();
    for entry in entries.take(MANIFESTS_MAX) {
        let name = entry.map_err(Error::file("read", &lists))?.file_name();
        let Some(manifest) = name.to_str().filter(|name| is_token(name)) else { continue };
        match verify(sounds, manifest) {
            Ok(()) => held.push(manifest.to_owned()),
            Err(error) => {
                tracing::warn!(%error, "a manifest on disk is damaged; it is fetched again when ordered");
                let path = list_path(sounds, manifest);
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
    }
    held.sort();
    Ok(held)
}

fn verify(sounds: &Path, manifest: &str) -> Result<(), Error> {
    let bad = |why: String| Error::Media { manifest: manifest.to_owned(), why };
    let path = list_path(sounds, manifest);
    let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
    let prompts: Vec<Listed> = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    for prompt in prompts {
        let path = sounds.join(&prompt.language).join(manifest).join(&prompt.file);
        let (size, sha256) = download::hash_file(&path, PROMPT_MAX_BYTES).map_err(bad)?;
        if size != prompt.size_bytes || hex::encode(sha256) != prompt.sha256 {
            return Err(bad(format!("{} changed", prompt.file)));
        }
    }
    Ok(())
}

/// Only names that stay in their folder, no file twice, all within the limits.
fn check(order: v1::SyncOrder) -> Result<Vec<Listed>, &'static str> {
    if !is_token(&order.manifest) {
        return Err("its id is not usable");
    }
    if order.prompts.is_empty() || order.prompts.len() > PROMPTS_MAX {
        return Err("not 1 to 512 prompts");
    }
    let mut total = 0_u64;
    let mut seen = BTreeSet::new();
    let mut listed = Vec::with_capacity(order.prompts.len());
    for prompt in order.prompts {
        let ext_ok =
            (1..=8).contains(&prompt.ext.len()) && prompt.ext.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_prompt_name(&prompt.name) || !ext_ok || prompt.name.len() > 128 {
            return Err("a prompt's name is not usable");
        }
        if !is_token(&prompt.language) || prompt.language.len() > 16 {
            return Err("a prompt's language is not usable");
        }
        let sha256: Hash = prompt.sha256.as_slice().try_into().map_err(|_| "a prompt has no sha-256")?;
        total = total.saturating_add(prompt.size_bytes);
        if prompt.size_bytes > PROMPT_MAX_BYTES || total > MANIFEST_MAX_BYTES {
            return Err("it is too large");
        }
        let file = format!("{}.{}", prompt.name, prompt.ext);
        if !seen.insert((prompt.language.clone(), file.clone())) {
            return Err("a prompt is there twice");
        }
        listed.push(Listed {
            language: prompt.language,
            file,
            size_bytes: prompt.size_bytes,
            sha256: hex::encode(sha256),
            url: prompt.url,
        });
    }
    Ok(listed)
}

fn list_path(sounds: &Path, manifest: &str) -> PathBuf {
    sounds.join(LISTS).join(manifest)
}

fn clear(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// Makes the names of a folder and of those in it durable; the files themselves were synced as they were written.
fn sync_tree(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
        let path = entry.map_err(Error::file("read", dir))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    files::sync_dir(dir)
}

#[cfg(test)]
mod tests;

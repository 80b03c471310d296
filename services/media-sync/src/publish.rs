//! Publishing: prompts and flows into the object store, under names made of their hashes.
//!
//! Sounds are converted once, here (`asterism-audio`), to each format that trunks use: nodes only copy. Blobs go first, the
//! document that names them last, so a manifest that can be read is complete. Everything may be repeated; what is there is not written again.

mod convert;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use asterism_audio::Format;
use asterism_domain::Event;
use asterism_domain::logic::{Flow, FlowProblem};
use asterism_domain::media::{self, ManifestDoc};
use asterism_object_store::{self as object_store, ObjectName, ObjectStore, PutResult, sha256_name};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest, Sha256};

pub use convert::{PromptError, Sound, convert, prepare};
pub use sources::{MAX_SOURCE_BYTES, MAX_SOURCES, Source, read_files, read_folder};

/// The formats of prompts for which nobody named others.
pub const DEFAULT_FORMATS: [Format; 1] = [Format::Ulaw];
/// Sounds sent to the store at the same time.
const SENT_AT_ONCE: usize = 16;

/// What a set of prompts is to be.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// The name for people.
    pub name: &'a str,
    /// What each sound is made in.
    pub formats: &'a [Format],
}

/// How far a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many files are converted, or refused.
    Converted {
        /// Files.
        files: usize,
        /// All of them.
        of: usize,
    },
    /// The store has so many sounds.
    Sent {
        /// Sounds.
        sounds: usize,
        /// All of them.
        of: usize,
    },
}

/// For those who need not know how far it is.
pub fn untold(_: Step) {}

/// What a publication made.
#[derive(Debug, Clone)]
pub struct Published {
    /// The fact for the log.
    pub event: Event,
    /// The manifest.
    pub manifest: ManifestDoc,
    /// Its id.
    pub manifest_id: String,
    /// The sounds, in the order of the files.
    pub sounds: Vec<Sound>,
    /// How many files the store held before: they were not sent.
    pub unchanged: usize,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some files are no prompts; all of them are named.
    #[error("{}", list(.0))]
    Prompts(Vec<(String, PromptError)>),
    /// The prompts make no manifest.
    #[error(transparent)]
    Manifest(#[from] media::Error),
    /// The flow has problems; all of them are named.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Flow(Vec<FlowProblem>),
    /// The object store refuses or does not answer.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// A file or folder cannot be read.
    #[error("AST-M030: {path} cannot be read: {source}; check the path and its permissions")]
    Read {
        /// The path.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A folder of a folder of prompts that is none of a language.
    #[error(
        "AST-M032: {path} is a folder that is not named like a language (en, de, en_GB); rename it or move it away"
    )]
    Language {
        /// The path.
        path: String,
    },
    /// A folder with nothing in it, or with too much.
    #[error("AST-M031: {path} holds {count} prompts; 1 to {MAX_SOURCES} are allowed")]
    Count {
        /// The path.
        path: String,
        /// How many there are.
        count: usize,
    },
}

impl Error {
    /// The stable code of the first problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Prompts(problems) => problems.first().map_or("AST-M021", |(_, problem)| problem.code()),
            Self::Manifest(error) => error.code(),
            Self::Flow(problems) => problems.first().map_or("AST-F001", |problem| problem.code),
            Self::Store(error) => error.code(),
            Self::Read { .. } => "AST-M030",
            Self::Count { .. } => "AST-M031",
            Self::Language { .. } => "AST-M032",
        }
    }
}

/// Publishes a set of prompts. What the store has is not sent again, so a publication that broke off is resumed by
/// repeating it.
pub async fn publish(
    store: &dyn ObjectStore,
    set: Set<'_>,
    sources: &[Source],
    told: &(dyn Fn(Step) + Sync),
) -> Result<Published, Error> {
    let (manifest, sounds) = prepare(set, sources, told)?;
    put_set(store, manifest, sounds, told).await
}

/// Puts what [`prepare`] made into the store.
pub async fn put_set(
    store: &dyn ObjectStore,
    manifest: ManifestDoc,
    sounds: Vec<Sound>,
    told: &(dyn Fn(Step) + Sync),
) -> Result<Published, Error> {
    let document = manifest.to_json()?;
    let files: Vec<Bytes> =
        sounds.iter().flat_map(|sound| sound.files.iter().map(|(_, bytes)| bytes.clone())).collect();
    let sends: Vec<_> = files.into_iter().map(|bytes| send(store, bytes)).collect();
    let (all, mut sent, mut unchanged) = (sends.len(), 0, 0);
    let mut sending = stream::iter(sends).buffer_unordered(SENT_AT_ONCE);
    while let Some(put) = sending.try_next().await? {
        sent += 1;
        unchanged += usize::from(put == PutResult::Exists);
        told(Step::Sent { sounds: sent, of: all });
    }
    let manifest_id = media::manifest_id(&document);
    let object = manifest_object(&manifest_id)?;
    let event = Event::ManifestPublished {
        manifest: manifest_id.clone(),
        name: manifest.name.clone(),
        object: object.to_string(),
        sha256: Sha256::digest(&document).to_vec(),
        prompts: manifest.entries.len() as u32,
        size_bytes: manifest.size_bytes(),
    };
    put_bundle(store, &manifest_id, &manifest, &sounds).await?;
    put_document(store, &object, document.into()).await?;
    Ok(Published { event, manifest, manifest_id, sounds, unchanged })
}

/// Publishes a flow; it must be free of problems. The flow, and the fact for the log.
pub async fn publish_flow(store: &dyn ObjectStore, document: &[u8]) -> Result<(Flow, Event), Error> {
    let flow = Flow::parse_bytes(document).map_err(Error::Flow)?;
    let object = flow_object(flow.id())?;
    put_document(store, &object, Bytes::copy_from_slice(document)).await?;
    let event = Event::FlowPublished {
        flow: flow.id().to_owned(),
        name: flow.name().to_owned(),
        object: object.to_string(),
        sha256: Sha256::digest(document).to_vec(),
        bridges: flow.bridges(),
    };
    Ok((flow, event))
}

/// Where a manifest lies in the object store.
pub fn manifest_object(id: &str) -> Result<ObjectName, object_store::Error> {
    ObjectName::new(format!("manifests/{id}.json"))
}

/// Where a manifest's bundle lies in the object store.
pub fn bundle_object(id: &str) -> Result<ObjectName, object_store::Error> {
    ObjectName::new(format!("bundles/{id}"))
}

/// Writes the sounds one behind the other, each once, in the order of the manifest: what a node with nothing asks for in one
/// request. It proves nothing; a node hashes each sound of it. A set of one sound, or one too large for an object, has none.
async fn put_bundle(
    store: &dyn ObjectStore,
    id: &str,
    manifest: &ManifestDoc,
    sounds: &[Sound],
) -> Result<(), Error> {
    let wanted = manifest.size_bytes();
    let object = bundle_object(id)?;
    if wanted > object_store::MAX_OBJECT_BYTES
        || store.head(&object).await?.is_some_and(|meta| meta.size_bytes == wanted)
    {
        return Ok(());
    }
    let files: BTreeMap<String, &Bytes> =
        sounds.iter().flat_map(|sound| &sound.files).map(|(_, bytes)| (sha256_hex(bytes), bytes)).collect();
    let mut once = BTreeSet::new();
    let mut bundle = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
    for entry in &manifest.entries {
        if let Some(bytes) = files.get(&entry.sha256).filter(|_| once.insert(&entry.sha256)) {
            bundle.extend_from_slice(bytes);
        }
    }
    if once.len() > 1 {
        store.put(&object, bundle.into()).await?;
    }
    Ok(())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Where a flow lies in the object store.
pub fn flow_object(id: &str) -> Result<ObjectName, object_store::Error> {
    ObjectName::new(format!("flows/{id}.toml"))
}

/// Writes a document under a name made of its hash. One that was there before must be the same.
async fn put_document(store: &dyn ObjectStore, name: &ObjectName, document: Bytes) -> Result<(), Error> {
    if store.put_if_absent(name, document.clone()).await? == PutResult::Created {
        return Ok(());
    }
    match store.get(name, document.len() as u64).await {
        Ok(there) if there == document => Ok(()),
        Ok(_) | Err(object_store::Error::TooLarge { .. }) => {
            Err(object_store::Error::WrongContent { name: name.clone() }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends a sound, unless the store has it: a name is a hash, so what is there under it with the same size is the same.
async fn send(store: &dyn ObjectStore, bytes: Bytes) -> Result<PutResult, Error> {
    let name = sha256_name(&bytes);
    let there = store.head(&name).await?.is_some_and(|meta| meta.size_bytes == bytes.len() as u64);
    if there { Ok(PutResult::Exists) } else { Ok(store.put_if_absent(&name, bytes).await?) }
}

fn list(problems: &[(String, PromptError)]) -> String {
    let lines: Vec<String> = problems.iter().map(|(file, problem)| format!("{file:?}: {problem}")).collect();
    lines.join("\n")
}

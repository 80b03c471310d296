//! Publishing: prompts and flows into the object store, under names made of their hashes.
//!
//! Sounds are converted once, here (`asterism-audio`), to each format that trunks use: nodes only copy. Blobs go first, the document that names them
//! last, so a manifest that can be read is complete. Everything may be repeated; what is there is not written again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub use asterism_audio::Format;
use asterism_audio::{self as audio, Kind, Limits, Measured};
use asterism_domain::Event;
use asterism_domain::logic::{Flow, FlowProblem, is_name};
use asterism_domain::media::{self, ManifestDoc, PromptEntry};
use asterism_object_store::{self as object_store, ObjectName, ObjectStore, PutResult, sha256_name};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest, Sha256};

/// Largest sound file that is read, in bytes.
pub const MAX_SOURCE_BYTES: u64 = 128 * 1024 * 1024;
/// Most files of a folder of prompts.
pub const MAX_SOURCES: usize = media::MAX_ENTRIES;
/// The formats of prompts for which nobody named others.
pub const DEFAULT_FORMATS: [Format; 1] = [Format::Ulaw];
/// Sounds sent to the store at the same time.
const SENT_AT_ONCE: usize = 16;
/// What one file may become.
const LIMITS: Limits = Limits { duration_ms: media::MAX_DURATION_MS, encoded_bytes: media::MAX_PROMPT_BYTES };

/// A sound file as people keep it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name with the extension, like `welcome.wav`; the stem is the prompt's name.
    pub file_name: String,
    /// Its content.
    pub bytes: Bytes,
}

/// A prompt as nodes play it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// The prompt's name.
    pub name: String,
    /// Its files, in the order of the formats that were asked for.
    pub files: Vec<(Format, Bytes)>,
    /// What it is like.
    pub measured: Measured,
}

/// What a set of prompts is to be.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// The name for people.
    pub name: &'a str,
    /// Asterisk's language tag.
    pub language: &'a str,
    /// What each sound is made in.
    pub formats: &'a [Format],
}

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

/// Why one file is no prompt. Each has a stable code (see [`PromptError::code`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The name is no prompt name.
    #[error("AST-M020: a prompt is named by its file, with 1 to 64 of a-z, 0-9 and -; rename the file")]
    Name,
    /// No kind of file that is read.
    #[error(
        "AST-M021: only .wav, .flac, .mp3, .ogg, .ulaw and .alaw files are prompts; convert it: sox IN OUT.wav"
    )]
    Extension,
    /// No sound that can be played.
    #[error(transparent)]
    Sound(#[from] audio::Error),
    /// Two files of one name.
    #[error("AST-M028: {other} is the same prompt; keep one of the two")]
    Twice {
        /// The other file.
        other: String,
    },
}

impl PromptError {
    /// The stable code, like `AST-M020`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name => "AST-M020",
            Self::Extension => "AST-M021",
            Self::Sound(error) => error.code(),
            Self::Twice { .. } => "AST-M028",
        }
    }
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
        }
    }
}

/// Reads the sound files of a folder, sorted by name. Names that begin with a dot are passed over. Blocks.
pub fn read_folder(folder: &Path) -> Result<Vec<Source>, Error> {
    let at = |path: &Path, source| Error::Read { path: path.display().to_string(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| at(folder, source))? {
        let path = entry.map_err(|source| at(folder, source))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && paths.len() <= MAX_SOURCES {
            paths.push(path);
        }
    }
    if !(1..=MAX_SOURCES).contains(&paths.len()) {
        return Err(Error::Count { path: folder.display().to_string(), count: paths.len() });
    }
    paths.sort();
    paths.iter().map(|path| read_file(path)).collect()
}

/// Reads single sound files, in the order they are named. Blocks.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<Source>, Error> {
    if !(1..=MAX_SOURCES).contains(&paths.len()) {
        return Err(Error::Count { path: "the command line".to_owned(), count: paths.len() });
    }
    paths.iter().map(|path| read_file(path)).collect()
}

fn read_file(path: &Path) -> Result<Source, Error> {
    let at = |source| Error::Read { path: path.display().to_string(), source };
    let size_bytes = fs::metadata(path).map_err(at)?.len();
    if size_bytes > MAX_SOURCE_BYTES {
        let why = format!("it has {size_bytes} bytes, at most {MAX_SOURCE_BYTES} are allowed");
        return Err(at(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { file_name, bytes: fs::read(path).map_err(at)?.into() })
}

/// Turns one file into what nodes play. Pure.
pub fn convert(source: &Source, formats: &[Format]) -> Result<Sound, PromptError> {
    let (name, ext) = source.file_name.rsplit_once('.').ok_or(PromptError::Extension)?;
    let kind = Kind::of_extension(ext).ok_or(PromptError::Extension)?;
    if !is_name(name) {
        return Err(PromptError::Name);
    }
    let audio::Sound { measured, encoded } = audio::convert(kind, &source.bytes, formats, LIMITS)?;
    let files = encoded.into_iter().map(|(format, bytes)| (format, bytes.into())).collect();
    Ok(Sound { name: name.to_owned(), files, measured })
}

/// What [`publish`] would make of a set of prompts: the manifest and the sounds. Pure, on all processors.
pub fn prepare(set: Set<'_>, sources: &[Source]) -> Result<(ManifestDoc, Vec<Sound>), Error> {
    let sounds = convert_all(sources, set.formats)?;
    let entries = sounds.iter().flat_map(|sound| {
        sound.files.iter().map(|(format, bytes)| PromptEntry {
            name: sound.name.clone(),
            language: set.language.to_owned(),
            ext: format.extension().to_owned(),
            sha256: sha256_hex(bytes),
            size_bytes: bytes.len() as u64,
            duration_ms: sound.measured.duration_ms,
        })
    });
    Ok((ManifestDoc::new(set.name, entries.collect())?, sounds))
}

/// Publishes a set of prompts. What the store has is not sent again, so a publication that broke off is resumed by
/// repeating it.
pub async fn publish(store: &dyn ObjectStore, set: Set<'_>, sources: &[Source]) -> Result<Published, Error> {
    let (manifest, sounds) = prepare(set, sources)?;
    let document = manifest.to_json()?;
    let files: Vec<Bytes> =
        sounds.iter().flat_map(|sound| sound.files.iter().map(|(_, bytes)| bytes.clone())).collect();
    let sends: Vec<_> = files.into_iter().map(|bytes| send(store, bytes)).collect();
    let puts: Vec<PutResult> = stream::iter(sends).buffer_unordered(SENT_AT_ONCE).try_collect().await?;
    let unchanged = puts.iter().filter(|put| **put == PutResult::Exists).count();
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

fn convert_all(sources: &[Source], formats: &[Format]) -> Result<Vec<Sound>, Error> {
    let mut sounds = Vec::with_capacity(sources.len());
    let mut problems = Vec::new();
    let mut file_of: BTreeMap<&str, &str> = BTreeMap::new();
    for (source, converted) in sources.iter().zip(convert_each(sources, formats)) {
        // Two files of one name collide whether or not both can be played.
        let stem = source.file_name.rsplit_once('.').map_or(source.file_name.as_str(), |(stem, _)| stem);
        if let Some(other) = file_of.insert(stem, &source.file_name) {
            problems.push((source.file_name.clone(), PromptError::Twice { other: other.to_owned() }));
        }
        match converted {
            Ok(sound) => sounds.push(sound),
            Err(problem) => problems.push((source.file_name.clone(), problem)),
        }
    }
    if problems.is_empty() { Ok(sounds) } else { Err(Error::Prompts(problems)) }
}

/// Converts on all processors; the answers stand in the order of the files.
fn convert_each(sources: &[Source], formats: &[Format]) -> Vec<Result<Sound, PromptError>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let made: Vec<OnceLock<_>> = sources.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for _ in 0..threads.min(sources.len()) {
            scope.spawn(|| {
                while let Some((source, place)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    sources.get(at).zip(made.get(at))
                } {
                    let _ = place.set(convert(source, formats));
                }
            });
        }
    });
    // The scope ends when every place is filled.
    made.into_iter().filter_map(OnceLock::into_inner).collect()
}

fn list(problems: &[(String, PromptError)]) -> String {
    let lines: Vec<String> = problems.iter().map(|(file, problem)| format!("{file:?}: {problem}")).collect();
    lines.join("\n")
}

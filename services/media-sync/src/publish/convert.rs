//! Sound files into what nodes play, on all processors.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use asterism_audio::{self as audio, Format, Kind, Limits, Measured};
use asterism_domain::logic::is_name;
use asterism_domain::media::{self, ManifestDoc, PromptEntry};
use bytes::Bytes;

use super::sources::Source;
use super::{Error, Set, Step, sha256_hex};

/// What one file may become.
const LIMITS: Limits = Limits { duration_ms: media::MAX_DURATION_MS, encoded_bytes: media::MAX_PROMPT_BYTES };

/// A prompt as nodes play it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// The prompt's name.
    pub name: String,
    /// Asterisk's tag of the language it is in.
    pub language: String,
    /// Its files, in the order of the formats that were asked for.
    pub files: Vec<(Format, Bytes)>,
    /// What it is like.
    pub measured: Measured,
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

/// Turns one file into what nodes play. Pure.
pub fn convert(source: &Source, formats: &[Format]) -> Result<Sound, PromptError> {
    let (name, ext) = source.file_name.rsplit_once('.').ok_or(PromptError::Extension)?;
    let kind = Kind::of_extension(ext).ok_or(PromptError::Extension)?;
    if !is_name(name) {
        return Err(PromptError::Name);
    }
    let audio::Sound { measured, encoded } = audio::convert(kind, &source.bytes, formats, LIMITS)?;
    let files = encoded.into_iter().map(|(format, bytes)| (format, bytes.into())).collect();
    Ok(Sound { name: name.to_owned(), language: source.language.clone(), files, measured })
}

/// What [`super::publish`] would make of a set of prompts: the manifest and the sounds. Pure; on all processors.
pub fn prepare(
    set: Set<'_>,
    sources: &[Source],
    told: &(dyn Fn(Step) + Sync),
) -> Result<(ManifestDoc, Vec<Sound>), Error> {
    let sounds = convert_all(sources, set.formats, told)?;
    let entries = sounds.iter().flat_map(|sound| {
        sound.files.iter().map(|(format, bytes)| PromptEntry {
            name: sound.name.clone(),
            language: sound.language.clone(),
            ext: format.extension().to_owned(),
            sha256: sha256_hex(bytes),
            size_bytes: bytes.len() as u64,
            duration_ms: sound.measured.duration_ms,
        })
    });
    Ok((ManifestDoc::new(set.name, entries.collect())?, sounds))
}

fn convert_all(
    sources: &[Source],
    formats: &[Format],
    told: &(dyn Fn(Step) + Sync),
) -> Result<Vec<Sound>, Error> {
    let mut sounds = Vec::with_capacity(sources.len());
    let mut problems = Vec::new();
    let one =
        sources.first().is_none_or(|first| sources.iter().all(|source| source.language == first.language));
    let shown = |source: &Source| {
        if one { source.file_name.clone() } else { format!("{}/{}", source.language, source.file_name) }
    };
    let mut file_of: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (source, converted) in sources.iter().zip(convert_each(sources, formats, told)) {
        // Two files of one name collide whether or not both can be played.
        let stem = source.file_name.rsplit_once('.').map_or(source.file_name.as_str(), |(stem, _)| stem);
        if let Some(other) = file_of.insert((&source.language, stem), &source.file_name) {
            problems.push((shown(source), PromptError::Twice { other: other.to_owned() }));
        }
        match converted {
            Ok(sound) => sounds.push(sound),
            Err(problem) => problems.push((shown(source), problem)),
        }
    }
    if problems.is_empty() { Ok(sounds) } else { Err(Error::Prompts(problems)) }
}

/// Converts on all processors; the answers stand in the order of the files.
fn convert_each(
    sources: &[Source],
    formats: &[Format],
    told: &(dyn Fn(Step) + Sync),
) -> Vec<Result<Sound, PromptError>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let made: Vec<OnceLock<_>> = sources.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for _ in 0..threads.min(sources.len()) {
            scope.spawn(|| {
                while let Some((source, place)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    sources.get(at).zip(made.get(at))
                } {
                    let _ = place.set(convert(source, formats));
                    told(Step::Converted {
                        files: done.fetch_add(1, Ordering::Relaxed) + 1,
                        of: sources.len(),
                    });
                }
            });
        }
    });
    // The scope ends when every place is filled.
    made.into_iter().filter_map(OnceLock::into_inner).collect()
}

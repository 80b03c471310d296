//! Sound files on disk, as they are read before anything is made of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use asterism_domain::media::{self, is_language};
use bytes::Bytes;

use super::Error;

/// Largest sound file that is read, in bytes.
pub const MAX_SOURCE_BYTES: u64 = 128 * 1024 * 1024;
/// Most files of a set of prompts.
pub const MAX_SOURCES: usize = media::MAX_ENTRIES;

/// A sound file as people keep it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name with the extension, like `welcome.wav`; the stem is the prompt's name.
    pub file_name: String,
    /// Asterisk's tag of the language it is in.
    pub language: String,
    /// Its content.
    pub bytes: Bytes,
}

/// Reads the sound files of a folder, sorted by name: those in it are in `language`, those in a folder of it that is named
/// like a language (`de`, `en_GB`) in that one. Names that begin with a dot are passed over. Blocks.
pub fn read_folder(folder: &Path, language: &str) -> Result<Vec<Source>, Error> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if !path.is_dir() {
            files.push((path, language.to_owned()));
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_language(&name) {
            return Err(Error::Language { path: path.display().to_string() });
        }
        files.extend(entries(&path)?.into_iter().map(|path| (path, name.clone())));
    }
    if !(1..=MAX_SOURCES).contains(&files.len()) {
        return Err(Error::Count { path: folder.display().to_string(), count: files.len() });
    }
    files.iter().map(|(path, language)| read_file(path, language)).collect()
}

/// Reads single sound files, in the order they are named. Blocks.
pub fn read_files(paths: &[PathBuf], language: &str) -> Result<Vec<Source>, Error> {
    if !(1..=MAX_SOURCES).contains(&paths.len()) {
        return Err(Error::Count { path: "the command line".to_owned(), count: paths.len() });
    }
    paths.iter().map(|path| read_file(path, language)).collect()
}

/// What is in a folder, sorted, and one more than may be at most.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let at = |source| Error::Read { path: folder.display().to_string(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && paths.len() <= MAX_SOURCES {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path, language: &str) -> Result<Source, Error> {
    let at = |source| Error::Read { path: path.display().to_string(), source };
    let size_bytes = fs::metadata(path).map_err(at)?.len();
    if size_bytes > MAX_SOURCE_BYTES {
        let why = format!("it has {size_bytes} bytes, at most {MAX_SOURCE_BYTES} are allowed");
        return Err(at(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { file_name, language: language.to_owned(), bytes: fs::read(path).map_err(at)?.into() })
}

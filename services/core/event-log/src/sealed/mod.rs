//! Sealed segments: immutable, compressed, indexed, provable files `segment-<first>-<end>.ast`.
//!
//! Layout (big endian): magic `ASTSEG02`, then chunks (tag 1, raw length, compressed length, CRC-32 of the compressed
//! bytes, zstd of whole stored frames), then the index (a group for each chunk, see `index.rs`), then the footer (tag 4,
//! first, end, frames, root before, root at end, trust anchor; where the index begins, its length, whether contacts are
//! in it, its SHA-256; SHA-256 of everything before that hash, CRC-32 of the footer). `ASTSEG01` has no index and says
//! nothing of one in its footer (tag 2); it is read as ever.

mod chunk;
mod find;
mod footer;
mod index;
mod reader;
mod writer;

use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use crate::error::Error;

pub(crate) use find::leaves;
pub use find::{Find, Found};
pub use footer::{Footer, IndexAt};
pub use index::{ContactsOf, Key, no_contacts};
pub use reader::Reader;
pub(crate) use writer::Writer;

const MAGIC: [u8; 8] = *b"ASTSEG02";
const MAGIC_V1: [u8; 8] = *b"ASTSEG01";
const MAGIC_BYTES: u64 = MAGIC.len() as u64;

/// A sealed segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSegment {
    /// The file.
    pub path: PathBuf,
    /// First global sequence in it.
    pub first: u64,
    /// Log size after it.
    pub end: u64,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub sha256: Hash,
}

/// File name of a sealed segment.
pub fn file_name(first: u64, end: u64) -> String {
    format!("segment-{first:020}-{end:020}.ast")
}

/// Reads first and end from a sealed segment's file name.
pub fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (first, end) = name.strip_prefix("segment-")?.strip_suffix(".ast")?.split_once('-')?;
    let number = |text: &str| {
        (text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())
    };
    Some((number(first)??, number(end)??)).filter(|(first, end)| first < end)
}

/// Sealed segments in a folder by position. Other files are not looked at.
pub fn list(folder: &Path) -> Result<Vec<(u64, u64, PathBuf)>, Error> {
    let listing = |error| Error::io("listing the log folder", folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        if let Some((first, end)) = entry.file_name().to_str().and_then(parse_file_name) {
            found.push((first, end, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

//! Reading a sealed file from its beginning, all of it checked.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use asterism_proto::frame::FRAME_VERSION;
use asterism_proto::hash::Hash;
use sha2::{Digest, Sha256};

use super::chunk;
use super::footer::{Footer, Version};
use super::{MAGIC, MAGIC_BYTES, parse_file_name};
use crate::error::Error;
use crate::record::StoredFrame;

const DOING: &str = "reading a sealed segment";

/// A sealed file and what its end says of it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) footer: Footer,
    pub(super) content_hash: Hash,
    /// Where the chunks end.
    pub(super) chunks_end: u64,
}

/// Opens a file and reads magic and footer.
pub(super) fn open(path: &Path) -> Result<Opened, Error> {
    let reading = |error| Error::io(DOING, path, error);
    // What cannot be opened is known by its name only.
    let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_file_name);
    let first = named.map_or(0, |(first, _)| first);
    let mut file = File::open(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    let too_short = || Error::damaged(path, first, "it is too short to be a sealed segment");
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC_BYTES {
        return Err(too_short());
    }
    file.read_exact(&mut magic).map_err(reading)?;
    let (kind, digits) = magic.split_last_chunk::<2>().unwrap_or((&[], &[0; 2]));
    if kind != &MAGIC[..6] {
        return Err(Error::damaged(path, first, "it does not begin as a sealed segment"));
    }
    let Some(version) = Version::of(*digits) else {
        let what = "a sealed segment of another version than 01 and 02";
        return Err(Error::Format { path: path.to_owned(), what });
    };
    let footer_at = length.checked_sub(version.footer_bytes() as u64).filter(|at| *at >= MAGIC_BYTES);
    let footer_at = footer_at.ok_or_else(too_short)?;
    let mut tail = vec![0; version.footer_bytes()];
    file.seek(SeekFrom::Start(footer_at)).map_err(reading)?;
    file.read_exact(&mut tail).map_err(reading)?;
    let (footer, content_hash) = Footer::read(&tail, version, footer_at).ok_or_else(|| {
        Error::damaged(
            path,
            first,
            "its end is not that of a sealed segment: it was cut, or its footer changed",
        )
    })?;
    file.seek(SeekFrom::Start(MAGIC_BYTES)).map_err(reading)?;
    let chunks_end = footer.index.map_or(footer_at, |index| index.at);
    Ok(Opened { file, footer, content_hash, chunks_end })
}

/// Reads a frame from the beginning of a chunk's rest.
pub(super) fn frame_of(path: &Path, rest: &[u8], position: u64) -> Result<(StoredFrame, usize), Error> {
    StoredFrame::decode(rest).ok_or_else(|| match StoredFrame::newer_version(rest) {
        Some(version) => Error::TooNew {
            folder: path.to_owned(),
            position,
            what: format!("a frame of version {version}, only {FRAME_VERSION} is known here"),
        },
        None => Error::damaged(path, position, "a chunk does not hold whole frames"),
    })
}

/// Reads a sealed segment frame by frame with one chunk in memory. Checks the footer first, every chunk's CRC on the
/// way and the SHA-256 of index and file at the end; order, signatures and roots are the caller's.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    hasher: Sha256,
    footer: Footer,
    content_hash: Hash,
    /// Bytes of chunks that are not read yet.
    left: u64,
    chunks_end: u64,
    /// Where the chunk begins that the last frame was of.
    chunk_at: u64,
    chunk: Vec<u8>,
    offset: usize,
    position: u64,
}

impl Reader {
    /// Opens a sealed segment and reads its footer.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let Opened { file, footer, content_hash, chunks_end } = open(path)?;
        let mut magic = MAGIC;
        if footer.version() == Version::V1 {
            magic = super::MAGIC_V1;
        }
        Ok(Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(256 * 1024, file),
            hasher: Sha256::new_with_prefix(magic),
            position: footer.first,
            footer,
            content_hash,
            left: chunks_end - MAGIC_BYTES,
            chunks_end,
            chunk_at: 0,
            chunk: Vec::new(),
            offset: 0,
        })
    }

    /// What the segment says of itself.
    pub const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Log size after the last frame returned.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Where the chunk of the last frame returned begins in the file.
    pub(super) const fn chunk_at(&self) -> u64 {
        self.chunk_at
    }

    /// The next frame; `None` behind the last one, and only if the whole file had the SHA-256 its footer names.
    pub fn next_frame(&mut self) -> Result<Option<StoredFrame>, Error> {
        if self.offset == self.chunk.len() && !self.next_chunk()? {
            return Ok(None);
        }
        let rest = self.chunk.get(self.offset..).unwrap_or_default();
        let (frame, length) = frame_of(&self.path, rest, self.position)?;
        self.offset += length;
        self.position += frame.leaves.len() as u64;
        Ok(Some(frame))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged(&self.path, self.position, what)
    }

    fn next_chunk(&mut self) -> Result<bool, Error> {
        if self.left == 0 {
            return self.check_end().map(|()| false);
        }
        self.chunk_at = self.chunks_end - self.left;
        let mut head = [0; chunk::HEAD_BYTES];
        self.fill(&mut head)?;
        let head = chunk::Head::read(&head, self.left).map_err(|what| self.damaged(what))?;
        let mut bytes = vec![0; head.packed];
        self.fill(&mut bytes)?;
        self.chunk = head.open(&bytes).map_err(|what| self.damaged(what))?;
        self.offset = 0;
        Ok(true)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if buffer.len() as u64 > self.left {
            return Err(self.damaged("the last chunk is cut"));
        }
        self.left -= buffer.len() as u64;
        self.take(buffer)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(buffer).map_err(|error| Error::io(DOING, &self.path, error))?;
        self.hasher.update(buffer);
        Ok(())
    }

    /// All chunks were read: index and file must have the hashes the footer names.
    fn check_end(&mut self) -> Result<(), Error> {
        if let Some(index) = self.footer.index {
            let mut hasher = Sha256::new();
            let mut left = index.bytes;
            while left > 0 {
                let mut piece = vec![0; left.min(64 * 1024) as usize];
                self.take(&mut piece)?;
                hasher.update(&piece);
                left -= piece.len() as u64;
            }
            if Hash::from(hasher.finalize()) != index.sha256 {
                return Err(self.damaged("the index is not the one that was sealed"));
            }
        }
        let mut hasher = self.hasher.clone();
        hasher.update(self.footer.encode());
        let hash: Hash = hasher.finalize().into();
        match () {
            () if hash != self.content_hash => Err(self.damaged("the file is not the one that was sealed")),
            () if self.position != self.footer.end => Err(self.damaged("frames are missing or too many")),
            () => Ok(()),
        }
    }
}

//! Looking for something in sealed files without reading all of them.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;
use sha2::{Digest, Sha256};

use super::footer::{Footer, IndexAt};
use super::index::{ContactsOf, GROUP_HEAD_BYTES, Group, Key};
use super::{MAGIC_BYTES, chunk, reader};
use crate::error::Error;
use crate::record::StoredFrame;

const DOING: &str = "searching a sealed segment";

/// A frame that was found, and where. Its events are those its header names; who signed it, and that nothing is
/// missing, only a pass over the whole log proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Global sequence of its first event.
    pub first: u64,
    /// The frame.
    pub frame: StoredFrame,
}

/// The frames that hold what is looked for, in log order. Ends after the first error. In memory: one chunk, and 16
/// bytes for each chunk of a segment.
#[derive(Debug)]
pub struct Find {
    key: Key,
    contacts: ContactsOf,
    segments: std::vec::IntoIter<PathBuf>,
    open: Option<Segment>,
    chunks: u64,
    opened: u64,
    ended: bool,
}

/// A segment that is searched.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    chunks_end: u64,
    /// Where the chunks begin that may hold it, and at which position; those of a file without an index have none.
    candidates: std::vec::IntoIter<(u64, u64)>,
    /// Frames of the chunk that is open.
    found: std::vec::IntoIter<Found>,
}

impl Find {
    pub(crate) fn new(segments: Vec<PathBuf>, key: Key, contacts: ContactsOf) -> Self {
        let segments = segments.into_iter();
        Self { key, contacts, segments, open: None, chunks: 0, opened: 0, ended: false }
    }

    /// Chunks passed so far, and how many of them were decompressed.
    pub const fn chunks(&self) -> (u64, u64) {
        (self.chunks, self.opened)
    }

    fn advance(&mut self) -> Result<Option<Found>, Error> {
        loop {
            let Some(segment) = &mut self.open else {
                let Some(path) = self.segments.next() else { return Ok(None) };
                let (segment, chunks) = Segment::open(path, &self.key)?;
                self.chunks += chunks;
                self.open = Some(segment);
                continue;
            };
            if let Some(found) = segment.found.next() {
                return Ok(Some(found));
            }
            if let Some((at, first)) = segment.candidates.next() {
                self.opened += 1;
                segment.found = segment.search(at, first, &self.key, self.contacts)?.into_iter();
            } else {
                self.open = None;
            }
        }
    }
}

impl Iterator for Find {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl Segment {
    /// Opens a file and chooses its chunks; returns how many it has too.
    fn open(path: PathBuf, key: &Key) -> Result<(Self, u64), Error> {
        let mut opened = reader::open(&path)?;
        // One sealed by somebody who did not know contacts is searched whole for them.
        let usable = opened.footer.index.filter(|at| at.contacts || !matches!(key, Key::Contact { .. }));
        let (candidates, chunks) = match usable {
            Some(at) => choose(&path, &mut opened.file, &opened.footer, at, key)?,
            None => every_chunk(&path, &mut opened.file, &opened.footer, opened.chunks_end)?,
        };
        let (file, chunks_end) = (opened.file, opened.chunks_end);
        let (candidates, found) = (candidates.into_iter(), Vec::new().into_iter());
        Ok((Self { path, file, chunks_end, candidates, found }, chunks))
    }

    /// The frames of a chunk that hold it.
    fn search(&mut self, at: u64, first: u64, key: &Key, contacts: ContactsOf) -> Result<Vec<Found>, Error> {
        let damaged = |what| Error::damaged(&self.path, first, what);
        let (head, bytes) = read_chunk(&self.path, &mut self.file, at, self.chunks_end, first)?;
        let raw = head.open(&bytes).map_err(damaged)?;
        let (mut rest, mut position, mut found) = (raw.as_slice(), first, Vec::new());
        while !rest.is_empty() {
            let (frame, length) = reader::frame_of(&self.path, rest, position)?;
            let events = frame.leaves.len() as u64;
            if key.is_in(&frame, contacts) {
                found.push(Found { first: position, frame });
            }
            position += events;
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(found)
    }
}

fn read_chunk(
    path: &Path,
    file: &mut File,
    at: u64,
    end: u64,
    first: u64,
) -> Result<(chunk::Head, Vec<u8>), Error> {
    let reading = |error| Error::io(DOING, path, error);
    let left = end.checked_sub(at + chunk::HEAD_BYTES as u64);
    let left = left.ok_or_else(|| Error::damaged(path, first, "the last chunk is cut"))?;
    let mut head = [0; chunk::HEAD_BYTES];
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut head)).map_err(reading)?;
    let head = chunk::Head::read(&head, left).map_err(|what| Error::damaged(path, first, what))?;
    let mut bytes = vec![0; head.packed];
    file.read_exact(&mut bytes).map_err(reading)?;
    Ok((head, bytes))
}

type Candidates = (Vec<(u64, u64)>, u64);

/// Reads the index and keeps the chunks that may hold it. Nothing counts before the whole index has its hash.
fn choose(
    path: &Path,
    file: &mut File,
    footer: &Footer,
    index: IndexAt,
    key: &Key,
) -> Result<Candidates, Error> {
    let damaged = || Error::damaged(path, footer.first, "the index is not the one that was sealed");
    let reading = |error| Error::io(DOING, path, error);
    file.seek(SeekFrom::Start(index.at)).map_err(reading)?;
    let mut input = BufReader::with_capacity(64 * 1024, file).take(index.bytes);
    let (mut hasher, mut candidates, mut chunks) = (Sha256::new(), Vec::new(), 0);
    let mut terms = Vec::new();
    while input.limit() > 0 {
        let mut head = [0; GROUP_HEAD_BYTES];
        input.read_exact(&mut head).map_err(|_| damaged())?;
        let (group, count) = Group::read_head(&head).ok_or_else(damaged)?;
        if count as u64 * 4 > input.limit() {
            return Err(damaged());
        }
        terms.resize(count * 4, 0);
        input.read_exact(&mut terms).map_err(|_| damaged())?;
        hasher.update(head);
        hasher.update(&terms);
        chunks += 1;
        if group.may_hold(key, &terms) {
            candidates.push((group.at, group.first));
        }
    }
    if Hash::from(hasher.finalize()) == index.sha256 { Ok((candidates, chunks)) } else { Err(damaged()) }
}

/// All chunks of a file without an index; positions follow from reading them.
fn every_chunk(path: &Path, file: &mut File, footer: &Footer, end: u64) -> Result<Candidates, Error> {
    let (mut at, mut first, mut candidates) = (MAGIC_BYTES, footer.first, Vec::new());
    while at < end {
        candidates.push((at, first));
        let (head, bytes) = read_chunk(path, file, at, end, first)?;
        let raw = head.open(&bytes).map_err(|what| Error::damaged(path, first, what))?;
        let mut rest = raw.as_slice();
        while !rest.is_empty() {
            let (frame, length) = reader::frame_of(path, rest, first)?;
            first += frame.leaves.len() as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        at += (chunk::HEAD_BYTES + head.packed) as u64;
    }
    let chunks = candidates.len() as u64;
    Ok((candidates, chunks))
}

//! Looking for something in sealed files without reading all of them.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;
use sha2::{Digest, Sha256};

use super::footer::{Footer, IndexAt};
use super::index::{ContactsOf, GROUP_HEAD_BYTES, Group, Key};
use super::{MAGIC_BYTES, chunk, list, reader};
use crate::error::Error;
use crate::record::StoredFrame;
use crate::steps::Steps;

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
}

impl Iterator for Find {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

impl Steps for Find {
    type Item = Found;

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

    fn ended(&mut self) -> &mut bool {
        &mut self.ended
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
        let (mut found, path) = (Vec::new(), &self.path);
        each_frame(path, &mut self.file, at, self.chunks_end, first, &mut |first, frame| {
            if key.is_in(&frame, contacts) {
                found.push(Found { first, frame });
            }
        })?;
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

/// Reads the index and keeps the chunks that may hold it.
fn choose(
    path: &Path,
    file: &mut File,
    footer: &Footer,
    index: IndexAt,
    key: &Key,
) -> Result<Candidates, Error> {
    let (mut candidates, mut chunks) = (Vec::new(), 0);
    each_group(path, file, footer, index, &mut |group, terms| {
        chunks += 1;
        if group.may_hold(key, terms) {
            candidates.push((group.at, group.first));
        }
    })?;
    Ok((candidates, chunks))
}

/// Reads the groups of an index with their terms. What they say does not count before this returns: the whole index must
/// have its hash.
fn each_group(
    path: &Path,
    file: &mut File,
    footer: &Footer,
    index: IndexAt,
    each: &mut dyn FnMut(&Group, &[u8]),
) -> Result<(), Error> {
    let damaged = || Error::damaged(path, footer.first, "the index is not the one that was sealed");
    let reading = |error| Error::io(DOING, path, error);
    file.seek(SeekFrom::Start(index.at)).map_err(reading)?;
    let mut input = BufReader::with_capacity(64 * 1024, file).take(index.bytes);
    let (mut hasher, mut terms) = (Sha256::new(), Vec::new());
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
        each(&group, &terms);
    }
    if Hash::from(hasher.finalize()) == index.sha256 { Ok(()) } else { Err(damaged()) }
}

/// The leaves from one position to another, hashed from the events in the sealed segments: only the chunks that hold
/// them are decompressed.
pub(crate) fn leaves(folder: &Path, from: u64, to: u64) -> Result<Vec<Hash>, Error> {
    let mut leaves = Vec::new();
    for (_, _, path) in list(folder)?.into_iter().filter(|(first, end, _)| *first < to && *end > from) {
        let mut opened = reader::open(&path)?;
        let (file, footer) = (&mut opened.file, &opened.footer);
        let mut chunks = match footer.index {
            Some(index) => {
                let mut all = Vec::new();
                each_group(&path, file, footer, index, &mut |group, _| all.push((group.at, group.first)))?;
                all
            }
            None => every_chunk(&path, file, footer, opened.chunks_end)?.0,
        };
        let begin = chunks.partition_point(|(_, first)| *first <= from).saturating_sub(1);
        for (at, first) in chunks.drain(begin..).take_while(|(_, first)| *first < to) {
            each_frame(&path, file, at, opened.chunks_end, first, &mut |position, frame| {
                let numbered = (position..).zip(&frame.leaves);
                leaves.extend(numbered.filter(|(at, _)| (from..to).contains(at)).map(|(_, leaf)| *leaf));
            })?;
        }
    }
    if leaves.len() as u64 == to - from {
        return Ok(leaves);
    }
    let what = format!("the events from {from} to {to} are in no sealed segment");
    Err(Error::damaged(folder, from, what))
}

/// The frames of a chunk, each with its position. Returns the length of the chunk, and the position behind it.
fn each_frame(
    path: &Path,
    file: &mut File,
    at: u64,
    end: u64,
    first: u64,
    each: &mut dyn FnMut(u64, StoredFrame),
) -> Result<(u64, u64), Error> {
    let (head, bytes) = read_chunk(path, file, at, end, first)?;
    let raw = head.open(&bytes).map_err(|what| Error::damaged(path, first, what))?;
    let (mut rest, mut position) = (raw.as_slice(), first);
    while !rest.is_empty() {
        let (frame, length) = reader::frame_of(path, rest, position)?;
        let events = frame.leaves.len() as u64;
        each(position, frame);
        position += events;
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(((chunk::HEAD_BYTES + head.packed) as u64, position))
}

/// All chunks of a file without an index; positions follow from reading them.
fn every_chunk(path: &Path, file: &mut File, footer: &Footer, end: u64) -> Result<Candidates, Error> {
    let (mut at, mut first, mut candidates) = (MAGIC_BYTES, footer.first, Vec::new());
    while at < end {
        candidates.push((at, first));
        let (length, behind) = each_frame(path, file, at, end, first, &mut |_, _| {})?;
        (at, first) = (at + length, behind);
    }
    let chunks = candidates.len() as u64;
    Ok((candidates, chunks))
}

//! HEAD: what the copy has promised. Two slots written in turn, so that a torn write leaves the other.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use crate::codec::{Cursor, put_u64};
use crate::disk::{self, sync_folder};
use crate::error::Error;

const MAGIC: [u8; 4] = *b"ASTH";
const VERSION: u8 = 1;
const SLOT_BYTES: usize = 4 + 1 + 8 + 8 + 8 + 32 + 32 + 4;
/// The slots are a page apart, so that no sector holds both.
const SLOT_OFFSETS: [u64; 2] = [0, 4_096];

/// The promise: everything below `size` is durable and has this root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// First position of the hot segment.
    pub hot_first: u64,
    /// Log size.
    pub size: u64,
    /// Root at that size.
    pub root: Hash,
    /// Hash of the last block.
    pub block_hash: Hash,
}

/// What the file said when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadFound {
    /// There was no file.
    Absent,
    /// At least one slot is whole; `damaged` if the other one was written and is not.
    Head { head: Head, damaged: bool },
    /// No slot is whole.
    Damaged,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct HeadFile {
    path: PathBuf,
    file: File,
    generation: u64,
}

impl HeadFile {
    /// Opens or makes `HEAD` in the folder and reads it.
    pub(crate) fn open(folder: &Path) -> Result<(Self, HeadFound), Error> {
        let path = folder.join("HEAD");
        let opening = |error| Error::io("opening the head file", &path, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(opening)?;
        let (generation, found) = read(&file).map_err(opening)?;
        Ok((Self { path, file, generation }, found))
    }

    /// Writes the older slot and syncs it.
    pub(crate) fn write(&mut self, head: &Head) -> Result<(), Error> {
        let generation = self.generation + 1;
        let offset = SLOT_OFFSETS[(generation % 2) as usize];
        self.file
            .write_all_at(&encode(generation, head), offset)
            .and_then(|()| disk::sync_data(&self.file, &self.path))
            .map_err(|error| Error::io("writing the head file", &self.path, error))?;
        if self.generation == 0 {
            self.path.parent().map_or(Ok(()), sync_folder)?;
        }
        self.generation = generation;
        Ok(())
    }
}

/// Reads `HEAD` of a folder that another process may own. Never writes.
pub(crate) fn peek(folder: &Path) -> Option<Head> {
    let (_, found) = read(&File::open(folder.join("HEAD")).ok()?).ok()?;
    match found {
        HeadFound::Head { head, .. } => Some(head),
        HeadFound::Absent | HeadFound::Damaged => None,
    }
}

fn read(file: &File) -> std::io::Result<(u64, HeadFound)> {
    let mut slots = [Slot::Empty, Slot::Empty];
    for (slot, offset) in slots.iter_mut().zip(SLOT_OFFSETS) {
        *slot = read_slot(file, offset)?;
    }
    let newest = slots.iter().filter_map(Slot::whole).max_by_key(|(generation, _)| *generation);
    let damaged = slots.iter().any(|slot| matches!(slot, Slot::Damaged));
    let found = match newest {
        Some((_, head)) => HeadFound::Head { head, damaged },
        None if damaged => HeadFound::Damaged,
        None => HeadFound::Absent,
    };
    Ok((newest.map_or(0, |(generation, _)| generation), found))
}

enum Slot {
    Empty,
    Damaged,
    Whole(u64, Head),
}

impl Slot {
    const fn whole(&self) -> Option<(u64, Head)> {
        match self {
            Self::Whole(generation, head) => Some((*generation, *head)),
            Self::Empty | Self::Damaged => None,
        }
    }
}

fn read_slot(file: &File, offset: u64) -> std::io::Result<Slot> {
    let mut bytes = [0; SLOT_BYTES];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Slot::Empty);
    }
    Ok(decode(&bytes).map_or(Slot::Damaged, |(generation, head)| Slot::Whole(generation, head)))
}

fn encode(generation: u64, head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    put_u64(&mut out, generation);
    put_u64(&mut out, head.hot_first);
    put_u64(&mut out, head.size);
    out.extend_from_slice(&head.root);
    out.extend_from_slice(&head.block_hash);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<(u64, Head)> {
    let (content, crc) = bytes.split_at_checked(SLOT_BYTES - 4)?;
    if crc32fast::hash(content).to_be_bytes() != crc {
        return None;
    }
    let mut cursor = Cursor::new(content);
    if cursor.array()? != MAGIC || cursor.u8()? != VERSION {
        return None;
    }
    let generation = cursor.u64()?;
    let (hot_first, size) = (cursor.u64()?, cursor.u64()?);
    let (root, block_hash) = (cursor.array()?, cursor.array()?);
    (hot_first <= size).then_some((generation, Head { hot_first, size, root, block_hash }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn head(size: u64) -> Head {
        Head { hot_first: 3, size, root: [size as u8; 32], block_hash: [7; 32] }
    }

    #[test]
    fn the_newest_whole_slot_counts_and_any_flip_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, found) = HeadFile::open(folder.path()).unwrap();
        assert_eq!(found, HeadFound::Absent);
        for size in 4..8 {
            file.write(&head(size)).unwrap();
        }
        let path = folder.path().join("HEAD");
        let whole = std::fs::read(&path).unwrap();
        let found = HeadFile::open(folder.path()).unwrap().1;
        assert_eq!(found, HeadFound::Head { head: head(7), damaged: false });
        for (offset, left) in [(SLOT_OFFSETS[0], 6), (SLOT_OFFSETS[1], 7)] {
            for byte in 0..SLOT_BYTES {
                let mut bent = whole.clone();
                bent[offset as usize + byte] ^= 4;
                std::fs::write(&path, &bent).unwrap();
                let found = HeadFile::open(folder.path()).unwrap().1;
                // generations 1..=4 went to slots 1, 0, 1, 0
                assert_eq!(found, HeadFound::Head { head: head(left), damaged: true }, "byte {byte}");
            }
        }
        std::fs::write(&path, vec![9; 5_000]).unwrap();
        assert_eq!(HeadFile::open(folder.path()).unwrap().1, HeadFound::Damaged);
    }

    proptest! {
        #[test]
        fn arbitrary_slots_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}

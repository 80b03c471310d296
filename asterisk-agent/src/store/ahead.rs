//! The write-ahead file: each commit is here, by one plain write, before anyone hears of it.
//!
//! A write is the kernel's when it returns: it outlives the agent, not the machine. That is enough for an answer to the
//! dialplan, since the call it is for ends with the machine too. Whatever concerns anyone else (an order's reply, an
//! originate, a frame) waits for the sync of the store, and the next start puts what is here and not there into it.
//!
//! Two files take turns: one is emptied when the store holds all of it. Record: length of the payload (u32), CRC-32 of
//! number and payload (u32), number (u64), payload (postcard), integers little-endian.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::StoreChange;
use crate::Error;

/// A file is left for the other one at this size.
const TURN_BYTES: u64 = 64 * 1024;
/// Most bytes of a file that are read back: a store this far behind has failed long before.
const READ_MAX_BYTES: u64 = 64 * 1024 * 1024;
const HEAD_BYTES: usize = 16;

/// The two files, open for writing.
#[derive(Debug)]
pub struct WriteAhead {
    /// The one written to is the first.
    files: [Half; 2],
    /// Number of the last commit.
    last: u64,
    record: Vec<u8>,
}

#[derive(Debug)]
struct Half {
    path: PathBuf,
    file: File,
    bytes: u64,
    last: u64,
}

impl WriteAhead {
    /// Begins beside the store in `dir`, after commit `last`, with empty files: the store holds what was in them.
    pub fn create(dir: &Path, last: u64) -> Result<Self, Error> {
        let half = |index| {
            let path = path(dir, index);
            let file =
                OpenOptions::new().append(true).create(true).mode(0o600).open(&path).and_then(|file| {
                    file.set_len(0)?;
                    Ok(file)
                });
            let file = file.map_err(Error::file("write", &path))?;
            Ok::<_, Error>(Half { path, file, bytes: 0, last })
        };
        Ok(Self { files: [half(0)?, half(1)?], last, record: Vec::new() })
    }

    /// Writes a commit down and gives its number. `synced`: the store holds every commit up to this one.
    pub fn append(&mut self, changes: &[StoreChange], synced: u64) -> Result<u64, Error> {
        let [current, other] = &mut self.files;
        if current.bytes >= TURN_BYTES && other.last <= synced {
            other.file.set_len(0).map_err(Error::file("write", &other.path))?;
            other.bytes = 0;
            self.files.swap(0, 1);
        }
        let number = self.last + 1;
        let [current, _] = &mut self.files;
        let failed = |why: String| Error::StoreWrite { path: current.path.clone(), why };
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.resize(HEAD_BYTES, 0);
        let record = postcard::to_extend(changes, record).map_err(|error| failed(error.to_string()))?;
        let record = sealed(record, number).ok_or_else(|| failed("a commit over 4 GiB".to_owned()))?;
        current.file.write_all(&record).map_err(|error| failed(error.to_string()))?;
        current.bytes += record.len() as u64;
        current.last = number;
        self.last = number;
        self.record = record;
        Ok(number)
    }
}

/// The commits beside the store in `dir` that it lacks: all after `held`, without a hole, in order.
///
/// Errors: the files begin later than the store ends. The store lost what it had synced, or a loss of power took the
/// first file and left the second; which of the two cannot be told, so the node does not go on.
pub fn missing(dir: &Path, held: u64) -> Result<Vec<(u64, Vec<StoreChange>)>, Error> {
    let mut commits = Vec::new();
    for index in 0..2 {
        let path = path(dir, index);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => {
                file.take(READ_MAX_BYTES).read_to_end(&mut bytes).map_err(Error::file("read", &path))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", &path)(error)),
        }
        commits.extend(records(&bytes));
    }
    commits.sort_by_key(|(number, _)| *number);
    if commits.first().is_some_and(|(number, _)| *number > held + 1) {
        let why = "it lost what was in it".to_owned();
        return Err(Error::Store { path: dir.to_owned(), why });
    }
    let mut next = held + 1;
    commits.retain(|(number, _)| {
        let wanted = *number == next;
        next += u64::from(wanted);
        wanted
    });
    Ok(commits)
}

/// Whole records from the beginning; the last one may be cut off, or be no record at all after a loss of power.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Vec<StoreChange>)> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let end = usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_add(8)?;
        let (sealed, rest) = rest.split_at_checked(end)?;
        if crc32fast::hash(sealed) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (number, payload) = sealed.split_first_chunk::<8>()?;
        let changes = postcard::from_bytes(payload).ok()?;
        bytes = rest;
        Some((u64::from_le_bytes(*number), changes))
    })
}

/// Fills in the head of a record whose payload is written. `None`: too long.
fn sealed(mut record: Vec<u8>, number: u64) -> Option<Vec<u8>> {
    let length = u32::try_from(record.len() - HEAD_BYTES).ok()?;
    record.get_mut(0..4)?.copy_from_slice(&length.to_le_bytes());
    record.get_mut(8..16)?.copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(record.get(8..)?);
    record.get_mut(4..8)?.copy_from_slice(&crc.to_le_bytes());
    Some(record)
}

fn path(dir: &Path, index: usize) -> PathBuf {
    dir.with_extension(format!("ahead.{index}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::spool::SpoolChange;

    fn commit(n: u64, bytes: usize) -> Vec<StoreChange> {
        vec![StoreChange::Spool(SpoolChange::PutFact { fact: n, at_ms: n, event: vec![7; bytes] })]
    }

    fn numbers(dir: &Path, held: u64) -> Vec<u64> {
        missing(dir, held).unwrap().into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn files_take_turns_and_hold_what_the_store_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let mut ahead = WriteAhead::create(&store, 0).unwrap();
        let size = |index| std::fs::metadata(path(&store, index)).unwrap().len();
        let mut turns = 0;
        for n in 1..=100 {
            let before = size(1);
            ahead.append(&commit(n, 5_000), n.saturating_sub(3)).unwrap();
            turns += u32::from(size(1) != before);
            assert_eq!(
                numbers(&store, n.saturating_sub(3)),
                (n.saturating_sub(3) + 1..=n).collect::<Vec<_>>()
            );
            assert!(size(0) + size(1) < 3 * TURN_BYTES);
        }
        assert!(turns > 10, "the second file was written {turns} times");
        // A store that syncs nothing: the files grow, nothing goes.
        for n in 101..=200 {
            ahead.append(&commit(n, 5_000), 97).unwrap();
        }
        assert_eq!(numbers(&store, 97), (98..=200).collect::<Vec<_>>());
        assert!(missing(&store, 3).unwrap_err().to_string().contains("it lost what was in it"));
        WriteAhead::create(&store, 200).unwrap();
        assert_eq!(numbers(&store, 200), [] as [u64; 0]);
    }

    proptest! {
        #[test]
        fn what_is_cut_or_changed_ends_the_file_and_never_reads_wrong(
            sizes in proptest::collection::vec(0_usize..300, 1..20),
            cut in any::<prop::sample::Index>(),
            flip in any::<Option<(prop::sample::Index, u8)>>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let store = dir.path().join("store");
            let mut ahead = WriteAhead::create(&store, 0).unwrap();
            let commits: Vec<_> = (1..).zip(&sizes).map(|(n, size)| (n, commit(n, *size))).collect();
            for (_, changes) in &commits {
                ahead.append(changes, 0).unwrap();
            }
            let mut bytes = std::fs::read(path(&store, 0)).unwrap();
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Some((at, with)) = flip && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            std::fs::write(path(&store, 0), &bytes).unwrap();
            let read = missing(&store, 0).unwrap();
            prop_assert_eq!(&read[..], &commits[..read.len()]);
            let kept: usize = read.iter().map(|(_, c)| HEAD_BYTES + postcard::to_allocvec(c).unwrap().len()).sum();
            prop_assert!(kept <= bytes.len());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(records(&bytes).count() <= bytes.len() / HEAD_BYTES);
        }
    }
}

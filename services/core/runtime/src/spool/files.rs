//! The spool on disk: append-only files of one origin and epoch each, synced by a thread of their own.
//!
//! A record is length, CRC and frame; the frame says whose it is. A file goes when a checkpoint covers all of it, so no
//! file is ever rewritten. Several processes may share a data folder: each takes a numbered folder of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use asterism_proto::frame::FRAME_MAX_BYTES;
use asterism_proto::{OpenFrame, PublicKey};
use tokio::sync::watch;

use super::held::{Dropped, Heard, Held, LogId};

/// A frame is synced at the latest after this long.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// A file this long is closed at the next checkpoint, so that it can go with one that follows.
const PART_BYTES: u64 = 256 * 1024;
/// Processes that may share a data folder.
const FOLDERS_MAX: u32 = 64;
/// Length and CRC before a frame.
const HEAD_BYTES: usize = 8;
/// How every file's name ends.
const SUFFIX: &str = "frames";
/// Where the newest checkpoint heard of is kept: log key in hex, size.
const HEARD: &str = "heard";

/// What the thread is told.
pub(super) enum Work {
    Append(LogId, u64, Arc<[u8]>),
    Drop(Dropped),
    Heard(Heard),
    Flush(SyncSender<()>),
}

/// One file: frames of a log in the order of their numbers.
struct Part {
    path: PathBuf,
    /// Open while frames are added.
    file: Option<File>,
    last: u64,
    bytes: u64,
    dirty: bool,
}

/// The files of one process.
pub(super) struct Files {
    dir: PathBuf,
    /// Held locked for as long as this process lives.
    _lock: File,
    parts: BTreeMap<LogId, Vec<Part>>,
    oldest: Option<Instant>,
    failure: watch::Sender<Option<String>>,
}

impl Files {
    /// Takes a folder nobody uses and reads what is in it.
    pub(super) fn open(
        dir: &Path,
        held: &mut Held,
        failure: watch::Sender<Option<String>>,
    ) -> io::Result<Self> {
        let (dir, lock) = own_folder(dir)?;
        let mut files = Self { dir, _lock: lock, parts: BTreeMap::new(), oldest: None, failure };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&files.dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|end| end == SUFFIX));
        paths.sort();
        for path in paths {
            files.reload(path, held)?;
        }
        if let Some(heard) = read_heard(&files.dir.join(HEARD)) {
            held.reload_heard(heard);
        }
        Ok(files)
    }

    fn reload(&mut self, path: PathBuf, held: &mut Held) -> io::Result<()> {
        let bytes = std::fs::read(&path)?;
        let mut of: Option<(LogId, u64)> = None;
        for frame in records(&bytes) {
            let Ok(open) = OpenFrame::read(frame) else { break };
            let (log, number) = ((open.origin, open.epoch), open.header.number);
            held.reload(log.clone(), number, frame.into());
            of = Some((log, number));
        }
        match of {
            Some((log, last)) => self.parts.entry(log).or_default().push(Part {
                path,
                file: None,
                last,
                bytes: bytes.len() as u64,
                dirty: false,
            }),
            None => std::fs::remove_file(path)?, // torn in its first record: nothing was ever synced
        }
        Ok(())
    }

    /// Until the last sender is gone.
    pub(super) fn run(mut self, work: &Receiver<Work>) {
        loop {
            let wait =
                self.oldest.map_or(Duration::from_hours(1), |at| SYNC_EVERY.saturating_sub(at.elapsed()));
            let (done, flushed) = match work.recv_timeout(wait) {
                Ok(Work::Append(log, number, frame)) => (self.append(&log, number, &frame), None),
                Ok(Work::Drop(dropped)) => (self.drop_covered(&dropped), None),
                Ok(Work::Heard(heard)) => (self.keep_heard(heard), None),
                Ok(Work::Flush(told)) => (self.sync(), Some(told)),
                Err(RecvTimeoutError::Timeout) => (self.sync(), None),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(error) = done {
                self.failed(&error);
            }
            if let Some(told) = flushed {
                let _ = told.send(());
            }
        }
        if let Err(error) = self.sync() {
            self.failed(&error);
        }
    }

    /// Says so, and begins new files: after a failed write nobody knows what is in the old ones.
    fn failed(&mut self, error: &io::Error) {
        let reason = format!("AST-R061: frames cannot be written to {}: {error}", self.dir.display());
        tracing::warn!(reason, "the spool on disk has a hole");
        self.failure.send_replace(Some(reason));
        for part in self.parts.values_mut().flatten() {
            (part.file, part.dirty) = (None, false);
        }
    }

    fn append(&mut self, log: &LogId, number: u64, frame: &[u8]) -> io::Result<()> {
        let parts = self.parts.entry(log.clone()).or_default();
        if parts.last().is_none_or(|part| part.file.is_none()) {
            let name =
                format!("{}-{}.{}.{number:020}.{SUFFIX}", log.0.class(), log.0.id(), hex::encode(log.1));
            let path = self.dir.join(name);
            let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
            File::open(&self.dir)?.sync_all()?;
            parts.push(Part { path, file: Some(file), last: number, bytes: 0, dirty: false });
        }
        let Some((part, file)) = parts.last_mut().and_then(|part| {
            let file = part.file.take()?;
            Some((part, file))
        }) else {
            return Ok(());
        };
        let mut record = Vec::with_capacity(HEAD_BYTES + frame.len());
        record.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        record.extend_from_slice(&crc32fast::hash(frame).to_be_bytes());
        record.extend_from_slice(frame);
        (&file).write_all(&record)?;
        (part.file, part.dirty, part.last) = (Some(file), true, number);
        part.bytes += record.len() as u64;
        self.oldest.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.oldest = None;
        for part in self.parts.values_mut().flatten().filter(|part| part.dirty) {
            part.dirty = false;
            if let Some(file) = &part.file {
                file.sync_data()?;
            }
        }
        Ok(())
    }

    /// Not synced: what a crash of the machine undoes here is only how far an old checkpoint could be told again.
    fn keep_heard(&self, heard: Heard) -> io::Result<()> {
        let (path, temporary) = (self.dir.join(HEARD), self.dir.join("heard.new"));
        std::fs::write(&temporary, format!("{:?} {}\n", heard.log_key, heard.size))?;
        std::fs::rename(temporary, path)
    }

    fn drop_covered(&mut self, dropped: &Dropped) -> io::Result<()> {
        let Some(parts) = self.parts.get_mut(&dropped.log) else { return Ok(()) };
        let mut kept = Vec::new();
        for mut part in parts.drain(..) {
            if dropped.up_to.is_none_or(|up_to| part.last <= up_to) {
                // What stays by mistake is read again and covered again.
                std::fs::remove_file(&part.path)?;
                continue;
            }
            if part.bytes >= PART_BYTES
                && let Some(file) = part.file.take()
            {
                file.sync_data()?;
            }
            kept.push(part);
        }
        *parts = kept;
        if parts.is_empty() {
            self.parts.remove(&dropped.log);
        }
        Ok(())
    }
}

/// What stands in the file; one that cannot be read is as none.
fn read_heard(path: &Path) -> Option<Heard> {
    let text = std::fs::read_to_string(path).ok()?;
    let (key, size) = text.trim().split_once(' ')?;
    Some(Heard { log_key: PublicKey::from_bytes(&hex::decode(key).ok()?).ok()?, size: size.parse().ok()? })
}

/// The first numbered folder that no living process has.
fn own_folder(dir: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0..FOLDERS_MAX {
        let dir = dir.join(number.to_string());
        std::fs::create_dir_all(&dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => return Ok((dir, lock)),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other(format!("{FOLDERS_MAX} processes use it already")))
}

/// The whole records at the start of a file; a torn or damaged one ends it.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let (frame, after) = after.split_at_checked(length).filter(|_| length <= FRAME_MAX_BYTES)?;
        rest = after;
        (crc32fast::hash(frame) == u32::from_be_bytes([c0, c1, c2, c3])).then_some(frame)
    })
}

//! A segment as one sled database: position (big endian) to block.
//!
//! What sled 0.34.7 does not do is done here: its `flush` is no fsync on Linux, so a second descriptor on the same
//! file is synced; a damaged file panics inside it, so opening runs on a thread of its own and every later call, the
//! destructor too, is contained; a stop during open leaves a file that makes every later open fail, so that file is removed first.

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::disk::{self, make_folder, sync_folder};
use crate::error::Error;
use crate::segment::{EachBlock, SegmentStore};

/// A soft bound on sled's page cache: blocks are written once and read in order.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Reads of each block of a scan that sled counts. It forgets pages only when a 256th of them was read 64 times, a page holds
/// sixteen blocks, and an iterator's reads do not count: without these it keeps the whole segment in memory.
const READS_COUNTED: usize = 4;
/// Longest wait for sled to open a segment; a damaged one has been seen to hang in its destructor.
const OPEN_TIMEOUT: Duration = Duration::from_mins(2);

/// How long a database that this process has just closed may still hold its file: sled's threads end when they like.
/// Nobody else can have it, since the owner of a copy holds the folder's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// See the module's text.
pub struct SledStore {
    folder: PathBuf,
    /// There until it is dropped.
    db: Option<sled::Db>,
    /// Our own descriptor on sled's file, for the sync that sled leaves out.
    file: File,
}

impl SledStore {
    /// Opens or makes the database. A panic or a hang inside sled is an error here.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        make_folder(folder)?;
        remove_unfinished_snapshots(folder)?;
        let db = open_contained(folder)?;
        let path = folder.join("db");
        let file = File::open(&path).map_err(|error| Error::io("opening the segment", &path, error))?;
        disk::sync_all(&file, &path).map_err(|error| Error::io("syncing the segment", &path, error))?;
        sync_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), db: Some(db), file })
    }

    fn contained<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, Error> {
        let Some(db) = &self.db else { return Err(Error::Failed) };
        match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(result) => result.map_err(|error| from_sled(doing, &self.folder, error)),
            Err(panic) => Err(from_panic(doing, &self.folder, panic.as_ref())),
        }
    }
}

impl Drop for SledStore {
    /// sled syncs once more when it is dropped and panics if that fails. What was committed was synced before, by us,
    /// and whoever drops a store knows of the failing disk: the panic must not take down the process or its unwinding.
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn from_sled(doing: &'static str, folder: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => Error::io(doing, folder, error),
        other => Error::Store { doing, path: folder.to_owned(), what: other.to_string() },
    }
}

fn from_panic(doing: &'static str, folder: &Path, panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Error::Store { doing, path: folder.to_owned(), what: format!("a contained panic: {said:.200}") }
}

/// A stop while sled opens leaves `snap.<n>.generating`, with which it never opens again.
fn remove_unfinished_snapshots(folder: &Path) -> Result<(), Error> {
    let reading = |error| Error::io("listing the segment", folder, error);
    for entry in std::fs::read_dir(folder).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())
                .map_err(|error| Error::io("removing an unfinished snapshot", &entry.path(), error))?;
        }
    }
    Ok(())
}

fn open_contained(folder: &Path) -> Result<sled::Db, Error> {
    const DOING: &str = "opening the segment";
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = folder.to_owned();
    std::thread::Builder::new()
        .name("segment-open".into())
        .spawn(move || {
            let opened = when_let_go(LOCK_TIMEOUT, || {
                catch_unwind(|| {
                    sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
                })
            });
            // The receiver is gone only after the timeout; then nobody wants the result.
            let _ = sender.send(opened);
        })
        .map_err(|error| Error::io("starting a thread", folder, error))?;
    match receiver.recv_timeout(OPEN_TIMEOUT) {
        Ok(Ok(result)) => result.map_err(|error| from_sled(DOING, folder, error)),
        Ok(Err(panic)) => Err(from_panic(DOING, folder, panic.as_ref())),
        Err(_) => Err(Error::Store { doing: DOING, path: folder.to_owned(), what: "no answer".into() }),
    }
}

/// Opens, again and again while a former database of this folder holds its file, for so long at most.
fn when_let_go<T, P>(
    at_most: Duration,
    mut open: impl FnMut() -> Result<sled::Result<T>, P>,
) -> Result<sled::Result<T>, P> {
    let began = Instant::now();
    loop {
        let opened = open();
        if !matches!(&opened, Ok(Err(error)) if is_held(error)) || began.elapsed() >= at_most {
            return opened;
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Whether a former database of this folder has not let go of its file yet. sled has no kind of error for it.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn position(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

impl SegmentStore for SledStore {
    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), Error> {
        self.contained("writing a block", |db| db.insert(first.to_be_bytes(), block)).map(|_| ())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.contained("flushing the segment", |db| db.flush())?;
        disk::sync_data(&self.file, &self.folder.join("db"))
            .map_err(|error| Error::io("syncing the segment", &self.folder, error))
    }

    fn scan(&mut self, each: &mut EachBlock<'_>) -> Result<(), Error> {
        const DOING: &str = "reading the segment";
        let Some(db) = &self.db else { return Err(Error::Failed) };
        let mut entries = db.iter();
        loop {
            let next = catch_unwind(AssertUnwindSafe(|| entries.next()))
                .map_err(|panic| from_panic(DOING, &self.folder, panic.as_ref()))?;
            let Some(entry) = next else { return Ok(()) };
            let (key, block) = entry.map_err(|error| from_sled(DOING, &self.folder, error))?;
            let first =
                position(&key).ok_or_else(|| Error::damaged(&self.folder, 0, "a key is no position"))?;
            for _ in 0..READS_COUNTED {
                self.contained(DOING, |db| db.get(&key))?;
            }
            each(first, &block)?;
        }
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        let last = self.contained("reading the segment", |db| db.last())?;
        Ok(last.and_then(|(key, _)| position(&key)))
    }

    fn truncate(&mut self, from: u64) -> Result<(), Error> {
        const DOING: &str = "cutting the segment";
        while let Some(last) = self.last()?.filter(|last| *last >= from) {
            self.contained(DOING, |db| db.remove(last.to_be_bytes()))?;
        }
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// sled's own error, as it says it while somebody has the database.
    fn held(dir: &Path) -> sled::Error {
        sled::Config::new().path(dir).open().unwrap_err()
    }

    #[test]
    fn a_database_that_is_closed_a_little_later_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Some(SledStore::open(dir.path()).unwrap());
        let mut tries = 0;
        let opened = when_let_go(LOCK_TIMEOUT, || {
            tries += 1;
            let result = sled::Config::new().path(dir.path()).open();
            if tries == 3 {
                first = None;
            }
            Ok::<_, ()>(result)
        });
        assert!(opened.unwrap().is_ok() && tries > 3, "{tries} tries");
    }

    #[test]
    fn the_wait_has_an_end_and_other_errors_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let _first = SledStore::open(dir.path()).unwrap();
        assert!(is_held(&held(dir.path())));
        let gave_up = when_let_go::<(), ()>(Duration::ZERO, || Ok(Err(held(dir.path()))));
        assert!(is_held(&gave_up.unwrap().unwrap_err()));
        let mut tries = 0;
        let other = when_let_go::<(), ()>(LOCK_TIMEOUT, || {
            tries += 1;
            Ok(Err(sled::Error::Unsupported("no".to_owned())))
        });
        assert!(other.unwrap().is_err() && tries == 1);
    }
}

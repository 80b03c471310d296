//! Opening: what sled leaves behind after a kill is cleared, what it panics at becomes an error.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Store;
use crate::Error;

/// sled's page cache. The store holds little and reads almost none of it.
const CACHE_BYTES: u64 = 1024 * 1024;
/// sled's log segment; small, since its write buffers take several.
const SEGMENT_BYTES: usize = 256 * 1024;
/// How long a former database of the folder may hold its file: sled's threads let go of it a moment after its drop.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

pub(super) fn open(dir: &Path) -> Result<Store, Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::file("create", dir))?;
    clear_half_snapshots(dir)?;
    let bad = |why: String| Error::Store { path: dir.to_owned(), why };
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(500));
    // A damaged file makes sled panic in some places instead of returning an error.
    let began = Instant::now();
    let db = loop {
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened.map_err(|_| bad("it is damaged".to_owned()))? {
            Err(error) if is_held(&error) && began.elapsed() < LOCK_TIMEOUT => std::thread::sleep(LOCK_PAUSE),
            opened => break opened.map_err(|error| bad(error.to_string()))?,
        }
    };
    let tree = |name: &str| db.open_tree(name).map_err(|error| bad(error.to_string()));
    let path = dir.join("db");
    let file = File::open(&path).map_err(Error::file("read", &path))?;
    let store = Store {
        dir: dir.to_owned(),
        attempts: tree("attempts")?,
        past: tree("past")?,
        manifests: tree("manifests")?,
        recordings: tree("recordings")?,
        facts: tree("facts")?,
        frames: super::frames::Frames::open(&db).map_err(|error| bad(error.to_string()))?,
        meta: tree("meta")?,
        file: Arc::new(file),
        db,
    };
    store.sync()?;
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(Error::file("sync", dir))?;
    Ok(store)
}

/// sled has no kind of error for it.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// A kill during open leaves `snap.X.generating`, which makes every later open fail; the log itself is whole.
fn clear_half_snapshots(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
        let entry = entry.map_err(Error::file("read", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(Error::file("remove", &entry.path()))?;
        }
    }
    Ok(())
}

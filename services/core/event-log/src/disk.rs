//! The calls that make things durable, all of them, in one place: so that a test can play a disk that keeps only what was
//! synced, or one that lies about it (`tests/faults_unsynced.rs`). Other builds call the system and nothing else.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::Error;

/// Makes a file's bytes durable (`fdatasync`). `path` is the name it has now.
pub(crate) fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    around(Sync::File(path), || file.sync_data())
}

/// Makes a file durable with all that is known of it (`fsync`).
pub(crate) fn sync_all(file: &File, path: &Path) -> io::Result<()> {
    around(Sync::File(path), || file.sync_all())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    around(Sync::Folder(folder), || File::open(folder).and_then(|handle| handle.sync_all()))
        .map_err(|error| Error::io("syncing the folder", folder, error))
}

/// Makes a folder and its own name durable.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("making the folder", folder, error))?;
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

/// What is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync<'a> {
    /// A file's bytes.
    File(&'a Path),
    /// The names in a folder.
    Folder(&'a Path),
}

#[cfg(not(any(test, feature = "test-util")))]
fn around(_: Sync<'_>, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    sync()
}

#[cfg(any(test, feature = "test-util"))]
use watched::around;
#[cfg(any(test, feature = "test-util"))]
pub use watched::{Disk, watch};

#[cfg(any(test, feature = "test-util"))]
mod watched {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex, PoisonError};

    use super::Sync;

    /// What a test puts in the disk's place.
    pub trait Disk: Send + std::marker::Sync {
        /// Something is about to be synced; false = the disk says so and does not do it.
        fn before(&self, what: Sync<'_>) -> bool;
        /// It was.
        fn after(&self, what: Sync<'_>);
    }

    static WATCHED: Mutex<Vec<(PathBuf, Arc<dyn Disk>)>> = Mutex::new(Vec::new());

    /// From here on all syncs in this folder are this disk's.
    pub fn watch(folder: &Path, disk: Arc<dyn Disk>) {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push((folder.to_owned(), disk));
    }

    pub(super) fn around(what: Sync<'_>, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let (Sync::File(path) | Sync::Folder(path)) = what;
        let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = watched.iter().find(|(folder, _)| path.starts_with(folder)).map(|(_, disk)| disk.clone());
        drop(watched);
        let Some(disk) = disk else { return sync() };
        if disk.before(what) {
            sync()?;
            disk.after(what);
        }
        Ok(())
    }
}

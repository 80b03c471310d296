//! The hot segment: its folder and the walk over its blocks.

use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use crate::block::{Assembler, BlockError, DecodedBlock};
use crate::disk::sync_folder;
use crate::error::Error;
use crate::merkle::Frontier;
use crate::record::StoredFrame;
use crate::segment::{OpenStore, SegmentStore};

const PREFIX: &str = "hot-";

/// Folder of the hot segment that begins at a position.
pub(super) fn folder(log: &Path, first: u64) -> PathBuf {
    log.join(format!("{PREFIX}{first:020}"))
}

/// Hot segment folders in a log folder, by position.
pub(crate) fn list(log: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let listing = |error| Error::io("listing the log folder", log, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(log).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        let name = entry.file_name();
        if let Some(first) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse().ok()) {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A fresh, empty hot segment; what an interrupted seal left under that name goes.
pub(super) fn create(stores: &dyn OpenStore, log: &Path, first: u64) -> Result<Box<dyn SegmentStore>, Error> {
    let path = folder(log, first);
    remove(&path)?;
    let store = stores.open(&path)?;
    sync_folder(log)?;
    Ok(store)
}

/// Removes a hot segment whose events are sealed.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing a hot segment", path, error))
        }
        _ => Ok(()),
    }
}

/// One step of a walk.
#[allow(clippy::large_enum_variant)] // one at a time, and frames are the common case
pub(super) enum Step {
    /// A whole frame. It may end before its block does.
    Frame(StoredFrame),
    /// A block ended.
    BlockEnd {
        /// Its hash.
        hash: Hash,
        /// Position after it.
        next: u64,
        /// Its length.
        bytes: u64,
        /// Whether no frame is open there.
        between_frames: bool,
    },
}

/// Walks the blocks of a hot segment that follows the tree `before`, checking checksum, order and chain. Ends when
/// the store does, when `each` returns false, or at the first block that is not what it must be.
pub(super) fn walk(
    store: &mut dyn SegmentStore,
    path: &Path,
    before: &Frontier,
    each: &mut dyn FnMut(Step) -> Result<bool, Error>,
) -> Result<(), Error> {
    let (mut previous, mut next) = (before.root(), before.size());
    let mut assembler = Assembler::default();
    let mut ended = false;
    let result = store.scan(&mut |_, bytes| {
        let fault = |error: BlockError| match error {
            BlockError::Version(_) => {
                Error::TooNew { folder: path.to_owned(), position: next, what: error.to_string() }
            }
            other => Error::damaged(path, next, other.to_string()),
        };
        let block = DecodedBlock::read(bytes, &previous, next).map_err(fault)?;
        for run in block.runs {
            let Some(frame) = assembler.push(run).map_err(fault)? else { continue };
            ended |= !each(Step::Frame(frame))?;
            if ended {
                return Err(Error::Failed);
            }
        }
        (previous, next) = (block.hash, block.first + block.count);
        let between_frames = assembler.is_between_frames();
        ended = !each(Step::BlockEnd { hash: previous, next, bytes: bytes.len() as u64, between_frames })?;
        if ended { Err(Error::Failed) } else { Ok(()) }
    });
    // Ending early is an error to the store only.
    if ended && matches!(result, Err(Error::Failed)) { Ok(()) } else { result }
}

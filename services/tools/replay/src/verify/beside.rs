//! What lies beside the segments and is derived from them: tiles, which proofs are made from, and snapshots, which starts
//! are made from. Neither is the log; either can mislead who reads it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use asterism_domain::REDUCER;
use asterism_event_log::snapshot::{self, Snapshot};
use asterism_event_log::tiles::{TILE_WIDTH, tile_path};
use asterism_proto::hash::{Hash, sha256, tree_root};

use super::Compared;
use crate::Error;

/// Tiles and snapshots of a folder, held against the events as they are read.
pub(super) struct Beside {
    folder: PathBuf,
    has_tiles: bool,
    /// Log size after each segment: there its partial tiles were written.
    ends: Vec<u64>,
    size: u64,
    /// Hashes of each level that fill no tile yet.
    open: Vec<Vec<Hash>>,
    snapshots: BTreeMap<u64, PathBuf>,
    pub(super) tiles: Compared,
    pub(super) states: Compared,
    pub(super) problems: Vec<String>,
}

impl Beside {
    pub(super) fn new(folder: &Path, ends: Vec<u64>) -> Result<Self, Error> {
        Ok(Self {
            folder: folder.to_owned(),
            has_tiles: folder.join("tile").is_dir(),
            ends,
            size: 0,
            open: Vec::new(),
            snapshots: snapshot::list(folder)?.into_iter().collect(),
            tiles: Compared::default(),
            states: Compared::default(),
            problems: Vec::new(),
        })
    }

    /// Sizes at which the folded state is needed.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.snapshots.keys().copied()
    }

    /// The leaves of the next frame.
    pub(super) fn leaves(&mut self, leaves: &[Hash]) {
        if !self.has_tiles {
            return;
        }
        for leaf in leaves {
            self.size += 1;
            self.push(*leaf);
        }
        if self.ends.contains(&self.size) {
            self.partial();
        }
    }

    fn push(&mut self, leaf: Hash) {
        let (mut hash, mut level) = (leaf, 0);
        loop {
            if self.open.len() == level {
                self.open.push(Vec::with_capacity(TILE_WIDTH));
            }
            let Some(tile) = self.open.get_mut(level) else { return };
            tile.push(hash);
            if tile.len() < TILE_WIDTH {
                return;
            }
            let full = std::mem::take(tile);
            hash = tree_root(&full);
            let index = (self.size >> (8 * (level as u32 + 1))) - 1;
            self.compare(level as u32, index, &full);
            level += 1;
        }
    }

    /// A segment ends: so do its tiles.
    fn partial(&mut self) {
        for (level, tile) in (0u32..).zip(self.open.clone()) {
            if !tile.is_empty() {
                self.compare(level, self.size >> (8 * (level + 1)), &tile);
            }
        }
    }

    fn compare(&mut self, level: u32, index: u64, hashes: &[Hash]) {
        let path = self.folder.join(tile_path(level, index, hashes.len()));
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take((TILE_WIDTH * 32) as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes == hashes.as_flattened() => self.tiles.agreed += 1,
            // Full tiles of the leaves are not stored since they are hashed from the events again.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.tiles.unchecked += u64::from(level > 0 || hashes.len() < TILE_WIDTH);
            }
            Ok(_) | Err(_) => {
                self.tiles.differed += 1;
                let from = index << (8 * (level + 1));
                self.problems.push(format!(
                    "{} is not the tile of this log from position {from} on: a proof made from it would not hold; \
                     remove the folder tile, it is written again from the segments",
                    path.display()
                ));
            }
        }
    }

    /// The state after this many events, and the root: what a snapshot of that size must have.
    pub(super) fn state(&mut self, size: u64, root: Hash, state_hash: Hash) {
        let Some(path) = self.snapshots.remove(&size) else { return };
        let snapshot = match Snapshot::read(&path) {
            Ok(snapshot) => snapshot,
            // A newer one took its place meanwhile.
            Err(_) if !path.exists() => return,
            Err(error) => return self.bad_snapshot(&path, &error.to_string()),
        };
        if snapshot.size() != size || snapshot.sequencer.root() != root {
            self.bad_snapshot(&path, "it stands for another log");
        } else if snapshot.reducer != REDUCER {
            self.states.unchecked += 1;
        } else if sha256(&snapshot.state) == state_hash {
            self.states.agreed += 1;
        } else {
            self.bad_snapshot(&path, "it has another state than the log folds to");
        }
    }

    fn bad_snapshot(&mut self, path: &Path, why: &str) {
        self.states.differed += 1;
        self.problems.push(format!(
            "{} is no snapshot of this log: {why}; remove it, the service folds without it",
            path.display()
        ));
    }

    /// What is left covers more than is sealed, or a size where no frame ends.
    pub(super) fn finish(&mut self, size: u64) {
        for (at, path) in std::mem::take(&mut self.snapshots) {
            if at > size {
                self.states.unchecked += 1;
            } else {
                self.bad_snapshot(&path, "no frame of this log ends there");
            }
        }
    }
}

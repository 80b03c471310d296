//! The tree on disk in the layout of C2SP tlog-tiles: `tile/<level>/<index>`, 256 hashes a file.
//!
//! A tile of level L holds roots of complete subtrees of 256^L leaves. What is not full yet is a partial tile
//! `<index>.p/<width>`. Tiles never change, so whoever has the folder answers for any size up to its own, and a proof
//! reads a few files whatever the size of the log. They are derived: a folder that is gone is written again.
//!
//! Full tiles of level 0 are not written: they would be more bytes than the sealed events whose leaves they repeat.
//! Those leaves are read from the sealed segment, by its index one chunk a tile. Where an older version left such tiles
//! they are read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use asterism_proto::hash::{Hash, tree_root};

use crate::disk::{self, sync_folder};
use crate::error::Error;
use crate::merkle::Frontier;
use crate::proof::{self, Nodes};
use crate::sealed;

/// Hashes of a full tile.
pub const TILE_WIDTH: usize = 256;
/// Levels of nodes in a tile.
const TILE_HEIGHT: u32 = 8;
/// Tiles kept in memory while proofs are made.
const CACHE_MAX: usize = 64;

/// Path of a tile below the log's folder.
pub fn tile_path(level: u32, index: u64, width: usize) -> PathBuf {
    let mut groups = vec![format!("{:03}", index % 1_000)];
    let mut rest = index / 1_000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1_000));
        rest /= 1_000;
    }
    groups.reverse();
    let path = format!("tile/{level}/{}", groups.join("/"));
    if width == TILE_WIDTH { path.into() } else { format!("{path}.p/{width}").into() }
}

/// Writes tiles as leaves come.
#[derive(Debug)]
pub struct TileWriter {
    folder: PathBuf,
    size: u64,
    /// What each level has that fills no tile yet.
    open: Vec<Vec<Hash>>,
    /// Folders with files that are not durable yet.
    dirty: Vec<PathBuf>,
}

impl TileWriter {
    /// Goes on at `size` leaves, whose tiles are below `folder`; from nothing at 0.
    pub fn open(folder: &Path, size: u64) -> Result<Self, Error> {
        let mut reader = TileFolder::new(folder, size);
        let mut open = Vec::new();
        let mut at = size;
        while at > 0 {
            let width = (at % TILE_WIDTH as u64) as usize;
            let level = open.len() as u32;
            let hashes =
                if width == 0 { Vec::new() } else { reader.read(level, at / TILE_WIDTH as u64)?.to_vec() };
            open.push(hashes);
            at /= TILE_WIDTH as u64;
        }
        Ok(Self { folder: folder.to_owned(), size, open, dirty: Vec::new() })
    }

    /// Goes on behind the tree `before`. If its tiles are not all there, as in a log sealed by an older version, they
    /// are written again from the sealed segments in the folder.
    pub(crate) fn resume(folder: &Path, before: &Frontier) -> Result<Self, Error> {
        if let Ok(writer) = Self::open(folder, before.size())
            && proof::tree_root(&mut TileFolder::new(folder, before.size()), before.size())
                .is_ok_and(|root| root == before.root())
        {
            return Ok(writer);
        }
        let mut writer = Self { folder: folder.to_owned(), size: 0, open: Vec::new(), dirty: Vec::new() };
        let mut tree = Frontier::new();
        for (_, _, path) in sealed::list(folder)? {
            let mut reader = sealed::Reader::open(&path)?;
            while let Some(frame) = reader.next_frame()? {
                writer.extend(&frame.leaves)?;
                tree.extend(&frame.leaves);
            }
        }
        if tree == *before {
            return Ok(writer);
        }
        Err(Error::damaged(
            folder,
            tree.size(),
            "the sealed segments do not have the tree that was committed",
        ))
    }

    /// Leaves so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds leaf hashes. Full tiles are written at once, but for those of the leaves themselves.
    pub fn extend(&mut self, leaves: &[Hash]) -> Result<(), Error> {
        let mut rest = leaves;
        while !rest.is_empty() {
            let room = TILE_WIDTH - (self.size % TILE_WIDTH as u64) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.size += now.len() as u64;
            self.level(0).extend(now);
            self.close_full()?;
            rest = later;
        }
        Ok(())
    }

    fn level(&mut self, level: usize) -> &mut Vec<Hash> {
        while self.open.len() <= level {
            self.open.push(Vec::with_capacity(TILE_WIDTH));
        }
        &mut self.open[level]
    }

    /// A tile that is full becomes one hash of the tile above it.
    fn close_full(&mut self) -> Result<(), Error> {
        let mut level = 0;
        while self.level(level).len() == TILE_WIDTH {
            let full = std::mem::take(self.level(level));
            if level > 0 {
                let index = (self.size >> (TILE_HEIGHT * (level as u32 + 1))) - 1;
                self.write(level as u32, index, &full)?;
            }
            level += 1;
            self.level(level).push(tree_root(&full));
        }
        Ok(())
    }

    /// Writes the partial tiles and makes all of it durable.
    pub fn flush(&mut self) -> Result<(), Error> {
        for level in 0..self.open.len() {
            let tile = self.open.get(level).cloned().unwrap_or_default();
            if !tile.is_empty() {
                let index = self.size >> (TILE_HEIGHT * (level as u32 + 1));
                self.write(level as u32, index, &tile)?;
            }
        }
        self.dirty.sort();
        self.dirty.dedup();
        self.dirty.drain(..).try_for_each(|folder| sync_folder(&folder))
    }

    fn write(&mut self, level: u32, index: u64, hashes: &[Hash]) -> Result<(), Error> {
        let path = self.folder.join(tile_path(level, index, hashes.len()));
        let failed = |error| Error::io("writing a tile", &path, error);
        let parent = path.parent().unwrap_or(&self.folder);
        if !parent.is_dir() {
            fs::create_dir_all(parent).map_err(failed)?;
            self.dirty.extend(
                parent.ancestors().skip(1).take_while(|p| p.starts_with(&self.folder)).map(Path::to_owned),
            );
        }
        let part = path.with_extension("part");
        let mut file = fs::File::create(&part).map_err(failed)?;
        file.write_all(hashes.as_flattened()).and_then(|()| disk::sync_data(&file, &part)).map_err(failed)?;
        fs::rename(&part, &path).map_err(failed)?;
        self.dirty.push(parent.to_owned());
        Ok(())
    }
}

/// Reads the tiles above the leaves from `from` on back from the disk: each must have the root that the one above it
/// names, and all of them the root of the tree.
pub(crate) fn check(folder: &Path, from: u64, tree: &Frontier) -> Result<(), Error> {
    let mut tiles = TileFolder::new(folder, tree.size());
    let mut level = 1;
    while tree.size() >> (TILE_HEIGHT * level) > 0 {
        let shift = TILE_HEIGHT * (level + 1);
        for index in from >> shift..tree.size() >> shift {
            let root = tree_root(tiles.read(level, index)?);
            if tiles.node(shift, index)? != root {
                let path = folder.join(tile_path(level, index, TILE_WIDTH));
                return Err(Error::damaged(&path, index << shift, "the tile above it names another root"));
            }
        }
        level += 1;
    }
    if proof::tree_root(&mut tiles, tree.size())? == tree.root() {
        return Ok(());
    }
    Err(Error::damaged(folder, from, "the tiles do not have the log's root"))
}

/// Where the leaves of a tile come from: positions from, to.
type Leaves = fn(&Path, u64, u64) -> Result<Vec<Hash>, Error>;

/// Reads tiles of a log of a known size.
#[derive(Debug)]
pub struct TileFolder {
    folder: PathBuf,
    size: u64,
    leaves: Leaves,
    cache: BTreeMap<(u32, u64), Vec<Hash>>,
}

impl TileFolder {
    /// The tiles below `folder` as they are at `size` leaves; later ones serve too.
    pub fn new(folder: &Path, size: u64) -> Self {
        Self { folder: folder.to_owned(), size, leaves: sealed::leaves, cache: BTreeMap::new() }
    }

    /// A tile's hashes: the full one if there is one, else as wide as the size says.
    fn read(&mut self, level: u32, index: u64) -> Result<&[Hash], Error> {
        if !self.cache.contains_key(&(level, index)) {
            let tile = self.load(level, index)?;
            if self.cache.len() >= CACHE_MAX {
                self.cache.clear();
            }
            self.cache.insert((level, index), tile);
        }
        Ok(self.cache.get(&(level, index)).map(Vec::as_slice).unwrap_or_default())
    }

    fn load(&self, level: u32, index: u64) -> Result<Vec<Hash>, Error> {
        let complete = self.size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
        let first = index * TILE_WIDTH as u64;
        let wanted = complete.saturating_sub(first).min(TILE_WIDTH as u64) as usize;
        let path = |width| self.folder.join(tile_path(level, index, width));
        let found = [TILE_WIDTH, wanted].map(path).into_iter().find(|path| path.is_file());
        let Some(path) = found.or_else(|| (level > 0).then(|| path(wanted))) else {
            return (self.leaves)(&self.folder, first, first + wanted as u64);
        };
        let bytes = fs::read(&path).map_err(|error| Error::io("reading a tile", &path, error))?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if hashes.len() < wanted || hashes.len() > TILE_WIDTH || !rest.is_empty() {
            return Err(Error::damaged(&path, index, "it is no tile of that width"));
        }
        Ok(hashes.iter().take(wanted).copied().collect())
    }
}

impl Nodes for TileFolder {
    type Error = Error;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error> {
        let (tile_level, inside) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << inside;
        let tile = self.read(tile_level, first / TILE_WIDTH as u64)?;
        let from = (first % TILE_WIDTH as u64) as usize;
        let hashes = tile.get(from..from + (1 << inside));
        hashes.map(tree_root).ok_or_else(|| {
            let path = self.folder.join(tile_path(tile_level, first / TILE_WIDTH as u64, TILE_WIDTH));
            Error::damaged(&path, first, "the tile is too short for what is asked")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_proto::hash::leaf_hash;
    use proptest::prelude::*;

    use super::*;

    fn leaf(n: u64) -> Hash {
        leaf_hash(&[&n.to_be_bytes()])
    }

    /// As if the folder had sealed segments with these leaves.
    fn tiles_of(folder: &Path, size: u64) -> TileFolder {
        TileFolder {
            leaves: |_, from, to| Ok((from..to).map(leaf).collect()),
            ..TileFolder::new(folder, size)
        }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        let shown = |level, index, width| tile_path(level, index, width).display().to_string();
        assert_eq!(shown(0, 0, 256), "tile/0/000");
        assert_eq!(shown(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(shown(3, 1_234, 12), "tile/3/x001/234.p/12");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
        #[test]
        fn tiles_written_in_any_portions_prove_every_size(
            portions in proptest::collection::vec(1_u64..40_000, 1..4), pick: [prop::sample::Index; 3]
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut size = 0;
            for portion in portions {
                let mut tiles = TileWriter::open(dir.path(), size).unwrap();
                prop_assert_eq!(tiles.size(), size);
                let leaves: Vec<Hash> = (size..size + portion).map(leaf).collect();
                leaves.chunks(300).try_for_each(|some| tiles.extend(some)).unwrap();
                tiles.flush().unwrap();
                size += portion;
            }
            let leaves: Vec<Hash> = (0..size).map(leaf).collect();
            let root = tree_root(&leaves);
            prop_assert!(!dir.path().join(tile_path(0, 0, TILE_WIDTH)).exists());
            let mut tiles = tiles_of(dir.path(), size);
            prop_assert_eq!(proof::tree_root(&mut tiles, size).unwrap(), root);
            for pick in pick {
                let position = pick.index(size as usize) as u64;
                let path = proof::inclusion(&mut tiles, position, size).unwrap().unwrap();
                prop_assert!(proof::check_inclusion(&leaf(position), position, size, &path, &root));
                let old_root = tree_root(&leaves[..position as usize]);
                let path = proof::consistency(&mut tiles, position, size).unwrap().unwrap();
                prop_assert!(proof::check_consistency(position, size, &old_root, &root, &path));
            }
        }
    }

    #[test]
    fn a_tile_that_is_short_or_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut tiles = TileWriter::open(dir.path(), 0).unwrap();
        let leaves: Vec<Hash> = (0..66_000).map(leaf).collect();
        tiles.extend(&leaves).unwrap();
        tiles.flush().unwrap();
        let path = dir.path().join(tile_path(1, 0, 256));
        let read = || tiles_of(dir.path(), 66_000).node(8, 5);
        assert_eq!(read().unwrap(), tree_root(&leaves[5 * 256..6 * 256]));
        fs::write(&path, [0; 33]).unwrap();
        assert!(read().unwrap_err().to_string().contains("no tile of that width"));
        fs::remove_file(&path).unwrap();
        assert!(read().is_err());
        assert!(TileFolder::new(dir.path(), 66_000).node(0, 5).is_err(), "no segment has that leaf");
        assert!(TileWriter::open(dir.path(), 65_000).is_err(), "a partial tile of another width");
    }

    #[test]
    fn leaves_an_older_version_kept_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(tile_path(0, 0, TILE_WIDTH));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let leaves: Vec<Hash> = (0..256).map(leaf).collect();
        fs::write(&path, leaves.as_flattened()).unwrap();
        let mut tiles = TileFolder::new(dir.path(), 300);
        assert_eq!(tiles.node(0, 200).unwrap(), leaf(200));
        assert_eq!(tiles.node(2, 3).unwrap(), tree_root(&leaves[12..16]));
    }
}

//! Repair at open: damaged files are set aside, and the whole frames before the damage go to a new hot segment.

use std::path::{Path, PathBuf};

use super::hot::{self, Step, walk};
use super::open::{Hot, Opening};
use crate::block::Packer;
use crate::disk::sync_folder;
use crate::error::Error;
use crate::merkle::Frontier;
use crate::record::StoredFrame;
use crate::sealed;
use crate::segment::SegmentStore;

/// Why a copy is given up whose events are whole and are not those that were promised.
pub(super) const ANOTHER_ROOT: &str = "the events do not have the root the head file names";
/// Most folders of damaged files kept; the oldest goes first.
pub(super) const BAD_FOLDERS_MAX: usize = 8;
const PREFIX: &str = "bad-";

/// Moves files or folders of a log to a new folder `bad-<n>` in it.
pub(super) fn set_aside(log: &Path, paths: &[PathBuf]) -> Result<PathBuf, Error> {
    let listing = |error| Error::io("listing the log folder", log, error);
    let mut numbers: Vec<u64> = Vec::new();
    for entry in std::fs::read_dir(log).map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        numbers
            .extend(name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    while numbers.len() >= BAD_FOLDERS_MAX {
        let oldest = log.join(format!("{PREFIX}{}", numbers.remove(0)));
        std::fs::remove_dir_all(&oldest)
            .map_err(|error| Error::io("removing old damaged files", &oldest, error))?;
    }
    let target = log.join(format!("{PREFIX}{}", numbers.last().map_or(1, |last| last + 1)));
    let moving = |error| Error::io("setting damaged files aside", &target, error);
    std::fs::create_dir(&target).map_err(moving)?;
    for path in paths {
        let Some(name) = path.file_name() else { continue };
        match std::fs::rename(path, target.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(moving(error)),
            _ => {}
        }
    }
    sync_folder(&target)?;
    sync_folder(log)?;
    Ok(target)
}

/// Hands out frames from the beginning of damaged files until told to stop.
type Source<'a> = dyn FnMut(&mut dyn FnMut(StoredFrame) -> Result<bool, Error>) -> Result<(), Error> + 'a;

impl Opening<'_> {
    /// A damaged hot segment: aside with it, and what precedes the damage into a new one.
    pub(super) fn rebuild_from_hot(
        &mut self,
        store: Option<Box<dyn SegmentStore>>,
        path: &Path,
        start: &Frontier,
        why: &Error,
    ) -> Result<Hot, Error> {
        self.must_repair(&why.to_string())?;
        let aside = set_aside(&self.folder, &[path.to_owned()])?;
        self.suspect(why.to_string(), Some(aside.clone()));
        let Some(mut store) = store else { return self.rebuild(start, &mut |_| Ok(())) };
        self.rebuild(start, &mut |each| {
            walk(store.as_mut(), &aside, start, &mut |step| match step {
                Step::Frame(frame) => each(frame),
                Step::BlockEnd { .. } => Ok(true),
            })
        })
    }

    /// A damaged sealed segment: aside with it and all that follows it.
    pub(super) fn rebuild_from_sealed(
        &mut self,
        path: &Path,
        start: &Frontier,
        why: &Error,
    ) -> Result<Hot, Error> {
        self.must_repair(&why.to_string())?;
        let mut paths: Vec<PathBuf> = sealed::list(&self.folder)?
            .into_iter()
            .map(|(_, _, other)| other)
            .skip_while(|other| other != path)
            .collect();
        paths.extend(hot::list(&self.folder)?.into_iter().map(|(_, path)| path));
        let aside = set_aside(&self.folder, &paths)?;
        self.suspect(why.to_string(), Some(aside.clone()));
        let moved = path.file_name().map_or_else(|| aside.clone(), |name| aside.join(name));
        self.rebuild(start, &mut |each| {
            let mut reader = sealed::Reader::open(&moved)?;
            while let Some(frame) = reader.next_frame()? {
                if !each(frame)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Hot segments that nothing sealed leads up to.
    pub(super) fn rebuild_without_hot(&mut self, why: &str, hots: &[(u64, PathBuf)]) -> Result<Hot, Error> {
        self.must_repair(why)?;
        let paths: Vec<PathBuf> = hots.iter().map(|(_, path)| path.clone()).collect();
        let aside = set_aside(&self.folder, &paths)?;
        self.suspect(why, Some(aside));
        let start = self.feeder.sequencer.tree().clone();
        self.rebuild(&start, &mut |_| Ok(()))
    }

    /// Writes the frames that were replayed since `start` into a new hot segment. They are read a second time, so
    /// they must have the same root.
    fn rebuild(&mut self, start: &Frontier, source: &mut Source<'_>) -> Result<Hot, Error> {
        let mut store = hot::create(self.stores, &self.folder, start.size())?;
        let size = self.size();
        let mut tree = start.clone();
        let mut packer = Packer::new(start.root(), start.size());
        if size > start.size() {
            source(&mut |frame| {
                packer.push(&frame.frame, frame.record_time_ms, frame.at, &frame.leaves);
                tree.extend(&frame.leaves);
                Ok(tree.size() < size)
            })?;
        }
        if tree.root() != self.feeder.sequencer.root() {
            return Err(self.give_up(&self.folder.clone(), start.size(), ANOTHER_ROOT));
        }
        let mut bytes = 0;
        for block in packer.take() {
            store.append(block.first, &block.bytes)?;
            bytes += block.bytes.len() as u64;
        }
        store.sync()?;
        Ok(Hot { store, start: start.clone(), block_hash: packer.previous(), bytes })
    }

    /// Frames were handed to the caller that cannot be vouched for. Everything is set aside; the next start begins
    /// empty and refills.
    pub(super) fn give_up(&mut self, path: &Path, position: u64, why: &str) -> Error {
        let what = format!("{why}; the whole copy was set aside, the next start refills it");
        if let Err(error) = self.must_repair(&what) {
            return error;
        }
        let everything = || -> Result<PathBuf, Error> {
            let mut paths = vec![self.folder.join("HEAD")];
            paths.extend(sealed::list(&self.folder)?.into_iter().map(|(_, _, path)| path));
            paths.extend(hot::list(&self.folder)?.into_iter().map(|(_, path)| path));
            set_aside(&self.folder, &paths)
        };
        match everything() {
            Ok(_) => Error::damaged(path, position, what),
            Err(error) => error,
        }
    }
}

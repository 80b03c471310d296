//! Opening a copy: lock, sealed segments, hot segment, and what to do when they are not what HEAD promised.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use super::feeder::Feeder;
use super::hot::{self, Step, walk};
use super::repair::{ANOTHER_ROOT, set_aside};
use super::{Copy, Opened, STREAM_ID_MAX_BYTES, Suspect};
use crate::block::Packer;
use crate::disk::{self, make_folder, sync_folder};
use crate::error::Error;
use crate::head::{Head, HeadFile, HeadFound};
use crate::merkle::Frontier;
use crate::record::{AcceptedFrame, StoredFrame};
use crate::replay::check_end;
use crate::sealed;
use crate::segment::{OpenStore, SegmentStore};
use crate::sequencer::Sequencer;
use crate::steps::ahead;

/// The hot segment as it was found or made.
pub(super) struct Hot {
    pub(super) store: Box<dyn SegmentStore>,
    pub(super) start: Frontier,
    pub(super) block_hash: Hash,
    /// Of all blocks.
    pub(super) bytes: u64,
}

/// Everything open needs on its way.
pub(super) struct Opening<'a> {
    pub(super) folder: PathBuf,
    pub(super) stores: &'a dyn OpenStore,
    pub(super) feeder: Feeder<'a>,
    pub(super) suspect: Option<Suspect>,
    pub(super) promised: Option<Head>,
    /// Size of the snapshot it begins with, 0 without one. With one, nothing is repaired.
    pub(super) snapshot: u64,
}

/// What a pass over the folder found.
struct Found {
    head_file: HeadFile,
    hot: Hot,
    sequencer: Sequencer,
    suspect: Option<Suspect>,
    promised: Option<Head>,
}

/// Opens a copy whose first `sequencer.size()` events a snapshot answers for: none, or all up to some place in the
/// sealed segments.
pub(super) fn open(
    folder: &Path,
    sequencer: Sequencer,
    stores: Box<dyn OpenStore>,
    on_frame: &mut dyn FnMut(&AcceptedFrame),
) -> Result<Opened, Error> {
    make_folder(folder)?;
    let lock = lock(folder)?;
    remove_unfinished(folder)?;
    let again = sequencer.clone();
    let found = match pass(folder, sequencer, stores.as_ref(), on_frame, None) {
        // Nothing was changed. What the caller has seen was checked, and is not handed out again.
        Err((_, Some(seen))) => pass(folder, again, stores.as_ref(), on_frame, Some(seen)),
        first => first,
    };
    finish(folder, lock, stores, found.map_err(|(error, _)| error)?)
}

/// One pass: without `seen` signatures are checked behind, and an error comes with what the caller has seen if a frame is
/// forged.
fn pass(
    folder: &Path,
    sequencer: Sequencer,
    stores: &dyn OpenStore,
    on_frame: &mut dyn FnMut(&AcceptedFrame),
    seen: Option<u64>,
) -> Result<Found, (Error, Option<u64>)> {
    let mut opening = Opening {
        folder: folder.to_owned(),
        stores,
        snapshot: sequencer.size(),
        feeder: Feeder::new(folder, sequencer, on_frame, seen),
        suspect: None,
        promised: None,
    };
    match opening.replay() {
        Ok((head_file, hot)) => {
            let Opening { feeder, suspect, promised, .. } = opening;
            Ok(Found { head_file, hot, sequencer: feeder.sequencer, suspect, promised })
        }
        Err(error) => Err((error, opening.feeder.forged_behind())),
    }
}

impl Opening<'_> {
    fn replay(&mut self) -> Result<(HeadFile, Hot), Error> {
        let (head_file, found) = HeadFile::open(&self.folder)?;
        let mut head_lost = false;
        match found {
            HeadFound::Head { head, damaged } => {
                self.promised = Some(head);
                if damaged {
                    self.suspect("one slot of the head file is damaged", None);
                }
            }
            HeadFound::Absent => head_lost = true,
            HeadFound::Damaged => self.suspect("the head file is damaged", None),
        }
        let hot = match self.replay_sealed()? {
            Some(hot) => hot,
            None => self.replay_hot()?,
        };
        if head_lost && self.size() > 0 {
            self.suspect("the head file is missing", None);
        }
        if let Some(reason) = self.suspect.as_ref().map(|suspect| suspect.reason.clone()) {
            self.must_repair(&reason)?;
        }
        self.feeder.vouch()?;
        Ok((head_file, hot))
    }

    pub(super) fn size(&self) -> u64 {
        self.feeder.sequencer.size()
    }

    pub(super) fn suspect(&mut self, reason: impl Into<String>, set_aside: Option<PathBuf>) {
        let promised = self.promised.map(|head| head.size);
        let kept = self.size();
        self.suspect.get_or_insert(Suspect { reason: reason.into(), kept, promised, set_aside });
    }

    /// Before anything is set aside or rebuilt: with a snapshot nothing is, since what precedes it was not looked at.
    pub(super) fn must_repair(&mut self, why: &str) -> Result<(), Error> {
        self.feeder.vouch()?;
        match self.snapshot {
            0 => Ok(()),
            size => Err(Error::Snapshot { folder: self.folder.clone(), size, why: why.to_owned() }),
        }
    }

    /// Skips the sealed segments the snapshot covers and replays the rest of the one it ends in. They must lead from
    /// the empty tree to the snapshot's root. Returns the end of what it passed.
    fn pass_sealed(&mut self) -> Result<u64, Error> {
        let (mut end, mut root) = (0, Frontier::new().root());
        for (first, _, path) in
            sealed::list(&self.folder)?.into_iter().take_while(|(first, ..)| *first < self.snapshot)
        {
            let mut reader = sealed::Reader::open(&path)?;
            let footer = *reader.footer();
            if (footer.first, footer.root_before) != (end, root) || first != end {
                return Err(Error::damaged(&path, end, "it does not continue the segment before it"));
            }
            (end, root) = (footer.end, footer.root);
            if footer.end > self.snapshot {
                let mut at = footer.first;
                while let Some(frame) = reader.next_frame()? {
                    at += frame.leaves.len() as u64;
                    if at > self.snapshot {
                        self.feeder.feed(frame)?;
                    }
                }
                check_end(&reader, &self.feeder.sequencer)?;
            } else if Some(footer.anchor) != self.feeder.sequencer.anchor() {
                return Err(Error::damaged(&path, footer.first, "it is of another log"));
            }
        }
        if (end, root) != (self.size(), self.feeder.sequencer.root()) {
            return Err(Error::damaged(&self.folder, end, "the sealed segments do not lead to the snapshot"));
        }
        Ok(end)
    }

    /// Replays the sealed segments. If one is damaged, it and all that follows is set aside, and the hot segment
    /// returned holds what of it is whole.
    fn replay_sealed(&mut self) -> Result<Option<Hot>, Error> {
        let passed = match self.snapshot {
            0 => 0,
            _ => self.pass_sealed().or_else(|error| self.must_repair(&error.to_string()).map(|()| 0))?,
        };
        for (_, _, path) in sealed::list(&self.folder)?.into_iter().skip_while(|(first, ..)| *first < passed)
        {
            let start = self.feeder.sequencer.tree().clone();
            match self.feeder.feed_sealed(&path) {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    return self.rebuild_from_sealed(&path, &start, &error).map(Some);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Replays the hot segment that HEAD names.
    fn replay_hot(&mut self) -> Result<Hot, Error> {
        let sealed_end = self.size();
        let hots = hot::list(&self.folder)?;
        let start = self.feeder.sequencer.tree().clone();
        if let Some(head) = self.promised.filter(|head| head.hot_first != sealed_end) {
            // A seal that was interrupted after the file had its name: the file is all of the hot segment.
            let is_sealed = head.hot_first < sealed_end && head.size <= sealed_end;
            if !is_sealed {
                return self.rebuild_without_hot("sealed segments are missing", &hots);
            }
        }
        if self.promised.is_some_and(|head| head.size == sealed_end && head.root != start.root()) {
            return Err(self.give_up(&self.folder.clone(), sealed_end, ANOTHER_ROOT));
        }
        for (first, path) in &hots {
            match first {
                _ if *first < sealed_end => {
                    self.feeder.vouch()?;
                    hot::remove(path)?;
                }
                _ if *first > sealed_end => {
                    self.must_repair("a hot segment stands behind a hole")?;
                    let aside = set_aside(&self.folder, std::slice::from_ref(path))?;
                    self.suspect("a hot segment stands behind a hole", Some(aside));
                }
                _ => {}
            }
        }
        let path = hot::folder(&self.folder, sealed_end);
        match self.stores.open(&path) {
            Ok(store) => self.walk_hot(store, &path, start),
            Err(error) if error.is_damage() => self.rebuild_from_hot(None, &path, &start, &error),
            Err(error) => Err(error),
        }
    }

    /// Replays frame by frame up to what HEAD promised; behind that only up to the last block that ends with a
    /// frame, since the process may have stopped in the middle of a commit.
    fn walk_hot(
        &mut self,
        mut store: Box<dyn SegmentStore>,
        path: &Path,
        start: Frontier,
    ) -> Result<Hot, Error> {
        let promised = self.promised.map_or(start.size(), |head| head.size.max(start.size()));
        let head = self.promised.filter(|head| head.size > start.size());
        let (mut clean, mut seen) = ((start.root(), start.size()), start.size());
        let mut promised_root = None;
        let (mut waiting, mut total) = (Vec::new(), 0);
        let feeder = &mut self.feeder;
        let read =
            |each: &mut dyn FnMut(Step) -> Result<bool, Error>| walk(store.as_mut(), path, &start, each);
        let result = ahead(read, |step| {
            match step {
                Step::Frame(frame) => {
                    seen += frame.leaves.len() as u64;
                    waiting.push(frame);
                    if seen <= promised {
                        feed_all(feeder, &mut waiting)?;
                    }
                    if seen == promised {
                        promised_root = Some(feeder.sequencer.root());
                    }
                }
                Step::BlockEnd { hash, next, bytes, between_frames } => {
                    total += bytes;
                    if between_frames {
                        feed_all(feeder, &mut waiting)?;
                        clean = (hash, next);
                    }
                }
            }
            Ok(())
        });
        let size = self.size();
        match result {
            Err(error) if !error.is_damage() => return Err(error),
            Err(error) if size < promised || !matches!(error, Error::Damaged { .. }) => {
                return self.rebuild_from_hot(Some(store), path, &start, &error);
            }
            Ok(()) if size < promised => {
                let short = Error::damaged(path, size, format!("it ends at {size} of {promised} events"));
                return self.rebuild_from_hot(Some(store), path, &start, &short);
            }
            _ => {}
        }
        if let Some(head) = head.filter(|head| promised_root != Some(head.root)) {
            drop(store);
            return Err(self.give_up(path, head.size, ANOTHER_ROOT));
        }
        self.feeder.vouch()?;
        store.truncate(clean.1)?;
        Ok(Hot { store, start, block_hash: clean.0, bytes: total })
    }
}

fn finish(folder: &Path, lock: File, stores: Box<dyn OpenStore>, found: Found) -> Result<Opened, Error> {
    let Found { head_file, hot, sequencer, mut suspect, promised } = found;
    let (size, root) = (sequencer.size(), sequencer.root());
    let head = Head { hot_first: hot.start.size(), size, root, block_hash: hot.block_hash };
    let mut copy = Copy {
        folder: folder.to_owned(),
        _lock: lock,
        stores,
        store: hot.store,
        head_file,
        head,
        hot_start: hot.start,
        hot_bytes: hot.bytes,
        contacts: None,
        tree: sequencer.tree().clone(),
        packer: Packer::new(hot.block_hash, size),
        anchor: sequencer.anchor(),
        failed: false,
    };
    if promised != Some(head) || suspect.is_some() {
        copy.write_head(head)?;
    }
    if let Some(suspect) = &mut suspect {
        suspect.kept = size;
        // The other slot too: one of them may be the damage.
        copy.write_head(head)?;
    }
    let stream_position = sequencer.last_frame().map(|last| last.at);
    let stream_id = read_stream_id(&copy.folder)?;
    Ok(Opened { copy, sequencer, stream_position, stream_id, repaired: suspect })
}

fn feed_all(feeder: &mut Feeder<'_>, held: &mut Vec<StoredFrame>) -> Result<(), Error> {
    held.drain(..).try_for_each(|frame| feeder.feed(frame))
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("LOCK");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| Error::io("opening the lock file", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::io("locking the log folder", folder, error)),
    }
}

/// Removes files that never got their name.
fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    let listing = |error| Error::io("listing the log folder", folder, error);
    for entry in std::fs::read_dir(folder).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            std::fs::remove_file(&path)
                .map_err(|error| Error::io("removing an unfinished file", &path, error))?;
        }
    }
    Ok(())
}

/// Makes a folder of sealed segments from elsewhere the beginning of a copy: its HEAD promises just what they end with.
/// Whoever opens it checks them as any copy's.
///
/// # Errors
/// AST-L005 the disk; [`Error::Locked`] somebody has the folder open.
pub fn adopt(folder: &Path, size: u64, root: Hash) -> Result<(), Error> {
    let _lock = lock(folder)?;
    let (mut head_file, _) = HeadFile::open(folder)?;
    head_file.write(&Head { hot_first: size, size, root, block_hash: root })
}

/// Writes the stream id: a whole file or none.
pub(super) fn write_stream_id(folder: &Path, id: &str) -> Result<(), Error> {
    let (part, path) = (folder.join("STREAM.part"), folder.join("STREAM"));
    let id = id.get(..id.floor_char_boundary(STREAM_ID_MAX_BYTES)).unwrap_or(id);
    File::create(&part)
        .and_then(|mut file| file.write_all(id.as_bytes()).and_then(|()| disk::sync_all(&file, &part)))
        .and_then(|()| std::fs::rename(&part, &path))
        .map_err(|error| Error::io("writing the stream id", &path, error))?;
    sync_folder(folder)
}

fn read_stream_id(folder: &Path) -> Result<Option<String>, Error> {
    let path = folder.join("STREAM");
    match std::fs::read_to_string(&path) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("reading the stream id", &path, error)),
    }
}

//! One process's copy of the log on disk: sealed segments, one hot segment, HEAD.
//!
//! The caller judges frames with the [`Sequencer`] it got from [`Copy::open`], appends what was accepted and commits
//! by group ([`GROUP_COMMIT_INTERVAL`], [`GROUP_COMMIT_EVENTS`]). What `commit` returned is durable. After any error
//! but [`Error::PendingFull`] the copy takes nothing more and the caller stops the process: nothing that was durable
//! is lost, and the stream holds the rest.

mod feeder;
mod hot;
mod open;
mod repair;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use asterism_proto::hash::Hash;

use crate::block::Packer;
use crate::error::Error;
use crate::head::{Head, HeadFile};
use crate::merkle::Frontier;
use crate::record::{AcceptedFrame, StreamAt};
use crate::sealed::{self, ContactsOf, SealedSegment};
use crate::segment::{Backend, OpenStore, SegmentStore};
use crate::sequencer::Sequencer;
use crate::tiles::{self, TileWriter};
pub(crate) use hot::list as hot_folders;
use hot::{Step, walk};
pub use open::adopt;

/// The caller commits at least this often while anything is pending.
pub const GROUP_COMMIT_INTERVAL: Duration = Duration::from_millis(50);
/// The caller commits once this many events are pending.
pub const GROUP_COMMIT_EVENTS: usize = 1_024;
/// Most events that may be pending: a caller that never commits is told so.
pub const PENDING_EVENTS_MAX: usize = 65_536;
/// Longest stream id kept.
pub const STREAM_ID_MAX_BYTES: usize = 256;

/// A copy of the log. See the module's text.
pub struct Copy {
    folder: PathBuf,
    /// Held for the life of the copy: one process owns the folder.
    _lock: File,
    stores: Box<dyn OpenStore>,
    store: Box<dyn SegmentStore>,
    head_file: HeadFile,
    head: Head,
    /// The tree before the hot segment.
    hot_start: Frontier,
    /// Bytes of the hot segment's blocks.
    hot_bytes: u64,
    /// Files events under their contacts when sealing.
    contacts: Option<ContactsOf>,
    /// The tree with everything appended.
    tree: Frontier,
    packer: Packer,
    anchor: Option<Hash>,
    failed: bool,
}

/// What [`Copy::open`] found.
pub struct Opened {
    /// The copy, ready for the frame after the last one replayed.
    pub copy: Copy,
    /// The sequencer as it stood after that frame.
    pub sequencer: Sequencer,
    /// Where in the stream that frame stood: read on behind it.
    pub stream_position: Option<StreamAt>,
    /// The stream it was read from, if [`Copy::set_stream_id`] ever said so.
    pub stream_id: Option<String>,
    /// Set if something was damaged or missing: the copy is suspect until its root equals the newest checkpoint's.
    pub repaired: Option<Suspect>,
}

/// Why a copy is suspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// What was found.
    pub reason: String,
    /// Events kept: all that precede the damage.
    pub kept: u64,
    /// Events HEAD had promised, if HEAD could be read.
    pub promised: Option<u64>,
    /// Where the damaged files went, if any.
    pub set_aside: Option<PathBuf>,
}

/// Proof of a commit: everything below `size` is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// Log size.
    pub size: u64,
}

impl Copy {
    /// Opens a folder, making it if need be; checks HEAD, checksums, chain, signatures and roots; hands every frame
    /// to `on_frame` in order and rebuilds the sequencer. What is damaged is set aside, and what precedes it kept.
    /// Reading and signatures have a thread each, so `on_frame` comes a little behind.
    pub fn open(
        folder: &Path,
        fleet: &str,
        anchor: Option<Hash>,
        on_frame: impl FnMut(&AcceptedFrame),
    ) -> Result<Opened, Error> {
        Self::open_with(folder, fleet, anchor, Box::new(Backend::default()), on_frame)
    }

    /// [`Copy::open`] with another segment store.
    pub fn open_with(
        folder: &Path,
        fleet: &str,
        anchor: Option<Hash>,
        stores: Box<dyn OpenStore>,
        mut on_frame: impl FnMut(&AcceptedFrame),
    ) -> Result<Opened, Error> {
        open::open(folder, Sequencer::new(fleet, anchor), stores, &mut on_frame)
    }

    /// [`Copy::open`] from a snapshot's sequencer: what it covers is not read, only that the sealed segments lead up to
    /// it and that what follows has the roots they and HEAD name. The frames behind it go to `on_frame`.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if anything does not fit or is damaged: nothing was changed, open without one.
    pub fn open_behind(
        folder: &Path,
        sequencer: Sequencer,
        mut on_frame: impl FnMut(&AcceptedFrame),
    ) -> Result<Opened, Error> {
        open::open(folder, sequencer, Box::new(Backend::default()), &mut on_frame)
    }

    /// Takes an accepted frame into memory; [`Copy::commit`] makes it durable.
    pub fn append(&mut self, frame: &AcceptedFrame) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let (events, limit) = (self.pending(), PENDING_EVENTS_MAX);
        if events >= limit {
            return Err(Error::PendingFull { events, limit });
        }
        if frame.first != self.tree.size() || frame.leaves.len() != frame.frame.events.len() {
            self.failed = true;
            return Err(Error::OutOfOrder { expected: self.tree.size(), got: frame.first });
        }
        self.take(frame);
        Ok(())
    }

    fn take(&mut self, frame: &AcceptedFrame) {
        self.packer.push(&frame.frame, frame.record_time_ms, frame.at, &frame.leaves);
        self.tree.extend(&frame.leaves);
        if frame.first == 0 {
            self.anchor = Some(frame.header_hash);
        }
    }

    /// Events appended and not yet durable.
    pub const fn pending(&self) -> usize {
        (self.tree.size() - self.head.size) as usize
    }

    /// Durable log size.
    pub const fn size(&self) -> u64 {
        self.head.size
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes everything appended durable. The root is the sequencer's at that size; it must be that of the appended
    /// events, or memory and caller disagree and nothing is written.
    pub fn commit(&mut self, sequencer_root: Hash) -> Result<Durable, Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let root = self.tree.root();
        if root != sequencer_root {
            self.failed = true;
            return Err(Error::Root {
                size: self.tree.size(),
                given: hex::encode(sequencer_root),
                ours: hex::encode(root),
            });
        }
        if self.pending() > 0 {
            // Until every step is through, this copy counts as failed.
            self.failed = true;
            self.write_pending(root)?;
            self.failed = false;
        }
        Ok(Durable { size: self.head.size })
    }

    fn write_pending(&mut self, root: Hash) -> Result<(), Error> {
        for block in self.packer.take() {
            self.store.append(block.first, &block.bytes)?;
            self.hot_bytes += block.bytes.len() as u64;
        }
        self.store.sync()?;
        let block_hash = self.packer.previous();
        self.write_head(Head { size: self.packer.next(), root, block_hash, ..self.head })
    }

    fn write_head(&mut self, head: Head) -> Result<(), Error> {
        self.head_file.write(&head)?;
        self.head = head;
        Ok(())
    }

    /// From now on seals file events under the contacts this names, so that a search by contact need not read all.
    pub const fn index_contacts(&mut self, contacts: ContactsOf) {
        self.contacts = Some(contacts);
    }

    /// Durable events that are in no sealed segment.
    pub const fn unsealed_events(&self) -> u64 {
        self.head.size - self.head.hot_first
    }

    /// Bytes of their blocks.
    pub const fn unsealed_bytes(&self) -> u64 {
        self.hot_bytes
    }

    /// Commits, then turns everything not sealed so far into one immutable file that was read back, writes the tiles
    /// of its events, and begins a fresh hot segment. `None` if nothing came since the last seal.
    pub fn seal(&mut self) -> Result<Option<SealedSegment>, Error> {
        self.commit(self.tree.root())?;
        let Some(anchor) = self.anchor.filter(|_| self.head.size > self.head.hot_first) else {
            return Ok(None);
        };
        self.failed = true;
        let segment = self.write_sealed(&anchor)?;
        let (size, root) = (self.tree.size(), self.tree.root());
        let old_folder = hot::folder(&self.folder, self.head.hot_first);
        let fresh = hot::create(self.stores.as_ref(), &self.folder, size)?;
        self.write_head(Head { hot_first: size, size, root, block_hash: root })?;
        drop(std::mem::replace(&mut self.store, fresh));
        hot::remove(&old_folder)?;
        self.hot_start = self.tree.clone();
        self.hot_bytes = 0;
        self.packer = Packer::new(root, size);
        self.failed = false;
        Ok(Some(segment))
    }

    /// The sealed file and its tiles, both read back from the disk.
    fn write_sealed(&mut self, anchor: &Hash) -> Result<SealedSegment, Error> {
        let mut writer = sealed::Writer::create(&self.folder, &self.hot_start, self.contacts)?;
        let mut tiles = TileWriter::resume(&self.folder, &self.hot_start)?;
        let hot_folder = hot::folder(&self.folder, self.head.hot_first);
        walk(self.store.as_mut(), &hot_folder, &self.hot_start, &mut |step| match step {
            Step::Frame(frame) => {
                tiles.extend(&frame.leaves)?;
                writer.push(&frame).map(|()| true)
            }
            Step::BlockEnd { .. } => Ok(true),
        })?;
        if writer.tree() != &self.tree {
            let what = "its events do not have the root that was committed";
            return Err(Error::damaged(&hot_folder, self.head.hot_first, what));
        }
        tiles.flush()?;
        tiles::check(&self.folder, self.hot_start.size(), &self.tree)?;
        writer.finish(anchor)
    }

    /// Sealed segments of this copy: first position, end, path.
    pub fn sealed(&self) -> Result<Vec<(u64, u64, PathBuf)>, Error> {
        sealed::list(&self.folder)
    }

    /// Remembers which stream the positions count in.
    pub fn set_stream_id(&mut self, id: &str) -> Result<(), Error> {
        open::write_stream_id(&self.folder, id)
    }
}

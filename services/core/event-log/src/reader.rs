//! Reading a folder of sealed segments as an auditor does: nothing is believed, everything is checked again.
//!
//! Bounded memory: one chunk, one frame and the sequencer. Works without the owner and never writes.

use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use crate::copy::hot_folders;
use crate::error::Error;
use crate::head;
use crate::record::AcceptedFrame;
use crate::replay::{check_end, check_start, readmit};
use crate::sealed::{self, ContactsOf, Find, Key, Reader};
use crate::sequencer::Sequencer;
use crate::steps::Steps;

/// A folder of sealed segments.
#[derive(Debug, Clone)]
pub struct LogFolder {
    folder: PathBuf,
    anchor: Option<Hash>,
    fleet: String,
    segments: Vec<(u64, u64, PathBuf)>,
    unsealed: Option<Unsealed>,
    /// Events that HEAD says are sealed; 0 where there is no HEAD, as in an archive.
    promised: u64,
}

/// What the folder's owner has not sealed: it is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// Events in the hot segment, if HEAD says.
    pub events: Option<u64>,
}

impl LogFolder {
    /// Lists the segments and reads the fleet's name from the first frame. With an anchor, only the log that begins
    /// with it is accepted.
    pub fn open(folder: &Path, anchor: Option<Hash>) -> Result<Self, Error> {
        if !folder.is_dir() {
            return Err(Error::NoFolder { folder: folder.to_owned() });
        }
        // HEAD first: a seal that happens now can only add what HEAD did not promise yet.
        let head = head::peek(folder);
        let segments = sealed::list(folder)?;
        let has_hot = !hot_folders(folder)?.is_empty();
        let Some((_, sealed_end, _)) = segments.last() else {
            return Err(Error::NothingSealed { folder: folder.to_owned(), hot: has_hot });
        };
        let events = head.map(|head| head.size.saturating_sub(*sealed_end));
        let unsealed = (has_hot && events != Some(0)).then_some(Unsealed { events });
        let fleet = match segments.first() {
            Some((0, _, path)) => Reader::open(path)?.next_frame()?.map(|first| first.frame.header.fleet),
            _ => None,
        };
        let fleet = fleet.ok_or_else(|| Error::damaged(folder, 0, "the first segment is missing"))?;
        let promised = head.map_or(0, |head| head.hot_first);
        Ok(Self { folder: folder.to_owned(), anchor, fleet, segments, unsealed, promised })
    }

    /// Fleet whose log this is.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Sealed segments: first position, end, path.
    pub fn segments(&self) -> &[(u64, u64, PathBuf)] {
        &self.segments
    }

    /// What is there but not sealed, and so not read.
    pub const fn unsealed(&self) -> Option<Unsealed> {
        self.unsealed
    }

    /// The frames that hold what is looked for, in log order: only the chunks that an index names are decompressed. It
    /// proves nothing of the rest; [`LogFolder::frames`] does.
    pub fn find(&self, key: Key, contacts: ContactsOf) -> Find {
        Find::new(self.segments.iter().map(|(_, _, path)| path.clone()).collect(), key, contacts)
    }

    /// All frames in order, each checked. Ends after the first error.
    pub fn frames(&self) -> Frames {
        self.frames_behind(Sequencer::new(&self.fleet, self.anchor))
    }

    /// The frames behind those a sequencer has judged, each checked; what it stands for is believed as far as the
    /// segments' roots bear it out.
    pub fn frames_behind(&self, sequencer: Sequencer) -> Frames {
        let left = self.segments.iter().filter(|(_, end, _)| *end > sequencer.size());
        Frames {
            folder: self.folder.clone(),
            left: left.map(|(_, _, path)| path.clone()).collect::<Vec<_>>().into_iter(),
            reader: None,
            begin: sequencer.size(),
            sequencer,
            promised: self.promised,
            ended: false,
        }
    }
}

/// The frames of a [`LogFolder`].
#[derive(Debug)]
pub struct Frames {
    folder: PathBuf,
    left: std::vec::IntoIter<PathBuf>,
    reader: Option<Reader>,
    sequencer: Sequencer,
    /// What precedes it is skipped.
    begin: u64,
    promised: u64,
    ended: bool,
}

impl Frames {
    /// The sequencer after the last frame returned: size, root, origins, checkpoints compared so far.
    pub const fn sequencer(&self) -> &Sequencer {
        &self.sequencer
    }

    /// The last segments may be missing: where there is a HEAD, it says so.
    fn check_promised(&self) -> Result<(), Error> {
        let size = self.sequencer.size();
        if size >= self.promised {
            return Ok(());
        }
        let what =
            format!("HEAD says that {} events are sealed; the last segments are missing", self.promised);
        Err(Error::damaged(&self.folder, size, what))
    }
}

impl Steps for Frames {
    type Item = AcceptedFrame;

    fn advance(&mut self) -> Result<Option<AcceptedFrame>, Error> {
        loop {
            let reader = if let Some(reader) = &mut self.reader {
                reader
            } else {
                let Some(path) = self.left.next() else { return self.check_promised().map(|()| None) };
                let reader = Reader::open(&path)?;
                if self.begin == 0 || reader.footer().first >= self.begin {
                    check_start(&reader, &self.sequencer)?;
                }
                self.reader.insert(reader)
            };
            if let Some(stored) = reader.next_frame()? {
                if reader.position() <= self.begin {
                    continue;
                }
                return readmit(&mut self.sequencer, &self.folder, stored).map(Some);
            }
            check_end(reader, &self.sequencer)?;
            self.reader = None;
        }
    }

    fn ended(&mut self) -> &mut bool {
        &mut self.ended
    }
}

impl Iterator for Frames {
    type Item = Result<AcceptedFrame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

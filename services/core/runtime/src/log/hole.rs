//! A hole of the stream: frames it has lost, or that grew too old before this copy read them. They come from a ledger's
//! copy or from the archive, and are judged as if they had come from the stream.

use std::sync::PoisonError;
use std::time::Duration;

use asterism_event_log::sealed::Reader as Sealed;
use asterism_event_log::{SignatureCheck, StoredFrame};
use asterism_nats::{ReadFrom, Reader};

use super::Log;
use crate::archive::ArchiveError;
use crate::restore::{Fetched, Repair, Source, unfit};
use crate::stream::{self, ASK_AGAIN};

/// How long a copy waits for one of them.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is missing, and whether it is here now.
struct Hole {
    stream_id: String,
    /// The first sequence that the stream has again.
    got: u64,
    /// Of the last frame that was taken.
    reached: u64,
    /// Where the archive ended when nothing in it helped.
    archive_end: u64,
}

/// Why a source did not fill it.
enum Unfilled {
    /// Not now, or not all of it: the next source, or the same later.
    Yet(String),
    /// The copy cannot go on.
    Stop(String),
}

impl From<ArchiveError> for Unfilled {
    fn from(error: ArchiveError) -> Self {
        Self::Yet(error.to_string())
    }
}

impl From<asterism_event_log::Error> for Unfilled {
    fn from(error: asterism_event_log::Error) -> Self {
        Self::Yet(error.to_string())
    }
}

impl Log {
    /// Fills the hole before `got`. Gives a reader behind it.
    ///
    /// # Errors
    /// AST-R025: neither a ledger's copy nor the archive gives it in time.
    pub(super) async fn fill_hole(&self, expected: u64, got: u64) -> Result<Reader, String> {
        tracing::error!(
            expected,
            got,
            "AST-R026: the stream has lost frames; this copy takes them from the ledger or the archive"
        );
        self.0.head.send_modify(|head| (head.at_end, head.caught_up) = (false, false));
        let stream_id = self.sequencer(|_, stream_id, _| stream_id.to_owned());
        let before = self.0.head.borrow().size;
        let mut hole = Hole { stream_id, got, reached: expected - 1, archive_end: 0 };
        let filled = tokio::time::timeout(PATIENCE, self.fill(&mut hole)).await;
        let source = match filled {
            Ok(source) => source?,
            Err(_) => {
                return Err(format!(
                    "AST-R025: the stream has lost {expected} to {}, and neither a ledger's copy nor the archive gives \
                     them within {} s; start the ledger, or delete the stream: the ledger continues the log in a new \
                     one and what is lost is asked for again",
                    got - 1,
                    PATIENCE.as_secs()
                ));
            }
        };
        self.filled(&hole, before, source, expected);
        let sequence = got.max(hole.reached + 1);
        let from = ReadFrom { sequence, stream_id: Some(hole.stream_id), ..ReadFrom::default() };
        Reader::start_at(&self.0.bus, &self.0.fleet, from).map_err(|error| error.to_string())
    }

    /// Until one of the sources has filled it.
    async fn fill(&self, hole: &mut Hole) -> Result<Source, String> {
        loop {
            let ledger = match self.fill_from_ledger(hole).await {
                Ok(()) => return Ok(Source::Ledger),
                Err(Unfilled::Stop(reason)) => return Err(reason),
                Err(Unfilled::Yet(why)) => why,
            };
            let archive = match self.fill_from_archive(hole).await {
                Ok(()) => return Ok(Source::Archive),
                Err(Unfilled::Stop(reason)) => return Err(reason),
                Err(Unfilled::Yet(why)) => why,
            };
            tracing::warn!(got = hole.got, ledger, archive, "the hole in the stream is not filled yet");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// What was done is told in the log; and nothing is led before a checkpoint has covered it, unless the log key has
    /// signed just that already.
    fn filled(&self, hole: &Hole, before: u64, source: Source, expected: u64) {
        let size = self.0.head.borrow().size;
        let what = format!("the stream has lost frames {expected} to {}", hole.got - 1);
        let mut repair = self.0.repair.lock().unwrap_or_else(PoisonError::into_inner);
        repair.get_or_insert_with(|| Repair::lacked(what, before)).sources.insert(source);
        drop(repair);
        if source == Source::Ledger {
            *self.0.suspect.lock().unwrap_or_else(PoisonError::into_inner) = Some(size);
        }
        tracing::info!(events = size - before, expected, got = hole.got, from = source.name(), "refilled");
    }

    async fn fill_from_ledger(&self, hole: &mut Hole) -> Result<(), Unfilled> {
        loop {
            let size = self.0.head.borrow().size;
            let piece = stream::piece(&self.0.bus, &self.0.fleet, size).await;
            let piece = piece.map_err(|error| Unfilled::Yet(error.to_string()))?;
            if piece.stream_id != hole.stream_id {
                return Err(Unfilled::Yet("the ledger reads another stream".to_owned()));
            }
            if piece.stream_sequence + 1 < hole.got {
                // One that has not read beyond the hole itself cannot tell what was in it.
                return Err(Unfilled::Yet(format!("the ledger has read up to {}", piece.stream_sequence)));
            }
            for stored in piece.frames {
                if stored.at.sequence >= hole.got {
                    return Ok(());
                }
                self.take_stored(hole, "the ledger's copy", stored).await?;
            }
            if self.0.head.borrow().size >= piece.end {
                return Ok(());
            }
        }
    }

    /// Whole segments, so that each ends with a root the log key has signed.
    async fn fill_from_archive(&self, hole: &mut Hole) -> Result<(), Unfilled> {
        let Some(archive) = &self.0.archive else {
            return Err(Unfilled::Yet("ledger.archive is not set".to_owned()));
        };
        let size = || self.0.head.borrow().size;
        let end = archive.last_segment().await?.map_or(0, |last| last.end);
        if end <= size().max(hole.archive_end) {
            return Err(Unfilled::Yet(format!("the archive ends at event {end}")));
        }
        hole.archive_end = end;
        let Some(holding) = archive.segment_holding(size()).await? else {
            return Err(Unfilled::Yet(format!("no archived segment holds event {}", size())));
        };
        let folder = Fetched::below(&self.0.folder)?;
        for segment in archive.chain_from(holding.first).await? {
            archive.check_note(&segment).await?;
            let mut reader = Sealed::open(&archive.fetch(&segment, folder.path()).await?)?;
            let mut at = segment.first;
            while let Some(stored) = reader.next_frame()? {
                at += stored.frame.events.len() as u64;
                if at > size() {
                    self.take_stored(hole, &segment.object, stored).await?;
                }
            }
            let root = self.sequencer(|sequencer, _, _| hex::encode(sequencer.root()));
            if size() != segment.end || root != segment.root {
                let what = format!("AST-R082: {} ends with another root than this copy", segment.object);
                return Err(Unfilled::Stop(format!("{what}; compare both by `asterism replay diff`")));
            }
        }
        if hole.reached + 1 >= hole.got {
            return Ok(());
        }
        Err(Unfilled::Yet(format!("the archive ends at event {end}, before the end of the hole")))
    }

    /// Takes a frame that must be the next of the log.
    async fn take_stored(&self, hole: &mut Hole, from: &str, stored: StoredFrame) -> Result<(), Unfilled> {
        let (sequence, record_time_ms) = (stored.at.sequence, stored.record_time_ms);
        let judged = self.judge(sequence, |sequencer| sequencer.readmit(stored, SignatureCheck::Check)).await;
        match judged.map_err(Unfilled::Stop)? {
            Ok(time) if time == record_time_ms => {
                hole.reached = sequence;
                Ok(())
            }
            Ok(_) => {
                let what = "the log has another time there";
                Err(Unfilled::Stop(format!("AST-R082: {from} does not continue this copy: {what}")))
            }
            Err(other) => {
                let why = format!("{from} does not continue this copy: {}", unfit(&other));
                tracing::error!(sequence, why, "AST-R082");
                Err(Unfilled::Yet(why))
            }
        }
    }
}

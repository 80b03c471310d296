//! Filling a copy from what is not the stream: first the archive, in whole segments, then a ledger's copy.
//!
//! A source that is away or ends too early is left for the next one; only a source that is of another history is an error.

use asterism_event_log::sealed::Reader;
use asterism_event_log::{SignatureCheck, StoredFrame, Verdict};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{OpenFrame, Origin, Role};
use prost::Message as _;

use super::repair::Source;
use super::{RestoreError, Work};
use crate::archive::{ArchiveError, Segment};
use crate::log::LogError;
use crate::stream::{self, ASK_AGAIN, PieceError};

/// Events refilled between two commits.
const COMMIT_EVENTS: usize = 8_192;
/// Times a ledger is asked again that has nothing to give yet, or does not answer in time.
const ASKS_MAX: u32 = 30;
/// What a ledger's copy is called where an object is named.
const LEDGERS_COPY: &str = "the ledger's copy";

impl Work<'_> {
    /// Adds what archive and ledger have behind this copy, at most up to a log size. `false`: nothing.
    pub(super) async fn refill(&mut self, up_to: Option<u64>) -> Result<bool, LogError> {
        let archived = match self.refill_from_archive(up_to).await {
            Err(LogError::Restore(RestoreError::Archive(error))) if error.is_transient() => Err(error),
            other => Ok(other?),
        };
        let told = self.refill_from_ledger(up_to).await?;
        match archived {
            Ok(archived) => Ok(archived || told),
            Err(error) if told => {
                tracing::warn!(%error, "the archive is away; the ledger's copy had it");
                Ok(true)
            }
            Err(error) => Err(RestoreError::from(error).into()),
        }
    }

    /// Adds what the archive has behind this copy, at most up to a log size. `false`: nothing.
    pub(super) async fn refill_from_archive(&mut self, up_to: Option<u64>) -> Result<bool, LogError> {
        let Some(archive) = self.archive else { return Ok(false) };
        let before = self.size();
        let Some(holding) = archive.segment_holding(before).await.map_err(RestoreError::from)? else {
            return Ok(false);
        };
        let chain = archive.chain_from(holding.first).await.map_err(RestoreError::from)?;
        let folder = Fetched::below(&self.config.dir).map_err(RestoreError::from)?;
        for segment in &chain {
            if up_to.is_some_and(|up_to| self.size() >= up_to) {
                break;
            }
            // Signed, or it does not count; fetched again if a fetch before broke off.
            archive.check_note(segment).await.map_err(RestoreError::from)?;
            let path = archive.fetch(segment, folder.path()).await.map_err(RestoreError::from)?;
            self.take_segment(segment, &path, up_to).await?;
            let _ = std::fs::remove_file(&path); // the folder goes below
        }
        Ok(self.added(before, Source::Archive))
    }

    /// Adds what a ledger's copy has behind this one, at most up to a log size, or to where it ended when it was asked
    /// first. `false`: nothing, or there is no ledger.
    pub(super) async fn refill_from_ledger(&mut self, up_to: Option<u64>) -> Result<bool, LogError> {
        let before = self.size();
        let (mut target, mut asks) = (up_to, 0);
        while target.is_none_or(|target| self.size() < target) {
            let piece = match stream::piece(self.bus, &self.config.fleet, self.size()).await {
                Ok(piece) => piece,
                Err(PieceError::Later(why)) if asks < ASKS_MAX => {
                    asks += 1;
                    tracing::debug!(why, "the ledger is asked again");
                    tokio::time::sleep(ASK_AGAIN).await;
                    continue;
                }
                Err(error) => {
                    tracing::info!(%error, size = self.size(), "nothing from a ledger's copy");
                    break;
                }
            };
            target.get_or_insert(piece.end);
            if piece.frames.is_empty() {
                break;
            }
            for stored in piece.frames {
                let end = self.size() + stored.frame.events.len() as u64;
                if up_to.is_some_and(|up_to| end > up_to) {
                    self.commit()?;
                    return Ok(self.added(before, Source::Ledger));
                }
                self.take_frame(LEDGERS_COPY, stored)?;
            }
            if self.start.opened.copy.pending() >= COMMIT_EVENTS {
                self.commit()?;
            }
        }
        self.commit()?;
        Ok(self.added(before, Source::Ledger))
    }

    fn added(&mut self, before: u64, source: Source) -> bool {
        let added = self.size() - before;
        if added > 0 {
            tracing::info!(events = added, size = self.size(), from = source.name(), "refilled");
            self.refilled += added;
            self.sources.insert(source);
        }
        added > 0
    }

    async fn take_segment(
        &mut self,
        segment: &Segment,
        path: &std::path::Path,
        up_to: Option<u64>,
    ) -> Result<(), LogError> {
        let mut reader = Reader::open(path)?;
        let mut at = segment.first;
        while let Some(stored) = reader.next_frame()? {
            at += stored.frame.events.len() as u64;
            if at <= self.size() {
                continue;
            }
            if up_to.is_some_and(|up_to| at > up_to) {
                break;
            }
            self.take_frame(&segment.object, stored)?;
            if self.start.opened.copy.pending() >= COMMIT_EVENTS {
                self.commit()?;
                tokio::task::yield_now().await;
            }
        }
        self.commit()?;
        let root = hex::encode(self.opened().sequencer.root());
        if self.size() == segment.end && root != segment.root {
            return Err(self.differs(&segment.object, "its end has another root here").into());
        }
        // Sealed where the archive is: two copies restored from there are cut alike.
        if self.size() == segment.end {
            self.start.opened.copy.seal()?;
        }
        Ok(())
    }

    fn take_frame(&mut self, object: &str, stored: StoredFrame) -> Result<(), LogError> {
        let record_time_ms = stored.record_time_ms;
        let verdict = self.start.opened.sequencer.readmit(stored, SignatureCheck::Check);
        let frame = match verdict {
            Verdict::Accepted(frame) if frame.record_time_ms == record_time_ms => frame,
            Verdict::Stop { reason } => return Err(LogError::Stopped(reason.to_string())),
            other => return Err(self.differs(object, &unfit(&other)).into()),
        };
        if frame.frame.origin == Origin::Role(Role::Ledger) {
            self.note_stream(&frame.frame);
        }
        self.start.fold(&frame).map_err(LogError::Stopped)?;
        Ok(self.start.opened.copy.append(&frame)?)
    }

    /// Remembers which stream the ledger read when it wrote this.
    pub(super) fn note_stream(&mut self, frame: &OpenFrame) {
        for event in frame.events.iter().filter_map(|event| v1::Event::decode(event).ok()) {
            if event.r#type == EventType::Continues as u32 {
                self.said = None;
            } else if event.r#type == EventType::Checkpoint as u32
                && let Ok(body) = v1::Checkpoint::decode(event.body.as_slice())
            {
                self.said = Some(body.stream_id);
            }
        }
    }

    fn commit(&mut self) -> Result<(), LogError> {
        let opened = &mut self.start.opened;
        opened.copy.commit(opened.sequencer.root())?;
        Ok(())
    }

    fn differs(&self, object: &str, why: &str) -> RestoreError {
        RestoreError::Differs { object: object.to_owned(), at: self.size(), why: why.to_owned() }
    }
}

/// Why a frame from a copy or an archive does not continue this one.
pub(crate) fn unfit(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Gap { origin, expected, got } => format!("{origin} is at {expected}, not {got}"),
        Verdict::Refused { reason, .. } => reason.to_string(),
        Verdict::Stop { reason } => reason.to_string(),
        Verdict::Accepted(_) | Verdict::Duplicate => {
            "a frame stands there a second time, or at another time".to_owned()
        }
    }
}

/// A folder for fetched segments, gone with the value.
pub(crate) struct Fetched(std::path::PathBuf);

impl Fetched {
    /// In a copy's folder.
    pub(crate) fn below(copy: &std::path::Path) -> Result<Self, ArchiveError> {
        let folder = Self(copy.join("restore"));
        std::fs::create_dir_all(&folder.0).map_err(|error| ArchiveError::io("making", &folder.0, error))?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // nothing in it counts
    }
}

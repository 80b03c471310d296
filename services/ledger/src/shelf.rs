//! Reading this process's copy by position in the log, for others: from its sealed files.
//!
//! What is not sealed is sealed first, now and then: the hot segment is its writer's alone. Whoever asks for one piece
//! after the other finds the file open where the last one ended, so that a log is read once and not once a piece.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use asterism_event_log::sealed::{self, Reader};
use asterism_event_log::{Error, StoredFrame};
use asterism_proto::v1::RangeFrame;
use asterism_runtime::log::Log;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::range::{RANGE_MAX_BYTES, RANGE_MAX_FRAMES};

/// Shortest time between two seals that others ask for.
const SEAL_PAUSE: Duration = Duration::from_secs(10);
/// Files kept open for those who go on.
const OPEN_MAX: usize = 4;

/// Why a piece cannot be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// It is not sealed, and the last seal was only just made.
    #[error("AST-G015: that part is not sealed yet; ask again in a few seconds")]
    Later,
    /// The copy is damaged there, or cannot be read.
    #[error("AST-G016: the ledger's own copy cannot be read there: {0}")]
    Copy(#[from] Error),
    /// A position inside a frame.
    #[error("AST-G017: no frame begins at event {0} here")]
    NoFrame(u64),
    /// The copy has stopped, or a task died.
    #[error("AST-G018: {0}")]
    Stopped(String),
}

/// A sealed file, read up to a position.
struct Place {
    reader: Reader,
    at: u64,
    /// Read, and too much for the last reply.
    next: Option<StoredFrame>,
}

/// The copy on its shelf. Clones share it.
#[derive(Clone)]
pub(crate) struct Shelf {
    log: Log,
    open: Arc<Mutex<Vec<Place>>>,
    sealed: Arc<AsyncMutex<Option<Instant>>>,
}

impl Shelf {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, open: Arc::default(), sealed: Arc::default() }
    }

    /// Frames from a position below the log's size on, as many as fit; and the log's size after them.
    pub(crate) async fn read(&self, from: u64) -> Result<(Vec<RangeFrame>, u64), ShelfError> {
        let mut file = self.file_at(from)?;
        if file.is_none() {
            self.seal(from).await?;
            file = self.file_at(from)?;
        }
        let path = file.ok_or(ShelfError::Later)?;
        let open = Arc::clone(&self.open);
        let read = tokio::task::spawn_blocking(move || {
            let known = {
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                let found = open.iter().position(|place| place.at == from);
                found.map(|found| open.remove(found))
            };
            let mut place = known.map_or_else(|| find(&path, from), Ok)?;
            let piece = piece(&mut place)?;
            let at = place.at;
            // At its end the file has nothing more for whoever goes on.
            if at < place.reader.footer().end {
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                if open.len() == OPEN_MAX {
                    open.remove(0); // the one that was asked for longest ago
                }
                open.push(place);
            }
            Ok((piece, at))
        });
        read.await.map_err(|error| ShelfError::Stopped(error.to_string()))?
    }

    fn file_at(&self, position: u64) -> Result<Option<PathBuf>, Error> {
        let files = sealed::list(self.log.folder())?;
        let holds = |(first, end, _): &&(u64, u64, PathBuf)| (*first..*end).contains(&position);
        Ok(files.iter().find(holds).map(|(_, _, path)| path.clone()))
    }

    /// Seals, unless that was done a moment ago.
    async fn seal(&self, wanted: u64) -> Result<(), ShelfError> {
        let mut sealed = self.sealed.lock().await;
        if self.file_at(wanted)?.is_some() {
            return Ok(()); // while this one waited for its turn
        }
        if sealed.is_some_and(|at| at.elapsed() < SEAL_PAUSE) {
            return Err(ShelfError::Later);
        }
        *sealed = Some(Instant::now());
        self.log.seal().await.map_err(|error| ShelfError::Stopped(error.to_string()))?;
        Ok(())
    }
}

fn find(path: &Path, from: u64) -> Result<Place, ShelfError> {
    let reader = Reader::open(path)?;
    let mut place = Place { at: reader.footer().first, reader, next: None };
    while place.at < from {
        let frame = place.reader.next_frame()?.ok_or(ShelfError::NoFrame(from))?;
        place.at += frame.frame.events.len() as u64;
    }
    if place.at == from { Ok(place) } else { Err(ShelfError::NoFrame(from)) }
}

fn piece(place: &mut Place) -> Result<Vec<RangeFrame>, ShelfError> {
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while frames.len() < RANGE_MAX_FRAMES {
        let next = match place.next.take() {
            Some(frame) => Some(frame),
            None => place.reader.next_frame()?,
        };
        let Some(stored) = next else { break };
        let frame = stored.frame.to_bytes();
        bytes += frame.len();
        if bytes > RANGE_MAX_BYTES && !frames.is_empty() {
            place.next = Some(stored);
            break;
        }
        place.at += stored.frame.events.len() as u64;
        let (sequence, time_ms) = (stored.at.sequence, stored.at.time_ms);
        frames.push(RangeFrame { sequence, time_ms, frame, record_time_ms: stored.record_time_ms });
    }
    Ok(frames)
}

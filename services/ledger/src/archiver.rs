//! Keeps the archive: seals now and then, stores what is sealed, signs it, and says so in the log.
//!
//! What is archived is found in the archive itself, so a ledger that was killed goes on where it was. Two ledgers whose
//! copies are sealed at different places make one chain: what begins inside a segment here is cut anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::{Event, REDUCER, wire};
use asterism_event_log::snapshot::Snapshot as State;
use asterism_event_log::{LogFolder, recut};
use asterism_proto::hash::Hash;
use asterism_proto::note::TreeHead;
use asterism_proto::v1::OriginMark;
use asterism_proto::{OriginKey, Role};
use asterism_runtime::archive::{Archive, ArchiveError, Segment, Stored};
use asterism_runtime::health::Health;
use asterism_runtime::log::Log;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::cosigned::Cosigned;
use crate::office::{Ask, Marked};
use crate::witness::Witnesses;

/// Sealed before its time once this many events are not: about 60 MB of an object.
const SEAL_EVENTS: u64 = 500_000;
/// A sealed file larger than this is cut: the store takes no object above 256 MiB.
const FILE_MAX_BYTES: u64 = 200 * 1024 * 1024;
/// How often the copy's folder is looked at for sealed files.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause after the store did not answer, first and longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Why archiving stops.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The copy's sealed files.
    #[error(transparent)]
    Copy(#[from] asterism_event_log::Error),
    /// What is archived is not this log.
    #[error(
        "AST-G020: the archive's segment up to event {end} has root {theirs}, this copy has {ours} there; nothing was \
         overwritten, archiving stops; compare both by `asterism archive fetch` and `asterism replay diff`"
    )]
    OtherLog {
        /// Where it ends.
        end: u64,
        /// Its root.
        theirs: String,
        /// The root here.
        ours: String,
    },
    /// The end of the process did not wait for the store.
    #[error(
        "AST-G022: not all of the log could be archived at the end: {why}; it stays on this disk and is archived at the \
         next start"
    )]
    AtTheEnd {
        /// What the last try met.
        why: String,
    },
    /// A task died.
    #[error("AST-G021: reading the sealed files failed: {0}")]
    Task(String),
    /// The term is over, or the copy has stopped.
    #[error("this process does not lead any more")]
    NotLeading,
}

impl Problem {
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Archive(error) if error.is_transient())
    }
}

/// The archiver of a ledger process.
pub(crate) struct Archiver {
    log: Log,
    archive: Archive,
    key: OriginKey,
    pace: Pace,
    asks: mpsc::Sender<Ask>,
    health: Option<Health>,
    /// Where the archive ends, once that is known.
    end: Option<u64>,
    /// The marks of all others at the last seal: a log to which only the ledger adds is not sealed again.
    sealed: Vec<OriginMark>,
    /// A state whose hash is in the log, to be stored once what follows it is.
    taken: Option<Arc<State>>,
    /// Size of the newest archived snapshot of this reducer, once that is known.
    snapshot: Option<u64>,
    cosigned: Cosigned,
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Time between two seals.
    pub(crate) seal_every: Duration,
    /// How long what only the ledger wrote may wait.
    pub(crate) tail_after: Duration,
    /// Events between two snapshots.
    pub(crate) snapshot_events: u64,
}

impl Archiver {
    pub(crate) fn new(
        log: Log,
        archive: Archive,
        key: OriginKey,
        pace: Pace,
        (asks, witnesses): (mpsc::Sender<Ask>, Witnesses),
        health: Option<Health>,
    ) -> Self {
        let (end, sealed, taken, snapshot) = (None, Vec::new(), None, None);
        let cosigned = Cosigned::new(witnesses);
        Self { log, archive, key, pace, asks, health, end, sealed, taken, snapshot, cosigned }
    }

    /// Works while this process leads; ends with the sender of `leading`.
    pub(crate) async fn run(mut self, mut leading: watch::Receiver<Option<u64>>) {
        loop {
            if leading.wait_for(Option::is_some).await.is_err() {
                return;
            }
            // What `wait_for` gives back is a lock: it must be gone before the next await.
            let mut ended = leading.clone();
            let ended = async { ended.wait_for(Option::is_none).await.is_ok() };
            let problem = tokio::select! {
                problem = self.work() => Some(problem),
                none = ended => if none { None } else { return },
            };
            if let Some(problem) = problem.filter(|problem| !matches!(problem, Problem::NotLeading)) {
                // Said once, and shown until a new term or a restart: nothing more is stored.
                tracing::error!(%problem, "archiving stops");
                self.show(Err(problem.to_string()));
            }
            if leading.wait_for(Option::is_none).await.is_err() {
                return;
            }
            (self.end, self.taken, self.snapshot) = (None, None, None);
        }
    }

    fn show(&self, state: Result<(), String>) {
        if let Some(health) = &self.health {
            health.set("archive", state);
        }
    }

    /// Until something ends it.
    async fn work(&mut self) -> Problem {
        let (mut pause, mut sealed_at) = (RETRY.0, Instant::now());
        loop {
            let done = async {
                if self.is_due(sealed_at)? && self.seal(sealed_at.elapsed()).await? {
                    sealed_at = Instant::now();
                }
                self.catch_up().await?;
                self.store_snapshot().await?;
                self.announce().await?;
                self.cosigned.store(&self.log, &self.archive, &self.key).await.map_err(Problem::from)
            };
            match done.await {
                Ok(()) => {
                    self.show(Ok(()));
                    pause = RETRY.0;
                    sleep(LOOK_EVERY.min(self.pace.seal_every)).await;
                }
                Err(problem) if problem.is_transient() => {
                    tracing::warn!(%problem, "the archive is tried again");
                    self.show(Err(problem.to_string()));
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                Err(problem) => return problem,
            }
        }
    }

    fn is_due(&self, sealed_at: Instant) -> Result<bool, Problem> {
        if sealed_at.elapsed() >= self.pace.seal_every {
            return Ok(true);
        }
        let sealed = self.files()?.last().map_or(0, |(_, end, _)| *end);
        Ok(self.log.read(|state| state.size).saturating_sub(sealed) >= SEAL_EVENTS)
    }

    /// A checkpoint first, as for every seal. `false`: nobody but the ledger has written since the last one, and what it
    /// wrote is younger than the stream keeps it anyway: each seal has words of its own.
    async fn seal(&mut self, since: Duration) -> Result<bool, Problem> {
        let ledger = Role::Ledger.to_string();
        let others = |mark: &OriginMark| mark.origin.strip_prefix("role/") != Some(&ledger);
        let marks: Vec<OriginMark> =
            self.log.sequencer(|sequencer, _, _| sequencer.marks().into_iter().filter(others).collect());
        if marks == self.sealed && since < self.pace.tail_after {
            return Ok(false);
        }
        let (ask, made) = oneshot::channel();
        self.asks.send(Ask::Checkpoint(ask)).await.map_err(|_| Problem::NotLeading)?;
        let Marked { notice, state } = made.await.map_err(|_| Problem::NotLeading)?;
        self.taken = state;
        if let Ok(root) = notice.root.as_slice().try_into() {
            self.cosigned.begin(TreeHead { size: notice.size, root });
        }
        self.log.seal().await.map_err(|_| Problem::NotLeading)?;
        self.sealed = marks;
        Ok(true)
    }

    /// Stores every sealed file that is not in the archive.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Problem> {
        let mut at = match self.end {
            Some(end) => end,
            None => self.find_end().await?,
        };
        let files = self.files()?;
        while let Some((first, _, path)) = files.iter().find(|(_, end, _)| *end > at) {
            let fits = std::fs::metadata(path).is_ok_and(|meta| meta.len() <= FILE_MAX_BYTES);
            let (path, made) =
                if *first == at && fits { (path.clone(), None) } else { self.recut(&files, at).await? };
            let stored = self.archive.put_segment(&path).await?;
            drop(made);
            let segment = match stored {
                Stored::Here(segment) => segment,
                Stored::Other(segment) => {
                    self.check_ours(&files, &segment).await?;
                    segment
                }
            };
            self.sign(&segment).await?;
            tracing::info!(
                first = segment.first,
                end = segment.end,
                bytes = segment.size_bytes,
                "segment archived"
            );
            at = segment.end;
            self.end = Some(at);
        }
        self.end = Some(at);
        Ok(())
    }

    /// [`Archiver::catch_up`] again and again while the store is away, within a time.
    pub(crate) async fn catch_up_within(&mut self, patience: Duration) -> Result<u64, Problem> {
        let until = Instant::now() + patience;
        let mut why = "the store did not answer".to_owned();
        loop {
            match tokio::time::timeout_at(until, self.catch_up()).await {
                Ok(Ok(())) => return Ok(self.end.unwrap_or(0)),
                Ok(Err(problem)) if problem.is_transient() => why = problem.to_string(),
                Ok(Err(problem)) => return Err(problem),
                Err(_) => return Err(Problem::AtTheEnd { why }),
            }
            sleep(RETRY.0).await;
        }
    }

    /// Where the archive ends, and whether what it ends with is this log.
    async fn find_end(&self) -> Result<u64, Problem> {
        let Some(last) = self.archive.last_segment().await? else { return Ok(0) };
        let mut files = self.files()?;
        if files.last().is_none_or(|(_, end, _)| *end < last.end) {
            // The archive may be ahead of the files here, not of the copy.
            self.log.seal().await.map_err(|_| Problem::NotLeading)?;
            files = self.files()?;
        }
        self.check_ours(&files, &last).await?;
        // A ledger that was killed may not have signed it.
        self.sign(&last).await?;
        Ok(last.end)
    }

    fn files(&self) -> Result<Vec<(u64, u64, PathBuf)>, Problem> {
        match LogFolder::open(self.log.folder(), None) {
            Ok(folder) => Ok(folder.segments().to_vec()),
            Err(asterism_event_log::Error::NothingSealed { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// What somebody else has stored must have the root this copy has at its end.
    async fn check_ours(&self, files: &[(u64, u64, PathBuf)], segment: &Segment) -> Result<(), Problem> {
        let (files, end) = (files.to_vec(), segment.end);
        let ours = tokio::task::spawn_blocking(move || recut::root_at(&files, end)).await;
        let ours = ours.map_err(|error| Problem::Task(error.to_string()))??.map(hex::encode);
        if ours.as_deref() == Some(&segment.root) {
            return Ok(());
        }
        let ours = ours.unwrap_or_else(|| "no such place".to_owned());
        Err(Problem::OtherLog { end, theirs: segment.root.clone(), ours })
    }

    /// The events from a place on that is inside a sealed file here. The folder goes with the second value.
    async fn recut(
        &self,
        files: &[(u64, u64, PathBuf)],
        first: u64,
    ) -> Result<(PathBuf, Option<Scratch>), Problem> {
        let scratch = Scratch::make(self.log.folder().join("recut"))?;
        let (files, folder) = (files.to_vec(), scratch.0.clone());
        let cut = tokio::task::spawn_blocking(move || {
            recut::recut(&files, first, SEAL_EVENTS, &folder, Some(wire::contacts_of))
        })
        .await;
        let segment = cut.map_err(|error| Problem::Task(error.to_string()))??;
        Ok((segment.path, Some(scratch)))
    }

    async fn sign(&self, segment: &Segment) -> Result<(), Problem> {
        let head = TreeHead { size: segment.end, root: hash(&segment.root) };
        Ok(self.archive.put_note(&self.key, &head).await?)
    }

    /// Stores the state that was hashed for the last seal, if enough has come since the last one stored.
    async fn store_snapshot(&mut self) -> Result<(), Problem> {
        let Some(taken) = self.taken.clone().filter(|taken| self.end.is_some_and(|end| end >= taken.size()))
        else {
            return Ok(());
        };
        let newest = match self.snapshot {
            Some(size) => size,
            None => self.archive.snapshots(REDUCER, u64::MAX).await?.first().map_or(0, |newest| newest.size),
        };
        self.snapshot = Some(newest);
        if taken.size() >= newest.saturating_add(self.pace.snapshot_events) {
            match self.archive.put_snapshot(&self.key, &taken).await {
                Ok(Some(stored)) => {
                    self.snapshot = Some(stored.size);
                    tracing::info!(size = stored.size, bytes = stored.size_bytes, "snapshot archived");
                }
                Ok(None) => tracing::warn!(
                    size = taken.size(),
                    "AST-G023: a snapshot is larger than an object may be"
                ),
                Err(error) if error.is_transient() => return Err(error.into()),
                // A cache: the log itself is archived.
                Err(error) => tracing::error!(%error, "a snapshot is not archived"),
            }
        }
        self.taken = None;
        Ok(())
    }

    /// Says in the log what is archived and not said yet.
    async fn announce(&self) -> Result<(), Problem> {
        loop {
            let archived = self.log.read(|state| state.archived);
            if self.end.is_none_or(|end| end <= archived) {
                return Ok(());
            }
            let Some(segment) = self.archive.segment_holding(archived).await? else { return Ok(()) };
            let event = Event::SegmentArchived {
                first: segment.first,
                end: segment.end,
                object: segment.object,
                sha256: hash(&segment.sha256).to_vec(),
                size_bytes: segment.size_bytes,
                root: hash(&segment.root).to_vec(),
            };
            let (done, committed) = oneshot::channel();
            let ask = Ask::Commit(vec![event], done);
            self.asks.send(ask).await.map_err(|_| Problem::NotLeading)?;
            committed.await.map_err(|_| Problem::NotLeading)?;
        }
    }
}

/// 64 hex digits, as every index entry has them that was read.
fn hash(text: &str) -> Hash {
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// A folder for one file, gone when it is stored.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: PathBuf) -> Result<Self, ArchiveError> {
        let _ = std::fs::remove_dir_all(&path); // of a process that was killed
        std::fs::create_dir_all(&path).map_err(|error| ArchiveError::Io {
            doing: "making",
            path: path.clone(),
            error,
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the next one clears it too
    }
}

//! A process's copy of the log: the one reader, the sequencer, the folded state, the copy on disk.
//!
//! `apply` runs here and nowhere else, in log order, for a leader's own events as for everyone's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use asterism_domain::{Event, State, wire};
use asterism_event_log::sequencer::CheckpointCheck;
use asterism_event_log::{AcceptedFrame, Sequencer, StreamAt, Verdict};
use asterism_nats::{Bus, Reader, ReaderEvent};
use asterism_proto::hash::{Hash, sha256};
use asterism_proto::{OpenFrame, Origin, Role};
use tokio::sync::{oneshot, watch};

use crate::archive::Archive;
use crate::gaps::Gaps;
use crate::health::Health;
use crate::keys;
use crate::restore::{self, Following, Repair, RestoreError};
use crate::snapshot::{self, Snapshots, Snapshotter, Start};
use crate::spool::{Spool, SpoolError};
pub use crate::storage::SealAt;
use crate::storage::Storage;

/// What a copy is opened with.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The fleet.
    pub fleet: String,
    /// Folder of this copy; one process owns it.
    pub dir: PathBuf,
    /// Trust anchor.
    pub anchor: Hash,
    /// Frame 1, published if the stream is empty.
    pub first_frame: Vec<u8>,
    /// Most bytes of the stream.
    pub stream_max_bytes: u64,
    /// When the copy seals by itself.
    pub seal: SealAt,
}

/// Why a copy cannot be opened or followed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The copy on disk.
    #[error(transparent)]
    Copy(#[from] asterism_event_log::Error),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] asterism_nats::Error),
    /// The spool of this process's own frames.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Copy and stream cannot be brought together.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The reducers met what they do not know, or the disk failed.
    #[error("AST-R020: the log cannot be followed: {0}")]
    Stopped(String),
}

/// How far the copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Events applied.
    pub size: u64,
    /// Whether the end of the stream was reached since the start.
    pub at_end: bool,
    /// Whether that was reached with a copy its process may lead from: not a suspect one, nor one of a log that a stream
    /// made anew has not continued yet.
    pub caught_up: bool,
}

/// What became of an own frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In the log; the log's size after it.
    Accepted(u64),
    /// Refused by the sequencer, and why: another leads, or the frame is malformed.
    Refused(String),
}

/// A copy that follows the stream. Clones share it.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    fleet: String,
    folder: PathBuf,
    bus: Bus,
    folded: Arc<RwLock<Folded>>,
    snapshots: watch::Receiver<Snapshots>,
    head: watch::Sender<Head>,
    waiters: Mutex<HashMap<String, oneshot::Sender<Delivery>>>,
    storage: Storage,
    spool: Spool,
    gaps: watch::Sender<Gaps>,
    /// What was done to this copy and is not told in the log yet.
    repair: Mutex<Option<Repair>>,
    failure: watch::Sender<Option<String>>,
}

/// What the log has folded to so far.
pub(crate) struct Folded {
    pub(crate) state: State,
    pub(crate) sequencer: Sequencer,
    pub(crate) stream_id: String,
    pub(crate) stream_sequence: u64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({}, {:?})", self.0.fleet, *self.0.head.borrow())
    }
}

impl Log {
    /// [`Log::open_with`] without an archive.
    pub async fn open(config: LogConfig, bus: Bus) -> Result<Self, LogError> {
        Self::open_with(config, bus, None).await
    }

    /// Opens the copy, makes sure stream and frame 1 exist, takes what neither has from the archive, and follows from
    /// where the copy ends.
    pub async fn open_with(config: LogConfig, bus: Bus, archive: Option<&Archive>) -> Result<Self, LogError> {
        let log_key = keys::log_key(&config.first_frame, &config.anchor).ok_or_else(|| {
            LogError::Stopped("frame 1 is not the anchor's, or names no log key".to_owned())
        })?;
        let mut start = snapshot::open(&config)?;
        if let Some(suspect) = &start.opened.repaired {
            tracing::error!(?suspect, "the copy was damaged and is refilled");
        }
        let info = asterism_nats::ensure_stream(&bus, &config.fleet, config.stream_max_bytes).await?;
        let Following { from, awaits_continues, repair } =
            restore::complete(&config, &bus, &info, archive, &mut start).await?;
        let Start { mut opened, state, from: snapshot } = start;
        if awaits_continues {
            tracing::warn!(
                stream = info.stream_id,
                "the stream was made anew; the ledger must continue the log in it"
            );
            opened.sequencer.await_continues();
        }
        if info.last_sequence == 0 && opened.sequencer.size() == 0 {
            publish_first(&bus, &config).await;
        }
        let (failure, _) = watch::channel(None);
        let (size, root) = (opened.sequencer.size(), opened.sequencer.root());
        let spool = Spool::open(&spool_dir(&config.dir))?;
        tokio::spawn(spool.clone().serve(bus.clone(), config.fleet.clone(), log_key));
        let folded = Folded {
            state,
            sequencer: opened.sequencer,
            stream_id: info.stream_id.clone(),
            stream_sequence: from.sequence - 1,
        };
        let folded = Arc::new(RwLock::new(folded));
        let snapshotter =
            Snapshotter::start(&config.dir, Arc::clone(&folded), snapshot.as_ref(), failure.clone());
        let snapshots = snapshotter.watch();
        let storage = Storage::start(opened.copy, snapshotter, (size, root), config.seal, failure.clone());
        let log = Self(Arc::new(Inner {
            fleet: config.fleet.clone(),
            folder: config.dir.clone(),
            bus: bus.clone(),
            folded,
            snapshots,
            head: watch::channel(Head { size, ..Head::default() }).0,
            waiters: Mutex::default(),
            storage,
            spool,
            gaps: watch::channel(Gaps::default()).0,
            repair: Mutex::new(repair),
            failure,
        }));
        let reader = Reader::start_at(&bus, &config.fleet, from)?;
        tokio::spawn(log.clone().follow(reader));
        Ok(log)
    }

    /// The fleet's name.
    pub fn fleet(&self) -> &str {
        &self.0.fleet
    }

    /// The folder of this copy.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The bus the log is read from.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Reads the state as of the last applied event.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.0.folded.read().unwrap_or_else(PoisonError::into_inner).state)
    }

    /// Reads what the sequencer knows: size, root, marks, with the stream position they stand at.
    pub fn sequencer<R>(&self, look: impl FnOnce(&Sequencer, &str, u64) -> R) -> R {
        let folded = self.0.folded.read().unwrap_or_else(PoisonError::into_inner);
        look(&folded.sequencer, &folded.stream_id, folded.stream_sequence)
    }

    /// The frames this process has written and no checkpoint covers.
    pub fn spool(&self) -> &Spool {
        &self.0.spool
    }

    /// The frames this copy misses.
    pub fn gaps(&self) -> watch::Receiver<Gaps> {
        self.0.gaps.subscribe()
    }

    /// This copy's snapshots, and how far they are proved.
    pub fn snapshots(&self) -> watch::Receiver<Snapshots> {
        self.0.snapshots.clone()
    }

    /// Shows spool and gaps in the process's health. A gap is another's fault: it is counted, and no reason not to be
    /// ready.
    pub fn report(&self, health: &Health) {
        tokio::spawn(self.spool().clone().report(health.clone()));
        tokio::spawn(snapshot::report(self.snapshots(), health.clone()));
        let (health, mut gaps) = (health.clone(), self.gaps());
        let gauge = |name, help| health.metrics().gauge(name, help);
        let open = gauge("asterism_log_gaps", "Origins whose next frame the log misses.");
        let opened = gauge("asterism_log_gaps_noticed", "Gaps noticed since the start.");
        let (Ok(open), Ok(opened)) = (open, opened) else { return };
        tokio::spawn(async move {
            loop {
                let (now, ever) = {
                    let gaps = gaps.borrow_and_update();
                    (gaps.open().len() as u64, gaps.opened())
                };
                open.set(now);
                opened.set(ever);
                if gaps.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Changes whenever something was applied.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }

    /// Becomes `Some(reason)` when the copy cannot go on; the process must stop.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.0.failure.subscribe()
    }

    /// Why this process must not lead from this copy yet, though it has read the stream to its end.
    pub fn doubt(&self) -> Option<String> {
        if self.sequencer(|sequencer, _, _| sequencer.is_awaiting_continues()) {
            return Some(
                "the stream was made anew and the ledger has not continued the log in it yet".to_owned(),
            );
        }
        let repair = self.0.repair.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (size, seen) =
            self.sequencer(|sequencer, _, _| (sequencer.size(), sequencer.checkpoint().copied()));
        let agrees = seen.is_none_or(|seen| seen.check == CheckpointCheck::Agrees);
        let whole = agrees && size >= repair.promised;
        (!whole).then(|| {
            let Repair { reason, promised, .. } = repair;
            format!(
                "the copy is suspect ({reason}): {size} events, {promised} promised, no checkpoint agrees yet"
            )
        })
    }

    /// Whether this copy has every event that it ever promised to have.
    pub fn is_whole(&self) -> bool {
        let promised =
            self.0.repair.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |r| r.promised);
        self.sequencer(|sequencer, _, _| sequencer.size()) >= promised
    }

    /// What was done to this copy and is not told in the log yet.
    pub(crate) fn untold_repair(&self, holder: &str) -> Option<Event> {
        let size = self.sequencer(|sequencer, _, _| sequencer.size());
        let repair = self.0.repair.lock().unwrap_or_else(PoisonError::into_inner);
        repair.as_ref().map(|repair| repair.event(holder, size))
    }

    /// It stands in the log.
    pub(crate) fn repair_told(&self) {
        *self.0.repair.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Once the end of the stream was reached: may this process lead?
    fn settle(&self) {
        let head = *self.0.head.borrow();
        if head.at_end && !head.caught_up && self.doubt().is_none() {
            self.0.head.send_modify(|head| head.caught_up = true);
        }
    }

    /// The term a role is in.
    pub fn term(&self, role: Role) -> u64 {
        self.sequencer(|sequencer, _, _| sequencer.term(role))
    }

    /// Waits until the end of the stream, as it was when asked, has been applied.
    pub async fn caught_up(&self) {
        let _ = self.head().wait_for(|head| head.caught_up).await;
    }

    /// Waits until a log size has been applied, at most this long.
    pub async fn at_least(&self, size: u64, at_most: Duration) -> bool {
        let mut head = self.head();
        tokio::time::timeout(at_most, head.wait_for(|head| head.size >= size)).await.is_ok_and(|r| r.is_ok())
    }

    /// Size that is durable in this copy.
    pub fn durable(&self) -> u64 {
        self.0.storage.durable()
    }

    /// Makes everything applied durable.
    pub async fn sync(&self) -> Option<u64> {
        self.0.storage.commit().await
    }

    /// Seals everything so far into an immutable segment file.
    pub async fn seal(&self) -> Result<Vec<asterism_event_log::sealed::SealedSegment>, LogError> {
        self.0.storage.seal().await.map_err(LogError::Stopped)
    }

    /// Registers interest in an own frame before it is published.
    pub(crate) fn expect(&self, message_id: String) -> oneshot::Receiver<Delivery> {
        let (tell, told) = oneshot::channel();
        self.waiters().insert(message_id, tell);
        told
    }

    /// Gives up interest.
    pub(crate) fn forget(&self, message_id: &str) {
        self.waiters().remove(message_id);
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Delivery>>> {
        self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(self, mut reader: Reader) {
        let mut failure = self.0.failure.subscribe();
        loop {
            let event = tokio::select! {
                event = reader.next() => event,
                _ = failure.changed() => return,
            };
            match event {
                ReaderEvent::Message { sequence, time_ms, payload, .. } => {
                    if let Err(reason) = self.take(&payload, StreamAt { sequence, time_ms }).await {
                        self.0.failure.send_replace(Some(reason));
                        return;
                    }
                }
                ReaderEvent::CaughtUp { .. } => {
                    self.0.head.send_modify(|head| head.at_end = true);
                    self.settle();
                }
                ReaderEvent::Incident(incident) => {
                    self.0.failure.send_replace(Some(incident.to_string()));
                    return;
                }
            }
        }
    }

    async fn take(&self, payload: &[u8], at: StreamAt) -> Result<(), String> {
        let (verdict, root, continued) = {
            let mut folded = self.0.folded.write().unwrap_or_else(PoisonError::into_inner);
            let awaited = folded.sequencer.is_awaiting_continues();
            let verdict = folded.sequencer.judge(payload, at);
            folded.stream_sequence = at.sequence;
            let mut root = Hash::default();
            if let Verdict::Accepted(frame) = &verdict {
                agrees(&folded.sequencer, frame)
                    .inspect_err(|reason| restore::disagreed(&self.0.folder, reason))?;
                root = folded.sequencer.root();
                fold(&mut folded.state, frame)?;
            }
            let continued = awaited && !folded.sequencer.is_awaiting_continues();
            (verdict, root, continued.then(|| folded.stream_id.clone()))
        };
        match verdict {
            Verdict::Accepted(frame) => {
                let (id, end) = (frame.frame.message_id(), frame.end());
                self.close_gap(&frame.frame);
                self.0.storage.frame(frame, root).await;
                if let Some(stream_id) = continued {
                    tracing::info!(size = end, stream_id, "the log goes on in a stream that was made anew");
                    self.0.storage.stream_id(stream_id).await;
                }
                self.0.head.send_modify(|head| head.size = end);
                self.settle();
                self.tell(&id, Delivery::Accepted(end));
            }
            Verdict::Duplicate => tracing::debug!(sequence = at.sequence, "duplicate frame"),
            Verdict::Gap { origin, expected, got } => self.open_gap(payload, &origin, expected, got),
            Verdict::Refused { origin, reason } => {
                tracing::warn!(?origin, %reason, sequence = at.sequence, "frame refused");
                if let Ok(frame) = OpenFrame::read(payload) {
                    self.tell(&frame.message_id(), Delivery::Refused(reason.to_string()));
                }
            }
            Verdict::Stop { reason } => return Err(reason.to_string()),
        }
        Ok(())
    }

    fn open_gap(&self, payload: &[u8], origin: &str, expected: u64, got: u64) {
        let Ok(frame) = OpenFrame::read(payload) else { return };
        // A late frame of an origin that is closed is of no use.
        if self.sequencer(|sequencer, _, _| sequencer.is_closed(&frame.origin)) {
            return;
        }
        self.0.gaps.send_modify(|gaps| {
            if gaps.missing(frame.origin, frame.epoch, expected, got, Instant::now()) {
                tracing::warn!(origin, expected, got, "frames of an origin are missing, it must resend");
            }
        });
    }

    fn close_gap(&self, frame: &OpenFrame) {
        if self.0.gaps.borrow().open().is_empty() {
            return;
        }
        self.0.gaps.send_modify(|gaps| {
            let closed = gaps.accepted(&frame.origin, &frame.epoch, frame.header.number, Instant::now());
            if let Some(after) = closed {
                tracing::info!(origin = %frame.origin, ?after, "what was missing of an origin is in the log");
            }
            self.sequencer(|sequencer, _, _| gaps.retain(|origin| !sequencer.is_closed(origin)));
        });
    }

    fn tell(&self, message_id: &str, delivery: Delivery) {
        if let Some(waiter) = self.waiters().remove(message_id) {
            let _ = waiter.send(delivery);
        }
    }
}

/// Beside the copy, not in it: a copy that is suspect is moved aside, and its process's frames are needed all the more.
fn spool_dir(copy: &Path) -> PathBuf {
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    copy.with_file_name(format!("{name}.spool"))
}

/// Compares the checkpoint in a frame, if it holds one, with the log here (INV-09).
fn agrees(sequencer: &Sequencer, frame: &AcceptedFrame) -> Result<(), String> {
    let Some(seen) = sequencer.checkpoint().filter(|seen| seen.position >= frame.first) else {
        return Ok(());
    };
    if seen.check != CheckpointCheck::Differs {
        return Ok(());
    }
    let ours = sequencer.root_at(seen.size).map_or_else(|| "no root".to_owned(), hex::encode);
    let reason = format!(
        "AST-R022: the checkpoint at size {} has root {}, this copy has {ours}; the next start sets it aside \
         and refills it from the archive and the stream",
        seen.size,
        hex::encode(seen.root)
    );
    tracing::warn!(reason, "this copy disagrees with the ledger");
    Err(reason)
}

/// Folds a frame; an event this version does not know stops the reducer.
pub(crate) fn fold(state: &mut State, frame: &AcceptedFrame) -> Result<(), String> {
    for index in 0..frame.frame.events.len() as u32 {
        let sequence = frame.first + u64::from(index);
        let recorded = wire::recorded(&frame.frame, index, sequence, frame.record_time_ms)
            .map_err(|error| format!("event {sequence}: {error}"))?;
        state.apply(&recorded);
    }
    Ok(())
}

/// Publishes frame 1. Whoever else does so publishes the same bytes under the same id.
async fn publish_first(bus: &Bus, config: &LogConfig) {
    let origin = Origin::Role(Role::Fleet);
    let hash = hex::encode(&sha256(&config.first_frame)[..16]);
    let id = OpenFrame::read(&config.first_frame).map_or(hash, |frame| frame.message_id());
    let published = bus.publish_frame(&config.fleet, &origin, config.first_frame.clone(), &id, Some(0)).await;
    if let Err(error) = published {
        tracing::debug!(%error, "frame 1 not published here");
    }
}

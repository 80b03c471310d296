//! A process's copy of the log: the one reader, the sequencer, the folded state, the copy on disk.
//!
//! `apply` runs here and nowhere else, in log order, for a leader's own events as for everyone's.

mod follow;
mod hole;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use asterism_domain::{Event, State, wire};
use asterism_event_log::sequencer::{CheckpointCheck, SeenCheckpoint};
use asterism_event_log::{AcceptedFrame, Sequencer};
use asterism_nats::{Bus, Reader};
use asterism_proto::hash::{Hash, sha256};
use asterism_proto::{OpenFrame, Origin, Role};
use tokio::sync::{oneshot, watch};

use crate::archive::Archive;
use crate::clock::StreamClock;
use crate::gaps::{self, Gaps};
use crate::health::Health;
use crate::keys;
use crate::restore::{self, Following, Repair, RestoreError};
use crate::snapshot::{self, Snapshots, Snapshotter, Start, Unproved};
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
    /// Where a hole of the stream is filled from when no ledger does.
    archive: Option<Archive>,
    folded: Arc<RwLock<Folded>>,
    snapshots: watch::Receiver<Snapshots>,
    head: watch::Sender<Head>,
    clock: StreamClock,
    waiters: Mutex<HashMap<String, oneshot::Sender<Delivery>>>,
    storage: Storage,
    spool: Spool,
    gaps: watch::Sender<Gaps>,
    /// What was done to this copy and is not told in the log yet.
    repair: Mutex<Option<Repair>>,
    /// Size up to which a hole of the stream was filled: a checkpoint has to cover that before anything is led.
    suspect: Mutex<Option<u64>>,
    /// The snapshot this copy was opened from, while nothing has borne it out.
    unproved: Mutex<Option<Unproved>>,
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
        let Start { mut opened, state, from: snapshot, unproved } = start;
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
        let spool = Spool::open(&beside(&config.dir, "spool"))?;
        tokio::spawn(spool.clone().serve(bus.clone(), config.fleet.clone(), log_key));
        let gaps_file = beside(&config.dir, "gaps");
        let gaps = gaps::load(&gaps_file, &opened.sequencer);
        let folded = Folded {
            state,
            sequencer: opened.sequencer,
            stream_id: info.stream_id.clone(),
            stream_sequence: from.sequence - 1,
        };
        let folded = Arc::new(RwLock::new(folded));
        let snapshotter =
            Snapshotter::start(&config, Arc::clone(&folded), snapshot.as_ref(), failure.clone());
        let snapshots = snapshotter.watch();
        let storage = Storage::start(opened.copy, snapshotter, (size, root), config.seal, failure.clone());
        let log = Self(Arc::new(Inner {
            fleet: config.fleet.clone(),
            folder: config.dir.clone(),
            bus: bus.clone(),
            archive: archive.cloned(),
            folded,
            snapshots,
            head: watch::channel(Head { size, ..Head::default() }).0,
            clock: StreamClock::new(Instant::now()),
            waiters: Mutex::default(),
            storage,
            spool,
            gaps: watch::channel(gaps).0,
            repair: Mutex::new(repair),
            suspect: Mutex::default(),
            unproved: Mutex::new(unproved),
            failure,
        }));
        tokio::spawn(gaps::keep(log.gaps(), gaps_file));
        if unproved.is_some() {
            tokio::spawn(log.clone().settle_when_proved());
        }
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

    /// The fleet's time, ms since 1970: the stream's, whatever this machine's wall clock says. Before anything was read at
    /// the stream's end it is this machine's.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms(Instant::now())
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
        let proved = self.0.snapshots.borrow().proved;
        let mut unproved = self.0.unproved.lock().unwrap_or_else(PoisonError::into_inner);
        unproved.take_if(|unproved| unproved.size <= proved);
        if let Some(Unproved { size, .. }) = *unproved {
            return Some(format!("the snapshot at {size} events that it was opened from is not proved yet"));
        }
        drop(unproved);
        self.suspicion()
    }

    /// Why this copy may be wrong itself, whatever the stream is.
    pub fn suspicion(&self) -> Option<String> {
        let (size, seen) =
            self.sequencer(|sequencer, _, _| (sequencer.size(), sequencer.checkpoint().copied()));
        let mut suspect = self.0.suspect.lock().unwrap_or_else(PoisonError::into_inner);
        suspect.take_if(|size| {
            // All of it, or all but the checkpoint's own event: nobody writes after that in a fleet at rest.
            let covers = |seen: SeenCheckpoint| {
                seen.size >= *size || (seen.size == seen.position && seen.position + 1 >= *size)
            };
            seen.is_some_and(|seen| seen.check == CheckpointCheck::Agrees && covers(seen))
        });
        if let Some(size) = *suspect {
            return Some(format!(
                "a hole of the stream was filled up to {size} events, no checkpoint covers that yet"
            ));
        }
        let repair = self.0.repair.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
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

    /// A second fold may be all that was waited for.
    async fn settle_when_proved(self) {
        let (mut snapshots, mut failure) = (self.snapshots(), self.failure());
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                _ = failure.wait_for(Option::is_some) => return,
            }
            self.settle();
            if self.0.unproved.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                return;
            }
        }
    }

    /// State and sequencer at one moment, as a snapshot.
    pub fn snapshot(&self) -> asterism_event_log::snapshot::Snapshot {
        snapshot::taken(&self.0.folded)
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
}

/// Beside the copy, not in it: a copy that is suspect is moved aside, and what its process holds is needed all the more.
fn beside(copy: &Path, what: &str) -> PathBuf {
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    copy.with_file_name(format!("{name}.{what}"))
}

/// Folds a frame; an event of a service that this version does not know stops the reducer.
pub(crate) fn fold(state: &mut State, frame: &AcceptedFrame) -> Result<(), String> {
    for index in 0..frame.frame.events.len() as u32 {
        let sequence = frame.first + u64::from(index);
        let recorded = wire::recorded(&frame.frame, index, sequence, frame.record_time_ms)
            .map_err(|error| format!("event {sequence}: {error}"))?;
        if let Event::Unreadable { why } = &recorded.event {
            tracing::warn!(sequence, origin = %recorded.origin, %why, "an event without effect");
        }
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

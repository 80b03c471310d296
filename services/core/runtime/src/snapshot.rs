//! Snapshots of the folded state: taken before each seal, used at the next start, proved in the background.
//!
//! A start from a snapshot is believed only as far as the log's roots reach: they prove the events, not what was folded
//! from them. A thread therefore folds the same events again from the sealed segments; if it comes to another state
//! the process stops, and the snapshots are gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use asterism_domain::{REDUCER, State};
use asterism_event_log::snapshot::{self, Snapshot};
use asterism_event_log::{AcceptedFrame, Copy, Error, LogFolder, Opened, Sequencer};
use asterism_proto::hash::Hash;
use tokio::sync::watch;

mod vouch;

use crate::health::Health;
use crate::log::{Folded, LogConfig, LogError, fold};
pub(crate) use vouch::Unproved;

/// What is known of this copy's snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// Size of the snapshot the copy was opened from; 0 = folded from the beginning.
    pub opened_from: u64,
    /// Size of the newest snapshot written; 0 = none since the start.
    pub written: u64,
    /// Size up to which a second fold came to the same state.
    pub proved: u64,
}

/// Shows them among the process's metrics.
pub(crate) async fn report(mut snapshots: watch::Receiver<Snapshots>, health: Health) {
    let gauge = |name, help| health.metrics().gauge(name, help);
    let from = gauge(
        "asterism_log_snapshot_opened_from",
        "Log size of the snapshot this copy was opened from, 0 = none.",
    );
    let proved =
        gauge("asterism_log_snapshot_proved", "Log size up to which a second fold came to the same state.");
    let (Ok(from), Ok(proved)) = (from, proved) else { return };
    loop {
        let told = *snapshots.borrow_and_update();
        from.set(told.opened_from);
        proved.set(told.proved);
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// A copy that was opened, with the state its events fold to.
pub(crate) struct Start {
    pub(crate) opened: Opened,
    pub(crate) state: State,
    /// What it began with, if anything.
    pub(crate) from: Option<Snapshot>,
    /// Set while nothing has borne that out.
    pub(crate) unproved: Option<Unproved>,
}

impl Start {
    /// Folds the next frame of the log into the state, and lets it bear the snapshot out.
    pub(crate) fn fold(&mut self, frame: &AcceptedFrame) -> Result<(), String> {
        if let Some(unproved) = &self.unproved
            && unproved.is_borne_out(frame, &self.state)?
        {
            self.unproved = None;
        }
        fold(&mut self.state, frame)
    }
}

/// Opens the copy behind the newest snapshot that leads to it, or from the beginning.
pub(crate) fn open(config: &LogConfig) -> Result<Start, LogError> {
    let newest = if config.dir.is_dir() { snapshot::list(&config.dir)? } else { Vec::new() };
    for (size, path) in newest {
        let (from, mut state) = match usable(&path, config) {
            Ok(usable) => usable,
            Err(why) => {
                tracing::info!(size, why, "a snapshot is not used");
                continue;
            }
        };
        let (mut stopped, mut refuted) = (None, None);
        let mut unproved = Unproved::of(&from, &config.dir);
        let opened = Copy::open_behind(&config.dir, from.sequencer.clone(), |frame| {
            if stopped.is_some() || refuted.is_some() {
                return;
            }
            match unproved.as_ref().map(|unproved| unproved.is_borne_out(frame, &state)) {
                Some(Ok(true)) => unproved = None,
                Some(Err(reason)) => refuted = Some(reason),
                Some(Ok(false)) | None => {}
            }
            stopped = fold(&mut state, frame).err();
        });
        if let Some(reason) = refuted {
            tracing::error!(size, reason, "a false snapshot, and with it all others, is removed");
            discard(&config.dir);
            break;
        }
        match (opened, stopped) {
            (Ok(opened), None) => return Ok(Start { opened, state, from: Some(from), unproved }),
            (Err(error @ Error::Snapshot { .. }), _) => tracing::warn!(%error, "a snapshot is not used"),
            (Err(error), _) => return Err(error.into()),
            (_, Some(reason)) => return Err(LogError::Stopped(reason)),
        }
    }
    from_the_beginning(config)
}

fn from_the_beginning(config: &LogConfig) -> Result<Start, LogError> {
    let (mut state, mut stopped) = (State::default(), None);
    let opened = Copy::open(&config.dir, &config.fleet, Some(config.anchor), |frame| {
        if stopped.is_none() {
            stopped = fold(&mut state, frame).err();
        }
    })?;
    match stopped {
        Some(reason) => Err(LogError::Stopped(reason)),
        None => Ok(Start { opened, state, from: None, unproved: None }),
    }
}

/// A snapshot of this log and this reducer, with its state.
fn usable(path: &Path, config: &LogConfig) -> Result<(Snapshot, State), String> {
    let read = Snapshot::read(path).map_err(|error| error.to_string())?;
    if read.reducer != REDUCER {
        return Err(format!("it is of reducer {}, this is {REDUCER}", read.reducer));
    }
    let (fleet, anchor) = (read.sequencer.fleet(), read.sequencer.configured_anchor());
    if fleet != config.fleet || anchor != Some(config.anchor) {
        return Err("it is of another log".to_owned());
    }
    let state = State::from_bytes(&read.state).filter(|state| state.size == read.size());
    state.map(|state| (read, state)).ok_or_else(|| "its state cannot be read".to_owned())
}

/// State and sequencer as they are now.
pub(crate) fn taken(folded: &RwLock<Folded>) -> Snapshot {
    let folded = folded.read().unwrap_or_else(PoisonError::into_inner);
    let (sequencer, state) = (folded.sequencer.clone(), folded.state.to_bytes());
    Snapshot { reducer: REDUCER.to_owned(), sequencer, state }
}

/// Takes snapshots of one copy, and proves them.
pub(crate) struct Snapshotter {
    dir: PathBuf,
    folded: Arc<RwLock<Folded>>,
    told: watch::Sender<Snapshots>,
    failure: watch::Sender<Option<String>>,
    proof: Option<std::thread::JoinHandle<()>>,
    /// The newest mark that held: the next proof begins there, so that all of them together fold the log once.
    held: Arc<Mutex<Option<Mark>>>,
}

impl Snapshotter {
    /// For a copy as it was opened. What it was opened from is proved at once, from the first frame on.
    pub(crate) fn start(
        dir: &Path,
        folded: Arc<RwLock<Folded>>,
        from: Option<&Snapshot>,
        failure: watch::Sender<Option<String>>,
    ) -> Self {
        let opened_from = from.map_or(0, Snapshot::size);
        let told = watch::channel(Snapshots { opened_from, ..Snapshots::default() }).0;
        let mut snapshotter =
            Self { dir: dir.to_owned(), folded, told, failure, proof: None, held: Arc::default() };
        if let Some(from) = from {
            snapshotter.prove(Mark::of(from));
        }
        snapshotter
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Snapshots> {
        self.told.subscribe()
    }

    /// [`taken`] of this copy. It may be ahead of what the copy has taken: seal once that has caught up.
    pub(crate) fn take(&self) -> Snapshot {
        taken(&self.folded)
    }

    /// Keeps a snapshot whose events are all sealed. Without it nothing is lost but time at the next start.
    pub(crate) fn keep(&mut self, taken: &Snapshot) {
        match taken.write(&self.dir) {
            Ok(_) => {
                self.told.send_modify(|told| told.written = taken.size());
                self.prove(Mark::of(taken));
            }
            Err(error) => tracing::warn!(%error, "a snapshot could not be written"),
        }
    }

    /// Folds again on a thread of its own, one at a time: a seal that comes meanwhile is proved by a later one.
    fn prove(&mut self, mark: Mark) {
        if self.proof.as_ref().is_some_and(|proof| !proof.is_finished()) {
            return;
        }
        let (dir, told, failure) = (self.dir.clone(), self.told.clone(), self.failure.clone());
        let held = Arc::clone(&self.held);
        let work = move || {
            let before = held.lock().unwrap_or_else(PoisonError::into_inner).take();
            match mark.holds(&dir, before) {
                Ok(()) => {
                    tracing::debug!(size = mark.size, "a second fold came to the same state");
                    vouch::remember(&dir, mark.size, &mark.root, &mark.state);
                    told.send_modify(|told| told.proved = told.proved.max(mark.size));
                    *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
                }
                // A file that cannot be read now says nothing of the state.
                Err(Doubt::Unread(error)) => tracing::warn!(%error, "a snapshot could not be proved"),
                Err(Doubt::False(reason)) => {
                    discard(&dir);
                    failure.send_replace(Some(reason));
                }
            }
        };
        let spawned = std::thread::Builder::new().name("log-proof".into()).spawn(work);
        match spawned {
            Ok(proof) => self.proof = Some(proof),
            Err(error) => tracing::warn!(%error, "a snapshot could not be proved"),
        }
    }
}

/// Why a second fold did not come to the mark.
enum Doubt {
    /// The disk did not answer.
    Unread(Error),
    /// State and log disagree.
    False(String),
}

/// What a second fold must come to.
#[derive(Clone, Copy, Debug)]
struct Mark {
    size: u64,
    root: Hash,
    state: Hash,
}

impl Mark {
    fn of(taken: &Snapshot) -> Self {
        let state = asterism_proto::hash::sha256(&taken.state);
        Self { size: taken.size(), root: taken.sequencer.root(), state }
    }

    /// The snapshot of this mark, if its file is still there and says the same.
    fn read(&self, dir: &Path) -> Option<(State, Sequencer)> {
        let read = Snapshot::read(&dir.join(snapshot::file_name(self.size))).ok()?;
        let mark = Self::of(&read);
        let same = (mark.size, mark.root, mark.state) == (self.size, self.root, self.state);
        same.then(|| State::from_bytes(&read.state)).flatten().map(|state| (state, read.sequencer))
    }

    /// Folds the sealed segments from a mark that held, or from the first frame.
    fn holds(&self, dir: &Path, before: Option<Mark>) -> Result<(), Doubt> {
        let differs = |what: &str| {
            Doubt::False(format!(
                "AST-R023: the state at size {} is not what the log folds to: {what}; the snapshots in {} were \
                 removed, start again to fold from the beginning",
                self.size,
                dir.display()
            ))
        };
        let unread = |error: Error| match error {
            Error::Io { .. } => Doubt::Unread(error),
            error => differs(&error.to_string()),
        };
        let folder = LogFolder::open(dir, None).map_err(unread)?;
        let (mut state, mut frames) = match before.and_then(|mark| mark.read(dir)) {
            Some((state, sequencer)) => (state, folder.frames_behind(sequencer)),
            None => (State::default(), folder.frames()),
        };
        while state.size < self.size {
            let frame = frames.next().ok_or_else(|| differs("the sealed segments end before it"))?;
            fold(&mut state, &frame.map_err(unread)?).map_err(|reason| differs(&reason))?;
        }
        let root = Sequencer::root(frames.sequencer());
        if state.size != self.size || root != self.root {
            return Err(differs("no frame ends there, or the root is another"));
        }
        if state.hash() == self.state { Ok(()) } else { Err(differs("the state's hash is another")) }
    }
}

/// Removes every snapshot: none of them can be told from the false one.
pub(crate) fn discard(dir: &Path) {
    vouch::forget(dir);
    for (_, path) in snapshot::list(dir).unwrap_or_default() {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::error!(%error, path = %path.display(), "a false snapshot could not be removed");
        }
    }
}

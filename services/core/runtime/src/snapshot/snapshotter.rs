//! The thread that folds the sealed segments a second time and writes down what it comes to.
//!
//! A snapshot is of this fold and not of the state that is decided on: writing down a million contacts takes a second,
//! and nothing stands still for it. It begins with the snapshot before, which the same thread has folded or proved.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, mpsc};

use asterism_domain::{REDUCER, State};
use asterism_event_log::snapshot::{self, Snapshot};
use asterism_event_log::{Error, LogFolder, Sequencer};
use asterism_proto::hash::{Hash, sha256};
use tokio::sync::watch;

use super::{Snapshots, discard, vouch};
use crate::log::{Folded, LogConfig, fold};

/// What the thread is asked.
enum Job {
    /// Whether a snapshot is what the log folds to.
    Prove(Mark),
    /// The log is sealed up to here.
    Sealed(u64),
}

/// Hands the thread its work; the thread ends with it.
pub(crate) struct Snapshotter {
    folded: Arc<RwLock<Folded>>,
    told: watch::Sender<Snapshots>,
    jobs: mpsc::Sender<Job>,
}

impl Snapshotter {
    /// For a copy as it was opened. What it was opened from is proved at once, from the first frame on.
    pub(crate) fn start(
        config: &LogConfig,
        folded: Arc<RwLock<Folded>>,
        from: Option<&Snapshot>,
        failure: watch::Sender<Option<String>>,
    ) -> Self {
        let opened_from = from.map_or(0, Snapshot::size);
        let told = watch::channel(Snapshots { opened_from, ..Snapshots::default() }).0;
        let (jobs, queue) = mpsc::channel();
        if let Some(from) = from {
            let _ = jobs.send(Job::Prove(Mark::of(from))); // the other end is below
        }
        let (dir, fleet, anchor) = (config.dir.clone(), config.fleet.clone(), config.anchor);
        let worker = Worker { dir, fleet, anchor, told: told.clone(), failure, held: None };
        let spawned = std::thread::Builder::new().name("log-proof".into()).spawn(move || worker.run(&queue));
        if let Err(error) = spawned {
            tracing::warn!(%error, "no snapshots are written");
        }
        Self { folded, told, jobs }
    }

    /// One that does nothing, for a copy of frames no reducer knows.
    #[cfg(test)]
    pub(crate) fn idle(folded: Arc<RwLock<Folded>>) -> Self {
        Self { folded, told: watch::channel(Snapshots::default()).0, jobs: mpsc::channel().0 }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Snapshots> {
        self.told.subscribe()
    }

    /// Events folded so far. The copy may not have taken all of them yet.
    pub(crate) fn folded_size(&self) -> u64 {
        self.folded.read().unwrap_or_else(PoisonError::into_inner).sequencer.size()
    }

    /// The log is sealed up to here. Without a snapshot nothing is lost but time at the next start.
    pub(crate) fn sealed(&self, end: u64) {
        let _ = self.jobs.send(Job::Sealed(end)); // a thread that is gone has said why
    }
}

struct Worker {
    dir: PathBuf,
    fleet: String,
    anchor: Hash,
    told: watch::Sender<Snapshots>,
    failure: watch::Sender<Option<String>>,
    /// The newest that held: the next fold begins there, so that all of them together fold the log once.
    held: Option<Mark>,
}

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            let done = match job {
                Job::Prove(mark) => self.prove(mark),
                // Of several the newest is enough.
                Job::Sealed(end) => self.write(queue.try_iter().fold(end, |end, job| match job {
                    Job::Sealed(later) => later,
                    Job::Prove(_) => end, // only the first job is one
                })),
            };
            match done {
                Ok(()) => {}
                // A file that cannot be read now says nothing of the state.
                Err(Doubt::Unread(error)) => tracing::warn!(%error, "the log was not folded a second time"),
                Err(Doubt::False(reason)) => {
                    discard(&self.dir);
                    self.failure.send_replace(Some(reason));
                    return;
                }
            }
        }
    }

    fn prove(&mut self, mark: Mark) -> Result<(), Doubt> {
        let (state, sequencer) = self.fold_to(mark.size)?;
        if sequencer.root() != mark.root {
            return Err(self.differs(mark.size, "no frame ends there, or the root is another"));
        }
        if state.hash() != mark.state {
            return Err(self.differs(mark.size, "the state's hash is another"));
        }
        tracing::debug!(size = mark.size, "a second fold came to the same state");
        self.hold(mark);
        Ok(())
    }

    fn write(&mut self, end: u64) -> Result<(), Doubt> {
        let (state, sequencer) = self.fold_to(end)?;
        let (reducer, bytes) = (REDUCER.to_owned(), state.to_bytes());
        drop(state);
        let snapshot = Snapshot { reducer, sequencer, state: bytes };
        snapshot.write(&self.dir).map_err(Doubt::Unread)?;
        self.told.send_modify(|told| told.written = end);
        self.hold(Mark::of(&snapshot));
        Ok(())
    }

    fn hold(&mut self, mark: Mark) {
        vouch::remember(&self.dir, mark.size, &mark.root, &mark.state);
        self.told.send_modify(|told| told.proved = told.proved.max(mark.size));
        self.held = Some(mark);
    }

    fn differs(&self, size: u64, what: &str) -> Doubt {
        Doubt::False(format!(
            "AST-R023: the state at size {size} is not what the log folds to: {what}; the snapshots in {} were removed, \
             start again to fold from the beginning",
            self.dir.display()
        ))
    }

    /// Folds the sealed segments from the newest that held, or from the first frame.
    fn fold_to(&self, size: u64) -> Result<(State, Sequencer), Doubt> {
        let unread = |error: Error| match error {
            Error::Io { .. } => Doubt::Unread(error),
            error => self.differs(size, &error.to_string()),
        };
        let folder = LogFolder::open(&self.dir, Some(self.anchor)).map_err(unread)?;
        let begin = self.held.and_then(|mark| mark.read(&self.dir));
        let (mut state, sequencer) =
            begin.unwrap_or_else(|| (State::default(), Sequencer::new(&self.fleet, Some(self.anchor))));
        let mut frames = folder.frames_behind(sequencer);
        while state.size < size {
            let frame =
                frames.next().ok_or_else(|| self.differs(size, "the sealed segments end before it"))?;
            fold(&mut state, &frame.map_err(unread)?).map_err(|reason| self.differs(size, &reason))?;
        }
        if state.size != size {
            return Err(self.differs(size, "no frame ends there"));
        }
        Ok((state, frames.sequencer().clone()))
    }
}

/// Why a second fold did not come to what it should.
enum Doubt {
    /// The disk did not answer.
    Unread(Error),
    /// State and log disagree.
    False(String),
}

/// What a second fold must come to, or has come to.
#[derive(Clone, Copy, Debug)]
struct Mark {
    size: u64,
    root: Hash,
    state: Hash,
}

impl Mark {
    fn of(taken: &Snapshot) -> Self {
        Self { size: taken.size(), root: taken.sequencer.root(), state: sha256(&taken.state) }
    }

    /// The snapshot of this mark, if its file is still there and says the same.
    fn read(&self, dir: &Path) -> Option<(State, Sequencer)> {
        let read = Snapshot::read(&dir.join(snapshot::file_name(self.size))).ok()?;
        let mark = Self::of(&read);
        let same = (mark.size, mark.root, mark.state) == (self.size, self.root, self.state);
        same.then(|| State::from_bytes(&read.state)).flatten().map(|state| (state, read.sequencer))
    }
}

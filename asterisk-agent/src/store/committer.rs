//! The writing thread: commits come in order, those that wait share one sync, and each is reported when it is durable.
//! Each is written ahead first, on the thread that hands it over; one that nobody waits for is not worth a sync of its
//! own and stays here until somebody waits, or [`Committer::flush`] is called.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use asterism_nats::crash;
use tokio::sync::mpsc as tokio_mpsc;

use super::{Store, StoreChange, WriteAhead};
use crate::Error;

/// Most batches that share a sync, and most commits that stay here.
const GROUP_MAX: usize = 256;
/// Stack of the writing thread; sled's own work needs little.
const STACK_BYTES: usize = 512 * 1024;

/// What is written together.
#[derive(Debug)]
pub struct Commit<T> {
    /// In order.
    pub changes: Vec<StoreChange>,
    /// Given back when the changes are durable; none if nobody waits for that.
    pub then: Option<T>,
}

/// Commits with the number of each; 0 where nothing changes.
type Batch<T> = Vec<(u64, Commit<T>)>;

/// What the writing thread reports.
pub type Committed<T> = Result<Vec<T>, Error>;

/// The handle on the writing thread, which ends when the handle is dropped.
#[derive(Debug)]
pub struct Committer<T> {
    commits: mpsc::Sender<Batch<T>>,
    ahead: WriteAhead,
    /// Written ahead and not handed over.
    held: Batch<T>,
    /// The store holds every commit up to this number.
    synced: Arc<AtomicU64>,
}

impl<T: Send + 'static> Committer<T> {
    /// Starts the thread. Reports come in the order of the commits; after an error there are none.
    pub fn start(store: Store) -> Result<(Self, tokio_mpsc::UnboundedReceiver<Committed<T>>), Error> {
        let (commits, waiting) = mpsc::channel();
        let (done, reports) = tokio_mpsc::unbounded_channel();
        let held = store.committed()?;
        let ahead = WriteAhead::create(&store.dir, held)?;
        let synced = Arc::new(AtomicU64::new(held));
        let writer = Writer { store, waiting, synced: synced.clone() };
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || writer.run(&done))
            .map_err(|error| Error::Start {
                what: "the store's thread".to_owned(),
                why: error.to_string(),
            })?;
        Ok((Self { commits, ahead, held: Vec::new(), synced }, reports))
    }

    /// Writes a commit ahead, and hands it over if somebody waits for it. When this returns it outlives this process;
    /// when it is reported, the machine. It gets lost only if the thread ended, which it reported.
    pub fn commit(&mut self, commit: Commit<T>) -> Result<(), Error> {
        let synced = self.synced.load(Ordering::Acquire);
        let number =
            if commit.changes.is_empty() { 0 } else { self.ahead.append(&commit.changes, synced)? };
        let awaited = commit.then.is_some();
        self.held.push((number, commit));
        if awaited || self.held.len() >= GROUP_MAX {
            self.flush();
        }
        Ok(())
    }

    /// Hands over what stayed here.
    pub fn flush(&mut self) {
        if !self.held.is_empty() {
            let _ = self.commits.send(std::mem::take(&mut self.held)); // the thread's last report said why it ended
        }
    }
}

struct Writer<T> {
    store: Store,
    waiting: mpsc::Receiver<Batch<T>>,
    synced: Arc<AtomicU64>,
}

impl<T> Writer<T> {
    fn run(self, done: &tokio_mpsc::UnboundedSender<Committed<T>>) {
        while let Ok(first) = self.waiting.recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX {
                let Ok(next) = self.waiting.try_recv() else { break };
                group.push(next);
            }
            let report = self.write(group);
            let failed = report.is_err();
            if done.send(report).is_err() || failed {
                return;
            }
        }
    }

    fn write(&self, group: Vec<Batch<T>>) -> Committed<T> {
        let mut last = 0;
        for (number, commit) in group.iter().flatten() {
            for change in &commit.changes {
                self.store.apply(change)?;
            }
            last = last.max(*number);
        }
        if last > 0 {
            self.store.put_committed(last)?;
            crash::point("store.unsynced");
            self.store.sync()?;
            crash::point("store.synced");
            self.synced.store(last, Ordering::Release);
        }
        Ok(group.into_iter().flatten().filter_map(|(_, commit)| commit.then).collect())
    }
}

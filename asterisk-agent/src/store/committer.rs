//! The writing thread: commits come in order, those that wait share one sync, and each is reported when it is durable.

use std::sync::mpsc;
use std::thread;

use tokio::sync::mpsc as tokio_mpsc;

use super::{Store, StoreChange};
use crate::Error;

/// Most commits that share a sync.
const GROUP_MAX: usize = 256;
/// Stack of the writing thread; sled's own work needs little.
const STACK_BYTES: usize = 512 * 1024;

/// What is written together.
#[derive(Debug)]
pub struct Commit<T> {
    /// In order.
    pub changes: Vec<StoreChange>,
    /// Given back when the changes are durable.
    pub then: T,
}

/// What the writing thread reports.
pub type Committed<T> = Result<Vec<T>, Error>;

/// The handle on the writing thread, which ends when the handle is dropped.
#[derive(Debug)]
pub struct Committer<T> {
    commits: mpsc::Sender<Commit<T>>,
}

impl<T: Send + 'static> Committer<T> {
    /// Starts the thread. Reports come in the order of the commits; after an error there are none.
    pub fn start(store: Store) -> Result<(Self, tokio_mpsc::UnboundedReceiver<Committed<T>>), Error> {
        let (commits, waiting) = mpsc::channel();
        let (done, reports) = tokio_mpsc::unbounded_channel();
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || write(&store, &waiting, &done))
            .map_err(|error| Error::Start {
                what: "the store's thread".to_owned(),
                why: error.to_string(),
            })?;
        Ok((Self { commits }, reports))
    }

    /// Hands a commit over. It is lost only if the thread ended, which it reported.
    pub fn commit(&self, commit: Commit<T>) {
        let _ = self.commits.send(commit); // the thread's last report said why it ended
    }
}

fn write<T>(
    store: &Store,
    waiting: &mpsc::Receiver<Commit<T>>,
    done: &tokio_mpsc::UnboundedSender<Committed<T>>,
) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            group.push(next);
        }
        let report = write_group(store, group);
        let failed = report.is_err();
        if done.send(report).is_err() || failed {
            return;
        }
    }
}

fn write_group<T>(store: &Store, group: Vec<Commit<T>>) -> Committed<T> {
    let mut changed = false;
    for change in group.iter().flat_map(|commit| &commit.changes) {
        store.apply(change)?;
        changed = true;
    }
    if changed {
        store.sync()?;
    }
    Ok(group.into_iter().map(|commit| commit.then).collect())
}

//! The copy's own thread: group commit, so that no fsync ever stands in the way of a decision; seals, and the snapshot
//! that goes with each.
//!
//! Nothing waits for it but a checkpoint, a seal and the end of the process. Any error stops the process: after a
//! failed fsync nobody knows what is on the disk.

use std::time::{Duration, Instant};

use asterism_event_log::sealed::SealedSegment;
use asterism_event_log::snapshot::Snapshot;
use asterism_event_log::{AcceptedFrame, Copy};
use asterism_proto::hash::Hash;
use tokio::sync::{mpsc, oneshot, watch};

use crate::snapshot::Snapshotter;

/// Frames that may wait for the disk.
const QUEUE_FRAMES: usize = 4_096;
/// Group commit at the latest after this long.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// Group commit at the latest after this many events.
const COMMIT_EVENTS: usize = 1_024;

pub(crate) enum Work {
    Frame(Box<AcceptedFrame>, Hash),
    Commit(oneshot::Sender<u64>),
    Seal(SealAsker),
    /// Positions count in this stream from here on.
    StreamId(String),
}

/// Handle to the storage thread.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    work: mpsc::Sender<Work>,
    durable: watch::Receiver<u64>,
}

impl Storage {
    /// Starts the thread. `failure` gets the reason when the disk fails.
    pub(crate) fn start(
        copy: Copy,
        snapshots: Snapshotter,
        (size, root): (u64, Hash),
        failure: watch::Sender<Option<String>>,
    ) -> Self {
        let (work, queue) = mpsc::channel(QUEUE_FRAMES);
        let (durable_in, durable) = watch::channel(size);
        let handle = tokio::runtime::Handle::current();
        let keeper =
            Keeper { copy, root, taken: size, oldest: None, durable: durable_in, snapshots, sealing: None };
        let spawned = std::thread::Builder::new().name("log-copy".into()).spawn(move || {
            if let Err(error) = keeper.run(&handle, queue) {
                let _ = failure.send(Some(error));
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start the storage thread");
        }
        Self { work, durable }
    }

    pub(crate) async fn frame(&self, frame: AcceptedFrame, root: Hash) {
        // A closed queue means the thread ended with an error that `failure` tells.
        let _ = self.work.send(Work::Frame(Box::new(frame), root)).await;
    }

    pub(crate) async fn stream_id(&self, id: String) {
        let _ = self.work.send(Work::StreamId(id)).await; // as above
    }

    /// Commits what waits and returns the durable size.
    pub(crate) async fn commit(&self) -> Option<u64> {
        let (answer, done) = oneshot::channel();
        self.work.send(Work::Commit(answer)).await.ok()?;
        done.await.ok()
    }

    pub(crate) async fn seal(&self) -> Result<Vec<SealedSegment>, String> {
        let gone = || "the log's storage has stopped".to_owned();
        let (answer, done) = oneshot::channel();
        self.work.send(Work::Seal(answer)).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }

    pub(crate) fn durable(&self) -> u64 {
        *self.durable.borrow()
    }
}

struct Keeper {
    copy: Copy,
    root: Hash,
    /// Log size with everything appended.
    taken: u64,
    oldest: Option<Instant>,
    durable: watch::Sender<u64>,
    snapshots: Snapshotter,
    sealing: Option<Sealing>,
}

/// A seal that waits until the copy has taken everything its snapshot has folded.
struct Sealing {
    snapshot: Snapshot,
    askers: Vec<SealAsker>,
}

type SealAsker = oneshot::Sender<Result<Vec<SealedSegment>, String>>;

impl Keeper {
    fn run(mut self, handle: &tokio::runtime::Handle, mut queue: mpsc::Receiver<Work>) -> Result<(), String> {
        loop {
            let wait = self
                .oldest
                .map_or(Duration::from_hours(1), |oldest| COMMIT_EVERY.saturating_sub(oldest.elapsed()));
            match handle.block_on(async { tokio::time::timeout(wait, queue.recv()).await }) {
                Err(_) => {
                    self.commit()?;
                }
                Ok(None) => {
                    self.commit()?;
                    return Ok(());
                }
                Ok(Some(work)) => self.work(work)?,
            }
        }
    }

    fn work(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::Frame(frame, root) => {
                self.copy.append(&frame).map_err(|error| error.to_string())?;
                (self.root, self.taken) = (root, frame.end());
                self.oldest.get_or_insert_with(Instant::now);
                if self.copy.pending() >= COMMIT_EVENTS {
                    self.commit()?;
                }
                self.seal_if_whole()?;
            }
            Work::Commit(answer) => {
                let size = self.commit()?;
                let _ = answer.send(size);
            }
            Work::StreamId(id) => {
                self.commit()?;
                self.copy.set_stream_id(&id).map_err(|error| error.to_string())?;
            }
            Work::Seal(answer) => {
                let snapshots = &self.snapshots;
                let waiting = self
                    .sealing
                    .get_or_insert_with(|| Sealing { snapshot: snapshots.take(), askers: Vec::new() });
                waiting.askers.push(answer);
                self.seal_if_whole()?;
            }
        }
        Ok(())
    }

    /// Seals once everything the snapshot has folded is in the copy: the snapshot then ends in what is sealed.
    fn seal_if_whole(&mut self) -> Result<(), String> {
        let Some(Sealing { snapshot, askers }) =
            self.sealing.take_if(|sealing| sealing.snapshot.size() <= self.taken)
        else {
            return Ok(());
        };
        self.commit()?;
        let sealed = self.copy.seal().map_err(|error| error.to_string());
        if matches!(sealed, Ok(Some(_))) {
            self.snapshots.keep(&snapshot);
        }
        for asker in askers {
            let _ = asker.send(sealed.clone().map(|segment| segment.into_iter().collect()));
        }
        sealed.map(|_| ())
    }

    fn commit(&mut self) -> Result<u64, String> {
        self.oldest = None;
        let durable = self.copy.commit(self.root).map_err(|error| error.to_string())?;
        self.durable.send_replace(durable.size);
        Ok(durable.size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::sync::{Arc, RwLock};

    use asterism_domain::State;
    use asterism_event_log::segment::{Backend, EachBlock, OpenStore, SegmentStore};
    use asterism_event_log::testkit::{FLEET, Script};
    use asterism_event_log::{Error, Sequencer, Verdict};

    use super::*;
    use crate::log::Folded;

    /// A store whose sync fails.
    struct Failing(Box<dyn SegmentStore>);

    impl SegmentStore for Failing {
        fn append(&mut self, first: u64, block: &[u8]) -> Result<(), Error> {
            self.0.append(first, block)
        }
        fn sync(&mut self) -> Result<(), Error> {
            let source = std::io::ErrorKind::Other.into();
            Err(Error::Io { doing: "syncing", path: "the segment".into(), source })
        }
        fn scan(&mut self, each: &mut EachBlock<'_>) -> Result<(), Error> {
            self.0.scan(each)
        }
        fn last(&mut self) -> Result<Option<u64>, Error> {
            self.0.last()
        }
        fn truncate(&mut self, _: u64) -> Result<(), Error> {
            Ok(())
        }
    }

    struct Opens;

    impl OpenStore for Opens {
        fn open(&self, folder: &Path) -> Result<Box<dyn SegmentStore>, Error> {
            Ok(Box::new(Failing(Backend::File.open(folder)?)))
        }
    }

    #[tokio::test]
    async fn a_failing_sync_stops_the_thread_and_says_why() {
        let home = tempfile::tempdir().unwrap();
        let opened = Copy::open_with(home.path(), FLEET, None, Box::new(Opens), |_| {}).unwrap();
        let (failure, mut failed) = watch::channel(None);
        let (state, stream_id) = (State::default(), String::new());
        let folded = Folded { state, sequencer: Sequencer::new(FLEET, None), stream_id, stream_sequence: 0 };
        let folded = Arc::new(RwLock::new(folded));
        let snapshots = Snapshotter::start(home.path(), folded, None, failure.clone());
        let storage = Storage::start(opened.copy, snapshots, (0, opened.sequencer.root()), failure);
        let (script, mut sequencer) = (Script::begin(), Sequencer::new(FLEET, None));
        for (bytes, at) in &script.frames {
            let Verdict::Accepted(frame) = sequencer.judge(bytes, *at) else { panic!("refused") };
            storage.frame(frame, sequencer.root()).await;
        }
        let wait = failed.wait_for(Option::is_some);
        let reason = tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap().unwrap().clone();
        assert!(reason.as_deref().is_some_and(|reason| reason.starts_with("AST-L005")), "{reason:?}");
        assert_eq!((storage.durable(), storage.commit().await), (0, None));
        assert_eq!(storage.seal().await.unwrap_err(), "the log's storage has stopped");
    }
}

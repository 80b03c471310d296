//! The copy's own thread: group commit, so that no fsync ever stands in the way of a decision; seals, and the snapshot
//! that goes with each.
//!
//! Nothing waits for it but a checkpoint, a seal and the end of the process. Any error stops the process: after a
//! failed fsync nobody knows what is on the disk.

use std::time::{Duration, Instant};

use asterism_domain::wire;
use asterism_event_log::sealed::SealedSegment;
use asterism_event_log::{AcceptedFrame, Copy};
use asterism_nats::crash;
use asterism_proto::hash::Hash;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::LogSettings;
use crate::snapshot::Snapshotter;

/// Frames that may wait for the disk.
const QUEUE_FRAMES: usize = 4_096;
/// Group commit at the latest after this long.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// Group commit at the latest after this many events.
const COMMIT_EVENTS: usize = 1_024;

/// When a copy seals by itself: at the first of these that is reached, if anything is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealAt {
    /// Events in no sealed segment.
    pub events: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// Since the first of them came.
    pub age: Duration,
}

impl Default for SealAt {
    fn default() -> Self {
        Self::from(&LogSettings::default())
    }
}

impl From<&LogSettings> for SealAt {
    fn from(log: &LogSettings) -> Self {
        Self { events: log.seal_events, bytes: log.seal_bytes, age: Duration::from_secs(log.seal_after_s) }
    }
}

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
        mut copy: Copy,
        snapshots: Snapshotter,
        (size, root): (u64, Hash),
        seal_at: SealAt,
        failure: watch::Sender<Option<String>>,
    ) -> Self {
        copy.index_contacts(wire::contacts_of);
        let (work, queue) = mpsc::channel(QUEUE_FRAMES);
        let (durable_in, durable) = watch::channel(size);
        let handle = tokio::runtime::Handle::current();
        let unsealed = (copy.unsealed_events() > 0).then(Instant::now);
        let keeper = Keeper {
            copy,
            root,
            taken: size,
            oldest: None,
            unsealed,
            seal_at,
            durable: durable_in,
            snapshots,
            sealing: None,
        };
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
    /// When the first event came that is not durable.
    oldest: Option<Instant>,
    /// When the first event came that is not sealed, as far as this process knows.
    unsealed: Option<Instant>,
    seal_at: SealAt,
    durable: watch::Sender<u64>,
    snapshots: Snapshotter,
    sealing: Option<Sealing>,
}

/// A seal that waits until the copy has taken everything that was folded when it was asked for.
struct Sealing {
    size: u64,
    askers: Vec<SealAsker>,
}

type SealAsker = oneshot::Sender<Result<Vec<SealedSegment>, String>>;

impl Keeper {
    fn run(mut self, handle: &tokio::runtime::Handle, mut queue: mpsc::Receiver<Work>) -> Result<(), String> {
        loop {
            match handle.block_on(async { tokio::time::timeout(self.wait(), queue.recv()).await }) {
                Err(_) => {
                    self.commit()?;
                    self.seal_if_due()?;
                }
                Ok(None) => {
                    self.commit()?;
                    return Ok(());
                }
                Ok(Some(work)) => {
                    self.work(work)?;
                    self.seal_if_due()?;
                }
            }
        }
    }

    /// How long nothing needs to be done.
    fn wait(&self) -> Duration {
        let left = |since: Option<Instant>, most: Duration| {
            since.map_or(Duration::from_hours(1), |since| most.saturating_sub(since.elapsed()))
        };
        // One that waits for its snapshot's frames is under way.
        let unsealed = self.unsealed.filter(|_| self.sealing.is_none());
        left(self.oldest, COMMIT_EVERY).min(left(unsealed, self.seal_at.age))
    }

    /// Begins a seal nobody asked for once a limit is reached.
    fn seal_if_due(&mut self) -> Result<(), String> {
        let due = self.unsealed.is_some_and(|since| since.elapsed() >= self.seal_at.age)
            || self.copy.unsealed_events() >= self.seal_at.events
            || self.copy.unsealed_bytes() >= self.seal_at.bytes;
        if !due || self.sealing.is_some() {
            return Ok(());
        }
        self.sealing = Some(Sealing { size: self.snapshots.folded_size(), askers: Vec::new() });
        self.seal_if_whole()
    }

    fn work(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::Frame(frame, root) => {
                self.copy.append(&frame).map_err(|error| error.to_string())?;
                (self.root, self.taken) = (root, frame.end());
                let now = *self.oldest.get_or_insert_with(Instant::now);
                self.unsealed.get_or_insert(now);
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
                    .get_or_insert_with(|| Sealing { size: snapshots.folded_size(), askers: Vec::new() });
                waiting.askers.push(answer);
                self.seal_if_whole()?;
            }
        }
        Ok(())
    }

    /// Seals once everything that was asked for is in the copy.
    fn seal_if_whole(&mut self) -> Result<(), String> {
        let Some(Sealing { askers, .. }) = self.sealing.take_if(|sealing| sealing.size <= self.taken) else {
            return Ok(());
        };
        self.commit()?;
        let sealed = self.copy.seal().map_err(|error| error.to_string());
        self.unsealed = None;
        if let Ok(Some(segment)) = &sealed {
            self.snapshots.sealed(segment.end);
        }
        for asker in askers {
            let _ = asker.send(sealed.clone().map(|segment| segment.into_iter().collect()));
        }
        sealed.map(|_| ())
    }

    fn commit(&mut self) -> Result<u64, String> {
        self.oldest = None;
        crash::point("copy.unsynced");
        let durable = self.copy.commit(self.root).map_err(|error| error.to_string())?;
        crash::point("copy.synced");
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
    use asterism_event_log::{Error, Opened, Sequencer, Verdict, sealed};

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

    fn started(opened: Opened, seal_at: SealAt, failure: watch::Sender<Option<String>>) -> Storage {
        let sequencer = opened.sequencer;
        let (state, stream_id) = (State::default(), String::new());
        let (size, root) = (sequencer.size(), sequencer.root());
        let folded = Folded { state, sequencer: Sequencer::new(FLEET, None), stream_id, stream_sequence: 0 };
        let snapshots = Snapshotter::idle(Arc::new(RwLock::new(folded)));
        Storage::start(opened.copy, snapshots, (size, root), seal_at, failure)
    }

    /// Sends the frames of a script from one to another.
    async fn send(storage: &Storage, script: &Script, frames: std::ops::Range<usize>) {
        let mut sequencer = Sequencer::new(FLEET, None);
        for (index, (bytes, at)) in script.frames[..frames.end].iter().enumerate() {
            let Verdict::Accepted(frame) = sequencer.judge(bytes, *at) else { panic!("refused") };
            if frames.contains(&index) {
                storage.frame(frame, sequencer.root()).await;
            }
        }
    }

    #[tokio::test]
    async fn a_failing_sync_stops_the_thread_and_says_why() {
        let home = tempfile::tempdir().unwrap();
        let opened = Copy::open_with(home.path(), FLEET, None, Box::new(Opens), |_| {}).unwrap();
        let (failure, mut failed) = watch::channel(None);
        let storage = started(opened, SealAt::default(), failure);
        let script = Script::begin();
        send(&storage, &script, 0..script.frames.len()).await;
        let wait = failed.wait_for(Option::is_some);
        let reason = tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap().unwrap().clone();
        assert!(reason.as_deref().is_some_and(|reason| reason.starts_with("AST-L005")), "{reason:?}");
        assert_eq!((storage.durable(), storage.commit().await), (0, None));
        assert_eq!(storage.seal().await.unwrap_err(), "the log's storage has stopped");
    }
    /// Segments sealed in a folder, by first and end.
    fn segments(dir: &Path) -> Vec<(u64, u64)> {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut found: Vec<_> = names.filter_map(|name| sealed::parse_file_name(name.to_str()?)).collect();
        found.sort_unstable();
        found
    }

    /// Seals at one limit alone: the others are out of reach.
    async fn seals_at(seal_at: SealAt) {
        let home = tempfile::tempdir().unwrap();
        let script = Script::with_frames(40);
        let copy = || Copy::open_with(home.path(), FLEET, None, Box::new(Backend::File), |_| {}).unwrap();
        let (failure, failed) = watch::channel(None);
        let storage = started(copy(), seal_at, failure);
        let half = script.frames.len() / 2;
        let mut sealed_so_far = 0;
        for range in [0..half, half..script.frames.len()] {
            let end = script.accepted[range.end - 1].end();
            send(&storage, &script, range).await;
            assert_eq!(storage.commit().await, Some(end));
            // The end of what is sealed moves by itself.
            let mut patience = 600;
            while segments(home.path()).last().is_none_or(|(_, sealed)| *sealed <= sealed_so_far) {
                assert!(patience > 0 && failed.borrow().is_none(), "{seal_at:?}: {:?}", failed.borrow());
                patience -= 1;
                tokio::time::sleep(Duration::from_millis(100)).await; // the pause of a poll
            }
            sealed_so_far = segments(home.path()).last().unwrap().1;
        }
        drop(storage);
        assert!(segments(home.path()).len() >= 2, "{:?}", segments(home.path()));
        assert!(home.path().join("tile/0/000").exists() || home.path().join("tile/0/000.p").exists());
    }

    #[tokio::test]
    async fn a_copy_seals_by_itself_at_each_of_its_limits() {
        let never = SealAt { events: u64::MAX, bytes: u64::MAX, age: Duration::from_hours(9) };
        seals_at(SealAt { events: 20, ..never }).await;
        seals_at(SealAt { bytes: 20_000, ..never }).await;
        seals_at(SealAt { age: Duration::from_millis(30), ..never }).await;
    }

    #[tokio::test]
    async fn a_copy_below_its_limits_seals_when_asked_only() {
        let home = tempfile::tempdir().unwrap();
        let script = Script::with_frames(40);
        let opened = Copy::open_with(home.path(), FLEET, None, Box::new(Backend::File), |_| {}).unwrap();
        let (failure, _failed) = watch::channel(None);
        let storage = started(opened, SealAt::default(), failure);
        send(&storage, &script, 0..script.frames.len()).await;
        assert_eq!(storage.commit().await, Some(script.sequencer.size()));
        assert_eq!(segments(home.path()), []);
        assert_eq!(storage.seal().await.unwrap().len(), 1);
        assert_eq!(segments(home.path()), [(0, script.sequencer.size())]);
    }
}

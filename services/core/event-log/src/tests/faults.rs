//! A full disk and a failing sync, at every point of a run: what was durable is, and the copy says so once.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::copy::open;
use crate::copy::Copy;
use crate::error::Error;
use crate::segment::{Backend, EachBlock, OpenStore, SegmentStore};
use crate::testkit::{FLEET, Script};

/// Counts every write, sync and open, and fails from one of them on.
struct Failing {
    left: Arc<AtomicU64>,
    kind: ErrorKind,
    backend: Backend,
}

struct FailingStore {
    inner: Box<dyn SegmentStore>,
    left: Arc<AtomicU64>,
    kind: ErrorKind,
}

fn spend(left: &AtomicU64, kind: ErrorKind, doing: &'static str) -> Result<(), Error> {
    match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::io(doing, Path::new("the segment"), kind.into())),
    }
}

impl OpenStore for Failing {
    fn open(&self, folder: &Path) -> Result<Box<dyn SegmentStore>, Error> {
        spend(&self.left, self.kind, "opening")?;
        let inner = self.backend.open(folder)?;
        Ok(Box::new(FailingStore { inner, left: self.left.clone(), kind: self.kind }))
    }
}

impl SegmentStore for FailingStore {
    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), Error> {
        spend(&self.left, self.kind, "writing")?;
        self.inner.append(first, block)
    }
    fn sync(&mut self) -> Result<(), Error> {
        spend(&self.left, self.kind, "syncing")?;
        self.inner.sync()
    }
    fn scan(&mut self, each: &mut EachBlock<'_>) -> Result<(), Error> {
        self.inner.scan(each)
    }
    fn last(&mut self) -> Result<Option<u64>, Error> {
        self.inner.last()
    }
    fn truncate(&mut self, from: u64) -> Result<(), Error> {
        self.inner.truncate(from)
    }
}

/// Runs appends, commits and a seal until the store fails; returns the durable size and the error.
fn run(
    folder: &Path,
    script: &Script,
    budget: u64,
    kind: ErrorKind,
    backend: Backend,
) -> (u64, Option<Error>) {
    let stores = Failing { left: Arc::new(AtomicU64::new(budget)), kind, backend };
    let mut opened = match Copy::open_with(folder, FLEET, None, Box::new(stores), |_| {}) {
        Ok(opened) => opened,
        Err(error) => return (0, Some(error)),
    };
    let mut durable = 0;
    for (index, frame) in script.accepted.iter().enumerate() {
        opened.copy.append(frame).unwrap();
        opened.sequencer.readmit(frame.to_stored(), crate::SignatureCheck::Trust);
        if index % 6 != 5 {
            continue;
        }
        let result = match index % 24 {
            23 => opened.copy.seal().map(|_| opened.copy.size()),
            _ => opened.copy.commit(opened.sequencer.root()).map(|done| done.size),
        };
        match result {
            Ok(size) => durable = size,
            Err(error) => {
                assert!(matches!(opened.copy.append(frame), Err(Error::Failed)), "it took more");
                assert!(matches!(opened.copy.commit([0; 32]), Err(Error::Failed)));
                return (durable, Some(error));
            }
        }
    }
    (durable, None)
}

fn every_point(kind: ErrorKind, code: &str, backend: Backend, stride: usize) {
    let script = Script::with_frames(54);
    let mut failures = 0;
    for budget in (0..).step_by(stride) {
        let folder = tempfile::tempdir().unwrap();
        let (durable, error) = run(folder.path(), &script, budget, kind, backend);
        let Some(error) = error else { break };
        failures += 1;
        assert_eq!(error.code(), code, "{error}");
        let (opened, replayed) = open(folder.path(), backend);
        assert_eq!(replayed, script.accepted[..replayed.len()]);
        assert!(opened.copy.size() >= durable, "after {budget} steps: {} < {durable}", opened.copy.size());
        assert_eq!(opened.repaired, None, "after {budget} steps");
    }
    assert!(failures > 20 / stride, "only {failures} failures");
}

#[test]
fn a_disk_full_at_any_point_loses_nothing_durable() {
    every_point(ErrorKind::StorageFull, "AST-L004", Backend::File, 1);
    every_point(ErrorKind::QuotaExceeded, "AST-L004", Backend::Sled, 9);
}

#[test]
fn a_failing_sync_at_any_point_loses_nothing_durable() {
    every_point(ErrorKind::Other, "AST-L005", Backend::File, 1);
}

/// A real full device, not a simulated one: `/dev/full` answers ENOSPC to every write.
#[test]
fn the_systems_own_full_disk_is_told_apart() {
    use std::io::Write;
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = full.write_all(b"x").unwrap_err();
    assert_eq!(Error::io("writing", Path::new("/dev/full"), error).code(), "AST-L004");
}

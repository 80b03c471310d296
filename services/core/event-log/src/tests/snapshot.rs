//! Starting from a snapshot: the same copy as from the beginning, or a refusal that changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use super::copy::{open, write};
use crate::copy::{Copy, Opened};
use crate::error::Error;
use crate::record::AcceptedFrame;
use crate::segment::Backend;
use crate::sequencer::Sequencer;
use crate::snapshot::{self, Snapshot};
use crate::testkit::{FLEET, Script};

/// A copy with three sealed segments and a hot one.
fn written(folder: &Path, script: &Script) -> u64 {
    let (mut opened, _) = open(folder, Backend::Sled);
    let mut sealed = 0;
    for (begin, end) in [(0, 40), (40, 41), (41, 110)] {
        write(&mut opened.copy, script, begin..end, 9);
        sealed = opened.copy.seal().unwrap().unwrap().end;
    }
    write(&mut opened.copy, script, 110..script.frames.len(), 5);
    sealed
}

/// The sequencer after so many frames.
fn sequencer(script: &Script, frames: usize) -> Sequencer {
    let mut sequencer = Sequencer::new(FLEET, None);
    for (bytes, at) in &script.frames[..frames] {
        sequencer.judge(bytes, *at);
    }
    sequencer
}

fn behind(folder: &Path, sequencer: Sequencer) -> Result<(Opened, Vec<AcceptedFrame>), Error> {
    let mut frames = Vec::new();
    Copy::open_behind(folder, sequencer, |frame| frames.push(frame.clone())).map(|opened| (opened, frames))
}

/// Every file below a folder but the lock, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // sled writes into its own files when it is opened; what counts is that the folder stays.
        let bytes = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
        found.insert(name, bytes);
    }
    found
}

#[test]
fn a_copy_opened_from_any_snapshot_is_the_copy_opened_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::with_frames(140);
    let sealed = written(folder.path(), &script);
    let mut opened_from = 0;
    for frames in [1, 20, 39, 40, 41, 42, 100, 109, 110] {
        let sequencer = sequencer(&script, frames);
        assert!(sequencer.size() <= sealed);
        let (opened, replayed) = behind(folder.path(), sequencer).unwrap();
        assert_eq!(replayed, script.accepted[frames..], "from {frames} frames");
        assert_eq!(opened.sequencer.to_bytes(), script.sequencer.to_bytes());
        assert_eq!((opened.copy.size(), opened.repaired), (script.sequencer.size(), None));
        opened_from += 1;
    }
    assert_eq!(opened_from, 9);
    // It goes on as any other: what is written and sealed behind a snapshot is the same log.
    let (mut opened, _) = behind(folder.path(), sequencer(&script, 42)).unwrap();
    opened.copy.seal().unwrap().unwrap();
    drop(opened);
    let (opened, replayed) = open(folder.path(), Backend::Sled);
    assert_eq!(replayed, script.accepted);
    assert_eq!(opened.repaired, None);
}

#[test]
fn a_snapshot_that_does_not_lead_to_the_log_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::with_frames(140);
    written(folder.path(), &script);
    let whole = files(folder.path());
    let refused = |sequencer: Sequencer, why: &str| {
        let before = files(folder.path());
        let error = behind(folder.path(), sequencer).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Snapshot { .. }), "{why}: {error}");
        let after = files(folder.path());
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{why}");
        assert!(after == before, "{why}: a file was changed");
    };
    refused(sequencer(&script, 120), "it ends in the hot segment");
    let other = Script::with_frames(30);
    let mut forged = Sequencer::new(FLEET, None);
    for (bytes, at) in &other.frames[..10] {
        let late = crate::StreamAt { time_ms: at.time_ms + 1, ..*at };
        forged.judge(bytes, late);
    }
    refused(forged, "it is of other record times");
    let segment = whole.keys().filter(|name| name.starts_with("segment-")).nth(2).unwrap();
    let path = folder.path().join(segment);
    let mut bent = whole[segment].clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 16;
    std::fs::write(&path, &bent).unwrap();
    refused(sequencer(&script, 42), "the segment it ends in is damaged");
    refused(sequencer(&script, 20), "a segment behind it is damaged");
    std::fs::remove_file(&path).unwrap();
    refused(sequencer(&script, 20), "a segment behind it is missing");
    std::fs::write(&path, &whole[segment]).unwrap();
    std::fs::write(folder.path().join("HEAD"), vec![9; 5_000]).unwrap();
    refused(sequencer(&script, 20), "HEAD is damaged");
}

#[test]
fn a_snapshot_file_is_read_whole_or_not_at_all_and_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::with_frames(50);
    for frames in [10, 20, 30, 40] {
        let state = (0..5_000_u32).flat_map(|n| (n * frames as u32).to_be_bytes()).collect();
        let taken = Snapshot { reducer: "test-1".into(), sequencer: sequencer(&script, frames), state };
        let path = taken.write(folder.path()).unwrap();
        let read = Snapshot::read(&path).unwrap();
        assert_eq!((read.reducer.as_str(), read.state == taken.state), ("test-1", true));
        assert_eq!(read.sequencer.to_bytes(), taken.sequencer.to_bytes());
    }
    let kept: Vec<u64> = snapshot::list(folder.path()).unwrap().into_iter().map(|(size, _)| size).collect();
    assert_eq!(kept, [sequencer(&script, 40).size(), sequencer(&script, 30).size()]);
    let path = folder.path().join(snapshot::file_name(kept[0]));
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(211) {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        std::fs::write(&path, &bent).unwrap();
        assert!(Snapshot::read(&path).is_err(), "byte {at}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(Snapshot::read(&path).is_err(), "cut at {at}");
    }
}

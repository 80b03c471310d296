//! The copy on disk: group commits, kills, seals, and who may open what.

use std::path::Path;

use crate::copy::{Copy, Opened, PENDING_EVENTS_MAX};
use crate::error::Error;
use crate::reader::{LogFolder, Unsealed};
use crate::record::AcceptedFrame;
use crate::segment::Backend;
use crate::testkit::{FLEET, Script};

const BACKENDS: [Backend; 2] = [Backend::Sled, Backend::File];

/// Opens a folder and returns what was replayed too.
pub(super) fn open(folder: &Path, backend: Backend) -> (Opened, Vec<AcceptedFrame>) {
    let mut frames = Vec::new();
    let opened =
        Copy::open_with(folder, FLEET, None, Box::new(backend), |frame| frames.push(frame.clone())).unwrap();
    (opened, frames)
}

/// Appends frames in groups of this many.
pub(super) fn write(copy: &mut Copy, script: &Script, frames: std::ops::Range<usize>, group: usize) {
    let mut sequencer = crate::Sequencer::new(FLEET, None);
    for (index, (bytes, at)) in script.frames[..frames.end].iter().enumerate() {
        let crate::Verdict::Accepted(frame) = sequencer.judge(bytes, *at) else { panic!("refused") };
        if index < frames.start {
            continue;
        }
        copy.append(&frame).unwrap();
        if (index + 1) % group == 0 || index + 1 == frames.end {
            let durable = copy.commit(sequencer.root()).unwrap();
            assert_eq!(durable.size, sequencer.size());
        }
    }
}

#[test]
fn a_reopened_copy_is_the_same_log() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::with_frames(150);
        let (mut opened, replayed) = open(folder.path(), backend);
        assert!(replayed.is_empty() && opened.repaired.is_none() && opened.stream_position.is_none());
        write(&mut opened.copy, &script, 0..script.frames.len(), 7);
        opened.copy.set_stream_id("2026-11-22T00:00:00Z").unwrap();
        drop(opened);
        let (opened, replayed) = open(folder.path(), backend);
        assert_eq!(replayed, script.accepted);
        assert_eq!(opened.sequencer.root(), script.sequencer.root());
        assert_eq!(opened.sequencer.marks(), script.sequencer.marks());
        assert_eq!(opened.stream_position, script.frames.last().map(|(_, at)| *at));
        assert_eq!(opened.stream_id.as_deref(), Some("2026-11-22T00:00:00Z"));
        assert_eq!(opened.copy.size(), script.sequencer.size());
        assert_eq!(opened.repaired, None);
    }
}

#[test]
fn what_was_not_committed_is_gone_and_nothing_else() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::with_frames(60);
        for stop in [5, 6, 20, 41, script.frames.len()] {
            let (mut opened, replayed) = open(folder.path(), backend);
            let begin = replayed.len();
            assert_eq!(replayed, script.accepted[..begin]);
            assert_eq!(opened.repaired, None);
            write(&mut opened.copy, &script, begin..stop, 4);
            for frame in script.accepted.iter().skip(stop).take(5) {
                opened.copy.append(frame).unwrap();
            }
            assert_eq!(opened.copy.pending() > 0, stop < script.frames.len());
        }
        let (opened, replayed) = open(folder.path(), backend);
        assert_eq!(replayed, script.accepted);
        assert_eq!(opened.sequencer.root(), script.sequencer.root());
    }
}

#[test]
fn sealing_keeps_the_log_and_makes_files_that_verify() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::with_frames(120);
        let (mut opened, _) = open(folder.path(), backend);
        let mut sealed = Vec::new();
        for (begin, end) in [(0, 40), (40, 41), (41, 110)] {
            write(&mut opened.copy, &script, begin..end, 9);
            sealed.push(opened.copy.seal().unwrap().unwrap());
            assert_eq!(opened.copy.seal().unwrap(), None, "nothing new");
        }
        for segment in &sealed {
            let bytes = std::fs::read(&segment.path).unwrap();
            assert_eq!(bytes.len() as u64, segment.size);
            assert_eq!(asterism_proto::hash::sha256(&bytes), segment.sha256);
        }
        assert_eq!((sealed[0].first, sealed[1].first, sealed[2].first), (0, sealed[0].end, sealed[1].end));
        write(&mut opened.copy, &script, 110..script.frames.len(), 5);
        drop(opened);

        let (mut opened, replayed) = open(folder.path(), backend);
        assert_eq!(replayed, script.accepted);
        assert_eq!(opened.sequencer.root(), script.sequencer.root());
        let reader = LogFolder::open(folder.path(), script.sequencer.anchor()).unwrap();
        let left = script.sequencer.size() - sealed[2].end;
        assert_eq!(reader.unsealed(), Some(Unsealed { events: Some(left) }));

        opened.copy.seal().unwrap().unwrap();
        // The owner is still running: readers need no lock.
        let reader = LogFolder::open(folder.path(), script.sequencer.anchor()).unwrap();
        assert_eq!((reader.unsealed(), reader.fleet(), reader.segments().len()), (None, FLEET, 4));
        let mut frames = reader.frames();
        let read: Vec<AcceptedFrame> = frames.by_ref().map(Result::unwrap).collect();
        assert_eq!(read, script.accepted);
        assert_eq!(frames.sequencer().root(), script.sequencer.root());
        assert_eq!(frames.sequencer().checkpoint_counts(), script.sequencer.checkpoint_counts());
        assert!(script.sequencer.checkpoint_counts().agreed >= 7);
    }
}

#[test]
fn an_interrupted_seal_is_finished_at_open() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::with_frames(50);
        let (mut opened, _) = open(folder.path(), backend);
        write(&mut opened.copy, &script, 0..script.frames.len(), 9);
        drop(opened);
        let keep = tempfile::tempdir().unwrap();
        copy_tree(folder.path(), keep.path());
        let (mut opened, _) = open(folder.path(), backend);
        let segment = opened.copy.seal().unwrap().unwrap();
        drop(opened);
        // The file got its name, then the process died: the hot segment and HEAD are still the old ones.
        let name = segment.path.file_name().unwrap();
        std::fs::copy(&segment.path, keep.path().join(name)).unwrap();
        std::fs::write(keep.path().join("segment-00000000000000000000.part"), b"half").unwrap();
        let (opened, replayed) = open(keep.path(), backend);
        assert_eq!(replayed, script.accepted);
        assert_eq!(opened.repaired, None);
        assert_eq!(opened.copy.sealed().unwrap().len(), 1);
        drop(opened);
        let (opened, replayed) = open(keep.path(), backend);
        assert_eq!((replayed.len(), opened.repaired), (script.accepted.len(), None));
        let reader = LogFolder::open(keep.path(), None).unwrap();
        assert_eq!(reader.unsealed(), None);
        assert!(!keep.path().join("segment-00000000000000000000.part").exists());
    }
}

/// Copies a folder.
pub(super) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn one_process_owns_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, _) = open(folder.path(), Backend::Sled);
    let second = Copy::open(folder.path(), FLEET, None, |_| {}).err().unwrap();
    assert_eq!(second.code(), "AST-L001");
    assert!(second.to_string().contains(&folder.path().display().to_string()), "{second}");
    drop(opened);
    assert!(Copy::open(folder.path(), FLEET, None, |_| {}).is_ok());
}

#[test]
fn another_fleets_folder_or_another_anchor_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::with_frames(10);
    let (mut opened, _) = open(folder.path(), Backend::Sled);
    write(&mut opened.copy, &script, 0..script.frames.len(), 5);
    drop(opened);
    let fleet = Copy::open(folder.path(), "other", None, |_| {}).err().unwrap();
    assert_eq!(fleet.code(), "AST-L002");
    let anchor = Copy::open(folder.path(), FLEET, Some([3; 32]), |_| {}).err().unwrap();
    assert_eq!(anchor.code(), "AST-L003");
    assert!(anchor.to_string().contains(&hex::encode(script.sequencer.anchor().unwrap())), "{anchor}");
    let (opened, replayed) = open(folder.path(), Backend::Sled);
    assert_eq!((replayed.len(), opened.repaired), (script.accepted.len(), None));
}

#[test]
fn a_caller_that_loses_its_place_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::with_frames(10);
    let (mut opened, _) = open(folder.path(), Backend::File);
    opened.copy.append(&script.accepted[0]).unwrap();
    let hole = opened.copy.append(&script.accepted[2]).unwrap_err();
    assert!(matches!(hole, Error::OutOfOrder { expected: 1, got: 2 }));
    assert!(matches!(opened.copy.append(&script.accepted[1]), Err(Error::Failed)));
    drop(opened);
    let (mut opened, _) = open(folder.path(), Backend::File);
    opened.copy.append(&script.accepted[0]).unwrap();
    assert!(matches!(opened.copy.commit([0; 32]), Err(Error::Root { size: 1, .. })));
    assert!(matches!(opened.copy.seal(), Err(Error::Failed)));
    drop(opened);
    let (opened, replayed) = open(folder.path(), Backend::File);
    assert_eq!((replayed.len(), opened.copy.size()), (0, 0));
}

#[test]
fn a_caller_that_never_commits_is_told_and_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = Script::begin();
    while script.sequencer.size() < PENDING_EVENTS_MAX as u64 + 300 {
        script.write(3, vec![vec![1; 4]; 256]);
    }
    let (mut opened, _) = open(folder.path(), Backend::File);
    let mut told = false;
    let mut sequencer = crate::Sequencer::new(FLEET, None);
    for frame in &script.accepted {
        if let Err(error) = opened.copy.append(frame) {
            assert_eq!(error.code(), "AST-L009");
            told = true;
            opened.copy.commit(sequencer.root()).unwrap();
            opened.copy.append(frame).unwrap();
        }
        sequencer.readmit(frame.to_stored(), crate::SignatureCheck::Trust);
    }
    opened.copy.commit(sequencer.root()).unwrap();
    assert!(told);
    assert_eq!(opened.copy.size(), script.sequencer.size());
}

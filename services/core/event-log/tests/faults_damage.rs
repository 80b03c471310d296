//! Flipped bits, cut tails and left-over snapshots of sled: noticed, set aside, refilled; raw sled is the control.
//!
//! The hot segment of a killed process is damaged at random places and opened both ways. The copy must hand out frames
//! that were written, in their order, under the root they had, and say why it is short. Raw sled must be seen to lose
//! or change records without a word, or to panic: otherwise the damage does not bite.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use asterism_event_log::segment::Backend;
use asterism_event_log::testkit::Script;
use asterism_proto::hash::Hash;
use support::{Dice, copy_tree, open, roots, say, share};

/// Frames of the damaged log: 1,400 events, 1 MB of sled.
const FRAMES: u64 = 150;

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// A killed process's log, and what is known of it.
struct Whole {
    script: Script,
    roots: Vec<(u64, Hash)>,
    home: tempfile::TempDir,
    records: Records,
}

impl Whole {
    fn make() -> Self {
        let script = Script::with_frames(FRAMES);
        let (home, alive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut opened, _) = open(alive.path(), Backend::Sled);
        support::write(&mut opened, &script.frames, 8);
        copy_tree(alive.path(), home.path());
        let control = tempfile::tempdir().unwrap();
        copy_tree(&hot(home.path()), control.path());
        let records: Records = sled::open(control.path())
            .unwrap()
            .iter()
            .map(|entry| entry.map(|(key, block)| (key.to_vec(), block.to_vec())).unwrap())
            .collect();
        assert!(records.len() > 50, "{} blocks", records.len());
        Self { roots: roots(&script), script, home, records }
    }

    fn damaged(&self, damage: impl Fn(&Path)) -> (tempfile::TempDir, Raw) {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(self.home.path(), folder.path());
        damage(&hot(folder.path()));
        let control = tempfile::tempdir().unwrap();
        copy_tree(&hot(folder.path()), control.path());
        let found = raw(control.path(), &self.records);
        // A database that hangs in its destructor still has the folder.
        let _ = control.keep();
        (folder, found)
    }

    /// Opens a damaged log: a prefix, under the root it had, suspect if it is short; then refilled and whole. Returns
    /// whether it was suspect.
    fn heals(&self, folder: &Path, what: &str) -> bool {
        let (mut opened, replayed) = open(folder, Backend::Sled);
        let kept = replayed.len();
        assert!(replayed == self.script.accepted[..kept], "{what}: frames that were never written");
        let (size, root) = self.roots[kept];
        assert_eq!((opened.copy.size(), opened.sequencer.root()), (size, root), "{what}");
        let suspect = opened.repaired.clone();
        if kept < self.script.frames.len() {
            let suspect = suspect.as_ref().unwrap_or_else(|| panic!("{what}: a silent shortfall"));
            assert_eq!((suspect.kept, suspect.reason.is_empty()), (size, false), "{what}");
        }
        support::write(&mut opened, &self.script.frames[kept..], 8);
        drop(opened);
        let (opened, again) = open(folder, Backend::Sled);
        assert!(again == self.script.accepted && opened.repaired.is_none(), "{what}: not healed");
        suspect.is_some()
    }
}

/// The folder of the hot segment.
fn hot(log: &Path) -> PathBuf {
    let names = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    names.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("hot-")).unwrap()
}

/// How raw sled took the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raw {
    Unharmed,
    /// It returned an error.
    Said,
    Panicked,
    Hung,
    /// It opened, and records are missing without a word.
    Missing,
    /// It opened, and records are not those that were written.
    Wrong,
}

/// Opens a folder with raw sled and reads all of it, on a thread of its own.
fn raw(folder: &Path, written: &Records) -> Raw {
    let (sender, receiver) = mpsc::channel();
    let (folder, written) = (folder.to_owned(), written.clone());
    std::thread::spawn(move || {
        let read = catch_unwind(AssertUnwindSafe(|| -> sled::Result<Records> {
            let db = sled::Config::new().path(&folder).flush_every_ms(None).open()?;
            db.iter().map(|entry| entry.map(|(key, block)| (key.to_vec(), block.to_vec()))).collect()
        }));
        let _ = sender.send(match read {
            Err(_) => Raw::Panicked,
            Ok(Err(_)) => Raw::Said,
            Ok(Ok(records)) if records == written => Raw::Unharmed,
            Ok(Ok(records)) if records.iter().all(|record| written.contains(record)) => Raw::Missing,
            Ok(Ok(_)) => Raw::Wrong,
        });
    });
    receiver.recv_timeout(Duration::from_secs(20)).unwrap_or(Raw::Hung)
}

/// How many of each.
fn counted(found: &[Raw]) -> String {
    let all = [Raw::Unharmed, Raw::Said, Raw::Panicked, Raw::Hung, Raw::Missing, Raw::Wrong];
    let count = |kind: &Raw| found.iter().filter(|one| *one == kind).count();
    all.iter().map(|kind| format!("{kind:?} {}", count(kind))).collect::<Vec<_>>().join(", ")
}

/// Whether raw sled misled its caller or fell over.
fn failed(found: &[Raw]) -> usize {
    found.iter().filter(|raw| matches!(raw, Raw::Panicked | Raw::Hung | Raw::Missing | Raw::Wrong)).count()
}

#[test]
fn a_flipped_bit_in_a_sled_file_is_never_a_wrong_answer_nor_a_silent_shortfall() {
    let whole = Whole::make();
    let mut dice = Dice::thrown("flips");
    let (mut suspects, mut found) = (0, Vec::new());
    let flips = share(100);
    for round in 0..flips {
        // Every tenth into another of sled's files.
        let name = if round % 10 == 9 { "conf" } else { "db" };
        let size = fs::metadata(hot(whole.home.path()).join(name)).unwrap().len();
        let (offset, bit) = (dice.below(size), dice.below(8));
        let what = format!("flip {round}: bit {bit} of byte {offset} of {size} in {name}");
        let (folder, raw) = whole.damaged(|hot| {
            let file = fs::OpenOptions::new().read(true).write(true).open(hot.join(name)).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
        });
        found.push(raw);
        suspects += u64::from(whole.heals(folder.path(), &what));
    }
    say(&format!("{flips} flips: {suspects} copies suspect and healed; raw sled: {}", counted(&found)));
    assert!(suspects > 0, "no flip did any harm: the test does not bite");
    assert!(failed(&found) > 0, "raw sled took every flip well: the control does not bite");
}

#[test]
fn a_cut_sled_file_is_noticed_and_refilled() {
    let whole = Whole::make();
    let mut dice = Dice::thrown("cuts");
    let size = fs::metadata(hot(whole.home.path()).join("db")).unwrap().len();
    let (mut suspects, mut found) = (0, Vec::new());
    let cuts: Vec<u64> = (0..share(40)).map(|_| 1_024 + dice.below(size / 2 - 1_024)).collect();
    let cuts: Vec<u64> = cuts.into_iter().chain([1_024, size / 2]).collect();
    for taken in &cuts {
        let (folder, raw) = whole.damaged(|hot| {
            let file = fs::OpenOptions::new().write(true).open(hot.join("db")).unwrap();
            file.set_len(size - taken).unwrap();
        });
        found.push(raw);
        suspects += u64::from(whole.heals(folder.path(), &format!("{taken} of {size} bytes cut")));
    }
    say(&format!("{} cuts: {suspects} copies suspect and healed; raw sled: {}", cuts.len(), counted(&found)));
    assert!(suspects > 0, "no cut did any harm");
    assert!(failed(&found) > 0, "raw sled took every cut well: the control does not bite");
}

#[test]
fn a_left_over_snapshot_keeps_raw_sled_closed_and_the_copy_open() {
    let whole = Whole::make();
    let hot_folder = hot(whole.home.path());
    let snapshot = fs::read_dir(&hot_folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
        .map_or_else(|| b"half a snapshot".to_vec(), |path| fs::read(path).unwrap());
    let half = &snapshot[..snapshot.len() / 2];
    for (name, content) in
        [("snap.0000000000000001.generating", half), ("snap.00000000000FFFFF.generating", b"".as_slice())]
    {
        let (folder, raw) = whole.damaged(|hot| fs::write(hot.join(name), content).unwrap());
        assert_ne!(raw, Raw::Unharmed, "raw sled opens with {name}: the control does not bite");
        assert!(!whole.heals(folder.path(), name), "{name}: suspect, though nothing is lost");
    }
}

/// Whatever a stop leaves in sled's folder: the copy opens, or sets it aside and is refilled, and nobody is asked.
#[test]
fn half_snapshots_and_stray_blobs_need_no_operator() {
    let whole = Whole::make();
    let leavings: [(&str, &[u8]); 6] = [
        ("snap.0000000000000001", b""),
        ("snap.0000000000000001", b"half a snapshot"),
        ("snap.FFFFFFFFFFFFFFFF", &[0; 64]),
        ("blobs/123456", b"a blob no page names"),
        ("blobs/123456", b""),
        ("blobs/no number", b"a name that is no number"),
    ];
    let mut told = Vec::new();
    for (name, content) in leavings {
        let (folder, raw) = whole.damaged(|hot| {
            fs::create_dir_all(hot.join("blobs")).unwrap();
            fs::write(hot.join(name), content).unwrap();
        });
        let suspect = whole.heals(folder.path(), name);
        told.push(format!(
            "{name}: raw sled {raw:?}, the copy {}",
            if suspect { "healed" } else { "unharmed" }
        ));
    }
    say(&told.join("\n"));
    assert!(told.iter().any(|line| !line.contains("raw sled Unharmed")), "nothing bites: {told:#?}");
}

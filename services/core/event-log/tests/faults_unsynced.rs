//! A disk that keeps only what was synced: whatever was said to be durable is there after a power cut, at each of its
//! syncs, and with any choice of the files that were not synced yet. A disk that lies about one kind of sync loses it:
//! the control, by which each kind is known to be needed.
//!
//! Contents are kept by file (inode) as of its last sync, names by folder as of its last sync. What a file holds that was
//! never synced is nothing: an empty file under its name, as some file systems leave it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use asterism_event_log::Copy;
use asterism_event_log::disk::{Disk, Sync, watch};
use asterism_event_log::segment::Backend;
use asterism_event_log::testkit::{FLEET, Script};
use support::{BACKENDS, Dice, judge, open, roots, say, share};

/// Frames of the script, in commits of 4 and with a seal after each 24.
const FRAMES: u64 = 120;
/// Of a disk that lies: two seals show it.
const LYING_FRAMES: u64 = 56;
const COMMIT: usize = 4;
const SEAL: usize = 24;
/// Choices of the files that were not synced, at each cut.
const CHOICES: u64 = 10;

/// What is on the disk for sure.
#[derive(Default)]
struct Kept {
    contents: BTreeMap<u64, Vec<u8>>,
    /// Names in each folder, by its inode: what they name, and whether that is a folder.
    names: BTreeMap<u64, BTreeMap<String, (u64, bool)>>,
    /// Open files and folders, so that no inode is given out again.
    held: Vec<File>,
}

/// Whether the disk lies about this sync.
type Lies = fn(&Sync<'_>) -> bool;

struct PowerCuts {
    folder: PathBuf,
    lies: Lies,
    kept: Mutex<Kept>,
    /// Where what is left after each power cut is written.
    left: PathBuf,
    cuts: AtomicU64,
    dice: Mutex<Dice>,
    choices: u64,
    /// Events that were said to be durable.
    told: AtomicU64,
    /// Said to be durable at each cut.
    told_at: Mutex<Vec<u64>>,
}

fn names_of(folder: &Path) -> BTreeMap<String, (u64, bool)> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let data = entry.metadata().unwrap();
            (entry.file_name().to_string_lossy().into_owned(), (data.ino(), data.is_dir()))
        })
        .collect()
}

impl Disk for PowerCuts {
    fn before(&self, what: Sync<'_>) -> bool {
        // The power fails just before: what is not synced yet may be there, or not.
        for _ in 0..self.choices {
            self.cut(true);
        }
        !(self.lies)(&what)
    }

    fn after(&self, what: Sync<'_>) {
        let mut kept = self.kept.lock().unwrap();
        match what {
            Sync::File(path) => {
                kept.contents.insert(fs::metadata(path).unwrap().ino(), fs::read(path).unwrap());
            }
            Sync::Folder(path) => {
                let names = names_of(path);
                // sled syncs this one itself, before anything else, by a call that is not ours.
                if let Some((inode, _)) = names.get("conf") {
                    kept.contents.insert(*inode, fs::read(path.join("conf")).unwrap());
                }
                let held = names.keys().map(|name| File::open(path.join(name)).unwrap());
                kept.held.extend(held);
                kept.names.insert(fs::metadata(path).unwrap().ino(), names);
            }
        }
        drop(kept);
        self.cut(false);
    }
}

impl PowerCuts {
    /// The power fails: what is left is written down.
    fn cut(&self, some_unsynced: bool) {
        let number = self.cuts.fetch_add(1, Ordering::Relaxed);
        let left = self.left.join(number.to_string());
        fs::create_dir_all(&left).unwrap();
        let root = fs::metadata(&self.folder).unwrap().ino();
        self.leave(root, &self.folder, &left, some_unsynced);
        self.told_at.lock().unwrap().push(self.told.load(Ordering::Relaxed));
    }

    fn leave(&self, folder: u64, now: &Path, left: &Path, some_unsynced: bool) {
        let kept = self.kept.lock().unwrap();
        let names = kept.names.get(&folder).cloned().unwrap_or_default();
        drop(kept);
        for (name, (inode, is_folder)) in names {
            let (now, target) = (now.join(&name), left.join(&name));
            if is_folder {
                fs::create_dir(&target).unwrap();
                self.leave(inode, &now, &target, some_unsynced);
                continue;
            }
            let lucky = some_unsynced && self.dice.lock().unwrap().below(2) == 0;
            let is_same = || fs::metadata(&now).is_ok_and(|data| data.ino() == inode);
            let bytes = if lucky && is_same() {
                fs::read(&now).unwrap()
            } else {
                self.kept.lock().unwrap().contents.get(&inode).cloned().unwrap_or_default()
            };
            fs::write(&target, bytes).unwrap();
        }
    }
}

/// What a power cut at each sync lost: cuts, and those that lost something that was said to be durable.
fn run(backend: Backend, frames: u64, lies: Lies, choices: u64) -> (u64, Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("log");
    fs::create_dir(&folder).unwrap();
    let script = Script::with_frames(frames);
    let disk = Arc::new(PowerCuts {
        folder: folder.clone(),
        lies,
        kept: Mutex::default(),
        left: home.path().join("left"),
        cuts: AtomicU64::new(0),
        dice: Mutex::new(Dice::thrown("power cuts")),
        choices,
        told: AtomicU64::new(0),
        told_at: Mutex::default(),
    });
    watch(&folder, disk.clone());
    let mut opened = Copy::open_with(&folder, FLEET, None, Box::new(backend), |_| {}).unwrap();
    for (index, (bytes, at)) in script.frames.iter().enumerate() {
        let frame = judge(&mut opened.sequencer, bytes, *at);
        opened.copy.append(&frame).unwrap();
        if (index + 1) % COMMIT == 0 {
            let durable = opened.copy.commit(opened.sequencer.root()).unwrap();
            disk.told.store(durable.size, Ordering::Relaxed);
        }
        if (index + 1) % SEAL == 0 {
            opened.copy.seal().unwrap();
        }
    }
    drop(opened);
    let (roots, mut lost) = (roots(&script), Vec::new());
    let told_at = disk.told_at.lock().unwrap().clone();
    for (cut, told) in told_at.iter().enumerate() {
        let (left, _) = open(&home.path().join("left").join(cut.to_string()), backend);
        let (size, root) = (left.sequencer.size(), left.sequencer.root());
        assert!(roots.contains(&(size, root)), "cut {cut}: a log that never was");
        if size < *told {
            lost.push(format!("cut {cut}: {size} of {told} events, {:?}", left.repaired));
        }
    }
    (told_at.len() as u64, lost)
}

#[test]
fn what_was_said_to_be_durable_outlives_a_power_cut_at_each_sync() {
    for backend in BACKENDS {
        let (cuts, lost) = run(backend, FRAMES, |_| false, share(CHOICES));
        assert!(lost.is_empty(), "{backend:?}: {lost:#?}");
        assert!(cuts > 120, "{cuts}");
        say(&format!("{backend:?}: {cuts} power cuts, nothing lost that was said to be durable"));
    }
}

/// A file whose path ends so.
fn ends(what: &Sync<'_>, names: &[&str]) -> bool {
    matches!(what, Sync::File(path) if names.iter().any(|name| path.to_string_lossy().ends_with(name)))
}

#[test]
fn a_disk_that_lies_about_a_kind_of_sync_loses_what_was_said_to_be_durable() {
    let controls: [(&str, Lies); 3] = [
        ("the segment's sync, which sled's flush is not", |what| ends(what, &["/db", "/blocks"])),
        ("the sealed file's sync", |what| ends(what, &[".part"])),
        ("the folders' syncs", |what| matches!(what, Sync::Folder(_))),
    ];
    for backend in BACKENDS {
        for (what, lies) in controls {
            let (cuts, lost) = run(backend, LYING_FRAMES, lies, 0);
            assert!(!lost.is_empty(), "{backend:?} without {what}: {cuts} power cuts lost nothing");
            say(&format!("{backend:?} without {what}: {} of {cuts} power cuts lose events", lost.len()));
        }
    }
}

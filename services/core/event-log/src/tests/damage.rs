//! Damaged copies: every flip, cut and tampering is noticed, nothing is silently missing, and a refill heals it. What
//! damage does to a sled file, with raw sled as the control, is in `tests/faults_damage.rs`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::copy::{copy_tree, open, write};
use crate::block::pack;
use crate::copy::Copy;
use crate::head::{Head, HeadFile};
use crate::reader::LogFolder;
use crate::record::AcceptedFrame;
use crate::segment::Backend;
use crate::testkit::{FLEET, Script, forge};

/// A small deterministic generator: failures name the offset, so a seed is enough.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn flip(path: &Path, offset: u64, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset).unwrap();
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// A log with two sealed segments and a hot one, as a killed process leaves it: copied while the owner has it open.
fn killed(backend: Backend, script: &Script, at: &Path, sealed: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(folder.path(), backend);
    let mut begin = 0;
    for end in sealed {
        write(&mut opened.copy, script, begin..*end, 8);
        opened.copy.seal().unwrap().unwrap();
        begin = *end;
    }
    write(&mut opened.copy, script, begin..script.frames.len(), 8);
    copy_tree(folder.path(), at);
}

/// Opens a damaged folder: what is replayed is a prefix of the log; if it is short, the copy says so; refilled and
/// reopened it is whole. Returns how many frames were kept and whether it was suspect.
fn heals(backend: Backend, script: &Script, folder: &Path, what: &str) -> (usize, bool) {
    let (mut opened, replayed) = open(folder, backend);
    assert_eq!(replayed, script.accepted[..replayed.len()], "{what}: not a prefix");
    let suspect = opened.repaired.clone();
    if replayed.len() < script.accepted.len() {
        let suspect = suspect.as_ref().unwrap_or_else(|| panic!("{what}: a silent shortfall"));
        assert_eq!(suspect.kept, opened.sequencer.size(), "{what}");
    }
    assert_eq!(opened.sequencer.size(), opened.copy.size(), "{what}");
    write(&mut opened.copy, script, replayed.len()..script.frames.len(), 8);
    drop(opened);
    let (opened, again) = open(folder, backend);
    assert_eq!(again, script.accepted, "{what}: not healed");
    assert_eq!(opened.repaired, None, "{what}");
    (replayed.len(), suspect.is_some())
}

fn hot_file(folder: &Path, backend: Backend) -> PathBuf {
    let hot = crate::copy::hot_folders(folder).unwrap().pop().unwrap().1;
    hot.join(if backend == Backend::Sled { "db" } else { "blocks" })
}

#[test]
fn damage_to_the_plain_file_keeps_everything_before_it() {
    let script = Script::with_frames(120);
    let whole = tempfile::tempdir().unwrap();
    killed(Backend::File, &script, whole.path(), &[]);
    let path = hot_file(whole.path(), Backend::File);
    let size = length(&path);
    let mut dice = Dice(7);
    for round in 0..64 {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(whole.path(), folder.path());
        let offset = dice.below(size);
        let what = format!("round {round}, byte {offset} of {size}");
        let path = hot_file(folder.path(), Backend::File);
        if round % 2 == 0 {
            flip(&path, offset, dice.below(8));
        } else {
            cut(&path, offset);
        }
        let (kept, suspect) = heals(Backend::File, &script, folder.path(), &what);
        assert!(suspect, "{what}");
        // Everything up to the damaged block is kept: at most a block of bytes and a frame are lost before it.
        let share = offset * script.frames.len() as u64 / size;
        assert!(kept as u64 + 25 >= share, "{what}: kept {kept}, expected about {share}");
        assert!(folder.path().join("bad-1").is_dir());
    }
}

#[test]
fn a_damaged_sealed_segment_goes_aside_with_all_that_follows() {
    let script = Script::with_frames(150);
    for backend in [Backend::Sled, Backend::File] {
        let whole = tempfile::tempdir().unwrap();
        killed(backend, &script, whole.path(), &[60, 110]);
        let segments = crate::sealed::list(whole.path()).unwrap();
        let mut dice = Dice(99);
        for round in 0..16 {
            let folder = tempfile::tempdir().unwrap();
            copy_tree(whole.path(), folder.path());
            let path = folder.path().join(segments[round % 2].2.file_name().unwrap());
            let size = length(&path);
            // The first eight bytes are the format: another digit there is another version, which is not damage.
            let offset = 8 + dice.below(size - 8);
            let what = format!("round {round}, byte {offset} of {size} in segment {}", round % 2);
            if round % 4 == 3 {
                cut(&path, offset);
            } else {
                flip(&path, offset, dice.below(8));
            }
            let read: Result<Vec<AcceptedFrame>, _> = match LogFolder::open(folder.path(), None) {
                Ok(log) => log.frames().collect(),
                Err(error) => Err(error),
            };
            assert_eq!(read.unwrap_err().code(), "AST-L011", "{what}");
            let (kept, suspect) = heals(backend, &script, folder.path(), &what);
            assert!(suspect, "{what}");
            assert!(kept >= [0, 60][round % 2] && kept <= [60, 110][round % 2], "{what}: kept {kept}");
        }
    }
}

#[test]
fn missing_files_are_noticed() {
    let script = Script::with_frames(100);
    let whole = tempfile::tempdir().unwrap();
    killed(Backend::Sled, &script, whole.path(), &[40, 70]);
    let segments: Vec<PathBuf> =
        crate::sealed::list(whole.path()).unwrap().into_iter().map(|(_, _, path)| path).collect();
    let hot = crate::copy::hot_folders(whole.path()).unwrap().pop().unwrap().1;
    for (missing, least) in [
        (segments[0].clone(), 0),
        (segments[1].clone(), 40),
        (hot, 70),
        (whole.path().join("HEAD"), script.frames.len()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(whole.path(), folder.path());
        let path = folder.path().join(missing.file_name().unwrap());
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let what = missing.display().to_string();
        let (kept, suspect) = heals(Backend::Sled, &script, folder.path(), &what);
        assert!(suspect, "{what}");
        assert_eq!(kept, least, "{what}");
    }
}

#[test]
fn a_damaged_head_file_costs_nothing_and_is_said() {
    let script = Script::with_frames(60);
    let whole = tempfile::tempdir().unwrap();
    killed(Backend::Sled, &script, whole.path(), &[30]);
    for offsets in [vec![20], vec![4_096 + 20], vec![20, 4_096 + 20]] {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(whole.path(), folder.path());
        for offset in &offsets {
            flip(&folder.path().join("HEAD"), *offset, 3);
        }
        let (kept, suspect) = heals(Backend::Sled, &script, folder.path(), &format!("{offsets:?}"));
        assert_eq!((kept, suspect), (script.frames.len(), true));
    }
}

/// Writes a hot segment of the plain-file kind with these frames, right checksums and a chain that fits.
fn plant(folder: &Path, frames: &[AcceptedFrame], root: [u8; 32]) {
    let blocks = pack(asterism_proto::hash::empty_root(), frames);
    let hot = folder.join("hot-00000000000000000000");
    fs::create_dir_all(&hot).unwrap();
    let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.bytes.clone()).collect();
    fs::write(hot.join("blocks"), bytes).unwrap();
    let (mut head, _) = HeadFile::open(folder).unwrap();
    let size = frames.last().unwrap().end();
    head.write(&Head { hot_first: 0, size, root, block_hash: blocks.last().unwrap().hash }).unwrap();
}

#[test]
fn a_forged_frame_with_right_checksums_is_found_by_its_signature() {
    let script = Script::with_frames(30);
    let folder = tempfile::tempdir().unwrap();
    let mut frames = script.accepted.clone();
    let victim = frames.iter().position(|f| f.frame.origin.to_string() == "node/n1").unwrap();
    let mut impostor = crate::testkit::Writer::new("node/n1", 11);
    impostor.key = script.writers[4].key.clone();
    let forged = impostor.frame((&frames[victim].frame.events).into());
    let frame = asterism_proto::OpenFrame::read(&forged).unwrap();
    let stored = crate::StoredFrame::new(frame, frames[victim].record_time_ms, frames[victim].at);
    (frames[victim].frame, frames[victim].leaves) = (stored.frame, stored.leaves);
    plant(folder.path(), &frames, [0; 32]);
    let (kept, suspect) = heals(Backend::File, &script, folder.path(), "forged");
    assert_eq!((kept, suspect), (victim, true));
}

/// Signatures are checked on a thread behind the rest, by batches: a forged frame in any place of one, in blocks or in a
/// sealed file, still costs nothing that precedes it, and the caller sees no frame twice and none behind it.
#[test]
fn a_forged_frame_deep_in_a_long_log_costs_nothing_before_it() {
    let script = Script::with_frames(700);
    // Without events of the log's own, some way apart: the first batch, its end, the next one, and the last.
    let victims = [20, 127, 128, 129, 400, script.frames.len() - 2];
    for victim in victims {
        let mut frames = script.accepted.clone();
        frames[victim].frame.signature[5] ^= 1;
        let hot = tempfile::tempdir().unwrap();
        plant(hot.path(), &frames, script.sequencer.root());
        let healed = heals(Backend::File, &script, hot.path(), &format!("hot, frame {victim}"));
        assert_eq!(healed, (victim, true));
        let sealed = tempfile::tempdir().unwrap();
        let stored: Vec<_> = frames.iter().map(AcceptedFrame::to_stored).collect();
        forge(sealed.path(), &stored, 300);
        let healed = heals(Backend::File, &script, sealed.path(), &format!("sealed, frame {victim}"));
        assert_eq!(healed, (victim, true));
    }
}

#[test]
fn a_log_rewritten_to_another_time_is_given_up_whole_and_refilled() {
    let script = Script::with_frames(30);
    let folder = tempfile::tempdir().unwrap();
    let mut frames = script.accepted.clone();
    // One record's time moved by a millisecond, consistently: only the root in HEAD speaks against it.
    let last = frames.last_mut().unwrap();
    let (time, at) = (last.record_time_ms + 1, crate::StreamAt { time_ms: last.at.time_ms + 1, ..last.at });
    let stored = crate::StoredFrame::new(last.frame.clone(), time, at);
    (last.record_time_ms, last.at, last.leaves) = (time, at, stored.leaves);
    plant(folder.path(), &frames, script.sequencer.root());
    let error = Copy::open_with(folder.path(), FLEET, None, Box::new(Backend::File), |_| {}).err().unwrap();
    assert_eq!(error.code(), "AST-L011");
    assert!(error.to_string().contains("set aside"), "{error}");
    let (opened, replayed) = open(folder.path(), Backend::File);
    assert_eq!((replayed.len(), opened.copy.size()), (0, 0));
    drop(opened);
    let (mut opened, _) = open(folder.path(), Backend::File);
    write(&mut opened.copy, &script, 0..script.frames.len(), 8);
}

#[test]
fn a_reader_names_a_missing_segment_and_a_folder_without_any() {
    let script = Script::with_frames(60);
    let whole = tempfile::tempdir().unwrap();
    let none = LogFolder::open(whole.path(), None).unwrap_err();
    assert_eq!(none.code(), "AST-L008");
    killed(Backend::Sled, &script, whole.path(), &[20, 40]);
    let wrong = LogFolder::open(whole.path(), Some([4; 32])).unwrap().frames().next().unwrap().unwrap_err();
    assert_eq!(wrong.code(), "AST-L003");
    let first = crate::sealed::list(whole.path()).unwrap().remove(0).2;
    fs::remove_file(first).unwrap();
    let missing = LogFolder::open(whole.path(), None).unwrap_err();
    assert!(missing.to_string().contains("first segment is missing"), "{missing}");
    let nowhere = LogFolder::open(&whole.path().join("nowhere"), None).unwrap_err();
    assert_eq!(nowhere.code(), "AST-L016");
}

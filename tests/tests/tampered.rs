//! A campaign as it was recorded, and every way to change its sealed folder afterwards: by somebody who can write the
//! files, and by somebody who can seal them anew but has no key. `asterism-replay verify` finds each, says where, and
//! neither panics nor takes memory for what a file claims. A random tenth by default; all with `ASTERISM_TEST_FULL=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use asterism_event_log::testkit::{Script, forge};
use asterism_event_log::{LogFolder, StoredFrame, StreamAt};
use asterism_proto::frame::events_root;
use asterism_proto::{OpenFrame, OriginKey};
use asterism_tests::stack::{program, root};
use prost::Message;
use serde_json::Value;

/// Everybody answers or is busy, at once.
const CALLEES: &str = "ring = { min_ms = 10, max_ms = 50 }\n[weights]\npress_1 = 1\npress_2 = 0\npress_nothing = 0\n\
    hang_up_early = 0\nbusy = 1\ndeclined = 0\nnot_found = 0\nunavailable = 0\ncongested = 0\nno_answer = 0\nsilent = 0\n";
/// Address space the auditor's program may use, kB: a length in a file must not become an allocation.
const MEMORY_KB: u32 = 1 << 20;
/// Bits turned in each kind of file.
const FLIPS: usize = 160;

/// A recorded campaign.
struct Recorded {
    dir: tempfile::TempDir,
    frames: Vec<StoredFrame>,
    /// First position of each frame, and the log's size.
    positions: Vec<u64>,
    /// The newest checkpoint the ledger has published.
    checkpoint: PathBuf,
}

impl Recorded {
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("callees.toml"), CALLEES).unwrap();
        let server =
            asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
        let mut up = Command::new(program("asterism"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASTERISM_")) {
            up.env_remove(name);
        }
        up.args([
            "--json",
            "up",
            "--demo",
            "--exit",
            "--contacts",
            "60",
            "--max-nodes",
            "2",
            "--dir",
            "fleet",
        ])
        .args(["--callees", "callees.toml", "--set", "ledger.seal_every_ms=1000"])
        .args(["--set", "ledger.checkpoint_every_ms=500", "--set", "log.seal_events=100"])
        .arg("--nats-server")
        .arg(server)
        .arg("--demo-files")
        .arg(root().join("compose/demo"))
        .current_dir(dir.path())
        .stdin(Stdio::null());
        let output = up.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
        let log = dir.path().join("fleet/log");
        let frames: Vec<StoredFrame> =
            LogFolder::open(&log, None).unwrap().frames().map(|frame| frame.unwrap().to_stored()).collect();
        let archive = fs::read_dir(dir.path().join("fleet/archive/log")).unwrap().next().unwrap().unwrap();
        let checkpoints = files(&archive.path().join("ck"));
        let checkpoint = checkpoints.last().expect("the ledger has published checkpoints").clone();
        let mut positions = vec![0];
        positions.extend(frames.iter().scan(0, |size, frame| {
            *size += frame.frame.events.len() as u64;
            Some(*size)
        }));
        Self { dir, frames, positions, checkpoint }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("fleet/log")
    }

    fn segments(&self) -> Vec<PathBuf> {
        files(&self.log()).into_iter().filter(|path| name(path).starts_with("segment-")).collect()
    }

    /// What the auditor is told of a folder: a report, or an error that names it.
    fn verify(&self, folder: &Path) -> Told {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KB}; exec \"$0\" \"$@\"")])
            .arg(program("asterism-replay"))
            .args(["verify", "--json", "--checkpoint"])
            .arg(&self.checkpoint)
            .arg(folder)
            .output()
            .unwrap();
        Told::read(output)
    }
}

/// What `verify` said.
#[derive(Debug)]
struct Told {
    ok: bool,
    first_bad: Option<u64>,
    trusted: u64,
    tiles_gone: u64,
    root: String,
    text: String,
}

impl Told {
    fn read(output: Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {said}", output.status);
        assert!(!said.contains("panicked"), "{said}");
        let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
            assert!(output.status.code() == Some(1) && said.contains("AST-"), "{said}");
            return Self {
                ok: false,
                first_bad: None,
                trusted: 0,
                tiles_gone: 0,
                root: String::new(),
                text: said,
            };
        };
        let ok = report["replay_ok"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!ok)));
        Self {
            ok,
            first_bad: report["first_bad"].as_u64(),
            trusted: report["trusted"].as_u64().unwrap(),
            tiles_gone: report["tiles"]["unchecked"].as_u64().unwrap(),
            root: report["root"].as_str().unwrap().to_owned(),
            text: report["problems"].to_string(),
        }
    }
}

/// The files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// A copy of the sealed folder, to be changed.
fn copied(log: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in files(log) {
        let to = copy.path().join(path.strip_prefix(log).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, to).unwrap();
    }
    copy
}

/// A small generator: a failure names the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn dice() -> Dice {
    let seed = std::env::var("ASTERISM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed =
        seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1);
    println!("ASTERISM_SEED={seed}");
    Dice(seed)
}

/// All of a large count, or a tenth.
fn share(count: usize) -> usize {
    if std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|full| full == "1") { count } else { count / 10 }
}

fn flip(path: &Path, dice: &mut Dice) -> String {
    let length = fs::metadata(path).unwrap().len() as usize;
    let (at, bit) = (dice.below(length), dice.below(8));
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at as u64).unwrap();
    format!("bit {bit} of byte {at} of {}", path.display())
}

#[test]
fn every_change_of_a_recorded_campaign_is_found_and_named() {
    let recorded = Recorded::make();
    let mut dice = dice();
    let whole = recorded.verify(&recorded.log());
    assert!(whole.ok && whole.tiles_gone == 0, "{whole:?}");
    assert!(recorded.segments().len() >= 4, "a log of several segments: {:?}", recorded.segments());
    turned_bits(&recorded, &whole, &mut dice);
    cut_lost_and_swapped(&recorded, &mut dice);
    rolled_back(&recorded);
    sealed_anew(&recorded, &mut dice);
}

/// In every file of the folder. What is the log, or derived from it, is found; what the owner keeps for itself changes
/// nothing that is said of the log.
fn turned_bits(recorded: &Recorded, whole: &Told, dice: &mut Dice) {
    let log = recorded.log();
    let relative: Vec<PathBuf> = files(&log)
        .iter()
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .map(|path| path.strip_prefix(&log).unwrap().to_owned())
        .collect();
    let is = |path: &Path, kind: &str| path.to_string_lossy().starts_with(kind);
    for kind in ["segment-", "tile/", "snapshot-", ""] {
        let of_kind: Vec<&PathBuf> = relative
            .iter()
            .filter(|path| match kind {
                "" => !["segment-", "tile/", "snapshot-"].iter().any(|kind| is(path, kind)),
                kind => is(path, kind),
            })
            .collect();
        for _ in 0..share(if kind == "segment-" { 2 * FLIPS } else { FLIPS / 2 }) {
            let copy = copied(&log);
            let file = copy.path().join(dice.of(&of_kind));
            let what = flip(&file, dice);
            let told = recorded.verify(copy.path());
            if kind.is_empty() {
                let same = told.ok && told.root == whole.root;
                assert!(same || !told.ok, "{what}: {told:?}");
                continue;
            }
            assert!(!told.ok, "{what}: {told:?}");
            assert!(
                told.text.contains(&name(&file)) || told.first_bad.is_some(),
                "{what} is not named: {told:?}"
            );
            if kind == "segment-" {
                // Found where the segment begins, or in it.
                let from: u64 = name(&file)[8..28].parse().unwrap();
                assert!(
                    told.first_bad.is_none_or(|bad| bad >= from) && told.trusted <= whole.trusted,
                    "{what}"
                );
            } else {
                assert!(told.text.contains(&name(&file)) && told.first_bad.is_none(), "{what}: {told:?}");
                assert_eq!(
                    (told.trusted, &told.root),
                    (whole.trusted, &whole.root),
                    "the log itself is sound"
                );
            }
        }
    }
}

fn cut_lost_and_swapped(recorded: &Recorded, dice: &mut Dice) {
    let segments: Vec<String> = recorded.segments().iter().map(|path| name(path)).collect();
    let first = |segment: &str| segment[8..28].parse::<u64>().unwrap();
    // A log of somebody else, cut at the same places.
    let strange = tempfile::tempdir().unwrap();
    let other = Script::with_frames(200);
    let frames: Vec<StoredFrame> = other.accepted.iter().map(|frame| frame.to_stored()).collect();
    forge(strange.path(), &frames, 40);
    let strangers = files(strange.path());
    for segment in &segments {
        let copy = copied(&recorded.log());
        fs::remove_file(copy.path().join(segment)).unwrap();
        let told = recorded.verify(copy.path());
        assert!(!told.ok, "{segment} is gone: {told:?}");
        assert!(told.first_bad.is_none_or(|bad| bad == first(segment)), "{segment} is gone: {told:?}");
        assert!(told.trusted <= first(segment));

        let copy = copied(&recorded.log());
        let path = copy.path().join(segment);
        let length = fs::metadata(&path).unwrap().len();
        let cut = dice.below(length as usize) as u64;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let told = recorded.verify(copy.path());
        assert!(!told.ok && told.text.contains(segment.as_str()), "{segment} cut to {cut}: {told:?}");

        let copy = copied(&recorded.log());
        let another = dice.of(&segments);
        if another != segment {
            fs::copy(recorded.log().join(another), copy.path().join(segment)).unwrap();
            let told = recorded.verify(copy.path());
            assert!(!told.ok, "{another} as {segment}: {told:?}");
            assert!(told.text.contains(segment.as_str()), "{another} as {segment}: {told:?}");
        }
        fs::copy(dice.of(&strangers), copy.path().join(segment)).unwrap();
        let told = recorded.verify(copy.path());
        // A stranger's first segment in the first one's place makes it the stranger's log, which is not the one asked about.
        let another_log = told.text.contains("it is of another log");
        assert!(
            !told.ok && (told.trusted <= first(segment) || another_log && first(segment) == 0),
            "a stranger's as {segment}: {told:?}"
        );
    }
    let copy = copied(&recorded.log());
    let tile = files(&copy.path().join("tile")).swap_remove(0);
    fs::remove_file(tile).unwrap();
    let told = recorded.verify(copy.path());
    assert!(
        told.ok && told.tiles_gone == 1,
        "a tile is derived: that it is gone is said, and no fault: {told:?}"
    );
}

/// Every prefix of its segments is a sound log: only the checkpoint kept outside tells, and HEAD, where there is one.
fn rolled_back(recorded: &Recorded) {
    let segments = recorded.segments();
    for kept in 1..segments.len() {
        let copy = tempfile::tempdir().unwrap();
        for segment in &segments[..kept] {
            fs::copy(segment, copy.path().join(name(segment))).unwrap();
        }
        let end: u64 = name(&segments[kept - 1])[29..49].parse().unwrap();
        let told = recorded.verify(copy.path());
        assert!(!told.ok && told.text.contains("it was rolled back or cut"), "{kept} segments: {told:?}");
        assert_eq!(told.first_bad, Some(end));
        fs::copy(recorded.log().join("HEAD"), copy.path().join("HEAD")).unwrap();
        let told = recorded.verify(copy.path());
        assert!(!told.ok && told.text.contains("HEAD says that"), "{kept} segments: {told:?}");
    }
}

type Forgery = fn(&mut Vec<StoredFrame>, usize);

/// Every checksum, hash, index and footer is right; only the keys are missing.
fn sealed_anew(recorded: &Recorded, dice: &mut Dice) {
    let forgeries: [(&str, Forgery); 7] = [
        ("an event changed under the old header", |frames, at| {
            *frames[at].frame.events[0].last_mut().unwrap() ^= 1;
        }),
        ("an event changed with a header that fits it", |frames, at| {
            let mut inner = frames[at].frame.clone();
            *inner.events[0].last_mut().unwrap() ^= 1;
            inner.header.events_root = events_root(&inner.events).to_vec();
            inner.header_bytes = inner.header.encode_to_vec();
            frames[at] = StoredFrame::new(inner, frames[at].record_time_ms, frames[at].at);
        }),
        ("a frame signed by another key", |frames, at| {
            let signature = OriginKey::from_entropy([9; 32]).sign(&frames[at].frame.header_bytes);
            frames[at].frame.signature = signature.to_vec();
        }),
        ("a frame dropped", |frames, at| drop(frames.remove(at))),
        ("a frame told twice", |frames, at| {
            let OpenFrame { .. } = &frames[at].frame;
            let again = StoredFrame::new(frames[at].frame.clone(), frames[at].record_time_ms, frames[at].at);
            frames.insert(at + 1, again);
        }),
        ("two frames in each other's place and time", |frames, at| {
            let (one, other) = (frames[at].clone(), frames[at + 1].clone());
            frames[at] = StoredFrame::new(other.frame, one.record_time_ms, one.at);
            frames[at + 1] = StoredFrame::new(one.frame, other.record_time_ms, other.at);
        }),
        ("a minute later than it was", |frames, at| {
            for frame in &mut frames[at..] {
                let place = StreamAt { time_ms: frame.at.time_ms + 60_000, ..frame.at };
                *frame = StoredFrame::new(frame.frame.clone(), frame.record_time_ms + 60_000, place);
            }
        }),
    ];
    for round in 0..share(2 * FLIPS).max(2 * forgeries.len()) {
        let (what, forgery) = forgeries[round % forgeries.len()];
        let at = dice.below(recorded.frames.len() - 1);
        let mut frames = recorded.frames.clone();
        forgery(&mut frames, at);
        let folder = tempfile::tempdir().unwrap();
        if frames.is_empty() {
            continue;
        }
        forge(folder.path(), &frames, 100);
        let told = recorded.verify(folder.path());
        assert!(!told.ok, "{what}, frame {at}: {told:?}");
        let position = recorded.positions[at];
        assert!(told.trusted <= position, "{what}, frame {at} at {position}: {told:?}");
        let bad = told.first_bad.unwrap_or(0);
        // Found at its place, or by the next checkpoint, which says from where on nothing is claimed.
        assert!(bad >= told.trusted, "{what}, frame {at}: {told:?}");
        assert!(told.first_bad.is_some() || told.text.contains("AST-L"), "{what}, frame {at}: {told:?}");
    }
}

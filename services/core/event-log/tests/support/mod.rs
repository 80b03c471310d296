//! What the fault tests share: a script of frames, dice with a printed seed, children that run this very program.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use asterism_event_log::copy::Opened;
use asterism_event_log::segment::{Backend, EachBlock, OpenStore, SegmentStore};
use asterism_event_log::testkit::{FLEET, Script};
use asterism_event_log::{AcceptedFrame, Copy, Error, Sequencer, StreamAt, Verdict};
use asterism_proto::hash::Hash;

/// Both backends, which pass the same tests.
pub const BACKENDS: [Backend; 2] = [Backend::Sled, Backend::File];

/// Random numbers (xorshift) from a seed that is printed: a failure can be repeated with `ASTERISM_TEST_SEED`.
pub struct Dice(u64);

impl Dice {
    /// A seed of this moment, or the one asked for.
    pub fn thrown(test: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("ASTERISM_TEST_SEED").map_or(now, |seed| seed.parse().unwrap());
        say(&format!("{test}: ASTERISM_TEST_SEED={seed}"));
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// All of a large count with `ASTERISM_TEST_FULL=1`, else a tenth.
pub fn share(count: u64) -> u64 {
    if std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|full| full == "1") { count } else { count / 10 }
}

/// One line on standard error, whole or not at all.
pub fn say(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes the frames of a script where children find them.
pub fn keep(script: &Script, path: &Path) {
    let mut bytes = Vec::new();
    for (frame, at) in &script.frames {
        bytes.extend_from_slice(&(frame.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&at.sequence.to_be_bytes());
        bytes.extend_from_slice(&at.time_ms.to_be_bytes());
        bytes.extend_from_slice(frame);
    }
    std::fs::write(path, bytes).unwrap();
}

/// Reads what [`keep`] wrote.
pub fn kept(path: &Path) -> Vec<(Vec<u8>, StreamAt)> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let number = |index: usize| u64::from_be_bytes(rest[index * 8..][..8].try_into().unwrap());
        let at = StreamAt { sequence: number(1), time_ms: number(2) };
        let length = number(0) as usize;
        frames.push((rest[24..24 + length].to_vec(), at));
        rest = &rest[24 + length..];
    }
    frames
}

/// Opens a copy and returns what was replayed too.
pub fn open(folder: &Path, backend: Backend) -> (Opened, Vec<AcceptedFrame>) {
    let mut frames = Vec::new();
    let opened =
        Copy::open_with(folder, FLEET, None, Box::new(backend), |frame| frames.push(frame.clone())).unwrap();
    (opened, frames)
}

/// Judges and appends these frames of a script and commits after every `group`.
pub fn write(opened: &mut Opened, frames: &[(Vec<u8>, StreamAt)], group: usize) {
    for (index, (bytes, at)) in frames.iter().enumerate() {
        let frame = judge(&mut opened.sequencer, bytes, *at);
        opened.copy.append(&frame).unwrap();
        if (index + 1) % group == 0 || index + 1 == frames.len() {
            let durable = opened.copy.commit(opened.sequencer.root()).unwrap();
            assert_eq!(durable.size, opened.sequencer.size());
        }
    }
}

/// Judges a frame that must be accepted.
pub fn judge(sequencer: &mut Sequencer, bytes: &[u8], at: StreamAt) -> AcceptedFrame {
    match sequencer.judge(bytes, at) {
        Verdict::Accepted(frame) => frame,
        other => panic!("a frame of the script is {other:?}"),
    }
}

/// The log's size and root after each frame of a script.
pub fn roots(script: &Script) -> Vec<(u64, Hash)> {
    let mut sequencer = Sequencer::new(FLEET, None);
    let mut roots = vec![(0, sequencer.root())];
    for (bytes, at) in &script.frames {
        judge(&mut sequencer, bytes, *at);
        roots.push((sequencer.size(), sequencer.root()));
    }
    roots
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) {
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

/// What a store is about to do, or has just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before a store is opened.
    Open,
    /// Before a block is written.
    Append,
    /// Before a sync.
    Sync,
    /// After a sync, when HEAD is written.
    Synced,
    /// Before all blocks are read, as by a seal.
    Scan,
}

type Told = Arc<dyn Fn(Moment) + Send + Sync>;

/// A backend that tells what it is doing.
pub struct Telling {
    /// The backend.
    pub backend: Backend,
    /// Who is told.
    pub told: Told,
}

struct TellingStore {
    inner: Box<dyn SegmentStore>,
    told: Told,
}

impl OpenStore for Telling {
    fn open(&self, folder: &Path) -> Result<Box<dyn SegmentStore>, Error> {
        (self.told)(Moment::Open);
        let inner = self.backend.open(folder)?;
        Ok(Box::new(TellingStore { inner, told: self.told.clone() }))
    }
}

impl SegmentStore for TellingStore {
    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), Error> {
        (self.told)(Moment::Append);
        self.inner.append(first, block)
    }
    fn sync(&mut self) -> Result<(), Error> {
        (self.told)(Moment::Sync);
        self.inner.sync()?;
        (self.told)(Moment::Synced);
        Ok(())
    }
    fn scan(&mut self, each: &mut EachBlock<'_>) -> Result<(), Error> {
        (self.told)(Moment::Scan);
        self.inner.scan(each)
    }
    fn last(&mut self) -> Result<Option<u64>, Error> {
        self.inner.last()
    }
    fn truncate(&mut self, from: u64) -> Result<(), Error> {
        self.inner.truncate(from)
    }
}

/// A process that runs one test of this program; killed and reaped when it is dropped.
pub struct Running {
    /// The process.
    pub child: Child,
    /// What it says, line by line.
    pub lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// Starts the test of that name with these settings, one of which tells it that it is the child.
    pub fn start(test: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Name of a backend, and back.
pub fn named(backend: Backend) -> &'static str {
    if backend == Backend::Sled { "sled" } else { "file" }
}

/// The backend of that name.
pub fn backend_of(name: &str) -> Backend {
    BACKENDS.into_iter().find(|backend| named(*backend) == name).unwrap()
}

//! `log-append`: how fast published frames become durable in a copy of the log.
//!
//! As in every service, one thread decodes each frame and checks its signature and rules, and the copy's own thread
//! appends and commits by group. The baseline puts the very same blocks into a bare sled database, with the same flush and
//! fdatasync for each group. The naive control, in detail, inserts, flushes and syncs every event by itself; the product on
//! one thread is there too.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_event_log::block::{Block, pack};
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use asterism_event_log::{AcceptedFrame, Copy, Opened, Sequencer};
use asterism_proto::hash::{Hash, empty_root};
use serde_json::json;

use super::corpus::{self, Corpus, FLEET};
use super::probe;
use super::report::{Figure, median, rounded, scratch, spread};

/// Rounds; each writes a copy and a bare database from nothing.
const ROUNDS: usize = 7;
/// Events of a round.
const EVENTS: usize = 200_000;
/// Events of the naive control in a round.
const NAIVE_EVENTS: usize = 500;
/// Frames that may wait for the copy's thread, as in a service.
pub const QUEUE_FRAMES: usize = 4_096;
/// Soft bound on sled's page cache, as the product has it.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// What a copy commits at once.
pub struct Group {
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Frames up to its end.
    pub frames: usize,
}

/// The input of a round.
struct Input {
    frames: Vec<Vec<u8>>,
    groups: Vec<Group>,
    events: u64,
    naive: Vec<Vec<u8>>,
    root: [u8; 32],
}

/// Measures both sides.
pub fn run() -> anyhow::Result<Figure> {
    let input = Input::make()?;
    let (mut product, mut raw, mut naive, mut judged) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut single = Vec::new();
    let dir = scratch()?;
    for round in 0..=ROUNDS {
        let home = dir.path().join(round.to_string());
        std::fs::create_dir(&home)?;
        let events = input.events as f64;
        let (copy_s, judge_s) = (copy(&home.join("log"), &input, on_two_threads)?, judge(&input)?);
        let single_s = copy(&home.join("single"), &input, on_one_thread)?;
        let (raw_s, naive_s) = (bare(&home.join("raw"), &input)?, one_by_one(&home.join("naive"), &input)?);
        std::fs::remove_dir_all(&home)?;
        if round > 0 {
            // the first one warms up
            product.push(events / copy_s);
            single.push(events / single_s);
            judged.push(events / judge_s);
            raw.push(events / raw_s);
            naive.push(NAIVE_EVENTS as f64 / naive_s);
        }
    }
    let ratios: Vec<f64> = product.iter().zip(&raw).map(|(product, raw)| product / raw).collect();
    let over_naive: Vec<f64> = product.iter().zip(&naive).map(|(product, naive)| product / naive).collect();
    let blocks = || input.groups.iter().flat_map(|group| &group.blocks);
    let block_bytes: usize = blocks().map(|block| block.bytes.len()).sum();
    Ok(Figure {
        value: median(&product),
        unit: "events/s",
        baseline: Some(median(&raw)),
        ratio: Some(median(&ratios)),
        note: format!(
            "published frames decoded, signatures and rules checked, appended and committed every {GROUP_COMMIT_EVENTS} events \
             on the copy's thread; baseline: the same blocks in bare sled with the same flush and fdatasync"
        ),
        detail: json!({
            "events_per_s": spread(&product),
            "on_one_thread_events_per_s": spread(&single),
            "raw_sled_events_per_s": spread(&raw),
            "ratio": spread(&ratios),
            "one_insert_and_sync_per_event": spread(&naive),
            "over_one_insert_and_sync_per_event": spread(&over_naive),
            "decode_and_judge_alone_events_per_s": spread(&judged),
            "events": input.events,
            "frames": input.frames.len(),
            "blocks": blocks().count(),
            "commits": input.groups.len(),
            "block_bytes_per_event": rounded(block_bytes as f64 / input.events as f64),
            "fsync_probe": probe::fsync(dir.path())?,
        }),
    })
}

impl Input {
    fn make() -> anyhow::Result<Self> {
        let (frames, events) = Corpus::load()?.published(EVENTS)?;
        let (accepted, sequencer) = corpus::accept_all(&frames)?;
        let naive = accepted.iter().flat_map(|frame| frame.frame.events.iter().map(<[u8]>::to_vec));
        Ok(Self {
            groups: groups(&accepted),
            events,
            naive: naive.take(NAIVE_EVENTS).collect(),
            root: sequencer.root(),
            frames,
        })
    }
}

/// The blocks of each commit, as a copy packs them.
pub fn groups(accepted: &[AcceptedFrame]) -> Vec<Group> {
    let (mut groups, mut open, mut previous) = (Vec::new(), Vec::new(), None);
    let (mut pending, last) = (0, accepted.len());
    for (frames, frame) in (1..).zip(accepted) {
        pending += frame.leaves.len();
        open.push(frame.clone());
        if pending >= GROUP_COMMIT_EVENTS || frames == last {
            let blocks = pack(previous.unwrap_or_else(empty_root), &open);
            previous = blocks.last().map(|block| block.hash);
            groups.push(Group { blocks, frames });
            (pending, open) = (0, Vec::new());
        }
    }
    groups
}

/// One side of the product; reopened afterwards, untimed, to see that everything is there.
fn copy(
    folder: &Path,
    input: &Input,
    write: fn(Opened, &[Vec<u8>]) -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let opened = Copy::open(folder, FLEET, None, |_| {})?;
    let began = Instant::now();
    let durable = write(opened, &input.frames)?;
    let took = began.elapsed().as_secs_f64();
    ensure!(durable == input.events, "{durable} events are durable");
    let mut seen = 0;
    let again = Copy::open(folder, FLEET, None, |frame| seen += frame.leaves.len() as u64)?;
    ensure!(
        seen == input.events && again.repaired.is_none(),
        "{seen} events are there: {:?}",
        again.repaired
    );
    ensure!(again.sequencer.root() == input.root, "the copy has another root");
    Ok(took)
}

fn on_one_thread(mut opened: Opened, frames: &[Vec<u8>]) -> anyhow::Result<u64> {
    for (index, bytes) in (0..).zip(frames) {
        let frame = corpus::accept(&mut opened.sequencer, bytes, index)?;
        opened.copy.append(&frame)?;
        if opened.copy.pending() >= GROUP_COMMIT_EVENTS {
            opened.copy.commit(opened.sequencer.root())?;
        }
    }
    Ok(opened.copy.commit(opened.sequencer.root())?.size)
}

fn on_two_threads(opened: Opened, frames: &[Vec<u8>]) -> anyhow::Result<u64> {
    let Opened { copy, mut sequencer, .. } = opened;
    let (frames_in, queue) = mpsc::sync_channel(QUEUE_FRAMES);
    let keeper = std::thread::spawn(move || keep(copy, &queue));
    for (index, bytes) in (0..).zip(frames) {
        let frame = corpus::accept(&mut sequencer, bytes, index)?;
        frames_in.send((frame, sequencer.root())).context("the copy ended")?;
    }
    drop(frames_in);
    keeper.join().ok().context("the copy's thread panicked")?
}

/// The copy's thread: appends and commits until there is nothing more; returns what is durable.
pub fn keep(mut copy: Copy, queue: &mpsc::Receiver<(AcceptedFrame, Hash)>) -> anyhow::Result<u64> {
    let mut newest = None;
    while let Ok((frame, root)) = queue.recv() {
        copy.append(&frame)?;
        newest = Some(root);
        if copy.pending() >= GROUP_COMMIT_EVENTS {
            copy.commit(root)?;
        }
    }
    Ok(copy.commit(newest.context("no frames")?)?.size)
}

/// Decoding and judging, without a copy.
fn judge(input: &Input) -> anyhow::Result<f64> {
    let mut sequencer = Sequencer::new(FLEET, None);
    let began = Instant::now();
    for (index, bytes) in (0..).zip(&input.frames) {
        corpus::accept(&mut sequencer, bytes, index)?;
    }
    let took = began.elapsed().as_secs_f64();
    ensure!(sequencer.root() == input.root, "another root");
    Ok(took)
}

pub fn open_bare(folder: &Path) -> anyhow::Result<(sled::Db, File)> {
    let db = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
    let file = File::open(folder.join("db"))?;
    file.sync_all()?;
    Ok((db, file))
}

/// Bare sled: its flush is no fsync on Linux, so its file is synced as well.
fn bare(folder: &Path, input: &Input) -> anyhow::Result<f64> {
    let (db, file) = open_bare(folder)?;
    let began = Instant::now();
    for group in &input.groups {
        insert(&db, &file, group)?;
    }
    let took = began.elapsed().as_secs_f64();
    let blocks: usize = input.groups.iter().map(|group| group.blocks.len()).sum();
    ensure!(db.len() == blocks, "{} blocks are there", db.len());
    Ok(took)
}

/// The blocks of one commit into bare sled.
pub fn insert(db: &sled::Db, file: &File, group: &Group) -> anyhow::Result<()> {
    for block in &group.blocks {
        db.insert(block.first.to_be_bytes(), block.bytes.as_slice())?;
    }
    db.flush()?;
    Ok(file.sync_data()?)
}

fn one_by_one(folder: &Path, input: &Input) -> anyhow::Result<f64> {
    let (db, file) = open_bare(folder)?;
    let began = Instant::now();
    for (index, event) in (0_u64..).zip(&input.naive) {
        db.insert(index.to_be_bytes(), event.as_slice())?;
        db.flush()?;
        file.sync_data()?;
    }
    let took = began.elapsed().as_secs_f64();
    ensure!(db.len() == NAIVE_EVENTS, "{} events are there", db.len());
    Ok(took)
}

//! `log-reopen`: opening a copy whose hot segment has a million events, all of it checked again: checksums, chain,
//! signatures, rules, tree. The baseline reads the same files one after the other and hashes them. In detail: the same
//! events where most are sealed and a snapshot's sequencer answers for them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use asterism_event_log::{Copy, Opened, Sequencer};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::corpus::{self, Corpus, FLEET};
use super::report::{Figure, median, rounded, scratch, spread};

const ROUNDS: usize = 3;
/// Events of the hot segment.
const EVENTS: u64 = 1_000_000;
/// Of them sealed, where there is a snapshot: a hot segment is half full on average.
const SEALED_EVENTS: u64 = 500_000;

/// Measures both sides.
pub fn run() -> anyhow::Result<Figure> {
    let dir = scratch()?;
    let (events, root) = write(dir.path())?;
    let behind = scratch()?;
    let snapshot = write_sealed(behind.path())?;
    let (mut reopened, mut hashed, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut from_snapshot = Vec::new();
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let opened = Copy::open(dir.path(), FLEET, None, |_| {})?;
        let took = began.elapsed().as_secs_f64();
        ensure!(opened.repaired.is_none() && opened.sequencer.size() == events, "{:?}", opened.repaired);
        ensure!(opened.sequencer.root() == root, "another root");
        drop(opened);
        let began = Instant::now();
        bytes = read(dir.path())?;
        let read_s = began.elapsed().as_secs_f64();
        let (sequencer, mut seen) = (snapshot.clone(), snapshot.size());
        let began = Instant::now();
        let opened = Copy::open_behind(behind.path(), sequencer, |frame| seen = frame.end())?;
        let snapshot_s = began.elapsed().as_secs_f64();
        ensure!(opened.sequencer.root() == root && seen == events, "another log, of {seen} events");
        drop(opened);
        if round > 0 {
            // the first one warms up
            reopened.push(took);
            hashed.push(read_s);
            from_snapshot.push(snapshot_s);
        }
    }
    let ratios: Vec<f64> = reopened.iter().zip(&hashed).map(|(ours, bare)| ours / bare).collect();
    Ok(Figure {
        value: median(&reopened),
        unit: "s",
        baseline: Some(median(&hashed)),
        ratio: Some(median(&ratios)),
        note: "a copy opened, every frame of its hot segment checked by signature and rules; baseline: its files read and \
               hashed (SHA-256); both from the page cache"
            .to_owned(),
        detail: json!({
            "reopen_s": spread(&reopened),
            "read_and_hash_s": spread(&hashed),
            "from_a_snapshot_s": spread(&from_snapshot),
            "from_a_snapshot_events_behind": events - snapshot.size(),
            "ratio": spread(&ratios),
            "events": events,
            "events_per_s": rounded(events as f64 / median(&reopened)),
            "file_bytes": bytes,
        }),
    })
}

fn write(folder: &Path) -> anyhow::Result<(u64, [u8; 32])> {
    let mut opened = Copy::open(folder, FLEET, None, |_| {})?;
    fill(&mut opened, |_| Ok(()))?;
    let root = opened.sequencer.root();
    Ok((opened.copy.commit(root)?.size, root))
}

/// Seals once, and returns the sequencer as it stood there.
fn write_sealed(folder: &Path) -> anyhow::Result<Sequencer> {
    let mut opened = Copy::open(folder, FLEET, None, |_| {})?;
    let mut snapshot = None;
    fill(&mut opened, |opened| {
        if opened.sequencer.size() >= SEALED_EVENTS && snapshot.is_none() {
            opened.copy.seal()?;
            snapshot = Some(opened.sequencer.clone());
        }
        Ok(())
    })?;
    opened.copy.commit(opened.sequencer.root())?;
    snapshot.context("nothing was sealed")
}

fn fill(opened: &mut Opened, mut each: impl FnMut(&mut Opened) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    for (index, frame) in (0..).zip(corpus.frames()) {
        let frame = corpus::accept(&mut opened.sequencer, &frame?.0, index)?;
        opened.copy.append(&frame)?;
        if opened.copy.pending() >= 8 * GROUP_COMMIT_EVENTS {
            opened.copy.commit(opened.sequencer.root())?;
        }
        each(opened)?;
        if opened.sequencer.size() >= EVENTS {
            break;
        }
    }
    Ok(())
}

fn read(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += read(&entry.path())?;
            continue;
        }
        let (mut file, mut hasher, mut buffer) = (File::open(entry.path())?, Sha256::new(), vec![0; 1 << 20]);
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            hasher.update(buffer.get(..length).unwrap_or_default());
            bytes += length as u64;
        }
        std::hint::black_box(hasher.finalize());
    }
    Ok(bytes)
}

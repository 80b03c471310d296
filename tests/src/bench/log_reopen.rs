//! `log-reopen`: opening a copy whose hot segment has a million events, all of it checked again: checksums, chain,
//! signatures, rules, tree. The baseline reads the same files one after the other and hashes them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use asterism_event_log::Copy;
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::corpus::{self, Corpus, FLEET};
use super::report::{Figure, median, rounded, scratch, spread};

const ROUNDS: usize = 3;
/// Events of the hot segment.
const EVENTS: u64 = 1_000_000;

/// Measures both sides.
pub fn run() -> anyhow::Result<Figure> {
    let dir = scratch()?;
    let (events, root) = write(dir.path())?;
    let (mut reopened, mut hashed, mut bytes) = (Vec::new(), Vec::new(), 0);
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
        if round > 0 {
            // the first one warms up
            reopened.push(took);
            hashed.push(read_s);
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
            "ratio": spread(&ratios),
            "events": events,
            "events_per_s": rounded(events as f64 / median(&reopened)),
            "file_bytes": bytes,
        }),
    })
}

fn write(folder: &Path) -> anyhow::Result<(u64, [u8; 32])> {
    let corpus = Corpus::load()?;
    let mut opened = Copy::open(folder, FLEET, None, |_| {})?;
    for (index, frame) in (0..).zip(corpus.frames()) {
        let frame = corpus::accept(&mut opened.sequencer, &frame?.0, index)?;
        opened.copy.append(&frame)?;
        if opened.copy.pending() >= 8 * GROUP_COMMIT_EVENTS {
            opened.copy.commit(opened.sequencer.root())?;
        }
        if opened.sequencer.size() >= EVENTS {
            break;
        }
    }
    let root = opened.sequencer.root();
    Ok((opened.copy.commit(root)?.size, root))
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

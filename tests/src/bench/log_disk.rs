//! `log-disk`: what sealing leaves of the events' bytes, index and tiles counted; and what a search in it opens.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_domain::wire;
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use asterism_event_log::merkle::Frontier;
use asterism_event_log::proof::{self, Nodes};
use asterism_event_log::sealed::{Key, Reader};
use asterism_event_log::tiles::TileFolder;
use asterism_event_log::{Copy, LogFolder};
use asterism_proto::v1;
use prost::Message;
use serde_json::json;

use super::corpus::{self, Corpus, FLEET};
use super::report::{Figure, rounded, scratch, spread};

/// Events sealed.
const EVENTS: usize = 1 << 20;
/// Events proved.
const PROOFS: u64 = 20;
/// Calls looked for.
const SEARCHES: usize = 20;

/// Seals and measures.
pub fn run() -> anyhow::Result<Figure> {
    let dir = scratch()?;
    let corpus = Corpus::load()?;
    let (mut raw, mut calls) = (0, Vec::new());
    let mut opened = Copy::open(dir.path(), FLEET, None, |_| {})?;
    opened.copy.index_contacts(wire::contacts_of);
    for (index, frame) in (0..).zip(corpus.frames()) {
        let bytes = frame?.0;
        raw += bytes.len() as u64;
        let frame = corpus::accept(&mut opened.sequencer, &bytes, index)?;
        if let Some(event) = frame.frame.events.first().filter(|_| index % 800 == 400) {
            calls.push(v1::Event::decode(event)?.correlation);
        }
        opened.copy.append(&frame)?;
        if opened.copy.pending() >= GROUP_COMMIT_EVENTS {
            opened.copy.commit(opened.sequencer.root())?;
        }
        if opened.sequencer.size() >= EVENTS as u64 {
            break;
        }
    }
    let events = opened.sequencer.size();
    let hot = opened.copy.unsealed_bytes();
    let began = Instant::now();
    let segment = opened.copy.seal()?.context("nothing was sealed")?;
    let sealed_s = began.elapsed().as_secs_f64();
    let tiles = bytes_below(&dir.path().join("tile"))?;
    let prove_ms = prove(dir.path(), opened.sequencer.tree())?;
    let footer = *Reader::open(&segment.path)?.footer();
    ensure!(footer.end == events && footer.root == opened.sequencer.root(), "the sealed file is another log");
    let searches = search(dir.path(), &calls)?;
    let value = (segment.size + tiles) as f64 / raw as f64;
    Ok(Figure {
        value,
        unit: "sealed bytes per raw byte",
        baseline: None,
        ratio: None,
        note: "one sealed segment with index, and the tiles of its tree, against the bytes of the frames as published"
            .to_owned(),
        detail: json!({
            "events": events,
            "raw_bytes": raw,
            "hot_block_bytes": hot,
            "segment_bytes": segment.size,
            "index_bytes": footer.index.map(|index| index.bytes),
            "tile_bytes": tiles,
            "segment_per_raw": rounded(segment.size as f64 / raw as f64),
            "tiles_per_raw": rounded(tiles as f64 / raw as f64),
            "seal_s": rounded(sealed_s),
            "inclusion_proof_ms": spread(&prove_ms),
            "searches": searches,
        }),
    })
}

/// Proofs from tiles and sealed events, each from a folder that was not read yet, ms.
fn prove(folder: &Path, tree: &Frontier) -> anyhow::Result<Vec<f64>> {
    let (size, root) = (tree.size(), tree.root());
    (0..PROOFS)
        .map(|number| {
            let position = number * (size / PROOFS) + 77;
            let began = Instant::now();
            let mut tiles = TileFolder::new(folder, size);
            let path = proof::inclusion(&mut tiles, position, size)?.context("no such event")?;
            let leaf = tiles.node(0, position)?;
            let took = began.elapsed().as_secs_f64();
            ensure!(proof::check_inclusion(&leaf, position, size, &path, &root), "the proof is false");
            Ok(took * 1e3)
        })
        .collect()
}

/// Looks for calls by the index, and once without.
fn search(folder: &Path, calls: &[String]) -> anyhow::Result<serde_json::Value> {
    let log = LogFolder::open(folder, None)?;
    let (mut found, mut opened, mut chunks) = (0, 0, 0);
    let calls: Vec<&String> = calls.iter().filter(|call| !call.is_empty()).take(SEARCHES).collect();
    let began = Instant::now();
    for call in &calls {
        let mut find = log.find(Key::Call((*call).clone()), wire::contacts_of);
        for frame in find.by_ref() {
            frame?;
            found += 1;
        }
        (chunks, opened) = (find.chunks().0, opened + find.chunks().1);
    }
    let by_index_s = began.elapsed().as_secs_f64() / calls.len().max(1) as f64;
    ensure!(found >= calls.len(), "{found} frames for {} calls", calls.len());
    let began = Instant::now();
    let mut read = 0;
    for (_, _, path) in log.segments() {
        let mut reader = Reader::open(path)?;
        while let Some(frame) = reader.next_frame()? {
            read += frame.frame.events.len();
        }
    }
    let whole_s = began.elapsed().as_secs_f64();
    ensure!(read >= EVENTS, "{read} events were read");
    Ok(json!({
        "calls": calls.len(),
        "frames_found": found,
        "chunks": chunks,
        "chunks_opened_per_call": rounded(opened as f64 / calls.len().max(1) as f64),
        "ms_per_call": rounded(by_index_s * 1e3),
        "ms_reading_everything": rounded(whole_s * 1e3),
    }))
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

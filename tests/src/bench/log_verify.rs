//! `log-verify`: how fast one core checks blocks: CRC, hash chain over the leaf hashes, and the tree over all leaves.
//!
//! Time is the thread's own on the processor, so that a busy machine does not count.
//!
//! The product's side is what opening a copy does with a block: it also puts the frames together again and checks each
//! frame's own root over its events. The baseline is SHA-256 over the same bytes. In detail: all rules and signatures
//! of the same frames, against bare Ed25519.

use anyhow::ensure;
use asterism_event_log::block::{Block, unpack};
use asterism_event_log::merkle::Frontier;
use asterism_event_log::{Sequencer, SignatureCheck, StoredFrame, Verdict};
use asterism_proto::hash::{Hash, empty_root, sha256};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::json;

use super::corpus::{self, Corpus, FLEET};
use super::log_append::groups;
use super::probe::on_cpu_s;
use super::report::{Figure, median, rounded, spread};

/// Rounds; each checks everything on both sides.
const ROUNDS: usize = 7;
/// Events of a round.
const EVENTS: usize = 400_000;

/// The input of a round.
struct Input {
    /// The blocks of each commit.
    commits: Vec<Vec<Block>>,
    /// Frames with the key and the signature that a bare check takes.
    frames: Vec<(StoredFrame, VerifyingKey, Signature)>,
    events: u64,
    root: Hash,
}

/// Measures both sides.
pub fn run() -> anyhow::Result<Figure> {
    let input = Input::make()?;
    let (mut checked, mut hashed, mut ruled, mut signed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (check_s, hash_s) = (check(&input)?, hash(&input)?);
        let (rule_s, sign_s) = (rule(&input)?, signatures(&input)?);
        if round > 0 {
            // the first one warms up
            checked.push(input.events as f64 / check_s);
            hashed.push(input.events as f64 / hash_s);
            ruled.push(input.frames.len() as f64 / rule_s);
            signed.push(input.frames.len() as f64 / sign_s);
        }
    }
    let ratios: Vec<f64> = checked.iter().zip(&hashed).map(|(ours, bare)| ours / bare).collect();
    let signature_ratios: Vec<f64> = ruled.iter().zip(&signed).map(|(ours, bare)| ours / bare).collect();
    let bytes: usize = input.blocks().map(|block| block.bytes.len()).sum();
    Ok(Figure {
        value: median(&checked),
        unit: "events/s",
        baseline: Some(median(&hashed)),
        ratio: Some(median(&ratios)),
        note: "blocks in memory, one core: CRC, chain over leaf hashes, frames put together and their own roots checked, tree; \
               baseline: SHA-256 of the same bytes"
            .to_owned(),
        detail: json!({
            "events_per_s": spread(&checked),
            "sha256_events_per_s": spread(&hashed),
            "ratio": spread(&ratios),
            "rules_and_signatures_frames_per_s": spread(&ruled),
            "ed25519_frames_per_s": spread(&signed),
            "signature_ratio": spread(&signature_ratios),
            "events": input.events,
            "frames": input.frames.len(),
            "blocks": input.blocks().count(),
            "block_bytes_per_event": rounded(bytes as f64 / input.events as f64),
        }),
    })
}

impl Input {
    fn make() -> anyhow::Result<Self> {
        let (published, events) = Corpus::load()?.published(EVENTS)?;
        let (accepted, sequencer) = corpus::accept_all(&published)?;
        let with_key = accepted.iter().map(|frame| {
            let key = corpus::key_of(&frame.frame.origin).public().to_bytes();
            let signature = Signature::from_slice(&frame.frame.signature)?;
            Ok((frame.to_stored(), VerifyingKey::from_bytes(&key)?, signature))
        });
        let frames = with_key.collect::<anyhow::Result<_>>()?;
        let commits = groups(&accepted).into_iter().map(|group| group.blocks).collect();
        Ok(Self { commits, frames, events, root: sequencer.root() })
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.commits.iter().flatten()
    }
}

fn check(input: &Input) -> anyhow::Result<f64> {
    let (mut previous, mut tree) = (empty_root(), Frontier::new());
    let began = on_cpu_s()?;
    // As a copy is opened: frames come from the blocks of a commit, and go.
    for blocks in &input.commits {
        for frame in unpack(previous, tree.size(), blocks)? {
            tree.extend(frame.leaves());
        }
        previous = blocks.last().map_or(previous, |block| block.hash);
    }
    let root = tree.root();
    let took = on_cpu_s()? - began;
    ensure!(root == input.root && tree.size() == input.events, "the blocks have another root");
    Ok(took)
}

fn hash(input: &Input) -> anyhow::Result<f64> {
    let began = on_cpu_s()?;
    for block in input.blocks() {
        std::hint::black_box(sha256(&block.bytes));
    }
    let took = on_cpu_s()? - began;
    ensure!(input.blocks().next().is_some(), "no blocks");
    Ok(took)
}

/// Rules, signatures and tree, as a copy is opened.
fn rule(input: &Input) -> anyhow::Result<f64> {
    let frames: Vec<StoredFrame> = input.frames.iter().map(|(frame, ..)| frame.clone()).collect();
    let mut sequencer = Sequencer::new(FLEET, None);
    let began = on_cpu_s()?;
    for frame in frames {
        let verdict = sequencer.readmit(frame, SignatureCheck::Check);
        ensure!(matches!(verdict, Verdict::Accepted(_)), "a frame read back is {verdict:?}");
    }
    let took = on_cpu_s()? - began;
    ensure!(sequencer.root() == input.root, "another root");
    Ok(took)
}

fn signatures(input: &Input) -> anyhow::Result<f64> {
    let began = on_cpu_s()?;
    let good = input
        .frames
        .iter()
        .filter(|(stored, key, signature)| key.verify_strict(&stored.frame.header_bytes, signature).is_ok())
        .count();
    let took = on_cpu_s()? - began;
    ensure!(good == input.frames.len(), "{good} signatures are good");
    Ok(took)
}

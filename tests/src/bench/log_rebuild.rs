//! `log-rebuild`: a million events from a real stream into a fresh copy, as a service on a new machine does it.
//!
//! The product reads with its own reader, checks every signature and rule, and appends and commits on the copy's thread.
//! The baseline pulls the same frames and counts them, while another thread puts the blocks of each group that arrived
//! into bare sled with the same flush and fdatasync. Both read one stream, filled before.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_event_log::Copy;
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt;
use serde_json::json;

use super::corpus::{self, Corpus, FLEET};
use super::log_append::{Group, groups, insert, open_bare};
use super::log_ingest::follow;
use super::log_stream::{Stream, addressed};
use super::probe;
use super::report::{Figure, median, rounded, spread};

const ROUNDS: usize = 3;
/// Events in the stream.
const EVENTS: usize = 1_000_000;
/// Frames asked for at once, as the product's reader does.
const PULL_FRAMES: usize = 256;

/// Measures both sides.
pub async fn run() -> anyhow::Result<Figure> {
    let (frames, events) = Corpus::load()?.published(EVENTS)?;
    let (accepted, _) = corpus::accept_all(&frames)?;
    let mut groups = groups(&accepted);
    drop(accepted);
    let stream = Stream::start().await?;
    stream.publish(&addressed(&frames)?).await?;
    let count = frames.len();
    drop(frames);
    let (mut rebuilt, mut raw, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let home = stream.path().join(round.to_string());
        std::fs::create_dir(&home)?;
        let opened = Copy::open(&home.join("log"), FLEET, None, |_| {})?;
        let began = Instant::now();
        let (size, root) = follow(&stream, opened, events).await?;
        let rebuild_s = began.elapsed().as_secs_f64();
        ensure!(size == events, "{size} of {events} events are durable");
        let (raw_s, again) = bare(&stream, &home.join("raw"), count, groups).await?;
        groups = again;
        std::fs::remove_dir_all(&home)?;
        roots.push(root);
        if round > 0 {
            // the first one warms up
            rebuilt.push(rebuild_s);
            raw.push(raw_s);
        }
    }
    ensure!(roots.iter().all(|root| *root == roots[0]), "the copies have different roots");
    let ratios: Vec<f64> = rebuilt.iter().zip(&raw).map(|(ours, bare)| ours / bare).collect();
    Ok(Figure {
        value: median(&rebuilt),
        unit: "s",
        baseline: Some(median(&raw)),
        ratio: Some(median(&ratios)),
        note: format!(
            "{events} events from a stream that has them into a fresh copy: read, signatures and rules checked, committed \
             every {GROUP_COMMIT_EVENTS} events on the copy's thread; baseline: the same frames pulled, and their blocks put \
             into bare sled with the same flush and fdatasync on a thread"
        ),
        detail: json!({
            "rebuild_s": spread(&rebuilt),
            "raw_s": spread(&raw),
            "ratio": spread(&ratios),
            "events": events,
            "frames": count,
            "events_per_s": rounded(events as f64 / median(&rebuilt)),
            "fsync_probe": probe::fsync(stream.path())?,
        }),
    })
}

/// Pulls and counts; the blocks follow the frames they are of.
async fn bare(
    stream: &Stream,
    folder: &Path,
    frames: usize,
    groups: Vec<Group>,
) -> anyhow::Result<(f64, Vec<Group>)> {
    let (db, file) = open_bare(folder)?;
    let (arrived_in, arrived) = mpsc::sync_channel::<usize>(4_096);
    let writer = std::thread::spawn(move || -> anyhow::Result<_> {
        let mut waiting = groups.iter().peekable();
        while let Ok(frames) = arrived.recv() {
            while let Some(group) = waiting.next_if(|group| group.frames <= frames) {
                insert(&db, &file, group)?;
            }
        }
        ensure!(waiting.peek().is_none(), "groups are missing");
        ensure!(db.len() == groups.iter().map(|group| group.blocks.len()).sum::<usize>(), "{}", db.len());
        Ok(groups)
    });
    let began = Instant::now();
    let config =
        pull::Config { ack_policy: AckPolicy::None, memory_storage: true, ..pull::Config::default() };
    let consumer = stream.consumer(config).await?;
    let mut messages = consumer.stream().max_messages_per_batch(PULL_FRAMES).messages().await?;
    for count in 1..=frames {
        let message = messages.next().await.context("the stream ended")??;
        ensure!(!message.payload.is_empty(), "an empty message");
        arrived_in.send(count).context("the writer ended")?;
    }
    drop(arrived_in);
    let groups = writer.join().ok().context("the writer panicked")??;
    Ok((began.elapsed().as_secs_f64(), groups))
}

//! `log-ingest`: from publishers through a real stream at `sync_interval: always` to durable in a copy.
//!
//! The product's side publishes frames and at the same time reads them with the product's reader, judges each, and
//! appends and commits on a thread of its own, as a service does; it ends when everything is durable. The baseline
//! publishes the very same frames and waits for the acknowledgements.

use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use asterism_event_log::{Copy, Opened, StreamAt, Verdict};
use asterism_nats::{Reader, ReaderEvent};
use asterism_proto::hash::Hash;
use serde_json::json;

use super::corpus::{Corpus, FLEET};
use super::log_append::{QUEUE_FRAMES, keep};
use super::log_stream::{IN_FLIGHT, Published, Stream, addressed};
use super::probe;
use super::report::{Figure, median, scratch, spread};

const ROUNDS: usize = 5;
/// Events of a round.
const EVENTS: usize = 200_000;

/// Measures both sides.
pub async fn run() -> anyhow::Result<Figure> {
    let (frames, events) = Corpus::load()?.published(EVENTS)?;
    let frames = addressed(&frames)?;
    let (mut ingested, mut published) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (ingest_s, publish_s) = (ingest(&frames, events).await?, publish(&frames).await?);
        if round > 0 {
            // the first one warms up
            ingested.push(events as f64 / ingest_s);
            published.push(events as f64 / publish_s);
        }
    }
    let ratios: Vec<f64> = ingested.iter().zip(&published).map(|(ours, raw)| ours / raw).collect();
    Ok(Figure {
        value: median(&ingested),
        unit: "events/s",
        baseline: Some(median(&published)),
        ratio: Some(median(&ratios)),
        note: format!(
            "published at sync_interval always with {IN_FLIGHT} acknowledgements open, read back, judged and committed every \
             {GROUP_COMMIT_EVENTS} events at the same time; baseline: publishing the same frames alone"
        ),
        detail: json!({
            "events_per_s": spread(&ingested),
            "publish_alone_events_per_s": spread(&published),
            "ratio": spread(&ratios),
            "events": events,
            "frames": frames.len(),
            "fsync_probe": probe::fsync(scratch()?.path())?,
        }),
    })
}

async fn publish(frames: &Published) -> anyhow::Result<f64> {
    let stream = Stream::start().await?;
    let began = Instant::now();
    stream.publish(frames).await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn ingest(frames: &Published, events: u64) -> anyhow::Result<f64> {
    let stream = Stream::start().await?;
    let opened = Copy::open(&stream.path().join("log"), FLEET, None, |_| {})?;
    let began = Instant::now();
    let (publish, read) =
        futures_util::future::join(stream.publish(frames), follow(&stream, opened, events)).await;
    publish?;
    let (size, _) = read?;
    let took = began.elapsed().as_secs_f64();
    ensure!(size == events, "{size} of {events} events are durable");
    Ok(took)
}

/// Reads the stream with the product's reader, judges each frame and keeps it on the copy's thread, up to so many events.
/// Returns what is durable, and the root.
pub async fn follow(stream: &Stream, opened: Opened, events: u64) -> anyhow::Result<(u64, Hash)> {
    let Opened { copy, mut sequencer, .. } = opened;
    let (frames_in, queue) = mpsc::sync_channel(QUEUE_FRAMES);
    let keeper = std::thread::spawn(move || keep(copy, &queue));
    let mut reader = Reader::start(&stream.bus, FLEET, 1, None)?;
    while sequencer.size() < events {
        let (payload, at) = match reader.next().await {
            ReaderEvent::Message { sequence, time_ms, payload, .. } => {
                (payload, StreamAt { sequence, time_ms })
            }
            ReaderEvent::CaughtUp { .. } => continue,
            ReaderEvent::Incident(incident) => bail!("{incident}"),
        };
        match sequencer.judge(&payload, at) {
            Verdict::Accepted(frame) => {
                frames_in.send((frame, sequencer.root())).context("the copy ended")?
            }
            other => bail!("frame {} is {other:?}", at.sequence),
        }
    }
    drop(frames_in);
    Ok((keeper.join().ok().context("the copy's thread panicked")??, sequencer.root()))
}

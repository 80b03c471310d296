//! `log-framing`: what publishing 64 events in one signed frame gains over one event at a time, when the server syncs
//! every message before it acknowledges it.
//!
//! One publisher, the same number of acknowledgements open on both sides, a fresh stream for every round.

use std::time::Instant;

use anyhow::ensure;
use asterism_proto::OpenFrame;
use serde_json::json;

use super::corpus::{Corpus, FRAME_EVENTS};
use super::log_stream::{IN_FLIGHT, Published, Stream, addressed};
use super::probe;
use super::report::{Figure, median, spread};

const ROUNDS: usize = 5;
/// Events of a round, in frames.
const EVENTS: usize = 100_000;
/// Events of a round, each by itself.
const SINGLE_EVENTS: usize = 4_000;

/// Measures both sides.
pub async fn run() -> anyhow::Result<Figure> {
    let (frames, events) = Corpus::load()?.published(EVENTS)?;
    let framed = addressed(&frames)?;
    let single = one_by_one(&framed)?;
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    let mut probed = serde_json::Value::Null;
    for round in 0..=ROUNDS {
        let framed_s = publish(&framed).await?;
        let stream = Stream::start().await?;
        let began = Instant::now();
        stream.publish(&single).await?;
        let single_s = began.elapsed().as_secs_f64();
        probed = probe::fsync(stream.path())?;
        if round > 0 {
            // the first one warms up
            together.push(events as f64 / framed_s);
            alone.push(single.len() as f64 / single_s);
        }
    }
    let ratios: Vec<f64> = together.iter().zip(&alone).map(|(framed, single)| framed / single).collect();
    Ok(Figure {
        value: median(&together),
        unit: "events/s",
        baseline: Some(median(&alone)),
        ratio: Some(median(&ratios)),
        note: format!(
            "published and acknowledged at sync_interval always, {IN_FLIGHT} acknowledgements open, in signed frames of up \
             to {FRAME_EVENTS} events; baseline: the same events one a message"
        ),
        detail: json!({
            "framed_events_per_s": spread(&together),
            "single_events_per_s": spread(&alone),
            "ratio": spread(&ratios),
            "events": events,
            "frames": framed.len(),
            "single_events": single.len(),
            "fsync_probe": probed,
        }),
    })
}

/// The first events, a message each: bare bytes, without so much as a header.
fn one_by_one(framed: &Published) -> anyhow::Result<Published> {
    let mut single = Vec::new();
    for (subject, payload) in framed {
        for event in &OpenFrame::read(payload)?.events {
            if single.len() < SINGLE_EVENTS {
                single.push((subject.clone(), event.to_vec().into()));
            }
        }
    }
    ensure!(single.len() == SINGLE_EVENTS, "only {} events", single.len());
    Ok(single)
}

async fn publish(messages: &Published) -> anyhow::Result<f64> {
    let stream = Stream::start().await?;
    let began = Instant::now();
    stream.publish(messages).await?;
    Ok(began.elapsed().as_secs_f64())
}

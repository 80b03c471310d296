//! `demo-throughput`: how fast the whole system settles contacts when the carrier answers at once: `asterism up --demo`
//! where every number is busy and no cap holds anything back.
//!
//! Timed by the log's own record times, from `CampaignStarted` to `CampaignCompleted`: launching the nodes is in it,
//! import and the way home are not.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use asterism_domain::Event;
use asterism_domain::wire::decode_bytes;
use asterism_event_log::LogFolder;
use serde_json::{Value, json};

use super::demo::{Demo, is};
use super::probe;
use super::report::{Figure, median, rounded, scratch, spread};

/// Rounds; each is a fleet of its own.
const ROUNDS: usize = 3;
/// Contacts of a round.
const CONTACTS: u64 = 20_000;
/// Slots of a node, and nodes: more than the dialler fills.
const CAPACITY: u32 = 200;
const MAX_NODES: u32 = 4;
/// Everyone is busy, and says so at once.
const CALLEES: &str = "[setup]\nmin_ms = 0\nmax_ms = 0\n\n[ring]\nmin_ms = 0\nmax_ms = 0\n\n\
                       [[number]]\nnumber = \"*\"\nhabit = \"busy\"\nring_ms = 0\n";

/// Record times of one campaign, ms.
#[derive(Default)]
struct Times {
    started: Option<u64>,
    first_intended: Option<u64>,
    last_ended: Option<u64>,
    completed: Option<u64>,
    ended: u64,
}

/// Runs the demo several times.
pub fn run() -> anyhow::Result<Figure> {
    let (mut rates, mut dialling, mut events, mut probe) = (Vec::new(), Vec::new(), Vec::new(), Value::Null);
    for _ in 0..ROUNDS {
        let dir = scratch()?;
        let report = demo(dir.path())?;
        let times = times(&dir.path().join("demo/log"))?;
        let span = |from: Option<u64>, to: Option<u64>| -> anyhow::Result<f64> {
            let (from, to) = (from.context("the log has no beginning")?, to.context("the log has no end")?);
            Ok(to.saturating_sub(from).max(1) as f64 / 1000.0)
        };
        ensure!(times.ended == CONTACTS, "{} attempts ended", times.ended);
        rates.push(CONTACTS as f64 / span(times.started, times.completed)?);
        dialling.push(CONTACTS as f64 / span(times.first_intended, times.last_ended)?);
        events.push(report["events"].as_f64().unwrap_or_default());
        probe = probe::fsync(dir.path())?;
    }
    Ok(Figure {
        value: median(&rates),
        unit: "contacts/s",
        baseline: None,
        ratio: None,
        note: format!(
            "{CONTACTS} contacts, every number busy at once, no caps, nodes launched within the time; everything on this \
             machine at sync_interval always; the dialler itself decides at most 100 attempts every 50 ms, 2,000 a second"
        ),
        detail: json!({
            "contacts_per_s": spread(&rates),
            "from_the_first_intent_to_the_last_end": spread(&dialling),
            "events": rounded(median(&events)),
            "capacity": CAPACITY,
            "max_nodes": MAX_NODES,
            "fsync_probe": probe,
        }),
    })
}

/// One demo, and its report.
fn demo(dir: &Path) -> anyhow::Result<Value> {
    let demo = Demo { contacts: CONTACTS, capacity: CAPACITY, max_nodes: MAX_NODES, callees: CALLEES };
    let report = demo.run(dir)?;
    is(&report, "uncertain", 0)?;
    is(&report, "answered", 0)?;
    ensure!(
        report["outcomes"] == json!(BTreeMap::from([("busy", CONTACTS)])),
        "outcomes: {}",
        report["outcomes"]
    );
    Ok(report)
}

fn times(log: &Path) -> anyhow::Result<Times> {
    let mut times = Times::default();
    for frame in LogFolder::open(log, None)?.frames() {
        let accepted = frame?;
        let at = accepted.record_time_ms;
        for event in &accepted.frame.events {
            match decode_bytes(event)?.1 {
                Event::CampaignStarted { .. } => times.started = Some(at),
                Event::AttemptIntended { .. } => times.first_intended = times.first_intended.or(Some(at)),
                Event::AttemptEnded { .. } => (times.last_ended, times.ended) = (Some(at), times.ended + 1),
                Event::CampaignCompleted { .. } => times.completed = Some(at),
                _ => {}
            }
        }
    }
    Ok(times)
}

//! `log-memory`: what a process needs for sequencer and copy as the log grows. Each size runs in a process of its own,
//! appends, commits and seals at the product's limits, and says how much more it has resident than before the first
//! event (the recorded events it repeats are not counted). What the reducers hold is another matter: it grows with the
//! contacts.

use std::process::Command;

use anyhow::{Context, ensure};
use asterism_domain::wire;
use asterism_event_log::Copy;
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use serde_json::{Value, json};

use super::corpus::{self, Corpus, FLEET};
use super::report::{Figure, rounded, scratch};

const SMALL: u64 = 100_000;
/// The aim speaks of ten million; this many take minutes less and several seals all the same.
const LARGE: u64 = 3_000_000;
/// The product's limit of events in a hot segment.
const SEAL_EVENTS: u64 = 1 << 20;
/// Tells a process that it is the measured one, and how many events it writes.
const CHILD: &str = "ASTERISM_BENCH_LOG_MEMORY";

/// Measures both sizes.
pub fn run() -> anyhow::Result<Figure> {
    if let Ok(events) = std::env::var(CHILD) {
        let measured = child(events.parse()?)?;
        let mut out = std::io::stdout().lock();
        std::io::Write::write_all(&mut out, measured.to_string().as_bytes())?;
        std::process::exit(0);
    }
    let (small, large) = (measure(SMALL)?, measure(LARGE)?);
    let resident = |told: &Value| told["resident_mb"].as_f64().context("no figure");
    let (value, baseline) = (resident(&large)?, resident(&small)?);
    Ok(Figure {
        value,
        unit: "MB",
        baseline: Some(baseline),
        ratio: Some(value / baseline),
        note: format!(
            "resident for sequencer and copy after {LARGE} events, sealed every {SEAL_EVENTS}; baseline: after {SMALL}"
        ),
        detail: json!({ "large": large, "small": small }),
    })
}

fn measure(events: u64) -> anyhow::Result<Value> {
    // So that the recording is made here and not in a process that is measured.
    drop(Corpus::load()?);
    let output = Command::new(std::env::current_exe()?)
        .args(["--only", "log-memory"])
        .env(CHILD, events.to_string())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn child(events: u64) -> anyhow::Result<Value> {
    let dir = scratch()?;
    let corpus = Corpus::load()?;
    let before = status("VmRSS:")?;
    let mut opened = Copy::open(dir.path(), FLEET, None, |_| {})?;
    opened.copy.index_contacts(wire::contacts_of);
    let mut seals = 0;
    for (index, frame) in (0..).zip(corpus.frames()) {
        let frame = corpus::accept(&mut opened.sequencer, &frame?.0, index)?;
        opened.copy.append(&frame)?;
        if opened.copy.pending() >= GROUP_COMMIT_EVENTS {
            opened.copy.commit(opened.sequencer.root())?;
        }
        if opened.copy.unsealed_events() >= SEAL_EVENTS {
            opened.copy.seal()?;
            seals += 1;
        }
        if opened.sequencer.size() >= events {
            break;
        }
    }
    let size = opened.copy.commit(opened.sequencer.root())?.size;
    let (after, peak) = (status("VmRSS:")?, status("VmHWM:")?);
    Ok(json!({
        "events": size,
        "seals": seals,
        "resident_mb": rounded(after - before),
        "peak_mb": rounded(peak - before),
        "before_mb": rounded(before),
    }))
}

/// A figure of `/proc/self/status`, in MB.
fn status(name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
    let kb: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kb / 1024.0)
}

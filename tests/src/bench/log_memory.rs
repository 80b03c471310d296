//! `log-memory`: what a process needs for sequencer and copy as the log grows. Each size runs in a process of its own, which
//! gets the frames through a pipe and holds nothing else: it judges, appends, commits and seals at the product's limits. The
//! figure is all it has resident at the end, its code included. What the reducers hold is another matter: it grows with
//! the contacts.

use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use asterism_domain::wire;
use asterism_event_log::Copy;
use asterism_event_log::copy::GROUP_COMMIT_EVENTS;
use asterism_proto::frame::FRAME_MAX_BYTES;
use serde_json::{Value, json};

use super::corpus::{self, Corpus, FLEET};
use super::probe::{peak_resident_mb, resident_mb};
use super::report::{Figure, folder, rounded, scratch};

const SMALL: u64 = 100_000;
const LARGE: u64 = 10_000_000;
/// The product's limit of events in a hot segment.
const SEAL_EVENTS: u64 = 1 << 20;
/// Tells a process that it is the measured one, and where its log goes.
const CHILD: &str = "ASTERISM_BENCH_LOG_MEMORY";

/// Measures both sizes.
pub fn run() -> anyhow::Result<Figure> {
    if let Some(log) = std::env::var_os(CHILD) {
        let measured = child(log.as_ref())?;
        std::io::stdout().lock().write_all(measured.to_string().as_bytes())?;
        std::process::exit(0);
    }
    folder()?;
    let corpus = Corpus::load()?;
    let (small, large) = (measure(&corpus, SMALL)?, measure(&corpus, LARGE)?);
    let resident = |told: &Value| told["resident_mb"].as_f64().context("no figure");
    let (value, baseline) = (resident(&large)?, resident(&small)?);
    Ok(Figure {
        value,
        unit: "MB",
        baseline: Some(baseline),
        ratio: Some(value / baseline),
        note: format!(
            "resident of a process with sequencer and copy after {LARGE} events, sealed every {SEAL_EVENTS}; baseline: after \
             {SMALL}"
        ),
        detail: json!({ "large": large, "small": small }),
    })
}

/// Feeds a process so many events, and returns what it says.
fn measure(corpus: &Corpus, events: u64) -> anyhow::Result<Value> {
    let dir = scratch()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--only", "log-memory"])
        .env(CHILD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = BufWriter::new(child.stdin.take().context("no pipe")?);
    let mut sent = 0;
    for frame in corpus.frames() {
        let (bytes, count) = frame?;
        // A child that failed has closed the pipe, and says why itself.
        let written =
            pipe.write_all(&(bytes.len() as u32).to_be_bytes()).and_then(|()| pipe.write_all(&bytes));
        sent += count;
        if written.is_err() || sent >= events {
            break;
        }
    }
    drop(pipe);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the measured process failed: {}", output.status);
    let told: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["events"] == sent && sent >= events, "{told} of {sent} events");
    Ok(told)
}

/// The measured process.
fn child(log: &std::path::Path) -> anyhow::Result<Value> {
    let before = resident_mb(own())?;
    let mut opened = Copy::open(log, FLEET, None, |_| {})?;
    opened.copy.index_contacts(wire::contacts_of);
    let mut pipe = BufReader::new(std::io::stdin().lock());
    let (mut frame, mut length, mut seals, mut most) = (Vec::new(), [0; 4], 0, 0.0_f64);
    for index in 0.. {
        if pipe.read(&mut length[..1])? == 0 {
            break;
        }
        pipe.read_exact(&mut length[1..])?;
        let bytes = u32::from_be_bytes(length) as usize;
        ensure!(bytes <= FRAME_MAX_BYTES, "a frame of {bytes} bytes");
        frame.resize(bytes, 0);
        pipe.read_exact(&mut frame)?;
        let accepted = corpus::accept(&mut opened.sequencer, &frame, index)?;
        opened.copy.append(&accepted)?;
        if opened.copy.pending() >= GROUP_COMMIT_EVENTS {
            opened.copy.commit(opened.sequencer.root())?;
        }
        if opened.copy.unsealed_events() >= SEAL_EVENTS {
            most = most.max(resident_mb(own())?);
            opened.copy.seal()?;
            seals += 1;
        }
    }
    let size = opened.copy.commit(opened.sequencer.root())?.size;
    Ok(json!({
        "events": size,
        "seals": seals,
        "resident_mb": rounded(resident_mb(own())?),
        "most_before_a_seal_mb": rounded(most),
        "peak_mb": rounded(peak_resident_mb(own())?),
        "before_mb": rounded(before),
    }))
}

fn own() -> i32 {
    std::process::id().cast_signed()
}

//! What the machine underneath gives: a bare fsync, and what the kernel counts for a process.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::report::{median, quantile, rounded};

/// Writes of one probe.
const WRITES: usize = 200;
/// Bytes of each.
const WRITE_BYTES: usize = 4096;
/// Clock ticks of `/proc/PID/stat` in a second; the same on every Linux this runs on.
const TICKS_PER_S: f64 = 100.0;

/// Appends blocks to a file in `dir`, each followed by `fdatasync`, and says how long one took.
pub fn fsync(dir: &Path) -> anyhow::Result<Value> {
    let path = dir.join("fsync.probe");
    let mut file = fs::File::create(&path)?;
    let mut took_us = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[0x5a; WRITE_BYTES])?;
        file.sync_data()?;
        took_us.push(began.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path)?;
    let (p50, p99) = (median(&took_us), quantile(&took_us, 990));
    Ok(
        json!({ "p50_us": rounded(p50), "p99_us": rounded(p99), "writes": WRITES, "write_bytes": WRITE_BYTES }),
    )
}

/// Most memory a process had resident since it started, MB (10^6 bytes).
pub fn peak_resident_mb(pid: i32) -> anyhow::Result<f64> {
    memory_mb(pid, "VmHWM:")
}

/// What it has resident now.
pub fn resident_mb(pid: i32) -> anyhow::Result<f64> {
    memory_mb(pid, "VmRSS:")
}

fn memory_mb(pid: i32, field: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB"));
    let kib: f64 = kib.with_context(|| format!("no {field} in {path}"))?.trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Processor time this thread has used, s: for work on one core that waits for nothing.
pub fn on_cpu_s() -> anyhow::Result<f64> {
    let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(used).as_secs_f64())
}

/// Processor time a process has used, s.
pub fn cpu_s(pid: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold anything; utime and stime are fields 14 and 15.
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.get(index).with_context(|| format!("{path} is too short"))?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

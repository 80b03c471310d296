//! `media-noop`: what an order costs a node that has all of it: 10,000 prompts, nothing changed.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_agent::media::{Fetched, Fetcher};
use serde_json::json;

use super::media_cold::Nowhere;
use super::media_set::{self, BUNDLE, DOCUMENT};
use super::report::{Figure, median, scratch, spread};

const PROMPTS: usize = 10_000;
const LENGTHS: std::ops::Range<u64> = 1_600..4_800;
const ROUNDS: usize = 5;

/// Fetches once, then gives the same order again and counts who asks.
pub async fn run() -> anyhow::Result<Figure> {
    let dir = scratch()?;
    let source = dir.path().join("source");
    let set = media_set::write(&source, PROMPTS, LENGTHS, |_| 0)?;
    let sounds = dir.path().join("sounds");
    std::fs::create_dir_all(&sounds)?;
    let file = |name: &str| format!("file://{}", source.join(name).display());
    let fetcher = Fetcher::new(&sounds, 0);
    let began = Instant::now();
    ensure!(fetcher.fetch(set.order(file(DOCUMENT), file(BUNDLE)), &Nowhere).await? == Fetched::Held);
    let first_s = began.elapsed().as_secs_f64();
    set.check(&source, |language, file| sounds.join(language).join(&set.manifest).join(file))?;

    // Whoever asks this server is counted; it never answers.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || server.incoming().for_each(|_| _ = counted.fetch_add(1, Ordering::SeqCst)));
    drop(std::net::TcpStream::connect(("127.0.0.1", port))?);
    while asked.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now(); // it counts
    }
    let there = |name: &str| format!("http://127.0.0.1:{port}/{name}");
    let mut times_ms = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        ensure!(fetcher.fetch(set.order(there(DOCUMENT), there(BUNDLE)), &Nowhere).await? == Fetched::Held);
        times_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let requests = asked.load(Ordering::SeqCst).checked_sub(1).context("nobody was counted")?;
    Ok(Figure {
        value: requests as f64 / ROUNDS as f64,
        unit: "requests",
        baseline: None,
        ratio: None,
        note: format!(
            "an order for {PROMPTS} prompts that are there; each time the node looks at all of them again, in {:.0} ms",
            median(&times_ms)
        ),
        detail: json!({ "ms": spread(&times_ms), "first_fetch_s": first_s }),
    })
}

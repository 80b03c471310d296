//! `media-one`: one of 10,000 prompts is said anew: until every node has it and the rest, whole, under the new manifest. Only
//! that one sound is fetched: nodes link what they have.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use asterism_agent::media::{Addresses, Fetched, Fetcher};
use asterism_proto::hash::Hash;
use futures_util::future::{BoxFuture, try_join_all};
use serde_json::json;

use super::media_cold::Nowhere;
use super::media_set::{self, BUNDLE, DOCUMENT, PLAIN, Set};
use super::report::{Figure, median, scratch, spread};

const PROMPTS: usize = 10_000;
const LENGTHS: std::ops::Range<u64> = 1_600..4_800;
const NODES: usize = 8;
const ROUNDS: usize = 3;

/// Gives the address of the sound that is new, and counts who asks.
struct Fresh {
    address: String,
    hash: String,
    asked: AtomicUsize,
}

impl Addresses for Fresh {
    fn of<'a>(&'a self, _: &'a str, sounds: Vec<Hash>) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move {
            self.asked.fetch_add(sounds.len(), Ordering::SeqCst);
            if sounds.iter().all(|sound| hex::encode(sound) == self.hash) {
                Ok(vec![self.address.clone(); sounds.len()])
            } else {
                Err("a node asks for what it has".to_owned())
            }
        })
    }
}

/// Every node has the first set; then one prompt changes, once a round.
pub async fn run() -> anyhow::Result<Figure> {
    let dir = scratch()?;
    let at = |round: usize| dir.path().join(format!("edition-{round}"));
    let first = media_set::write(&at(0), PROMPTS, LENGTHS, |_| 0)?;
    let nodes: Vec<PathBuf> = (0..NODES).map(|node| dir.path().join(format!("node-{node}"))).collect();
    for sounds in &nodes {
        std::fs::create_dir_all(sounds)?;
        let order = first.order(url(&at(0), DOCUMENT), url(&at(0), BUNDLE));
        ensure!(Fetcher::new(sounds, 0).fetch(order, &Nowhere).await? == Fetched::Held);
    }
    let mut seconds = Vec::new();
    for round in 1..=ROUNDS {
        let set = media_set::write(&at(round), PROMPTS, LENGTHS, |number| {
            if number == PROMPTS / 2 { round as u64 } else { 0 }
        })?;
        seconds.push(changed(&set, &at(round), &nodes).await?);
        for sounds in &nodes {
            set.check(&at(round), |language, file| sounds.join(language).join(&set.manifest).join(file))?;
        }
    }
    Ok(Figure {
        value: median(&seconds),
        unit: "s",
        baseline: None,
        ratio: None,
        note: format!(
            "from the order until {NODES} nodes on this disk, at once, have the one of {PROMPTS} prompts that changed, and the set \
             around it; each asked for one sound"
        ),
        detail: json!({ "s": spread(&seconds), "nodes": NODES }),
    })
}

async fn changed(set: &Set, source: &Path, nodes: &[PathBuf]) -> anyhow::Result<f64> {
    // The one whose number is in the middle; its place in the document says its hash.
    let number = PROMPTS / 2;
    let (language, name) = (["de", "en"][number % 2], format!("prompt-{:05}", number / 2));
    let fresh = set.doc.entries.iter().find(|entry| entry.language == language && entry.name == name);
    let fresh = fresh.ok_or_else(|| anyhow::anyhow!("no {language}/{name} in the set"))?;
    let addresses = Arc::new(Fresh {
        address: url(source, &format!("{PLAIN}/{}", fresh.path())),
        hash: fresh.sha256.clone(),
        asked: AtomicUsize::new(0),
    });
    let began = Instant::now();
    let fetches = nodes.iter().map(|sounds| {
        let (addresses, order) =
            (Arc::clone(&addresses), set.order(url(source, DOCUMENT), url(source, BUNDLE)));
        let sounds = sounds.clone();
        async move {
            let fetched = Fetcher::new(&sounds, 0).fetch(order, addresses.as_ref()).await?;
            ensure!(fetched == Fetched::Held, "a node has not got it");
            Ok(())
        }
    });
    try_join_all(fetches).await?;
    let seconds = began.elapsed().as_secs_f64();
    let asked = addresses.asked.load(Ordering::SeqCst);
    ensure!(asked == nodes.len(), "{asked} sounds were asked for by {} nodes", nodes.len());
    Ok(seconds)
}

fn url(folder: &Path, name: &str) -> String {
    format!("file://{}", folder.join(name).display())
}

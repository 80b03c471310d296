//! `asterism media verify`: every sound read back and hashed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use asterism_domain::media::PromptEntry;
use asterism_media_sync::commands::ManifestLine;
use asterism_object_store::{Error as StoreError, ObjectName, ObjectStore};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::super::{Context, resolve, store};
use crate::bar::Bar;
use crate::error::CliError;

/// Sounds read at the same time.
const READ_AT_ONCE: usize = 8;

pub(super) async fn run(context: &Context, sets: &[String]) -> Result<(), CliError> {
    let (config, client) = context.client().await?;
    let (store, lines) = (store(&config).await?, resolve::sets(&client).await?);
    let chosen: Vec<&ManifestLine> = match sets {
        [] => lines.iter().collect(),
        some => some.iter().map(|set| resolve::set(&lines, set)).collect::<Result<_, _>>()?,
    };
    // Each sound once, with the first place it was found in.
    let mut sounds: BTreeMap<String, (String, PromptEntry)> = BTreeMap::new();
    let mut bad: Vec<(String, String)> = Vec::new();
    for line in &chosen {
        match resolve::document(store.as_ref(), line).await {
            Ok(doc) => {
                for entry in doc.entries {
                    sounds.entry(entry.sha256.clone()).or_insert_with(|| (line.name.clone(), entry));
                }
            }
            Err(error) => bad.push((format!("{} ({})", line.name, line.manifest), error.to_string())),
        }
    }
    let mut bar = Bar::new(!context.out.json);
    let checks: Vec<_> = sounds
        .values()
        .map(|(set, entry)| check(store.as_ref(), format!("{set}: {}", entry.path()), entry))
        .collect();
    let (of, mut done) = (checks.len() as u64, 0);
    let mut checked = stream::iter(checks).buffer_unordered(READ_AT_ONCE);
    while let Some(result) = checked.next().await {
        done += 1;
        bar.draw(done, of, "sounds read back");
        bad.extend(result.err());
    }
    bar.clear();
    bad.sort();
    let value = json!({
        "sets": chosen.len(), "sounds": of,
        "bad": bad.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect::<Vec<_>>(),
    });
    context.out.result(&value, || {
        let mut text = String::new();
        for (what, why) in &bad {
            let _ = writeln!(text, "{what}: {why}");
        }
        let _ = writeln!(text, "{} sets, {of} sounds, {} bad", chosen.len(), bad.len());
        text
    })?;
    if bad.is_empty() {
        return Ok(());
    }
    let what = format!("{} objects of published prompts are missing or damaged", bad.len());
    Err(CliError::new("AST-U142", what, "publishing the same sounds again puts them back")
        .next("asterism media publish DIR"))
}

/// Reads one sound back. The store refuses what does not have the hash it is named by.
async fn check(store: &dyn ObjectStore, what: String, entry: &PromptEntry) -> Result<(), (String, String)> {
    let hash = &entry.sha256;
    let read = async {
        let name = ObjectName::new(format!("blobs/sha256/{}/{hash}", hash.get(..2).unwrap_or_default()))?;
        Ok::<_, StoreError>(store.get(&name, entry.size_bytes).await?.len() as u64)
    };
    match read.await {
        Ok(size) if size == entry.size_bytes => Ok(()),
        Ok(size) => Err((what, format!("it has {size} bytes, its set says {}", entry.size_bytes))),
        Err(error) => Err((what, error.to_string())),
    }
}

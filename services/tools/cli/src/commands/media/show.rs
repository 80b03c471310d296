//! `asterism media list | show | diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use asterism_domain::media::{ManifestDoc, PromptEntry};
use asterism_media_sync::commands::ManifestLine;
use asterism_replay::when;
use serde_json::json;

use super::super::{Context, resolve, store};
use crate::error::CliError;
use crate::output::{Align, table};

pub(super) async fn list(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let lines = resolve::sets(&client).await?;
    context.out.result(&lines, || {
        if lines.is_empty() {
            return "No prompts are published. Next: asterism media publish DIR\n".to_owned();
        }
        let row = |line: &ManifestLine| {
            vec![
                line.name.clone(),
                line.prompts.to_string(),
                line.size_bytes.to_string(),
                line.nodes.to_string(),
                when::shown(line.published_at_ms),
                if line.campaigns.is_empty() { "-".to_owned() } else { line.campaigns.join(",") },
                line.manifest.clone(),
            ]
        };
        let columns = [
            ("name", Align::Left),
            ("files", Align::Right),
            ("bytes", Align::Right),
            ("nodes", Align::Right),
            ("published", Align::Left),
            ("campaigns", Align::Left),
            ("id", Align::Left),
        ];
        table(&columns, &lines.iter().map(row).collect::<Vec<_>>())
    })
}

pub(super) async fn show(context: &Context, text: &str) -> Result<(), CliError> {
    let (config, client) = context.client().await?;
    let lines = resolve::sets(&client).await?;
    let line = resolve::set(&lines, text)?;
    let doc = resolve::document(store(&config).await?.as_ref(), line).await?;
    let value = json!({ "set": line, "prompts": doc.entries });
    context.out.result(&value, || {
        let played = |campaigns: &[String]| match campaigns {
            [] => "no campaign that has not ended".to_owned(),
            some => some.join(", "),
        };
        format!(
            "{} ({}), published {}, {} files, {} bytes, on {} nodes\nplayed by {}; before by {}\n\n{}",
            line.name,
            line.manifest,
            when::shown(line.published_at_ms),
            line.prompts,
            line.size_bytes,
            line.nodes,
            played(&line.campaigns),
            played(&line.campaigns_before),
            prompts_table(&doc)
        )
    })
}

fn prompts_table(doc: &ManifestDoc) -> String {
    let mut rows: BTreeMap<(&str, &str), (u64, BTreeSet<&str>)> = BTreeMap::new();
    for entry in &doc.entries {
        let row = rows.entry((&entry.name, &entry.language)).or_default();
        row.0 = entry.duration_ms;
        row.1.insert(&entry.ext);
    }
    let columns = [
        ("prompt", Align::Left),
        ("language", Align::Left),
        ("seconds", Align::Right),
        ("formats", Align::Left),
    ];
    let row = |((name, language), (ms, formats)): (&(&str, &str), &(u64, BTreeSet<&str>))| {
        let formats: Vec<&str> = formats.iter().copied().collect();
        vec![
            (*name).to_owned(),
            (*language).to_owned(),
            format!("{}.{:03}", ms / 1_000, ms % 1_000),
            formats.join(","),
        ]
    };
    table(&columns, &rows.iter().map(row).collect::<Vec<_>>())
}

pub(super) async fn diff(context: &Context, before: &str, after: &str) -> Result<(), CliError> {
    let (config, client) = context.client().await?;
    let (store, lines) = (store(&config).await?, resolve::sets(&client).await?);
    let before = resolve::document(store.as_ref(), resolve::set(&lines, before)?).await?;
    let after = resolve::document(store.as_ref(), resolve::set(&lines, after)?).await?;
    let changes = changes(&before, &after);
    let value: Vec<_> =
        changes.iter().map(|(path, change)| json!({ "file": path, "change": change })).collect();
    context.out.result(&value, || match changes.as_slice() {
        [] => "They have the same sounds.\n".to_owned(),
        some => some.iter().fold(String::new(), |mut text, (path, change)| {
            let _ = writeln!(text, "{change:<8} {path}");
            text
        }),
    })
}

/// Each file that is not the same in both, and how it differs.
fn changes(before: &ManifestDoc, after: &ManifestDoc) -> Vec<(String, &'static str)> {
    let by_path = |doc: &ManifestDoc| -> BTreeMap<String, String> {
        doc.entries.iter().map(|entry: &PromptEntry| (entry.path(), entry.sha256.clone())).collect()
    };
    let (old, new) = (by_path(before), by_path(after));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |path: &&String| match (old.get(*path), new.get(*path)) {
        (None, _) => Some("added"),
        (_, None) => Some("removed"),
        (was, is) if was != is => Some("changed"),
        _ => None,
    };
    paths.into_iter().filter_map(|path| Some((path.clone(), change(&path)?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(sounds: &[(&str, u8)]) -> ManifestDoc {
        let entries = sounds.iter().map(|(name, code)| PromptEntry {
            name: (*name).to_owned(),
            language: "en".to_owned(),
            ext: "ulaw".to_owned(),
            sha256: format!("{code:064x}"),
            size_bytes: 8,
            duration_ms: 1,
        });
        ManifestDoc::new("set", entries.collect()).unwrap()
    }

    #[test]
    fn a_prompt_of_equal_length_that_was_said_anew_is_a_change() {
        let (before, after) = (set(&[("a", 1), ("b", 2), ("c", 3)]), set(&[("b", 2), ("c", 4), ("d", 1)]));
        let wanted = [("en/a.ulaw", "removed"), ("en/c.ulaw", "changed"), ("en/d.ulaw", "added")];
        assert_eq!(changes(&before, &after), wanted.map(|(path, change)| (path.to_owned(), change)));
        assert_eq!(changes(&after, &after), []);
    }
}

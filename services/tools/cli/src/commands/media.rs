//! `asterism media`: prompts.

use std::path::Path;

use asterism_domain::logic::is_name;
use asterism_domain::media::ManifestDoc;
use asterism_media_sync::commands::ManifestLine;
use asterism_media_sync::publish::{self, Sound};
use asterism_proto::Role;
use serde_json::json;

use super::{Context, resolve, shown, store};
use crate::args::MediaCommand;
use crate::error::CliError;
use crate::ops;
use crate::output::{Align, table};

/// A prompt whose loudest sample is below this is as good as silent.
const SILENT_PEAK: u16 = 300;

pub(super) async fn run(context: &Context, command: MediaCommand) -> Result<(), CliError> {
    match command {
        MediaCommand::List => list(context).await,
        MediaCommand::Publish { folder, name, dry_run } => {
            let name = match name {
                Some(name) if is_name(&name) => name,
                Some(_) => {
                    let why = "a name is 1 to 64 of a-z, 0-9 and -";
                    return Err(CliError::usage("AST-U044", "--name cannot be a name of prompts", why));
                }
                None => resolve::name_of(&folder)?,
            };
            publish(context, &folder, &name, dry_run).await
        }
    }
}

async fn publish(context: &Context, folder: &Path, name: &str, dry_run: bool) -> Result<(), CliError> {
    let (manifest, sounds, unchanged) = if dry_run {
        let sources = publish::read_folder(folder)?;
        let (manifest, sounds) = publish::prepare(name, ops::LANGUAGE, &sources)?;
        (manifest, sounds, None)
    } else {
        let (config, client) = context.client().await?;
        let store = store(&config).await?;
        let published = ops::publish_prompts(&client, store.as_ref(), folder, name).await?;
        (published.manifest, published.sounds, Some(published.unchanged))
    };
    let id = manifest.id().map_err(CliError::from_text)?;
    let quiet: Vec<&str> = sounds
        .iter()
        .filter(|sound| sound.measured.peak < SILENT_PEAK)
        .map(|sound| sound.name.as_str())
        .collect();
    let value = json!({
        "manifest": id, "name": name, "dry_run": dry_run, "size_bytes": manifest.size_bytes(), "unchanged": unchanged,
        "prompts": manifest.entries, "silent": quiet,
    });
    context.out.result(&value, || {
        let done = if dry_run { "would be published (dry run: nothing changed)" } else { "published" };
        format!(
            "{}\n{}: {} prompts {done} as {name:?}, id {id}\n",
            sounds_table(&manifest, &sounds),
            shown(folder),
            sounds.len()
        )
    })?;
    for name in quiet {
        context.out.say(&format!("warning: {name} is silent or nearly so"));
    }
    Ok(())
}

fn sounds_table(manifest: &ManifestDoc, sounds: &[Sound]) -> String {
    let rows: Vec<Vec<String>> = manifest
        .entries
        .iter()
        .map(|entry| {
            let peak =
                sounds.iter().find(|sound| sound.name == entry.name).map_or(0, |sound| sound.measured.peak);
            let seconds = format!("{}.{:03}", entry.duration_ms / 1_000, entry.duration_ms % 1_000);
            vec![
                entry.name.clone(),
                entry.language.clone(),
                seconds,
                entry.size_bytes.to_string(),
                peak.to_string(),
            ]
        })
        .collect();
    let columns = [
        ("prompt", Align::Left),
        ("language", Align::Left),
        ("seconds", Align::Right),
        ("bytes", Align::Right),
        ("peak", Align::Right),
    ];
    table(&columns, &rows)
}

async fn list(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let lines: Vec<ManifestLine> = client.role_json(Role::MediaSync, "media.list", &json!({})).await?;
    context.out.result(&lines, || {
        if lines.is_empty() {
            return "No prompts are published. Next: asterism media publish DIR\n".to_owned();
        }
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| {
                let (prompts, bytes) = (line.prompts.to_string(), line.size_bytes.to_string());
                vec![line.name.clone(), prompts, bytes, line.nodes.to_string(), line.manifest.clone()]
            })
            .collect();
        let columns = [
            ("name", Align::Left),
            ("prompts", Align::Right),
            ("bytes", Align::Right),
            ("nodes", Align::Right),
            ("id", Align::Left),
        ];
        table(&columns, &rows)
    })
}

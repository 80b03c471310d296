//! `asterism media`: prompts.

use std::path::PathBuf;

use asterism_domain::logic::is_name;
use asterism_domain::media::is_language;
use asterism_media_sync::commands::ManifestLine;
use asterism_media_sync::publish::{self, DEFAULT_FORMATS, Set, Sound, Source};
use asterism_proto::Role;
use serde_json::{Value, json};

use super::{Context, resolve, shown, store};
use crate::args::MediaCommand;
use crate::error::CliError;
use crate::ops;
use crate::output::{Align, table};

pub(super) async fn run(context: &Context, command: MediaCommand) -> Result<(), CliError> {
    match command {
        MediaCommand::List => list(context).await,
        MediaCommand::Publish { sounds, name, language, mut formats, dry_run } => {
            let name = named(&sounds, name)?;
            if !is_language(&language) {
                let why = "a language is written like en, de or en_GB";
                return Err(CliError::usage("AST-U046", "--language cannot be a language tag", why));
            }
            formats.sort_unstable();
            formats.dedup();
            if formats.is_empty() {
                formats.extend(DEFAULT_FORMATS);
            }
            let sources = read(&sounds)?;
            let set = Set { name: &name, language: &language, formats: &formats };
            let from =
                if let [one] = sounds.as_slice() { shown(one) } else { format!("{} files", sounds.len()) };
            publish(context, &from, set, &sources, dry_run).await
        }
    }
}

/// The name that was given, else the folder's.
fn named(sounds: &[PathBuf], name: Option<String>) -> Result<String, CliError> {
    match (name, sounds) {
        (Some(name), _) if is_name(&name) => Ok(name),
        (Some(_), _) => {
            let why = "a name is 1 to 64 of a-z, 0-9 and -";
            Err(CliError::usage("AST-U044", "--name cannot be a name of prompts", why))
        }
        (None, [folder]) if folder.is_dir() => resolve::name_of(folder),
        (None, _) => {
            let next = "name them: asterism media publish FILE... --name NAME";
            Err(CliError::usage("AST-U044", "single files give the prompts no name", next))
        }
    }
}

fn read(sounds: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    match sounds {
        [folder] if !folder.is_file() => Ok(publish::read_folder(folder)?),
        files => Ok(publish::read_files(files)?),
    }
}

async fn publish(
    context: &Context,
    from: &str,
    set: Set<'_>,
    sources: &[Source],
    dry_run: bool,
) -> Result<(), CliError> {
    let (manifest, sounds, unchanged) = if dry_run {
        let (manifest, sounds) = publish::prepare(set, sources)?;
        (manifest, sounds, None)
    } else {
        let (config, client) = context.client().await?;
        let store = store(&config).await?;
        let published = ops::publish_sounds(&client, store.as_ref(), set, sources).await?;
        (published.manifest, published.sounds, Some(published.unchanged))
    };
    let (id, name) = (manifest.id().map_err(CliError::from_text)?, set.name);
    let silent: Vec<&str> = sounds.iter().filter(|sound| is_silent(sound)).map(|s| s.name.as_str()).collect();
    let value = json!({
        "manifest": id, "name": name, "dry_run": dry_run, "size_bytes": manifest.size_bytes(), "unchanged": unchanged,
        "prompts": manifest.entries, "silent": silent, "sounds": sounds.iter().map(as_json).collect::<Vec<_>>(),
    });
    context.out.result(&value, || {
        let done = if dry_run { "would be published (dry run: nothing changed)" } else { "published" };
        let had = unchanged.filter(|had| *had > 0).map_or_else(String::new, |had| {
            format!("{had} of {} files were in the store already\n", manifest.entries.len())
        });
        format!(
            "{}\n{from}: {} prompts {done} as {name:?}, id {id}\n{had}",
            sounds_table(&sounds),
            sounds.len()
        )
    })?;
    for sound in &sounds {
        for warning in sound.measured.warnings() {
            context.out.say(&format!("warning: {}: {}", sound.name, warning.text()));
        }
    }
    Ok(())
}

fn is_silent(sound: &Sound) -> bool {
    sound.measured.warnings().iter().any(|warning| warning.word() == "silent")
}

/// What was measured; what could not be is null.
fn as_json(sound: &Sound) -> Value {
    let measured = &sound.measured;
    json!({
        "name": sound.name, "rate_hz": measured.rate_hz, "channels": measured.channels,
        "duration_ms": measured.duration_ms, "peak_dbfs": measured.peak_dbfs(), "loudness_lufs": measured.loudness_lufs,
        "clipped": measured.clipped, "cut_off": measured.cut_off,
        "silence_before_ms": measured.silence_before_ms, "silence_after_ms": measured.silence_after_ms,
        "formats": sound.files.iter().map(|(format, _)| format.extension()).collect::<Vec<_>>(),
        "warnings": measured.warnings().iter().map(|warning| warning.word()).collect::<Vec<_>>(),
    })
}

fn sounds_table(sounds: &[Sound]) -> String {
    let level = |level: Option<f64>| level.map_or_else(|| "-".to_owned(), |level| format!("{level:.1}"));
    let row = |sound: &Sound| {
        let measured = &sound.measured;
        let formats: Vec<&str> = sound.files.iter().map(|(format, _)| format.extension()).collect();
        let warnings: Vec<&str> = measured.warnings().iter().map(|warning| warning.word()).collect();
        vec![
            sound.name.clone(),
            format!("{}.{:03}", measured.duration_ms / 1_000, measured.duration_ms % 1_000),
            measured.rate_hz.to_string(),
            level(measured.peak_dbfs()),
            level(measured.loudness_lufs),
            formats.join(","),
            warnings.join(","),
        ]
    };
    let columns = [
        ("prompt", Align::Left),
        ("seconds", Align::Right),
        ("Hz", Align::Right),
        ("peak dBFS", Align::Right),
        ("LUFS", Align::Right),
        ("formats", Align::Left),
        ("warnings", Align::Left),
    ];
    table(&columns, &sounds.iter().map(row).collect::<Vec<_>>())
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

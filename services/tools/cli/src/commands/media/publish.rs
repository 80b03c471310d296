//! `asterism media publish`: sounds into the store, and to a campaign.

use std::path::PathBuf;
use std::sync::Mutex;

use asterism_domain::logic::is_name;
use asterism_domain::media::{ManifestDoc, is_language};
use asterism_media_sync::publish::{self, DEFAULT_FORMATS, Set, Sound, Source, Step};
use serde_json::{Value, json};

use super::super::{Context, resolve, shown, store};
use super::switch;
use crate::args::media::PublishArgs;
use crate::bar::Bar;
use crate::error::CliError;
use crate::ops;
use crate::output::{Align, table};

pub(super) async fn run(context: &Context, mut args: PublishArgs) -> Result<(), CliError> {
    let name = named(&args.sounds, args.name.take())?;
    if !is_language(&args.language) {
        let why = "a language is written like en, de or en_GB";
        return Err(CliError::usage("AST-U046", "--language cannot be a language tag", why));
    }
    args.formats.sort_unstable();
    args.formats.dedup();
    if args.formats.is_empty() {
        args.formats.extend(DEFAULT_FORMATS);
    }
    let sources = read(&args.sounds, &args.language)?;
    Box::pin(publish(context, &args, Set { name: &name, formats: &args.formats }, &sources)).await
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

fn read(sounds: &[PathBuf], language: &str) -> Result<Vec<Source>, CliError> {
    match sounds {
        [folder] if !folder.is_file() => Ok(publish::read_folder(folder, language)?),
        files => Ok(publish::read_files(files, language)?),
    }
}

async fn publish(
    context: &Context,
    args: &PublishArgs,
    set: Set<'_>,
    sources: &[Source],
) -> Result<(), CliError> {
    let bar = Mutex::new(Bar::new(!context.out.json));
    let told = |step: Step| {
        let (done, of, what) = match step {
            Step::Converted { files, of } => (files, of, "files converted"),
            Step::Sent { sounds, of } => (sounds, of, "sounds in the store"),
        };
        if let Ok(mut bar) = bar.lock() {
            bar.draw(done as u64, of as u64, what);
        }
    };
    let (manifest, sounds) = publish::prepare(set, sources, &told)?;
    if let Some(campaign) = &args.campaign {
        switch::check(context, campaign, &manifest).await?;
    }
    let (manifest, sounds, unchanged) = if args.dry_run {
        (manifest, sounds, None)
    } else {
        let (config, client) = context.client().await?;
        let store = store(&config).await?;
        let published = ops::publish_set(&client, store.as_ref(), manifest, sounds, &told).await?;
        if let Some(campaign) = &args.campaign {
            switch::give(&client, campaign, &published.manifest_id, &args.reason).await?;
        }
        (published.manifest, published.sounds, Some(published.unchanged))
    };
    if let Ok(mut bar) = bar.lock() {
        bar.clear();
    }
    tell(context, args, (&manifest, &sounds, unchanged))
}

fn tell(
    context: &Context,
    args: &PublishArgs,
    (manifest, sounds, unchanged): (&ManifestDoc, &[Sound], Option<usize>),
) -> Result<(), CliError> {
    let (id, name, dry_run) = (manifest.id().map_err(CliError::from_text)?, &manifest.name, args.dry_run);
    let silent: Vec<&str> = sounds.iter().filter(|sound| is_silent(sound)).map(|s| s.name.as_str()).collect();
    let value = json!({
        "manifest": id, "name": name, "dry_run": dry_run, "size_bytes": manifest.size_bytes(), "unchanged": unchanged,
        "campaign": args.campaign, "prompts": manifest.entries, "silent": silent,
        "sounds": sounds.iter().map(as_json).collect::<Vec<_>>(),
    });
    let from = match args.sounds.as_slice() {
        [one] => shown(one),
        several => format!("{} files", several.len()),
    };
    context.out.result(&value, || {
        let done = if dry_run { "would be published (dry run: nothing changed)" } else { "published" };
        let had = unchanged.filter(|had| *had > 0).map_or_else(String::new, |had| {
            format!("{had} of {} files were in the store already\n", manifest.entries.len())
        });
        let plays = args.campaign.as_ref().map_or_else(String::new, |campaign| {
            let plays = if dry_run { "would play" } else { "plays" };
            format!("campaign {campaign} {plays} them; calls in progress keep what they have\n")
        });
        format!(
            "{}\n{from}: {} prompts {done} as {name:?}, id {id}\n{had}{plays}",
            sounds_table(sounds),
            sounds.len()
        )
    })?;
    for sound in sounds {
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
        "name": sound.name, "language": sound.language, "rate_hz": measured.rate_hz, "channels": measured.channels,
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
            sound.language.clone(),
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
        ("language", Align::Left),
        ("seconds", Align::Right),
        ("Hz", Align::Right),
        ("peak dBFS", Align::Right),
        ("LUFS", Align::Right),
        ("formats", Align::Left),
        ("warnings", Align::Left),
    ];
    table(&columns, &sounds.iter().map(row).collect::<Vec<_>>())
}

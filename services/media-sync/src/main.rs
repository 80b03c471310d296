//! `asterism-media-sync`: prompts and flows to every node.

use std::process::ExitCode;

use asterism_media_sync::MediaConfig;
use asterism_runtime::boot::{self, CommonArgs};
use asterism_runtime::program::program;

const ABOUT: &str = "Commits what is published and orders every node to fetch what running campaigns play.";

fn main() -> ExitCode {
    program("asterism-media-sync", ABOUT, run)
}

async fn run(args: CommonArgs) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args)? else { return Ok(()) };
    let listen = config.media.http_listen;
    let media =
        MediaConfig { recordings_keep_days: config.media.recordings_keep_days, ..MediaConfig::default() };
    let Some(booted) = boot::boot("media-sync", config, listen, &["log", "objects"]).await? else {
        return Ok(());
    };
    let deps = boot::with_log(&booted).await?;
    let store = asterism_object_store::open(&booted.config.objects_url()?).await?;
    booted.health.set("objects", Ok::<(), String>(()));
    asterism_media_sync::run(media, deps.clone(), store).await?;
    boot::ending(&deps)?;
    tracing::info!("stopped");
    Ok(())
}

//! `asterism-dialer`: contacts to attempts.

use std::process::ExitCode;
use std::time::Duration;

use asterism_dialer::DialerConfig;
use asterism_runtime::boot::{self, CommonArgs};
use asterism_runtime::heartbeat::Heartbeats;
use asterism_runtime::program::program;

const ABOUT: &str = "Turns contacts into attempts: claims a slot on a node, commits, sends, settles.";

fn main() -> ExitCode {
    program("asterism-dialer", ABOUT, run)
}

async fn run(args: CommonArgs) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args)? else { return Ok(()) };
    let listen = config.dialer.http_listen;
    let Some(booted) = boot::boot("dialer", config, listen, &["log", "objects"]).await? else {
        return Ok(());
    };
    let deps = boot::with_log(&booted).await?;
    let store = asterism_object_store::open(&booted.config.objects_url()?).await?;
    booted.health.set("objects", Ok::<(), String>(()));
    let metrics = asterism_dialer::webhook::report(deps.log.clone(), booted.health.clone());
    tokio::spawn(async move {
        if let Err(error) = metrics.await {
            tracing::warn!(%error, "the outbox is not among the metrics");
        }
    });
    let stale = Duration::from_millis(booted.config.agent.stale_after_ms);
    let heartbeats = Heartbeats::follow(&booted.bus, &booted.config.fleet, stale).await?;
    asterism_dialer::run(DialerConfig::from(&booted.config), deps.clone(), store, heartbeats).await?;
    boot::ending(&deps)?;
    tracing::info!("stopped");
    Ok(())
}

//! `asterism-scaler`: nodes as the campaigns need them.

use std::process::ExitCode;

use asterism_runtime::boot::{self, CommonArgs};
use asterism_runtime::program::program;
use asterism_scaler::counters::Counters;
use asterism_scaler::{ScalerConfig, provider};

const ABOUT: &str = "Launches, drains and ends the instances of a fleet.";

fn main() -> ExitCode {
    program("asterism-scaler", ABOUT, run)
}

async fn run(args: CommonArgs) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args)? else { return Ok(()) };
    let settings = ScalerConfig::load(&config)?;
    let cloud = provider::open(&config).await?;
    let listen = config.scaler.http_listen;
    let Some(booted) = boot::boot("scaler", config, listen, &["log"]).await? else { return Ok(()) };
    let deps = boot::with_log(&booted).await?;
    let counters = Counters::new(booted.health.metrics())?;
    asterism_scaler::run_counted(settings, deps.clone(), cloud, counters).await?;
    boot::ending(&deps)?;
    tracing::info!("stopped");
    Ok(())
}

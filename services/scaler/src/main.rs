//! `asterism-scaler`: nodes as the campaigns need them.

use std::process::ExitCode;

use asterism_runtime::boot::{self, CommonArgs};
use asterism_scaler::counters::Counters;
use asterism_scaler::{ScalerConfig, provider};
use clap::Parser;

/// Launches, drains and ends the instances of a fleet.
#[derive(Parser)]
#[command(name = "asterism-scaler", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("asterism-scaler: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args.common)? else { return Ok(()) };
    let cloud = provider::open(&config).await?;
    let listen = config.scaler.http_listen;
    let Some(booted) = boot::boot("scaler", config, listen, &["log"]).await? else { return Ok(()) };
    let deps = boot::with_log(&booted).await?;
    let counters = Counters::new(booted.health.metrics())?;
    asterism_scaler::run_counted(ScalerConfig::from(&booted.config), deps.clone(), cloud, counters).await?;
    boot::ending(&deps)?;
    tracing::info!("stopped");
    Ok(())
}

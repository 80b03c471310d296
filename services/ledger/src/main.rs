//! `asterism-ledger`: signs checkpoints, seals, archives, serves ranges.

use std::process::ExitCode;

use asterism_ledger::LedgerConfig;
use asterism_runtime::boot::{self, CommonArgs};
use asterism_runtime::program::program;

const ABOUT: &str = "Signs checkpoints of the log, seals it, and serves ranges of it to copies under repair.";

fn main() -> ExitCode {
    program("asterism-ledger", ABOUT, run)
}

async fn run(args: CommonArgs) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args)? else { return Ok(()) };
    let listen = config.ledger.http_listen;
    let Some(booted) = boot::boot("ledger", config, listen, &["log"]).await? else {
        return Ok(());
    };
    let deps = boot::with_log(&booted).await?;
    let health = Some(booted.health.clone());
    asterism_ledger::run_with(LedgerConfig::from(&booted.config), deps.clone(), health).await?;
    boot::ending(&deps)?;
    tracing::info!("stopped");
    Ok(())
}

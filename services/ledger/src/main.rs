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
    let ledger = LedgerConfig::from(&booted.config);
    asterism_ledger::run_with(ledger.clone(), deps.clone(), health).await?;
    boot::ending(&deps)?;
    match asterism_ledger::archive_at_the_end(&ledger, &deps).await {
        Ok(archived) => tracing::info!(archived, "sealed"),
        Err(problem) => tracing::error!(%problem, "the archive waits for the next start"),
    }
    tracing::info!("stopped");
    Ok(())
}

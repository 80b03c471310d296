//! `asterism-ledger`: signs checkpoints, seals, serves ranges.

use std::process::ExitCode;

use asterism_ledger::LedgerConfig;
use asterism_runtime::boot::{self, CommonArgs};
use clap::Parser;

/// Signs checkpoints of the log, seals it, and serves ranges of it to copies under repair.
#[derive(Parser)]
#[command(name = "asterism-ledger", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("asterism-ledger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args.common)? else { return Ok(()) };
    let listen = config.ledger.http_listen;
    let Some(booted) = boot::boot("ledger", config, listen, &["log"]).await? else {
        return Ok(());
    };
    let deps = boot::with_log(&booted).await?;
    asterism_ledger::run(LedgerConfig::from(&booted.config), deps.clone()).await?;
    boot::ending(&deps)?;
    tracing::info!("stopped");
    Ok(())
}

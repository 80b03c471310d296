//! `asterism-logic-responder`: what a call does next.

use std::process::ExitCode;

use asterism_logic_responder::{CHECKS, Deps};
use asterism_proto::Role;
use asterism_runtime::boot::{self, CommonArgs};
use clap::Parser;

/// Answers the dialplan's questions by the campaign's flow; run as many as you like.
#[derive(Parser)]
#[command(name = "asterism-logic-responder", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("asterism-logic-responder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args.common)? else { return Ok(()) };
    let listen = config.logic.http_listen;
    let waits_for: Vec<&str> = CHECKS.into_iter().chain(["objects"]).collect();
    let Some(booted) = boot::boot("logic-responder", config, listen, &waits_for).await? else {
        return Ok(());
    };
    let store = asterism_object_store::open(&booted.config.objects_url()?).await?;
    booted.health.set("objects", Ok::<(), String>(()));
    let deps = Deps {
        fleet: booted.config.fleet.clone(),
        bus: booted.bus.clone(),
        store,
        key: booted.keyring.role(Role::LogicResponder)?,
        health: booted.health.clone(),
    };
    asterism_logic_responder::run(booted.config.logic.clone(), deps, booted.shutdown.clone()).await?;
    booted.bus.drain().await;
    tracing::info!("stopped");
    Ok(())
}

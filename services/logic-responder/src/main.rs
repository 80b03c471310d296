//! `asterism-logic-responder`: what a call does next.

use std::process::ExitCode;

use asterism_logic_responder::{CHECKS, Deps};
use asterism_proto::Role;
use asterism_runtime::boot::{self, CommonArgs};
use asterism_runtime::program::program;

const ABOUT: &str = "Answers the dialplan's questions by the campaign's flow; run as many as you like.";

fn main() -> ExitCode {
    program("asterism-logic-responder", ABOUT, run)
}

async fn run(args: CommonArgs) -> anyhow::Result<()> {
    let Some(config) = boot::configure(&args)? else { return Ok(()) };
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
        log_key: booted.keyring.log_key()?,
        health: booted.health.clone(),
        spool_dir: booted.config.paths.data_dir.join("logic-responder.spool"),
    };
    asterism_logic_responder::run(booted.config.logic.clone(), deps, booted.shutdown.clone()).await?;
    booted.bus.drain().await;
    tracing::info!("stopped");
    Ok(())
}

//! `asterism up`: everything on this machine in one process, with a real nats-server as a child, nodes as processes and
//! a folder, or an S3 server on one, as object store.
//!
//! Reading order: [`args`], [`settings`], [`system`] (what runs), [`objects`], [`demo`] (the campaign that shows it), [`progress`], [`report`].

pub mod args;
pub mod demo;
mod objects;
pub mod progress;
pub mod report;
pub mod settings;
pub mod system;

pub use args::UpArgs;
pub use settings::Settings;

use std::io::IsTerminal;

use anyhow::Context;

use crate::output::Output;
use crate::up::system::System;

/// Runs `asterism up` to its end.
pub async fn run(args: UpArgs, settings: Settings, out: Output) -> anyhow::Result<()> {
    // Every service of the machine is in it: too large for the stack of whoever waits.
    let system = Box::pin(System::start(&args, &settings)).await?;
    let result = if args.demo { demo::run(&system, &args, out).await } else { serve(&system).await };
    let stay = args.demo && result.is_ok() && std::io::stdout().is_terminal() && !args.exit;
    if stay {
        eprintln!("The report stands in {}. Ctrl-C ends.", system.dir.join("report.json").display());
        let mut shutdown = system.signals.clone();
        shutdown.requested().await;
    }
    let log = system.dir.join("log");
    Box::pin(system.stop()).await.context("ending the local system")?;
    if !args.demo && result.is_ok() {
        eprintln!("All nodes are gone and the log is sealed. Next: asterism replay verify {}", log.display());
    }
    result
}

/// Stays up until Ctrl-C, then sends the fleet home.
async fn serve(system: &System) -> anyhow::Result<()> {
    eprintln!("Asterism is up. Fleet `{}`, bus {}.", system.fleet, system.nats_url);
    eprintln!("In another terminal: asterism --config {} campaign list", system.config_file.display());
    let mut shutdown = system.signals.clone();
    shutdown.requested().await;
    eprintln!("Sending the fleet home; Ctrl-C again ends at once.");
    demo::send_home(system, "the operator ended `asterism up`").await
}

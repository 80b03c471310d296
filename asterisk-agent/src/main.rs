//! `asterism-agent`: the sidecar of a node.

use std::process::ExitCode;

use asterism_agent::Error;
use asterism_agent::config::RunArgs;
use asterism_agent::instance::{self, InstanceArgs, guard};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// The sidecar of an Asterisk node: dials what the fleet orders, answers the dialplan, tells the log.
#[derive(Parser)]
#[command(name = "asterism-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent beside a PBX.
    Run(Box<RunArgs>),
    /// Run a whole node on this machine: a PBX and an agent, kept running.
    Instance(Box<InstanceArgs>),
    /// Run a program that ends when standard input does.
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("ASTERISM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match start(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<u8, Error> {
    if let Command::Guard(args) = command {
        return guard::run(&args);
    }
    // One thread is enough for 100 calls and keeps the agent small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Start { what: "the runtime".to_owned(), why: error.to_string() })?;
    match command {
        Command::Run(args) => runtime.block_on(asterism_agent::run::run(*args))?,
        Command::Instance(args) => runtime.block_on(instance::run(*args))?,
        Command::Guard(_) => {}
    }
    Ok(0)
}

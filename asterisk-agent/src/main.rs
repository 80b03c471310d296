//! `asterism-agent`: the sidecar of a node.

use asterism_agent::Error;
use asterism_agent::config::RunArgs;
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
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("ASTERISM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match start(cli) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), Error> {
    // One thread is enough for 100 calls and keeps the agent small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Start { what: "the runtime".to_owned(), why: error.to_string() })?;
    match cli.command {
        Command::Run(args) => runtime.block_on(asterism_agent::run::run(*args)),
    }
}

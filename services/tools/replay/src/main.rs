//! `asterism-replay`: verify, explain, prove, compare and export a log folder, without the fleet that wrote it.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Reads sealed logs: verify, explain, prove, compare, count, export. Needs no network and changes nothing.
#[derive(Debug, Parser)]
#[command(name = "asterism-replay", version)]
struct Arguments {
    #[command(subcommand)]
    command: asterism_replay::cli::Command,
}

fn main() -> ExitCode {
    match asterism_replay::cli::run(&Arguments::parse().command) {
        Ok(status) => status,
        // Whoever closed the pipe has what it wanted.
        Err(asterism_replay::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(1)
        }
    }
}

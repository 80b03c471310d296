//! `asterism`: one fleet from the command line.

use std::process::ExitCode;

use asterism_cli::args::{self, Cli};
use asterism_cli::commands;
use asterism_cli::output::Output;
use asterism_runtime::telemetry::{self, Format};
use clap::FromArgMatches;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // clap itself prints help and usage errors, and ends with status 0 or 2.
    let cli = Cli::from_arg_matches(&args::command().get_matches()).unwrap_or_else(|error| error.exit());
    let out = Output { json: cli.global.json, verbose: cli.global.verbose };
    let (level, format) = (
        if out.verbose { "debug" } else { "warn,asterism_runtime::health=error" },
        if out.json { Format::Json } else { Format::Text },
    );
    if let Err(error) = telemetry::init(level, format) {
        out.error(&asterism_cli::error::CliError::from_text(error));
        return ExitCode::from(asterism_cli::error::EXIT_FAILED);
    }
    match Box::pin(commands::run(cli)).await {
        Ok(status) => status,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

//! `asterism replay`: the auditor's own code; it sees the folder and nothing else.

use std::process::ExitCode;

use crate::error::CliError;

pub(super) fn run(command: &asterism_replay::cli::Command) -> Result<ExitCode, CliError> {
    match asterism_replay::cli::run(command) {
        // Whoever closed the pipe has what it wanted.
        Err(asterism_replay::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        done => done.map_err(CliError::from_text),
    }
}

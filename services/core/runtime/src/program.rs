//! `main` of a service program: arguments, one thread, and what an error looks like.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};

use crate::boot::CommonArgs;

/// Runs a service program to its end. `about` is the first line of its help.
pub fn program<E: Display>(
    name: &'static str,
    about: &'static str,
    run: impl AsyncFnOnce(CommonArgs) -> Result<(), E>,
) -> ExitCode {
    let failed = |error: &dyn Display| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    };
    let args = match CommonArgs::from_arg_matches(&command(name, about).get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    // One thread serves a fleet; what takes a core to itself (the copy's disk, the spool) has a thread of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn command(name: &'static str, about: &'static str) -> Command {
    CommonArgs::augment_args(Command::new(name).version(env!("CARGO_PKG_VERSION")).about(about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_declared_without_contradiction() {
        command("asterism-test", "A test.").debug_assert();
    }
}

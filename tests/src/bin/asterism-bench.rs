//! `asterism-bench`: the project's own figures, one JSON line each. `make bench` runs it.

use std::process::ExitCode;

use asterism_tests::bench;

fn main() -> ExitCode {
    if let Some(done) = bench::part() {
        return finished(done);
    }
    let mut arguments = std::env::args().skip(1);
    let only = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => None,
        (Some("--only"), Some(name), None) => Some(name),
        _ => {
            eprintln!("usage: asterism-bench [--only NAME]\nnames: {}", bench::names());
            return ExitCode::from(2);
        }
    };
    finished(bench::run(only.as_deref()))
}

fn finished(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("asterism-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

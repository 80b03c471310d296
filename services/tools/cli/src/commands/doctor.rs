//! `asterism doctor`: everything a fleet needs, each with what to do if it is not there.

mod bus;
mod machine;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::Context;
use crate::error::{CliError, EXIT_FAILED};

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Works, but not for long or not well.
    Warn,
    Fail,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    /// What to do; empty if nothing is.
    fix: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), fix: String::new() }
    }

    fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), fix: fix.into() }
    }

    fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, found: found.into(), fix: fix.into() }
    }
}

pub(super) async fn run(context: &Context) -> Result<ExitCode, CliError> {
    let mut checks = Vec::new();
    // Without a configuration nothing else can be looked at.
    if let Some(config) = machine::config(context, &mut checks) {
        checks.push(machine::keys(&config));
        checks.push(machine::disk(&config));
        checks.push(machine::objects(&config).await);
        bus::all(&config, &mut checks).await;
    }
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    let warned = checks.iter().filter(|check| check.status == Status::Warn).count();
    context.out.result(&json!({ "ok": failed == 0, "checks": checks }), || {
        let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for check in &checks {
            let word = match check.status {
                Status::Ok => "ok  ",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
            };
            let found = crate::output::plain(&check.found).replace('\n', "; ");
            let _ = writeln!(text, "{word}  {:<width$}  {found}", check.name);
            if !check.fix.is_empty() {
                let _ = writeln!(text, "{:6}{:width$}  fix: {}", "", "", check.fix);
            }
        }
        let good = checks.len() - failed - warned;
        let _ = writeln!(text, "{good} ok, {warned} warnings, {failed} failed");
        text
    })?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

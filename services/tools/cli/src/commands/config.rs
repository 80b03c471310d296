//! `asterism config`: is it sound, and where does each value stand.

use serde_json::json;

use super::{Context, shown};
use crate::args::ConfigCommand;
use crate::error::CliError;

pub(super) fn run(context: &Context, command: &ConfigCommand) -> Result<(), CliError> {
    let config = context.config()?;
    let file = context.config_file().map(|file| shown(&file));
    match command {
        ConfigCommand::Check => {
            let value = json!({ "ok": true, "file": file, "fleet": config.fleet });
            context.out.result(&value, || match &file {
                Some(file) => format!("{file}: ok: fleet {:?}\n", config.fleet),
                None => format!("no file, defaults only: ok: fleet {:?}\n", config.fleet),
            })
        }
        ConfigCommand::Print => {
            let text = config.print_masked();
            // Each line is `key = value`, with its place behind.
            let lines: Vec<&str> = text.lines().collect();
            context.out.result(&json!({ "file": file, "lines": lines }), || text.clone())
        }
    }
}

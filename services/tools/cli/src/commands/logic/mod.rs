//! `asterism logic`: flows, offline: checked, drawn, and tried without a phone.

mod draw;
mod layout;
mod walk;

use std::path::Path;
use std::process::ExitCode;

use asterism_domain::logic::Flow;
use serde_json::json;

use super::{Context, shown};
use crate::args::LogicCommand;
use crate::error::{CliError, EXIT_FAILED};
use crate::ops;

pub(super) async fn run(context: &Context, command: &LogicCommand) -> Result<ExitCode, CliError> {
    match command {
        LogicCommand::Check { file } => return check(context, file),
        LogicCommand::Draw { file, out } => draw(context, file, out.as_deref())?,
        LogicCommand::Try(args) => walk::run(context, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn draw(context: &Context, file: &Path, out: Option<&Path>) -> Result<(), CliError> {
    let (flow, _) = ops::read_flow(file)?;
    let picture = draw::svg(&flow);
    let Some(out) = out else {
        let value = json!({ "flow": flow.id(), "name": flow.name(), "svg": picture });
        return context.out.result(&value, || picture.clone());
    };
    std::fs::write(out, &picture).map_err(|error| {
        CliError::new("AST-Q143", format!("the picture {} cannot be written", shown(out)), error.to_string())
    })?;
    let value = json!({ "flow": flow.id(), "name": flow.name(), "file": shown(out), "bytes": picture.len() });
    context.out.result(&value, || format!("{}: {} states\n", shown(out), flow.states().count()))
}

fn check(context: &Context, file: &Path) -> Result<ExitCode, CliError> {
    let document = ops::read_flow_document(file)?;
    let name = shown(file);
    match Flow::parse_bytes(&document) {
        Ok(flow) => {
            let value = json!({
                "file": name, "ok": true, "flow": flow.id(), "name": flow.name(), "states": flow.states().count(),
                "prompts": flow.prompts(), "problems": [],
            });
            context.out.result(&value, || {
                let prompts = flow.prompts();
                format!(
                    "{name}: ok: flow {:?}, {} states, {} prompts ({}), id {}\n",
                    flow.name(),
                    flow.states().count(),
                    prompts.len(),
                    prompts.join(", "),
                    flow.id()
                )
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            let list: Vec<_> = problems
                .iter()
                .map(|problem| {
                    json!({
                        "code": problem.code, "line": problem.line, "column": problem.column,
                        "path": problem.path, "reason": problem.reason,
                    })
                })
                .collect();
            context.out.result(&json!({ "file": name, "ok": false, "problems": list }), || {
                let lines: Vec<String> = problems.iter().map(|problem| problem.in_file(&name)).collect();
                format!("{}\n{name}: {} to mend\n", lines.join("\n"), count(problems.len(), "problem"))
            })?;
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

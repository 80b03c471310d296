//! `asterism emergency`: all dialling stops, and goes on.

use std::fmt::Write as _;

use asterism_dialer::emergency::{EmergencyReport, ResumeEverything, StopEverything};
use asterism_proto::Role;
use serde_json::json;

use super::Context;
use crate::args::emergency::{EmergencyCommand, StopArgs};
use crate::error::CliError;

pub(super) async fn run(context: &Context, command: EmergencyCommand) -> Result<(), CliError> {
    match command {
        EmergencyCommand::Stop(args) => stop(context, args).await,
        EmergencyCommand::Resume { reason } => {
            let (_, client) = context.client().await?;
            let reply = client.role(Role::Dialer, "emergency.resume", &ResumeEverything { reason }).await?;
            context.out.result(&json!({ "done": "resume", "log_position": reply.position }), || {
                format!(
                    "dialling goes on, from position {} of the log\nNext: asterism campaign list\n",
                    reply.position
                )
            })
        }
        EmergencyCommand::Show => {
            let (_, client) = context.client().await?;
            let report: EmergencyReport =
                client.role_json(Role::Dialer, "emergency.show", &json!({})).await?;
            context.out.result(&report, || shown(&report))
        }
    }
}

async fn stop(context: &Context, args: StopArgs) -> Result<(), CliError> {
    let StopArgs { reason, cancel_ringing, cut_calls, dry_run } = args;
    let (_, client) = context.client().await?;
    let asked = StopEverything { reason, cancel_ringing, cut_calls, dry_run };
    let report: EmergencyReport = client.role_json(Role::Dialer, "emergency.stop", &asked).await?;
    context.out.result(&report, || {
        let mut text = if dry_run {
            "Nothing was stopped. It would end:\n".to_owned()
        } else {
            "Stopped: nothing is dialled until asterism emergency resume.\n".to_owned()
        };
        let EmergencyReport { undialled, ringing, calls, nodes, .. } = &report;
        let rings = if cancel_ringing { "hung up" } else { "rings on (--cancel-ringing hangs it up)" };
        let talks = if cut_calls { "cut" } else { "go on to their end (--cut-calls cuts them)" };
        let _ = writeln!(text, "  not dialled yet  {undialled:>6}  withdrawn; these contacts wait again");
        let _ = writeln!(text, "  ringing          {ringing:>6}  {rings}");
        let _ = writeln!(text, "  calls up         {calls:>6}  {talks}");
        let _ = writeln!(text, "on {nodes} nodes, as far as the log knew when the command came.");
        if !report.silent.is_empty() {
            let _ = writeln!(
                text,
                "Not confirmed by {}: what they hold is not dialled after its order's window, the last of which closes at \
                 {} ms since 1970; they are told again until they answer.",
                report.silent.join(", "),
                report.closes_at_ms
            );
        }
        text
    })
}

fn shown(report: &EmergencyReport) -> String {
    let EmergencyReport { undialled, ringing, calls, nodes, .. } = report;
    let stands = match &report.stop {
        Some(stop) => format!(
            "An emergency stop holds, by {} at position {} of the log: {}\nNext: asterism emergency resume --reason …\n",
            stop.by, stop.position, stop.reason
        ),
        None => "There is no emergency stop.\n".to_owned(),
    };
    format!(
        "{stands}In flight on {nodes} nodes: {undialled} not dialled yet, {ringing} ringing, {calls} calls up.\n"
    )
}

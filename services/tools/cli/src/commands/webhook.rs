//! `asterism webhook`: notices to the user's own server.

use std::fmt::Write as _;

use asterism_dialer::webhook::{OneNotice, Resend, Resent, Shown};
use asterism_domain::webhook::finished::{Asked, NoticeLine, OutboxReport};
use asterism_proto::Role;
use asterism_replay::when;
use serde_json::json;

use super::Context;
use crate::args::webhook::{ResendArgs, WebhookCommand};
use crate::error::CliError;
use crate::output::{Align, plain, table};

pub(super) async fn run(context: &Context, command: WebhookCommand) -> Result<(), CliError> {
    match command {
        WebhookCommand::List { state, campaign, limit } => {
            let (standing, campaign) = (state.map(Into::into), campaign.unwrap_or_default());
            list(context, Asked { standing, campaign, limit }).await
        }
        WebhookCommand::Show { id } => show(context, id).await,
        WebhookCommand::Resend(args) => resend(context, args).await,
    }
}

async fn list(context: &Context, asked: Asked) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let report: OutboxReport = client.role_json(Role::Dialer, "webhook.list", &asked).await?;
    context.out.result(&json!(report), || describe(&report))
}

fn describe(report: &OutboxReport) -> String {
    let mut text = if report.endpoint.is_empty() {
        "There is no receiver: name one in [webhook] of the dialer's configuration.\n".to_owned()
    } else {
        format!("notices of {} go to {}\n", report.kinds.join(", "), report.endpoint)
    };
    let oldest =
        report.oldest_ms.map_or_else(String::new, |at| format!(", the oldest of {}", when::shown(at)));
    let _ = writeln!(
        text,
        "{} owed{oldest}; {} delivered and {} given up, ever",
        report.owed, report.delivered, report.given_up
    );
    if report.notices.is_empty() {
        return text;
    }
    let columns = [
        ("id", Align::Left),
        ("state", Align::Left),
        ("kind", Align::Left),
        ("happened", Align::Left),
        ("campaign", Align::Left),
        ("contact", Align::Right),
        ("settled", Align::Left),
        ("given up because", Align::Left),
    ];
    let rows: Vec<Vec<String>> = report.notices.iter().map(row).collect();
    text + &table(&columns, &rows)
}

fn row(line: &NoticeLine) -> Vec<String> {
    let why = if line.reason.is_empty() {
        String::new()
    } else {
        format!("{} (tried {} times at most)", plain(&line.reason), line.tries)
    };
    vec![
        line.id.clone(),
        line.standing.name().to_owned(),
        line.kind.clone(),
        when::shown(line.at_ms),
        line.campaign.clone(),
        line.contact.map_or_else(String::new, |contact| contact.to_string()),
        line.settled.clone().unwrap_or_default(),
        why,
    ]
}

async fn show(context: &Context, id: String) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let asked = OneNotice { id };
    let shown: Shown = client.role_json(Role::Dialer, "webhook.show", &asked).await.map_err(list_next)?;
    context.out.result(&json!(shown), || {
        let line = &shown.line;
        let done = line.finished_ms.map_or_else(String::new, |at| format!(" at {}", when::shown(at)));
        let why = if line.reason.is_empty() { String::new() } else { format!(": {}", plain(&line.reason)) };
        let said = serde_json::to_string_pretty(&shown.notice).unwrap_or_default();
        format!("{} is {}{done}{why}\n{said}\n", line.id, line.standing.name())
    })
}

async fn resend(context: &Context, args: ResendArgs) -> Result<(), CliError> {
    let ResendArgs { ids, campaign, reason, dry_run, .. } = args;
    let (_, client) = context.client().await?;
    let asked = Resend { ids, campaign: campaign.unwrap_or_default(), reason, dry_run };
    let done: Resent = client.role_json(Role::Dialer, "webhook.resend", &asked).await.map_err(list_next)?;
    let value = json!({ "ids": done.ids, "dry_run": dry_run });
    context.out.result(&value, || {
        let (count, first) = (done.ids.len(), done.ids.first().cloned().unwrap_or_default());
        let verb = if dry_run { "would be delivered" } else { "are to be delivered" };
        format!("{count} notices {verb} once more, under the ids they had; the first is {first}\n")
    })
}

fn list_next(error: CliError) -> CliError {
    error.next("asterism webhook list")
}

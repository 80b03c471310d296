//! `asterism campaign`.

mod contacts;
mod create;
mod export;
mod forecast;
mod redial;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use asterism_dialer::commands::OneCampaign;
use asterism_domain::report::numbers::CampaignNumbers;
use asterism_proto::Role;
use asterism_replay::fold::Pass;
use asterism_replay::when;
use serde_json::json;

use super::{Context, shown};
use crate::args::CampaignCommand;
use crate::args::campaign::ReasonArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::ops::{self, CampaignReport};
use crate::output::{Align, pairs, table};

pub(super) async fn run(context: &Context, command: CampaignCommand) -> Result<(), CliError> {
    match command {
        CampaignCommand::Create(args) => Box::pin(create::run(context, *args)).await,
        CampaignCommand::Import(args) => contacts::import(context, args).await,
        CampaignCommand::Export(args) => export::run(context, args).await,
        CampaignCommand::Set(args) => rules::set(context, *args).await,
        CampaignCommand::Rules(args) => rules::check(context, &args),
        CampaignCommand::List => list(context).await,
        CampaignCommand::Show { campaign, log: Some(log) } => offline(context, &campaign, &log),
        CampaignCommand::Show { campaign, log: None } => show(context, &campaign).await,
        CampaignCommand::Start { campaign } => tell(context, "start", &campaign, "").await,
        CampaignCommand::Resume { campaign } => tell(context, "resume", &campaign, "").await,
        CampaignCommand::Pause(ReasonArgs { campaign, reason }) => {
            tell(context, "pause", &campaign, &reason).await
        }
        CampaignCommand::Stop(ReasonArgs { campaign, reason }) => {
            tell(context, "stop", &campaign, &reason).await
        }
        CampaignCommand::Redial(args) => redial::redial(context, args).await,
        CampaignCommand::GoLive(ReasonArgs { campaign, reason }) => {
            tell(context, "live", &campaign, &reason).await
        }
    }
}

/// Reads a rules file.
pub(super) fn rules_file(path: &Path) -> Result<asterism_domain::rules::CampaignRules, CliError> {
    rules::read_file(path)
}

async fn tell(context: &Context, verb: &str, campaign: &str, reason: &str) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    if let Err(refused) = ops::tell_campaign(&client, &format!("campaign.{verb}"), campaign, reason).await {
        return Err(with_status(&client, campaign, list_next(refused)).await);
    }
    let halts = matches!(verb, "pause" | "stop");
    // Decided before the halt: they end in their own time. None if nobody says now.
    let under_way = if halts { report(&client, campaign).await.map(|one| one.in_flight) } else { None };
    let done = match verb {
        "start" => "started".to_owned(),
        "pause" => format!("paused: nothing new is dialled; {}", go_on(under_way)),
        "resume" => "resumed".to_owned(),
        "stop" => format!("stopped for good: nothing new is dialled; {}", go_on(under_way)),
        _ => "live: every contact may be dialled now".to_owned(),
    };
    let mut value = json!({ "campaign": campaign, "done": verb });
    if halts {
        value["in_flight"] = json!(under_way);
    }
    context.out.result(&value, || format!("campaign {campaign} {done}\n"))
}

/// Says where the campaign stands, if that is why the dialer refused.
async fn with_status(client: &Client, campaign: &str, mut refused: CliError) -> CliError {
    if refused.code == "AST-D021"
        && let Some(found) = report(client, campaign).await
    {
        refused.why = format!("it is {}", found.status);
    }
    refused
}

async fn report(client: &Client, campaign: &str) -> Option<CampaignReport> {
    ops::campaigns(client).await.ok()?.into_iter().find(|one| one.campaign == campaign)
}

fn go_on(under_way: Option<u32>) -> String {
    match under_way {
        Some(0) => "no attempt is under way".to_owned(),
        Some(1) => "1 attempt is under way and ends in its own time".to_owned(),
        Some(many) => format!("{many} attempts are under way and end in their own time"),
        None => "attempts under way end in their own time".to_owned(),
    }
}

/// What helps with the dialer's refusals.
fn list_next(error: CliError) -> CliError {
    match error.code.as_str() {
        // It is there already, is not there, or is not in a state for this: the list says which.
        "AST-D002" | "AST-D020" | "AST-D021" | "AST-D046" | "AST-D158" | "AST-D160" => {
            error.next("asterism campaign list")
        }
        "AST-D043" => error.next("asterism trunk list"),
        _ => error,
    }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let campaigns = ops::campaigns(&client).await?;
    context.out.result(&campaigns, || {
        if campaigns.is_empty() {
            return "There is no campaign yet. Next: asterism campaign create --help\n".to_owned();
        }
        let rows: Vec<Vec<String>> = campaigns
            .iter()
            .map(|one| {
                let numbers = [
                    one.contacts,
                    one.waiting,
                    one.in_flight,
                    one.settled,
                    one.uncertain,
                    one.attempts,
                    one.answered,
                ];
                let mut row = vec![one.campaign.clone(), one.status.clone()];
                row.extend(numbers.iter().map(u32::to_string));
                row
            })
            .collect();
        let mut columns = vec![("campaign", Align::Left), ("status", Align::Left)];
        let numbers = ["contacts", "waiting", "in flight", "settled", "uncertain", "attempts", "answered"];
        columns.extend(numbers.map(|name| (name, Align::Right)));
        table(&columns, &rows)
    })
}

async fn show(context: &Context, campaign: &str) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let found = ops::campaigns(&client).await?.into_iter().find(|one| one.campaign == campaign);
    let Some(found) = found else {
        let what = format!("there is no campaign {campaign:?}");
        return Err(CliError::new("AST-U021", what, "").next("asterism campaign list"));
    };
    let asked = OneCampaign { campaign: campaign.to_owned(), reason: String::new() };
    let numbers: CampaignNumbers = client.role_json(Role::Dialer, "campaign.show", &asked).await?;
    let mut value = json!(found);
    value["numbers"] = json!(numbers);
    context.out.result(&value, || describe(&found) + &numbers.figures())
}

/// The same numbers, from a folder of sealed segments.
fn offline(context: &Context, campaign: &str, log: &Path) -> Result<(), CliError> {
    let mut pass = Pass { folder: log, anchor: None, progress: &mut |_| {} };
    let found = asterism_replay::report::report(&mut pass, Some(campaign)).map_err(CliError::from_text)?;
    let Some(numbers) = found.first() else {
        let what = format!("the log in {} has no campaign {campaign:?}", log.display());
        return Err(CliError::new("AST-U021", what, ""));
    };
    context.out.result(&json!({ "campaign": campaign, "numbers": numbers }), || numbers.text())
}

/// How many, and what to do about them.
fn uncertain(one: &CampaignReport) -> String {
    match one.uncertain {
        0 => "0".to_owned(),
        many => format!(
            "{many} (may have been rung; not dialled again but by: asterism campaign redial {})",
            one.campaign
        ),
    }
}

fn describe(one: &CampaignReport) -> String {
    let counts = |counts: &BTreeMap<String, u32>, none: &str| {
        let counts: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{}: {count}", if name.is_empty() { none } else { name }))
            .collect();
        if counts.is_empty() { "none yet".to_owned() } else { counts.join(", ") }
    };
    let name = if one.name.is_empty() || one.name == one.campaign {
        String::new()
    } else {
        format!(" ({})", one.name)
    };
    let mut status = one.status.clone();
    if !one.hold.is_empty() {
        status.push_str(", and nothing new is dialled: ");
        status.push_str(&one.hold);
    }
    if !one.budget_reached.is_empty() {
        status.push_str(", its budget is used up: ");
        status.push_str(&one.budget_reached);
    }
    let mut lines = vec![
        ("campaign", format!("{}{name}", one.campaign)),
        ("status", status),
        ("contacts", one.contacts.to_string()),
        ("  waiting", one.waiting.to_string()),
        ("  in flight", one.in_flight.to_string()),
        ("  settled", format!("{} (excluded {})", one.settled, one.excluded)),
        ("  excluded", counts(&one.excluded_by, "none")),
        ("  uncertain", uncertain(one)),
        ("  erased", one.erased.to_string()),
        ("outcomes", counts(&one.outcomes, "none")),
        ("digits", counts(&one.digits, "none pressed")),
        (
            "attempts",
            format!(
                "{} (rang {}, answered {}, refused by nodes {}, turned away by trunks {})",
                one.attempts, one.rang, one.answered, one.refused, one.turned_away
            ),
        ),
        ("talk", format!("{} s", one.talk_ms / 1_000)),
    ];
    if !one.limited_by.is_empty() {
        let until =
            one.limited_until_ms.map_or_else(String::new, |at| format!(", until {}", when::shown(at)));
        lines.push(("limited by", format!("the next one waits: {}{until}", one.limited_by)));
    }
    if !one.cost.is_empty() {
        lines.push(("cost", one.cost.clone()));
    }
    if one.known_elsewhere > 0 {
        lines.push(("left out", format!("{} rows whose numbers other campaigns have", one.known_elsewhere)));
    }
    if !one.importing.is_empty() {
        let what = format!("{} (it is not complete before they are)", one.importing.join(", "));
        lines.push(("importing", what));
    }
    pairs(&lines)
}

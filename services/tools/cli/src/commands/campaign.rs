//! `asterism campaign`.

mod create;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, shown};
use crate::args::CampaignCommand;
use crate::args::campaign::{ImportArgs, ListArgs, ReasonArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::import::{Options, Summary};
use crate::ops::{self, CampaignReport};
use crate::output::{Align, pairs, table};

pub(super) async fn run(context: &Context, command: CampaignCommand) -> Result<(), CliError> {
    match command {
        CampaignCommand::Create(args) => create::run(context, *args).await,
        CampaignCommand::Import(args) => import(context, args).await,
        CampaignCommand::Set(args) => rules::set(context, *args).await,
        CampaignCommand::Rules(args) => rules::check(context, &args),
        CampaignCommand::List => list(context).await,
        CampaignCommand::Show { campaign } => show(context, &campaign).await,
        CampaignCommand::Start { campaign } => tell(context, "start", &campaign, "").await,
        CampaignCommand::Resume { campaign } => tell(context, "resume", &campaign, "").await,
        CampaignCommand::Pause(ReasonArgs { campaign, reason }) => {
            tell(context, "pause", &campaign, &reason).await
        }
        CampaignCommand::Stop(ReasonArgs { campaign, reason }) => {
            tell(context, "stop", &campaign, &reason).await
        }
        CampaignCommand::GoLive(ReasonArgs { campaign, reason }) => {
            tell(context, "live", &campaign, &reason).await
        }
    }
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
        "AST-D002" | "AST-D020" | "AST-D021" | "AST-D046" => error.next("asterism campaign list"),
        "AST-D043" => error.next("asterism config print"),
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
    context.out.result(&found, || describe(&found))
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
    pairs(&[
        ("campaign", format!("{}{name}", one.campaign)),
        ("status", status),
        ("contacts", one.contacts.to_string()),
        ("  waiting", one.waiting.to_string()),
        ("  in flight", one.in_flight.to_string()),
        ("  settled", format!("{} (excluded {})", one.settled, one.excluded)),
        ("  excluded", counts(&one.excluded_by, "none")),
        ("  uncertain", one.uncertain.to_string()),
        ("  erased", one.erased.to_string()),
        ("outcomes", counts(&one.outcomes, "none")),
        ("digits", counts(&one.digits, "none pressed")),
        (
            "attempts",
            format!(
                "{} (rang {}, answered {}, refused by nodes {})",
                one.attempts, one.rang, one.answered, one.refused
            ),
        ),
    ])
}

async fn import(context: &Context, args: ImportArgs) -> Result<(), CliError> {
    let options = options(&args.contacts, &args.list, false);
    let (_, client) = context.client().await?;
    let say = |sent: u64| context.out.say(&format!("{sent} contacts imported"));
    let summary =
        ops::import_contacts(&client, &args.campaign, &args.contacts, &options, None, quiet(context, say))
            .await?;
    let value =
        json!({ "campaign": args.campaign, "import": summary_json(&summary, &args.contacts, &options) });
    context.out.result(&value, || summary_text(&summary, &args.contacts, &options))
}

/// Progress only for those who asked for talk.
fn quiet(context: &Context, mut say: impl FnMut(u64)) -> impl FnMut(u64) {
    let wanted = context.out.verbose;
    move |sent| {
        if wanted {
            say(sent);
        }
    }
}

fn options(contacts: &Path, list: &ListArgs, dry_run: bool) -> Options {
    let rejects = list.rejects.clone().unwrap_or_else(|| {
        let mut name = contacts.as_os_str().to_owned();
        name.push(".rejects.csv");
        PathBuf::from(name)
    });
    Options {
        number_column: list.number_column.clone(),
        dry_run,
        rejects: Some(rejects),
        ..Options::default()
    }
}

fn summary_json(summary: &Summary, contacts: &Path, options: &Options) -> serde_json::Value {
    let samples: Vec<_> = summary
        .samples
        .iter()
        .map(|contact| {
            let fields: Vec<&str> = contact.fields.iter().map(|(name, _)| name.as_str()).collect();
            json!({ "number": contact.number.mask(), "fields": fields })
        })
        .collect();
    json!({
        "file": contacts, "sha256": summary.file_sha256, "separator": summary.separator.to_string(),
        "columns": summary.columns, "number_column": summary.number_column, "rows": summary.rows, "good": summary.good,
        "rejected": summary.rejected, "duplicates": summary.duplicates, "rejected_by_code": summary.rejected_by_code,
        "samples": samples, "rejects": options.rejects, "dry_run": summary.dry_run,
    })
}

fn summary_text(summary: &Summary, contacts: &Path, options: &Options) -> String {
    let mut text = format!(
        "{}: {} rows: {} good, {} rejected, {} {} left out\n",
        shown(contacts),
        summary.rows,
        summary.good,
        summary.rejected,
        summary.duplicates,
        if summary.duplicates == 1 { "duplicate" } else { "duplicates" }
    );
    text.push_str(&pairs(&[
        ("columns", summary.columns.join(", ")),
        ("number", format!("column {:?}", summary.number_column)),
    ]));
    for (code, count) in &summary.rejected_by_code {
        let _ = writeln!(text, "rejected {count:>7}  {code}: {}", reason_of(code));
    }
    for contact in &summary.samples {
        let fields: Vec<&str> = contact.fields.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(text, "sample   {}  {}", contact.number.mask(), fields.join(", "));
    }
    if summary.rejected > 0 {
        let rejects = options.rejects.as_deref().map(shown).unwrap_or_default();
        let verb = if summary.dry_run { "would go to" } else { "are in" };
        let _ = writeln!(text, "rejected rows {verb} {rejects} with line, column, reason and fix");
    }
    text
}

/// What a code means, in one phrase. The file of rejects has the exact reason of each row.
fn reason_of(code: &str) -> &'static str {
    match code {
        "AST-I001" => "not UTF-8",
        "AST-I002" => "another number of columns than the header",
        "AST-I003" => "the row is too long",
        "AST-I004" => "a quote is not closed",
        "AST-I005" => "a value is too long",
        "AST-I006" => "number and fields together are too long",
        "AST-I007" => "no number",
        "AST-I008" => "a spreadsheet made the number scientific",
        "AST-I009" => "letters in the number",
        "AST-I010" => "a character that has no place in a number",
        "AST-I011" => "no + and country code",
        "AST-I012" => "a country code beginning with 0",
        "AST-I013" => "too few digits",
        "AST-I014" => "too many digits",
        _ => "see the file of rejects",
    }
}

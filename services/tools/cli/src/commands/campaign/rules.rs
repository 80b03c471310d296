//! Rules of a campaign: read from a file, shown, changed while it runs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use asterism_dialer::commands::SetCampaign;
use asterism_domain::campaign::budget::money;
use asterism_domain::contact::E164;
use asterism_domain::rules::{CampaignRules, RuleProblem, read};
use asterism_proto::Role;
use asterism_replay::when;
use serde_json::json;

use super::list_next;
use crate::args::campaign::{RulesArgs, SetArgs};
use crate::commands::{Context, number, shown};
use crate::error::CliError;

/// Reads a rules file.
///
/// # Errors
/// AST-U123 it cannot be read, AST-U125 with everything that is wrong in it.
pub(super) fn read_file(path: &Path) -> Result<CampaignRules, CliError> {
    problems(path).map_err(|found| match found.as_slice() {
        [unreadable] if unreadable.code == "AST-U123" => unreadable.clone(),
        _ => {
            let lines: Vec<String> = found.iter().map(|problem| format!("  {problem}")).collect();
            let what = format!("the rules {} cannot be kept:\n{}", shown(path), lines.join("\n"));
            CliError::new("AST-U125", what, "")
        }
    })
}

/// [`read_file`] with an error for each problem.
pub(super) fn problems(path: &Path) -> Result<CampaignRules, Vec<CliError>> {
    let unreadable = |error: std::io::Error| {
        let what = format!("the rules {} cannot be read", shown(path));
        vec![CliError::new("AST-U123", what, error.to_string())]
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut at_most = std::io::Read::take(file, read::MAX_DOCUMENT_BYTES as u64 + 1);
    std::io::Read::read_to_string(&mut at_most, &mut text).map_err(unreadable)?;
    let coded = |problem: &RuleProblem| CliError::new(problem.code(), problem.to_string(), "");
    read::read(&text, now_ms()).map_err(|problems| problems.iter().map(coded).collect())
}

/// `asterism campaign rules`: checks a file and says how it is understood.
pub(super) fn check(context: &Context, args: &RulesArgs) -> Result<(), CliError> {
    let rules = read_file(&args.file)?;
    context.out.result(&rules, || describe(&rules))
}

/// `asterism campaign set`.
pub(super) async fn set(context: &Context, args: SetArgs) -> Result<(), CliError> {
    let all = args.caller_ids.iter().map(|text| number(text, "--caller-id").map(E164::expose));
    let mut caller_ids = all.collect::<Result<Vec<String>, _>>()?.into_iter();
    let asked = SetCampaign {
        campaign: args.campaign.clone(),
        max_channels: args.max_channels,
        calls_per_second: args.calls_per_second,
        ring_timeout_ms: args.ring_timeout.map(|time| time.0),
        max_attempts: args.max_attempts,
        caller_id: caller_ids.next(),
        caller_ids: caller_ids.collect(),
        trunks: args.trunks,
        manifest: None,
        rules: args.rules.as_deref().map(read_file).transpose()?,
        reason: args.reason,
    };
    let nothing = asked.max_channels.is_none()
        && asked.calls_per_second.is_none()
        && asked.ring_timeout_ms.is_none()
        && asked.max_attempts.is_none()
        && asked.caller_id.is_none()
        && asked.trunks.is_empty()
        && asked.rules.is_none();
    if nothing {
        return Err(CliError::usage("AST-U124", "nothing is to be set", "name at least one thing to change"));
    }
    let (_, client) = context.client().await?;
    let reply = client.role(Role::Dialer, "campaign.set", &asked).await.map_err(list_next)?;
    let value = json!({ "campaign": args.campaign, "log_position": reply.position });
    context.out.result(&value, || {
        format!("campaign {} is changed from position {} of the log on\n", args.campaign, reply.position)
    })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

fn describe(rules: &CampaignRules) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    if !rules.profile.is_empty() {
        line("profile", rules.profile.clone());
    }
    for window in &rules.windows {
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<&str> = (0..7)
            .filter(|day| window.weekdays >> day & 1 == 1)
            .filter_map(|day| days.get(day).copied())
            .collect();
        let (from, to) = (clock(window.from_minute), clock(window.to_minute));
        line("window", format!("{} {from} to {to}, where the callee is", days.join(" ")));
    }
    if rules.windows.is_empty() {
        line("window", "any time".to_owned());
    }
    if !rules.holidays.is_empty() {
        line("holidays", format!("{} days", rules.holidays.len()));
    }
    let zone = if rules.default_zone.is_empty() {
        "not dialled while there are windows"
    } else {
        &rules.default_zone
    };
    line("zone unknown", zone.to_owned());
    for cap in &rules.caps {
        let period =
            if cap.period_ms == 0 { "ever".to_owned() } else { format!("in {}", length(cap.period_ms)) };
        line("cap", format!("a number rings at most {} times {period}, over all campaigns", cap.max));
    }
    if rules.min_gap_ms > 0 {
        line("gap", format!("{} between two rings of a number", length(rules.min_gap_ms)));
    }
    line("consent", if rules.consent_required { "required" } else { "not asked for" }.to_owned());
    if rules.detect_machines {
        line("machines", "who answers is listened to first; a machine is hung up on".to_owned());
    }
    line("do not call", rules.lists().collect::<Vec<_>>().join(", "));
    if rules.deadline_ms > 0 {
        line("deadline", format!("{}: whoever still waits then is left out", when::shown(rules.deadline_ms)));
    }
    let (budget, price) = (&rules.budget, &rules.price);
    if budget.answered > 0 {
        line("budget", format!("{} answered calls, then it pauses", budget.answered));
    }
    if budget.talk_ms > 0 {
        line("budget", format!("{} of talk, then it pauses", length(budget.talk_ms)));
    }
    if budget.cost_micro > 0 {
        line("budget", format!("{} {}, then it pauses", money(budget.cost_micro), price.currency));
    }
    if price.is_known() {
        let (call, minute) = (money(price.call_micro), money(price.minute_micro));
        line("price", format!("{call} {0} a call and {minute} {0} a minute", price.currency));
    }
    for rule in &rules.retries {
        let doubled = if rule.doubling { ", doubled each time" } else { "" };
        let moved = if rule.another_trunk { ", on another trunk" } else { "" };
        let name = rule.outcome.name();
        let later = length(rule.delay_ms);
        line("retry", format!("{name}: {} times, {later} later{doubled}{moved}", rule.max));
    }
    text
}

fn length(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

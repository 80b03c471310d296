//! `asterism call`: one test call, which is a campaign of one contact whose number alone is allowed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use asterism_dialer::commands::CreateCampaign;
use asterism_domain::contact::E164;
use asterism_domain::rules::{CampaignRules, RetryRule, retry};
use asterism_runtime::config::Config;
use asterism_runtime::keys::random;
use serde_json::json;

use super::resolve::{self, Prompts};
use super::{Context, number, store};
use crate::args::CallArgs;
use crate::client::Client;
use crate::error::{CliError, EXIT_FAILED};
use crate::ops::{self, CampaignReport};
use crate::output::pairs;

/// Pause between two looks at the campaign.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(context: &Context, args: CallArgs) -> Result<ExitCode, CliError> {
    let number = number(&args.number, "the number")?;
    if let Some(file) = resolve::flow_file(&args.flow) {
        ops::read_flow(&file)?;
    }
    let (config, client) = context.client().await?;
    let trunk = trunk(&args, &config)?;
    let store = store(&config).await?;
    let flow = resolve::flow(&client, store.as_ref(), &args.flow).await?;
    let prompts = args.prompts.as_deref().map(Prompts::read);
    let manifest = resolve::manifest(&client, store.as_ref(), prompts.as_ref(), &flow).await?;
    let campaign = format!("call-{}", hex::encode(random::<8>()?));
    let new = CreateCampaign {
        campaign: campaign.clone(),
        name: "test call".to_owned(),
        flow: flow.id().to_owned(),
        manifest,
        caller_id: config.trunks.get(&trunk).and_then(|trunk| trunk.caller_id.clone()).unwrap_or_default(),
        trunk,
        trunks: Vec::new(),
        caller_ids: Vec::new(),
        max_channels: 1,
        calls_per_second: 1,
        ring_timeout_ms: args.ring_timeout.0,
        max_attempts: 1,
        live: false,
        allowed: vec![number.expose()],
        // One call is one ring, whatever becomes of it.
        rules: CampaignRules {
            retries: vec![RetryRule { max: 0, ..retry::CONGESTION }],
            ..CampaignRules::default()
        },
    };
    ops::place_call(&client, &new, number).await?;
    context.out.say(&format!("calling {} as campaign {campaign}; Ctrl-C gives up", number.mask()));
    let waiting = outcome(context, &client, &campaign, Duration::from_millis(args.timeout.0.into()));
    let ended = tokio::select! {
        ended = waiting => ended,
        _ = tokio::signal::ctrl_c() => Err(CliError::new("AST-U052", "given up by Ctrl-C", "")),
    };
    match ended {
        Ok(report) => tell(context, number, &report),
        Err(error) => {
            // Nobody waits for this call any more, so it must not be placed later.
            if let Err(stop) =
                ops::tell_campaign(&client, "campaign.stop", &campaign, "nobody waits for the test call")
                    .await
            {
                context.out.say(&format!("warning: the test call may still be placed: {stop}"));
            }
            Err(error.next(format!("asterism campaign show {campaign}")))
        }
    }
}

fn trunk(args: &CallArgs, config: &Config) -> Result<String, CliError> {
    if let Some(trunk) = &args.trunk {
        return Ok(trunk.clone());
    }
    let names: Vec<&String> = config.trunks.keys().collect();
    match names.as_slice() {
        [only] => Ok((*only).clone()),
        [] => {
            let why = "this configuration has no trunk; name the dialer's with --trunk";
            Err(CliError::usage("AST-U050", "no trunk to call through", why))
        }
        _ => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            Err(CliError::usage(
                "AST-U050",
                "several trunks are configured",
                format!("name one with --trunk: {}", names.join(", ")),
            ))
        }
    }
}

/// Waits until the campaign has ended, saying what goes on.
async fn outcome(
    context: &Context,
    client: &Client,
    campaign: &str,
    timeout: Duration,
) -> Result<CampaignReport, CliError> {
    let deadline = Instant::now() + timeout;
    let mut said = "";
    loop {
        let found = ops::campaigns(client).await?.into_iter().find(|one| one.campaign == campaign);
        let Some(report) = found else {
            return Err(CliError::new(
                "AST-U051",
                "the test call is gone",
                "the fleet does not know its campaign",
            ));
        };
        if report.has_ended() {
            return Ok(report);
        }
        let now = match (report.in_flight, report.answered) {
            (0, _) => "waiting for a node with the prompts",
            (_, 0) => "placing the call",
            _ => "answered, the flow runs",
        };
        if now != said {
            context.out.say(now);
            said = now;
        }
        if Instant::now() >= deadline {
            let why = format!("last seen: {now}");
            return Err(CliError::new("AST-U053", format!("no outcome within {} s", timeout.as_secs()), why));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The call's outcome. The status is 0 if it was answered.
fn tell(context: &Context, number: E164, report: &CampaignReport) -> Result<ExitCode, CliError> {
    let outcome = report.outcomes.iter().find(|(_, count)| **count > 0).map(|(outcome, _)| outcome.as_str());
    let outcome = outcome.unwrap_or(if report.uncertain > 0 { "uncertain" } else { "not placed" });
    let digits: Vec<&str> =
        report.digits.iter().filter(|(_, count)| **count > 0).map(|(digits, _)| digits.as_str()).collect();
    let digits = digits.join(",");
    let value = json!({
        "campaign": report.campaign, "number": number.mask(), "outcome": outcome, "digits": digits, "answered": report.answered > 0,
    });
    context.out.result(&value, || {
        let digits = if digits.is_empty() { "none".to_owned() } else { digits.clone() };
        pairs(&[
            ("number", number.mask()),
            ("outcome", outcome.to_owned()),
            ("digits", digits),
            ("campaign", report.campaign.clone()),
        ])
    })?;
    Ok(if report.answered > 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

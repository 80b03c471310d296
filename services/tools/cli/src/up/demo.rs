//! The demo: the same commands a person would give, one after the other, and a report at the end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::campaign::CampaignStatus;
use asterism_domain::rules::{CampaignRules, RetryRule, retry};
use asterism_proto::Role;
use asterism_scaler::cloud::{Cloud, InstanceState};

use super::args::UpArgs;
use super::progress::Progress;
use super::report::{self, Report};
use super::system::{System, TRUNK};
use crate::output::Output;
use crate::{import, ops};

/// The demo's campaign.
pub const CAMPAIGN: &str = "demo";
/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Longest the fleet may take to go: calls up are never cut.
const GO_HOME_PATIENCE: Duration = Duration::from_mins(3);

/// Runs the campaign and writes the report.
pub async fn run(system: &System, args: &UpArgs, out: Output) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut progress = Progress::start();
    let mut signals = system.signals.clone();
    let finished = tokio::select! {
        done = campaign(system, args, &mut progress) => { done?; true }
        () = signals.requested() => false,
    };
    if !finished {
        progress.note("Stopping: no new calls; calls up are finished first. Ctrl-C again ends at once.");
        let stop = serde_json::json!({ "campaign": CAMPAIGN, "reason": "the operator ended the demo" });
        if let Err(error) = system.client.role(Role::Dialer, "campaign.stop", &stop).await {
            tracing::warn!(%error, "the campaign could not be stopped");
        }
    }
    send_home_with(system, "the campaign is done", &mut progress).await?;
    progress.finish();
    let report = Report::make(system, began.elapsed()).await?;
    report::write(&report, &system.dir.join("report.json"))?;
    out.result(&report, || report.text())?;
    if !report.replay_ok {
        bail!("AST-U080: the independent replay does not agree; see {}", report.log_dir);
    }
    if finished { Ok(()) } else { bail!("AST-U081: the demo was stopped before its end") }
}

async fn campaign(system: &System, args: &UpArgs, progress: &mut Progress) -> anyhow::Result<()> {
    let files = &args.demo_files;
    if !files.is_dir() {
        bail!(
            "AST-U082: {} is not there; run it in the project's folder or name --demo-files",
            files.display()
        );
    }
    progress.note("Publishing prompts and flow");
    let store = system.store.as_ref();
    let prompts = ops::publish_prompts(&system.client, store, &files.join("prompts"), "demo").await?;
    let flow = ops::publish_flow(&system.client, store, &files.join("flow.toml")).await?;
    let create = CreateCampaign {
        campaign: CAMPAIGN.to_owned(),
        name: "The demo".to_owned(),
        flow: flow.id().to_owned(),
        manifest: prompts.manifest_id.clone(),
        trunk: TRUNK.to_owned(),
        max_channels: 0,
        calls_per_second: 0,
        ring_timeout_ms: 15_000,
        max_attempts: 1,
        caller_id: "+12015550199".to_owned(),
        trunks: Vec::new(),
        caller_ids: Vec::new(),
        live: args.live,
        allowed: args.allowed.clone(),
        // A simulated callee without room has none later either: once more is enough to show it.
        rules: CampaignRules {
            retries: vec![RetryRule { delay_ms: 1_000, max: 1, ..retry::CONGESTION }],
            ..CampaignRules::default()
        },
    };
    ops::create_campaign(&system.client, &create).await?;
    progress.note("Importing contacts");
    let contacts = contacts_file(system, args)?;
    let options = import::Options {
        rejects: Some(system.dir.join("contacts.rejects.csv")),
        ..import::Options::default()
    };
    let limit = Some(u64::from(args.contacts));
    ops::import_contacts(&system.client, CAMPAIGN, &contacts, &options, limit, |_| {}).await?;
    ops::start_campaign(&system.client, CAMPAIGN).await?;
    progress.note("Dialling");
    loop {
        system.check().await?;
        let done = system.deps.log.read(|state| {
            state.campaigns.get(CAMPAIGN).is_some_and(|campaign| campaign.status == CampaignStatus::Completed)
        });
        progress.draw(system);
        if done {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The shipped list; a larger demo gets a generated one of the same kind.
fn contacts_file(system: &System, args: &UpArgs) -> anyhow::Result<PathBuf> {
    let shipped = args.demo_files.join("contacts.csv");
    if args.contacts as usize <= crate::demo_contacts::SHIPPED_CONTACTS {
        return Ok(shipped);
    }
    let path = system.dir.join("contacts.csv");
    let list = crate::demo_contacts::csv(args.contacts as usize);
    std::fs::write(&path, list).with_context(|| format!("AST-U083: {}", path.display()))?;
    Ok(path)
}

/// Sends the fleet home and waits until nothing bills.
pub async fn send_home(system: &System, reason: &str) -> anyhow::Result<()> {
    send_home_with(system, reason, &mut Progress::silent()).await
}

async fn send_home_with(system: &System, reason: &str, progress: &mut Progress) -> anyhow::Result<()> {
    progress.note("Draining the fleet");
    system.client.role(Role::Scaler, "fleet.stop", &serde_json::json!({ "reason": reason })).await?;
    let began = Instant::now();
    loop {
        system.check().await?;
        let gone = system
            .deps
            .log
            .read(|state| state.fleet.existing().count() == 0 && state.fleet.owed_launches().count() == 0);
        progress.draw(system);
        if gone && running(system).await? == 0 {
            return Ok(());
        }
        if began.elapsed() > GO_HOME_PATIENCE {
            bail!(
                "AST-U084: the fleet is not gone after 180 s; `asterism fleet list` names the nodes that stay"
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Instances by the provider's own listing.
async fn running(system: &System) -> anyhow::Result<usize> {
    let listed = system.cloud.list().await?;
    Ok(listed.iter().filter(|instance| instance.state != InstanceState::Terminated).count())
}

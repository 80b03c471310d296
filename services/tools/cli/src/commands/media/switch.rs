//! A campaign's prompts, changed while it runs.

use asterism_dialer::commands::SetCampaign;
use asterism_domain::media::ManifestDoc;
use asterism_media_sync::commands::{FlowLine, ManifestLine};
use asterism_object_store::ObjectStore;
use asterism_proto::Role;
use serde_json::json;

use super::super::{Context, resolve, store};
use crate::client::Client;
use crate::error::CliError;

/// Whether the campaign is there and the set has everything its flow can play.
pub(super) async fn check(context: &Context, campaign: &str, manifest: &ManifestDoc) -> Result<(), CliError> {
    let (config, client) = context.client().await?;
    let store = store(&config).await?;
    covers(&client, store.as_ref(), campaign, manifest).await
}

async fn covers(
    client: &Client,
    store: &dyn ObjectStore,
    campaign: &str,
    manifest: &ManifestDoc,
) -> Result<(), CliError> {
    let flows: Vec<FlowLine> = client.role_json(Role::MediaSync, "flow.list", &json!({})).await?;
    let runs = |line: &&FlowLine| line.campaigns.iter().any(|id| id == campaign);
    let line = flows.iter().find(runs).ok_or_else(|| {
        let what = format!("no campaign {campaign:?} that has not ended");
        CliError::new("AST-U140", what, "only such a campaign can play other prompts")
            .next("asterism campaign list")
    })?;
    resolve::covers(manifest, &resolve::flow(client, store, &line.flow).await?)
}

/// Gives the campaign the set.
pub(super) async fn give(
    client: &Client,
    campaign: &str,
    manifest: &str,
    reason: &str,
) -> Result<(), CliError> {
    let asked = SetCampaign {
        campaign: campaign.to_owned(),
        manifest: Some(manifest.to_owned()),
        reason: reason.to_owned(),
        ..SetCampaign::default()
    };
    client.role(Role::Dialer, "campaign.set", &asked).await.map(drop)
}

pub(super) async fn rollback(
    context: &Context,
    campaign: &str,
    to: Option<&str>,
    reason: &str,
    dry_run: bool,
) -> Result<(), CliError> {
    let (config, client) = context.client().await?;
    let store = store(&config).await?;
    let lines = resolve::sets(&client).await?;
    let line = match to {
        Some(set) => resolve::set(&lines, set)?,
        None => before(&lines, campaign)?,
    };
    covers(&client, store.as_ref(), campaign, &resolve::document(store.as_ref(), line).await?).await?;
    if !dry_run {
        give(&client, campaign, &line.manifest, reason).await?;
    }
    let value =
        json!({ "campaign": campaign, "manifest": line.manifest, "name": line.name, "dry_run": dry_run });
    context.out.result(&value, || {
        let plays = if dry_run { "would play (dry run: nothing changed)" } else { "plays" };
        format!(
            "campaign {campaign} {plays} {} ({}); calls in progress keep what they have\n",
            line.name, line.manifest
        )
    })
}

fn before<'a>(lines: &'a [ManifestLine], campaign: &str) -> Result<&'a ManifestLine, CliError> {
    let played = |line: &&ManifestLine| line.campaigns_before.iter().any(|id| id == campaign);
    lines.iter().find(played).ok_or_else(|| {
        let what = format!("campaign {campaign:?} has not played other prompts before, or has ended");
        CliError::new("AST-U141", what, "there is nothing to go back to")
            .next(format!("asterism media rollback {campaign} --to SET"))
    })
}

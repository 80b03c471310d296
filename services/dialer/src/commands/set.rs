//! A campaign changed while it runs.

use asterism_domain::campaign::CampaignCommand;
use asterism_domain::campaign::command::Limits;
use asterism_domain::rules::CampaignRules;
use asterism_runtime::role::Deps;
use serde::{Deserialize, Serialize};

use super::{NO_CAMPAIGN, Refused};

/// `campaign.set`: what is not named stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetCampaign {
    /// The campaign.
    pub campaign: String,
    /// Most attempts in flight; 0 = no cap.
    pub max_channels: Option<u32>,
    /// Most attempts started a second; 0 = no cap.
    pub calls_per_second: Option<u32>,
    /// How long a callee may ring.
    pub ring_timeout_ms: Option<u32>,
    /// Attempts per contact.
    pub max_attempts: Option<u32>,
    /// Caller id; with it those of `caller_ids` are all there are.
    pub caller_id: Option<String>,
    /// Further ones.
    pub caller_ids: Vec<String>,
    /// Its trunks, all of them; none = as they are.
    pub trunks: Vec<String>,
    /// The prompts it plays from now on.
    pub manifest: Option<String>,
    /// Whom it may ring and when, all of it.
    pub rules: Option<CampaignRules>,
    /// Why, for the log.
    pub reason: String,
}

/// What is not named is taken from the campaign as it stands.
pub(super) fn set(deps: &Deps, asked: SetCampaign) -> Result<CampaignCommand, Refused> {
    let now = deps.log.read(|state| {
        state.campaigns.get(&asked.campaign).map(|campaign| Limits {
            max_channels: campaign.max_channels,
            calls_per_second: campaign.calls_per_second,
            ring_timeout_ms: campaign.ring_timeout_ms,
            max_attempts: campaign.max_attempts,
            caller_id: campaign.caller_id.clone(),
            caller_ids: campaign.more_caller_ids.clone(),
            rules: campaign.rules.clone(),
        })
    });
    let now = now.ok_or(("AST-D046", NO_CAMPAIGN.to_owned()))?;
    Ok(CampaignCommand::Change {
        campaign: asked.campaign,
        limits: Box::new(Limits {
            max_channels: asked.max_channels.unwrap_or(now.max_channels),
            calls_per_second: asked.calls_per_second.unwrap_or(now.calls_per_second),
            ring_timeout_ms: asked.ring_timeout_ms.unwrap_or(now.ring_timeout_ms),
            max_attempts: asked.max_attempts.unwrap_or(now.max_attempts),
            caller_ids: if asked.caller_id.is_some() { asked.caller_ids } else { now.caller_ids },
            caller_id: asked.caller_id.unwrap_or(now.caller_id),
            rules: asked.rules.unwrap_or(now.rules),
        }),
        trunks: asked.trunks,
        manifest: asked.manifest.unwrap_or_default(),
        reason: asked.reason,
    })
}

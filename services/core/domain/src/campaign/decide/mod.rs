//! The dialer's decisions: about campaigns here, about people in `contacts`, whom to dial now in `dial`.

mod contacts;
mod dial;

use super::command::{CampaignCommand, Limits};
use super::state::{Campaign, CampaignStatus};
use crate::Rejection;
use crate::event::Event;
use crate::ids::{CampaignId, Outcome, Timestamp};
use crate::rules::{self, CampaignRules, retry};
use crate::state::State;

pub use dial::{LOOKAHEAD_MS, ORDER_WINDOW_MAX_MS};

/// Contacts in one `ContactsImported`: with 96 sealed bytes each it stays under 6 KiB.
pub const CONTACTS_PER_EVENT: usize = 24;
/// Bytes of one sealed contact at most.
pub const SEALED_MAX_BYTES: usize = 220;
/// Most rows of one import command.
pub const IMPORT_MAX_ROWS: usize = 200;
/// Most contacts named in one erasure.
pub const ERASE_MAX_CONTACTS: usize = 256;
/// Longest reason of an erasure.
pub const ERASE_REASON_MAX_BYTES: usize = 512;
/// Why nothing is imported under an erased import's id.
pub const ERASED: Rejection =
    Rejection::new("AST-D015", "this import was erased and takes no contacts any more; import another list");
/// Decides a command on the dialer's state.
pub fn decide(state: &State, command: &CampaignCommand, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command {
        CampaignCommand::Create { .. } => create(state, command, at),
        CampaignCommand::Change { campaign, limits, reason } => change(state, campaign, limits, reason, at),
        CampaignCommand::Import { campaign, import, rows, last } => {
            if state.erasures.get(import).is_some_and(|erasure| erasure.whole) {
                return Err(ERASED);
            }
            contacts::import(find(state, campaign)?, campaign, import, rows, *last)
        }
        CampaignCommand::Erase { import, contacts, reason } => {
            contacts::erase(state, import, contacts, reason)
        }
        CampaignCommand::Exclude { campaign, contacts, rule, detail } => {
            contacts::exclude(find(state, campaign)?, campaign, contacts, *rule, detail)
        }
        CampaignCommand::DoNotCall(change) => contacts::do_not_call(state, change),
        CampaignCommand::Start { campaign } => start(state, campaign),
        CampaignCommand::Pause { campaign, reason } => {
            expect(state, campaign, &[CampaignStatus::Running])?;
            Ok(vec![Event::CampaignPaused { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::Resume { campaign } => {
            expect(state, campaign, &[CampaignStatus::Paused])?;
            Ok(vec![Event::CampaignResumed { campaign: campaign.clone() }])
        }
        CampaignCommand::Stop { campaign, reason } => {
            use CampaignStatus::{Created, Paused, Running};
            expect(state, campaign, &[Created, Running, Paused])?;
            Ok(vec![Event::CampaignStopped { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::GoLive { campaign, reason } => {
            find(state, campaign)?;
            Ok(vec![Event::CampaignLive { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::Tick(tick) => Ok(dial::dial(state, tick, at)),
    }
}

fn create(state: &State, command: &CampaignCommand, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    let CampaignCommand::Create { campaign, name, flow, manifest, trunk, limits, live, allowed_hashes } =
        command.clone()
    else {
        return Ok(Vec::new());
    };
    if !asterism_proto::origin::is_token(&campaign) || campaign.len() > 40 {
        return Err(Rejection::new("AST-D001", "a campaign id is 1 to 40 of [A-Za-z0-9_-]"));
    }
    if state.campaigns.contains_key(&campaign) {
        return Err(Rejection::new("AST-D002", "a campaign of this id exists already"));
    }
    if !state.catalogue.flows.contains_key(&flow) {
        return Err(Rejection::new("AST-D003", "the flow has not been published"));
    }
    if !state.catalogue.manifests.contains_key(&manifest) {
        return Err(Rejection::new("AST-D004", "the manifest has not been published"));
    }
    if allowed_hashes.len() > 64 {
        return Err(Rejection::new("AST-D006", "at most 64 numbers can be allowed before go-live"));
    }
    let limits = checked(limits, at)?;
    Ok(vec![Event::CampaignCreated {
        campaign,
        name,
        flow,
        manifest,
        trunk,
        max_channels: limits.max_channels,
        calls_per_second: limits.calls_per_second,
        ring_timeout_ms: limits.ring_timeout_ms,
        max_attempts: limits.max_attempts,
        caller_id: limits.caller_id,
        live,
        allowed_hashes,
        rules: Some(limits.rules),
    }])
}

fn change(
    state: &State,
    campaign: &CampaignId,
    limits: &Limits,
    reason: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    if find(state, campaign)?.ended_at.is_some() {
        return Err(Rejection::new("AST-D012", "the campaign has ended"));
    }
    let limits = checked(limits.clone(), at)?;
    Ok(vec![Event::CampaignChanged {
        campaign: campaign.clone(),
        max_channels: limits.max_channels,
        calls_per_second: limits.calls_per_second,
        ring_timeout_ms: limits.ring_timeout_ms,
        max_attempts: limits.max_attempts,
        caller_id: limits.caller_id,
        rules: Some(limits.rules),
        reason: reason.to_owned(),
    }])
}

/// Refuses what cannot be meant, every problem at once; says what is meant where nothing was said.
fn checked(limits: Limits, at: Timestamp) -> Result<Limits, Rejection> {
    if !(1_000..=120_000).contains(&limits.ring_timeout_ms) || !(1..=20).contains(&limits.max_attempts) {
        return Err(Rejection::new(
            "AST-D005",
            "ring timeout is 1,000 to 120,000 ms and attempts are 1 to 20",
        ));
    }
    let problems: Vec<String> = rules::check(&limits.rules, at).iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Rejection::with(
            "AST-D007",
            format!("the rules cannot be kept: {}", problems.join("; ")),
        ));
    }
    Ok(Limits { rules: with_usual_retries(limits.rules), ..limits })
}

fn with_usual_retries(mut rules: CampaignRules) -> CampaignRules {
    if rules.retry(Outcome::Congestion).is_none() {
        rules.retries.push(retry::CONGESTION);
    }
    rules
}

fn start(state: &State, campaign: &CampaignId) -> Result<Vec<Event>, Rejection> {
    expect(state, campaign, &[CampaignStatus::Created])?;
    if find(state, campaign)?.contacts.is_empty() {
        return Err(Rejection::new("AST-D014", "the campaign has no contacts"));
    }
    Ok(vec![Event::CampaignStarted { campaign: campaign.clone() }])
}

fn find<'a>(state: &'a State, campaign: &str) -> Result<&'a Campaign, Rejection> {
    state.campaigns.get(campaign).ok_or(Rejection::new("AST-D020", "there is no campaign of this id"))
}

fn expect(state: &State, campaign: &str, statuses: &[CampaignStatus]) -> Result<(), Rejection> {
    if statuses.contains(&find(state, campaign)?.status) {
        Ok(())
    } else {
        Err(Rejection::new("AST-D021", "the campaign is not in a state for this"))
    }
}

//! What people do with a fleet, each as one function: publish, create, import, start, look. The commands and
//! `asterism up` are made of these.

mod forecast;
mod import;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use asterism_dialer::commands::check::Checked;
use asterism_dialer::commands::{CreateCampaign, OneCampaign, PlaceCall};
use asterism_domain::Event;
use asterism_domain::contact::E164;
use asterism_domain::logic::{self, Flow};
use asterism_domain::media::ManifestDoc;
use asterism_media_sync::commands::telling;
use asterism_media_sync::publish::{self, Published, Set};
use asterism_object_store::ObjectStore;
use asterism_proto::Role;
use asterism_runtime::keys::random;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::Client;
use crate::error::CliError;

pub use forecast::forecast;
pub use import::{Progress, import_contacts, import_one, read_list};

/// Language of prompts that are published without one.
pub const LANGUAGE: &str = "en";
/// How long a campaign waits until the dialer has read what was just published.
const PUBLISHED_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PUBLISHED_PAUSE: Duration = Duration::from_millis(50);

/// A campaign in numbers, as the dialer tells it (`asterism_domain::report::CampaignReport`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignReport {
    /// Its id.
    pub campaign: String,
    /// Its name.
    pub name: String,
    /// Where it stands: created, running, paused, stopped, completed.
    pub status: String,
    /// Contacts imported.
    pub contacts: u32,
    /// Contacts to be dialled.
    pub waiting: u32,
    /// Contacts with an attempt in flight.
    pub in_flight: u32,
    /// Contacts settled, excluded ones included.
    pub settled: u32,
    /// Contacts excluded by a rule.
    pub excluded: u32,
    /// These, by rule.
    pub excluded_by: BTreeMap<String, u32>,
    /// When somebody can be dialled next, by hours and delays.
    pub next_due_ms: Option<u64>,
    /// Contacts uncertain.
    pub uncertain: u32,
    /// Contacts erased before they were settled.
    pub erased: u32,
    /// Rows of its lists left out because another campaign has their numbers.
    pub known_elsewhere: u32,
    /// Lists that are still being imported.
    pub importing: Vec<String>,
    /// Talk time of answered calls that have ended.
    pub talk_ms: u64,
    /// What they cost by the campaign's price; empty if it has none.
    pub cost: String,
    /// Which of its budgets it has used up; empty if none.
    pub budget_reached: String,
    /// Contacts by outcome.
    pub outcomes: BTreeMap<String, u32>,
    /// Answered contacts by digits pressed; the empty string is none.
    pub digits: BTreeMap<String, u32>,
    /// Attempts that took effect.
    pub attempts: u32,
    /// Attempts that reached the carrier.
    pub rang: u32,
    /// Attempts a carrier turned away, so that another trunk was tried.
    pub turned_away: u32,
    /// Attempts answered.
    pub answered: u32,
    /// Attempts the nodes refused; they never rang.
    pub refused: u32,
    /// Why nothing new is dialled while it runs; empty if nothing holds.
    pub hold: String,
    /// What keeps the next of those who wait from being dialled now.
    pub limited_by: String,
    /// Until when, if that is known.
    pub limited_until_ms: Option<u64>,
}

impl CampaignReport {
    /// Whether nothing more will happen in it.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "stopped" | "completed")
    }
}

/// Converts a folder of sounds, uploads them and publishes the manifest.
///
/// # Errors
/// AST-M0xx a file is no prompt, AST-B0xx the object store, or the role's refusal.
pub async fn publish_prompts(
    client: &Client,
    store: &dyn ObjectStore,
    folder: &Path,
    name: &str,
) -> Result<Published, CliError> {
    let path = folder.to_owned();
    let sources = blocking(move || publish::read_folder(&path, LANGUAGE)).await??;
    let set = Set { name, formats: &publish::DEFAULT_FORMATS };
    let (manifest, sounds) = publish::prepare(set, &sources, &publish::untold)?;
    publish_set(client, store, manifest, sounds, &publish::untold).await
}

/// Uploads and publishes what was made of sounds.
///
/// # Errors
/// AST-B0xx the object store, or the role's refusal.
pub async fn publish_set(
    client: &Client,
    store: &dyn ObjectStore,
    manifest: ManifestDoc,
    sounds: Vec<publish::Sound>,
    told: &(dyn Fn(publish::Step) + Sync),
) -> Result<Published, CliError> {
    let published = publish::put_set(store, manifest, sounds, told).await?;
    tell_publication(client, &published.event).await?;
    Ok(published)
}

/// Checks a flow, uploads and publishes it.
///
/// # Errors
/// AST-F0xx with file, line and path, AST-B0xx the object store, or the role's refusal.
pub async fn publish_flow(client: &Client, store: &dyn ObjectStore, path: &Path) -> Result<Flow, CliError> {
    let (_, document) = read_flow(path)?;
    let (flow, event) = publish::publish_flow(store, &document).await?;
    tell_publication(client, &event).await?;
    Ok(flow)
}

/// Tells media-sync what is in the object store now; it looks for itself and commits it.
async fn tell_publication(client: &Client, event: &Event) -> Result<(), CliError> {
    let Some((verb, arguments)) = telling(event) else { return Ok(()) };
    let arguments: serde_json::Value = serde_json::from_slice(&arguments).map_err(CliError::from_text)?;
    client.role(Role::MediaSync, verb, &arguments).await.map(drop)
}

/// Reads and checks a flow; its document too.
///
/// # Errors
/// AST-U010 unreadable, AST-F0xx with file, line and path.
pub fn read_flow(path: &Path) -> Result<(Flow, Vec<u8>), CliError> {
    let shown = path.display().to_string();
    let document = read_flow_document(path)?;
    match Flow::parse_bytes(&document) {
        Ok(flow) => Ok((flow, document)),
        Err(problems) => {
            let code = problems.first().map_or(logic::code::DOCUMENT, |problem| problem.code);
            let what = problems.iter().map(|problem| problem.in_file(&shown)).collect::<Vec<_>>().join("\n");
            let next = format!("asterism logic check {shown}");
            Err(CliError::new(code, format!("the flow cannot be used:\n{what}"), "").next(next))
        }
    }
}

/// Reads a flow's document without checking it.
///
/// # Errors
/// AST-U010 unreadable.
pub fn read_flow_document(path: &Path) -> Result<Vec<u8>, CliError> {
    // One byte over the limit is enough to be told that the document is too long.
    let at_most = logic::MAX_DOCUMENT_BYTES as u64 + 1;
    let mut document = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(at_most).read_to_end(&mut document)).map_err(
        |error| {
            let what = format!("the flow {} cannot be read", path.display());
            CliError::new("AST-U010", what, error.to_string())
        },
    )?;
    Ok(document)
}

/// Creates a campaign. What was published a moment ago may take a moment to reach the dialer: it is asked again.
///
/// # Errors
/// The dialer's refusal, AST-D0xx.
pub async fn create_campaign(client: &Client, new: &CreateCampaign) -> Result<(), CliError> {
    let deadline = Instant::now() + PUBLISHED_WAIT;
    loop {
        match client.role(Role::Dialer, "campaign.create", new).await {
            Err(error) if is_unread(&error) && Instant::now() < deadline => {
                tokio::time::sleep(PUBLISHED_PAUSE).await;
            }
            done => return done.map(drop),
        }
    }
}

/// Places one call: its campaign, contact and start in one decision of the dialer.
///
/// # Errors
/// The dialer's refusal, AST-D0xx.
pub async fn place_call(client: &Client, call: &CreateCampaign, number: E164) -> Result<(), CliError> {
    // The import's id is random: a hash of one number is soon guessed.
    let import = format!("one-{}", hex::encode(random::<12>()?));
    let asked = PlaceCall { call: call.clone(), import, number: number.expose() };
    let deadline = Instant::now() + PUBLISHED_WAIT;
    loop {
        match client.role(Role::Dialer, "call.create", &asked).await {
            Err(error) if is_unread(&error) && Instant::now() < deadline => {
                tokio::time::sleep(PUBLISHED_PAUSE).await;
            }
            done => return done.map(drop),
        }
    }
}

/// Whether the dialer has not read yet what was published.
fn is_unread(error: &CliError) -> bool {
    matches!(error.code.as_str(), "AST-D003" | "AST-D004")
}

/// Everything the dialer finds wrong with a campaign; an empty flow or manifest is still to be published.
///
/// # Errors
/// No dialer answers.
pub async fn check_campaign(client: &Client, new: &CreateCampaign) -> Result<Vec<CliError>, CliError> {
    let checked: Checked = client.role_json(Role::Dialer, "campaign.check", new).await?;
    Ok(checked.problems.into_iter().map(|one| CliError::new(&one.code, one.what, "")).collect())
}

/// Starts a campaign.
///
/// # Errors
/// The dialer's refusal, AST-D0xx.
pub async fn start_campaign(client: &Client, campaign: &str) -> Result<(), CliError> {
    tell_campaign(client, "campaign.start", campaign, "").await
}

/// A verb about one campaign, like `campaign.pause`, with a reason for the log.
///
/// # Errors
/// The dialer's refusal, AST-D0xx.
pub async fn tell_campaign(
    client: &Client,
    verb: &str,
    campaign: &str,
    reason: &str,
) -> Result<(), CliError> {
    let args = OneCampaign { campaign: campaign.to_owned(), reason: reason.to_owned() };
    client.role(Role::Dialer, verb, &args).await.map(drop)
}

/// Every campaign in numbers.
///
/// # Errors
/// No dialer answers.
pub async fn campaigns(client: &Client) -> Result<Vec<CampaignReport>, CliError> {
    client.role_json(Role::Dialer, "campaign.list", &json!({})).await
}

/// Work that blocks, away from the connection.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CliError::new("AST-U004", "a task ended early", error.to_string()))
}

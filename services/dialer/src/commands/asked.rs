//! What commands say, as JSON.

use asterism_domain::rules::CampaignRules;
use asterism_runtime::seal::PersonalData;
use serde::{Deserialize, Serialize};

/// `campaign.create`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCampaign {
    /// Its id, a token of at most 40.
    pub campaign: String,
    /// Name for people.
    #[serde(default)]
    pub name: String,
    /// Flow id.
    pub flow: String,
    /// Manifest id.
    pub manifest: String,
    /// Its trunk.
    pub trunk: String,
    /// Further trunks: where priorities are equal, tried in this order.
    #[serde(default)]
    pub trunks: Vec<String>,
    /// Most attempts in flight; 0 = no cap.
    #[serde(default)]
    pub max_channels: u32,
    /// Most attempts started a second; 0 = no cap.
    #[serde(default)]
    pub calls_per_second: u32,
    /// How long a callee may ring.
    #[serde(default = "default_ring_timeout_ms")]
    pub ring_timeout_ms: u32,
    /// Attempts that reach the carrier, per contact.
    #[serde(default = "default_max_attempts")]
    pub max_attempts: u32,
    /// Caller id.
    #[serde(default)]
    pub caller_id: String,
    /// Further ones: each attempt shows one of all.
    #[serde(default)]
    pub caller_ids: Vec<String>,
    /// Dial every number on a trunk that leads outside this machine.
    #[serde(default)]
    pub live: bool,
    /// Numbers allowed on such a trunk before go-live.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// Whom it may ring and when.
    #[serde(default)]
    pub rules: CampaignRules,
}

/// `call.create`: a campaign, its one contact and its start.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceCall {
    /// The campaign it is.
    pub call: CreateCampaign,
    /// The import of its contact: names the key that seals it.
    pub import: String,
    /// Canonical number.
    pub number: String,
}

/// `dnc.add`, `dnc.remove`: at most 1,000 entries.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeList {
    /// The list: `global`, or a name that campaigns use.
    pub list: String,
    /// Canonical numbers. Only their keyed hashes go into the log.
    pub numbers: Vec<String>,
    /// First digits of numbers, country code first, without `+`.
    pub prefixes: Vec<String>,
    /// Why, for the log.
    pub reason: String,
}

fn default_ring_timeout_ms() -> u32 {
    30_000
}

fn default_max_attempts() -> u32 {
    1
}

/// `campaign.import`: at most 200 rows.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportContacts {
    /// The campaign.
    pub campaign: String,
    /// The import's id: names the key that seals it.
    pub import: String,
    /// Canonical number and fields.
    pub rows: Vec<PersonalData>,
    /// No rows follow.
    pub last: bool,
    /// Campaigns whose numbers are left out, or `all`.
    #[serde(default)]
    pub skip_known: Vec<String>,
}

/// What became of the rows of a `campaign.import`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Contacts that are new in the campaign.
    pub contacts: u32,
    /// Rows left out: the campaign has their numbers already.
    pub there: u32,
    /// Rows left out: another campaign has their numbers, and the import leaves those out.
    #[serde(default)]
    pub known: u32,
    /// The command was carried out before; nothing is known of its rows.
    pub before: bool,
}

/// `contacts.erase`: an import's contacts, for ever.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseContacts {
    /// The import.
    pub import: String,
    /// Why, for the log; nothing personal.
    pub reason: String,
}

/// A verb about one campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneCampaign {
    /// The campaign.
    pub campaign: String,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
}

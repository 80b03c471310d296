//! What people ask the dialer: JSON in, JSON out, on the role's command subject.

pub mod check;

use std::collections::BTreeMap;
use std::sync::Arc;

use asterism_domain::campaign::command::{DoNotCallChange, ImportRow, Limits, NewCampaign};
use asterism_domain::campaign::{CampaignCommand, decide};
use asterism_domain::contact::E164;
use asterism_domain::contact::zone::{self, ZONE_COLUMN};
use asterism_domain::rules::CampaignRules;
use asterism_domain::{Event, report};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::keys::{Keyring, KeyringError, random};
use asterism_runtime::leader::{Answer, AskError, Desk};
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use asterism_runtime::seal::{self, PersonalData};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::config::DialerConfig;

/// The column that says whether a person agreed to be called, in any case: yes, y, true or 1.
pub const CONSENT_COLUMN: &str = "consent";

/// The verbs, for the error that names them.
pub const VERBS: [&str; 16] = [
    "campaign.create",
    "campaign.check",
    "campaign.forecast",
    "campaign.set",
    "campaign.import",
    "campaign.start",
    "campaign.pause",
    "campaign.resume",
    "campaign.stop",
    "campaign.live",
    "campaign.list",
    "contacts.list",
    "contacts.erase",
    "dnc.add",
    "dnc.remove",
    "dnc.list",
];

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
    /// Trunk name of the configuration.
    pub trunk: String,
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
    /// Caller id.
    pub caller_id: Option<String>,
    /// Whom it may ring and when, all of it.
    pub rules: Option<CampaignRules>,
    /// Why, for the log.
    pub reason: String,
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

/// Answers commands while this process leads.
pub fn serve(deps: &Deps, desk: &Desk<CampaignCommand>, config: &Arc<DialerConfig>) -> Result<(), Error> {
    let numbers = deps.keyring.numbers()?;
    let (all, office, config) = (deps.clone(), desk.clone(), config.clone());
    deps.serve_commands(Role::Dialer, desk, move |command| {
        let (deps, desk, config) = (all.clone(), office.clone(), config.clone());
        async move { handle(&deps, &desk, &config, &numbers, command).await }
    });
    Ok(())
}

async fn handle(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    config: &DialerConfig,
    numbers: &[u8; 32],
    command: RoleCommand,
) -> RoleReply {
    if command.verb == "campaign.list" {
        let (position, list) = deps.log.read(|state| (state.size, report::campaigns(state)));
        return reply_json(position, &list);
    }
    if command.verb == "contacts.list" {
        let (position, list) = deps.log.read(|state| (state.size, report::imports(state)));
        return reply_json(position, &list);
    }
    if command.verb == "dnc.list" {
        let (position, lists) = deps.log.read(|state| (state.size, report::lists(state)));
        return reply_json(position, &lists);
    }
    if command.verb == "campaign.check" {
        return answered(json(&command).map(|asked| check::check(deps, config, numbers, &asked)));
    }
    if command.verb == "campaign.create" {
        return create(deps, desk, config, numbers, &command).await;
    }
    if command.verb == "campaign.forecast" {
        return answered(json(&command).and_then(|asked| check::forecast(deps, config, numbers, &asked)));
    }
    if command.verb == "contacts.erase" {
        return erase(deps, desk, &command).await;
    }
    let erased =
        |import: &str| deps.log.read(|state| state.erasures.get(import).is_some_and(|erasure| erasure.whole));
    if command.verb == "campaign.set" {
        return match json(&command).and_then(|asked| set(deps, asked)) {
            Ok(decided) => reply_of(desk.ask(decided, envelope_of(&command)).await),
            Err((code, reason)) => refusal(code, reason),
        };
    }
    match read(&command, numbers, &deps.keyring, &erased) {
        Ok(decided @ CampaignCommand::Import { .. }) => {
            imported(desk.ask(decided, envelope_of(&command)).await)
        }
        Ok(decided) => reply_of(desk.ask(decided, envelope_of(&command)).await),
        Err((code, reason)) => refusal(code, reason),
    }
}

/// The answer to a question that changes nothing.
fn answered(said: Result<(u64, impl Serialize), Refused>) -> RoleReply {
    match said {
        Ok((position, value)) => reply_json(position, &value),
        Err((code, reason)) => refusal(code, reason),
    }
}

/// Refused with every problem there is, those of this configuration and those of the log.
async fn create(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    config: &DialerConfig,
    numbers: &[u8; 32],
    command: &RoleCommand,
) -> RoleReply {
    let asked: CreateCampaign = match json(command) {
        Ok(asked) => asked,
        Err((code, reason)) => return refusal(code, reason),
    };
    // A repeat finds the campaign it made: the log answers it.
    let said = deps.log.read(|state| state.command_position(&command.command_id).is_some());
    if !said && let Some((code, reason)) = check::refused(deps, config, numbers, &asked) {
        return refusal(code, reason);
    }
    let new = CampaignCommand::Create(Box::new(new_campaign(asked, numbers)));
    reply_of(desk.ask(new, envelope_of(command)).await)
}

/// The answer to an import says what became of its rows.
fn imported(answer: Result<Answer, AskError>) -> RoleReply {
    let Ok(Answer { position, events }) = &answer else { return reply_of(answer) };
    let mut said = Imported { before: events.is_empty(), ..Imported::default() };
    for event in events {
        if let Event::ContactsImported { contacts, duplicates, known, .. } = event {
            said.known += known;
            said.contacts += contacts.len() as u32;
            said.there += duplicates;
        }
    }
    reply_json(*position, &said)
}

/// Committed first; then the key goes. A crash between is put right by [`crate::erase`].
async fn erase(deps: &Deps, desk: &Desk<CampaignCommand>, command: &RoleCommand) -> RoleReply {
    let EraseContacts { import, reason } = match json(command) {
        Ok(asked) => asked,
        Err((code, reason)) => return refusal(code, reason),
    };
    let decided = CampaignCommand::Erase { import: import.clone(), contacts: Vec::new(), reason };
    let committed = desk.ask(decided, envelope_of(command)).await;
    if committed.is_err() {
        return reply_of(committed);
    }
    let keyring = deps.keyring.clone();
    match tokio::task::spawn_blocking(move || crate::erase::delete(&keyring, &import)).await {
        Ok(Ok(_)) => reply_of(committed),
        Ok(Err(error)) => refusal(
            "AST-D045",
            format!("the erasure is in the log and is tried again: the key is not deleted yet: {error}"),
        ),
        Err(_) => {
            refusal("AST-D045", "the erasure is in the log; the key is deleted at the next start".to_owned())
        }
    }
}

type Refused = (&'static str, String);

const NO_CAMPAIGN: &str = "there is no campaign of this id";

fn read(
    command: &RoleCommand,
    numbers: &[u8; 32],
    keyring: &Keyring,
    erased: &dyn Fn(&str) -> bool,
) -> Result<CampaignCommand, Refused> {
    match command.verb.as_str() {
        "campaign.import" => {
            let import: ImportContacts = json(command)?;
            // Before a key is made anew under its name.
            if erased(&import.import) {
                return Err((decide::ERASED.code, decide::ERASED.reason.to_string()));
            }
            seal_rows(import, numbers, keyring).map_err(|error| ("AST-D041", error.to_string()))
        }
        "campaign.start" => Ok(CampaignCommand::Start { campaign: one(command)?.campaign }),
        "campaign.resume" => Ok(CampaignCommand::Resume { campaign: one(command)?.campaign }),
        "campaign.pause" => {
            let OneCampaign { campaign, reason } = one(command)?;
            Ok(CampaignCommand::Pause { campaign, reason })
        }
        "campaign.stop" => {
            let OneCampaign { campaign, reason } = one(command)?;
            Ok(CampaignCommand::Stop { campaign, reason })
        }
        "campaign.live" => {
            let OneCampaign { campaign, reason } = one(command)?;
            Ok(CampaignCommand::GoLive { campaign, reason })
        }
        "dnc.add" => list_change(json(command)?, true, numbers),
        "dnc.remove" => list_change(json(command)?, false, numbers),
        other => Err(("AST-D040", format!("`{other}` is no verb; known: {}", VERBS.join(", ")))),
    }
}

fn json<T: for<'a> Deserialize<'a>>(command: &RoleCommand) -> Result<T, Refused> {
    serde_json::from_slice(&command.json).map_err(|error| ("AST-D042", format!("{}: {error}", command.verb)))
}

fn one(command: &RoleCommand) -> Result<OneCampaign, Refused> {
    json(command)
}

/// A new campaign as it is decided on. What is wrong with it says [`check::problems`].
fn new_campaign(new: CreateCampaign, numbers: &[u8; 32]) -> NewCampaign {
    let allowed_hashes =
        new.allowed.iter().map(|number| seal::number_hash(numbers, number).to_vec()).collect();
    NewCampaign {
        campaign: new.campaign,
        name: new.name,
        flow: new.flow,
        manifest: new.manifest,
        trunk: new.trunk,
        limits: Limits {
            max_channels: new.max_channels,
            calls_per_second: new.calls_per_second,
            ring_timeout_ms: new.ring_timeout_ms,
            max_attempts: new.max_attempts,
            caller_id: new.caller_id,
            rules: new.rules,
        },
        live: new.live,
        allowed_hashes,
    }
}

/// What is not named is taken from the campaign as it stands.
fn set(deps: &Deps, asked: SetCampaign) -> Result<CampaignCommand, Refused> {
    let now = deps.log.read(|state| {
        state.campaigns.get(&asked.campaign).map(|campaign| Limits {
            max_channels: campaign.max_channels,
            calls_per_second: campaign.calls_per_second,
            ring_timeout_ms: campaign.ring_timeout_ms,
            max_attempts: campaign.max_attempts,
            caller_id: campaign.caller_id.clone(),
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
            caller_id: asked.caller_id.unwrap_or(now.caller_id),
            rules: asked.rules.unwrap_or(now.rules),
        }),
        reason: asked.reason,
    })
}

fn list_change(asked: ChangeList, add: bool, numbers: &[u8; 32]) -> Result<CampaignCommand, Refused> {
    let hash = |number: &String| {
        let number = E164::parse(number).map_err(|problem| (problem.code(), problem.to_string()))?;
        Ok(seal::number_hash(numbers, &number.expose()))
    };
    Ok(CampaignCommand::DoNotCall(DoNotCallChange {
        list: asked.list,
        add,
        numbers: asked.numbers.iter().map(hash).collect::<Result<_, Refused>>()?,
        prefixes: asked.prefixes,
        reason: asked.reason,
    }))
}

/// Seals the rows under the import's key, which is durable before anything sealed with it can be.
fn seal_rows(
    import: ImportContacts,
    numbers: &[u8; 32],
    keyring: &Keyring,
) -> Result<CampaignCommand, SealRowsError> {
    if !asterism_proto::origin::is_token(&import.import) {
        return Err(SealRowsError::Import);
    }
    if import.rows.len() > decide::IMPORT_MAX_ROWS {
        return Err(SealRowsError::TooMany);
    }
    let key = keyring.import(&import.import, true)?;
    let mut rows = Vec::with_capacity(import.rows.len());
    for person in &import.rows {
        let number = E164::parse(&person.number).map_err(|_| SealRowsError::Number)?;
        let column = |name: &str| {
            person.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let zone = zone_names(column(ZONE_COLUMN).map(String::as_str), number)?;
        rows.push(ImportRow {
            number_hash: seal::number_hash(numbers, &person.number),
            sealed: seal::seal(&key, random()?, &import.import, person)?,
            zone,
            consent: column(CONSENT_COLUMN).is_some_and(|value| is_yes(value)),
        });
    }
    Ok(CampaignCommand::Import {
        campaign: import.campaign,
        import: import.import,
        rows,
        last: import.last,
        skip_known: import.skip_known,
    })
}

/// The zones a number may be in, as an import names them.
fn zone_names(column: Option<&str>, number: E164) -> Result<String, zone::NoZone> {
    let zone = zone::choose(column, number)?;
    let names: Vec<&str> = zone.zones().iter().map(|zone| zone.name()).collect();
    Ok(names.join(","))
}

/// What a column of consent says. Anything that is not plainly yes is no.
fn is_yes(value: &str) -> bool {
    ["yes", "y", "true", "1"].iter().any(|yes| value.trim().eq_ignore_ascii_case(yes))
}

#[derive(Debug, thiserror::Error)]
enum SealRowsError {
    #[error("a contact's time zone is unknown: {0}")]
    Zone(#[from] zone::NoZone),
    #[error("an import id is 1 to 64 of [A-Za-z0-9_-]")]
    Import,
    #[error("at most 200 rows in one import command")]
    TooMany,
    #[error("a number is not canonical E.164")]
    Number,
    #[error(transparent)]
    Key(#[from] KeyringError),
    #[error(transparent)]
    Seal(#[from] seal::SealError),
}

/// Fields of a contact, as rows carry them.
pub type Fields = BTreeMap<String, String>;

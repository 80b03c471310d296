//! What people ask the dialer: JSON in, JSON out, on the role's command subject.

mod asked;
pub mod check;
mod redial;
mod set;

use std::collections::BTreeMap;
use std::sync::Arc;

use asterism_domain::campaign::command::{DoNotCallChange, ImportRow, Limits, NewCall, NewCampaign};
use asterism_domain::campaign::{CampaignCommand, decide};
use asterism_domain::contact::E164;
use asterism_domain::contact::zone::{self, ZONE_COLUMN};
use asterism_domain::report::numbers::numbers as in_numbers;
use asterism_domain::{Event, report};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::keys::{Keyring, KeyringError, random};
use asterism_runtime::leader::{Answer, AskError, Desk, now_ms};
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use asterism_runtime::seal::{self, PersonalData};
use serde::{Deserialize, Serialize};

pub use asked::{
    ChangeList, CreateCampaign, EraseContacts, ImportContacts, Imported, OneCampaign, PlaceCall,
};

pub use self::redial::{Redial, Redialled};
pub use self::set::SetCampaign;
use crate::Error;
use crate::calls::{Clerk, forward};
use crate::config::DialerConfig;
use crate::emergency::{self, Brake};
use crate::trunks::{self, Refusals};
use crate::webhook;

/// The column that says whether a person agreed to be called, in any case: yes, y, true or 1.
pub const CONSENT_COLUMN: &str = "consent";

/// The verbs, for the error that names them.
pub const VERBS: [&str; 30] = [
    "call.create",
    "call.post",
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
    "campaign.redial",
    "campaign.list",
    "campaign.show",
    "contacts.list",
    "contacts.erase",
    "dnc.add",
    "dnc.remove",
    "dnc.list",
    "emergency.stop",
    "emergency.resume",
    "emergency.show",
    "trunk.set",
    "trunk.remove",
    "trunk.list",
    "trunk.check",
    "webhook.list",
    "webhook.show",
    "webhook.resend",
];

/// Answers commands while this process leads.
pub fn serve(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    config: &Arc<DialerConfig>,
    brake: &Brake,
    refusals: &Refusals,
) -> Result<(), Error> {
    let numbers = deps.keyring.numbers()?;
    let (all, office, config) = (deps.clone(), desk.clone(), config.clone());
    let (brake, refusals) = (brake.clone(), refusals.clone());
    deps.serve_commands(Role::Dialer, desk, move |command| {
        let (deps, desk, config) = (all.clone(), office.clone(), config.clone());
        let (brake, refusals) = (brake.clone(), refusals.clone());
        async move {
            if let Some(reply) = emergency::answer(&deps, &desk, &brake, &command).await {
                return reply;
            }
            // What follows may rest on a trunk of a configuration that was read a moment ago.
            if ["campaign.", "call.", "trunk."].iter().any(|about| command.verb.starts_with(about))
                && let Err(error) = trunks::configure(&deps, &config, &desk).await
            {
                tracing::debug!(error, "the configuration's trunks are not in the log yet");
            }
            if command.verb == forward::VERB {
                return forward::serve(&Clerk { deps, desk, config, numbers }, &command).await;
            }
            if let Some(reply) = trunks::command(&deps, &desk, &refusals, &command).await {
                return reply;
            }
            if let Some(reply) = webhook::command(&deps, &desk, &command).await {
                return reply;
            }
            handle(&deps, &desk, &numbers, command).await
        }
    });
    Ok(())
}

async fn handle(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    numbers: &[u8; 32],
    command: RoleCommand,
) -> RoleReply {
    if command.verb == "campaign.list" {
        let (position, list) =
            deps.log.read(|state| (state.size, report::campaigns(state, state.at.max(now_ms()))));
        return reply_json(position, &list);
    }
    if command.verb == "campaign.show" {
        let found = json::<OneCampaign>(&command).and_then(|asked| {
            let found = deps.log.read(|state| (state.size, in_numbers(state, &asked.campaign)));
            found.1.map(|one| (found.0, one)).ok_or(("AST-D046", NO_CAMPAIGN.to_owned()))
        });
        return answered(found);
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
        return answered(json(&command).map(|asked| check::check(deps, numbers, &asked)));
    }
    if command.verb == "call.create" {
        return match json(&command).and_then(|asked| one_call(deps, numbers, asked)) {
            Ok(decided) => reply_of(desk.ask(decided, envelope_of(&command)).await),
            Err((code, reason)) => refusal(code, reason),
        };
    }
    if command.verb == "campaign.create" {
        return match json(&command) {
            Ok(asked) => {
                let new = CampaignCommand::Create(Box::new(new_campaign(asked, numbers)));
                reply_of(desk.ask(new, envelope_of(&command)).await)
            }
            Err((code, reason)) => refusal(code, reason),
        };
    }
    if command.verb == "campaign.forecast" {
        return answered(json(&command).and_then(|asked| check::forecast(deps, numbers, &asked)));
    }
    if command.verb == "contacts.erase" {
        return erase(deps, desk, &command).await;
    }
    if command.verb == redial::VERB {
        return redial::redial(deps, desk, numbers, &command).await;
    }
    let erased =
        |import: &str| deps.log.read(|state| state.erasures.get(import).is_some_and(|erasure| erasure.whole));
    if command.verb == "campaign.set" {
        return match json(&command).and_then(|asked| set::set(deps, asked)) {
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

/// A campaign of one contact, in one decision.
fn one_call(deps: &Deps, numbers: &[u8; 32], asked: PlaceCall) -> Result<CampaignCommand, Refused> {
    if let Some(refused) = check::refused(deps, numbers, &asked.call) {
        return Err(refused);
    }
    let number = E164::parse(&asked.number).map_err(|problem| (problem.code(), problem.to_string()))?;
    let failed = |error: SealRowsError| ("AST-D041", error.to_string());
    if !asterism_proto::origin::is_token(&asked.import) {
        return Err(failed(SealRowsError::Import));
    }
    let key = deps.keyring.import(&asked.import, true).map_err(|error| failed(error.into()))?;
    let person = PersonalData { number: number.expose(), fields: BTreeMap::new() };
    let row = seal_row(&asked.import, &key, &person, numbers).map_err(failed)?;
    let new = new_campaign(asked.call, numbers);
    let digits = number.digits().to_string();
    Ok(CampaignCommand::Call(Box::new(NewCall { new, import: asked.import, row, digits })))
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

pub(crate) type Refused = (&'static str, String);

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
        "campaign.start" => Ok(CampaignCommand::Start { campaign: json::<OneCampaign>(command)?.campaign }),
        "campaign.resume" => Ok(CampaignCommand::Resume { campaign: json::<OneCampaign>(command)?.campaign }),
        "campaign.pause" => {
            let OneCampaign { campaign, reason } = json(command)?;
            Ok(CampaignCommand::Pause { campaign, reason })
        }
        "campaign.stop" => {
            let OneCampaign { campaign, reason } = json(command)?;
            Ok(CampaignCommand::Stop { campaign, reason })
        }
        "campaign.live" => {
            let OneCampaign { campaign, reason } = json(command)?;
            Ok(CampaignCommand::GoLive { campaign, reason })
        }
        "dnc.add" => list_change(json(command)?, true, numbers),
        "dnc.remove" => list_change(json(command)?, false, numbers),
        other => Err(("AST-D040", format!("`{other}` is no verb; known: {}", VERBS.join(", ")))),
    }
}

pub(crate) fn json<T: for<'a> Deserialize<'a>>(command: &RoleCommand) -> Result<T, Refused> {
    serde_json::from_slice(&command.json).map_err(|error| ("AST-D042", format!("{}: {error}", command.verb)))
}

/// A new campaign as it is decided on. What is wrong with it says [`check::problems`].
pub(crate) fn new_campaign(new: CreateCampaign, numbers: &[u8; 32]) -> NewCampaign {
    let allowed_hashes =
        new.allowed.iter().map(|number| seal::number_hash(numbers, number).to_vec()).collect();
    NewCampaign {
        campaign: new.campaign,
        name: new.name,
        flow: new.flow,
        manifest: new.manifest,
        trunks: std::iter::once(new.trunk).chain(new.trunks).collect(),
        limits: Limits {
            max_channels: new.max_channels,
            calls_per_second: new.calls_per_second,
            ring_timeout_ms: new.ring_timeout_ms,
            max_attempts: new.max_attempts,
            caller_id: new.caller_id,
            caller_ids: new.caller_ids,
            rules: new.rules,
        },
        live: new.live,
        allowed_hashes,
    }
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
    let row = |person| seal_row(&import.import, &key, person, numbers);
    let rows = import.rows.iter().map(row).collect::<Result<_, _>>()?;
    Ok(CampaignCommand::Import {
        campaign: import.campaign,
        import: import.import,
        rows,
        last: import.last,
        skip_known: import.skip_known,
    })
}

/// Seals one row under its import's key.
pub(crate) fn seal_row(
    import: &str,
    key: &[u8; 32],
    person: &PersonalData,
    numbers: &[u8; 32],
) -> Result<ImportRow, SealRowsError> {
    let number = E164::parse(&person.number).map_err(|_| SealRowsError::Number)?;
    let column = |name: &str| {
        person.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let zone = zone_names(column(ZONE_COLUMN).map(String::as_str), number)?;
    Ok(ImportRow {
        number_hash: seal::number_hash(numbers, &person.number),
        sealed: seal::seal(key, random()?, import, person)?,
        zone,
        consent: column(CONSENT_COLUMN).is_some_and(|value| is_yes(value)),
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
pub(crate) enum SealRowsError {
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

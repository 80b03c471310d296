//! Uncertain contacts, dialled once more because an operator says so.

use asterism_domain::Event;
use asterism_domain::campaign::CampaignCommand;
use asterism_domain::campaign::command::Reopening;
use asterism_domain::campaign::decide::reopened;
use asterism_domain::contact::E164;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::leader::{Desk, now_ms};
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use asterism_runtime::seal;
use serde::{Deserialize, Serialize};

use super::{Refused, json};

pub(super) const VERB: &str = "campaign.redial";

/// `campaign.redial`: uncertain contacts are dialled once more, though they may have been rung.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redial {
    /// The campaign.
    pub campaign: String,
    /// Canonical numbers, at most 256; empty = all of its uncertain contacts.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
    /// Only says how many they are.
    #[serde(default)]
    pub dry_run: bool,
}

/// What becomes of a [`Redial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redialled {
    /// Contacts that wait again, or would.
    pub contacts: u32,
    /// The command was carried out before.
    pub before: bool,
}

pub(super) async fn redial(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    numbers: &[u8; 32],
    command: &RoleCommand,
) -> RoleReply {
    let (asked, dry_run) = match read(command, numbers) {
        Ok(asked) => asked,
        Err((code, reason)) => return refusal(code, reason),
    };
    if dry_run {
        let found = deps.log.read(|state| (state.size, reopened(state, &asked, state.at.max(now_ms()))));
        return match found {
            (position, Ok(contacts)) => {
                reply_json(position, &Redialled { contacts: contacts.len() as u32, before: false })
            }
            (_, Err(rejection)) => refusal(rejection.code, rejection.reason.to_string()),
        };
    }
    let answer = desk.ask(CampaignCommand::Reopen(asked), envelope_of(command)).await;
    let Ok(done) = &answer else { return reply_of(answer) };
    let count = |event: &Event| match event {
        Event::ContactsReopened { contacts, .. } => contacts.len() as u32,
        _ => 0,
    };
    let contacts = done.events.iter().map(count).sum();
    reply_json(done.position, &Redialled { contacts, before: done.events.is_empty() })
}

fn read(command: &RoleCommand, numbers: &[u8; 32]) -> Result<(Reopening, bool), Refused> {
    let Redial { campaign, numbers: named, reason, dry_run } = json(command)?;
    let hash = |number: &String| {
        let number = E164::parse(number).map_err(|problem| (problem.code(), problem.to_string()))?;
        Ok(seal::number_hash(numbers, &number.expose()))
    };
    let numbers = named.iter().map(hash).collect::<Result<_, Refused>>()?;
    Ok((Reopening { campaign, numbers, reason }, dry_run))
}

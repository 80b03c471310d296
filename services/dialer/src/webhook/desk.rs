//! What people ask of the outbox: which notices there are, what one says, and to send some once more.

use std::time::Duration;

use asterism_domain::campaign::CampaignCommand;
use asterism_domain::webhook::decide::{WebhookCommand, to_resend};
use asterism_domain::webhook::finished::{self, Asked, NoticeLine};
use asterism_domain::webhook::{NoticeId, NoticeIdError};
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::health::{Health, MetricsError};
use asterism_runtime::leader::Desk;
use asterism_runtime::log::Log;
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;

/// Time between two looks for the metrics.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// `webhook.show`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneNotice {
    /// Its id, with the log's tag before it or without.
    pub id: String,
}

/// The answer to `webhook.show`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Where it stands.
    pub line: NoticeLine,
    /// What its receiver is told, without the number and the fields of the contact.
    pub notice: Value,
}

/// `webhook.resend`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resend {
    /// Which; none = all that were given up and are kept.
    pub ids: Vec<String>,
    /// Of these, those about this campaign; empty = all.
    #[serde(default)]
    pub campaign: String,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
    /// Say which, and send nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to `webhook.resend`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resent {
    /// Those that are owed once more, or would be.
    pub ids: Vec<String>,
}

/// Answers a command about notices; none if it is about something else.
pub(crate) async fn command(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    command: &RoleCommand,
) -> Option<RoleReply> {
    let answer = match command.verb.as_str() {
        "webhook.list" => list(deps, command),
        "webhook.show" => show(deps, command),
        "webhook.resend" => resend(deps, desk, command).await,
        _ => return None,
    };
    Some(answer.unwrap_or_else(|(code, reason)| refusal(code, reason)))
}

type Refused = (&'static str, String);

fn list(deps: &Deps, command: &RoleCommand) -> Result<RoleReply, Refused> {
    let asked: Asked = json(command)?;
    let (position, report) = deps.log.read(|state| (state.size, finished::report(state, &asked)));
    Ok(reply_json(position, &report))
}

fn show(deps: &Deps, command: &RoleCommand) -> Result<RoleReply, Refused> {
    let OneNotice { id } = json(command)?;
    let id = parsed(&id)?;
    let (position, found) = deps.log.read(|state| {
        let found = finished::find(state, id);
        (state.size, found.map(|(line, notice)| (line, body::say(state, id, &notice))))
    });
    let none = || ("AST-D156", format!("there is no notice {id}; `asterism webhook list` names them"));
    let (line, said) = found.ok_or_else(none)?;
    Ok(reply_json(position, &Shown { line, notice: Value::Object(said) }))
}

async fn resend(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    command: &RoleCommand,
) -> Result<RoleReply, Refused> {
    let Resend { ids, campaign, reason, dry_run } = json(command)?;
    let notices = ids.iter().map(|id| parsed(id)).collect::<Result<Vec<NoticeId>, _>>()?;
    let (position, meant) = deps.log.read(|state| (state.size, to_resend(state, &notices, &campaign)));
    let meant = meant.map_err(|rejection| (rejection.code, rejection.reason.to_string()))?;
    let ids = meant.iter().map(ToString::to_string).collect();
    if dry_run {
        return Ok(reply_json(position, &Resent { ids }));
    }
    let asked = WebhookCommand::Resend { notices: meant, campaign: String::new(), reason };
    let reply = reply_of(desk.ask(CampaignCommand::Webhook(asked), envelope_of(command)).await);
    if reply.code.is_empty() { Ok(reply_json(reply.position, &Resent { ids })) } else { Ok(reply) }
}

fn json<'a, T: Deserialize<'a>>(command: &'a RoleCommand) -> Result<T, Refused> {
    serde_json::from_slice(&command.json).map_err(|error| ("AST-D042", format!("{}: {error}", command.verb)))
}

fn parsed(id: &str) -> Result<NoticeId, Refused> {
    id.parse().map_err(|error: NoticeIdError| ("AST-D155", format!("{id:?} is {error}")))
}

/// Shows the outbox among the process's metrics, whoever leads. Never ends by itself.
///
/// # Errors
/// The metrics are too many.
pub async fn report(log: Log, health: Health) -> Result<(), MetricsError> {
    let metrics = health.metrics();
    let owed = metrics.gauge("asterism_webhook_owed", "Notices to be delivered.")?;
    let oldest = metrics.gauge("asterism_webhook_oldest_ms", "Age of the oldest of them.")?;
    let delivered = metrics.gauge("asterism_webhook_delivered", "Notices taken by their receiver, ever.")?;
    let given_up = metrics.gauge("asterism_webhook_given_up", "Notices given up, ever.")?;
    loop {
        let now = log.now_ms();
        log.read(|state| {
            let outbox = &state.webhook;
            let first = outbox.owed.values().next().map_or(now, |notice| notice.at);
            owed.set(outbox.owed.len() as u64);
            oldest.set(now.saturating_sub(first));
            delivered.set(outbox.delivered);
            given_up.set(outbox.given_up);
        });
        tokio::time::sleep(METRICS_EVERY).await;
    }
}

//! A call that was asked of a dialer that does not lead: asked of the one that does, over the bus, under the same
//! `Idempotency-Key`, so that asking twice is one call whoever is asked.

use std::time::Duration;

use asterism_nats::{RequestError, Subject};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::role::{Deps, refusal, reply_json};
use axum::http::StatusCode;
use axum::response::Response;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Clerk, Refusal, said};

/// The verb.
pub(crate) const VERB: &str = "call.post";
/// How long a leader is looked for.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one try waits: a leader that died answers nothing, its successor the repeat.
const TRY: Duration = Duration::from_secs(3);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// `call.post`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostCall {
    key: String,
    body: String,
}

/// What the leader says to it.
#[derive(Serialize, Deserialize)]
struct Answered {
    status: u16,
    body: Value,
}

/// Asks the leader.
pub(super) async fn ask(deps: &Deps, key: &str, body: &[u8]) -> Result<Response, Refusal> {
    let late = |why: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "AST-D143", why);
    let body = String::from_utf8(body.to_vec())
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "AST-D059", "no JSON: it is not UTF-8"))?;
    let asked = PostCall { key: key.to_owned(), body };
    let command = RoleCommand {
        verb: VERB.to_owned(),
        json: serde_json::to_vec(&asked).unwrap_or_default(),
        actor: "api".to_owned(),
        ..RoleCommand::default()
    };
    let subject = Subject::role(deps.log.fleet(), Role::Dialer).map_err(|error| late(error.to_string()))?;
    let (payload, deadline) = (command.encode_to_vec(), Instant::now() + PATIENCE);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match deps.bus.request(&subject, payload.clone(), TRY.min(left)).await {
            Ok(reply) => match RoleReply::decode(reply.as_slice()) {
                Ok(reply) if reply.code == "AST-R033" => reply.reason,
                Ok(reply) if reply.code.is_empty() => return answer(&reply),
                // An older dialer does not know the verb.
                Ok(reply) => return Err(late(format!("{}: {}", reply.code, reply.reason))),
                Err(_) => return Err(late("the leader's answer cannot be read".to_owned())),
            },
            Err(
                error @ (RequestError::NoResponders | RequestError::Deadline | RequestError::Disconnected),
            ) => error.to_string(),
            Err(error) => return Err(late(error.to_string())),
        };
        if Instant::now() + PAUSE >= deadline {
            let text = format!("this dialer does not lead, and no leader answered within 8 s: {why}");
            return Err(late(format!("{text}; repeat it with the same Idempotency-Key")));
        }
        sleep(PAUSE).await;
    }
}

fn answer(reply: &RoleReply) -> Result<Response, Refusal> {
    let read = serde_json::from_slice::<Answered>(&reply.json).ok();
    let read = read.and_then(|answered| Some((StatusCode::from_u16(answered.status).ok()?, answered.body)));
    let (status, body) = read.ok_or_else(|| {
        let why = "the leader's answer cannot be read";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "AST-D143", why)
    })?;
    Ok(said(status, &body))
}

/// Answers another dialer that was asked.
pub(crate) async fn serve(clerk: &Clerk, command: &RoleCommand) -> RoleReply {
    let PostCall { key, body } = match serde_json::from_slice(&command.json) {
        Ok(asked) => asked,
        Err(error) => return refusal("AST-D042", format!("{VERB}: {error}")),
    };
    if body.len() > super::BODY_MAX_BYTES || !super::is_key(&key) {
        return refusal("AST-D042", format!("{VERB}: its key or body is none of a call"));
    }
    let (status, body) = match Box::pin(clerk.place(&key, body.as_bytes())).await {
        Ok((status, body)) => (status, body),
        // Whoever asks looks for the leader again.
        Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, _, why)) => return refusal("AST-R033", why),
        Err(refusal) => refusal.parts(),
    };
    reply_json(clerk.deps.log.read(|state| state.size), &Answered { status: status.as_u16(), body })
}

//! `POST /calls`: one call, asked for by a program over HTTP on loopback. The same rules as for any campaign: the call is a
//! campaign of one contact, in the log in one decision, or not at all.
//!
//! `Idempotency-Key` names the call: asked again with the same body it is the same call, with another body it is refused.

pub(crate) mod forward;
mod request;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::campaign::CampaignCommand;
use asterism_domain::report;
use asterism_domain::wire::Envelope;
use asterism_nats::Secret;
use asterism_runtime::leader::{AskError, Desk, now_ms};
use asterism_runtime::role::Deps;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::DialerConfig;
use crate::trunks;
use request::{Asked, CallRequest};

/// Longest body.
const BODY_MAX_BYTES: usize = 16 * 1024;
/// How long a body may take to come.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Shortest token.
const TOKEN_MIN_BYTES: usize = 16;
/// Longest idempotency key.
const KEY_MAX_BYTES: usize = 64;

/// Why calls cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    /// The token cannot be used.
    #[error("AST-D050: dialer.calls_token_file {path}: {why}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong; never the token.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("AST-D051: calls cannot be taken on {address} ({source}): correct dialer.calls_listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A refusal: status, stable code, reason.
pub(crate) struct Refusal(StatusCode, &'static str, String);

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, why: impl Into<String>) -> Self {
        Self(status, code, why.into())
    }
}

impl Refusal {
    fn parts(self) -> (StatusCode, Value) {
        let Self(status, code, reason) = self;
        (status, json!({ "error": { "code": code, "reason": reason } }))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, value) = self.parts();
        let mut response = said(status, &value);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

fn said(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

/// Places calls, whoever asked: a program here, or another dialer that does not lead.
#[derive(Clone)]
pub(crate) struct Clerk {
    pub(crate) deps: Deps,
    pub(crate) desk: Desk<CampaignCommand>,
    pub(crate) config: Arc<DialerConfig>,
    pub(crate) numbers: [u8; 32],
}

struct Office {
    clerk: Clerk,
    token: [u8; 32],
}

/// Taking calls. Dropping it stops that.
pub struct Calls(JoinHandle<()>);

impl Drop for Calls {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes calls where the configuration says so.
///
/// # Errors
/// AST-D050 the token's file, AST-D051 the address.
pub async fn serve(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    config: &Arc<DialerConfig>,
) -> Result<Option<Calls>, crate::Error> {
    let Some((address, path)) = config.calls.clone() else { return Ok(None) };
    let token = |why: String| CallsError::Token { path: path.clone(), why };
    let secret = Secret::from_file(&path).map_err(|error| token(error.to_string()))?;
    if secret.reveal().len() < TOKEN_MIN_BYTES {
        return Err(token(format!("a token has at least {TOKEN_MIN_BYTES} characters")).into());
    }
    let numbers = deps.keyring.numbers()?;
    let office = Office {
        clerk: Clerk { deps: deps.clone(), desk: desk.clone(), config: config.clone(), numbers },
        token: Sha256::digest(secret.reveal()).into(),
    };
    let listen = |source| CallsError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    tracing::info!(%address, "calls are taken");
    let router = Router::new()
        .route("/calls", post(place))
        .route("/calls/{call}", get(look))
        .with_state(Arc::new(office));
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "calls are no longer taken");
        }
    });
    Ok(Some(Calls(task)))
}

async fn place(State(office): State<Arc<Office>>, headers: HeaderMap, body: Body) -> Response {
    match Box::pin(office.place(&headers, body)).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn look(State(office): State<Arc<Office>>, headers: HeaderMap, Path(call): Path<String>) -> Response {
    let found = office.admit(&headers).and_then(|()| office.look(&call));
    found.unwrap_or_else(IntoResponse::into_response)
}

impl Office {
    /// Whoever knows the token. Hashes are compared: how long that takes says nothing about it.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).map(Sha256::digest);
        if token.is_some_and(|token| token.as_slice() == self.token) {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "AST-D052", "say the token: Authorization: Bearer TOKEN"))
    }

    async fn place(&self, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
        self.admit(headers)?;
        let key = key(headers)?;
        let late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "AST-D054", "the body did not come in time");
        let long = |_| {
            let why = format!("the body has more than {BODY_MAX_BYTES} bytes, or broke off");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "AST-D055", why)
        };
        let reading = axum::body::to_bytes(body, BODY_MAX_BYTES);
        let bytes = tokio::time::timeout(BODY_DEADLINE, reading).await.map_err(|_| late())?.map_err(long)?;
        let Clerk { deps, desk, .. } = &self.clerk;
        if desk.term().is_none() {
            return forward::ask(deps, &key, &bytes).await;
        }
        self.clerk.place(&key, &bytes).await.map(|(status, value)| said(status, &value))
    }

    fn look(&self, call: &str) -> Result<Response, Refusal> {
        let found = self.clerk.deps.log.read(|state| {
            let one =
                report::campaigns(state, state.at.max(now_ms())).into_iter().find(|one| one.campaign == call);
            one.map(|one| (state.size, json!(one)))
        });
        let (position, report) = found
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "AST-D058", "there is no call of this id"))?;
        Ok(said(StatusCode::OK, &json!({ "call": call, "position": position, "report": report })))
    }
}

impl Clerk {
    /// One call, as the leader.
    pub(crate) async fn place(&self, key: &str, body: &[u8]) -> Result<(StatusCode, Value), Refusal> {
        let request = CallRequest::read(body)?;
        // It may rest on a trunk of a configuration that was read a moment ago.
        let unready = |why| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "AST-D056", why);
        trunks::configure(&self.deps, &self.config, &self.desk).await.map_err(unready)?;
        let asked = request.understand(key, &self.deps, &self.config, &self.numbers)?;
        let Asked { call, problems, forecast, .. } = &asked;
        if request.dry_run {
            let value = json!({ "dry_run": true, "problems": problems, "forecast": forecast });
            return Ok((StatusCode::OK, value));
        }
        let (id, import) = (call.new.campaign.clone(), call.import.clone());
        if let Some(position) = self.there(&id, &import)? {
            return Ok(accepted(StatusCode::OK, &id, position, true));
        }
        if let Some(first) = problems.first() {
            let all: Vec<String> =
                problems.iter().map(|one| format!("{}: {}", one.code, one.reason)).collect();
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, first.code, all.join("; ")));
        }
        if let Some(rule) = forecast.never.keys().next() {
            let why = format!("the number may not be called: {rule}");
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "AST-D065", why));
        }
        let call = asked.seal(&self.deps, &self.numbers)?;
        let meta =
            Envelope { command_id: format!("api-{id}"), actor: "api".to_owned(), ..Envelope::default() };
        match self.desk.ask(CampaignCommand::Call(call), meta).await {
            // Asked twice at the same time, one of them made it.
            Ok(answer) if answer.events.is_empty() => {
                let position = self.there(&id, &import)?.unwrap_or(answer.position);
                Ok(accepted(StatusCode::OK, &id, position, true))
            }
            Ok(answer) => Ok(accepted(StatusCode::CREATED, &id, answer.position, false)),
            Err(AskError::Rejected(no)) => {
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, no.code, no.reason.into_owned()))
            }
            Err(error @ AskError::NotLeading(_)) => {
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "AST-D056", error.to_string()))
            }
        }
    }

    /// The log's size, if the call is in it.
    fn there(&self, id: &str, import: &str) -> Result<Option<u64>, Refusal> {
        self.deps.log.read(|state| match state.campaigns.get(id) {
            None => Ok(None),
            Some(known) if known.imports.first().is_some_and(|first| first == import) => Ok(Some(state.size)),
            Some(_) => {
                let why = "another call was asked for under this Idempotency-Key";
                Err(Refusal::new(StatusCode::CONFLICT, "AST-D057", why))
            }
        })
    }
}

fn accepted(status: StatusCode, id: &str, position: u64, repeated: bool) -> (StatusCode, Value) {
    (status, json!({ "call": id, "position": position, "repeated": repeated }))
}

fn key(headers: &HeaderMap) -> Result<String, Refusal> {
    let given = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_key(given) {
        return Ok(given.to_owned());
    }
    let why = "say an Idempotency-Key of 1 to 64 of [A-Za-z0-9_-], a new one for each call";
    Err(Refusal::new(StatusCode::BAD_REQUEST, "AST-D053", why))
}

fn is_key(text: &str) -> bool {
    asterism_proto::origin::is_token(text) && text.len() <= KEY_MAX_BYTES
}

//! The dialplan's questions: HTTP on loopback, for whoever knows the secret.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::dialplan::{END_PATH, END_TAKEN, EndReport, MAX_BODY_BYTES, Question, SECRET_HEADER, STEP_PATH};
use crate::input::{Input, Inputs};

#[derive(Clone)]
struct Shared {
    secret: std::sync::Arc<str>,
    inputs: Inputs,
}

/// Answers until the listener fails.
pub async fn serve(listener: TcpListener, secret: &str, inputs: Inputs) -> std::io::Result<()> {
    let shared = Shared { secret: secret.into(), inputs };
    let router = Router::new()
        .route(STEP_PATH, post(step))
        .route(END_PATH, post(end))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared);
    // Without this an answer waits 40 ms for the asker's delayed acknowledgement.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay refused");
        }
    });
    axum::serve(listener, router).await
}

async fn step(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    if !shared.knows(&headers) {
        return (StatusCode::FORBIDDEN, String::new());
    }
    let Ok(question) = Question::parse(&body) else { return (StatusCode::BAD_REQUEST, String::new()) };
    let (answer, answered) = oneshot::channel();
    if shared.inputs.send(Input::Question(question, answer)).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    match answered.await {
        Ok(Some(line)) => (StatusCode::OK, line),
        Ok(None) => (StatusCode::CONFLICT, String::new()),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    }
}

async fn end(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    if !shared.knows(&headers) {
        return (StatusCode::FORBIDDEN, "");
    }
    let Ok(report) = EndReport::parse(&body) else { return (StatusCode::BAD_REQUEST, "") };
    let (taken, answered) = oneshot::channel();
    if shared.inputs.send(Input::EndReport(report, taken)).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "");
    }
    match answered.await {
        Ok(true) => (StatusCode::OK, END_TAKEN),
        Ok(false) => (StatusCode::NOT_FOUND, ""),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, ""),
    }
}

impl Shared {
    fn knows(&self, headers: &HeaderMap) -> bool {
        headers.get(SECRET_HEADER).is_some_and(|given| same(given.as_bytes(), self.secret.as_bytes()))
    }
}

/// Equality that takes as long wherever the first difference is.
fn same(given: &[u8], secret: &[u8]) -> bool {
    given.len() == secret.len() && given.iter().zip(secret).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_secret_itself_is_the_secret() {
        assert!(same(b"hush", b"hush"));
        for wrong in [b"".as_slice(), b"hus", b"husH", b"hushh"] {
            assert!(!same(wrong, b"hush"));
        }
    }
}

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
    #![allow(clippy::unwrap_used, clippy::panic)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn only_the_secret_itself_is_the_secret() {
        assert!(same(b"hush", b"hush"));
        for wrong in [b"".as_slice(), b"hus", b"husH", b"hushh"] {
            assert!(!same(wrong, b"hush"));
        }
    }

    async fn post(port: u16, path: &str, secret: &str, body: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nX-Asterism: {secret}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn questions_are_answered_for_who_knows_the_secret_and_nothing_else_gets_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (inputs, mut received) = mpsc::channel(8);
        let server = tokio::spawn(async move { serve(listener, "hush", inputs).await });
        let loop_stand_in = tokio::spawn(async move {
            let mut heard = 0;
            while let Some(input) = received.recv().await {
                heard += 1;
                match input {
                    Input::Question(q, answer) => {
                        answer.send((q.step == 1).then(|| "1|1|hangup|16|||||.".to_owned())).unwrap();
                    }
                    Input::EndReport(report, taken) => taken.send(report.channel_id == "a-1").unwrap(),
                    _ => panic!("not from the dialplan"),
                }
            }
            heard
        });
        let long = format!("c=a-1&n=1&v=start&x={}", "y".repeat(3_000));
        for (path, secret, body, status, text) in [
            ("/s", "hush", "c=a-1&n=1&v=start", "200", "1|1|hangup|16|||||."),
            ("/s", "hush", "c=a-1&n=2&v=start", "409", ""),
            ("/h_end", "hush", "c=a-1&n=1&v=hangup&cause=16", "200", "ok"),
            ("/h_end", "hush", "c=b&n=1&v=hangup&cause=16", "404", ""),
            ("/s", "wrong", "c=a-1&n=1&v=start", "403", ""),
            ("/h_end", "", "c=a-1&n=1&v=hangup", "403", ""),
            ("/s", "hush", "c=a-1&n=x&v=start", "400", ""),
            ("/s", "hush", long.as_str(), "413", ""),
            ("/other", "hush", "", "404", ""),
        ] {
            let answer = post(port, path, secret, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {body:.30}: {answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{text}")) || status == "413", "{answer}");
        }
        server.abort();
        assert_eq!(loop_stand_in.await.unwrap(), 4, "what was refused went no further");
    }
}

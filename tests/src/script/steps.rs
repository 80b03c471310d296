//! The step server of the scripts: it runs the demo flow, or what a call's id asks for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use asterism_agent::dialplan::{END_PATH, END_TAKEN, EndReport, Question, SECRET_HEADER, STEP_PATH};
use asterism_domain::logic::{Asked, Fields, Flow, next};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::tape::{Entry, Tape};
use crate::asterisk::STEP_SECRET;

/// What a call is told; the first word of its channel id, up to a dash, chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The demo flow.
    Flow,
    /// `hold-…`: silence for ten minutes.
    Hold,
    /// `garbled-…`: a text that is no reply.
    Garbled,
    /// `refused-…`: HTTP status 503.
    Refused,
    /// `other-…`: a reply to another step.
    OtherStep,
    /// `late-…`: nothing usable the first time it asks, then the demo flow.
    SecondTime,
    /// `missing-…`: a prompt that is not there, then the end.
    NoSuchPrompt,
}

impl Says {
    fn to(channel: &str) -> Self {
        match channel.split('-').next() {
            Some("hold") => Self::Hold,
            Some("garbled") => Self::Garbled,
            Some("refused") => Self::Refused,
            Some("other") => Self::OtherStep,
            Some("late") => Self::SecondTime,
            Some("missing") => Self::NoSuchPrompt,
            _ => Self::Flow,
        }
    }
}

/// A running step server; it ends when it is dropped.
pub struct Steps {
    /// Where it listens on loopback.
    pub port: u16,
    accept: tokio::task::JoinHandle<()>,
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

struct Shared {
    tape: Arc<Tape>,
    flow: Flow,
    /// The state of each call's flow.
    at: Mutex<HashMap<String, String>>,
}

impl Steps {
    /// Starts it.
    pub async fn start(tape: Arc<Tape>, flow: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let flow = Flow::parse(&std::fs::read_to_string(flow).unwrap()).unwrap();
        let shared = Arc::new(Shared { tape, flow, at: Mutex::default() });
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                let builder = hyper::server::conn::http1::Builder::new();
                connections.spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { port, accept }
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let known = head.headers.get(SECRET_HEADER).is_some_and(|value| value == STEP_SECRET);
    let (status, text) = match head.uri.path() {
        _ if !known => (StatusCode::FORBIDDEN, String::new()),
        STEP_PATH => shared.step(&body),
        END_PATH => {
            shared.tape.push(Entry::End(EndReport::parse(&body).unwrap()));
            (StatusCode::OK, END_TAKEN.to_owned())
        }
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

impl Shared {
    fn step(&self, body: &[u8]) -> (StatusCode, String) {
        let question = Question::parse(body).unwrap();
        self.tape.push(Entry::Question(question.clone()));
        let n = question.step;
        let text = match (Says::to(&question.channel_id), question.misses) {
            (Says::Flow, _) | (Says::SecondTime, 1..) => self.flow(&question),
            (Says::Hold, _) => line(n, "pause|600"),
            (Says::OtherStep, _) => line(n + 1, "pause|600"),
            (Says::NoSuchPrompt, _) if n == 1 => line(n, "play|asterism/not-there|0"),
            (Says::NoSuchPrompt, _) => line(n, "hangup|16"),
            (Says::Garbled, _) => "1|1|play|${SHELL(id)}|0||||.".to_owned(),
            (Says::SecondTime, _) if n > 1 => self.flow(&question),
            (Says::Refused | Says::SecondTime, _) => return (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        };
        (StatusCode::OK, text)
    }

    fn flow(&self, question: &Question) -> String {
        let mut at = self.at.lock().unwrap();
        let state = at.entry(question.channel_id.clone()).or_default();
        let none = Fields::new();
        let (status, digits) = (question.status.as_str(), question.digits.as_str());
        let step = next(&self.flow, &Asked { state, status, digits, fields: &none, vars: &none });
        *state = step.next_state;
        line(question.step, &in_folder(&step.reply))
    }
}

/// Prompts of the flow are files of one folder.
fn in_folder(reply: &str) -> String {
    let mut fields: Vec<String> = reply.split('|').map(str::to_owned).collect();
    if ["play", "gather"].contains(&fields[0].as_str()) {
        let prompts: Vec<String> = fields[1].split('&').map(|name| format!("asterism/{name}")).collect();
        fields[1] = prompts.join("&");
    }
    fields.join("|")
}

/// A reply line: version, step, the verb with five arguments, the end mark.
fn line(step: u32, verb: &str) -> String {
    let bars = "|".repeat(5 - verb.matches('|').count());
    format!("1|{step}|{verb}{bars}|.")
}

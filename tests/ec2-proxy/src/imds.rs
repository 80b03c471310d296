//! An instance's metadata service, version 2: a token first, then what is asked for; notices of a spot instance.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::{Answer, Request, read, write};

/// What a token looks like.
const TOKEN: &str = "proxy-token-";
/// Where the notice of an interruption stands.
const INTERRUPTION: &str = "/latest/meta-data/spot/instance-action";
/// Where the recommendation to leave stands.
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, String>,
    tokens: u64,
    requests: Vec<String>,
    refused: u64,
    down: bool,
}

/// The service of one instance. Its threads end with the test's process.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Where it listens.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Metadata {
    /// Starts the service of an instance.
    pub fn start(instance_id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Self { port, state: Arc::default() };
        service.put("/latest/meta-data/instance-id", instance_id);
        let served = service.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                served.serve(client);
            }
        });
        service
    }

    /// A page of it.
    pub fn put(&self, path: &str, text: &str) {
        self.with(|state| state.pages.insert(path.to_owned(), text.to_owned()));
    }

    /// The notice that the instance will be taken away at a time (`2026-12-01T12:00:00Z`).
    pub fn interrupt(&self, at: &str) {
        self.put(INTERRUPTION, &format!("{{\"action\": \"terminate\", \"time\": \"{at}\"}}"));
    }

    /// The recommendation to leave, given at a time.
    pub fn recommend_rebalance(&self, at: &str) {
        self.put(REBALANCE, &format!("{{\"noticeTime\": \"{at}\"}}"));
    }

    /// Answers nothing any more, or again.
    pub fn set_down(&self, down: bool) {
        self.with(|state| state.down = down);
    }

    /// Requests so far, `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.with(|state| state.requests.clone())
    }

    /// Requests refused for their token.
    pub fn refused(&self) -> u64 {
        self.with(|state| state.refused)
    }

    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, mut client: TcpStream) {
        let Some(request) = read(&mut client) else { return };
        if let Some(answer) = self.with(|state| state.answer(&request)) {
            write(&mut client, &answer, None);
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Option<Answer> {
        let Request { method, path, .. } = request;
        self.requests.push(format!("{method} {path}"));
        if self.down {
            return None;
        }
        let answer = |status, body: &str| Some(Answer { status, body: body.to_owned() });
        if method == "PUT" && path == "/latest/api/token" {
            let lives: u32 = request.header("x-aws-ec2-metadata-token-ttl-seconds").parse().unwrap_or(0);
            if !(1..=21_600).contains(&lives) {
                return answer(400, "");
            }
            self.tokens += 1;
            return answer(200, &format!("{TOKEN}{}", self.tokens));
        }
        let token = request.header("x-aws-ec2-metadata-token").strip_prefix(TOKEN);
        if !token.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| (1..=self.tokens).contains(&n)) {
            self.refused += 1;
            return answer(401, "");
        }
        match self.pages.get(path) {
            Some(text) if method == "GET" => answer(200, text),
            Some(_) => answer(405, ""),
            None => answer(404, ""),
        }
    }
}

//! What the tests share: an AMI client, a step server, and a way to wait with a deadline.
#![allow(dead_code)] // each test program uses its part
#![allow(clippy::unnecessary_wraps)] // scripts share one signature

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asterism_agent::ami::{Action, Decoder, Event, Item, Kind, Message, Originate, Role};
use asterism_agent::dialplan::{EndReport, Question, Reply, Verb};
use asterism_pbx_sim::callees::Callees;
use asterism_pbx_sim::recorder::{Recorder, RecorderConfig};
use asterism_pbx_sim::{Sim, SimConfig};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const USER: &str = "agent";
pub const SECRET: &str = "ami-secret";
pub const STEP_SECRET: &str = "step-secret";
/// No condition in these tests takes longer, whatever the machine is doing.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The table that mirrors the scenario of the `sipp` carrier.
pub fn script() -> Callees {
    Callees::parse(include_str!("../../callees-script.toml")).unwrap()
}

/// A node with everything around it.
pub struct Node {
    pub sim: Sim,
    pub steps: Steps,
    pub recorder: Option<Recorder>,
    pub folder: tempfile::TempDir,
}

impl Node {
    /// Starts a recorder, a step server that answers with `script`, and a node, `scale` times faster than life.
    pub async fn start(callees: Callees, scale: u32, script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let steps = Steps::start(script).await;
        let recorder = start_recorder(&folder).await;
        let config = config(steps.addr, Some(recorder.addr()), scale, &folder);
        let sim = Sim::start(config, callees).await.unwrap();
        Self { sim, steps, recorder: Some(recorder), folder }
    }

    pub async fn ami(&self) -> Ami {
        Ami::login(self.sim.ami_addr()).await
    }

    pub fn rings(&self) -> std::path::PathBuf {
        self.folder.path().join("rings.csv")
    }
}

pub async fn start_recorder(folder: &tempfile::TempDir) -> Recorder {
    let out = folder.path().join("rings.csv");
    Recorder::start(&RecorderConfig { listen: ([127, 0, 0, 1], 0).into(), out }).await.unwrap()
}

pub fn config(
    step: SocketAddr,
    carrier: Option<SocketAddr>,
    scale: u32,
    folder: &tempfile::TempDir,
) -> SimConfig {
    SimConfig {
        ami_listen: ([127, 0, 0, 1], 0).into(),
        ami_user: USER.into(),
        ami_secret: SECRET.into(),
        step_url: format!("http://{step}"),
        step_secret: STEP_SECRET.into(),
        carrier,
        node: "n1".into(),
        trunks: vec!["trunk".into()],
        journal_dir: Some(folder.path().join("journal")),
        recordings_dir: Some(folder.path().join("recordings")),
        sounds_dir: None,
        trunks_file: None,
        clock_scale: NonZeroU32::new(scale).unwrap(),
    }
}

/// An AMI client that keeps everything it saw.
pub struct Ami {
    stream: TcpStream,
    decoder: Decoder,
    pub seen: Vec<Message>,
}

impl Ami {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut ami = Self { stream, decoder: Decoder::new(Role::Client), seen: Vec::new() };
        let Some(Item::Banner(version)) = ami.next().await else { panic!("no banner") };
        assert_eq!(version, "11.0.0");
        ami
    }

    pub async fn login(addr: SocketAddr) -> Self {
        let mut ami = Self::connect(addr).await;
        ami.send(&Action::login("login", USER, SECRET).unwrap()).await;
        ami.until("the login", |m| m.get("Event") == Some("FullyBooted")).await;
        ami.seen.clear();
        ami
    }

    pub async fn send(&mut self, action: &Action) {
        self.send_bytes(&action.encode()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Originates `number` as attempt `id`, with action id `order-ID`.
    pub async fn originate(&mut self, number: &str, id: &str, timeout_ms: u32) {
        self.originate_as(&format!("order-{id}"), number, id, timeout_ms).await;
    }

    pub async fn originate_as(&mut self, action_id: &str, number: &str, id: &str, timeout_ms: u32) {
        let channel = format!("PJSIP/{number}@trunk");
        let originate = Originate {
            channel: &channel,
            context: "asterism",
            exten: "s",
            timeout_ms,
            channel_id: id,
            caller_id: Some("+15550100100"),
            variables: &[("FLOW", "demo")],
        };
        self.send(&Action::originate(action_id, &originate).unwrap()).await;
    }

    /// The next item, `None` once the server closed the connection.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.decoder.next() {
                let item = item.unwrap();
                if let Item::Message(message) = &item {
                    self.seen.push(message.clone());
                }
                return Some(item);
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(DEADLINE, self.stream.read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| panic!("nothing came; seen: {:#?}", self.seen)).unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.decoder.push(&buffer[..count]);
        }
    }

    /// The first message, seen already or to come, that `wanted` takes.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        if let Some(message) = self.seen.iter().find(|m| wanted(m)) {
            return message.clone();
        }
        loop {
            match self.next().await {
                Some(Item::Message(message)) if wanted(&message) => return message,
                Some(_) => {}
                None => panic!("connection closed before {what}"),
            }
        }
    }

    pub async fn response(&mut self, action_id: &str) -> Message {
        self.until("a response", |m| {
            m.get("Response").is_some() && m.get("Event").is_none() && m.get("ActionID") == Some(action_id)
        })
        .await
    }

    /// Waits for an attempt's `Hangup` and `OriginateResponse`, the two that end it in either order.
    pub async fn ended(&mut self, id: &str) -> Message {
        self.until("its response", |m| {
            m.get("Event") == Some("OriginateResponse") && m.get("ActionID") == Some(&format!("order-{id}"))
        })
        .await;
        self.until(
            "its hangup",
            |m| matches!(m.kind(), Kind::Event(Event::Hangup { unique_id, .. }) if unique_id == id),
        )
        .await
    }

    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    /// The names of the events of one attempt, in the order seen, with what matters of each.
    pub fn story(&self, id: &str) -> Vec<String> {
        let of = |m: &&Message| {
            [m.get("Uniqueid"), m.get("DestUniqueid")].contains(&Some(id)) && m.get("Event").is_some()
        };
        let text = |m: &Message, name| m.get(name).unwrap_or("-").to_owned();
        self.seen
            .iter()
            .filter(of)
            .map(|m| match m.get("Event").unwrap() {
                "Newstate" => format!("Newstate {}", text(m, "ChannelStateDesc")),
                e @ ("DialState" | "DialEnd") => format!("{e} {}", text(m, "DialStatus")),
                e @ ("HangupRequest" | "Hangup") => {
                    format!("{e} {} {}", text(m, "Cause"), text(m, "TechCause"))
                }
                "SoftHangupRequest" => format!("SoftHangupRequest {}", text(m, "Cause")),
                "OriginateResponse" => {
                    format!("OriginateResponse {} {}", text(m, "Response"), text(m, "Reason"))
                }
                other => other.to_owned(),
            })
            .collect()
    }
}

/// What the step server answers: the whole HTTP answer's text, or a status.
pub type Script = fn(&Question) -> Result<String, u16>;

/// A step server that keeps what it was asked.
pub struct Steps {
    pub addr: SocketAddr,
    pub asked: Arc<Mutex<Vec<Question>>>,
    pub ended: Arc<Mutex<Vec<EndReport>>>,
    accept: tokio::task::JoinHandle<()>,
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Steps {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (asked_in, ended_in) = (Arc::clone(&asked), Arc::clone(&ended));
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (asked, ended) = (Arc::clone(&asked_in), Arc::clone(&ended_in));
                let service = service_fn(move |request| {
                    answer(request, script, Arc::clone(&asked), Arc::clone(&ended))
                });
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { addr, asked, ended, accept }
    }

    /// The questions of one attempt as `n m v st d`.
    pub fn asked(&self, id: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let of = asked.iter().filter(|q| q.channel_id == id);
        of.map(|q| {
            format!("{} {} {} {} {}", q.step, q.misses, q.last_verb.as_str(), q.status, q.digits)
                .trim_end()
                .to_owned()
        })
        .collect()
    }

    /// The end report of one attempt.
    pub fn end(&self, id: &str) -> Option<EndReport> {
        self.ended.lock().unwrap().iter().find(|e| e.channel_id == id).cloned()
    }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    script: Script,
    asked: Arc<Mutex<Vec<Question>>>,
    ended: Arc<Mutex<Vec<EndReport>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!(request.headers()["X-Asterism"], STEP_SECRET);
    assert_eq!(request.headers()["Content-Type"], "application/x-www-form-urlencoded");
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let text = if path == "/h_end" {
        ended.lock().unwrap().push(EndReport::parse(&body).unwrap());
        Ok("ok".to_owned())
    } else {
        assert_eq!(path, "/s");
        let question = Question::parse(&body).unwrap();
        let text = script(&question);
        asked.lock().unwrap().push(question);
        text
    };
    let (status, text) = text
        .map_or_else(|code| (StatusCode::from_u16(code).unwrap(), String::new()), |t| (StatusCode::OK, t));
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

/// Greeting, a key, thanks and goodbye: the flow most tests walk.
pub fn three_steps(question: &Question) -> Result<String, u16> {
    let prompts = |name: &str| vec![format!("asterism/{name}")];
    let verb = match question.step {
        1 => Verb::Play { prompts: prompts("hello"), barge: false },
        2 => Verb::Gather {
            prompts: prompts("menu"),
            max_digits: 1,
            timeout_s: 2,
            attempts: 1,
            finish_key: None,
        },
        3 => Verb::Play { prompts: prompts("thanks"), barge: false },
        _ => Verb::Hangup { cause: 16 },
    };
    Ok(Reply { step: question.step, verb, language: String::new() }.encode().unwrap())
}

/// Keeps a call up until someone hangs it up.
pub fn hold(question: &Question) -> Result<String, u16> {
    Ok(Reply { step: question.step, verb: Verb::Pause { seconds: 600 }, language: String::new() }
        .encode()
        .unwrap())
}

/// Waits until `done`, with a deadline.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !done() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // the pause of a poll, not a wait for an amount of time
    }
}

//! A fleet that is not there: scaler, dialer, responder and ledger as far as one node can see them, on a real
//! nats-server, with a real agent, simulator and carrier recorder as processes.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use asterism_nats::server::find_binary;
use asterism_nats::stream::ensure_stream;
use asterism_nats::{Bus, NatsServer, Reader, ReaderEvent, ServiceHandle, ServiceSpec, Subject, Verb, serve};
use asterism_proto::hash::sha256;
use asterism_proto::{PublicKey, notice, v1};
use prost::Message;

pub mod alone;
pub mod carrier;
pub mod dns;
pub mod gateway;
mod log;
mod notices;
pub mod real;
pub mod rings_then_503;
pub use log::Log;
pub use notices::{log_key, notice_body};

pub const FLEET: &str = "test";
pub const NODE: &str = "i-0test";
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Longest prompts of the flow, so that a call lasts long enough to be disturbed.
pub const LONG_FLOW: &str = "long";
/// Two sounds of the PBX's own, first whole, then until a key is pressed; then a goodbye for ever.
pub const SAY_FLOW: &str = "say";
/// Joins the call with [`LEG`], then hangs up.
pub const JOIN_FLOW: &str = "join";
pub const LEG: &str = "+15550100777";

pub struct Fleet {
    pub server: NatsServer,
    pub bus: Bus,
    pub dir: tempfile::TempDir,
    pub log: Arc<Mutex<Log>>,
    pub registrations: Arc<Mutex<Vec<v1::Registration>>>,
    pub heartbeat: Arc<Mutex<Option<v1::Heartbeat>>>,
    /// Whether the responder answers.
    pub answering: Arc<Mutex<bool>>,
    /// Whether the ledger announces checkpoints on request.
    services: Vec<ServiceHandle>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    recorder: Option<Process>,
    pub rings: PathBuf,
    pub carrier: u16,
}

/// A child that goes when the test does.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program next to the agent, built if it is not there.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_asterism-agent")).with_file_name(name);
    if !path.exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "--package", "asterism-pbx-sim"]).status().unwrap();
        assert!(built.success() && path.exists(), "{name} could not be built");
    }
    path
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn spec(name: &str, subject: Subject) -> ServiceSpec {
    ServiceSpec {
        name: name.into(),
        version: "0.1.0".into(),
        description: "test".into(),
        subject,
        queue: name.into(),
        concurrency: 64,
    }
}

/// Waits until it is so.
pub async fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
    }
}

impl Fleet {
    pub async fn start() -> Self {
        let binary = find_binary().expect("no nats-server: run tests/setup/nats-server.sh");
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        let bus = Bus::connect(&server.service("fleet").unwrap()).await.unwrap();
        ensure_stream(&bus, FLEET, 64 * 1024 * 1024).await.unwrap();
        let rings = dir.path().join("rings.csv");
        let port_file = dir.path().join("carrier.port");
        let recorder = Command::new(program("carrier-recorder"))
            .args(["--exit-on-stdin-eof", "--out"])
            .arg(&rings)
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let recorder = Process(recorder);
        let deadline = Instant::now() + PATIENCE;
        let carrier = loop {
            let port = std::fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok());
            if let Some(port) = port {
                break port;
            }
            assert!(Instant::now() < deadline, "the carrier recorder did not come up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut fleet = Self {
            server,
            bus,
            dir,
            log: Arc::default(),
            registrations: Arc::default(),
            heartbeat: Arc::default(),
            answering: Arc::new(Mutex::new(true)),
            services: Vec::new(),
            tasks: Vec::new(),
            recorder: Some(recorder),
            rings,
            carrier,
        };
        fleet.serve_all().await;
        fleet
    }

    async fn serve_all(&mut self) {
        let registrations = Arc::clone(&self.registrations);
        let admit = move |payload: bytes::Bytes| {
            let registrations = Arc::clone(&registrations);
            async move {
                registrations.lock().unwrap().push(v1::Registration::decode(payload).unwrap());
                let reply = v1::RegistrationReply {
                    admitted: true,
                    position: 1,
                    fleet: FLEET.into(),
                    ..Default::default()
                };
                Ok(reply.encode_to_vec())
            }
        };
        let time = |_: bytes::Bytes| async { Ok(v1::TimeReply { now_ms: now_ms() }.encode_to_vec()) };
        let answering = Arc::clone(&self.answering);
        let step = move |payload: bytes::Bytes| {
            let answers = *answering.lock().unwrap();
            async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Ok(decide(&v1::StepQuestion::decode(payload).unwrap()).encode_to_vec())
            }
        };
        let log = Arc::clone(&self.log);
        let bus = self.bus.clone();
        let checkpoint = move |_: bytes::Bytes| {
            let (log, bus) = (Arc::clone(&log), bus.clone());
            async move {
                let notice = notice::sign(&log_key(), vec![], notice_body(&log.lock().unwrap()));
                bus.publish(&Subject::checkpoint_notice(FLEET).unwrap(), notice.encode_to_vec())
                    .await
                    .unwrap();
                Ok(notice.encode_to_vec())
            }
        };
        let bus = &self.bus;
        self.services = vec![
            serve(bus, spec("registration", Subject::registration(FLEET).unwrap()), admit).await.unwrap(),
            serve(bus, spec("time", Subject::time(FLEET).unwrap()), time).await.unwrap(),
            serve(bus, spec("logic", Subject::step(FLEET).unwrap()), step).await.unwrap(),
            serve(bus, spec("ledger", Subject::checkpoint_request(FLEET).unwrap()), checkpoint)
                .await
                .unwrap(),
        ];
        let mut reader = Reader::start(bus, FLEET, 1, None).unwrap();
        let log = Arc::clone(&self.log);
        self.tasks.push(tokio::spawn(async move {
            loop {
                match reader.next().await {
                    ReaderEvent::Message { payload, .. } => log.lock().unwrap().take(&payload),
                    ReaderEvent::CaughtUp { .. } => {}
                    ReaderEvent::Incident(incident) => panic!("{incident}"),
                }
            }
        }));
        let mut heartbeats = bus.subscribe(&Subject::heartbeats(FLEET).unwrap(), None).await.unwrap();
        let heartbeat = Arc::clone(&self.heartbeat);
        self.tasks.push(tokio::spawn(async move {
            while let Some(message) = heartbeats.next().await {
                *heartbeat.lock().unwrap() = Some(v1::Heartbeat::decode(message.payload).unwrap());
            }
        }));
    }

    /// Starts the instance with the simulator: its folder is `dir/node`.
    pub fn launch(&self, capacity: u32, callees: &str) -> Process {
        let table = self.dir.path().join("callees.toml");
        std::fs::write(&table, callees).unwrap();
        let carrier = format!("127.0.0.1:{}", self.carrier);
        self.launch_with(capacity, &["--carrier", &carrier, "--callees", table.to_str().unwrap()])
    }

    /// Starts the instance with these further arguments.
    pub fn launch_with(&self, capacity: u32, args: &[&str]) -> Process {
        self.launch_in(capacity, args, &[])
    }

    /// The same with these further variables.
    pub fn launch_in(&self, capacity: u32, args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = self.instance(capacity, args);
        command.envs(env.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    }

    /// The command that starts the instance.
    pub fn instance(&self, capacity: u32, args: &[&str]) -> Command {
        // Another build of the agent, for measuring: the simulator is then found beside this one all the same.
        let agent = std::env::var_os("ASTERISM_AGENT_BIN").map(PathBuf::from);
        let mut command = Command::new(agent.unwrap_or_else(|| env!("CARGO_BIN_EXE_asterism-agent").into()));
        command
            .arg("instance")
            .arg("--pbx-sim-bin")
            .arg(program("pbx-sim"))
            .args(["--node", NODE, "--fleet", FLEET, "--intent", "intent-1"])
            .args(["--log-key", &hex::encode(log_key().public().to_bytes())])
            .args([
                "--capacity",
                &capacity.to_string(),
                "--nats-url",
                &self.server.url,
                "--nats-user",
                "node",
            ])
            .arg("--nats-password-file")
            .arg(self.server.password_file("node"))
            .arg("--dir")
            .arg(self.node_dir())
            .args(args);
        command
    }

    pub fn node_dir(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    pub fn pid(&self, name: &str) -> Option<i32> {
        std::fs::read_to_string(self.node_dir().join(format!("{name}.pid"))).ok()?.trim().parse().ok()
    }

    pub fn kill9(&self, name: &str) {
        let pid = nix::unistd::Pid::from_raw(self.pid(name).expect("a pid file"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// Sends an order until it is answered.
    pub async fn order(&self, verb: Verb, order: &impl Message) -> v1::OrderReply {
        let subject = Subject::command(FLEET, NODE, verb).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.bus.request(&subject, order.encode_to_vec(), Duration::from_secs(2)).await {
                Ok(bytes) => return v1::OrderReply::decode(bytes.as_slice()).unwrap(),
                Err(error) => assert!(Instant::now() < deadline, "no answer to an order: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Dials each number as attempt `a-<number>` with a window that begins now.
    pub async fn dial(&self, term: u64, flow: &str, numbers: &[String]) -> v1::OrderReply {
        let attempts = numbers.iter().map(|number| attempt(number, flow)).collect();
        self.order(Verb::Dial, &v1::DialOrder { term, log_position: 1, attempts }).await
    }

    /// Waits until the log satisfies a condition, and says what it held otherwise.
    pub async fn until<T>(&self, what: &str, mut done: impl FnMut(&Log) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = done(&self.log.lock().unwrap()) {
                return value;
            }
            if Instant::now() > deadline {
                let log = self.log.lock().unwrap();
                let kinds: Vec<_> = log.events.iter().map(|e| (e.r#type, e.correlation.clone())).collect();
                let agent =
                    std::fs::read_to_string(self.node_dir().join("log/agent.log")).unwrap_or_default();
                panic!("{what}: not within {PATIENCE:?}\nlog: {kinds:?}\nagent: {agent}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ready, with the manifest `m1` held.
    pub async fn prepare(&self) {
        self.until("a ready node", |log| log.first(v1::EventType::NodeReady)).await;
        let prompt = self.dir.path().join("hello.ulaw");
        std::fs::write(&prompt, [0x7f; 800]).unwrap();
        let prompts = ["menu", "thanks", "more"].map(|name| v1::Prompt {
            name: name.into(),
            ext: "ulaw".into(),
            language: "en".into(),
            sha256: sha256(&[0x7f; 800]).to_vec(),
            size_bytes: 800,
            url: format!("file://{}", prompt.display()),
        });
        let order = v1::SyncOrder {
            term: 1,
            manifest: "m1".into(),
            prompts: prompts.to_vec(),
            ..v1::SyncOrder::default()
        };
        assert!(self.order(Verb::Sync, &order).await.taken);
        self.until("the manifest", |log| log.first(v1::EventType::ManifestHeld)).await;
    }

    /// Attempts in the carrier's file, each with how often it rang.
    pub fn rings(&self) -> BTreeMap<String, u32> {
        let mut rings = BTreeMap::new();
        for line in std::fs::read_to_string(&self.rings).unwrap_or_default().lines() {
            let attempt = line.split(',').nth(1).unwrap().to_owned();
            *rings.entry(attempt).or_default() += 1;
        }
        rings
    }

    /// Every frame is the node's: signed by the key it registered, numbered without a gap.
    pub fn check_frames(&self) {
        let registered = self.registrations.lock().unwrap();
        let first = registered.first().expect("a registration");
        assert!(registered.iter().all(|r| r.public_key == first.public_key && r.epoch == first.epoch));
        let key = PublicKey::from_bytes(&first.public_key).unwrap();
        let log = self.log.lock().unwrap();
        for (index, frame) in log.frames.iter().enumerate() {
            assert!(frame.signed_by(&key), "frame {} is not the node's", frame.header.number);
            assert_eq!(frame.header.number, index as u64 + 1, "a gap");
            assert_eq!(frame.header.origin, format!("node/{NODE}"));
            assert_eq!(frame.epoch.to_vec(), first.epoch);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.recorder.take();
    }
}

pub fn attempt(number: &str, flow: &str) -> v1::DialAttempt {
    v1::DialAttempt {
        attempt: format!("a-{}", number.trim_start_matches('+')),
        campaign: "camp".into(),
        number: number.into(),
        trunk: "trunk-a".into(),
        not_before_ms: now_ms(),
        not_after_ms: now_ms() + 2_000,
        ring_timeout_ms: 2_000,
        flow: flow.into(),
        manifest: "m1".into(),
        caller_id: "+15550100000".into(),
        fallback: "play|thanks|0".into(),
        fields: Vec::new(),
        detect_machine: false,
        hold_s: 0,
        may_bridge: false,
        language: String::new(),
    }
}

/// The responder: a menu, or six prompts and a menu for the long flow.
fn decide(question: &v1::StepQuestion) -> v1::StepAnswer {
    let played: u32 = question.state.strip_prefix('p').and_then(|n| n.parse().ok()).unwrap_or(0);
    let (reply, next) = match question.state.as_str() {
        "menu" => ("hangup|16".to_owned(), "done".to_owned()),
        "" if question.flow == SAY_FLOW => ("say|en/digits/5&en/digits/2|0".to_owned(), "whole".to_owned()),
        "whole" => ("say|en/test/9&en/digits/5|1".to_owned(), "stopped".to_owned()),
        "stopped" => ("optout|thanks".to_owned(), "done".to_owned()),
        "" if question.flow == JOIN_FLOW => ("dial|support|8|60".to_owned(), "menu".to_owned()),
        _ if question.flow == LONG_FLOW && played < 6 => {
            ("play|more|0".to_owned(), format!("p{}", played + 1))
        }
        _ => ("gather|menu|1|2|1|none".to_owned(), "menu".to_owned()),
    };
    // In German, of which no node here has a sound.
    let german = v1::ContactField { name: "language".into(), value: "de".into() };
    let german = (question.flow == SAY_FLOW).then_some(german);
    let leg = v1::Bridge { address: LEG.into(), caller_id: String::new() };
    v1::StepAnswer {
        bridge: reply.starts_with("dial|").then_some(leg),
        reply,
        next_state: next,
        vars: german.into_iter().collect(),
        origin: "proc/logic-responder-test".into(),
        epoch: vec![7; 16],
        frame: u64::from(question.step),
        index: 0,
        ..Default::default()
    }
}

/// A table where the last digits of a number say what its callee does.
pub fn callees() -> String {
    let habits = [
        "press_1",
        "press_2",
        "press_nothing",
        "busy",
        "declined",
        "not_found",
        "unavailable",
        "congested",
        "no_answer",
        "silent",
    ];
    habits.iter().enumerate().fold(String::new(), |table, (digit, habit)| {
        format!("{table}[[number]]\nnumber = \"*{digit}\"\nhabit = \"{habit}\"\n\n")
    })
}

/// Numbers that end in the digit.
pub fn numbers(range: std::ops::Range<u32>, last_digit: Option<u32>) -> Vec<String> {
    range.map(|n| format!("+155501{:04}", last_digit.map_or(n, |digit| n * 10 + digit))).collect()
}

/// How a call ended, raw: what `OriginateResponse` gave if that says it (3 timed out, 4 answered), else the response.
pub const ANSWERED: (u32, u32) = (4, 0);
pub const TIMED_OUT: (u32, u32) = (3, 0);

/// As [`ANSWERED`] and [`TIMED_OUT`], or 0 and the final response.
pub fn raw(end: &v1::AttemptEnded) -> (u32, u32) {
    if end.reason == 0 { (0, end.sip_status) } else { (end.reason, 0) }
}

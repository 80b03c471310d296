//! A real nats-server, a log that begins, the demo's flow in a store, and questions with a deadline.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asterism_domain::{Event, logic, wire};
use asterism_logic_responder::{CHECKS, Deps};
use asterism_nats::{Bus, BusConfig, NatsServer, Parsed, Reader, ReaderEvent, Subject};
use asterism_object_store::{FolderStore, ObjectName, ObjectStore};
use asterism_proto::v1::{StepAnswer, StepQuestion};
use asterism_proto::{OpenFrame, Origin, Role};
use asterism_runtime::config::LogicConfig;
use asterism_runtime::health::Health;
use asterism_runtime::keys::Keyring;
use asterism_runtime::log::{Log, LogConfig, SealAt};
use asterism_runtime::shutdown::Shutdown;
use prost::Message as _;
use tokio::task::JoinHandle;

pub mod calls;
pub mod lossy;
pub mod memcached;

pub const FLEET: &str = "lab";
pub const FLOW: &[u8] = include_bytes!("../../../../compose/demo/flow.toml");
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One fleet: server, keys, log, store.
pub struct Lab {
    pub server: NatsServer,
    pub keyring: Keyring,
    pub log: Log,
    pub bus: Bus,
    pub store: FolderStore,
    pub dir: tempfile::TempDir,
}

/// One responder in this process.
pub struct Replica {
    pub shutdown: Shutdown,
    pub health: Health,
    task: JoinHandle<Result<(), asterism_logic_responder::Error>>,
}

impl Replica {
    pub async fn stop(self) {
        self.shutdown.request();
        within("an orderly stop", self.task).await.unwrap().unwrap();
    }
}

impl Lab {
    pub async fn start() -> Self {
        Self::with_stream_bytes(64 << 20).await
    }

    pub async fn with_stream_bytes(stream_max_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = start_server(dir.path(), None).await;
        let keyring = Keyring::init(&dir.path().join("keys"), FLEET, 1).unwrap();
        let bus = Bus::connect(&server.service("test").unwrap()).await.unwrap();
        let log = open_log(&keyring, &bus, &dir.path().join("log"), stream_max_bytes).await;
        let store = FolderStore::open(&dir.path().join("objects")).await.unwrap();
        publish_flow(&store).await;
        Self { server, keyring, log, bus, store, dir }
    }

    pub async fn deps(&self, name: &str) -> Deps {
        self.deps_on(&self.server.service(name).unwrap()).await
    }

    async fn deps_on(&self, link: &BusConfig) -> Deps {
        Deps {
            fleet: FLEET.to_owned(),
            bus: Bus::connect(link).await.unwrap(),
            store: Arc::new(self.store.clone()),
            key: self.keyring.role(Role::LogicResponder).unwrap(),
            log_key: self.keyring.log_key().unwrap(),
            health: Health::new("logic-responder", &CHECKS),
            spool_dir: self.dir.path().join("spool"),
        }
    }

    pub async fn replica(&self, name: &str) -> Replica {
        self.replica_on(&self.server.service(name).unwrap()).await
    }

    pub async fn replica_on(&self, link: &BusConfig) -> Replica {
        self.replica_with(LogicConfig::default(), link).await
    }

    pub async fn replica_with(&self, config: LogicConfig, link: &BusConfig) -> Replica {
        let deps = self.deps_on(link).await;
        let (shutdown, health) = (Shutdown::new(), deps.health.clone());
        let task = tokio::spawn(asterism_logic_responder::run(config, deps, shutdown.clone()));
        until("the replica is ready", || health.is_ready()).await;
        Replica { shutdown, health, task }
    }

    /// Every frame of the stream from responders, in its order.
    pub async fn frames(&self) -> Vec<OpenFrame> {
        let key = self.keyring.role(Role::LogicResponder).unwrap().public();
        let mut reader = Reader::start(&self.bus, FLEET, 1, None).unwrap();
        let mut frames = Vec::new();
        loop {
            match within("the stream's end", reader.next()).await {
                ReaderEvent::Message { subject, payload, .. } => {
                    let Ok(Parsed::Event { origin: Origin::Proc(Role::LogicResponder, _), .. }) =
                        subject.parse()
                    else {
                        continue;
                    };
                    let frame = OpenFrame::read(&payload).unwrap();
                    assert!(frame.signed_by(&key), "a frame is not signed by the role's key");
                    frames.push(frame);
                }
                ReaderEvent::CaughtUp { .. } => return frames,
                ReaderEvent::Incident(incident) => panic!("{incident}"),
            }
        }
    }

    /// Waits until our own copy of the log holds as many events, so that the sequencer accepted every frame.
    pub async fn accepted(&self, events: u64) {
        let mut head = self.log.head();
        within("the sequencer takes every frame", head.wait_for(|head| head.size >= events)).await.unwrap();
        assert_eq!(self.log.head().borrow().size, events);
        assert_eq!(*self.log.failure().borrow(), None);
    }
}

pub async fn start_server(dir: &Path, port: Option<u16>) -> NatsServer {
    let binary = asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
    NatsServer::start(&binary, &dir.join("nats"), port).await.unwrap()
}

pub async fn open_log(keyring: &Keyring, bus: &Bus, dir: &Path, stream_max_bytes: u64) -> Log {
    let config = LogConfig {
        fleet: FLEET.to_owned(),
        dir: dir.to_owned(),
        anchor: keyring.anchor(),
        first_frame: keyring.first_frame().to_vec(),
        stream_max_bytes,
        seal: SealAt::default(),
    };
    let log = Log::open(config, bus.clone()).await.unwrap();
    within("the log begins", log.caught_up()).await;
    log
}

pub async fn publish_flow(store: &FolderStore) {
    let name = ObjectName::new(format!("flows/{}.toml", logic::flow_id(FLOW))).unwrap();
    store.put(&name, FLOW.to_vec().into()).await.unwrap();
}

/// A question after the greeting's menu: what a caller pressed.
pub fn question(contact: u32, digits: &str) -> StepQuestion {
    StepQuestion {
        call: format!("lab-{contact}-1"),
        step: 3,
        flow: logic::flow_id(FLOW),
        state: "menu".to_owned(),
        verb: "gather".to_owned(),
        status: "OK".to_owned(),
        digits: digits.to_owned(),
        campaign: "lab".to_owned(),
        node: "i-1".to_owned(),
        ..StepQuestion::default()
    }
}

/// Asks over the bus as an agent does: again until the patience is gone.
pub async fn ask(bus: &Bus, question: &StepQuestion) -> StepAnswer {
    let subject = Subject::step(FLEET).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = bus.request(&subject, question.encode_to_vec(), Duration::from_secs(2)).await;
        let why = match answer {
            Ok(bytes) => {
                let answer = StepAnswer::decode(bytes.as_slice()).unwrap();
                if answer.code != "AST-Q005" && answer.code != "AST-Q006" {
                    return answer;
                }
                answer.reason
            }
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < until, "no answer to {}: {why}", question.call);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The decision an answer names, by (origin, epoch, frame, index), from all frames of the stream.
pub fn decisions(frames: &[OpenFrame]) -> BTreeMap<(String, Vec<u8>, u64, u32), Event> {
    let mut all = BTreeMap::new();
    for frame in frames {
        for (index, bytes) in (0u32..).zip(&frame.events) {
            let place = (frame.origin.to_string(), frame.epoch.to_vec(), frame.header.number, index);
            all.insert(place, wire::decode_bytes(bytes).unwrap().1);
        }
    }
    all
}

/// Where an answer says its decision stands.
pub fn place(answer: &StepAnswer) -> (String, Vec<u8>, u64, u32) {
    (answer.origin.clone(), answer.epoch.clone(), answer.frame, answer.index)
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

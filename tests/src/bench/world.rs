//! What an agent needs around it: a real nats-server with a log that has begun, the real logic responder as a process,
//! and as much of scaler and ledger as one node can see of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use asterism_domain::logic;
use asterism_nats::server::{SERVICE_USER, SyncInterval, find_binary};
use asterism_nats::stream::ensure_stream;
use asterism_nats::{Bus, NatsServer, ServiceHandle, ServiceSpec, Subject, serve};
use asterism_object_store::{FolderStore, ObjectName, ObjectStore};
use asterism_proto::frame::message_id;
use asterism_proto::v1::{RegistrationReply, StepAnswer, StepQuestion, TimeReply};
use asterism_proto::{OpenFrame, OriginKey, Role, notice, v1};
use asterism_runtime::keys::Keyring;
use prost::Message;

use super::traffic::Traffic;

/// The fleet's name.
pub const FLEET: &str = "bench";
/// How long anything may take to begin or to end before the bench fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Size of the stream: far more than any bench writes.
const STREAM_MAX_BYTES: u64 = 512 << 20;
/// A call that stays up: it pauses, whatever happens.
const FLOW: &str = "name = \"hold\"\nstart = \"hold\"\nfallback = \"bye\"\n\n[states.hold]\npause = { duration_s = 600 }\n\
                    next = \"hold\"\n\n[states.bye]\nhangup = { cause = 16 }\n";

/// A child process that goes when this does.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// One fleet of one node.
pub struct World {
    /// The server.
    pub server: NatsServer,
    /// Our own connection, as a service.
    pub bus: Bus,
    /// Id of the flow that holds calls up.
    pub flow: String,
    /// The key that signs what the ledger would say.
    pub log_key: OriginKey,
    /// What was read from the stream, if the bench follows it.
    pub traffic: Arc<Traffic>,
    _responder: Process,
    _services: Vec<ServiceHandle>,
    // Last, so that processes are gone before their folder is.
    dir: tempfile::TempDir,
}

impl World {
    /// Starts all but the node.
    pub async fn start(sync_interval: SyncInterval) -> anyhow::Result<Self> {
        Self::start_with(sync_interval, &[]).await
    }

    /// [`World::start`], with more words for the responder.
    pub async fn start_with(sync_interval: SyncInterval, words: &[String]) -> anyhow::Result<Self> {
        let dir = super::report::scratch()?;
        let binary = find_binary().context("no nats-server: run tests/setup/nats-server.sh")?;
        let server = NatsServer::start_with(&binary, &dir.path().join("nats"), None, sync_interval).await?;
        let bus = Bus::connect(&server.service("bench")?).await?;
        let log_key = begin_log(&bus, dir.path()).await?;
        let store = FolderStore::open(&dir.path().join("objects")).await?;
        let flow = logic::flow_id(FLOW.as_bytes());
        store.put(&ObjectName::new(format!("flows/{flow}.toml"))?, FLOW.as_bytes().to_vec().into()).await?;
        let services = pretend(&bus).await?;
        let responder = responder(&server, dir.path(), words)?;
        let traffic = Arc::default();
        let world =
            Self { server, bus, flow, log_key, traffic, _responder: responder, _services: services, dir };
        world.until("the responder answers", || world.question("ready", 0, 1)).await?;
        Ok(world)
    }

    /// The folder everything is below.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What an agent would ask, put on the bus by ourselves. Gives back the answer's size in bytes.
    pub async fn question(&self, campaign: &str, contact: usize, step: u32) -> anyhow::Result<usize> {
        let question = self.step_question(campaign, contact, step).encode_to_vec();
        let bytes = self.bus.request(&Subject::step(FLEET)?, question, Duration::from_secs(2)).await?;
        let answer = StepAnswer::decode(bytes.as_slice())?;
        ensure!(answer.reply == "pause|600" && answer.frame > 0, "no decision: {answer:?}");
        Ok(bytes.len())
    }

    /// The question for the next step of a call that holds.
    pub fn step_question(&self, campaign: &str, contact: usize, step: u32) -> StepQuestion {
        StepQuestion {
            call: call(campaign, contact),
            step,
            flow: self.flow.clone(),
            state: "hold".to_owned(),
            verb: "pause".to_owned(),
            status: "OK".to_owned(),
            campaign: campaign.to_owned(),
            node: super::node::NODE.to_owned(),
            deadline_ms: 800,
            ..StepQuestion::default()
        }
    }

    /// Tries until it works, and says why it did not when the patience is gone.
    pub async fn until<T, F>(&self, what: &str, mut attempt: impl FnMut() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if Instant::now() > deadline => return Err(error.context(what.to_owned())),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await, // the pause of a poll
            }
        }
    }
}

/// The id of a contact's first attempt, and of its channel.
pub fn call(campaign: &str, contact: usize) -> String {
    format!("{campaign}-{contact}-1")
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

/// The project's program beside this one, or in `ASTERISM_BIN_DIR`.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name(name);
    let path = std::env::var_os("ASTERISM_BIN_DIR").map_or(beside, |dir| PathBuf::from(dir).join(name));
    ensure!(path.is_file(), "{} is not there: make bench builds it", path.display());
    Ok(path)
}

/// Makes keys, and the stream with the log's first frame.
async fn begin_log(bus: &Bus, dir: &Path) -> anyhow::Result<OriginKey> {
    let keyring = Keyring::init(&dir.join("keys"), FLEET, 1)?;
    ensure_stream(bus, FLEET, STREAM_MAX_BYTES).await?;
    let first = OpenFrame::read(keyring.first_frame())?;
    let id = message_id(&first.origin, &first.epoch, first.header.number);
    bus.publish_frame(FLEET, &first.origin, keyring.first_frame().to_vec(), &id, Some(0)).await?;
    Ok(keyring.role(Role::Ledger)?)
}

fn responder(server: &NatsServer, dir: &Path, words: &[String]) -> anyhow::Result<Process> {
    let set = |key: &str, value: &str| format!("--set={key}={value}");
    let log = std::fs::File::create(dir.join("responder.log"))?;
    let child = Command::new(program("asterism-logic-responder")?)
        .arg(set("fleet", FLEET))
        .arg(set("nats.url", &server.url))
        .arg(set("nats.user", SERVICE_USER))
        .arg(set("nats.password_file", &server.password_file(SERVICE_USER).display().to_string()))
        .arg(set("paths.data_dir", &dir.display().to_string()))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(Process(child))
}

/// Admits every node, and says what time it is.
async fn pretend(bus: &Bus) -> anyhow::Result<Vec<ServiceHandle>> {
    let spec = |name: &str, subject| ServiceSpec {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        description: "stands in for a service".to_owned(),
        subject,
        queue: name.to_owned(),
        concurrency: 16,
    };
    let admit = |_: bytes::Bytes| async {
        let reply =
            RegistrationReply { admitted: true, position: 1, fleet: FLEET.to_owned(), ..Default::default() };
        Ok(reply.encode_to_vec())
    };
    let time = |_: bytes::Bytes| async { Ok(TimeReply { now_ms: now_ms() }.encode_to_vec()) };
    let registration = spec("registration", Subject::registration(FLEET)?);
    Ok(vec![
        serve(bus, registration, admit).await?,
        serve(bus, spec("time", Subject::time(FLEET)?), time).await?,
    ])
}

/// Tells the node what the log holds of it, as the ledger's checkpoint does.
pub async fn announce_checkpoint(bus: &Bus, traffic: &Traffic, log_key: &OriginKey) -> anyhow::Result<()> {
    let Some(mark) = traffic.mark() else { return Ok(()) };
    let body = v1::NoticeBody { fleet: FLEET.to_owned(), size: 1, marks: vec![mark], ..Default::default() };
    let notice = notice::sign(log_key, Vec::new(), body);
    Ok(bus.publish(&Subject::checkpoint_notice(FLEET)?, notice.encode_to_vec()).await?)
}

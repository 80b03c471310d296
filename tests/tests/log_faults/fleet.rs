//! A fleet of copies without services, and what the stories do with it.

use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_ledger::LedgerConfig;
use asterism_nats::{Bus, BusConfig, RequestError, Subject};
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::hash::Hash;
use asterism_proto::v1::{CheckpointNotice, RoleCommand, RoleReply};
use asterism_proto::{Origin, Role};
use asterism_runtime::log::Log;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture};
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Checkpoints only on request, after the first of a term.
pub const ON_REQUEST: LedgerConfig = LedgerConfig {
    checkpoint_every_ms: 3_600_000,
    checkpoint_every_events: u64::MAX,
    share_ms: 50,
    archive: None,
    seal_every_ms: 3_600_000,
    tail_after_ms: 3_600_000,
    snapshot_events: u64::MAX,
    retention: asterism_ledger::Retention { look_every_ms: 3_600_000, lengthen_after_ms: u64::MAX },
    lost_after_ms: 900_000,
};

/// Fails the test when something takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// The origin most stories write as.
pub fn scaler() -> Origin {
    Origin::Role(Role::Scaler)
}

/// A frame of the scaler's first term: its election, then one event in each.
pub fn frame(fixture: &Fixture, epoch: u8, number: u64) -> Vec<u8> {
    frame_of(fixture, 1, epoch, number, 1)
}

/// The same in another term, with so many events of 5 KiB.
pub fn frame_of(fixture: &Fixture, term: u64, epoch: u8, number: u64, events: usize) -> Vec<u8> {
    let elected = Event::LeaderElected { role: "scaler".to_owned(), term, holder: "test".to_owned() };
    let said = Event::FleetStopRequested { reason: format!("{number} {}", "x".repeat(5_120)) };
    let events = if number == 1 { vec![elected] } else { vec![said; events] };
    let events = events.iter().map(|event| wire::encode(event, &Envelope::default())).collect();
    let origin = scaler();
    let draft = FrameDraft { fleet: FLEET, origin: &origin, epoch: [epoch; 16], number, term, based_on: 0 };
    draft.sign(&fixture.keyring.role(Role::Scaler).unwrap(), events).unwrap()
}

/// Publishes frames of the scaler until each is acknowledged.
pub async fn publish(fixture: &Fixture, bus: &Bus, epoch: u8, numbers: impl IntoIterator<Item = u64>) {
    publish_sized(fixture, bus, epoch, numbers, 1).await;
}

/// The same with so many events of 5 KiB in each frame.
pub async fn publish_sized(
    fixture: &Fixture,
    bus: &Bus,
    epoch: u8,
    numbers: impl IntoIterator<Item = u64>,
    events: usize,
) {
    for number in numbers {
        let (frame, id) =
            (frame_of(fixture, 1, epoch, number, events), message_id(&scaler(), &[epoch; 16], number));
        let publishing = async {
            while bus.publish_frame(FLEET, &scaler(), frame.clone(), &id, None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("an acknowledgement", publishing).await;
    }
}

/// Waits until a copy holds an origin's frames up to a number; gives the log's size then.
pub async fn holds(log: &Log, origin: &Origin, number: u64) -> u64 {
    let mut head = log.head();
    within("a frame in the log", async {
        while log.sequencer(|log, _, _| log.mark(origin).is_none_or(|mark| mark.number < number)) {
            head.changed().await.unwrap();
        }
    })
    .await;
    log.sequencer(|log, _, _| log.size())
}

/// The root at a size.
pub fn root(log: &Log, size: u64) -> Hash {
    log.sequencer(|log, _, _| log.root_at(size).expect("a size at which a frame ended"))
}

/// Why a copy has stopped.
pub async fn stopped(log: &Log) -> String {
    let mut failure = log.failure();
    let reason = within("a stop", failure.wait_for(Option::is_some)).await.unwrap();
    reason.clone().unwrap()
}

/// Asks for a checkpoint until there is one.
pub async fn checkpoint(bus: &Bus) -> CheckpointNotice {
    let subject = Subject::checkpoint_request(FLEET).unwrap();
    let answer = ask(bus, &subject, vec![]).await;
    CheckpointNotice::decode(answer.as_slice()).unwrap()
}

/// A command to the ledger, repeated until somebody answers.
pub async fn command(bus: &Bus, verb: &str, json: serde_json::Value) -> RoleReply {
    let command = RoleCommand {
        command_id: format!("c-{verb}"),
        verb: verb.to_owned(),
        json: json.to_string().into_bytes(),
        actor: "ada".to_owned(),
    };
    let answer = ask(bus, &Subject::role(FLEET, Role::Ledger).unwrap(), command.encode_to_vec()).await;
    RoleReply::decode(answer.as_slice()).unwrap()
}

async fn ask(bus: &Bus, subject: &Subject, payload: Vec<u8>) -> Vec<u8> {
    within("an answer", async {
        loop {
            match bus.request(subject, payload.clone(), Duration::from_secs(5)).await {
                Ok(answer) => return answer.to_vec(),
                Err(RequestError::Service { code, reason }) => panic!("{code} {reason}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// What a process has, in a runtime of its own: dropped, it is gone as a killed process is, with all it was doing.
pub struct Process {
    pub deps: Deps,
    handle: Handle,
    /// The runtime's thread ends with it.
    _alive: oneshot::Sender<()>,
}

impl std::ops::Deref for Process {
    type Target = Deps;
    fn deref(&self) -> &Deps {
        &self.deps
    }
}

impl Process {
    /// Opens a copy, again or for the first time: a former owner's threads may take a moment to let go of the folder.
    pub async fn start(fixture: &Fixture, name: &str) -> Self {
        let lock = fixture.dir.path().join("log").join(name).join("LOCK");
        within(&format!("the lock of {name}"), async {
            while std::fs::File::open(&lock).is_ok_and(|file| file.try_lock().is_err()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let (alive, dropped) = oneshot::channel::<()>();
        let (give, given) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = give.send(runtime.handle().clone());
            let _ = runtime.block_on(dropped);
        });
        let handle = given.await.unwrap();
        let deps = inside(&handle, fixture.process(name)).await;
        Self { deps, handle, _alive: alive }
    }

    /// Something this process does.
    pub fn run<F>(&self, doing: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.handle.spawn(doing)
    }

    /// The ledger, in this process.
    pub fn ledger(&self, config: &LedgerConfig) -> JoinHandle<Result<(), asterism_ledger::Error>> {
        self.run(asterism_ledger::run(config.clone(), self.deps.clone()))
    }
}

/// Polls a future so that what it spawns belongs to another runtime.
async fn inside<T>(handle: &Handle, future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    std::future::poll_fn(|context| {
        let _inside = handle.enter();
        future.as_mut().poll(context)
    })
    .await
}

/// Changes the settings of the stream, past our guards; gives what they were.
pub async fn reshape(
    fixture: &Fixture,
    change: impl FnOnce(&mut async_nats::jetstream::stream::Config),
) -> async_nats::jetstream::stream::Config {
    let jetstream = async_nats::jetstream::new(raw(fixture).await);
    let mut stream = jetstream.get_stream("AST_demo").await.unwrap();
    let before = stream.info().await.unwrap().config.clone();
    let mut config = before.clone();
    change(&mut config);
    jetstream.update_stream(config).await.unwrap();
    before
}

/// A client without our guards, with the rights of a service.
pub async fn raw(fixture: &Fixture) -> async_nats::Client {
    let config: BusConfig = fixture.server.service("raw").unwrap();
    async_nats::ConnectOptions::new()
        .user_and_password(config.user.unwrap(), config.password.unwrap().reveal().to_owned())
        .custom_inbox_prefix(&config.inbox_prefix)
        .connect(&config.url)
        .await
        .unwrap()
}

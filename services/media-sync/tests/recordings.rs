//! Recordings against a real nats-server: a node is told where to send what the log says it has, what comes is read back
//! before the log says so, and what a node took with it is found or lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use asterism_domain::recording::{self, RecordingId};
use asterism_domain::wire::{self, Envelope};
use asterism_domain::{Event, State};
use asterism_media_sync::{MediaConfig, run};
use asterism_nats::{Bus, RequestError, Subject};
use asterism_object_store::FolderStore;
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::hash::sha256;
use asterism_proto::v1::{AddressReply, AddressRequest, RecordingOffer, RecordingPlace};
use asterism_proto::{Origin, OriginKey, Role};
use asterism_runtime::commit::Term;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture, within};
use prost::Message;
use tokio::task::JoinHandle;

const NODE: &str = "i-0001";
const EPOCH: [u8; 16] = [6; 16];

struct Running {
    fixture: Fixture,
    deps: Deps,
    bus: Bus,
    store: Arc<FolderStore>,
    key: OriginKey,
    frames: u64,
    task: JoinHandle<Result<(), asterism_media_sync::Error>>,
}

impl Running {
    /// A node the fleet admitted, and a campaign whose calls it has taken.
    async fn start() -> Self {
        Box::pin(Self::start_among(&[])).await
    }

    /// The same with objects in the log's folder that no recording is named after, so many hours old.
    async fn start_among(strays: &[(&str, u64)]) -> Self {
        Box::pin(Self::start_with(MediaConfig::default(), strays)).await
    }

    async fn start_with(config: MediaConfig, strays: &[(&str, u64)]) -> Self {
        let fixture = Box::pin(Fixture::start()).await;
        let deps = Box::pin(fixture.process("media")).await;
        let store = Arc::new(FolderStore::open(&fixture.dir.path().join("objects")).await.unwrap());
        // The folder is named after the log's first frame.
        let mut head = deps.log.head();
        within("the log's first frame", async {
            while deps.log.read(|state| state.size) == 0 {
                head.changed().await.unwrap();
            }
        })
        .await;
        let folder = fixture.dir.path().join("objects").join(deps.log.read(recording::folder));
        for (name, age_h) in strays {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"what was said").unwrap();
            let written = SystemTime::now() - Duration::from_hours(*age_h);
            fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        }
        let task = tokio::spawn(run(config, deps.clone(), store.clone()));
        // The node's own user: it may ask, and is answered.
        let bus = Bus::connect(&fixture.server.node(NODE).unwrap()).await.unwrap();
        let key = OriginKey::from_entropy([5; 32]);
        let running = Self { fixture, deps, bus, store, key, frames: 0, task };
        let (intent, node) = ("intent-1".to_owned(), NODE.to_owned());
        let launched = [
            Event::LaunchIntended {
                intent: intent.clone(),
                reason: String::new(),
                instance_type: "sim".into(),
            },
            Event::NodeLaunched { intent: intent.clone(), node: node.clone() },
            Event::NodeAdmitted {
                node,
                public_key: running.key.public().to_bytes().to_vec(),
                epoch: EPOCH.to_vec(),
                intent,
            },
        ];
        running.commit(&launched).await;
        running
    }

    async fn commit(&self, events: &[Event]) {
        let key = self.deps.key(Role::Scaler).unwrap();
        let term = Term::elect(&self.deps.log, Role::Scaler, &key, "test");
        let mut term = within("an election", term).await.unwrap();
        within("a commit", term.commit(events, &Envelope::default())).await.unwrap();
    }

    /// The node says that it has made a recording of these bytes.
    async fn made(&mut self, contact: u32, bytes: &[u8]) -> RecordingId {
        let id: RecordingId = format!("spring-{contact}-1-2").parse().unwrap();
        let event = Event::RecordingMade {
            node: NODE.into(),
            call: id.call.clone(),
            step: id.step,
            sha256: sha256(bytes).to_vec(),
            size_bytes: bytes.len() as u64,
            duration_ms: 0,
        };
        self.frames += 1;
        let (origin, number) = (Origin::Node(NODE.to_owned()), self.frames);
        let draft = FrameDraft { fleet: FLEET, origin: &origin, epoch: EPOCH, number, term: 0, based_on: 0 };
        let frame = draft.sign(&self.key, vec![wire::encode(&event, &Envelope::default())]).unwrap();
        let message = message_id(&origin, &EPOCH, number);
        within("an acknowledgement", self.bus.publish_frame(FLEET, &origin, frame, &message, None))
            .await
            .unwrap();
        self.until(|state| recording::pending(state, NODE, &id).is_some()).await;
        id
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut head = self.deps.log.head();
        within("the log", async {
            while !self.deps.log.read(&condition) {
                head.changed().await.unwrap();
            }
        })
        .await;
    }

    async fn ask(&self, recording: &str, sent: bool) -> Result<RecordingPlace, String> {
        let subject = Subject::address_request(FLEET).unwrap();
        let offer = RecordingOffer { node: NODE.into(), recording: recording.to_owned(), sent };
        let asked = AddressRequest { recording: Some(offer), ..AddressRequest::default() }.encode_to_vec();
        within("an answer", async {
            loop {
                match self.bus.request(&subject, asked.clone(), Duration::from_secs(10)).await {
                    Err(RequestError::NoResponders) => tokio::task::yield_now().await,
                    Err(error) => return Err(error.to_string()),
                    Ok(answer) => {
                        return Ok(AddressReply::decode(answer.as_slice()).unwrap().recording.unwrap());
                    }
                }
            }
        })
        .await
    }

    /// The same by the process that leads.
    async fn sent(&self, recording: &RecordingId) -> Result<RecordingPlace, String> {
        loop {
            match self.ask(&recording.to_string(), true).await {
                Err(why) if why.contains("425") => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    }

    /// Puts bytes where the node was told to.
    fn put(place: &RecordingPlace, bytes: &[u8]) {
        let path = PathBuf::from(place.url.strip_prefix("file://").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn stored(&self, id: &RecordingId) -> bool {
        self.deps.log.read(|state| state.recordings.stored.contains_key(id))
    }
}

#[tokio::test]
async fn nothing_is_stored_before_it_was_read_back_whole() {
    let mut running = Box::pin(Running::start()).await;
    for (name, why) in [("spring-0-1-2", "425"), ("../etc/passwd", "400"), ("", "400")] {
        let refused = running.ask(name, false).await.unwrap_err();
        assert!(refused.contains(why), "{name}: {refused}");
    }
    let id = running.made(0, b"what was said").await;
    let refused = running.sent(&id).await.unwrap_err();
    assert!(refused.contains("AST-M085"), "nothing is there: {refused}");
    let place = running.ask(&id.to_string(), false).await.unwrap();
    assert!(!place.stored && place.url.contains("/recordings/"), "{place:?}");
    // A store that takes wrong bytes without a word: as many, and fewer.
    for wrong in [&b"what was sung"[..], b"what was"] {
        Running::put(&place, wrong);
        let refused = running.sent(&id).await.unwrap_err();
        assert!(refused.contains("AST-M086"), "{refused}");
        assert!(!running.stored(&id));
    }
    Running::put(&place, b"what was said");
    assert!(running.sent(&id).await.unwrap().stored);
    assert!(running.stored(&id), "the log says so before the node hears it");
    // Asked again, by an agent that died before it heard: the same, and no second event.
    let size = running.deps.log.read(|state| state.size);
    assert!(
        running.sent(&id).await.unwrap().stored && running.ask(&id.to_string(), false).await.unwrap().stored
    );
    assert_eq!(running.deps.log.read(|state| (state.size, state.voids, state.incidents)), (size, 0, 0));
}

#[tokio::test]
async fn what_a_node_took_with_it_is_looked_for_before_it_is_lost() {
    let mut running = Box::pin(Running::start()).await;
    let (there, half, none) =
        (running.made(0, b"one").await, running.made(1, b"two").await, running.made(2, b"three").await);
    Running::put(&running.ask(&there.to_string(), false).await.unwrap(), b"one");
    Running::put(&running.ask(&half.to_string(), false).await.unwrap(), b"tw");
    let origin = Origin::Node(NODE.into()).to_string();
    running
        .commit(&[
            Event::OriginClosed { origin, reason: "lost".into() },
            Event::NodeLost { node: NODE.into(), reason: "test".into() },
        ])
        .await;
    running.until(|state| recording::unsettled(state).count() == 0).await;
    assert!(running.stored(&there), "its node died before it heard so");
    assert!(!running.stored(&half) && !running.stored(&none));
    assert_eq!(running.deps.log.read(|state| state.recordings.lost), 2);
    assert!(running.fixture.dir.path().exists() && Arc::strong_count(&running.store) > 0);
    running.deps.shutdown.request();
    within("the end", running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_an_eraser_left_behind_goes_and_what_may_be_on_its_way_stays() {
    let (left, half, young) =
        ("spring/spring-7-1-2-ab.wav", "spring/spring-8-1-2-ab.part", "spring/spring-1-1-2-ab.wav");
    let running = Box::pin(Running::start_among(&[(left, 3), (half, 3), (young, 1)])).await;
    let folder = running.fixture.dir.path().join("objects").join(running.deps.log.read(recording::folder));
    within("the sweep", async {
        while folder.join(left).exists() || folder.join(half).exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(folder.join(young).exists(), "it was looked at first");
    running.deps.shutdown.request();
    within("the end", running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_kept_long_enough_is_erased_by_itself_and_does_not_come_back() {
    // The days of this test are short, and one of them is enough.
    let config = MediaConfig { recordings_keep_days: 1, day_ms: 2_000, ..MediaConfig::default() };
    let mut running = Box::pin(Running::start_with(config, &[])).await;
    let id = running.made(0, b"what was said").await;
    let place = running.ask(&id.to_string(), false).await.unwrap();
    Running::put(&place, b"what was said");
    assert!(running.sent(&id).await.unwrap().stored);
    let object = PathBuf::from(place.url.strip_prefix("file://").unwrap());
    assert!(object.exists());
    running.until(|state| state.recordings.erased == 1).await;
    within("the end of its object", async {
        while object.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Its node's file outlived the answer: it is told that it may go, and nothing is asked for.
    assert!(running.ask(&id.to_string(), false).await.unwrap().stored);
    assert!(!running.stored(&id));
    running.deps.shutdown.request();
    within("the end", running.task).await.unwrap().unwrap();
}

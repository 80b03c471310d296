//! Media-sync against a real nats-server: what is published is there, and nodes are told to fetch it until they prove
//! that they hold it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_media_sync::commands::{FlowLine, ManifestLine, PublishManifest, telling};
use asterism_media_sync::publish::{self, Published, Set, Source};
use asterism_media_sync::sweep::{CollectGarbage, Collected};
use asterism_media_sync::{MediaConfig, run};
use asterism_nats::{Bus, RequestError, Subject, Subscription, Verb};
use asterism_object_store::{FolderStore, ObjectName, ObjectStore, sha256_name};
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::v1::{AddressReply, AddressRequest, OrderReply, RoleCommand, RoleReply, SyncOrder};
use asterism_proto::{Origin, OriginKey, Role};
use asterism_runtime::commit::Term;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture, within};
use bytes::Bytes;
use prost::Message;
use tokio::task::JoinHandle;

const FLOW: &str = include_str!("../../../compose/demo/flow.toml");
const NODE: &str = "i-0001";

struct Running {
    fixture: Fixture,
    deps: Deps,
    store: Arc<FolderStore>,
    task: JoinHandle<Result<(), asterism_media_sync::Error>>,
    commands: u32,
}

impl Running {
    async fn start() -> Self {
        let fixture = Box::pin(Fixture::start()).await;
        let deps = Box::pin(fixture.process("media")).await;
        let store = Arc::new(FolderStore::open(&fixture.dir.path().join("objects")).await.unwrap());
        let config = MediaConfig { url_valid_s: 60, repeat_after_ms: 100, ..MediaConfig::default() };
        let task = tokio::spawn(run(config, deps.clone(), store.clone()));
        Self { fixture, deps, store, task, commands: 0 }
    }

    async fn ask(&mut self, verb: &str, json: &[u8]) -> RoleReply {
        self.commands += 1;
        let command = RoleCommand {
            command_id: format!("c{}", self.commands),
            verb: verb.to_owned(),
            json: json.to_vec(),
            actor: "test".to_owned(),
        };
        self.send(&command).await
    }

    async fn send(&self, command: &RoleCommand) -> RoleReply {
        let subject = Subject::role(FLEET, Role::MediaSync).unwrap();
        let answer = within("an answer", async {
            loop {
                match self.deps.bus.request(&subject, command.encode_to_vec(), Duration::from_secs(2)).await {
                    Err(RequestError::NoResponders | RequestError::Deadline) => {
                        tokio::task::yield_now().await;
                    }
                    other => return other.unwrap(),
                }
            }
        })
        .await;
        RoleReply::decode(answer.as_slice()).unwrap()
    }

    async fn tell(&mut self, event: &Event) -> RoleReply {
        let (verb, json) = telling(event).unwrap();
        self.ask(verb, &json).await
    }

    async fn prompts(&self) -> Published {
        let sound = |name: &str, code: u8| Source {
            file_name: format!("{name}.ulaw"),
            language: "en".to_owned(),
            bytes: Bytes::from(vec![code; 800]),
        };
        let set = Set { name: "english", formats: &publish::DEFAULT_FORMATS };
        let sources = [sound("greeting", 1), sound("thanks", 2)];
        publish::publish(self.store.as_ref(), set, &sources, &publish::untold).await.unwrap()
    }

    /// The path of an object in the store's folder.
    fn object(&self, name: &ObjectName) -> std::path::PathBuf {
        self.fixture.dir.path().join("objects").join(name.as_str())
    }

    /// A node the fleet admitted, and a campaign that plays the manifest.
    async fn admit(&self, key: &OriginKey, epoch: [u8; 16]) {
        let intent = "intent-1".to_owned();
        let node = NODE.to_owned();
        let admitted = [
            Event::LaunchIntended {
                intent: intent.clone(),
                reason: "test".into(),
                instance_type: "sim".into(),
            },
            Event::NodeLaunched { intent: intent.clone(), node: node.clone() },
            Event::NodeAdmitted {
                node,
                public_key: key.public().to_bytes().to_vec(),
                epoch: epoch.to_vec(),
                intent,
            },
        ];
        self.commit(Role::Scaler, &admitted).await;
    }

    async fn campaign(&self, flow: &str, manifest: &str) {
        let created = Event::CampaignCreated {
            campaign: "spring".to_owned(),
            name: "spring".to_owned(),
            flow: flow.to_owned(),
            manifest: manifest.to_owned(),
            trunk: "sim".to_owned(),
            max_channels: 0,
            calls_per_second: 0,
            ring_timeout_ms: 10_000,
            max_attempts: 1,
            caller_id: String::new(),
            live: false,
            allowed_hashes: vec![],
            rules: None,
            trunks: vec![],
            caller_ids: vec![],
        };
        self.commit(Role::Dialer, &[created]).await;
    }

    async fn commit(&self, role: Role, events: &[Event]) {
        let key = self.deps.key(role).unwrap();
        let mut term = within("an election", Term::elect(&self.deps.log, role, &key, "test")).await.unwrap();
        within("a commit", term.commit(events, &Envelope::default())).await.unwrap();
        assert_eq!(self.deps.log.read(|state| (state.voids, state.incidents)), (0, 0));
    }
}

/// The next order of a kind for the node, answered.
async fn next_order(bus: &Bus, orders: &mut Subscription, taken: bool) -> SyncOrder {
    let message = within("an order", orders.next()).await.unwrap();
    let (code, reason) = if taken { ("", "") } else { ("AST-A099", "no room") };
    let reply = OrderReply { taken, code: code.into(), reason: reason.into(), ..OrderReply::default() };
    bus.respond(message.reply.unwrap(), reply.encode_to_vec()).await.unwrap();
    SyncOrder::decode(message.payload).unwrap()
}

#[tokio::test]
async fn a_manifest_and_a_flow_are_published_once_and_listed() {
    let mut running = Box::pin(Running::start()).await;
    let published = running.prompts().await;
    let (flow, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();

    let reply = running.tell(&published.event).await;
    assert_eq!(reply.code, "", "{}", reply.reason);
    let position = reply.position;
    assert_eq!(running.tell(&told).await.code, "");
    let (catalogue, size) = running.deps.log.read(|state| (state.catalogue.clone(), state.size));
    assert_eq!(catalogue.manifests[&published.manifest_id].prompts, 2);
    assert_eq!(catalogue.flows[flow.id()].name, flow.name());
    assert!(position < size);

    // Told again, with another command: nothing to add to the log.
    assert_eq!(running.tell(&published.event).await.code, "");
    assert_eq!(running.deps.log.read(|state| state.size), size);
    let manifests: Vec<ManifestLine> =
        serde_json::from_slice(&running.ask("media.list", b"").await.json).unwrap();
    let [line] = manifests.as_slice() else { panic!("{manifests:?}") };
    assert_eq!(
        (&line.manifest, line.prompts, line.size_bytes, line.nodes),
        (&published.manifest_id, 2, 1_600, 0)
    );
    let flows: Vec<FlowLine> = serde_json::from_slice(&running.ask("flow.list", b"").await.json).unwrap();
    assert_eq!(flows.iter().map(|line| line.flow.as_str()).collect::<Vec<_>>(), [flow.id()]);

    running.deps.shutdown.request();
    within("the end", running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_in_the_store_as_announced_is_refused() {
    let mut running = Box::pin(Running::start()).await;
    let published = running.prompts().await;
    let (_, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();
    let (verb, json) = telling(&published.event).unwrap();
    let good: PublishManifest = serde_json::from_slice(&json).unwrap();
    let json = |bend: fn(&mut PublishManifest)| {
        let mut bent = good.clone();
        bend(&mut bent);
        serde_json::to_vec(&bent).unwrap()
    };
    for (bent, code) in [
        (json(|it| it.object = "manifests/none.json".into()), "AST-M071"),
        (json(|it| it.sha256.replace_range(..2, "ff")), "AST-M072"),
        (json(|it| it.name = "other".into()), "AST-M072"),
        (json(|it| it.manifest.replace_range(..1, "x")), "AST-M072"),
        (json(|it| it.prompts = 3), "AST-M072"),
        (json(|it| it.object = "../keys".into()), "AST-B001"),
        (json(|it| it.sha256.clear()), "AST-M070"),
        (b"{}".to_vec(), "AST-M070"),
    ] {
        let reply = running.ask(verb, &bent).await;
        assert_eq!(reply.code, code, "{}", reply.reason);
        assert!(!reply.reason.contains(code), "code and reason are apart: {}", reply.reason);
    }
    assert_eq!(running.ask("media.unpublish", b"").await.code, "AST-M076");

    // A sound of the manifest goes, then comes back too short.
    let sound = running.object(&sha256_name(&published.sounds[1].files[0].1));
    std::fs::remove_file(&sound).unwrap();
    let reply = running.ask(verb, &json(|_| {})).await;
    assert_eq!(reply.code, "AST-M071");
    assert!(reply.reason.contains("en/thanks.ulaw"), "{}", reply.reason);
    std::fs::write(&sound, b"short").unwrap();
    assert_eq!(running.ask(verb, &json(|_| {})).await.code, "AST-M073");

    // A flow that the store has and that is no flow.
    let Event::FlowPublished { name, .. } = &told else { panic!("{told:?}") };
    let bad = Bytes::from_static(b"[flow]\n");
    let (id, sha256) = (asterism_domain::logic::flow_id(&bad), hex::encode(sha256(&bad)));
    let object = publish::flow_object(&id).unwrap();
    running.store.put(&object, bad).await.unwrap();
    let arguments =
        serde_json::json!({"flow": id, "name": name, "object": object.as_str(), "sha256": sha256});
    let reply = running.ask("flow.publish", arguments.to_string().as_bytes()).await;
    assert_eq!(reply.code, "AST-M075", "{}", reply.reason);
    let catalogue = running.deps.log.read(|state| state.catalogue.clone());
    assert!(catalogue.flows.is_empty() && catalogue.manifests.is_empty(), "{catalogue:?}");
}

#[tokio::test]
async fn a_node_is_told_to_fetch_until_it_proves_that_it_holds_the_manifest() {
    let mut running = Box::pin(Running::start()).await;
    let published = running.prompts().await;
    let (flow, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();
    assert_eq!(running.tell(&published.event).await.code, "");
    assert_eq!(running.tell(&told).await.code, "");

    let bus = Bus::connect(&running.fixture.server.node(NODE).unwrap()).await.unwrap();
    let mut orders = bus.subscribe(&Subject::command(FLEET, NODE, Verb::Sync).unwrap(), None).await.unwrap();
    let (key, epoch) = (OriginKey::from_entropy([5; 32]), [6; 16]);
    running.admit(&key, epoch).await;
    running.campaign(flow.id(), &published.manifest_id).await;

    let order = next_order(&bus, &mut orders, false).await;
    assert_eq!(order.manifest, published.manifest_id);
    assert_eq!(order.term, running.deps.log.term(Role::MediaSync));
    assert_eq!(order.prompts.len(), 2);
    for (prompt, sound) in order.prompts.iter().zip(&published.sounds) {
        assert_eq!(
            (prompt.name.as_str(), prompt.ext.as_str(), prompt.language.as_str()),
            (sound.name.as_str(), "ulaw", "en")
        );
        assert_eq!(prompt.sha256, sha256(&sound.files[0].1));
        let path = prompt.url.strip_prefix("file://").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), sound.files[0].1);
    }
    // Refused, then taken, then repeated: an order taken proves nothing.
    assert_eq!(next_order(&bus, &mut orders, true).await, order);
    assert_eq!(next_order(&bus, &mut orders, true).await, order);

    let origin = Origin::Node(NODE.to_owned());
    let proof = Event::ManifestHeld { node: NODE.to_owned(), manifest: published.manifest_id.clone() };
    let draft = FrameDraft { fleet: FLEET, origin: &origin, epoch, number: 1, term: 0, based_on: 0 };
    let frame = draft.sign(&key, vec![wire::encode(&proof, &Envelope::default())]).unwrap();
    let id = message_id(&origin, &epoch, 1);
    within("an acknowledgement", bus.publish_frame(FLEET, &origin, frame, &id, None)).await.unwrap();
    let mut head = running.deps.log.head();
    let holds = |deps: &Deps| {
        deps.log.read(|state| state.fleet.nodes[NODE].manifests.contains(&published.manifest_id))
    };
    within("the proof", async {
        while !holds(&running.deps) {
            head.changed().await.unwrap();
        }
    })
    .await;
    // What was in flight may still come; then there is silence, ten times as long as the pause between orders.
    within("silence", async {
        while tokio::time::timeout(Duration::from_secs(1), orders.next()).await.is_ok() {}
    })
    .await;
    let manifests: Vec<ManifestLine> =
        serde_json::from_slice(&running.ask("media.list", b"").await.json).unwrap();
    assert_eq!(manifests[0].nodes, 1);
}

#[tokio::test]
async fn behind_a_store_that_is_away_a_node_is_told_where_to_look_and_the_rest_when_it_is_back() {
    let mut running = Box::pin(Running::start()).await;
    let published = running.prompts().await;
    let (flow, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();
    assert_eq!(running.tell(&published.event).await.code, "");
    assert_eq!(running.tell(&told).await.code, "");
    let (objects, away) =
        (running.fixture.dir.path().join("objects"), running.fixture.dir.path().join("away"));
    std::fs::rename(&objects, &away).unwrap();

    let bus = Bus::connect(&running.fixture.server.node(NODE).unwrap()).await.unwrap();
    let mut orders = bus.subscribe(&Subject::command(FLEET, NODE, Verb::Sync).unwrap(), None).await.unwrap();
    running.admit(&OriginKey::from_entropy([5; 32]), [6; 16]).await;
    running.campaign(flow.id(), &published.manifest_id).await;
    let order = next_order(&bus, &mut orders, true).await;
    assert_eq!((order.manifest.as_str(), order.prompts.len()), (published.manifest_id.as_str(), 0));
    let document = order.document_url.strip_prefix("file://").unwrap().to_owned();
    assert!(!Path::new(&document).exists() && !order.bundle_url.is_empty(), "{order:?}");

    std::fs::rename(&away, &objects).unwrap();
    let order = loop {
        let order = next_order(&bus, &mut orders, true).await;
        if !order.prompts.is_empty() {
            break order;
        }
    };
    assert_eq!(order.prompts.len(), 2);
    assert!(Path::new(&document).exists(), "it was where the node was told to look");
}

#[tokio::test]
async fn of_a_large_set_the_order_names_the_document_and_nodes_ask_for_what_they_lack() {
    let mut running = Box::pin(Running::start()).await;
    let sources: Vec<Source> = (0..600_u16)
        .map(|n| Source {
            file_name: format!("p{n}.ulaw"),
            language: "en".to_owned(),
            bytes: n.to_be_bytes().repeat(40).into(),
        })
        .collect();
    let set = Set { name: "english", formats: &publish::DEFAULT_FORMATS };
    let published = publish::publish(running.store.as_ref(), set, &sources, &publish::untold).await.unwrap();
    let (flow, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();
    assert_eq!(running.tell(&published.event).await.code, "");
    assert_eq!(running.tell(&told).await.code, "");
    // The node's own user: it may ask, and is answered.
    let bus = Bus::connect(&running.fixture.server.node(NODE).unwrap()).await.unwrap();
    let mut orders = bus.subscribe(&Subject::command(FLEET, NODE, Verb::Sync).unwrap(), None).await.unwrap();
    running.admit(&OriginKey::from_entropy([5; 32]), [6; 16]).await;
    running.campaign(flow.id(), &published.manifest_id).await;

    let order = next_order(&bus, &mut orders, true).await;
    assert_eq!((order.prompts.len(), order.keep), (0, vec![published.manifest_id.clone()]));
    let read = |url: &str| std::fs::read(url.strip_prefix("file://").unwrap()).unwrap();
    assert_eq!(read(&order.document_url), published.manifest.to_json().unwrap());
    let all: Vec<u8> =
        published.manifest.entries.iter().flat_map(|entry| sound(&sources, &entry.name).to_vec()).collect();
    assert_eq!(read(&order.bundle_url), all);

    let subject = Subject::address_request(FLEET).unwrap();
    let hashes: Vec<Vec<u8>> = sources.iter().map(|source| sha256(&source.bytes)).collect();
    let ask = async |manifest: &str, sounds: &[Vec<u8>]| {
        let asked =
            AddressRequest { manifest: manifest.to_owned(), sounds: sounds.to_vec(), recording: None };
        let answer = bus.request(&subject, asked.encode_to_vec(), Duration::from_secs(10)).await;
        answer.map(|bytes| AddressReply::decode(bytes.as_slice()).unwrap().urls)
    };
    let urls = ask(&order.manifest, &hashes[88..]).await.unwrap();
    assert_eq!(urls.len(), 512);
    assert!(urls.iter().zip(&sources[88..]).all(|(url, source)| read(url) == source.bytes));
    for (manifest, sounds, why) in [
        ("none", hashes[..1].to_vec(), "404"),
        (order.manifest.as_str(), hashes[..513].to_vec(), "AST-M074"),
        (order.manifest.as_str(), Vec::new(), "AST-M074"),
        (order.manifest.as_str(), vec![sha256(b"a recording")], "AST-M074"),
        (order.manifest.as_str(), vec![vec![1; 31]], "AST-M074"),
    ] {
        let refused = format!("{:?}", ask(manifest, &sounds).await.unwrap_err());
        assert!(refused.contains(why), "{refused}");
    }
}

/// The bytes of the sound of this name.
fn sound<'a>(sources: &'a [Source], name: &str) -> &'a [u8] {
    &sources.iter().find(|source| source.file_name == format!("{name}.ulaw")).unwrap().bytes
}

#[tokio::test]
async fn a_second_media_sync_takes_over_and_its_orders_carry_its_term() {
    let mut running = Box::pin(Running::start()).await;
    let published = running.prompts().await;
    let (flow, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();
    assert_eq!(running.tell(&published.event).await.code, "");
    assert_eq!(running.tell(&told).await.code, "");
    let other = Box::pin(running.fixture.process("other")).await;
    let second = tokio::spawn(run(MediaConfig::default(), other.clone(), running.store.clone()));

    let bus = Bus::connect(&running.fixture.server.node(NODE).unwrap()).await.unwrap();
    let mut orders = bus.subscribe(&Subject::command(FLEET, NODE, Verb::Sync).unwrap(), None).await.unwrap();
    running.admit(&OriginKey::from_entropy([5; 32]), [6; 16]).await;
    running.campaign(flow.id(), &published.manifest_id).await;
    assert_eq!(next_order(&bus, &mut orders, true).await.term, 1);

    running.deps.shutdown.request();
    within("the end of the first", running.task).await.unwrap().unwrap();
    within("an order of the second", async { while next_order(&bus, &mut orders, true).await.term != 2 {} })
        .await;
    assert_eq!(other.log.term(Role::MediaSync), 2);
    assert!(!second.is_finished());
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

impl Running {
    /// A set of one sound of its own and one that all have, published.
    async fn version(&mut self, code: u8) -> String {
        let sound = |name: &str, code: u8| Source {
            file_name: format!("{name}.ulaw"),
            language: "en".to_owned(),
            bytes: vec![code; 800].into(),
        };
        let set = Set { name: "english", formats: &publish::DEFAULT_FORMATS };
        let sources = [sound("greeting", code), sound("thanks", 200)];
        let published = publish::publish(self.store.as_ref(), set, &sources, &publish::untold).await.unwrap();
        let reply = self.tell(&published.event).await;
        assert_eq!(reply.code, "", "{}", reply.reason);
        published.manifest_id
    }

    async fn gc(&mut self, keep: u32, dry_run: bool) -> Result<Collected, String> {
        let asked = CollectGarbage { keep, dry_run, after: None, reason: "old".to_owned() };
        let reply = self.ask("media.gc", &serde_json::to_vec(&asked).unwrap()).await;
        if reply.code.is_empty() { Ok(serde_json::from_slice(&reply.json).unwrap()) } else { Err(reply.code) }
    }

    /// All objects there are, by their folders.
    async fn objects(&self) -> Vec<(String, usize)> {
        let mut counts = Vec::new();
        for prefix in ["blobs/", "bundles/", "manifests/"] {
            let all = asterism_object_store::list_all(self.store.as_ref(), prefix, 1_000).await.unwrap();
            counts.push((prefix.to_owned(), all.len()));
        }
        counts
    }
}

#[tokio::test]
async fn what_newer_sets_replaced_goes_and_nothing_that_is_needed() {
    let mut running = Box::pin(Running::start()).await;
    let mut ids = Vec::new();
    for code in 1..=5 {
        ids.push(running.version(code).await);
    }
    let (flow, told) = publish::publish_flow(running.store.as_ref(), FLOW.as_bytes()).await.unwrap();
    assert_eq!(running.tell(&told).await.code, "");
    running.campaign(flow.id(), &ids[0]).await;
    let all = running.objects().await;
    assert_eq!(all, [("blobs/".into(), 6), ("bundles/".into(), 5), ("manifests/".into(), 5)]);

    // The oldest is played and the two newest stay; of the others each has a document, a bundle and a sound of its own.
    let would = running.gc(2, true).await.unwrap();
    let ids_of = |collected: &Collected| -> Vec<String> {
        collected.retired.iter().map(|line| line.manifest.clone()).collect()
    };
    assert_eq!(ids_of(&would), [ids[1].clone(), ids[2].clone()]);
    assert_eq!((would.objects, running.objects().await), (6, all), "a dry run changes nothing");
    let did = running.gc(2, false).await.unwrap();
    assert_eq!((ids_of(&did), did.objects, did.size_bytes), (ids_of(&would), 6, would.size_bytes));
    let left = running.objects().await;
    assert_eq!(left, [("blobs/".into(), 4), ("bundles/".into(), 3), ("manifests/".into(), 3)]);
    assert_eq!(running.gc(2, false).await.unwrap(), Collected::default());

    // Another fleet's set, of which this log knows nothing: its sounds stay. One that cannot be read: all stays.
    let foreign = Set { name: "foreign", formats: &publish::DEFAULT_FORMATS };
    let sound = Source { file_name: "x.ulaw".into(), language: "en".into(), bytes: vec![77; 800].into() };
    publish::publish(running.store.as_ref(), foreign, &[sound], &publish::untold).await.unwrap();
    assert_eq!(running.gc(0, true).await.unwrap().retired.len(), 2);
    assert_eq!(running.gc(2, false).await.unwrap(), Collected::default());
    let torn = ObjectName::new("manifests/torn.json").unwrap();
    running.store.put(&torn, Bytes::from_static(b"{\"name\"")).await.unwrap();
    let before = running.objects().await;
    assert!(running.gc(0, true).await.unwrap_err().starts_with("AST-M"));
    assert_eq!(running.objects().await, before);

    // What went can be published again, whole.
    running.store.delete(&torn).await.unwrap();
    assert_eq!(running.version(2).await, ids[1]);
    running.deps.shutdown.request();
    within("the end", running.task).await.unwrap().unwrap();
}

//! Prompts on a node that is killed at each step of fetching them: they are there whole, or not at all, and in the end
//! they are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use asterism_domain::media::{ManifestDoc, PromptEntry};
use asterism_nats::crash::FOLDER_VARIABLE;
use asterism_nats::{Subject, Verb, serve};
use asterism_proto::hash::sha256;
use asterism_proto::v1::{self, EventType};
use prost::Message as _;
use support::{Fleet, PATIENCE, callees};

/// Steps of fetching a set, in their order.
const POINTS: [&str; 6] =
    ["media.begun", "media.part", "media.sound", "media.filled", "media.renamed", "media.listed"];

/// A set in the store, and the order for it.
struct Set {
    order: v1::SyncOrder,
    sounds: BTreeMap<String, String>,
}

/// `many` sounds in two languages; the bundle lies about one of them, so that this one is asked for.
fn publish(store: &Path, name: &str, many: usize) -> Set {
    fs::create_dir_all(store).unwrap();
    let mut sounds = BTreeMap::new();
    let mut entries = Vec::new();
    for n in 0..many {
        for language in ["en", "de"] {
            let text = format!("{name} {language} {n:04}");
            let hash = hex::encode(sha256(text.as_bytes()));
            fs::write(store.join(&hash), &text).unwrap();
            entries.push(PromptEntry {
                name: format!("p{n}"),
                language: language.to_owned(),
                ext: "ulaw".to_owned(),
                sha256: hash,
                size_bytes: text.len() as u64,
                duration_ms: 1,
            });
            sounds.insert(format!("{language}/p{n}.ulaw"), text);
        }
    }
    let doc = ManifestDoc::new(name, entries).unwrap();
    let manifest = doc.id().unwrap();
    let mut bundle: String = doc.entries.iter().map(|entry| sounds[&entry.path()].as_str()).collect();
    bundle.replace_range(..1, "?");
    let url = |file: &str| format!("file://{}", store.join(file).display());
    let order = v1::SyncOrder {
        term: 1,
        document_url: url(&format!("{manifest}.json")),
        bundle_url: url(&format!("{manifest}.bundle")),
        keep: vec![manifest.clone()],
        manifest,
        ..v1::SyncOrder::default()
    };
    fs::write(store.join(format!("{}.json", order.manifest)), doc.to_json().unwrap()).unwrap();
    fs::write(store.join(format!("{}.bundle", order.manifest)), bundle).unwrap();
    Set { order, sounds }
}

/// What is wrong with a set on the node; none if it is there as published.
fn differences(sounds: &Path, set: &Set) -> Vec<String> {
    let wrong = |(path, text): (&String, &String)| {
        let (language, file) = path.split_once('/').unwrap();
        let there = fs::read_to_string(sounds.join(language).join(&set.order.manifest).join(file));
        (there.as_ref().ok() != Some(text)).then(|| format!("{path}: {there:?}"))
    };
    set.sounds.iter().filter_map(wrong).collect()
}

#[test]
fn an_agent_killed_at_each_step_of_fetching_has_the_set_whole_in_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let store = fleet.dir.path().join("store");
        let from = store.clone();
        let addresses = move |payload: bytes::Bytes| {
            let asked = v1::AddressRequest::decode(payload).unwrap();
            let url = |sound: &Vec<u8>| format!("file://{}", from.join(hex::encode(sound)).display());
            let urls = asked.sounds.iter().map(url).collect();
            async move { Ok(v1::AddressReply { urls, ..v1::AddressReply::default() }.encode_to_vec()) }
        };
        let subject = Subject::address_request(support::FLEET).unwrap();
        let _media = serve(&fleet.bus, support::spec("media-sync", subject), addresses).await.unwrap();
        let crashes = fleet.dir.path().join("crash");
        for folder in ["armed", "hit"] {
            fs::create_dir_all(crashes.join(folder)).unwrap();
        }
        let table = fleet.dir.path().join("callees.toml");
        fs::write(&table, callees()).unwrap();
        let carrier = format!("127.0.0.1:{}", fleet.carrier);
        let args = ["--carrier", &carrier, "--callees", table.to_str().unwrap()];
        let _node = fleet.launch_in(20, &args, &[(FOLDER_VARIABLE, crashes.to_str().unwrap())]);
        fleet.until("a ready node", |log| log.first(EventType::NodeReady)).await;

        let sounds = fleet.node_dir().join("sounds");
        let mut before: Option<Set> = None;
        for (number, point) in POINTS.into_iter().enumerate() {
            let set = publish(&store, &format!("set-{number}"), 50);
            let armed = crashes.join("armed").join(format!("asterism-agent:{point}"));
            fs::write(&armed, "1").unwrap();
            let hit = crashes.join("hit").join(format!("asterism-agent:{point}"));
            let held = |log: &support::Log| log.held(&set.order.manifest).then_some(());
            let deadline = Instant::now() + PATIENCE;
            while held(&fleet.log.lock().unwrap()).is_none() {
                // Repeated as media-sync does; the agent comes back by itself.
                fleet.order(Verb::Sync, &set.order).await;
                assert!(Instant::now() < deadline, "{point}: not held; {:?}", differences(&sounds, &set));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(hit.exists(), "{point} was not passed");
            assert_eq!(differences(&sounds, &set), Vec::<String>::new(), "{point}");
            if let Some(old) = before.replace(set) {
                let dropped = |log: &support::Log| log.dropped(&old.order.manifest).then_some(());
                fleet.until("the set before is told to go", dropped).await;
                let gone = || !sounds.join("en").join(&old.order.manifest).exists();
                support::wait("the set before to go", gone).await;
            }
        }
        let begun = walk(&sounds).into_iter().filter(|path| path.to_string_lossy().contains(".tmp-")).count();
        assert_eq!(begun, 0, "what was begun is left");
        fleet.check_frames();
    });
}

#[test]
fn a_node_whose_store_is_away_says_so_in_one_phrase_and_has_the_set_when_it_is_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let set = publish(&fleet.dir.path().join("store"), "set", 3);
        // A port nobody listens at any more.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let table = fleet.dir.path().join("callees.toml");
        fs::write(&table, callees()).unwrap();
        let carrier = format!("127.0.0.1:{}", fleet.carrier);
        let _node = fleet.launch_in(20, &["--carrier", &carrier, "--callees", table.to_str().unwrap()], &[]);
        fleet.until("a ready node", |log| log.first(EventType::NodeReady)).await;

        let said = || fleet.heartbeat.lock().unwrap().clone().unwrap_or_default();
        let away = v1::SyncOrder { document_url: format!("http://127.0.0.1:{port}/x"), ..set.order.clone() };
        assert!(fleet.order(Verb::Sync, &away).await.taken);
        support::wait("it says why", || said().prompts_problem.contains("no connection to its server")).await;
        let heartbeat = said();
        assert_eq!((heartbeat.state.as_str(), heartbeat.why_not_ready.as_str()), ("ready", ""));
        assert!(!heartbeat.manifests.contains(&set.order.manifest));

        let mut back = set.order.clone();
        back.bundle_url.clear();
        back.prompts = set
            .sounds
            .iter()
            .map(|(path, text)| {
                let (language, file) = path.split_once('/').unwrap();
                let (name, ext) = file.split_once('.').unwrap();
                let sha256 = sha256(text.as_bytes());
                v1::Prompt {
                    name: name.into(),
                    ext: ext.into(),
                    language: language.into(),
                    sha256: sha256.to_vec(),
                    size_bytes: text.len() as u64,
                    url: format!(
                        "file://{}",
                        fleet.dir.path().join("store").join(hex::encode(sha256)).display()
                    ),
                }
            })
            .collect();
        assert!(fleet.order(Verb::Sync, &back).await.taken);
        fleet.until("the set", |log| log.held(&set.order.manifest).then_some(())).await;
        support::wait("it says so no longer", || said().prompts_problem.is_empty()).await;
        assert_eq!(differences(&fleet.node_dir().join("sounds"), &set), Vec::<String>::new());
        fleet.check_frames();
    });
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] })
        .collect()
}

//! Stores in bad weather: they refuse, stop in the middle, send other bytes, are slow, or are not there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use asterism_domain::media::{ManifestDoc, PromptEntry};
use asterism_proto::hash::sha256;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::*;

const SOUNDS: usize = 60;

/// What a request meets: how many there were before it for this object, and for all.
type Weather = fn(of_it: usize, of_all: usize, object: &[u8]) -> Response;

/// A store of one set over HTTP.
struct Store {
    objects: BTreeMap<String, Vec<u8>>,
    /// Requests for each object, and how many of them brought it whole.
    seen: Mutex<BTreeMap<String, (usize, usize)>>,
    weather: Weather,
}

/// A set, its order, and the store's own count of what it was asked for.
struct Sea {
    store: Arc<Store>,
    order: v1::SyncOrder,
    server: tokio::task::JoinHandle<()>,
    port: u16,
}

impl Drop for Sea {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn sound(number: usize) -> Vec<u8> {
    format!("sound {number:04} ").repeat(200).into_bytes()
}

async fn answer(State(store): State<Arc<Store>>, uri: Uri) -> Response {
    let name = uri.path().trim_start_matches('/').to_owned();
    let Some(object) = store.objects.get(&name) else { return status(404, "NoSuchKey") };
    let (of_it, of_all) = {
        let mut seen = store.seen.lock().unwrap();
        let of_all = seen.values().map(|(requests, _)| requests).sum();
        let of_it = seen.entry(name.clone()).or_default();
        of_it.0 += 1;
        (of_it.0 - 1, of_all)
    };
    let answer = (store.weather)(of_it, of_all, object);
    if answer.status().is_success() && !answer.headers().contains_key("x-broken") {
        store.seen.lock().unwrap().get_mut(&name).unwrap().1 += 1;
    }
    answer
}

/// Sounds are named by their hash alone, the document is not.
fn is_sound(name: &str) -> bool {
    !name.contains('.')
}

fn whole(object: &[u8]) -> Response {
    Response::new(Body::from(object.to_vec()))
}

fn status(status: u16, code: &str) -> Response {
    let text = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>No.</Message></Error>");
    Response::builder().status(status).body(Body::from(text)).unwrap()
}

/// Half of it; then nothing more, or the end of the connection.
fn half(object: &[u8], then_waits: bool) -> Response {
    let first = Bytes::copy_from_slice(&object[..object.len() / 2]);
    let then = async move {
        if then_waits {
            std::future::pending::<()>().await;
        }
        Err(std::io::Error::other("cut"))
    };
    let body = stream::once(async move { Ok(first) }).chain(stream::once(then));
    let whole = object.len();
    let answer = Response::builder().header("content-length", whole).header("x-broken", "1");
    answer.body(Body::from_stream(body)).unwrap()
}

impl Sea {
    async fn open(weather: Weather) -> Self {
        let (mut objects, mut entries) = (BTreeMap::new(), Vec::new());
        for number in 0..SOUNDS {
            let bytes = sound(number);
            let hash = hex::encode(sha256(&bytes));
            entries.push(PromptEntry {
                name: format!("p{number:04}"),
                language: "en".to_owned(),
                ext: "ulaw".to_owned(),
                sha256: hash.clone(),
                size_bytes: bytes.len() as u64,
                duration_ms: 1,
            });
            objects.insert(hash, bytes);
        }
        let doc = ManifestDoc::new("set", entries).unwrap();
        let manifest = doc.id().unwrap();
        objects.insert(format!("{manifest}.json"), doc.to_json().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = |name: &str| format!("http://127.0.0.1:{port}/{name}");
        let order = v1::SyncOrder {
            term: 1,
            document_url: url(&format!("{manifest}.json")),
            keep: vec![manifest.clone()],
            manifest,
            ..v1::SyncOrder::default()
        };
        let store = Arc::new(Store { objects, seen: Mutex::default(), weather });
        let router = Router::new().fallback(answer).with_state(store.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { store, order, server, port }
    }

    /// Orders until the set is there; what each failed one was told for.
    async fn until_held(&self, fetcher: &Fetcher) -> Vec<String> {
        let mut told = Vec::new();
        while let Err(error) = fetcher.fetch(self.order.clone(), self).await {
            assert_eq!(fetcher.problem(), Some(error.to_string()), "it is told of");
            told.push(error.to_string());
            assert!(told.len() < 200, "it never comes: {:?}", told.last());
        }
        assert_eq!(fetcher.problem(), None, "nothing is wrong any more");
        told
    }

    /// Sounds that came whole from the store more than once.
    fn more_than_once(&self) -> Vec<String> {
        let seen = self.store.seen.lock().unwrap();
        let twice = |(name, (_, came)): (&String, &(usize, usize))| {
            (*came > 1 && is_sound(name)).then(|| name.clone())
        };
        seen.iter().filter_map(twice).collect()
    }
}

impl Addresses for Sea {
    fn of<'a>(&'a self, _: &'a str, sounds: Vec<Hash>) -> BoxFuture<'a, Result<Vec<String>, String>> {
        let port = self.port;
        let url = move |sound: &Hash| format!("http://127.0.0.1:{port}/{}", hex::encode(sound));
        Box::pin(async move { Ok(sounds.iter().map(url).collect()) })
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Fetches in this weather. Returns what was told, and checks that the set is what was published.
fn through(weather: Weather) -> (Vec<String>, Sea) {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut fetcher = Fetcher::new(dir.path(), 0);
        fetcher.pace.step_timeout = Duration::from_millis(300);
        fetcher.pace.first_pause = Duration::from_millis(1);
        let sea = Sea::open(weather).await;
        let told = sea.until_held(&fetcher).await;
        for number in 0..SOUNDS {
            let path = dir.path().join(format!("en/{}/p{number:04}.ulaw", sea.order.manifest));
            assert_eq!(fs::read(path).unwrap(), sound(number));
        }
        assert_eq!(held(dir.path()).unwrap(), std::slice::from_ref(&sea.order.manifest));
        (told, sea)
    })
}

#[test]
fn a_storm_of_503_is_come_through_and_no_sound_comes_twice() {
    // Nine requests of ten are refused: with one refusal ending all, 60 sounds would never come.
    let (told, sea) = through(|_, of_all, object| {
        let lucky = sha256(&of_all.to_be_bytes())[0].is_multiple_of(10);
        if lucky { whole(object) } else { status(503, "SlowDown") }
    });
    assert!(told.len() > 2, "{told:?}");
    assert!(told.iter().all(|said| said.contains("the server said 503 (SlowDown)")), "{told:?}");
    assert_eq!(sea.more_than_once(), Vec::<String>::new());
}

#[test]
fn links_that_stop_or_break_in_the_middle_are_left_and_gone_on_with() {
    for weather in [
        (|of_it, _, object| if of_it == 0 { half(object, true) } else { whole(object) }) as Weather,
        |of_it, _, object| if of_it == 0 { half(object, false) } else { whole(object) },
    ] {
        let (told, sea) = through(weather);
        assert!(told.len() >= 2 && told.len() < 20, "{told:?}");
        assert_eq!(sea.more_than_once(), Vec::<String>::new());
    }
}

#[test]
fn other_bytes_than_announced_are_asked_for_again_and_never_appear() {
    let (told, sea) = through(|of_it, _, object| {
        let mut other = object.to_vec();
        match of_it {
            0 => other[7] ^= 1,
            1 => other.truncate(5),
            2 => other.extend_from_slice(b"more"),
            _ => {}
        }
        whole(&other)
    });
    assert!(told.len() >= 3, "{told:?}");
    let seen = sea.store.seen.lock().unwrap();
    assert!(seen.values().all(|(requests, _)| *requests >= 4), "{seen:?}");
}

#[test]
fn a_slow_link_brings_all_of_it_in_its_own_time() {
    // Each piece comes within the step's time, the whole of a sound does not.
    let (told, _) = through(|_, of_all, object| {
        if of_all == 0 || of_all % 20 != 0 {
            return whole(object);
        }
        let pieces: Vec<Bytes> = object.chunks(250).map(Bytes::copy_from_slice).collect();
        let slowly = stream::iter(pieces).then(|piece| async move {
            tokio::time::sleep(Duration::from_millis(50)).await; // the link
            Ok::<_, std::io::Error>(piece)
        });
        Response::new(Body::from_stream(slowly))
    });
    assert_eq!(told, Vec::<String>::new());
}

#[test]
fn a_clock_that_is_off_and_addresses_that_ran_out_are_told_by_the_stores_own_word() {
    // As S3 answers an address that was signed by a clock 15 minutes off, and one that is too old.
    let (told, _) = through(|_, of_all, object| match of_all {
        0 => status(403, "RequestTimeTooSkewed"),
        1..=40 => status(403, "AccessDenied"),
        _ => whole(object),
    });
    assert!(told[0].ends_with("the server said 403 (RequestTimeTooSkewed)"), "{told:?}");
    assert!(told[1].ends_with("the server said 403 (AccessDenied)"), "{told:?}");
}

#[test]
fn what_a_store_says_of_itself_is_bounded() {
    let (told, _) = through(|_, of_all, object| match of_all {
        0 => status(400, &"A".repeat(100_000)),
        1 => status(400, "<b>\u{1b}[2J"),
        2 => status(400, ""),
        _ => whole(object),
    });
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|said| said.ends_with("the server said 400")), "{told:?}");
}

#[test]
fn a_store_that_is_not_there_is_said_in_one_phrase_and_had_when_it_comes() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(dir.path(), 0);
        let sea = Sea::open(|_, _, object| whole(object)).await;
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = nobody.local_addr().unwrap().port();
        drop(nobody);
        let mut away = sea.order.clone();
        away.document_url = format!("http://127.0.0.1:{port}/x");
        fetcher.fetch(away, &sea).await.unwrap_err();
        let said = fetcher.problem().unwrap();
        assert!(said.contains("no connection to its server: Connection refused"), "{said}");
        let mut other = Sea::open(|_, _, object| whole(object)).await;
        other.order.prompts = vec![v1::Prompt {
            name: "x".into(),
            ext: "ulaw".into(),
            language: "en".into(),
            sha256: sha256(&sound(3)).to_vec(),
            size_bytes: sound(3).len() as u64,
            url: format!("http://127.0.0.1:{}/{}", other.port, hex::encode(sha256(&sound(3)))),
        }];
        other.order.manifest = "e".repeat(32);
        assert_eq!(fetcher.fetch(other.order.clone(), &other).await.unwrap(), Fetched::Held);
        assert_eq!(fetcher.problem().as_ref(), Some(&said), "another set that came is no answer to it");
        assert!(!said.contains('\n') && said.chars().count() <= PROBLEM_MAX_CHARS, "{said}");
        assert_eq!(sea.until_held(&fetcher).await, Vec::<String>::new());
    });
}

#[test]
fn what_was_begun_of_a_set_that_nobody_needs_any_more_goes_with_the_next_order() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(dir.path(), 0);
        let torn =
            Sea::open(|_, of_all, object| if of_all < 30 { whole(object) } else { status(503, "SlowDown") })
                .await;
        fetcher.fetch(torn.order.clone(), &torn).await.unwrap_err();
        let begun = beside(dir.path(), "en", &torn.order.manifest);
        assert!(fs::read_dir(&begun).unwrap().count() > 20, "what came is kept");
        let mut other = torn.order.clone();
        other.manifest = "f".repeat(32);
        other.keep.push(other.manifest.clone());
        fetcher.fetch(other.clone(), &torn).await.unwrap_err();
        assert!(begun.exists(), "it is still needed");
        other.prompts = vec![v1::Prompt {
            name: "x".into(),
            ext: "ulaw".into(),
            language: "en".into(),
            sha256: sha256(b"x").to_vec(),
            size_bytes: 1,
            url: "file:///nowhere".into(),
        }];
        other.keep = vec![other.manifest.clone()];
        fetcher.fetch(other, &torn).await.unwrap_err();
        assert!(!begun.exists(), "nobody needs it");
    });
}

#[test]
fn a_disk_that_is_full_is_not_kept_full() {
    run(async {
        let sea = Sea::open(|_, _, object| whole(object)).await;
        let url = format!("http://127.0.0.1:{}/{}", sea.port, hex::encode(sha256(&sound(3))));
        let pace = Pace::new(0);
        let full =
            download::to_file(&url, Path::new("/dev/full"), 1 << 20, &Trust::of_process(), &pace).await;
        assert!(matches!(full, Err(Failure::Full)), "{full:?}");
        let part = download::Part { size_bytes: 10, to: Some("/dev/full".into()) };
        let full = download::split(&url, &[part], &Trust::of_process(), &pace, |_, _| ()).await;
        assert!(matches!(full, Err(Failure::Full)), "{full:?}");
    });
}

//! A recording on its way through bad weather: connections that are cut anywhere, servers that refuse, addresses that a wrong
//! clock has made or that are over, and bytes that were taken wrong. It arrives, whole, and never by an address of before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use asterism_proto::v1;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use super::send::{Job, Places, Sender, Unsent};
use super::*;

const INTERRUPTIONS: usize = 50;
const NAME: &str = "c-0-1-2";
/// More than the buffers of a connection hold.
const BYTES: usize = 8 << 20;

/// A store, and the media-sync before it: addresses are numbered, and the last one given is the only one that is good.
struct Store {
    port: AtomicUsize,
    given: AtomicUsize,
    requests: AtomicUsize,
    /// What has come whole.
    has: Mutex<Vec<u8>>,
    problems: Mutex<BTreeSet<String>>,
}

/// And what the heartbeat would say.
struct Asked(Arc<Store>, Arc<Mutex<Option<String>>>);

impl Places for Asked {
    fn ask<'a>(&'a self, name: &'a str, sent: bool) -> BoxFuture<'a, Result<v1::RecordingPlace, Unsent>> {
        Box::pin(async move {
            assert_eq!(name, NAME);
            if sent {
                // Read back, as media-sync does.
                let whole = *self.0.has.lock().unwrap() == sound();
                return if whole {
                    Ok(v1::RecordingPlace { stored: true, ..v1::RecordingPlace::default() })
                } else {
                    Err("media-sync: AST-M086: the store has other bytes of it; send it again".into())
                };
            }
            // Why the try before failed.
            self.0.problems.lock().unwrap().extend(self.1.lock().unwrap().clone());
            let number = self.0.given.fetch_add(1, Ordering::SeqCst) + 1;
            let port = self.0.port.load(Ordering::SeqCst);
            let url = format!("http://127.0.0.1:{port}/recordings/{NAME}?address={number}");
            Ok(v1::RecordingPlace { url, ..v1::RecordingPlace::default() })
        })
    }
}

fn sound() -> Vec<u8> {
    (0..BYTES).map(|at| (at * 7 % 251) as u8).collect()
}

fn refusal(status: u16, code: &str) -> Response {
    let text = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
    Response::builder().status(status).body(Body::from(text)).unwrap()
}

/// Fifty requests meet one kind of weather after the other; then the sun shines.
async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let nth = store.requests.fetch_add(1, Ordering::SeqCst);
    let last = format!("address={}", store.given.load(Ordering::SeqCst));
    assert_eq!(request.uri().query(), Some(last.as_str()), "by an address of its own each time");
    let mut body = request.into_body().into_data_stream();
    if nth < INTERRUPTIONS {
        // Every other refusal comes before the body is read: whether its word arrives is then a matter of luck.
        if nth % 5 < 2 && nth.is_multiple_of(2) {
            while body.next().await.is_some() {}
        }
        match nth % 5 {
            0 => return refusal(503, "SlowDown"),
            // A clock that is far off has signed it, or it is over.
            1 => return refusal(403, "RequestTimeTooSkewed"),
            2 => {
                // Taken, and wrong, without a word.
                while body.next().await.is_some() {}
                *store.has.lock().unwrap() = vec![0; BYTES];
                return Response::new(Body::empty());
            }
            3 => {
                // Cut somewhere: after the first bytes, or nearly at the end.
                let mut left = BYTES / (1 + nth % 7);
                while let Some(Ok(chunk)) = body.next().await {
                    left = left.saturating_sub(chunk.len());
                    if left == 0 {
                        break;
                    }
                }
                panic!("the connection goes with its task");
            }
            _ => panic!("not even a look at it"),
        }
    }
    let mut came = Vec::new();
    while let Some(chunk) = body.next().await {
        came.extend_from_slice(&chunk.unwrap());
    }
    *store.has.lock().unwrap() = came;
    Response::new(Body::empty())
}

#[tokio::test]
async fn a_recording_whose_way_is_cut_fifty_times_arrives_whole_and_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(path_of(dir.path(), NAME), sound()).unwrap();
    let made = take(dir.path(), NAME, None).unwrap();
    let store = Arc::new(Store {
        port: AtomicUsize::new(0),
        given: AtomicUsize::new(0),
        requests: AtomicUsize::new(0),
        has: Mutex::default(),
        problems: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    store.port.store(listener.local_addr().unwrap().port().into(), Ordering::SeqCst);
    let router = Router::new().fallback(answer).with_state(store.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let (inputs, mut heard) = mpsc::channel(8);
    let problem: Arc<Mutex<Option<String>>> = Arc::default();
    let sender = Sender {
        folder: dir.path().to_owned(),
        places: Asked(store.clone(), Arc::clone(&problem)),
        trust: Trust::of_process(),
        inputs,
        problem,
        pause_max: Duration::from_millis(1),
    };
    let (jobs, waiting) = mpsc::unbounded_channel();
    let running = tokio::spawn(send::run(Arc::new(sender), waiting));
    jobs.send(Job::new(NAME.to_owned(), made)).unwrap();
    let Some(Input::RecordingStored(name)) = heard.recv().await else { panic!("it is stored") };
    assert_eq!(name, NAME);
    assert_eq!(store.requests.load(Ordering::SeqCst), INTERRUPTIONS + 1, "once more than it was cut");
    assert!(*store.has.lock().unwrap() == sound());
    let problems = store.problems.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n");
    for why in ["503 (SlowDown)", "403 (RequestTimeTooSkewed)", "AST-M086"] {
        assert!(problems.contains(why), "{why}: {problems}");
    }
    assert!(path_of(dir.path(), NAME).exists(), "only the log's word removes it");
    running.abort();
    server.abort();
}

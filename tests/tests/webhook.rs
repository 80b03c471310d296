//! Notices to the user's own server: none is lost, whatever the receiver does and whoever is killed, and a repeat has the id of
//! what it repeats. The receiver of the README is run as it stands there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver as Inbox, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use asterism_domain::Event;
use asterism_domain::campaign::CampaignStatus;
use asterism_tests::stack::{CAMPAIGN, Stack, StackOptions, StackPbx, root};
use asterism_tests::up::Up;
use nix::sys::signal::Signal;
use serde_json::Value;

const SECRET: &str = "correct-horse-battery";
const CONTACTS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(150);
/// The contact whose notice this receiver never likes.
const DISLIKED: u64 = 7;
/// Requests answered with 500 before it gets well.
const SICK: usize = 6;

/// What a request held, and whether it was answered 2xx.
type Seen = (Vec<Value>, bool);

/// A receiver in this process: what it was sent, request by request.
struct Hook {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Told of the first request, which is answered once the other one says so.
    first: Inbox<()>,
    answer: Sender<()>,
    answered: Inbox<()>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tell, first) = channel();
        let (answer, told) = channel();
        let (tell_answered, answered) = channel();
        let all = seen.clone();
        thread::spawn(move || {
            for peer in listener.incoming() {
                let mut peer = peer.unwrap();
                let Some(notices) = request(&mut peer) else { continue };
                let nth = all.lock().unwrap().len();
                let disliked = notices.iter().any(|one| one["contact"] == DISLIKED);
                let good = nth == 0 || nth > SICK && !disliked;
                all.lock().unwrap().push((notices, good));
                if nth == 0 {
                    tell.send(()).unwrap();
                    told.recv().unwrap();
                }
                let said = if good { "204 No Content" } else { "500 Not now" };
                let _ = peer.write_all(format!("HTTP/1.1 {said}\r\ncontent-length: 0\r\n\r\n").as_bytes());
                if nth == 0 {
                    tell_answered.send(()).unwrap();
                }
            }
        });
        Self { port, seen, first, answer, answered }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// The notices of a whole request.
fn request(peer: &mut TcpStream) -> Option<Vec<Value>> {
    let mut reader = BufReader::new(peer);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    body["notices"].as_array().cloned()
}

fn settings(port: u16) -> Vec<(String, String)> {
    [
        ("ASTERISM_WEBHOOK__URL", format!("http://127.0.0.1:{port}/hook")),
        ("ASTERISM_WEBHOOK__SECRET_ENV", "HOOK_SECRET".to_owned()),
        ("HOOK_SECRET", SECRET.to_owned()),
        ("ASTERISM_WEBHOOK__RETRY_FIRST_MS", "50".to_owned()),
        ("ASTERISM_WEBHOOK__RETRY_MAX_MS", "400".to_owned()),
        ("ASTERISM_WEBHOOK__MAX_TRIES", "8".to_owned()),
        ("ASTERISM_WEBHOOK__BATCH", "10".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

#[tokio::test]
async fn nothing_is_lost_and_repeats_have_the_same_ids() {
    let hook = Hook::start();
    let options = StackOptions { max_nodes: 2, capacity: 20, pbx: StackPbx::Sim };
    let mut stack = Box::pin(Stack::start_with_env(options, settings(hook.port))).await;
    Box::pin(stack.campaign(CONTACTS)).await;
    // The deliverer dies between the receiver's answer and its event: stopped before the answer, killed behind it.
    let Hook { first, answer, answered, .. } = &hook;
    first.recv_timeout(PATIENCE).expect("a first request");
    stack.signal_service("asterism-dialer", Signal::SIGSTOP);
    answer.send(()).unwrap();
    answered.recv_timeout(PATIENCE).expect("it is answered");
    assert_eq!(stack.log.read(|state| state.webhook.delivered), 0, "the log does not know");
    stack.kill_service("asterism-dialer");
    stack.start_service("asterism-dialer");
    stack
        .wait("the campaign is complete and nothing is owed", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed && state.webhook.owed.is_empty()
        })
        .await;
    let requests = hook.seen();
    let ids = |notices: &[Value]| -> BTreeSet<String> {
        notices.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    // What had been taken when it died came again.
    let lost = ids(&requests[0].0);
    let again: BTreeSet<String> = requests[1..].iter().flat_map(|(notices, _)| ids(notices)).collect();
    assert!(!lost.is_empty() && lost.is_subset(&again), "{lost:?}");
    assert!(requests.len() > SICK && requests[1..=SICK].iter().all(|(_, good)| !good), "it was sick");
    // By id each contact has one notice, and the campaign one; all were taken but the one that is disliked.
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (nth, (notices, good)) in requests.iter().enumerate() {
        for notice in notices {
            let id = notice["id"].as_str().unwrap().to_owned();
            let before = by_id.insert(id.clone(), notice.clone());
            let same = before.is_none_or(|before| before == *notice || before["as_of"].is_number());
            assert!(same, "the same id says the same of a contact");
            // What the log never knew to be taken does not count.
            if *good && nth > 0 {
                taken.insert(id);
            }
        }
    }
    let contacts: Vec<u64> = by_id.values().filter_map(|one| one["contact"].as_u64()).collect();
    assert_eq!(contacts.len() as u64, CONTACTS, "one id for each contact");
    assert_eq!(contacts.iter().collect::<BTreeSet<_>>().len() as u64, CONTACTS);
    let missing: Vec<&Value> =
        by_id.iter().filter(|(id, _)| !taken.contains(*id)).map(|(_, notice)| notice).collect();
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert_eq!(missing[0]["contact"], DISLIKED);
    let ended: Vec<&Value> = by_id.values().filter(|one| one["kind"] == "campaign.ended").collect();
    assert_eq!((ended.len(), &ended[0]["status"]), (1, &Value::from("completed")));
    says_what_the_log_says(&stack, &by_id).await;
    // The number is whole in what is sent, and in nobody's log.
    let said = stack.said("asterism-dialer");
    assert!(said.contains("a webhook failed"), "{said}");
    for notice in by_id.values().filter(|one| one["contact"].is_u64()) {
        let number = notice["number"].as_str().unwrap();
        assert!(number.starts_with('+') && !said.contains(&number[1..]), "{number}\n{said}");
    }
}

/// Given up once, by name; everything else delivered; and whoever replays the log finds the same.
async fn says_what_the_log_says(stack: &Stack, by_id: &BTreeMap<String, Value>) {
    stack.replay_agrees().await;
    let (mut delivered, mut given_up) = (BTreeSet::new(), Vec::new());
    for event in stack.sealed_events() {
        match event.event {
            Event::WebhookDelivered { notices } => delivered.extend(notices),
            Event::WebhookGivenUp { notices, tries, reason } => given_up.push((notices, tries, reason)),
            _ => {}
        }
    }
    assert_eq!(delivered.len() as u64, CONTACTS);
    let [(notices, tries, reason)] = given_up.as_slice() else { panic!("{given_up:?}") };
    assert_eq!((notices.len(), *tries, reason.as_str()), (1, 8, "it said 500"));
    let position = (notices[0] >> 16).to_string();
    let named = by_id.iter().find(|(_, notice)| notice["contact"] == DISLIKED).unwrap().0;
    assert_eq!(named.split('-').nth(1), Some(position.as_str()), "{named}");
}

/// A process that is gone when this is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The README's receiver, as it stands there.
fn script() -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let from = readme.find("    # receiver.py\n").expect("the README has a receiver");
    let lines = readme[from..].lines().take_while(|line| line.starts_with("    "));
    lines.flat_map(|line| [&line[4..], "\n"]).collect()
}

/// Starts it and waits until it listens.
async fn start_receiver(port: u16, dir: &std::path::Path) -> Running {
    let file = dir.join("receiver.py");
    fs::write(&file, script()).unwrap();
    let child = Command::new("python3")
        .arg(&file)
        .env("SECRET", SECRET)
        .env("PORT", port.to_string())
        .stdout(fs::File::create(dir.join("receiver.out")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "the receiver does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
    }
    running
}

/// What the receiver says to a request that somebody else made.
fn forged(port: u16, signature: &str) -> String {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let body = r#"{"notices": [{"id": "forged"}]}"#;
    let head = format!("asterism-signature: {signature}\r\ncontent-length: {}", body.len());
    peer.write_all(format!("POST /hook HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = peer.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_receiver_of_the_readme_takes_what_is_signed_and_nothing_else() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let url = format!("webhook.url=http://127.0.0.1:{port}/hook");
    let secret = format!("webhook.secret_file={}", dir.path().join("secret").display());
    let retry = "webhook.retry_max_ms=1000";
    let mut up = Up::start_with(&["--set", &url, "--set", &secret, "--set", retry]).await;
    let demo = root().join("compose/demo");
    // Nobody listens while it is settled: it is owed.
    let (flow, prompts) =
        (demo.join("flow.toml").display().to_string(), demo.join("prompts").display().to_string());
    up.done_talking(&["call", "+12025550100", "--flow", &flow, "--prompts", &prompts]);
    let _receiver = start_receiver(port, dir.path()).await;
    let began = Instant::now();
    let seen = loop {
        let text = fs::read_to_string(dir.path().join("receiver.out")).unwrap();
        let seen: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if seen.len() == 2 {
            break seen;
        }
        assert!(began.elapsed() < PATIENCE, "not in time: {seen:#?}\n{}", up.said());
        tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
    };
    assert_eq!((&seen[0]["kind"], &seen[1]["kind"]), (&"contact.settled".into(), &"campaign.ended".into()));
    assert_eq!((&seen[0]["number"], &seen[0]["outcome"]), (&"+12025550100".into(), &"answered".into()));
    assert_eq!((&seen[0]["status"], &seen[0]["erased"]), (&"settled".into(), &false.into()));
    // Signed with another secret, and signed long ago with the right one.
    let mac = "0".repeat(64);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(forged(port, &format!("t={now},v1={mac}")).contains(" 401 "));
    // `printf '1700000000.{"notices": [{"id": "forged"}]}' | openssl dgst -sha256 -hmac correct-horse-battery`
    let old = "t=1700000000,v1=ce4f08dfef25f2a5fe988de04f88c05a4fed7976f6d5d7069e6cab2101a913d8";
    assert!(forged(port, old).contains(" 401 "));
    let text = fs::read_to_string(dir.path().join("receiver.out")).unwrap();
    assert!(!text.contains("forged"), "{text}");
    up.stop().await;
    let verified = up.run(&["replay", "verify", "fleet/log"]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
}

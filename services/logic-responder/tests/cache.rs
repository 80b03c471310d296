//! Answers kept over real sockets: replicas share them in a real memcached, a new version of a flow begins with none, and a
//! memcached that dies, stands still or was never there costs no caller an answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use asterism_domain::logic;
use asterism_object_store::{ObjectName, ObjectStore};
use asterism_proto::v1::{ContactField, StepQuestion};
use asterism_runtime::config::LogicConfig;
use support::memcached::Memcached;
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// A back end over HTTP that counts how often it is asked, and has its answers kept by the contact's tier.
struct Backend {
    port: u16,
    asked: Arc<AtomicU32>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(question) = question_on(&mut stream).await {
                        count.fetch_add(1, Ordering::Relaxed);
                        let tier = question["fields"]["tier"].as_str().unwrap();
                        let body = format!(
                            "{{\"do\": [{{\"set\": {{\"tier\": \"{tier}\"}}}}, {{\"play\": {{\"prompts\": [\"hello\"]}}}}], \
                             \"state\": \"next\", \"cache\": {{\"for_s\": 600, \"by\": [\"fields.tier\"]}}}}"
                        );
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                        stream.write_all([head, body].concat().as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn question_on(stream: &mut BufReader<tokio::net::TcpStream>) -> Option<serde_json::Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// Publishes a version of the flow; its id.
async fn publish(lab: &Lab, version: u32, port: u16) -> String {
    let text = format!(
        "# {version}\nname = \"kept\"\nfallback = \"end\"\n[backend]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/next\"\n\
         timeout_ms = 4000\nprompts = [\"hello\"]\nfields = [\"tier\"]\n[states.end]\nhangup = {{}}\n"
    );
    let id = logic::flow_id(text.as_bytes());
    let name = ObjectName::new(format!("flows/{id}.toml")).unwrap();
    lab.store.put(&name, text.into_bytes().into()).await.unwrap();
    id
}

/// Asks for a contact's first step and makes sure that the answer is this contact's own.
async fn step(lab: &Lab, flow: &str, contact: u32, tier: &str) {
    let question = StepQuestion {
        call: format!("lab-{contact}-1"),
        step: 1,
        flow: flow.to_owned(),
        verb: "start".to_owned(),
        campaign: "lab".to_owned(),
        fields: vec![ContactField { name: "tier".to_owned(), value: tier.to_owned() }],
        deadline_ms: 8_000,
        ..StepQuestion::default()
    };
    let answer = ask(&lab.bus, &question).await;
    let said = (answer.reply.as_str(), answer.vars[0].value.as_str(), answer.reason.as_str());
    assert_eq!(said, ("play|hello|0", tier, ""), "{answer:?}");
}

fn sharing(memcached: &Memcached) -> LogicConfig {
    // A busy machine is no dead one.
    LogicConfig { memcached: vec![memcached.address()], memcached_ms: 900, ..LogicConfig::default() }
}

fn count(replica: &Replica, name: &str) -> u64 {
    replica.health.metrics().counter(&format!("asterism_logic_cache_{name}_total"), "").unwrap().get()
}

#[tokio::test]
async fn replicas_share_answers_by_memcached_and_a_new_version_of_the_flow_begins_with_none() {
    let Some(memcached) = Memcached::start("replicas_share_answers") else { return };
    let (lab, backend) = (Lab::start().await, Backend::start().await);
    let flow = publish(&lab, 1, backend.port).await;
    let one = lab.replica_with(sharing(&memcached), &lab.server.service("one").unwrap()).await;
    for contact in 1..=10 {
        step(&lab, &flow, contact, if contact % 2 == 0 { "gold" } else { "tin" }).await;
    }
    assert_eq!((backend.asked(), count(&one, "hits")), (2, 8));
    until("memcached has both answers, and what they depend on", || memcached.entries() == 3).await;
    one.stop().await;

    let two = lab.replica_with(sharing(&memcached), &lab.server.service("two").unwrap()).await;
    for contact in 11..=20 {
        step(&lab, &flow, contact, if contact % 2 == 0 { "gold" } else { "tin" }).await;
    }
    assert_eq!(backend.asked(), 2, "the other replica was told already");
    assert_eq!((count(&two, "shared_hits"), count(&two, "hits")), (2, 8));

    let flow = publish(&lab, 2, backend.port).await;
    step(&lab, &flow, 21, "gold").await;
    assert_eq!(backend.asked(), 3);
    lab.accepted(1 + 21 + 1).await; // the log's own, each step's decision, and the end of the first replica
    two.stop().await;
}

#[tokio::test]
async fn a_memcached_that_is_not_there_dies_stands_still_or_comes_back_costs_no_answer() {
    let Some(memcached) = Memcached::start("a_memcached_that_dies") else { return };
    let (lab, backend) = (Lab::start().await, Backend::start().await);
    let flow = publish(&lab, 1, backend.port).await;
    let link = lab.server.service("one").unwrap();
    // Kept for one question at a time here, so that each asks memcached.
    let config = LogicConfig { cache_entries: 1, ..sharing(&memcached) };
    let replica = lab.replica_with(config, &link).await;
    step(&lab, &flow, 1, "gold").await;
    until("memcached has the answer", || memcached.entries() == 2).await;
    step(&lab, &flow, 2, "tin").await;
    until("and the other", || memcached.entries() == 3).await;
    step(&lab, &flow, 3, "gold").await;
    assert_eq!((backend.asked(), count(&replica, "shared_hits")), (2, 1));

    memcached.freeze();
    step(&lab, &flow, 4, "tin").await;
    step(&lab, &flow, 5, "gold").await;
    assert_eq!(backend.asked(), 4, "nobody waits for it");
    assert!(count(&replica, "shared_errors") > 0);
    memcached.thaw();

    let port = memcached.port;
    drop(memcached);
    step(&lab, &flow, 6, "tin").await;
    step(&lab, &flow, 7, "gold").await;
    assert_eq!(backend.asked(), 6);
    let memcached = Memcached::start_on(port);
    let mut contact = 8;
    let deadline = std::time::Instant::now() + PATIENCE;
    while count(&replica, "shared_hits") < 2 {
        assert!(std::time::Instant::now() < deadline, "it is back and never asked again");
        step(&lab, &flow, contact, if contact % 2 == 0 { "gold" } else { "tin" }).await;
        contact += 1;
    }
    assert!(memcached.entries() > 0);
    lab.accepted(1 + u64::from(contact - 1)).await;
    replica.stop().await;
}

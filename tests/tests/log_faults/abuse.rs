//! Whoever is on the bus with a node's rights, and wants harm: answers asked for where they would be events, headers that
//! purge or expire, bodies that bomb, and frames in other nodes' names. What is stored is harmless, and the log has none of it.

use std::time::Duration;

use asterism_domain::wire::{self, Envelope};
use asterism_domain::{Event, State};
use asterism_nats::{Bus, BusConfig, Subject, Verb, stream};
use asterism_proto::frame::FrameDraft;
use asterism_proto::{Origin, OriginKey, Role};
use asterism_runtime::commit::Term;
use asterism_runtime::testkit::{FLEET, Fixture};
use async_nats::HeaderMap;

use crate::fleet::*;
use crate::random::memory;

fn event_subject(origin: &Origin) -> String {
    Subject::event(FLEET, origin).unwrap().as_str().to_owned()
}

fn node(name: &str) -> Origin {
    Origin::Node(name.to_owned())
}

/// A client without our guards, with the rights of a node.
async fn intruder(fixture: &Fixture, name: &str) -> async_nats::Client {
    let config: BusConfig = fixture.server.node(name).unwrap();
    async_nats::ConnectOptions::new()
        .user_and_password(config.user.unwrap(), config.password.unwrap().reveal().to_owned())
        .custom_inbox_prefix(&config.inbox_prefix)
        .connect(&config.url)
        .await
        .unwrap()
}

async fn refused(bus: &Bus, count: u64) {
    within("the count of refused answers", async {
        while bus.stats().refused_replies < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(bus.stats().refused_replies, count);
}

#[tokio::test]
async fn an_answer_asked_for_where_it_would_be_an_event_stores_nothing_and_is_counted() {
    let fixture = Fixture::start().await;
    let deps = Process::start(&fixture, "ledger").await;
    let _ledger = deps.ledger(&ON_REQUEST);
    let writer = fixture.service("scaler").await;
    publish(&fixture, &writer, 3, 1..=3).await;
    checkpoint(&deps.bus).await;
    let enemy = intruder(&fixture, "i-1").await;
    let victim = Bus::connect(&fixture.server.node("i-2").unwrap()).await.unwrap();
    let before = stream::info(&writer, FLEET).await.unwrap();
    let order = Subject::command(FLEET, "i-2", Verb::Dial).unwrap();
    let targets = [
        event_subject(&scaler()),
        event_subject(&node("i-1")),
        "$JS.API.STREAM.DELETE.AST_demo".to_owned(),
        "$JS.API.STREAM.PURGE.AST_demo".to_owned(),
        "$KV.AST_LEASE_demo.ledger".to_owned(),
        order.as_str().to_owned(),
    ];
    let ask = Subject::growth_request(FLEET).unwrap();
    for target in &targets {
        enemy.publish_with_reply(ask.as_str().to_owned(), target.clone(), "".into()).await.unwrap();
    }
    enemy.flush().await.unwrap();
    refused(&deps.bus, targets.len() as u64).await;
    // Another node's inbox is an inbox: it hears an answer it has not asked for, and ignores it.
    let inbox = format!("{}.guessed", fixture.server.node("i-2").unwrap().inbox_prefix);
    enemy.publish_with_reply(ask.as_str().to_owned(), inbox, "".into()).await.unwrap();
    enemy.flush().await.unwrap();
    victim.request(&ask, vec![], PATIENCE).await.unwrap();
    assert_eq!(deps.bus.stats().refused_replies, targets.len() as u64);

    // The stream itself acknowledges what a node may publish, and is asked to do so where it hurts.
    let own = event_subject(&node("i-1"));
    for target in &targets {
        enemy.publish_with_reply(own.clone(), target.clone(), "no frame".into()).await.unwrap();
    }
    enemy.flush().await.unwrap();
    publish(&fixture, &writer, 3, [4]).await;
    holds(&deps.log, &scaler(), 4).await;
    let after = stream::info(&writer, FLEET).await.unwrap();
    assert_eq!((&after.stream_id, after.first_sequence), (&before.stream_id, 1));
    println!(
        "{} messages of {} are not ours",
        after.last_sequence - before.last_sequence - 1,
        after.last_sequence
    );
    let size = checkpoint(&deps.bus).await.size;
    let other = Process::start(&fixture, "other").await;
    assert!(other.log.at_least(size, PATIENCE).await);
    assert_eq!(root(&other.log, size), root(&deps.log, size));
    // The lease is nobody else's: its holder renews it.
    assert!(deps.log.failure().borrow().is_none());
    assert_eq!(deps.log.term(Role::Ledger), 1);
}

/// A zstd frame of blocks that each say "the same byte 128 KiB long": 2 GB in 64 KB.
fn bomb() -> Vec<u8> {
    let block = [(1 << 17 << 3 | 1 << 1) as u32];
    let block = &block[0].to_le_bytes()[..3];
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    while bytes.len() < 65_000 {
        bytes.extend_from_slice(block);
        bytes.push(0);
    }
    bytes
}

/// What the stream answers; `None` if the server took it for something that has no answer.
async fn told(enemy: &async_nats::Client, headers: HeaderMap, body: Vec<u8>) -> serde_json::Value {
    let request = enemy.request_with_headers(event_subject(&node("i-1")), headers, body.into());
    let answer = within("an answer of the stream", request).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test]
async fn headers_that_purge_or_expire_and_bodies_that_bomb_leave_the_stream_and_the_memory_as_they_were() {
    let fixture = Fixture::start().await;
    let deps = Process::start(&fixture, "copy").await;
    let writer = fixture.service("scaler").await;
    publish(&fixture, &writer, 3, 1..=20).await;
    holds(&deps.log, &scaler(), 20).await;
    let before = stream::info(&writer, FLEET).await.unwrap();
    let enemy = intruder(&fixture, "i-1").await;
    let memory_before = memory();
    let target = event_subject(&scaler());
    for pairs in [
        &[("Nats-Rollup", "all")][..],
        &[("Nats-Rollup", "sub")],
        &[("Nats-TTL", "1s")],
        &[("Nats-Incr", "1")],
        &[("Nats-Schedule", "@every 1s"), ("Nats-Schedule-Target", target.as_str())],
        &[("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", "1"), ("Nats-Batch-Commit", "1")],
        &[("Nats-Expected-Stream", "AST_other")],
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        let answer = told(&enemy, headers, b"harm".to_vec()).await;
        assert!(answer["error"]["err_code"].is_u64(), "{pairs:?} was taken: {answer}");
    }
    // Headers that fill a message by themselves.
    let mut long = HeaderMap::new();
    long.insert("X-Filler", "x".repeat(60_000).as_str());
    let answer = told(&enemy, long, vec![7; 20_000]).await;
    assert_eq!(answer["error"]["err_code"], 10054, "{answer}");

    let bodies: [(&str, Vec<u8>, bool); 6] = [
        ("a megabyte but for its headers", vec![0x1a; (1 << 20) - 1_024], false),
        ("a bomb of 2 GB", bomb(), true),
        ("groups in groups", vec![0x0b; 60_000], true),
        ("messages in messages", nested(), true),
        ("a count of 64 thousand", [0x1a, 0].repeat(30_000), true),
        ("a header of 4 GiB", [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[1; 60_000]].concat(), true),
    ];
    let mut stored = 0;
    for _ in 0..20 {
        for (what, body, taken) in &bodies {
            let answer = told(&enemy, HeaderMap::new(), body.clone()).await;
            assert_eq!(answer["error"].is_null(), *taken, "{what}: {answer}");
            stored += u64::from(*taken);
        }
    }
    publish(&fixture, &writer, 3, [21]).await;
    let size = holds(&deps.log, &scaler(), 21).await;
    assert_eq!(size, 22, "creation and 21 frames");
    let after = stream::info(&writer, FLEET).await.unwrap();
    assert_eq!((after.first_sequence, after.last_sequence), (1, before.last_sequence + stored + 1));
    assert_eq!((&after.stream_id, after.max_bytes), (&before.stream_id, before.max_bytes));
    let late = Process::start(&fixture, "late").await;
    assert!(late.log.at_least(size, PATIENCE).await);
    assert_eq!(root(&late.log, size), root(&deps.log, size));
    let grown = memory().saturating_sub(memory_before);
    println!("{stored} hostile bodies were stored; memory grew by {grown} KiB");
    assert!(grown < 100 * 1024, "{grown} KiB");
}

/// A message in a message, as deep as 60 KB go.
fn nested() -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < 60_000 {
        let mut outer = vec![0x1a];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend_from_slice(&bytes);
        bytes = outer;
    }
    bytes
}

struct Member {
    name: &'static str,
    key: OriginKey,
}

impl Member {
    /// A frame in somebody's name, with this member's key.
    fn frame(&self, name: &str, epoch: u8, number: u64, occurred_at_ms: u64) -> Vec<u8> {
        let load = Event::NodeLoad {
            node: name.to_owned(),
            ringing: 0,
            up: 0,
            free_slots: u32::from(epoch),
            cpu_permille: number as u32,
        };
        let meta = Envelope { occurred_at_ms, ..Envelope::default() };
        let origin = node(name);
        let draft =
            FrameDraft { fleet: FLEET, origin: &origin, epoch: [epoch; 16], number, term: 0, based_on: 0 };
        draft.sign(&self.key, vec![wire::encode(&load, &meta)]).unwrap()
    }

    fn admission(&self, epoch: u8) -> Event {
        Event::NodeAdmitted {
            node: self.name.to_owned(),
            public_key: self.key.public().to_bytes().to_vec(),
            epoch: vec![epoch; 16],
            intent: format!("for-{}", self.name),
        }
    }
}

#[tokio::test]
async fn frames_in_anothers_name_of_a_former_epoch_or_changed_are_refused_alike_by_every_copy() {
    let fixture = Fixture::start().await;
    let (near, other) = (Process::start(&fixture, "near").await, Process::start(&fixture, "other").await);
    let key = near.key(Role::Scaler).unwrap();
    let mut term = within("an election", Term::elect(&near.log, Role::Scaler, &key, "near")).await.unwrap();
    let members = [("i-1", 11), ("i-2", 12)];
    let [one, two] = members.map(|(name, seed)| Member { name, key: OriginKey::from_entropy([seed; 32]) });
    let stranger = Member { name: "i-3", key: OriginKey::from_entropy([13; 32]) };
    let mut decided = Vec::new();
    for member in [&one, &two] {
        let intent = format!("for-{}", member.name);
        decided.push(Event::LaunchIntended {
            intent: intent.clone(),
            reason: String::new(),
            instance_type: String::new(),
        });
        decided.push(Event::NodeLaunched { intent, node: member.name.to_owned() });
        decided.push(member.admission(1));
    }
    let meta = Envelope::default();
    within("the admissions", term.commit(&decided, &meta)).await.unwrap();
    let enemy = intruder(&fixture, "i-2").await;
    let put = async |name: &str, frame: Vec<u8>| {
        let ack = within("an answer", enemy.request(event_subject(&node(name)), frame.into())).await.unwrap();
        let ack: serde_json::Value = serde_json::from_slice(&ack.payload).unwrap();
        assert!(ack["error"].is_null(), "{ack}");
    };
    let now = asterism_runtime::leader::now_ms();
    // Its clock is ten years behind: that is data, and orders nothing.
    let ten_years = 10 * 365 * 24 * 3_600_000;
    put("i-1", one.frame("i-1", 1, 1, now - ten_years)).await;
    let size = holds(&near.log, &node("i-1"), 1).await;
    let at = near.log.read(|state| state.at);
    assert!(at + 60_000 > now, "the record's time is the stream's: {at}");

    let mut changed = one.frame("i-1", 1, 2, now);
    let end = changed.len() - 1;
    changed[end] ^= 1;
    for (name, frame) in [
        ("i-1", two.frame("i-1", 1, 2, now)),
        ("i-1", stranger.frame("i-1", 1, 2, now)),
        ("i-3", stranger.frame("i-3", 1, 1, now)),
        ("i-1", changed),
        ("i-1", one.frame("i-1", 2, 1, now)), // an epoch nobody admitted
        ("i-2", one.frame("i-1", 1, 1, now)), // replayed, and under another's subject
    ] {
        put(name, frame).await;
    }
    // A new spool: what was signed in the old epoch is past for good, whoever replays it.
    within("the admission", term.commit(&[one.admission(2)], &meta)).await.unwrap();
    put("i-1", one.frame("i-1", 1, 2, now)).await;
    put("i-1", one.frame("i-1", 2, 1, now)).await;
    put("i-1", one.frame("i-1", 1, 2, now)).await;
    put("i-1", one.frame("i-1", 2, 2, now)).await;
    let end = holds(&near.log, &node("i-1"), 2).await;
    assert_eq!(end, size + 3, "an admission and two frames");
    let (roots, hashes): (Vec<_>, Vec<_>) = {
        assert!(other.log.at_least(end, PATIENCE).await);
        [&near, &other].map(|copy| (root(&copy.log, end), copy.log.read(State::hash))).into_iter().unzip()
    };
    assert!(roots[0] == roots[1] && hashes[0] == hashes[1]);
    assert_eq!(near.log.read(|state| (state.incidents, state.voids)), (0, 0), "what is refused is not there");
    let late = Process::start(&fixture, "late").await;
    assert!(late.log.at_least(end, PATIENCE).await);
    assert_eq!((root(&late.log, end), late.log.read(State::hash)), (roots[0], hashes[0]));
}

//! Nodes as witnesses: what they are told can be checked, and only what they have signed counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::Envelope;
use asterism_ledger::witness::{Counts, Refused, Witnesses};
use asterism_ledger::{LedgerConfig, run_with};
use asterism_nats::{RequestError, Subject};
use asterism_proto::hash::{check_consistency, sha256};
use asterism_proto::note::{self, TreeHead};
use asterism_proto::v1::{CheckpointNotice, Cosignature, GrowthReply, GrowthRequest, NoticeBody};
use asterism_proto::{OriginKey, PublicKey, Role, cosign};
use asterism_runtime::archive::Archive;
use asterism_runtime::commit::Term;
use asterism_runtime::health::Health;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture, within};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;

/// Only on request, after the first of a term.
fn on_request() -> LedgerConfig {
    LedgerConfig { checkpoint_every_ms: 3_600_000, ..LedgerConfig::default() }
}

fn node(number: u8) -> (String, OriginKey) {
    (format!("i-{number}"), OriginKey::from_entropy([number; 32]))
}

async fn scaler(deps: &Deps) -> Term {
    let key = deps.key(Role::Scaler).unwrap();
    within("an election", Term::elect(&deps.log, Role::Scaler, &key, "test")).await.unwrap()
}

async fn admit(term: &mut Term, number: u8) {
    let (node, key) = node(number);
    let admitted = Event::NodeAdmitted {
        node: node.parse().unwrap(),
        public_key: key.public().to_bytes().to_vec(),
        epoch: vec![number; 16],
        intent: format!("intent-{number}"),
    };
    within("a commit", term.commit(&[admitted], &Envelope::default())).await.unwrap();
}

async fn ask(deps: &Deps, subject: &Subject, payload: Vec<u8>) -> Vec<u8> {
    within("an answer", async {
        loop {
            match deps.bus.request(subject, payload.clone(), Duration::from_secs(2)).await {
                Err(RequestError::NoResponders | RequestError::Deadline) => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    })
    .await
}

async fn checkpoint(deps: &Deps) -> NoticeBody {
    let answer = ask(deps, &Subject::checkpoint_request(FLEET).unwrap(), vec![]).await;
    let notice = CheckpointNotice::decode(answer.as_slice()).unwrap();
    NoticeBody::decode(notice.body.as_slice()).unwrap()
}

fn cosignature(key: &OriginKey, body: &NoticeBody, time_s: u64) -> Cosignature {
    let head = TreeHead { size: body.size, root: body.root.as_slice().try_into().unwrap() };
    let signature = cosign::cosign(key, &note::text(&body.log, &head), time_s).to_vec();
    Cosignature { size: body.size, root: body.root.clone(), time_s, signature }
}

#[tokio::test]
async fn each_notice_proves_that_the_log_grew_and_the_steps_between_are_told_on_request() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let ledger = tokio::spawn(run_with(on_request(), deps.clone(), None));
    let mut term = scaler(&deps).await;
    let mut last = checkpoint(&deps).await;
    assert!(
        last.log.starts_with(&format!("asterism/{FLEET}-")) && last.log.ends_with("/log"),
        "{}",
        last.log
    );
    let first = last.clone();
    for number in 1..=12 {
        if number == 7 {
            // Another term of the ledger's goes on from the same checkpoint.
            ledger.abort();
            tokio::spawn(run_with(on_request(), deps.clone(), None));
        }
        admit(&mut term, number).await;
        let next = checkpoint(&deps).await;
        let path: Vec<_> = next.proof.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect();
        let root = |root: &[u8]| root.try_into().unwrap();
        assert!(next.size > last.size && next.previous_size >= last.size);
        let grew = check_consistency(
            next.previous_size,
            next.size,
            &root(&next.previous_root),
            &root(&next.root),
            &path,
        );
        assert!(grew, "from {} to {}", next.previous_size, next.size);
        last = next;
    }
    let asked = GrowthRequest { from: first.size }.encode_to_vec();
    let subject = Subject::growth_request(FLEET).unwrap();
    let steps = GrowthReply::decode(ask(&deps, &subject, asked).await.as_slice()).unwrap().steps;
    let (mut size, mut root) = (first.size, first.root.clone());
    for step in steps {
        let path: Vec<_> = step.path.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect();
        let (old, new) = (root.as_slice().try_into().unwrap(), step.to_root.as_slice().try_into().unwrap());
        assert_eq!(step.from, size);
        assert!(check_consistency(size, step.to, &old, &new, &path), "from {size} to {}", step.to);
        (size, root) = (step.to, step.to_root);
    }
    assert_eq!((size, root), (last.size, last.root));
    let unknown = GrowthRequest { from: 1 << 40 }.encode_to_vec();
    assert!(GrowthReply::decode(ask(&deps, &subject, unknown).await.as_slice()).unwrap().steps.is_empty());
}

/// A verifier that knows the C2SP texts and nothing of this project: names and keys in, who signed out.
fn verify(note: &str, keys: &[(String, u8, PublicKey)]) -> Vec<String> {
    let (text, signatures) = note.split_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let mut signed = Vec::new();
    for line in signatures.lines() {
        let (name, encoded) = line.strip_prefix("— ").unwrap().rsplit_once(' ').unwrap();
        let bytes = STANDARD.decode(encoded).unwrap();
        let known = keys.iter().filter(|(known, ..)| known == name);
        for (name, kind, key) in known {
            let id = sha256(&[name.as_bytes(), b"\n", &[*kind], &key.to_bytes()].concat());
            if bytes[..4] != id[..4] {
                continue;
            }
            let holds = match kind {
                1 => key.verifies(text.as_bytes(), &bytes[4..]),
                4 => {
                    let time = u64::from_be_bytes(bytes[4..12].try_into().unwrap());
                    key.verifies(format!("cosignature/v1\ntime {time}\n{text}").as_bytes(), &bytes[12..])
                }
                _ => false,
            };
            assert!(holds, "{line}");
            signed.push(name.clone());
        }
    }
    signed
}

#[tokio::test]
async fn the_note_has_the_cosignatures_of_admitted_nodes_and_no_forged_one() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let _ledger = tokio::spawn(run_with(on_request(), deps.clone(), None));
    let mut term = scaler(&deps).await;
    for number in [1, 2, 3] {
        admit(&mut term, number).await;
    }
    let older = checkpoint(&deps).await;
    admit(&mut term, 4).await;
    let body = checkpoint(&deps).await;
    let witnesses = Witnesses::default();
    let take = |number: u8, told: &Cosignature| {
        let (name, payload) = (node(number).0, told.encode_to_vec());
        deps.log.sequencer(|sequencer, _, _| witnesses.take(&body.log, &name, &payload, sequencer))
    };
    let by = |number: u8, body: &NoticeBody| cosignature(&node(number).1, body, 1_700_000_000);
    assert_eq!(take(1, &by(1, &body)), Ok(()));
    assert_eq!(take(2, &by(2, &body)), Ok(()));
    assert_eq!(take(2, &by(2, &older)), Ok(()), "late, and does not replace the newer one");
    assert_eq!(take(3, &by(3, &older)), Ok(()));

    let later = Cosignature { time_s: 1_700_000_001, ..by(3, &body) };
    let other_root = NoticeBody { root: vec![1; 32], ..body.clone() };
    let other_log = NoticeBody { log: "asterism/other-00/log".to_owned(), ..body.clone() };
    for (number, told, why) in [
        (3, by(1, &body), Refused::Signature),
        (3, by(9, &body), Refused::Signature),
        (3, later, Refused::Signature),
        (3, by(3, &other_log), Refused::Signature),
        (3, by(3, &other_root), Refused::Checkpoint),
        (3, by(3, &NoticeBody { size: body.size + 9, ..body.clone() }), Refused::Checkpoint),
        (9, by(9, &body), Refused::Unknown),
        (3, Cosignature { signature: vec![0; 63], ..by(3, &body) }, Refused::Malformed),
    ] {
        assert_eq!(take(number, &told), Err(why), "{told:?}");
    }
    assert_eq!(*witnesses.counts().borrow(), Counts { nodes: 3, size: body.size, newest: 2, refused: 8 });
    let key = deps.key(Role::Ledger).unwrap();
    let head = TreeHead { size: body.size, root: body.root.as_slice().try_into().unwrap() };
    let (count, made) = witnesses.note(&key, &body.log, &head);
    assert_eq!(count, 2);
    assert_eq!(note::open(made.as_bytes(), &body.log, &key.public()), Ok(head));
    let tag = body.log.strip_suffix("/log").unwrap();
    let mut keys = vec![(body.log.clone(), 1, key.public())];
    keys.extend((1..=3).map(|number| {
        let (name, key) = node(number);
        (format!("{tag}/node/{name}"), 4, key.public())
    }));
    assert_eq!(verify(&made, &keys), [&keys[0].0, &keys[1].0, &keys[2].0].map(String::clone));
}

#[tokio::test]
async fn cosignatures_on_the_bus_are_counted() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let health = Health::new("ledger", &[]);
    let _ledger = tokio::spawn(run_with(on_request(), deps.clone(), Some(health.clone())));
    let mut term = scaler(&deps).await;
    admit(&mut term, 1).await;
    let body = checkpoint(&deps).await;
    let (name, key) = node(1);
    let subject = Subject::cosignature(FLEET, &name).unwrap();
    let shows = async |line: String, payload: Vec<u8>| {
        within("the metric", async {
            while !health.metrics().text().contains(&line) {
                deps.bus.publish(&subject, payload.clone()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    let good = cosignature(&key, &body, 7).encode_to_vec();
    shows(format!("asterism_ledger_cosigned_size {}\n", body.size), good).await;
    assert!(health.metrics().text().contains("asterism_ledger_cosignatures_refused 0\n"));
    let forged = cosignature(&OriginKey::from_entropy([9; 32]), &body, 7).encode_to_vec();
    let before = "asterism_ledger_cosignatures_refused 0\n";
    within("the refusal", async {
        while health.metrics().text().contains(before) {
            deps.bus.publish(&subject, forged.clone()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(health.metrics().text().contains("asterism_ledger_cosigned_by 1\n"));
}

#[tokio::test]
async fn an_archived_checkpoint_carries_the_cosignatures_of_the_nodes() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let url = format!("file://{}", fixture.dir.path().join("archive").display());
    let config = LedgerConfig {
        checkpoint_every_ms: 200,
        archive: Some(url.clone()),
        seal_every_ms: 1_000,
        ..LedgerConfig::default()
    };
    let _ledger = tokio::spawn(run_with(config, deps.clone(), None));
    let mut term = scaler(&deps).await;
    for number in [1, 2] {
        admit(&mut term, number).await;
    }
    // Two nodes that cosign whatever they are told of.
    let mut notices = deps.bus.subscribe(&Subject::checkpoint_notice(FLEET).unwrap(), None).await.unwrap();
    let bus = deps.bus.clone();
    let nodes = tokio::spawn(async move {
        while let Some(message) = notices.next().await {
            let notice = CheckpointNotice::decode(message.payload).unwrap();
            let body = NoticeBody::decode(notice.body.as_slice()).unwrap();
            for number in [1, 2] {
                let (name, key) = node(number);
                let subject = Subject::cosignature(FLEET, &name).unwrap();
                bus.publish(&subject, cosignature(&key, &body, 9).encode_to_vec()).await.unwrap();
            }
        }
    });
    let key = deps.key(Role::Ledger).unwrap();
    let archive = Archive::open(&url, FLEET, fixture.keyring.anchor(), key.public()).await.unwrap();
    let tag = format!("asterism/{}", archive.tag());
    let mut keys = vec![(format!("{tag}/log"), 1, key.public())];
    keys.extend([1, 2].map(|number| (format!("{tag}/node/i-{number}"), 4, node(number).1.public())));
    let signers: Vec<String> = keys.iter().map(|(name, ..)| name.clone()).collect();
    let mut more = 3;
    let found = within("a cosigned checkpoint in the archive", async {
        loop {
            for size in archive.note_sizes().await.unwrap() {
                let (head, note) = archive.note_at(size).await.unwrap().unwrap();
                if verify(std::str::from_utf8(&note).unwrap(), &keys) == signers {
                    return head;
                }
            }
            // Something to seal for: the first one may be sealed before anybody has cosigned.
            admit(&mut term, more).await;
            more += 1;
            tokio::time::sleep(Duration::from_millis(200)).await; // the pause of a poll
        }
    })
    .await;
    nodes.abort();
    let ours = deps.log.sequencer(|sequencer, _, _| sequencer.root_at(found.size));
    assert_eq!(ours, Some(found.root));
}

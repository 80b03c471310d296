//! Frames made to harm among honest ones, message ids that somebody guessed, and copies that are killed all the while.

use std::time::Duration;

use asterism_nats::Subject;
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::{OpenFrame, OriginKey};
use asterism_runtime::testkit::{FLEET, Fixture};

use crate::fleet::*;
use crate::random::{Random, count, memory};

/// Something that must not count, and what it is published as.
fn hostile(fixture: &Fixture, random: &mut Random, honest: &[Vec<u8>]) -> Vec<u8> {
    let some = |random: &mut Random| honest[random.below(honest.len() as u64) as usize].clone();
    let signed = |fleet: &str, key: &OriginKey, number: u64| {
        let origin = scaler();
        let draft = FrameDraft { fleet, origin: &origin, epoch: [3; 16], number, term: 1, based_on: 0 };
        draft.sign(key, vec![vec![7; 200]]).unwrap()
    };
    let key = fixture.keyring.role(asterism_proto::Role::Scaler).unwrap();
    match random.below(7) {
        // The very next number of a living leader, by somebody else.
        0 => signed(FLEET, &OriginKey::from_entropy([9; 32]), 1 + honest.len() as u64),
        1 => signed("elsewhere", &key, 1 + honest.len() as u64),
        2 => some(random), // replayed
        3 => {
            let mut bytes = some(random);
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 << random.below(8);
            bytes
        }
        // Counts and lengths that lie: 32,000 events of nothing, a header of 4 GiB.
        4 => [0x1a, 0].repeat(16_000),
        5 => [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &vec![1; 60_000][..]].concat(),
        _ => (0..random.below(3_000)).map(|_| random.below(256) as u8).collect(),
    }
}

/// Three copies; one is killed again and again, one comes late, the server is killed too.
#[tokio::test]
async fn three_copies_survive_hostile_frames_kills_and_duplicates_with_equal_roots() {
    let mut fixture = Fixture::start().await;
    let mut random = Random::seeded();
    let (all, hostiles) = (count(1_000), count(10_000));
    let steady = Process::start(&fixture, "steady").await;
    let mut restless = Process::start(&fixture, "restless").await;
    within("the beginning", steady.log.caught_up()).await;
    // In full the hostile frames are more than the stream of a test holds.
    reshape(&fixture, |config| config.max_bytes = 2 << 30).await;
    let writer = fixture.service("scaler").await;
    let honest: Vec<Vec<u8>> = (1..=all).map(|number| frame(&fixture, 3, number)).collect();
    let subject = Subject::event(FLEET, &scaler()).unwrap().as_str().to_owned();
    let enemy = raw(&fixture).await;
    let before = memory();
    let mut sent = 0;
    for number in 1..=all {
        publish(&fixture, &writer, 3, [number]).await;
        while sent < hostiles * number / all {
            let bytes = hostile(&fixture, &mut random, &honest[..number as usize]);
            // An honest frame that lost its turn is honest all the same.
            enemy.publish(subject.clone(), bytes.into()).await.unwrap();
            sent += 1;
        }
        if number % (all / 5) == 0 {
            enemy.flush().await.unwrap();
            drop(restless);
            restless = Process::start(&fixture, "restless").await;
        }
        if number == all / 2 {
            enemy.flush().await.unwrap();
            fixture.server.kill9();
            fixture.server.restart().await.unwrap();
        }
    }
    let late = Process::start(&fixture, "late").await;
    let size = holds(&steady.log, &scaler(), all).await;
    for log in [&restless.log, &late.log] {
        holds(log, &scaler(), all).await;
        assert!(log.at_least(size, PATIENCE).await);
        assert_eq!(root(log, size), root(&steady.log, size));
    }
    assert_eq!(size, all + 1, "creation and each honest frame once");
    // A hostile event in the place of an honest one would be unreadable, which is an incident.
    assert_eq!(steady.log.read(|state| (state.incidents, state.voids)), (0, 0));
    let grown = memory().saturating_sub(before);
    println!("{sent} hostile frames, {all} honest ones; memory grew by {grown} KiB");
    assert!(grown < 200 * 1024, "{grown} KiB");
}

/// Message ids are the stream's memory alone: a guessed one hits nothing, and one that is known delays its frame at most.
#[tokio::test]
async fn a_guessed_message_id_suppresses_nothing_and_a_known_one_is_sent_again() {
    let fixture = Fixture::start().await;
    let copy = Process::start(&fixture, "copy").await;
    within("the beginning", copy.log.caught_up()).await;
    let (writer, enemy) = (fixture.service("scaler").await, raw(&fixture).await);
    let poison = async |id: String| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.as_str());
        let reply = enemy
            .request_with_headers(
                Subject::event(FLEET, &scaler()).unwrap().as_str().to_owned(),
                headers,
                "poison".into(),
            )
            .await;
        let reply: serde_json::Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
        assert!(reply["seq"].is_u64() && reply.get("duplicate").is_none(), "{reply}");
    };
    for guess in 0..20u8 {
        for number in 1..=4 {
            poison(message_id(&scaler(), &[guess; 16], number)).await;
        }
    }
    // An epoch of 128 random bits was not among the guesses.
    let epoch = 0xa7;
    for number in 1..=3 {
        let bytes = frame(&fixture, epoch, number);
        let id = OpenFrame::read(&bytes).unwrap().message_id();
        let ack =
            within("an acknowledgement", writer.publish_frame(FLEET, &scaler(), bytes, &id, None)).await;
        assert!(!ack.unwrap().duplicate);
    }
    holds(&copy.log, &scaler(), 3).await;
    // The control: a known id is suppressed by the stream, and acknowledged all the same.
    let bytes = frame(&fixture, epoch, 4);
    let id = OpenFrame::read(&bytes).unwrap().message_id();
    poison(id.clone()).await;
    let ack =
        within("an answer", writer.publish_frame(FLEET, &scaler(), bytes.clone(), &id, None)).await.unwrap();
    assert!(ack.duplicate, "the stream believes that it has it");
    let end = asterism_nats::stream::info(&writer, FLEET).await.unwrap().last_sequence;
    within("the end", async {
        while copy.log.sequencer(|_, _, read| read) < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(copy.log.sequencer(|log, _, _| log.mark(&scaler()).unwrap().number), 3, "it is not there");
    // Asked for again it goes without an id, and is.
    writer.publish_frame_again(FLEET, &scaler(), bytes).await.unwrap();
    holds(&copy.log, &scaler(), 4).await;
}

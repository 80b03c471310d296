//! A storm of duplicates: each frame one to five times, in any order, beyond the time for which the stream remembers ids,
//! over restarts of nats-server and of the frames' origin. In the log each is once, in order.

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_event_log::LogFolder;
use asterism_ledger::LedgerConfig;
use asterism_nats::Bus;
use asterism_proto::OpenFrame;
use asterism_proto::frame::message_id;
use asterism_runtime::spool::Spool;
use asterism_runtime::testkit::{FLEET, Fixture};
use futures_util::StreamExt as _;

use crate::fleet::*;

const FRAMES: u64 = 60;
const BLOCK: u64 = 10;
const EPOCH: u8 = 3;

fn id(number: u64) -> String {
    message_id(&scaler(), &[EPOCH; 16], number)
}

/// Publishes a frame with its id until the stream has acknowledged it; whether it believed to have it already.
async fn put(fixture: &Fixture, bus: &Bus, number: u64) -> bool {
    let bytes = frame(fixture, EPOCH, number);
    within("an acknowledgement", async {
        loop {
            if let Ok(ack) = bus.publish_frame(FLEET, &scaler(), bytes.clone(), &id(number), None).await {
                return ack.duplicate;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The origin: its spool, which it serves to whoever asks for frames again.
fn origin(fixture: &Fixture, bus: &Bus) -> tokio::task::JoinHandle<()> {
    let spool = Spool::open(&fixture.dir.path().join("scaler.spool")).unwrap();
    for number in 1..=FRAMES {
        spool.push(&scaler(), [EPOCH; 16], number, &frame(fixture, EPOCH, number));
    }
    let log_key = fixture.keyring.log_key().unwrap();
    tokio::spawn(spool.serve(bus.clone(), FLEET.to_owned(), log_key))
}

/// How often each frame of the origin stands in the stream.
async fn stored(fixture: &Fixture) -> BTreeMap<u64, u32> {
    let jetstream = async_nats::jetstream::new(raw(fixture).await);
    let stream = jetstream.get_stream("AST_demo").await.unwrap();
    let consumer = stream
        .create_consumer(async_nats::jetstream::consumer::pull::Config {
            ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
            ..Default::default()
        })
        .await
        .unwrap();
    let mut messages = consumer.fetch().max_messages(100_000).messages().await.unwrap();
    let mut counts = BTreeMap::new();
    while let Some(message) = messages.next().await {
        let read = OpenFrame::read(&message.unwrap().payload).unwrap();
        if read.origin == scaler() {
            *counts.entry(read.header.number).or_default() += 1;
        }
    }
    counts
}

/// The origin's frame numbers in a sealed copy, in order.
async fn logged(fixture: &Fixture, process: &Process) -> Vec<u64> {
    within("the seal", process.log.seal()).await.unwrap();
    let folder = fixture.dir.path().join("log").join(&process.holder);
    let folder = LogFolder::open(&folder, Some(fixture.keyring.anchor())).unwrap();
    let frames = folder.frames().map(|frame| frame.unwrap().frame);
    frames.filter(|frame| frame.origin == scaler()).map(|frame| frame.header.number).collect()
}

#[tokio::test]
async fn a_storm_of_duplicates_in_any_order_is_in_the_log_once() {
    let mut fixture = Fixture::start().await;
    let mut random = crate::random::Random::seeded();
    let (deps, steady) = (Process::start(&fixture, "ledger").await, Process::start(&fixture, "steady").await);
    let _ledger = deps.ledger(&LedgerConfig { lost_after_ms: 900_000, ..ON_REQUEST });
    let mut writer = fixture.service("scaler").await;
    let mut serving = origin(&fixture, &writer);
    holds(&deps.log, &asterism_proto::Origin::Role(asterism_proto::Role::Ledger), 1).await;
    reshape(&fixture, |config| config.duplicate_window = Duration::from_millis(150)).await;

    let mut forgotten = 0;
    for first in (1..=FRAMES).step_by(BLOCK as usize) {
        // Each of the block one to five times, and one of each former block, shuffled.
        let mut storm: Vec<u64> = (first..first + BLOCK)
            .flat_map(|number| vec![number; 1 + random.below(5) as usize])
            .chain((1..first).step_by(BLOCK as usize))
            .collect();
        for place in (1..storm.len()).rev() {
            storm.swap(place, random.below(place as u64 + 1) as usize);
        }
        for number in storm {
            put(&fixture, &writer, number).await;
        }
        // What it was told a moment ago it has forgotten: the window has passed.
        within("a forgotten id", async {
            while put(&fixture, &writer, first).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        forgotten += 1;
        if first == 2 * BLOCK + 1 {
            fixture.server.kill9();
            fixture.server.restart().await.unwrap();
        }
        if first == 3 * BLOCK + 1 {
            // The origin starts again, and publishes all it holds from the oldest on, as it must.
            serving.abort();
            drop(writer);
            writer = fixture.service("scaler").await;
            serving = origin(&fixture, &writer);
            for number in 1..first + BLOCK {
                put(&fixture, &writer, number).await;
            }
        }
    }
    // A copy that comes now checks the settings, and would refuse this window.
    reshape(&fixture, |config| config.duplicate_window = asterism_nats::stream::DUPLICATE_WINDOW).await;
    let late = Process::start(&fixture, "late").await;
    let size = holds(&deps.log, &scaler(), FRAMES).await;
    let size = size.max(checkpoint(&deps.bus).await.size);
    for process in [&deps, &steady, &late] {
        holds(&process.log, &scaler(), FRAMES).await;
        assert!(process.log.at_least(size, PATIENCE).await);
        assert_eq!(root(&process.log, size), root(&deps.log, size));
        assert!(process.log.failure().borrow().is_none());
        assert_eq!(logged(&fixture, process).await, (1..=FRAMES).collect::<Vec<_>>());
    }
    // The control: raw JetStream, with an id on every frame, has them many times over.
    let stored = stored(&fixture).await;
    let (twice, most) = (stored.values().filter(|count| **count > 1).count(), stored.values().max());
    println!(
        "{forgotten} windows passed; {twice} of {FRAMES} frames stand in the stream more than once, at most {most:?}"
    );
    assert!(
        stored.len() as u64 == FRAMES && twice as u64 >= FRAMES / BLOCK,
        "the storm does not bite: {stored:?}"
    );
    serving.abort();
}

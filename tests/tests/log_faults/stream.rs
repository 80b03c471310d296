//! The stream is damaged, or made again.

use asterism_nats::stream::{self, ensure_stream};
use asterism_proto::Role;
use asterism_runtime::commit::Term;
use asterism_runtime::testkit::{FLEET, Fixture};
use futures_util::StreamExt as _;
use std::path::PathBuf;

use crate::fleet::*;

/// The stream's first block file.
fn block(fixture: &Fixture) -> PathBuf {
    fn find(dir: &std::path::Path) -> Option<PathBuf> {
        std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
            let path = entry.path();
            let ours = path.ends_with("AST_demo/msgs/1.blk");
            if path.is_dir() { find(&path) } else { ours.then_some(path) }
        })
    }
    find(fixture.dir.path()).expect("a block file of the stream")
}

/// Turns one bit in the middle of the block, in the words of a frame, while the server is away. Not in a record's header: the
/// server's hash does not cover where the subject ends.
async fn turn_a_bit(fixture: &mut Fixture) {
    fixture.server.kill9();
    let path = block(fixture);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    let words = bytes[middle..].windows(64).position(|run| run.iter().all(|byte| *byte == b'x'));
    bytes[middle + words.expect("words of a frame") + 32] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    fixture.server.restart().await.unwrap();
}

/// How many messages a plain consumer of the stream is given, and the last sequence the server tells of.
async fn plain_reading(fixture: &Fixture) -> (u64, u64) {
    let jetstream = async_nats::jetstream::new(raw(fixture).await);
    let mut stored = jetstream.get_stream("AST_demo").await.unwrap();
    let last = stored.info().await.unwrap().state.last_sequence;
    let consumer = stored
        .create_consumer(async_nats::jetstream::consumer::pull::Config {
            ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
            ..Default::default()
        })
        .await
        .unwrap();
    let mut messages = consumer.fetch().max_messages(100_000).messages().await.unwrap();
    let mut count = 0;
    while let Some(message) = messages.next().await {
        message.expect("no error of any kind");
        count += 1;
    }
    (count, last)
}

/// One copy has read everything, another begins behind the damage, which is in the first of two blocks.
#[tokio::test]
async fn a_bit_turned_in_a_block_is_seen_by_one_copy_and_not_by_another() {
    const FRAMES: u64 = 180; // 55 KB each: more than a block of 8 MiB
    let mut fixture = Fixture::start().await;
    let (deps, live) = (Process::start(&fixture, "ledger").await, Process::start(&fixture, "live").await);
    let _ledger = deps.ledger(&ON_REQUEST);
    let writer = fixture.service("scaler").await;
    publish_sized(&fixture, &writer, 3, 1..=FRAMES, 11).await;
    holds(&deps.log, &scaler(), FRAMES).await;
    holds(&live.log, &scaler(), FRAMES).await;
    let before = checkpoint(&deps.bus).await;
    assert!(before.size > FRAMES);
    turn_a_bit(&mut fixture).await;

    // The control: JetStream alone loses what it acknowledged, and says that all of it is there.
    let (given, last) = plain_reading(&fixture).await;
    println!("{given} of {last} messages are left");
    assert!(last > FRAMES && given < last, "{given} of {last}: the damage does not bite");
    assert!(block(&fixture).with_file_name("2.blk").exists(), "one block holds it all");

    // Those who had read it go on, and so does the log.
    publish(&fixture, &writer, 3, FRAMES + 1..=FRAMES + 20).await;
    holds(&deps.log, &scaler(), FRAMES + 20).await;
    holds(&live.log, &scaler(), FRAMES + 20).await;
    let after = checkpoint(&deps.bus).await;
    assert!(after.size > before.size);
    for log in [&deps.log, &live.log] {
        assert!(log.at_least(after.size, PATIENCE).await);
        assert_eq!(root(log, after.size).as_slice(), after.root);
    }

    // The one that comes now leads nothing before it agrees with a checkpoint, or it stops and says why.
    let late = Process::start(&fixture, "late").await;
    let (mut failure, mut head) = (late.log.failure(), late.log.head());
    let ended = within("an end", async {
        tokio::select! {
            reason = failure.wait_for(Option::is_some) => Err(reason.unwrap().clone().unwrap()),
            ready = head.wait_for(|head| head.caught_up) => { ready.unwrap(); Ok(()) }
        }
    })
    .await;
    println!("the late copy: {ended:?}");
    match ended {
        Ok(()) => {
            assert!(late.log.at_least(after.size, PATIENCE).await);
            assert_eq!(root(&late.log, after.size).as_slice(), after.root);
            let key = late.key(Role::Dialer).unwrap();
            within("an election", Term::elect(&late.log, Role::Dialer, &key, "late")).await.unwrap();
        }
        Err(reason) => assert!(reason.starts_with("AST-R02"), "{reason}"),
    }
}

/// The damage is in the newest block: the server has forgotten the end, and would give its numbers to other frames.
#[tokio::test]
async fn a_bit_turned_in_the_newest_block_stops_every_copy_that_had_read_on() {
    let mut fixture = Fixture::start().await;
    let (deps, live) = (Process::start(&fixture, "ledger").await, Process::start(&fixture, "live").await);
    let running = deps.ledger(&ON_REQUEST);
    let writer = fixture.service("scaler").await;
    publish(&fixture, &writer, 3, 1..=40).await;
    for log in [&deps.log, &live.log] {
        holds(log, &scaler(), 40).await;
    }
    let acknowledged = stream::info(&writer, FLEET).await.unwrap().last_sequence;
    turn_a_bit(&mut fixture).await;
    let (given, last) = plain_reading(&fixture).await;
    println!("{given} of {acknowledged} acknowledged messages are left, the last is said to be {last}");
    assert!(given < acknowledged, "the damage does not bite");
    for log in [&deps.log, &live.log] {
        let reason = stopped(log).await;
        assert!(reason.starts_with("AST-R024"), "{reason}");
    }
    assert!(within("the ledger's end", running).await.unwrap().is_err());
    // Started again they stop again: nothing that was read is forgotten by itself.
    drop((deps, live));
    let again = Process::start(&fixture, "live").await;
    let reason = stopped(&again.log).await;
    assert!(reason.starts_with("AST-R024"), "{reason}");
}

#[tokio::test]
async fn a_stream_made_again_stops_every_copy_and_goes_on_behind_the_ledgers_continuation() {
    let fixture = Fixture::start().await;
    let (deps, other) = (Process::start(&fixture, "ledger").await, Process::start(&fixture, "other").await);
    let running = deps.ledger(&ON_REQUEST);
    let writer = fixture.service("scaler").await;
    publish(&fixture, &writer, 3, 1..=20).await;
    holds(&deps.log, &scaler(), 20).await;
    let before = checkpoint(&deps.bus).await;
    let size = before.size + 1;
    for log in [&deps.log, &other.log] {
        assert!(log.at_least(size, PATIENCE).await);
    }

    let jetstream = async_nats::jetstream::new(raw(&fixture).await);
    jetstream.delete_stream("AST_demo").await.unwrap();
    let made = ensure_stream(&writer, FLEET, 64 << 20).await.unwrap();
    // What precedes the continuation does not count, whoever writes it.
    publish(&fixture, &writer, 3, [21]).await;
    for log in [&deps.log, &other.log] {
        let reason = stopped(log).await;
        assert!(reason.starts_with("AST-R024: the stream was made again"), "{reason}");
    }
    assert!(within("the ledger's end", running).await.unwrap().is_err());
    drop((deps, other));

    // Only the ledger may be elected now; everybody else waits for it.
    let other = Process::start(&fixture, "other").await;
    let key = other.key(Role::Dialer).unwrap();
    let mut election = Box::pin(Term::elect(&other.log, Role::Dialer, &key, "other"));
    let mut head = other.log.head();
    within("the end of the stream", async {
        tokio::select! {
            _ = &mut election => panic!("elected before the continuation"),
            end = head.wait_for(|head| head.at_end) => assert!(!end.unwrap().caught_up),
        }
    })
    .await;
    let deps = Process::start(&fixture, "ledger").await;
    let _ledger = deps.ledger(&ON_REQUEST);
    let term = within("an election", election).await.unwrap();
    assert_eq!(term.number(), 1);
    let after = checkpoint(&deps.bus).await;
    assert!(after.size > size);
    // The frame that came too early comes again from its origin.
    assert_eq!(deps.log.sequencer(|log, _, _| log.mark(&scaler()).unwrap().number), 20);
    writer.publish_frame_again(FLEET, &scaler(), frame(&fixture, 3, 21)).await.unwrap();
    let size = holds(&deps.log, &scaler(), 21).await;
    holds(&other.log, &scaler(), 21).await;
    assert_eq!(root(&deps.log, size), root(&other.log, size));
    assert_eq!(deps.log.sequencer(|_, id, _| id.to_owned()), made.stream_id);

    // In its next life a copy knows the stream it reads, and goes on without being told again.
    within("the disk", other.log.sync()).await.unwrap();
    drop((term, deps, other));
    let other = Process::start(&fixture, "other").await;
    within("the end of the stream", other.log.caught_up()).await;
    publish(&fixture, &writer, 3, [22]).await;
    holds(&other.log, &scaler(), 22).await;

    // One that never read the former stream cannot know what precedes: it stops and says so.
    let fresh = Process::start(&fixture, "fresh").await;
    let reason = stopped(&fresh.log).await;
    assert!(reason.starts_with("AST-R027: the stream does not hold the beginning"), "{reason}");
}

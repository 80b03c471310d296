//! The stream has lost what it had acknowledged, or is an older one: copies are filled from the ledger's own copy or from
//! the archive, or stop and say why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use asterism_domain::Event;
use asterism_domain::wire::Envelope;
use asterism_nats::stream;
use asterism_proto::Role;
use asterism_runtime::commit::Term;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture, copy_folder, within};
use support::*;

/// More than the first block of the stream holds (8 MiB), in frames of about 44 KB.
const LARGE_FRAMES: u64 = 220;

/// Writes large frames.
async fn write_large(term: &mut Term, frames: u64) -> u64 {
    let mut size = 0;
    for frame in 0..frames {
        let event = |part: u64| Event::LaunchIntended {
            intent: format!("{}-{frame}-{part}", term.number()),
            reason: "x".repeat(5_500),
            instance_type: "sim".to_owned(),
        };
        let events: Vec<Event> = (0..8).map(event).collect();
        size = within("a commit", term.commit(&events, &Envelope::default())).await.unwrap();
    }
    size
}

/// The stream's first block file.
fn block(fixture: &Fixture) -> PathBuf {
    fn find(dir: &Path) -> Option<PathBuf> {
        std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
            let path = entry.path();
            let ours = path.ends_with("AST_demo/msgs/1.blk");
            if path.is_dir() { find(&path) } else { ours.then_some(path) }
        })
    }
    find(fixture.dir.path()).expect("a block file of the stream")
}

/// Turns one bit in the middle of the first block, in the words of a frame, while the server is away. Not in a record's
/// header: the server's hash does not cover where the subject ends. Proof that it bites: acknowledged frames are gone, and
/// the stream says that all is there.
async fn turn_a_bit(fixture: &mut Fixture, deps: &Deps) {
    fixture.server.kill9();
    let path = block(fixture);
    assert!(path.with_file_name("2.blk").exists(), "one block holds it all");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    let words = bytes[middle..].windows(64).position(|run| run.iter().all(|byte| *byte == b'x'));
    bytes[middle + words.expect("words of a frame") + 32] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    fixture.server.restart().await.unwrap();
    assert!(deps.bus.wait_connected(asterism_runtime::testkit::PATIENCE).await);
    let info = within("the stream", stream::info(&deps.bus, FLEET)).await.unwrap();
    let mut lost = 0;
    for sequence in info.first_sequence..=info.last_sequence {
        lost += u64::from(stream::frame_at(&deps.bus, FLEET, sequence).await.unwrap().is_none());
    }
    assert!(lost > 0, "the damage does not bite");
}

#[tokio::test]
async fn what_the_stream_lost_comes_from_the_ledgers_copy_and_a_wiped_copy_has_the_same_root() {
    let mut fixture = Fixture::start().await;
    let ledger = fixture.process("ledger").await;
    lead_alone(&fixture, &ledger);
    let one = fixture.process("one").await;
    write_large(&mut elect(&one, Role::Scaler).await, LARGE_FRAMES).await;
    turn_a_bit(&mut fixture, &one).await;

    let wiped = fixture.process("wiped").await;
    let size = one.log.read(|state| state.size);
    assert_eq!(root_at(&wiped, size).await, root_at(&one, size).await);
    agree(&[&one, &wiped, &ledger]).await;
    assert_eq!(wiped.log.doubt(), None);
    elect(&wiped, Role::Dialer).await;
    agree(&[&one, &wiped]).await;
    let told = repairs(&one.log).await;
    let [Event::LogRepaired { holder, reason, refilled_from, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((holder.as_str(), refilled_from.as_str()), ("wiped", "ledger"));
    assert!(reason.starts_with("the stream has lost frames"), "{reason}");
}

#[tokio::test]
async fn with_the_ledger_away_a_hole_is_filled_from_the_archive() {
    let mut fixture = Fixture::start().await;
    let ledger = process(&fixture, "ledger").await;
    let running = lead(&fixture, &ledger);
    let one = process(&fixture, "one").await;
    let mut term = elect(&one, Role::Scaler).await;
    write(&mut term, 5).await;
    fixture.crash(&one, "late").await;
    let size = write_large(&mut term, LARGE_FRAMES).await;
    archived(&one, size).await;
    ledger.shutdown.request();
    within("the ledger's end", running).await.unwrap().unwrap();
    turn_a_bit(&mut fixture, &one).await;
    let size = write(&mut term, 5).await;

    // It has the beginning, so it follows the stream into the hole.
    let late = process(&fixture, "late").await;
    assert_eq!(root_at(&late, size).await, root_at(&one, size).await);
    elect(&late, Role::Dialer).await;
    agree(&[&one, &late]).await;
    let told = repairs(&one.log).await;
    let [Event::LogRepaired { reason, refilled_from, kept: 1.., .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(refilled_from == "archive" && reason.starts_with("the stream has lost frames"), "{told:?}");
}

#[tokio::test]
async fn a_running_copy_that_was_away_too_long_goes_on_behind_what_the_ledger_gives() {
    let fixture = Fixture::start().await;
    let ledger = fixture.process("ledger").await;
    lead_alone(&fixture, &ledger);
    let one = fixture.process("one").await;
    let mut term = elect(&one, Role::Scaler).await;
    write(&mut term, 20).await;
    fixture.crash(&one, "away").await;
    write(&mut term, 20).await;
    age_out(&fixture, &one).await;
    let size = write(&mut term, 5).await;

    // One that slept through it, and one without anything: no archive has what the stream no longer has.
    let away = fixture.process("away").await;
    let wiped = fixture.process("wiped").await;
    for deps in [&away, &wiped] {
        assert_eq!(root_at(deps, size).await, root_at(&one, size).await, "{}", deps.holder);
        elect(deps, Role::Dialer).await;
    }
    agree(&[&one, &away, &wiped, &ledger]).await;
    let told = repairs(&one.log).await;
    let from = |event: &Event| match event {
        Event::LogRepaired { holder, kept, refilled_from, .. } => {
            (holder.clone(), *kept > 0, refilled_from.clone())
        }
        other => panic!("{other:?}"),
    };
    let expected =
        [("away", true), ("wiped", false)].map(|(name, kept)| (name.to_owned(), kept, "ledger".to_owned()));
    assert_eq!(told.iter().map(from).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn where_neither_stream_nor_archive_nor_a_ledger_has_the_beginning_that_is_said_and_not_guessed_over() {
    let fixture = Fixture::start().await;
    let one = fixture.process("one").await;
    let mut term = elect(&one, Role::Scaler).await;
    write(&mut term, 5).await;
    age_out(&fixture, &one).await;
    write(&mut term, 1).await;
    let blind = fixture.process_with("blind", None).await.unwrap_err().to_string();
    assert!(blind.starts_with("AST-R080") && blind.contains("ledger.archive is not set"), "{blind}");
    let empty = archive(&fixture).await;
    let blind = fixture.process_with("blind", Some(&empty)).await.unwrap_err().to_string();
    assert!(blind.starts_with("AST-R080") && blind.contains("start the ledger"), "{blind}");
}

/// The server's store as it was at some moment.
fn store(fixture: &Fixture) -> PathBuf {
    fixture.dir.path().join("nats").join("store")
}

#[tokio::test]
async fn a_stream_that_was_rolled_back_is_noticed_by_those_who_read_on_and_by_those_who_start() {
    let mut fixture = Fixture::start().await;
    let one = fixture.process("one").await;
    let mut term = elect(&one, Role::Scaler).await;
    write(&mut term, 10).await;
    let older = fixture.dir.path().join("older");
    fixture.server.kill9();
    copy_folder(&store(&fixture), &older);
    fixture.server.restart().await.unwrap();
    let size = write(&mut term, 20).await;
    for name in ["sleeper", "short"] {
        fixture.crash(&one, name).await;
    }

    // The store is put back to what it was: the same stream by its id, and it ends before what was read.
    fixture.server.kill9();
    std::fs::remove_dir_all(store(&fixture)).unwrap();
    copy_folder(&older, &store(&fixture));
    fixture.server.restart().await.unwrap();
    let mut failure = one.log.failure();
    let reason = within("the incident", failure.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(
        reason.starts_with("AST-R024: the stream lost position") && reason.contains("delete the stream"),
        "{reason}"
    );
    let short = fixture.process("short").await;
    let mut failure = short.log.failure();
    let reason = within("the incident", failure.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.starts_with("AST-R024: the stream lost position"), "{reason}");

    // Written over by one who had not read so far: another frame stands at the position.
    let stranger = fixture.process("stranger").await;
    let over = write(&mut elect(&stranger, Role::Dialer).await, 40).await;
    assert!(over > size);
    let sleeper = fixture.process("sleeper").await;
    let mut failure = sleeper.log.failure();
    let reason = within("the incident", failure.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.starts_with("AST-R024: the frame at"), "{reason}");
    assert_eq!(sleeper.log.read(|state| state.size), size, "nothing that was read is forgotten");
    assert!(!sleeper.log.head().borrow().caught_up);
}

//! Rebuilt on a new host: copies, streams and whole machines are lost, and what comes back has the same root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use asterism_domain::wire::{self, Envelope};
use asterism_domain::{Event, State};
use asterism_event_log::{Copy, LogFolder, StreamAt, Verdict};
use asterism_nats::stream;
use asterism_proto::frame::FrameDraft;
use asterism_proto::v1::{self, EventType};
use asterism_proto::{OpenFrame, Origin, Role};
use asterism_runtime::commit::Term;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture, copy_folder, within};
use prost::Message as _;
use support::*;

#[tokio::test]
async fn a_wiped_and_a_damaged_copy_come_back_from_the_archive_when_the_stream_is_younger() {
    let fixture = Fixture::start().await;
    let ledger = process(&fixture, "ledger").await;
    lead(&fixture, &ledger);
    let one = process(&fixture, "one").await;
    let mut term = elect(&one, Role::Scaler).await;
    let size = write(&mut term, 40).await;
    archived(&one, size).await;
    // A copy with a sealed segment that will be damaged, and a tail.
    assert_eq!(one.log.seal().await.unwrap().len(), 1);
    write(&mut term, 5).await;
    archived(&one, one.log.read(|state| state.size)).await;
    fixture.crash(&one, "damaged").await;
    age_out(&fixture, &one).await;
    // What aged out behind the archive's end, the ledger's own words among it, is archived once somebody writes again.
    let size = write(&mut term, 10).await;
    archived(&one, size).await;
    let (size, state) = one.log.read(|state| (state.size, state.hash()));

    let wiped = process(&fixture, "wiped").await;
    assert_eq!(root_at(&wiped, size).await, root_at(&one, size).await);
    agree(&[&one, &wiped, &ledger]).await;
    assert_eq!(wiped.log.read(State::hash), one.log.read(State::hash), "state {}", hex::encode(state));

    let folder = fixture.dir.path().join("log").join("damaged");
    let segment = LogFolder::open(&folder, None).unwrap().segments()[0].2.clone();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    for (size, path) in asterism_event_log::snapshot::list(&folder).unwrap() {
        assert!(size > 0);
        std::fs::remove_file(path).unwrap(); // behind one the damage would not be met
    }
    let damaged = process(&fixture, "damaged").await;
    agree(&[&one, &wiped, &damaged]).await;
    assert_eq!(damaged.log.doubt(), None);

    // Each tells it once, as soon as it leads anything.
    for deps in [&wiped, &damaged] {
        elect(deps, Role::Dialer).await;
        elect(deps, Role::Dialer).await;
    }
    agree(&[&one, &damaged]).await;
    let told = repairs(&one.log).await;
    let [
        Event::LogRepaired { holder: first, refilled_from: from, kept: 0, .. },
        Event::LogRepaired { holder: second, refilled_from: also, promised, set_aside, kept, .. },
    ] = told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        (first.as_str(), second.as_str(), from.starts_with("archive"), also.starts_with("archive")),
        ("wiped", "damaged", true, true),
        "{told:?}"
    );
    assert!(kept < promised && set_aside == "bad-1", "{told:?}");
}

/// Puts a frame into a copy that stands nowhere in the stream, as if its reader had been given other bytes than all; and
/// behind it the next one that does.
async fn bend(fixture: &Fixture, deps: &Deps, name: &str) {
    let folder = fixture.dir.path().join("log").join(name);
    let mut opened = Copy::open(&folder, FLEET, Some(fixture.keyring.anchor()), |_| {}).unwrap();
    let last = opened.stream_position.unwrap();
    let origin = Origin::Role(Role::MediaSync);
    let event = Event::LeaderElected { role: "media-sync".to_owned(), term: 1, holder: "bent".to_owned() };
    let draft = FrameDraft { fleet: FLEET, origin: &origin, epoch: [7; 16], number: 1, term: 1, based_on: 0 };
    let key = fixture.keyring.role(Role::MediaSync).unwrap();
    let bytes = draft.sign(&key, vec![wire::encode(&event, &Envelope::default())]).unwrap();
    let next = stream::frame_at(&deps.bus, FLEET, last.sequence + 1).await.unwrap().expect("the next frame");
    let at = StreamAt { sequence: next.sequence, time_ms: next.time_ms };
    for (bytes, at) in [(bytes.as_slice(), last), (&next.payload, at)] {
        let Verdict::Accepted(frame) = opened.sequencer.judge(bytes, at) else { panic!("refused") };
        opened.copy.append(&frame).unwrap();
    }
    opened.copy.commit(opened.sequencer.root()).unwrap();
}

#[tokio::test]
async fn a_copy_that_disagrees_with_a_checkpoint_is_left_once_and_filled_anew() {
    let fixture = Fixture::start().await;
    let ledger = process(&fixture, "ledger").await;
    lead(&fixture, &ledger);
    let one = process(&fixture, "one").await;
    let mut term = elect(&one, Role::Scaler).await;
    archived(&one, write(&mut term, 20).await).await;
    fixture.crash(&one, "bent").await;
    write(&mut term, 5).await;
    bend(&fixture, &one, "bent").await;
    let stopped = process(&fixture, "bent").await;
    let mut failure = stopped.log.failure();
    let reason =
        within("the disagreement", failure.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.starts_with("AST-R022"), "{reason}");
    // Its next life, in a folder of another name: this process still holds the first one's lock.
    let log = fixture.dir.path().join("log");
    copy_folder(&log.join("bent"), &log.join("again"));
    let again = process(&fixture, "again").await;
    agree(&[&one, &again, &ledger]).await;
    assert!(log.join("again.aside-1").is_dir());
    elect(&again, Role::Dialer).await;
    agree(&[&one, &again]).await;
    let told = repairs(&one.log).await;
    let [Event::LogRepaired { reason, refilled_from, set_aside, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(reason.starts_with("AST-R022") && refilled_from.starts_with("archive"), "{told:?}");
    assert_eq!(set_aside, "again.aside-1");
}

#[tokio::test]
async fn without_an_archive_a_copy_that_disagrees_is_filled_from_the_ledgers() {
    let fixture = Fixture::start().await;
    let ledger = fixture.process("ledger").await;
    lead_alone(&fixture, &ledger);
    let one = fixture.process("one").await;
    let mut term = elect(&one, Role::Scaler).await;
    write(&mut term, 20).await;
    fixture.crash(&one, "bent").await;
    write(&mut term, 5).await;
    bend(&fixture, &one, "bent").await;
    let stopped = fixture.process("bent").await;
    let mut failure = stopped.log.failure();
    within("the disagreement", failure.wait_for(Option::is_some)).await.unwrap();
    let log = fixture.dir.path().join("log");
    copy_folder(&log.join("bent"), &log.join("again"));
    let again = fixture.process("again").await;
    agree(&[&one, &again, &ledger]).await;
    elect(&again, Role::Dialer).await;
    agree(&[&one, &again]).await;
    let told = repairs(&one.log).await;
    let [Event::LogRepaired { refilled_from, set_aside, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((refilled_from.as_str(), set_aside.as_str()), ("ledger", "again.aside-1"));
}

#[tokio::test]
async fn a_checkpoint_that_is_false_throws_no_copy_away_twice() {
    let fixture = Fixture::start().await;
    let one = fixture.process("one").await;
    write(&mut elect(&one, Role::Scaler).await, 5).await;
    let key = one.key(Role::Ledger).unwrap();
    let mut liar = within("an election", Term::elect(&one.log, Role::Ledger, &key, "liar")).await.unwrap();
    let size = one.log.read(|state| state.size);
    let body = v1::Checkpoint { size, root: vec![0; 32], ..v1::Checkpoint::default() }.encode_to_vec();
    let meta = Envelope::default();
    let said = within("a verdict", liar.commit_bodies(EventType::Checkpoint, vec![body], &meta)).await;
    assert!(said.is_err());
    let log = fixture.dir.path().join("log");
    for (life, from) in ["one", "life-0", "life-1"].into_iter().enumerate() {
        let name = format!("life-{life}");
        copy_folder(&log.join(from), &log.join(&name));
        let process = fixture.process(&name).await;
        let mut failure = process.log.failure();
        within("the disagreement", failure.wait_for(Option::is_some)).await.unwrap();
        assert_eq!(log.join(format!("{name}.aside-1")).is_dir(), life == 0, "life {life}");
        assert_eq!(process.log.read(|state| state.size), size);
    }
}

#[tokio::test]
async fn with_every_disk_lost_the_log_goes_on_from_the_archive_with_the_same_root() {
    let mut fixture = Fixture::start().await;
    let ledger = process(&fixture, "ledger").await;
    lead(&fixture, &ledger);
    let one = process(&fixture, "one").await;
    let size = write(&mut elect(&one, Role::Scaler).await, 60).await;
    archived(&one, size).await;
    // Nobody writes any more: what is archived is all there was to lose, but for the ledger's own last words.
    ledger.shutdown.request();
    let end = archive(&fixture).await.last_segment().await.unwrap().unwrap();
    let before = root_at(&one, end.end).await;
    assert_eq!(hex::encode(before), end.root);

    lose_the_stream(&mut fixture).await;
    // All at once, on disks that have nothing, in any order.
    let (again, two, three) =
        tokio::join!(process(&fixture, "two"), process(&fixture, "ledger-2"), process(&fixture, "three"));
    let (two, again, three) = (again, two, three);
    assert!(two.log.doubt().is_some() && !two.log.head().borrow().caught_up, "nobody has continued the log");
    lead(&fixture, &again);
    for deps in [&two, &again, &three] {
        within("the end of the stream", deps.log.caught_up()).await;
    }
    let first = stream::frame_at(&two.bus, FLEET, 1).await.unwrap().unwrap();
    let frame = OpenFrame::read(&first.payload).unwrap();
    assert_eq!(frame.origin.to_string(), "role/ledger");
    let body = v1::Event::decode(&frame.events[0]).unwrap().body;
    let continues = v1::Continues::decode(body.as_slice()).unwrap();
    assert_eq!((continues.size, continues.root.as_slice()), (end.end, before.as_slice()));
    assert!(continues.marks.iter().any(|mark| mark.origin == "role/scaler"));

    let size = write(&mut elect(&two, Role::Scaler).await, 20).await;
    agree(&[&two, &again, &three]).await;
    archived(&two, size).await;
    // A process that comes later still finds the one log: archive, then stream.
    let late = process(&fixture, "late").await;
    agree(&[&two, &late]).await;
    let chain = archive(&fixture).await.chain_from(0).await.unwrap();
    assert!(chain.iter().any(|segment| segment.end == end.end) && chain.last().unwrap().end >= size);
}

#[tokio::test]
async fn copies_that_end_at_different_places_agree_again_in_a_stream_that_was_made_anew() {
    let mut fixture = Fixture::start().await;
    let ledger = process(&fixture, "ledger").await;
    lead(&fixture, &ledger);
    let one = process(&fixture, "one").await;
    let mut term = elect(&one, Role::Scaler).await;
    archived(&one, write(&mut term, 20).await).await;
    fixture.crash(&one, "behind").await;
    archived(&one, write(&mut term, 20).await).await;
    ledger.shutdown.request();
    write(&mut term, 5).await;
    fixture.crash(&one, "ledger-2").await;
    write(&mut term, 5).await;
    fixture.crash(&one, "ahead").await;
    lose_the_stream(&mut fixture).await;

    let again = process(&fixture, "ledger-2").await;
    let size = again.log.read(|state| state.size);
    lead(&fixture, &again);
    within("the end of the stream", again.log.caught_up()).await;
    let behind = process(&fixture, "behind").await;
    let ahead = process(&fixture, "ahead").await;
    agree(&[&again, &behind, &ahead]).await;
    assert!(fixture.dir.path().join("log").join("ahead.aside-1").is_dir());
    assert!(!fixture.dir.path().join("log").join("behind.aside-1").exists());
    // What the one ahead had is not in the log that goes on: it says so, and where it is kept.
    write(&mut elect(&ahead, Role::Scaler).await, 10).await;
    agree(&[&again, &behind, &ahead]).await;
    let said =
        again.log.read(|state| state.incident_list.iter().map(|one| one.reason.clone()).collect::<Vec<_>>());
    let beyond = |text: &String| {
        text.contains(" events of ahead are not in the log: its copy is kept as ahead.aside-1")
    };
    assert!(said.len() == 1 && beyond(&said[0]), "{said:?}");
    let root = root_at(&again, size).await;
    assert_eq!(root, root_at(&behind, size).await);
    // Opened once more, each is where it was: the new stream is the one they know now.
    fixture.crash(&ahead, "later").await;
    let later = process(&fixture, "later").await;
    agree(&[&again, &later]).await;
}

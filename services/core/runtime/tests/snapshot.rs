//! Snapshots over a real nats-server: a start from one ends in the same state, a second fold proves it, and a false one
//! stops the process and is gone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use asterism_domain::wire::Envelope;
use asterism_domain::{Event, State};
use asterism_event_log::snapshot::{self, Snapshot};
use asterism_proto::Role;
use asterism_runtime::commit::Term;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{Fixture, within};

async fn launch(term: &mut Term, intents: std::ops::Range<u32>) {
    for intent in intents {
        let event = Event::LaunchIntended {
            intent: intent.to_string(),
            reason: "test".to_owned(),
            instance_type: "sim".to_owned(),
        };
        within("a commit", term.commit(&[event], &Envelope::default())).await.unwrap();
    }
}

/// Waits until a second fold has come as far.
async fn proved(deps: &Deps, size: u64) {
    let mut snapshots = deps.log.snapshots();
    within("the proof", snapshots.wait_for(|told| told.proved >= size)).await.unwrap();
}

/// Seals, and waits until a snapshot of it is written; its size.
async fn sealed(deps: &Deps) -> u64 {
    let segments = deps.log.seal().await.unwrap();
    assert_eq!(segments.len(), 1);
    let mut snapshots = deps.log.snapshots();
    let told =
        within("the snapshot", snapshots.wait_for(|told| told.written >= segments[0].end)).await.unwrap();
    assert_eq!(told.written, segments[0].end);
    told.written
}

fn hash(deps: &Deps) -> [u8; 32] {
    deps.log.read(State::hash)
}

#[tokio::test]
async fn a_start_from_a_snapshot_ends_in_the_same_state_and_is_proved_again() {
    let fixture = Fixture::start().await;
    let one = fixture.process("one").await;
    let key = one.key(Role::Scaler).unwrap();
    let mut term = within("an election", Term::elect(&one.log, Role::Scaler, &key, "one")).await.unwrap();
    launch(&mut term, 0..20).await;
    let first = sealed(&one).await;
    proved(&one, first).await;
    launch(&mut term, 20..30).await;
    let second = sealed(&one).await;
    assert!(first >= 21 && second >= first + 10, "{first}, {second}");
    proved(&one, second).await;
    launch(&mut term, 30..35).await;

    fixture.crash(&one, "two").await;
    let two = fixture.process("two").await;
    assert_eq!(two.log.snapshots().borrow().opened_from, second);
    assert_eq!(two.log.doubt(), None, "its life before has folded that a second time");
    within("the end of the stream", two.log.caught_up()).await;
    assert_eq!(
        (hash(&two), two.log.read(|state| state.size)),
        (hash(&one), one.log.read(|state| state.size))
    );
    proved(&two, second).await;

    // The newest is damaged: the one before it serves as well. Of another reducer: neither does.
    let third = fixture.dir.path().join("log").join("three");
    fixture.crash(&one, "three").await;
    std::fs::write(third.join(snapshot::file_name(second)), b"no snapshot").unwrap();
    let three = fixture.process("three").await;
    assert_eq!(three.log.snapshots().borrow().opened_from, first);
    let fourth = fixture.dir.path().join("log").join("four");
    fixture.crash(&one, "four").await;
    for (_, path) in snapshot::list(&fourth).unwrap() {
        let read = Snapshot::read(&path).unwrap();
        Snapshot { reducer: "asterism-0".to_owned(), ..read }.write(&fourth).unwrap();
    }
    let four = fixture.process("four").await;
    assert_eq!(four.log.snapshots().borrow().opened_from, 0);
    for deps in [&three, &four] {
        within("the end of the stream", deps.log.caught_up()).await;
        assert_eq!(hash(deps), hash(&one));
    }
}

#[tokio::test]
async fn a_false_snapshot_stops_the_process_and_is_gone() {
    let fixture = Fixture::start().await;
    let one = fixture.process("one").await;
    let key = one.key(Role::Scaler).unwrap();
    let mut term = within("an election", Term::elect(&one.log, Role::Scaler, &key, "one")).await.unwrap();
    launch(&mut term, 0..20).await;
    let size = sealed(&one).await;
    fixture.crash(&one, "two").await;

    // Whole, of this log, of this reducer, its events as they are: and one call that never was.
    let folder = fixture.dir.path().join("log").join("two");
    let read = Snapshot::read(&folder.join(snapshot::file_name(size))).unwrap();
    let mut state = State::from_bytes(&read.state).unwrap();
    state.up += 1;
    Snapshot { state: state.to_bytes(), ..read }.write(&folder).unwrap();

    let two = fixture.process("two").await;
    assert_eq!(two.log.snapshots().borrow().opened_from, size);
    let (mut head, mut failure) = (two.log.head(), two.log.failure());
    let reason = within("the proof's failure", async {
        tokio::select! {
            biased;
            _ = head.wait_for(|head| head.caught_up) => panic!("a false state may be led from"),
            reason = failure.wait_for(Option::is_some) => reason.unwrap().clone().unwrap(),
        }
    })
    .await;
    assert!(reason.starts_with("AST-R023"), "{reason}");
    assert_eq!(snapshot::list(&folder).unwrap(), []);
}

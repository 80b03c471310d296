//! The ledger against a real nats-server: what a checkpoint covers, who makes it, and what happens when that one dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_ledger::commands::{Head, Sealed};
use asterism_ledger::{LedgerConfig, run};
use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::v1::{CheckpointNotice, EventType, RangeReply, RangeRequest, RoleCommand, RoleReply};
use asterism_proto::{OpenFrame, Origin, Role, notice, v1};
use asterism_runtime::commit::Term;
use asterism_runtime::log::Log;
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;
use asterism_runtime::testkit::{FLEET, Fixture, PATIENCE, within};
use prost::Message;
use tokio::task::JoinHandle;

/// Only on request, after the first of a term.
const ON_REQUEST: LedgerConfig = LedgerConfig {
    checkpoint_every_ms: 3_600_000,
    checkpoint_every_events: u64::MAX,
    share_ms: 50,
    archive: None,
    seal_every_ms: 3_600_000,
    tail_after_ms: 3_600_000,
    snapshot_events: u64::MAX,
    retention: asterism_ledger::Retention { look_every_ms: 3_600_000, lengthen_after_ms: u64::MAX },
    lost_after_ms: 900_000,
};

fn start(config: &LedgerConfig, deps: &Deps) -> JoinHandle<Result<(), asterism_ledger::Error>> {
    tokio::spawn(run(config.clone(), deps.clone()))
}

/// Asks a subject until somebody answers.
async fn ask(bus: &Bus, subject: &Subject, payload: Vec<u8>) -> Result<Vec<u8>, RequestError> {
    within("an answer", async {
        loop {
            match bus.request(subject, payload.clone(), Duration::from_secs(2)).await {
                Err(RequestError::NoResponders | RequestError::Deadline) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    })
    .await
}

async fn checkpoint(bus: &Bus) -> CheckpointNotice {
    let answer = ask(bus, &Subject::checkpoint_request(FLEET).unwrap(), vec![]).await.unwrap();
    CheckpointNotice::decode(answer.as_slice()).unwrap()
}

async fn command(bus: &Bus, verb: &str) -> RoleReply {
    let command = RoleCommand {
        command_id: "c".to_owned(),
        verb: verb.to_owned(),
        json: b"{}".to_vec(),
        actor: "test".to_owned(),
    };
    let answer =
        ask(bus, &Subject::role(FLEET, Role::Ledger).unwrap(), command.encode_to_vec()).await.unwrap();
    RoleReply::decode(answer.as_slice()).unwrap()
}

/// Events of another leader, to have something to sign.
async fn write(deps: &Deps, frames: usize) -> Term {
    let key = deps.key(Role::Scaler).unwrap();
    let mut term = within("an election", Term::elect(&deps.log, Role::Scaler, &key, "test")).await.unwrap();
    for frame in 0..frames {
        let event = Event::LaunchIntended {
            intent: format!("{}-{frame}", term.number()),
            reason: "test".to_owned(),
            instance_type: "sim".to_owned(),
        };
        within("a commit", term.commit(&[event], &Envelope::default())).await.unwrap();
    }
    term
}

/// Waits until this copy holds a checkpoint of at least that size.
async fn checkpointed(log: &Log, size: u64) {
    let mut head = log.head();
    within("a checkpoint", async {
        while log.read(|state| state.checkpoint) < size {
            head.changed().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_log_that_grows_fast_is_signed_before_the_time() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let config = LedgerConfig { checkpoint_every_events: 16, ..ON_REQUEST };
    let _ledger = start(&config, &deps);
    checkpointed(&deps.log, 1).await;
    let first = deps.log.read(|state| state.checkpoint);
    let _term = write(&deps, 15).await;
    checkpointed(&deps.log, first + 16).await;
    let _more = write(&deps, 40).await;
    checkpointed(&deps.log, first + 48).await;
}

#[tokio::test]
async fn a_requested_checkpoint_covers_the_log_and_has_its_root() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let ledger = start(&ON_REQUEST, &deps);
    let term = write(&deps, 5).await;
    let mut notices = deps.bus.subscribe(&Subject::checkpoint_notice(FLEET).unwrap(), None).await.unwrap();
    let written = deps.log.read(|state| state.size);

    let notice = checkpoint(&deps.bus).await;
    assert!(notice.size >= written, "{} of {written}", notice.size);
    assert!(deps.log.durable() >= notice.size);
    let root = deps.log.sequencer(|sequencer, _, _| sequencer.root_at(notice.size)).unwrap();
    assert_eq!(notice.root, root);
    let mark = notice.marks.iter().find(|mark| mark.origin == "role/scaler").expect("the scaler's mark");
    assert_eq!(mark.number, 6, "the election and five frames");

    // The first of the term may have been told since the subscription.
    let mut told = CheckpointNotice::default();
    while told.size < notice.size {
        let next = within("a notice", notices.next()).await.unwrap();
        let log_key = fixture.keyring.log_key().unwrap();
        let signed = notice::open(&next.payload, FLEET, &log_key).unwrap();
        told = CheckpointNotice::decode(next.payload).unwrap();
        assert_eq!((signed.size, &signed.root, &signed.marks), (told.size, &told.root, &told.marks));
    }
    assert_eq!(told, notice);
    let frame = OpenFrame::read(&notice.frame).unwrap();
    assert!(frame.signed_by(&deps.key(Role::Ledger).unwrap().public()));
    let event = v1::Event::decode(&frame.events[0]).unwrap();
    assert_eq!(event.r#type, EventType::Checkpoint as u32);
    let body = v1::Checkpoint::decode(event.body.as_slice()).unwrap();
    assert_eq!((body.size, &body.root), (notice.size, &notice.root));
    let stored = asterism_nats::stream::frame_at(&deps.bus, FLEET, body.stream_sequence).await.unwrap();
    assert!(stored.is_some(), "its position is in the stream");
    let agreed = deps.log.sequencer(|sequencer, id, _| {
        assert_eq!(id, body.stream_id);
        *sequencer.checkpoint().unwrap()
    });
    assert_eq!((agreed.size, agreed.root), (notice.size, root));

    // Nothing came since: the same checkpoint again, and no new frame for it.
    let size = deps.log.read(|state| state.size);
    let again = checkpoint(&deps.bus).await;
    assert_eq!(again, notice);
    assert_eq!(deps.log.read(|state| state.size), size);

    drop(term);
    deps.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_before_the_request_is_covered() {
    let fixture = Arc::new(Fixture::start().await);
    // The ledger on a thread of its own, as a process has: it reads while this one writes.
    let shutdown = Shutdown::new();
    let (theirs, stop) = (fixture.clone(), shutdown.clone());
    let ledger = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let deps = Deps { shutdown: stop, ..theirs.process("ledger").await };
            Box::pin(run(ON_REQUEST, deps)).await.unwrap();
        });
    });
    let bus = fixture.service("writer").await;
    checkpoint(&bus).await;
    let (key, origin, epoch) =
        (fixture.keyring.role(Role::Scaler).unwrap(), Origin::Role(Role::Scaler), [3; 16]);
    let elected = Event::LeaderElected { role: "scaler".to_owned(), term: 1, holder: "test".to_owned() };
    let told = Event::FleetStopRequested { reason: "test".to_owned() };
    let frames: Vec<_> = (1..=60)
        .map(|number| {
            let events = if number == 1 { vec![elected.clone()] } else { vec![told.clone(); 256] };
            let events = events.iter().map(|event| wire::encode(event, &Envelope::default())).collect();
            let draft = FrameDraft { fleet: FLEET, origin: &origin, epoch, number, term: 1, based_on: 0 };
            (draft.sign(&key, events).unwrap(), message_id(&origin, &epoch, number))
        })
        .collect();
    // Acknowledged is all this process knows: nothing here waits for the ledger to have read them.
    for (frame, id) in frames {
        within("an acknowledgement", bus.publish_frame(FLEET, &origin, frame, &id, None)).await.unwrap();
    }
    let notice = checkpoint(&bus).await;
    assert!(notice.size > 59 * 256, "{}", notice.size);
    let mark = notice.marks.iter().find(|mark| mark.origin == "role/scaler").expect("the scaler's mark");
    assert_eq!(mark.number, 60);
    shutdown.request();
    ledger.join().unwrap();
}

#[tokio::test]
async fn many_requests_at_once_share_checkpoints() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let _ledger = start(&ON_REQUEST, &deps);
    write(&deps, 1).await;
    let first = checkpoint(&deps.bus).await;
    write(&deps, 3).await;
    let before = deps.log.read(|state| state.size);
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let bus = deps.bus.clone();
            tokio::spawn(async move { checkpoint(&bus).await })
        })
        .collect();
    for asker in askers {
        let notice = within("an answer", asker).await.unwrap();
        assert!(notice.size > first.size && notice.size >= before);
    }
    // One for those who came together; two when the clock cut between them.
    let made = deps.log.read(|state| state.size) - before;
    assert!((1..=2).contains(&made), "{made} checkpoints for 50 requests");
}

#[tokio::test]
async fn checkpoints_come_by_the_clock_while_the_log_grows_and_only_then() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let _ledger = start(&LedgerConfig { checkpoint_every_ms: 100, ..ON_REQUEST }, &deps);
    let mut term = write(&deps, 1).await;
    for _ in 0..3 {
        let size = deps.log.read(|state| state.size);
        let event = Event::FleetStopRequested { reason: "test".to_owned() };
        within("a commit", term.commit(&[event], &Envelope::default())).await.unwrap();
        checkpointed(&deps.log, size + 1).await;
    }
    let (size, covered) = deps.log.read(|state| (state.size, state.checkpoint));
    assert_eq!(size, covered + 1, "the checkpoint itself is no reason for another");
    let mut head = deps.log.head();
    head.mark_unchanged();
    let grown = tokio::time::timeout(Duration::from_millis(500), head.changed()).await;
    assert!(grown.is_err(), "an idle log grew to {}", deps.log.read(|state| state.size));
}

#[tokio::test]
async fn a_second_ledger_takes_over_from_one_that_died() {
    let fixture = Fixture::start().await;
    let (one, two) = (fixture.process("one").await, fixture.process("two").await);
    let first = start(&ON_REQUEST, &one);
    checkpointed(&one.log, 1).await;
    let second = start(&ON_REQUEST, &two);
    let before = checkpoint(&two.bus).await;
    assert_eq!(two.log.term(Role::Ledger), 1);

    // Killed: it neither gives its lease back nor finishes anything.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let _term = write(&two, 3).await;
    let written = two.log.read(|state| state.size);
    let after = checkpoint(&two.bus).await;
    assert_eq!(two.log.term(Role::Ledger), 2);
    assert!(after.size >= written && after.size > before.size);
    let size = two.log.read(|state| state.size);
    assert!(one.log.at_least(size, PATIENCE).await);
    let root = |log: &Log| log.sequencer(|sequencer, _, _| sequencer.root_at(after.size).unwrap());
    assert_eq!(root(&one.log).as_slice(), after.root);
    assert_eq!(root(&two.log).as_slice(), after.root);
    assert!(one.log.failure().borrow().is_none(), "the dead one's copy agrees");
    assert!(!second.is_finished());
}

#[tokio::test]
async fn a_copy_that_disagrees_with_a_checkpoint_stops() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("liar").await;
    let key = deps.key(Role::Ledger).unwrap();
    let mut term = within("an election", Term::elect(&deps.log, Role::Ledger, &key, "liar")).await.unwrap();
    let size = deps.log.read(|state| state.size);
    let wrong = v1::Checkpoint { size, root: vec![0; 32], ..v1::Checkpoint::default() };
    let body = vec![wrong.encode_to_vec()];
    let committed =
        within("a verdict", term.commit_bodies(EventType::Checkpoint, body, &Envelope::default())).await;
    assert!(committed.is_err());
    let mut failure = deps.log.failure();
    let reason = within("a failure", failure.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.starts_with("AST-R022"), "{reason}");
    // What does not agree is not applied.
    assert_eq!(deps.log.read(|state| state.size), size);
}

#[tokio::test]
async fn the_head_is_told_and_a_seal_holds_its_own_checkpoint() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let _ledger = start(&ON_REQUEST, &deps);
    write(&deps, 4).await;
    let sealed = command(&deps.bus, "ledger.seal").await;
    assert_eq!(sealed.code, "", "{}", sealed.reason);
    let sealed: Sealed = serde_json::from_slice(&sealed.json).unwrap();
    let [segment] = sealed.segments.as_slice() else { panic!("{sealed:?}") };
    assert_eq!(segment.first, 0);
    assert!(segment.end > sealed.checkpoint, "the checkpoint stands in the segment");
    assert_eq!(std::fs::metadata(&segment.path).unwrap().len(), segment.size_bytes);
    let head: Head = serde_json::from_slice(&command(&deps.bus, "ledger.head").await.json).unwrap();
    assert!(head.durable >= segment.end && head.checkpoint == sealed.checkpoint);
    let ours = deps.log.sequencer(|sequencer, _, _| sequencer.root_at(head.size).unwrap());
    assert_eq!(head.root, hex::encode(ours));
    assert_eq!(command(&deps.bus, "ledger.unseal").await.code, "AST-G001");
}

#[tokio::test]
async fn a_range_gives_the_frames_of_the_ledgers_copy_piece_by_piece() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let _ledger = start(&ON_REQUEST, &deps);
    write(&deps, 300).await;
    checkpoint(&deps.bus).await;
    deps.log.seal().await.unwrap();
    write(&deps, 10).await;
    let subject = Subject::range_request(FLEET).unwrap();
    let anchor = deps.log.sequencer(|sequencer, _, _| sequencer.anchor());
    let mut copy = asterism_event_log::Sequencer::new(FLEET, anchor);
    let mut replies = 0;
    loop {
        let request = RangeRequest { from_event: copy.size(), ..RangeRequest::default() };
        let reply = ask(&deps.bus, &subject, request.encode_to_vec()).await.unwrap();
        let reply = RangeReply::decode(reply.as_slice()).unwrap();
        assert!(reply.frames.iter().map(|frame| frame.frame.len()).sum::<usize>() <= 64 * 1024);
        replies += 1;
        // Another copy folds them to the same log.
        for frame in &reply.frames {
            let at = asterism_event_log::StreamAt { sequence: frame.sequence, time_ms: frame.time_ms };
            copy.judge(&frame.frame, at);
            assert_eq!(copy.record_time_ms(), frame.record_time_ms);
        }
        assert_eq!(reply.size, copy.size());
        if reply.size == reply.end {
            assert_eq!(reply.stream_id, deps.log.sequencer(|_, id, _| id.to_owned()));
            break;
        }
        assert!(!reply.frames.is_empty(), "it does not move on");
    }
    assert!(replies > 2, "300 frames do not fit one reply");
    let theirs = deps.log.sequencer(|sequencer, _, _| sequencer.root_at(copy.size()).unwrap());
    assert!(copy.size() > 310);
    assert_eq!(copy.root(), theirs);

    let code = async |request: RangeRequest| match ask(&deps.bus, &subject, request.encode_to_vec()).await {
        Err(RequestError::Service { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    let at = |from_event| RangeRequest { from_event, ..RangeRequest::default() };
    assert_eq!(code(RangeRequest { from: 1, ..at(0) }).await, 400, "by place in the stream");
    assert_eq!(code(at(u64::MAX)).await, 416);
    // Inside a frame; and behind the last seal, which was only just made for somebody else.
    let wide = Event::LaunchFailed {
        intent: "x".to_owned(),
        code: "c".to_owned(),
        reason: "r".to_owned(),
        r#final: false,
    };
    let mut term = write(&deps, 1).await;
    let end = term.commit(&[wide.clone(), wide], &Envelope::default()).await.unwrap();
    assert_eq!(code(at(end - 1)).await, 503);
    deps.log.seal().await.unwrap();
    assert_eq!(code(at(end - 1)).await, 500);
}

//! Questions over a real nats-server: the decision is in the stream before its answer, replicas share the questions, a
//! killed server costs nothing, and an orderly stop closes the origin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use asterism_domain::Event;
use asterism_nats::{PublishFrameError, Subject, stream};
use asterism_object_store::{ObjectName, ObjectStore};
use asterism_proto::v1::{StepAnswer, StepQuestion};
use asterism_proto::{OpenFrame, Origin};
use prost::Message as _;
use support::*;
use tokio::task::JoinSet;

#[tokio::test]
async fn the_decision_is_in_the_stream_before_its_answer() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    for contact in 1..=20 {
        let answer = ask(&lab.bus, &question(contact, "1")).await;
        // No waiting here: what the answer names has to be there already.
        let last = stream::info(&lab.bus, FLEET).await.unwrap().last_sequence;
        let stored = stream::frame_at(&lab.bus, FLEET, last).await.unwrap().expect("the last frame");
        let frame = OpenFrame::read(&stored.payload).unwrap();
        let all = decisions(&[frame]);
        let Some(Event::StepDecided { call, step, state, next_state, reply, input, .. }) =
            all.get(&place(&answer))
        else {
            panic!("the answer's decision is not the stream's last frame: {answer:?} {all:?}")
        };
        assert_eq!(call.to_string(), format!("lab-{contact}-1"));
        assert_eq!((*step, state.as_str(), input.as_str()), (3, "menu", "OK 1"));
        assert_eq!((next_state, reply), (&answer.next_state, &answer.reply));
        assert_eq!((answer.reply.as_str(), answer.next_state.as_str()), ("play|thanks|0", "thanks"));
    }
    lab.accepted(1 + 20).await;
    replica.stop().await;
    let frames = lab.frames().await;
    let last = decisions(&frames[frames.len() - 1..]).into_values().next();
    assert!(
        matches!(&last, Some(Event::OriginClosed { origin, .. }) if *origin == frames[0].origin.to_string()),
        "{last:?}"
    );
    lab.accepted(1 + 20 + 1).await;
    assert!(lab.log.sequencer(|log, _, _| log.is_closed(&frames[0].origin)));
}

#[tokio::test]
async fn without_an_acknowledgement_there_is_no_answer_and_the_frame_is_repeated_until_there_is_one() {
    let lab = Lab::with_stream_bytes(32 * 1024).await;
    let replica = lab.replica("one").await;
    let junk = Origin::Node("i-9".to_owned());
    for number in 0.. {
        let sent = lab.bus.publish_frame(FLEET, &junk, vec![0; 512], &format!("junk-{number}"), None).await;
        match sent {
            Ok(_) => {}
            Err(PublishFrameError::StreamFull(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let hasty = StepQuestion { deadline_ms: 300, ..question(1, "1") };
    let answer =
        lab.bus.request(&Subject::step(FLEET).unwrap(), hasty.encode_to_vec(), PATIENCE).await.unwrap();
    let answer = StepAnswer::decode(answer.as_slice()).unwrap();
    assert_eq!((answer.code.as_str(), answer.reply.as_str()), ("AST-Q005", ""));
    until("it is said", || replica.health.readiness().checks["log"].contains("full")).await;

    stream::ensure_stream(&lab.bus, FLEET, 64 << 20).await.unwrap();
    let answer = ask(&lab.bus, &question(2, "1")).await;
    assert_eq!((answer.reply.as_str(), answer.frame), ("play|thanks|0", 2));
    assert!(replica.health.is_ready());
    let all = decisions(&lab.frames().await);
    let calls: Vec<String> =
        all.values().filter_map(|event| event.attempt()).map(ToString::to_string).collect();
    assert_eq!(calls, ["lab-1-1", "lab-2-1"], "a frame in flight is never given up, nor written twice");
    replica.stop().await;
}

#[tokio::test]
async fn questions_that_wait_share_a_frame_and_each_gets_its_own_place() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let mut asking = JoinSet::new();
    for contact in 0..400 {
        let bus = lab.bus.clone();
        asking.spawn(async move { ask(&bus, &question(contact, "2")).await });
    }
    let answers = within("400 answers", asking.join_all()).await;
    let places: BTreeSet<_> = answers.iter().map(place).collect();
    assert_eq!(places.len(), 400, "two answers name one decision");
    let frames = lab.frames().await;
    assert!(frames.len() < 200, "{} frames for 400 questions asked at once", frames.len());
    let all = decisions(&frames);
    assert!(
        places.iter().all(|place| all.contains_key(place)),
        "an answer names a decision that is not there"
    );
    lab.accepted(1 + 400).await;
    replica.stop().await;
}

#[tokio::test]
async fn two_replicas_share_the_questions_and_one_goes_on_alone() {
    let lab = Lab::start().await;
    let (one, two) = (lab.replica("one").await, lab.replica("two").await);
    let mut origins = BTreeSet::new();
    for contact in 0..200 {
        origins.insert(ask(&lab.bus, &question(contact, "1")).await.origin);
    }
    assert_eq!(origins.len(), 2, "one replica answers everything");
    one.stop().await;
    let mut after = BTreeSet::new();
    for contact in 200..240 {
        after.insert(ask(&lab.bus, &question(contact, "1")).await.origin);
    }
    assert_eq!(after.len(), 1);
    lab.accepted(1 + 240 + 1).await;
    two.stop().await;
}

#[tokio::test]
async fn a_server_killed_while_questions_flow_loses_no_answer() {
    let mut lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let (next, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (bus, next, done) = (lab.bus.clone(), Arc::clone(&next), Arc::clone(&done));
        callers.spawn(async move {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let contact = next.fetch_add(1, Ordering::Relaxed);
                answers.push((contact, ask(&bus, &question(contact, "1")).await));
            }
            answers
        });
    }
    for round in 1..=3 {
        let start = next.load(Ordering::Relaxed);
        until("questions flow", || next.load(Ordering::Relaxed) > start + 100).await;
        lab.server.kill9();
        within("the server is back", lab.server.restart()).await.unwrap();
        let start = next.load(Ordering::Relaxed);
        until("questions flow again", || next.load(Ordering::Relaxed) > start + 50).await;
        assert_eq!(replica.health.readiness().checks["service"], "ok", "round {round}");
    }
    done.store(true, Ordering::Relaxed);
    let answers: Vec<(u32, StepAnswer)> =
        within("every caller ends", callers.join_all()).await.into_iter().flatten().collect();
    replica.stop().await;
    let frames = lab.frames().await;
    let all = decisions(&frames);
    for (contact, answer) in &answers {
        assert_eq!(answer.code, "", "{answer:?}");
        let decided = all.get(&place(answer));
        let call = format!("lab-{contact}-1");
        assert!(
            matches!(decided, Some(Event::StepDecided { call: of, .. }) if of.to_string() == call),
            "the decision of {call} is not in the stream where its answer says: {decided:?}"
        );
    }
    let mut numbers: Vec<u64> = frames.iter().map(|frame| frame.header.number).collect();
    numbers.dedup();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "frames are missing or out of order: {numbers:?}"
    );
    lab.accepted(1 + all.len() as u64).await;
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_a_code_and_leaves_no_trace() {
    let lab = Lab::start().await;
    let replica = lab.replica("one").await;
    let unknown = question(1, "1");
    let refused = async |change: fn(&mut StepQuestion)| {
        let mut question = unknown.clone();
        change(&mut question);
        let answer = ask(&lab.bus, &question).await;
        assert!(answer.reply.is_empty() && !answer.reason.is_empty(), "{answer:?}");
        answer.code
    };
    assert_eq!(refused(|q| q.flow = "0".repeat(32)).await, "AST-Q002");
    assert_eq!(refused(|q| q.flow = "../../keys/fleet.nk".into()).await, "AST-Q001");
    assert_eq!(refused(|q| q.call = "somebody".into()).await, "AST-Q001");
    let name = ObjectName::new(format!("flows/{}.toml", "1".repeat(32))).unwrap();
    lab.store.put(&name, FLOW.to_vec().into()).await.unwrap();
    assert_eq!(refused(|q| q.flow = "1".repeat(32)).await, "AST-Q003");
    let subject = Subject::step(FLEET).unwrap();
    for garbage in [vec![0xff; 100], vec![0; 5000]] {
        let answer = lab.bus.request(&subject, garbage, PATIENCE).await.unwrap();
        assert_eq!(StepAnswer::decode(answer.as_slice()).unwrap().code, "AST-Q001");
    }
    assert_eq!(ask(&lab.bus, &question(1, "1")).await.reply, "play|thanks|0", "and it goes on answering");
    assert_eq!(lab.frames().await.len(), 1);
    replica.stop().await;
}

#[tokio::test]
async fn a_responder_nobody_asked_leaves_no_origin_behind() {
    let lab = Lab::start().await;
    lab.replica("one").await.stop().await;
    assert!(lab.frames().await.is_empty());
}

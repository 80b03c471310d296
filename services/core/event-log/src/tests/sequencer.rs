//! What the sequencer accepts, from whom, and that nothing else leaves a trace.

use asterism_proto::v1::{self, EventType};
use asterism_proto::{OpenFrame, OriginKey};
use proptest::prelude::*;
use prost::Message;

use crate::record::{StoredFrame, StreamAt};
use crate::sequencer::{CheckpointCheck, RefusedReason, Sequencer, SignatureCheck, StopReason, Verdict};
use crate::testkit::{
    FLEET, Script, Writer, admitted, checkpoint, closed, elected, event, log_created, opaque,
};

fn at(sequence: u64) -> StreamAt {
    StreamAt { sequence, time_ms: 1_700_000_000_000 + sequence }
}

fn refused(verdict: Verdict) -> RefusedReason {
    match verdict {
        Verdict::Refused { reason, .. } => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Judges and checks that a refusal, duplicate or gap changed nothing that counts.
fn without_effect(sequencer: &mut Sequencer, bytes: &[u8]) -> Verdict {
    let before = (sequencer.size(), sequencer.root(), sequencer.marks(), sequencer.record_time_ms());
    let verdict = sequencer.judge(bytes, at(9_999_999));
    assert!(!matches!(verdict, Verdict::Accepted(_)), "accepted");
    let after = (sequencer.size(), sequencer.root(), sequencer.marks(), sequencer.record_time_ms());
    assert_eq!(before, after);
    verdict
}

#[test]
fn the_first_frame_creates_the_log_and_its_header_hash_is_the_anchor() {
    let bytes = Writer::new("role/fleet", 1).frame(vec![log_created()]);
    let mut free = Sequencer::new(FLEET, None);
    let Verdict::Accepted(frame) = free.judge(&bytes, at(1)) else { panic!("refused") };
    assert_eq!((frame.first, frame.end(), free.size()), (0, 1, 1));
    let anchor = free.anchor().unwrap();
    assert_eq!(anchor, frame.header_hash);
    assert_eq!(frame.leaves, [free.root()]);
    let mut bound = Sequencer::new(FLEET, Some(anchor));
    assert!(matches!(bound.judge(&bytes, at(1)), Verdict::Accepted(_)));
    let mut other = Sequencer::new(FLEET, Some([1; 32]));
    assert_eq!(refused(without_effect(&mut other, &bytes)), RefusedReason::WrongAnchor);
}

#[test]
fn nothing_but_log_created_by_the_fleet_key_begins_a_log() {
    let mut log = Sequencer::new(FLEET, None);
    let early = Writer::new("role/dialer", 3).elect(3);
    assert_eq!(refused(without_effect(&mut log, &early)), RefusedReason::NotCreated);
    let two = Writer::new("role/fleet", 1).frame(vec![log_created(), opaque(1, 9)]);
    assert_eq!(refused(without_effect(&mut log, &two)), RefusedReason::NotCreated);
    let mut impostor = Writer::new("role/fleet", 1);
    impostor.key = OriginKey::from_entropy([9; 32]);
    let forged = impostor.frame(vec![log_created()]);
    assert_eq!(refused(without_effect(&mut log, &forged)), RefusedReason::Signature);
    let mut foreign = Writer::new("role/fleet", 1);
    foreign.fleet = "other".into();
    let foreign = foreign.frame(vec![log_created()]);
    assert_eq!(refused(without_effect(&mut log, &foreign)), RefusedReason::WrongFleet);
}

#[test]
fn the_fleet_origin_never_writes_again() {
    let mut script = Script::begin();
    let mut fleet = Writer::new("role/fleet", 1);
    let first = fleet.frame(vec![log_created()]);
    assert_eq!(without_effect(&mut script.sequencer, &first), Verdict::Duplicate);
    let second = fleet.frame(vec![opaque(1, 10)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &second)), RefusedReason::Closed);
    fleet.number = 7;
    let later = fleet.frame(vec![opaque(1, 10)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &later)), RefusedReason::Closed);
}

#[test]
fn numbers_are_taken_in_order_once() {
    let mut script = Script::begin();
    let mut node = script.writers[3].clone();
    let frames: Vec<_> = (0..3).map(|i| node.frame(vec![opaque(i, 30)])).collect();
    let gap = without_effect(&mut script.sequencer, &frames[1]);
    assert_eq!(gap, Verdict::Gap { origin: "node/n1".into(), expected: 1, got: 2 });
    for (index, frame) in frames.iter().enumerate() {
        let verdict = script.sequencer.judge(frame, at(100 + index as u64));
        assert!(matches!(verdict, Verdict::Accepted(_)));
        assert_eq!(without_effect(&mut script.sequencer, frame), Verdict::Duplicate);
    }
    node.number = 2;
    let other_content = node.frame_again(vec![opaque(77, 30)]);
    assert_eq!(without_effect(&mut script.sequencer, &other_content), Verdict::Duplicate);
}

#[test]
fn a_frame_that_is_not_the_origins_own_is_refused() {
    let mut script = Script::begin();
    let mut forged = script.writers[3].clone();
    forged.key = script.writers[4].key.clone();
    let bytes = forged.frame(vec![opaque(1, 20)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &bytes)), RefusedReason::Signature);
    let stranger = Writer::new("node/n9", 5).frame(vec![opaque(1, 20)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &stranger)), RefusedReason::UnknownOrigin);
    let dialer_process = Writer::new("proc/dialer-x", 5).frame(vec![opaque(1, 20)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &dialer_process)), RefusedReason::UnknownOrigin);
    let mut foreign = script.writers[3].clone();
    foreign.fleet = "other".into();
    let bytes = foreign.frame(vec![opaque(1, 20)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &bytes)), RefusedReason::WrongFleet);
    let mut termed = script.writers[3].clone();
    termed.term = 4;
    let bytes = termed.frame(vec![opaque(1, 20)]);
    assert_eq!(
        refused(without_effect(&mut script.sequencer, &bytes)),
        RefusedReason::Term { current: 0, got: 4 }
    );
    let noise = [7u8; 90];
    assert!(matches!(refused(without_effect(&mut script.sequencer, &noise)), RefusedReason::Malformed(_)));
}

#[test]
fn a_readmitted_node_begins_anew_and_its_old_epochs_never_count_again() {
    let mut script = Script::begin();
    let mut old = script.writers[3].clone();
    let (first, second) = (old.frame(vec![opaque(1, 20)]), old.frame(vec![opaque(2, 20)]));
    script.publish(first.clone());
    script.write(0, vec![admitted("n1", 31)]);
    for bytes in [&first, &second] {
        assert_eq!(refused(without_effect(&mut script.sequencer, bytes)), RefusedReason::Epoch);
    }
    let mut fresh = Writer::new("node/n1", 31);
    script.publish(fresh.frame(vec![opaque(3, 20)]));
    let back = script.writers[0].clone().frame(vec![admitted("n1", 11)]);
    assert!(matches!(refused(without_effect(&mut script.sequencer, &back)), RefusedReason::Body { .. }));
    // Said again word for word it is harmless, and the numbers go on.
    script.write(0, vec![admitted("n1", 31)]);
    script.publish(fresh.frame(vec![opaque(4, 20)]));
}

#[test]
fn a_closed_origin_is_closed_for_good() {
    let mut script = Script::begin();
    script.write(0, vec![closed("node/n1")]);
    let late = script.writers[3].frame(vec![opaque(1, 20)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &late)), RefusedReason::Closed);
    let again = script.writers[0].clone().frame(vec![admitted("n1", 40)]);
    assert!(matches!(refused(without_effect(&mut script.sequencer, &again)), RefusedReason::Body { .. }));
    script.write(4, vec![opaque(1, 20), closed("node/n2")]);
    let late = script.writers[4].frame(vec![opaque(1, 20)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &late)), RefusedReason::Closed);
    let marked = |script: &Script| script.sequencer.marks().iter().any(|m| m.origin == "node/n2");
    assert!(!marked(&script));
    let since = script.sequencer.marks_since(script.sequencer.size() - 1);
    assert_eq!(since.iter().map(|m| m.origin.as_str()).collect::<Vec<_>>(), ["node/n2"]);
    // A role, another node and an unknown one are not the writer's to close.
    for (writer, target) in
        [(0, "role/dialer"), (5, "node/n2"), (0, "node/zz"), (0, "proc/logic-responder-a")]
    {
        let bytes = script.writers[writer].clone().frame(vec![closed(target)]);
        let reason = refused(without_effect(&mut script.sequencer, &bytes));
        assert!(matches!(reason, RefusedReason::Body { .. }), "{target}: {reason}");
    }
}

#[test]
fn the_logs_own_events_are_refused_from_anyone_else() {
    let mut script = Script::begin();
    let fake_checkpoint = checkpoint(&script.sequencer);
    let cases = [
        (1, admitted("n7", 9)),
        (3, admitted("n7", 9)),
        (1, closed("node/n1")),
        (3, fake_checkpoint),
        (2, log_created()),
        (3, elected(&"role/dialer".parse().unwrap(), 2)),
    ];
    for (writer, event) in cases {
        // Behind another event of the frame, too: the frame is refused whole.
        let bytes = script.writers[writer].clone().frame(vec![opaque(1, 10), event]);
        let reason = refused(without_effect(&mut script.sequencer, &bytes));
        assert!(matches!(reason, RefusedReason::NotAllowed { index: 1, .. }), "{writer}: {reason}");
    }
}

#[test]
fn versions_from_the_future_stop_the_reader() {
    let mut script = Script::begin();
    let position = script.sequencer.position();
    let node = &script.writers[3];
    let newer = |fleet: &str, origin: &str, key: &OriginKey| {
        let (fleet, origin) = (fleet.to_owned(), origin.to_owned());
        let header = v1::FrameHeader { version: 2, fleet, origin, ..Default::default() }.encode_to_vec();
        let signature = key.sign(&header).to_vec();
        v1::Frame { header, signature, events: vec![vec![1]] }.encode_to_vec()
    };
    // Whoever reaches the bus can write the number 2; only a member can sign it.
    let strangers = [
        newer(FLEET, "node/n1", &OriginKey::from_entropy([9; 32])),
        newer(FLEET, "node/n9", &node.key),
        newer("other", "node/n1", &node.key),
    ];
    for bytes in strangers {
        let reason = RefusedReason::Malformed(asterism_proto::frame::FrameError::Version(2));
        let verdict = script.sequencer.clone().judge(&bytes, at(70));
        assert_eq!(refused(verdict), reason);
    }
    let bytes = newer(FLEET, "node/n1", &node.key);
    let stop = without_effect(&mut script.sequencer, &bytes);
    assert_eq!(stop, Verdict::Stop { reason: StopReason::FrameVersion(2) });
    let body = v1::Event { r#type: EventType::NodeAdmitted as u32, schema: 2, ..v1::Event::default() };
    let newer = script.writers[0].clone().frame(vec![body.encode_to_vec()]);
    let stop = without_effect(&mut script.sequencer, &newer);
    assert_eq!(stop, Verdict::Stop { reason: StopReason::Schema { kind: 2, schema: 2 } });
    assert_eq!(script.sequencer.position(), position, "a reader stops in front of what it cannot read");
    // From someone who may not write that type it stops nobody.
    let body = v1::Event { r#type: EventType::NodeAdmitted as u32, schema: 2, ..v1::Event::default() };
    let node = script.writers[3].clone().frame(vec![body.encode_to_vec()]);
    refused(without_effect(&mut script.sequencer, &node));
}

#[test]
fn checkpoints_are_compared_with_the_root_they_name() {
    let mut script = Script::with_frames(40);
    let counts = script.sequencer.checkpoint_counts();
    assert_eq!((counts.agreed, counts.differed, counts.unchecked), (2, 0, 0));
    let size = script.sequencer.size();
    let lie = v1::Checkpoint { size, root: vec![1; 32], ..v1::Checkpoint::default() };
    script.write(2, vec![event(EventType::Checkpoint, &lie)]);
    let seen = *script.sequencer.checkpoint().unwrap();
    assert_eq!((seen.size, seen.check), (size, CheckpointCheck::Differs));
    let ahead = v1::Checkpoint { size: 1 << 40, root: vec![1; 32], ..v1::Checkpoint::default() };
    script.write(2, vec![event(EventType::Checkpoint, &ahead)]);
    assert_eq!(script.sequencer.checkpoint_counts().differed, 2);
    let short = v1::Checkpoint { size: 1 << 41, root: vec![1; 31], ..v1::Checkpoint::default() };
    let bytes = script.writers[2].clone().frame(vec![event(EventType::Checkpoint, &short)]);
    assert!(matches!(refused(without_effect(&mut script.sequencer, &bytes)), RefusedReason::Body { .. }));
}

#[test]
fn a_recreated_stream_counts_from_its_continuation_on() {
    let mut script = Script::with_frames(5);
    script.sequencer.await_continues();
    let body =
        |size: u64, root: Vec<u8>| event(EventType::Continues, &v1::Continues { size, root, marks: vec![] });
    let early = script.writers[3].clone().frame(vec![opaque(1, 10)]);
    assert_eq!(refused(without_effect(&mut script.sequencer, &early)), RefusedReason::BeforeContinues);
    let (size, root) = (script.sequencer.size(), script.sequencer.root().to_vec());
    let other = script.writers[2].clone().frame(vec![body(size + 1, root.clone())]);
    let stop = without_effect(&mut script.sequencer, &other);
    assert!(matches!(stop, Verdict::Stop { reason: StopReason::Continues { .. } }));
    script.write(2, vec![body(size, root)]);
    script.write(3, vec![opaque(1, 10)]);
}

#[test]
fn a_newly_elected_ledger_may_continue_a_recreated_stream_in_the_frame_of_its_election() {
    let mut script = Script::with_frames(5);
    script.sequencer.await_continues();
    let mut ledger = script.writers[2].clone();
    let plain = ledger.clone().elect(60);
    assert_eq!(refused(without_effect(&mut script.sequencer, &plain)), RefusedReason::BeforeContinues);
    let body = v1::Continues {
        size: script.sequencer.size(),
        root: script.sequencer.root().to_vec(),
        marks: vec![],
    };
    (ledger.term, ledger.number, ledger.epoch) = (ledger.term + 1, 1, [60; 16]);
    let (election, continues) = (elected(&ledger.origin, ledger.term), event(EventType::Continues, &body));
    let more = ledger.frame_again(vec![election.clone(), opaque(1, 9), continues.clone()]);
    assert!(matches!(
        refused(without_effect(&mut script.sequencer, &more)),
        RefusedReason::NotAllowed { index: 2, .. }
    ));
    script.publish(ledger.frame_again(vec![election, continues]));
    assert!(!script.sequencer.is_awaiting_continues());
    script.write(3, vec![opaque(1, 10)]);
}

/// A signer that tells two histories: of the newest size stops every copy that holds the other, of an older size it
/// has no effect anywhere, however little a copy remembers.
#[test]
fn a_checkpoint_signer_that_equivocates_is_found_out() {
    let mut script = Script::with_frames(20);
    let (size, root) = (script.sequencer.size(), script.sequencer.root());
    let signed = |size: u64, root: &[u8]| {
        event(
            EventType::Checkpoint,
            &v1::Checkpoint { size, root: root.to_vec(), ..v1::Checkpoint::default() },
        )
    };
    script.write(2, vec![signed(size, &root)]);
    assert_eq!(script.sequencer.checkpoint().unwrap().check, CheckpointCheck::Agrees);
    let older = script.writers[2].clone().frame(vec![signed(size - 1, &[7; 32])]);
    assert!(matches!(refused(without_effect(&mut script.sequencer, &older)), RefusedReason::Body { .. }));

    // Far behind, so that the root of that size is no longer among the remembered ones.
    let mut forgetful = script.sequencer.clone();
    let mut node = script.writers[3].clone();
    for step in 0..crate::sequencer::RECENT_ROOTS_MAX as u64 + 2 {
        let frame = OpenFrame::read(&node.frame(vec![opaque(step, 5)])).unwrap();
        let stored = StoredFrame::new(frame, u64::MAX, at(1_000 + step));
        assert!(matches!(forgetful.readmit(stored, SignatureCheck::Trust), Verdict::Accepted(_)));
    }
    for (of, root, check) in [
        (script.sequencer.clone(), [7; 32], CheckpointCheck::Differs),
        (forgetful.clone(), [7; 32], CheckpointCheck::Differs),
        (script.sequencer.clone(), root, CheckpointCheck::Agrees),
        (forgetful, root, CheckpointCheck::TooOld),
    ] {
        let mut copy = of;
        let again = script.writers[2].clone().frame(vec![signed(size, &root)]);
        assert!(matches!(copy.judge(&again, at(99_999)), Verdict::Accepted(_)));
        assert_eq!(copy.checkpoint().unwrap().check, check);
    }
}

#[test]
fn record_time_never_runs_back() {
    let mut script = Script::begin();
    let high = script.sequencer.record_time_ms();
    let bytes = script.writers[3].frame(vec![opaque(1, 20)]);
    let Verdict::Accepted(frame) = script.sequencer.judge(&bytes, StreamAt { sequence: 90, time_ms: 5 })
    else {
        panic!("refused")
    };
    assert_eq!((frame.record_time_ms, frame.at.time_ms), (high, 5));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Each origin's frames in its own order, between them duplicates and frames sent too early: two sequencers that
    /// see different noise, but the same accepted order, have the same root; and nothing is lost or doubled.
    #[test]
    fn duplicates_and_reordering_change_nothing(noise in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..60)) {
        let script = Script::with_frames(24);
        let mut noisy = Sequencer::new(FLEET, None);
        for (index, (bytes, at)) in script.frames.iter().enumerate() {
            for (_, other) in noise.iter().filter(|(place, _)| usize::from(*place) % script.frames.len() == index) {
                let other = usize::from(*other) % script.frames.len();
                if other != index {
                    let verdict = noisy.judge(&script.frames[other].0, *at);
                    if other < index {
                        prop_assert_eq!(verdict, Verdict::Duplicate);
                    } else if let Verdict::Accepted(early) = verdict {
                        // An origin's next frame came early: then the order is another one, and so is the root.
                        prop_assert!(early.first >= noisy.size() - early.leaves.len() as u64);
                        return Ok(());
                    }
                }
            }
            let verdict = noisy.judge(bytes, *at);
            prop_assert!(matches!(verdict, Verdict::Accepted(_)));
        }
        prop_assert_eq!(noisy.root(), script.sequencer.root());
        prop_assert_eq!(noisy.marks(), script.sequencer.marks());
    }

    /// Any shuffled, doubled stream, delivered until nothing is new: two copies of it agree at every step, and every
    /// frame is in the log exactly once.
    #[test]
    fn a_stream_with_resends_ends_complete_and_equal_everywhere(seed in any::<u64>()) {
        let script = Script::with_frames(16);
        let mut order: Vec<usize> = (0..script.frames.len()).flat_map(|i| [i, i]).collect();
        let mut state = seed | 1;
        for i in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(i, (state % (i as u64 + 1)) as usize);
        }
        let (mut one, mut two) = (Sequencer::new(FLEET, None), Sequencer::new(FLEET, None));
        let mut sequence = 0;
        for _ in 0..script.frames.len() {
            for index in &order {
                sequence += 1;
                let at = StreamAt { sequence, time_ms: sequence };
                let bytes = &script.frames[*index].0;
                prop_assert_eq!(one.judge(bytes, at), two.judge(bytes, at));
                prop_assert_eq!(one.root(), two.root());
            }
            if one.size() == script.sequencer.size() {
                break;
            }
        }
        prop_assert_eq!(one.size(), script.sequencer.size());
        prop_assert_eq!(one.marks(), script.sequencer.marks());
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_count(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut script = Script::begin();
        let root = script.sequencer.root();
        let _ = script.sequencer.judge(&bytes, at(50));
        prop_assert_eq!(script.sequencer.root(), root);
    }
}

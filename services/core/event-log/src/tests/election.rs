//! Leaders are made by the log and fenced by it.

use asterism_proto::{Origin, Role};

use crate::record::StreamAt;
use crate::sequencer::{RefusedReason, Verdict};
use crate::testkit::{Script, Writer, elected, opaque};

fn reason(script: &mut Script, bytes: &[u8]) -> RefusedReason {
    let root = script.sequencer.root();
    let verdict = script.sequencer.judge(bytes, StreamAt { sequence: 1 << 30, time_ms: 1 });
    assert_eq!(script.sequencer.root(), root);
    match verdict {
        Verdict::Refused { reason, .. } => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn an_old_leader_is_fenced_from_the_election_of_the_next_one_on() {
    let mut script = Script::begin();
    let dialer = Origin::Role(Role::Dialer);
    let mut old = script.writers[1].clone();
    let committed = old.frame(vec![opaque(1, 30)]);
    script.publish(committed.clone());
    let mut new = script.writers[1].clone();
    script.publish(new.elect(77));
    assert_eq!(script.sequencer.term(Role::Dialer), 2);
    // The woken leader goes on with the next number of its term: 54 such frames were once committed.
    for number in 0..54 {
        let late = old.frame(vec![opaque(number, 30)]);
        assert_eq!(reason(&mut script, &late), RefusedReason::Term { current: 2, got: 1 });
    }
    assert_eq!(reason(&mut script, &committed), RefusedReason::Term { current: 2, got: 1 });
    script.publish(new.frame(vec![opaque(9, 30)]));
    assert_eq!(script.sequencer.mark(&dialer).unwrap().number, 2);
}

#[test]
fn elections_that_break_a_rule_make_no_leader() {
    let mut script = Script::begin();
    let dialer = Origin::Role(Role::Dialer);
    let base = script.writers[1].clone();
    let draft = |term: u64, number: u64, epoch: u8, events: Vec<Vec<u8>>| {
        let mut writer = base.clone();
        (writer.term, writer.number, writer.epoch) = (term, number, [epoch; 16]);
        writer.frame_again(events)
    };
    let ahead = draft(3, 1, 50, vec![elected(&dialer, 3)]);
    assert_eq!(reason(&mut script, &ahead), RefusedReason::Term { current: 1, got: 3 });
    let unelected = draft(2, 1, 50, vec![opaque(1, 10)]);
    assert_eq!(reason(&mut script, &unelected), RefusedReason::Term { current: 1, got: 2 });
    let other_epoch = draft(1, 2, 50, vec![opaque(1, 10)]);
    assert_eq!(reason(&mut script, &other_epoch), RefusedReason::Epoch);
    let broken = [
        draft(2, 1, 50, vec![elected(&Origin::Role(Role::Scaler), 2)]),
        draft(2, 1, 50, vec![elected(&dialer, 5)]),
        draft(2, 2, 50, vec![elected(&dialer, 2)]),
        draft(2, 1, base.epoch[0], vec![elected(&dialer, 2)]),
    ];
    for bytes in &broken {
        assert!(matches!(reason(&mut script, bytes), RefusedReason::Election(_)));
    }
    let twice = draft(2, 1, 50, vec![elected(&dialer, 2), elected(&dialer, 2)]);
    assert!(matches!(reason(&mut script, &twice), RefusedReason::NotAllowed { index: 1, .. }));
    let second = draft(2, 1, 50, vec![opaque(1, 9), elected(&dialer, 2)]);
    assert_eq!(reason(&mut script, &second), RefusedReason::Term { current: 1, got: 2 });
    let within = draft(1, base.number + 1, base.epoch[0], vec![elected(&dialer, 2)]);
    assert!(matches!(reason(&mut script, &within), RefusedReason::NotAllowed { index: 0, .. }));
    let mut thief = script.writers[0].clone();
    (thief.origin, thief.term) = (dialer.clone(), 1);
    assert_eq!(reason(&mut script, &thief.elect(50)), RefusedReason::Signature);
    assert_eq!(script.sequencer.term(Role::Dialer), 1);
}

#[test]
fn an_election_may_carry_decisions_and_a_retry_of_it_is_a_duplicate() {
    let mut script = Script::begin();
    let mut leader = script.writers[1].clone();
    (leader.term, leader.number, leader.epoch) = (2, 1, [60; 16]);
    let bytes = leader.frame_again(vec![elected(&leader.origin, 2), opaque(1, 40)]);
    script.publish(bytes.clone());
    let verdict = script.sequencer.judge(&bytes, StreamAt { sequence: 99, time_ms: 1 });
    assert_eq!(verdict, Verdict::Duplicate);
}

#[test]
fn responder_processes_come_unasked_keep_their_epoch_and_lead_nothing() {
    let mut script = Script::begin();
    let mut process = Writer::new("proc/logic-responder-b", 70);
    let (first, second) = (process.frame(vec![opaque(1, 20)]), process.frame(vec![opaque(2, 20)]));
    let verdict = script.sequencer.judge(&second, StreamAt { sequence: 80, time_ms: 1 });
    assert!(matches!(verdict, Verdict::Gap { expected: 1, got: 2, .. }), "a process begins with number 1");
    script.publish(first);
    script.publish(second);
    let twin = Writer::new("proc/logic-responder-b", 71).frame(vec![opaque(1, 20)]);
    assert_eq!(reason(&mut script, &twin), RefusedReason::Epoch);
    let lead = process.frame(vec![elected(&Origin::Role(Role::LogicResponder), 1)]);
    assert!(matches!(reason(&mut script, &lead), RefusedReason::NotAllowed { .. }));
    let as_role = Writer::new("role/logic-responder", 0).elect(5);
    assert_eq!(reason(&mut script, &as_role), RefusedReason::UnknownOrigin);
}

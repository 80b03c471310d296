//! Who answered is told to the log once, before anything else of the call, and a machine walks no flow.
#![allow(clippy::unwrap_used)]

use super::tests::{NOW, asked, order, ready};
use super::*;
use crate::dialplan::{EndReport, Heard, Listened, Question};
use crate::fact::Body;

fn up(detect_machine: bool) -> Machine {
    let mut machine = ready(5);
    let attempts = vec![v1::DialAttempt { detect_machine, ..asked("a") }];
    machine.on_dial(1, v1::DialOrder { attempts, ..order(1, &[]) }, NOW);
    let sent = machine.due(NOW);
    let told = |effect: &Effect| matches!(effect, Effect::Originate(sent) if sent.detect_machine);
    assert_eq!(sent.effects.iter().any(told), detect_machine, "{sent:?}");
    machine
}

#[allow(clippy::unnecessary_wraps)] // as a question has it
fn heard(verdict: Listened) -> Option<Heard> {
    Some(Heard { verdict, cause: "WHY-1-1".into(), took_ms: 1_700 })
}

fn question(step: u32, listened: Option<Heard>) -> Question {
    Question { channel_id: "a".into(), step, listened, ..Question::default() }
}

fn told(out: &Output) -> Vec<(u32, u32)> {
    let facts = out.facts.iter();
    facts
        .filter_map(|fact| {
            if let Body::MachineJudged(body) = &fact.body { Some((body.verdict, body.took_ms)) } else { None }
        })
        .collect()
}

fn lines(out: &Output) -> Vec<&str> {
    let effects = out.effects.iter();
    effects
        .filter_map(|effect| if let Effect::Answer { line, .. } = effect { line.as_deref() } else { None })
        .collect()
}

#[test]
fn a_machine_is_told_once_and_hung_up_on_without_a_step() {
    let mut machine = up(true);
    let out = machine.on_question(&question(1, heard(Listened::Machine)), NOW);
    assert!(matches!(out.facts[0].body, Body::Answered(_)), "what is judged is up: {out:?}");
    assert_eq!((told(&out), lines(&out)), (vec![(2, 1_700)], vec!["1|1|hangup|16|||||."]));
    assert!(!out.effects.iter().any(|effect| matches!(effect, Effect::Ask(_))));
    // The answer may be lost on its way to the dialplan.
    let again = machine.on_question(&question(1, heard(Listened::Machine)), NOW + 300);
    assert_eq!((told(&again), lines(&again)), (vec![], vec!["1|1|hangup|16|||||."]));
}

#[test]
fn a_human_walks_the_flow_and_so_does_who_nobody_is_sure_of() {
    for (verdict, number) in [(Listened::Human, 1), (Listened::NotSure, 3)] {
        let mut machine = up(true);
        let out = machine.on_question(&question(1, heard(verdict)), NOW);
        assert_eq!(told(&out), [(number, 1_700)]);
        assert!(out.effects.iter().any(|effect| matches!(effect, Effect::Ask(_))), "{out:?}");
        let next = machine.on_question(&question(2, heard(verdict)), NOW + 10);
        assert_eq!(told(&next), [], "each question says it again");
    }
}

#[test]
fn what_only_the_end_report_says_is_told_and_nothing_where_nobody_asked() {
    let report = |listened| EndReport { channel_id: "a".into(), listened, ..EndReport::default() };
    let mut machine = up(true);
    let (taken, out) = machine.on_end_report(&report(heard(Listened::Machine)), NOW);
    assert!(taken && told(&out) == [(2, 1_700)], "{out:?}");
    let mut machine = up(false);
    let out = machine.on_question(&question(1, heard(Listened::Machine)), NOW);
    assert!(told(&out).is_empty() && out.effects.iter().any(|effect| matches!(effect, Effect::Ask(_))));
}

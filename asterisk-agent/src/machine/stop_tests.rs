//! What is withdrawn never rings, whichever of the two orders comes first; what a stop spares goes on.
#![allow(clippy::unwrap_used)]

use asterism_proto::v1;

use super::tests::{boot, open_gates, order, ready};
use super::*;
use crate::error::code;
use crate::fact::Body;

const NOW: u64 = 1_000_000;

fn stop(ids: &[&str], spare_ringing: bool, spare_calls: bool) -> v1::HangupOrder {
    v1::HangupOrder {
        term: 3,
        attempts: ids.iter().map(|id| (*id).to_owned()).collect(),
        withdraw: true,
        spare_ringing,
        spare_calls,
        ..v1::HangupOrder::default()
    }
}

fn refused(out: &Output) -> Vec<&str> {
    let facts = out.facts.iter();
    facts
        .filter_map(
            |fact| if let Body::Refused(body) = &fact.body { Some(body.attempt.as_str()) } else { None },
        )
        .collect()
}

fn hung_up(out: &Output) -> Vec<&str> {
    let effects = out.effects.iter();
    effects
        .filter_map(
            |effect| if let Effect::Hangup { attempt } = effect { Some(attempt.as_str()) } else { None },
        )
        .collect()
}

/// `a` is accepted, `b` rings, `c` is up.
fn three() -> Machine {
    let mut machine = ready(5);
    let mut orders = order(3, &["a", "b", "c"]);
    orders.attempts[0].not_before_ms = NOW + 500;
    machine.on_dial(1, orders, NOW);
    machine.due(NOW);
    machine.on_pbx_event(PbxEvent::Up { attempt: "c".into() }, NOW);
    machine
}

#[test]
fn what_was_not_sent_is_refused_and_what_is_spared_goes_on() {
    for (spare_ringing, spare_calls, ends) in [
        (true, true, vec![]),
        (false, true, vec!["b"]),
        (true, false, vec!["c"]),
        (false, false, vec!["b", "c"]),
    ] {
        let mut machine = three();
        let out = machine.on_hangup_order(2, &stop(&["a", "b", "c"], spare_ringing, spare_calls), NOW);
        assert_eq!((refused(&out), hung_up(&out)), (vec!["a"], ends));
        assert!(machine.due(NOW + 500).effects.is_empty(), "it was withdrawn");
    }
}

#[test]
fn an_order_that_comes_behind_its_withdrawal_is_refused_also_after_a_restart() {
    let mut machine = ready(5);
    let out = machine.on_hangup_order(1, &stop(&["late"], true, true), NOW);
    assert_eq!(refused(&out), ["late"]);
    let past = out.changes.iter().filter_map(|change| match change {
        Change::PutPast(key, past) => Some((*key, *past)),
        _ => None,
    });
    let saved = Saved { past: past.collect(), terms: [("dialer".to_owned(), 3)].into(), ..Saved::default() };
    assert!(machine.on_hangup_order(2, &stop(&["late"], true, true), NOW).facts.is_empty(), "said once");
    let mut restarted = Machine::new("i-1", 5, saved);
    open_gates(&mut restarted);
    restarted.on_pbx_up(boot("b1", &[]), NOW);
    for machine in [&mut machine, &mut restarted] {
        let out = machine.on_dial(3, order(3, &["late"]), NOW);
        let reply = out.effects.iter().find_map(|effect| match effect {
            Effect::ReplyOrder { reply, .. } => Some(reply),
            _ => None,
        });
        assert_eq!(reply.unwrap().code, code::WITHDRAWN);
        assert!(machine.due(NOW).effects.is_empty() && machine.attempt("late").is_none());
    }
}

#[test]
fn a_former_leader_or_an_unreadable_order_withdraws_nothing() {
    let mut machine = three();
    let old = v1::HangupOrder { term: 2, ..stop(&["a"], true, true) };
    let odd = stop(&["no token"], true, true);
    for order in [old, odd] {
        let out = machine.on_hangup_order(2, &order, NOW);
        assert!(out.facts.is_empty() && machine.attempt("a").is_some());
    }
}

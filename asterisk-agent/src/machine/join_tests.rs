//! Somebody dialled in the middle of a call: only where a channel is kept, synced before it rings, its end told once. And a
//! call held while no logic answers, which goes on where it was.
#![allow(clippy::unwrap_used)]

use super::tests::{NOW, answer, asked, order, question, ready};
use super::*;
use crate::dialplan::{EndReport, LastVerb, Leg, Question};

fn up(may_bridge: bool, hold_s: u32) -> Machine {
    let mut machine = ready(2);
    let attempts = vec![v1::DialAttempt { may_bridge, hold_s, ..asked("a") }];
    machine.on_dial(1, v1::DialOrder { attempts, ..order(1, &[]) }, NOW);
    machine.due(NOW);
    machine.on_pbx_event(PbxEvent::Originated { attempt: "a".into(), answered: true, reason: 4 }, NOW);
    machine
}

#[allow(clippy::unnecessary_wraps)] // as the machine takes it
fn dials(reply: &str, address: &str, caller_id: &str) -> Result<v1::StepAnswer, String> {
    let bridge = v1::Bridge { address: address.into(), caller_id: caller_id.into() };
    Ok(v1::StepAnswer { bridge: Some(bridge), ..answer(reply, "transfer").unwrap() })
}

fn taken(out: &Output) -> &v1::StepTaken {
    let taken = |fact: &Fact| if let Body::StepTaken(_) = fact.body { Some(()) } else { None };
    let place = out.facts.iter().position(|fact| taken(fact).is_some()).unwrap();
    let Body::StepTaken(taken) = &out.facts[place].body else { panic!() };
    taken
}

fn told(out: &Output) -> Vec<(u32, &str, u32, u32, u32)> {
    let leg = |fact| match fact {
        &Fact { body: Body::BridgeEnded(ref leg), .. } => {
            Some((leg.step, leg.status.as_str(), leg.cause, leg.ring_ms, leg.talk_ms))
        }
        _ => None,
    };
    out.facts.iter().filter_map(leg).collect()
}

fn back(step: u32, status: &str) -> Question {
    let leg = Some(Leg { cause: 16, dialled_ms: 9_000, talk_ms: 7_500 });
    Question { leg, ..question(step, LastVerb::Dial, status, "") }
}

#[test]
fn a_leg_is_dialled_by_its_number_and_told_by_its_name() {
    let mut machine = up(true, 0);
    machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
    let out = machine.on_answer("a", 1, dials("dial|support|30|600", "+12025550188", ""));
    assert_eq!(taken(&out).reply, "dial|support|30|600");
    assert!(!format!("{:?}", out.facts).contains("550188"), "no number is in a fact");
    assert!(!format!("{out:?}").contains("+12025550188"), "{out:?}");
    let [join @ Effect::Join { call, step: 1, body, whom, trunk }] = out.effects.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!((call.as_str(), body.as_str(), trunk.as_str()), ("a", "dial|support|30|600", "trunk-a"));
    assert_eq!((whom.address.0.as_str(), whom.caller_id.0.as_str()), ("+12025550188", "+15550100000"));
    assert!(join.waits_for_sync(), "nobody rings before it is known that he may");
    let again = machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
    assert_eq!((again.effects.as_slice(), again.facts.len()), (std::slice::from_ref(join), 0));

    let out = machine.on_question(&back(2, "ANSWER"), NOW + 9_000);
    assert_eq!(told(&out), [(1, "ANSWER", 16, 1_500, 7_500)]);
    let Some(Effect::Ask(asked)) = out.effects.last() else { panic!("{out:?}") };
    assert_eq!(
        (asked.verb.as_str(), asked.status.as_str(), asked.state.as_str()),
        ("dial", "ANSWER", "transfer")
    );
    assert_eq!(told(&machine.on_question(&back(2, "ANSWER"), NOW + 9_300)), [], "once");
    let out = machine.on_answer("a", 2, answer("play|thanks|0", "thanks"));
    assert!(matches!(out.effects.as_slice(), [Effect::Answer { line: Some(_), .. }]), "{out:?}");
}

#[test]
fn who_hangs_up_while_two_are_joined_ends_both_and_the_leg_is_told() {
    for (status, leg, expected) in [
        ("ANSWER", Leg { cause: 0, dialled_ms: 3_000, talk_ms: 2_000 }, (1, "ANSWER", 0, 1_000, 2_000)),
        ("CANCEL", Leg { cause: 0, dialled_ms: 800, talk_ms: 0 }, (1, "CANCEL", 0, 800, 0)),
    ] {
        let mut machine = up(true, 0);
        machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
        machine.on_answer("a", 1, dials("dial|support|30|600", "queue-7", "+12025550100"));
        let report = EndReport {
            channel_id: "a".into(),
            step: 1,
            last_verb: LastVerb::Dial,
            dial: status.into(),
            leg: Some(leg),
            ..EndReport::default()
        };
        let (known, out) = machine.on_end_report(&report, NOW);
        assert!(known);
        assert_eq!(told(&out), [expected]);
        assert_eq!(told(&machine.on_end_report(&report, NOW).1), [], "once");
    }
}

#[test]
fn what_may_not_be_dialled_leads_to_the_fallback_with_its_reason() {
    let silent = answer("dial|support|30|600", "transfer");
    for (may_bridge, answer, why) in [
        (false, dials("dial|support|30|600", "+12025550188", ""), "keeps no channel"),
        (true, silent, "does not say whom"),
        (true, dials("dial|support|30|600", "${SHELL(id)}", ""), "no number and no name"),
        (true, dials("dial|support|30|600", "1,30,U(x)", ""), "no number and no name"),
        (true, dials("dial|support|30|600", "1@other", ""), "no number and no name"),
        (true, dials("dial|support|30|600", "1&PJSIP/2", ""), "no number and no name"),
        (true, dials("dial|support|30|600", "+12025550188", "a\"b <1>"), "no number and no name"),
        (true, dials("dial|support|30|600||other", "+12025550188", ""), "the node's to say"),
        (true, dials("dial|support|30|600|+1", "+12025550188", ""), "the node's to say"),
        (true, dials("dial|support|0|600", "+12025550188", ""), "the answer is no reply"),
        (true, dials("dial|support|30|99999", "+12025550188", ""), "the answer is no reply"),
    ] {
        let mut machine = up(may_bridge, 60);
        machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
        let out = machine.on_answer("a", 1, answer);
        assert_eq!((taken(&out).source, taken(&out).reply.as_str()), (2, "play|thanks|0"));
        assert!(taken(&out).reason.contains(why), "{}", taken(&out).reason);
        // An answer that cannot be used is no silence: the call is not held for another.
        machine.on_question(&question(2, LastVerb::Play, "SUCCESS", ""), NOW);
        let out = machine.on_answer("a", 2, Err("none".into()));
        assert_eq!(taken(&out).reply, "hangup|16", "{why}");
    }
}

#[test]
fn a_call_is_held_while_no_logic_answers_and_goes_on_where_it_was() {
    let mut machine = up(false, 6);
    machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
    machine.on_answer("a", 1, answer("gather|menu|1|5|1|none", "menu"));
    // The answer to the menu's key does not come: the fallback, then pauses, each with the same question.
    let mut asked = machine.on_question(&question(2, LastVerb::Gather, "OK", "3"), NOW);
    let mut replies = Vec::new();
    for step in 2..=4 {
        let Some(Effect::Ask(question_)) = asked.effects.last() else { panic!("{asked:?}") };
        let said = (question_.state.as_str(), question_.verb.as_str(), question_.digits.as_str());
        assert_eq!(said, ("menu", "gather", "3"), "step {step}");
        let out = machine.on_answer("a", step, Err("no answer in 800 ms".into()));
        replies.push((taken(&out).reply.clone(), taken(&out).source));
        let last = if step == 2 { (LastVerb::Play, "SUCCESS") } else { (LastVerb::Pause, "OK") };
        asked = machine.on_question(&question(step + 1, last.0, last.1, ""), NOW);
    }
    let pause = ("pause|2".to_owned(), 2);
    assert_eq!(replies, [("play|thanks|0".to_owned(), 2), pause.clone(), pause]);
    let out = machine.on_answer("a", 5, answer("play|more|0", "more"));
    let said = (taken(&out).source, taken(&out).reply.as_str(), taken(&out).input.as_str());
    assert_eq!(said, (1, "play|more|0", "OK 3"), "the key is not lost");
    assert_eq!(machine.attempt("a").unwrap().talk.digits, "3", "and counted once");
    // The next silence is held anew, as long as the flow says and no longer.
    let mut replies = Vec::new();
    for step in 6..=10 {
        machine.on_question(&question(step, LastVerb::Play, "SUCCESS", ""), NOW);
        replies.push(taken(&machine.on_answer("a", step, Err("no answer in 800 ms".into()))).reply.clone());
    }
    assert_eq!(replies, ["play|thanks|0", "pause|2", "pause|2", "pause|2", "hangup|16"]);
}

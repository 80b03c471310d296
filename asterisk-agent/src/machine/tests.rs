//! The rules of the node, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use asterism_proto::v1;

use super::*;
use crate::dialplan::{EndReport, LastVerb, Question};
use crate::{ami::reason, error::code};

pub(super) const NOW: u64 = 1_000_000;

pub(super) fn asked(id: &str) -> v1::DialAttempt {
    v1::DialAttempt {
        attempt: id.into(),
        campaign: "camp".into(),
        number: "+15550100123".into(),
        trunk: "trunk-a".into(),
        not_before_ms: NOW,
        not_after_ms: NOW + 2_000,
        ring_timeout_ms: 30_000,
        flow: "demo".into(),
        manifest: "m1".into(),
        caller_id: "+15550100000".into(),
        fallback: "play|thanks|0".into(),
        fields: vec![v1::ContactField { name: "language".into(), value: "de".into() }],
        ..v1::DialAttempt::default()
    }
}

pub(super) fn order(term: u64, ids: &[&str]) -> v1::DialOrder {
    v1::DialOrder { term, log_position: 1, attempts: ids.iter().map(|id| asked(id)).collect() }
}

pub(super) fn boot(id: &str, channels: &[(&str, bool)]) -> PbxUp {
    PbxUp {
        boot_id: id.into(),
        version: "pbx-sim 0.1.0".into(),
        channels: channels.iter().map(|(c, up)| ((*c).to_owned(), *up)).collect(),
        journal: vec![],
    }
}

pub(super) fn open_gates(machine: &mut Machine) {
    machine.on_gate(Gate::Admitted(true));
    machine.on_gate(Gate::Clock(true));
    machine.on_manifest("m1");
}

pub(super) fn ready(capacity: u32) -> Machine {
    let mut machine = Machine::new("i-1", capacity, Saved::default());
    open_gates(&mut machine);
    machine.on_pbx_up(boot("b1", &[]), NOW);
    machine
}

fn reply(out: &Output) -> &v1::OrderReply {
    out.effects
        .iter()
        .find_map(|effect| match effect {
            Effect::ReplyOrder { reply, .. } => Some(reply),
            _ => None,
        })
        .expect("an order is always answered")
}

pub(super) fn originates(out: &Output) -> usize {
    out.effects.iter().filter(|effect| matches!(effect, Effect::Originate(_))).count()
}

/// A machine with attempt `a` sent.
pub(super) fn sent() -> Machine {
    let mut machine = ready(2);
    machine.on_dial(1, order(1, &["a"]), NOW);
    assert_eq!(originates(&machine.due(NOW)), 1);
    machine
}

pub(super) fn answered() -> Machine {
    let mut machine = sent();
    let out = machine
        .on_pbx_event(PbxEvent::Originated { attempt: "a".into(), answered: true, reason: 4 }, NOW + 900);
    assert!(matches!(out.facts[0].body, Body::Answered(_)));
    machine
}

pub(super) fn question(step: u32, verb: LastVerb, status: &str, digits: &str) -> Question {
    Question {
        channel_id: "a".into(),
        step,
        last_verb: verb,
        status: status.into(),
        digits: digits.into(),
        ..Question::default()
    }
}

#[allow(clippy::unnecessary_wraps)] // as the machine takes it
pub(super) fn answer(reply: &str, next_state: &str) -> Result<v1::StepAnswer, String> {
    Ok(v1::StepAnswer {
        reply: reply.into(),
        next_state: next_state.into(),
        origin: "proc/logic-responder-x".into(),
        epoch: vec![1; 16],
        frame: 7,
        index: 2,
        ..v1::StepAnswer::default()
    })
}

pub(super) fn ended(out: &Output) -> &v1::AttemptEnded {
    match &out.facts.last().expect("a fact").body {
        Body::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_is_custody_before_it_is_a_call() {
    let mut machine = ready(2);
    let out = machine.on_dial(1, order(1, &["a"]), NOW);
    assert!(reply(&out).taken);
    assert!(matches!(out.facts[0].body, Body::Accepted(_)));
    assert_eq!(out.changes[0], Change::PutTerm("dialer".into(), 1));
    assert!(matches!(out.changes[1], Change::PutAttempt(..)));
    assert_eq!(machine.slots(), Slots { ringing: 1, up: 0, free: 1 });
    assert_eq!(machine.next_due_ms(), Some(NOW));

    let out = machine.due(NOW);
    assert!(matches!(&out.facts[0].body, Body::Originating(f) if f.boot_id == "b1"));
    let Effect::Originate(originate) = &out.effects[0] else { panic!() };
    assert_eq!((originate.number.0.as_str(), originate.trunk.as_str()), ("+15550100123", "trunk-a"));
    let Change::PutAttempt(_, saved) = &out.changes[0] else { panic!() };
    assert_eq!(saved.number, Number::default(), "the number leaves the store with the originate");
    assert!(machine.due(NOW + 1).is_empty(), "sent once");
}

#[test]
fn the_same_order_again_has_the_same_answer_and_no_effect() {
    let mut machine = ready(1);
    machine.on_dial(1, order(1, &["a"]), NOW);
    let full = machine.on_dial(2, order(1, &["b"]), NOW);
    assert_eq!(reply(&full).code, code::NO_SLOT);
    assert!(matches!(full.facts[0].body, Body::Refused(_)));
    for _ in 0..2 {
        let again = machine.on_dial(3, order(1, &["a"]), NOW + 9_000);
        assert!(reply(&again).taken && reply(&again).code.is_empty());
        let refused = machine.on_dial(4, order(1, &["b"]), NOW);
        assert_eq!(reply(&refused).code, code::NO_SLOT);
        assert!(again.facts.is_empty() && again.changes.is_empty());
        assert!(refused.facts.is_empty() && refused.changes.is_empty());
    }
}

#[test]
fn what_the_node_refuses() {
    type Bend = (&'static str, fn(&mut Machine), fn(&mut v1::DialOrder), &'static str, bool);
    let cases: [Bend; 14] = [
        ("old term", |m| drop(m.on_dial(0, order(5, &["x"]), NOW)), |_| (), code::FENCED, false),
        ("no term", |_| (), |o| o.term = 0, code::FENCED, false),
        ("no clock", |m| drop(m.on_gate(Gate::Clock(false))), |_| (), code::CLOCK, false),
        ("not admitted", |m| drop(m.on_gate(Gate::Admitted(false))), |_| (), code::NOT_ADMITTED, false),
        ("spool", |m| drop(m.on_gate(Gate::SpoolFull(true))), |_| (), code::SPOOL_FULL, false),
        ("empty", |_| (), |o| o.attempts.clear(), code::MALFORMED, false),
        ("bad id", |_| (), |o| o.attempts[0].attempt = "a.b".into(), code::MALFORMED, false),
        ("stopping", |m| drop(m.on_gate(Gate::Stopping(true))), |_| (), code::STOPPING, true),
        ("leaving", |m| drop(m.on_gate(Gate::Leaving)), |_| (), code::LEAVING, true),
        ("pbx", |m| drop(m.on_pbx_down("gone", NOW)), |_| (), code::PBX_DOWN, true),
        ("manifest", |_| (), |o| o.attempts[0].manifest = "m2".into(), code::NO_MANIFEST, true),
        ("expired", |_| (), |o| o.attempts[0].not_after_ms = NOW - 1, code::EXPIRED, true),
        ("too far", |_| (), |o| o.attempts[0].not_after_ms = NOW + WINDOW_MAX_MS + 1, code::MALFORMED, true),
        ("number", |_| (), |o| o.attempts[0].number = "+1555&SIP/x".into(), code::MALFORMED, true),
    ];
    for (name, bend_machine, bend_order, expected, is_fact) in cases {
        let mut machine = ready(2);
        bend_machine(&mut machine);
        let mut order = order(1, &["a"]);
        bend_order(&mut order);
        let out = machine.on_dial(1, order, NOW);
        assert_eq!(reply(&out).code, expected, "{name}");
        assert_eq!(reply(&out).taken, is_fact, "{name}");
        assert_eq!(
            out.facts.iter().filter(|f| matches!(f.body, Body::Refused(_))).count(),
            usize::from(is_fact),
            "{name}"
        );
        assert!(machine.attempt("a").is_none(), "{name}");
    }
}

#[test]
fn an_attempt_is_refused_when_its_window_passes_before_it_is_sent() {
    let mut machine = ready(2);
    machine.on_dial(1, order(1, &["a"]), NOW);
    machine.on_pbx_down("gone", NOW);
    assert!(machine.due(NOW + 10).is_empty(), "nothing is sent to a pbx that is away");
    let out = machine.due(NOW + 2_001);
    assert!(matches!(out.facts[0].body, Body::Refused(_)));
    assert_eq!(machine.past("a").unwrap().verdict, Verdict::Refused);
}

#[test]
fn a_failed_originate_ends_once_in_either_order() {
    let response = || PbxEvent::Originated { attempt: "a".into(), answered: false, reason: 0 };
    let hangup = || PbxEvent::Hangup { attempt: "a".into(), cause: 17, sip_status: 0 };
    for events in [[response(), hangup()], [hangup(), response()]] {
        let mut machine = sent();
        let [first, second] = events;
        assert!(machine.on_pbx_event(first.clone(), NOW + 5).facts.is_empty());
        let out = machine.on_pbx_event(second, NOW + 6);
        assert_eq!((ended(&out).reason, ended(&out).cause), (0, 17));
        assert!(machine.on_pbx_event(first, NOW + 7).is_empty());
        assert_eq!(machine.slots().free, 2);
    }
    // Only one half: complete after a moment.
    for (half, cause) in [(response(), 0), (hangup(), 17)] {
        let mut machine = sent();
        machine.on_pbx_event(half, NOW);
        assert!(machine.on_tick(NOW + 1, 0, SpoolView::default()).facts.iter().all(Fact::is_routine));
        let out = machine.on_tick(NOW + 1_500, 0, SpoolView::default());
        let Body::Ended(body) = &out.facts[0].body else { panic!() };
        assert_eq!((body.outcome, body.cause), (0, cause), "what it means is not the node's to say");
    }
}

#[test]
fn an_answered_call_ends_with_its_times_digits_and_state() {
    let mut machine = answered();
    machine.on_question(&question(1, LastVerb::Start, "", ""), NOW + 950);
    machine.on_answer("a", 1, answer("gather|menu|1|5|2|none", "menu"));
    machine.on_question(&question(2, LastVerb::Gather, "OK", "1"), NOW + 2_000);
    machine.on_answer("a", 2, answer("hangup|16", "done"));
    let report = EndReport {
        channel_id: "a".into(),
        step: 2,
        typed_ahead: "1".into(),
        cause: 16,
        ..EndReport::default()
    };
    assert!(machine.on_end_report(&report, NOW + 2_100).0);
    let hangup = PbxEvent::Hangup { attempt: "a".into(), cause: 16, sip_status: 0 };
    let body = ended(&machine.on_pbx_event(hangup, NOW + 2_900)).clone();
    assert_eq!(body.reason, reason::ANSWERED);
    assert_eq!(
        (body.ring_ms, body.talk_ms, body.digits.as_str(), body.path.as_str()),
        (900, 2_000, "1", "done")
    );
    assert!(machine.on_end_report(&report, NOW + 3_000).0, "told again: taken, no journal");
    assert!(!machine.on_end_report(&EndReport { channel_id: "x".into(), ..report }, NOW).0);
}

#[test]
fn the_dialplan_may_ask_before_the_pbx_says_answered() {
    let mut machine = sent();
    let out = machine.on_question(&question(1, LastVerb::Start, "", ""), NOW + 5);
    assert!(matches!(out.facts[0].body, Body::Answered(_)));
    let out = machine
        .on_pbx_event(PbxEvent::Originated { attempt: "a".into(), answered: true, reason: 4 }, NOW + 6);
    assert!(out.facts.is_empty());
    // Over before the response came.
    let mut machine = sent();
    machine.on_pbx_event(PbxEvent::Hangup { attempt: "a".into(), cause: 16, sip_status: 0 }, NOW + 5);
    let out = machine
        .on_pbx_event(PbxEvent::Originated { attempt: "a".into(), answered: true, reason: 4 }, NOW + 6);
    assert!(matches!(out.facts[0].body, Body::Answered(_)));
    assert_eq!(ended(&out).reason, reason::ANSWERED);
}

#[test]
fn one_answer_takes_effect_per_step() {
    let mut machine = answered();
    let first = question(1, LastVerb::Start, "", "");
    let Effect::Ask(asked) = &machine.on_question(&first, NOW).effects[0].clone() else { panic!() };
    assert_eq!(
        (asked.call.as_str(), asked.step, asked.state.as_str(), asked.manifest.as_str()),
        ("a", 1, "", "m1")
    );
    assert!(machine.on_question(&first, NOW).is_empty(), "asked again while under way");
    let out = machine.on_answer("a", 1, answer("play|hello|0", "greeted"));
    let Effect::Answer { line: Some(line), .. } = &out.effects[0] else { panic!() };
    assert_eq!(line, "1|1|play|m1/hello|0||||.");
    let Body::StepTaken(taken) = &out.facts[0].body else { panic!() };
    assert_eq!((taken.source, taken.reply.as_str()), (1, "play|hello|0"));
    assert_eq!(taken.decision.as_ref().unwrap().frame, 7);
    assert!(machine.on_answer("a", 1, answer("hangup|16", "x")).is_empty(), "a second answer is late");
    let again = machine.on_question(&first, NOW);
    assert_eq!(again.effects, out.effects);
    assert!(again.facts.is_empty());
    let old = machine.on_question(&question(2, LastVerb::Play, "SUCCESS", ""), NOW);
    let Effect::Ask(asked) = &old.effects[0] else { panic!() };
    assert_eq!(asked.state, "greeted");
    machine.on_answer("a", 2, answer("hangup|16", "x"));
    assert_eq!(
        machine.on_question(&first, NOW).effects,
        [Effect::Answer { call: "a".into(), step: 1, line: None }],
        "an older step is refused"
    );
}

#[test]
fn a_contacts_fields_go_with_each_question_and_are_bounded() {
    let mut machine = answered();
    let out = machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
    let [Effect::Ask(question)] = out.effects.as_slice() else { panic!("{out:?}") };
    assert_eq!(question.fields, [v1::ContactField { name: "language".into(), value: "de".into() }]);
    assert!(!format!("{machine:?}").contains("language"), "they are personal");
    let field = |bytes: usize| v1::ContactField { name: "n".into(), value: "x".repeat(bytes) };
    for (fields, taken) in [
        (vec![field(1_023)], true),
        (vec![field(1_024)], false),
        (vec![field(1); 32], true),
        (vec![field(1); 33], false),
    ] {
        let order =
            v1::DialOrder { attempts: vec![v1::DialAttempt { fields, ..asked("b") }], ..order(1, &[]) };
        let out = ready(2).on_dial(1, order, NOW);
        let refused = out.facts.iter().any(|fact| matches!(fact.body, Body::Refused(_)));
        assert_eq!(refused, !taken, "{:?}", out.facts);
    }
}

#[test]
fn without_a_usable_answer_the_call_follows_its_fallback_to_the_end() {
    let no_answers: [fn() -> Result<v1::StepAnswer, String>; 4] = [
        || Err("no answer in 800 ms".into()),
        || answer("system|rm", "s"),
        || answer("play|x|0", "state with spaces"),
        || Ok(v1::StepAnswer { code: "AST-Q001".into(), ..v1::StepAnswer::default() }),
    ];
    for none in no_answers {
        let mut machine = answered();
        for (step, line) in [(1, "1|1|play|m1/thanks|0||||."), (2, "1|2|hangup|16|||||.")] {
            machine.on_question(&question(step, LastVerb::Start, "", ""), NOW);
            let out =
                machine.on_answer("a", step, if step == 1 { none() } else { answer("play|more|0", "s") });
            let Body::StepTaken(taken) = &out.facts[0].body else { panic!() };
            assert_eq!(taken.source, 2);
            assert!(!taken.reason.is_empty() && taken.decision.is_none());
            assert_eq!(out.effects, [Effect::Answer { call: "a".into(), step, line: Some(line.into()) }]);
        }
    }
}

#[test]
fn a_call_nobody_ordered_is_sent_away_and_not_logged() {
    let mut machine = ready(1);
    let out = machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
    assert!(out.facts.is_empty());
    assert_eq!(
        out.effects,
        [Effect::Answer { call: "a".into(), step: 1, line: Some("1|1|hangup|16|||||.".into()) }]
    );
}

/// The store as it would be after a crash of a machine with these attempts.
fn crashed(machine: &Machine) -> Machine {
    let attempts = machine
        .attempts()
        .map(|(id, a)| (id.to_owned(), Attempt { watch: Watch::default(), ..a.clone() }))
        .collect::<BTreeMap<_, _>>();
    let saved = Saved { attempts, ready: Some("b1".into()), ..Saved::default() };
    let mut machine = Machine::new("i-1", 2, saved);
    open_gates(&mut machine);
    machine
}

#[test]
fn after_a_crash_live_channels_are_adopted_and_others_end_as_can_be_proved() {
    let journal = EndReport {
        channel_id: "a".into(),
        step: 3,
        cause: 16,
        typed_ahead: "2".into(),
        ..EndReport::default()
    };
    let uncertain = |out: &Output| out.facts.iter().any(|f| matches!(f.body, Body::Uncertain(_)));

    let mut adopted = crashed(&answered());
    let out = adopted.on_pbx_up(boot("b1", &[("a", true)]), NOW);
    assert!(out.facts.is_empty(), "{out:?}");
    assert_eq!(adopted.slots().up, 1);

    let mut picked_up_meanwhile = crashed(&sent());
    let out = picked_up_meanwhile.on_pbx_up(boot("b1", &[("a", true)]), NOW);
    assert!(matches!(out.facts[0].body, Body::Answered(_)));

    let mut told = crashed(&answered());
    let out = told.on_pbx_up(PbxUp { journal: vec![journal.clone()], ..boot("b1", &[]) }, NOW + 5_000);
    assert_eq!((ended(&out).reason, ended(&out).digits.as_str()), (reason::ANSWERED, "2"));

    let mut lost = crashed(&sent());
    assert!(uncertain(&lost.on_pbx_up(boot("b1", &[]), NOW)));
    assert_eq!(lost.past("a").unwrap().verdict, Verdict::Uncertain);
    let out = lost.on_dial(1, order(1, &["a"]), NOW);
    assert!(out.facts.is_empty(), "never dialled again by itself");

    let mut rebooted = crashed(&answered());
    let out = rebooted.on_pbx_up(boot("b2", &[("a", true)]), NOW);
    assert!(uncertain(&out), "another process has none of the old calls");
    assert!(matches!(out.facts[0].body, Body::NodeStopped(_)));
    assert!(out.facts.iter().any(|f| matches!(&f.body, Body::NodeReady(r) if r.boot_id == "b2")));

    let mut accepted = ready(2);
    accepted.on_dial(1, order(1, &["a"]), NOW);
    let mut accepted = crashed(&accepted);
    accepted.on_pbx_up(boot("b1", &[]), NOW);
    assert_eq!(originates(&accepted.due(NOW + 1)), 1, "its window holds");
}

#[test]
fn a_pbx_that_stays_away_leaves_its_calls_uncertain() {
    let mut machine = answered();
    let out = machine.on_pbx_down("connection lost", NOW);
    assert!(matches!(out.facts[0].body, Body::NodeStopped(_)));
    assert!(machine.on_pbx_down("again", NOW + 1).is_empty());
    assert!(
        machine.on_tick(NOW + PBX_LOST_MS - 1, 0, SpoolView::default()).facts.iter().all(Fact::is_routine)
    );
    let out = machine.on_tick(NOW + PBX_LOST_MS, 0, SpoolView::default());
    assert!(matches!(out.facts[0].body, Body::Uncertain(_)));
}

#[test]
fn a_list_that_misses_an_old_call_settles_it_and_a_young_one_not() {
    let mut machine = answered();
    assert!(machine.on_channels(&BTreeMap::new(), NOW + 5_000).is_empty());
    let out = machine.on_channels(&BTreeMap::new(), NOW + 20_000);
    assert!(matches!(out.facts[0].body, Body::Uncertain(_)));
}

#[test]
fn hang_up_orders_refuse_what_was_not_sent_and_hang_up_the_rest() {
    let mut machine = sent();
    let mut later = order(1, &["b"]);
    later.attempts[0].not_before_ms = NOW + 500;
    machine.on_dial(1, later, NOW);
    let stop = v1::HangupOrder { term: 1, campaign: "camp".into(), ..v1::HangupOrder::default() };
    let out = machine.on_hangup_order(2, &stop, NOW);
    assert!(out.effects.contains(&Effect::Hangup { attempt: "a".into() }));
    assert!(matches!(&out.facts[0].body, Body::Refused(r) if r.attempt == "b"));
    machine.on_pbx_down("gone", NOW);
    let out = machine.on_pbx_up(boot("b1", &[("a", true)]), NOW);
    assert!(out.effects.contains(&Effect::Hangup { attempt: "a".into() }), "asked of a pbx that was away");
    let other = v1::HangupOrder { term: 1, campaign: "other".into(), ..v1::HangupOrder::default() };
    assert_eq!(machine.on_hangup_order(3, &other, NOW).effects.len(), 1);
}

#[test]
fn a_drained_node_is_empty_when_a_checkpoint_covers_it() {
    let mut machine = answered();
    let drain = v1::DrainOrder { term: 1, drain: 3, undrain: false };
    assert!(reply(&machine.on_drain(1, &drain)).taken);
    assert_eq!(machine.why_not_ready(), Some("draining"));
    assert_eq!(reply(&machine.on_dial(2, order(1, &["b"]), NOW)).code, code::DRAINING);
    let open = SpoolView { unpublished: true, uncovered_ms: Some(NOW), ..SpoolView::default() };
    let asks = |out: &Output| out.effects.contains(&Effect::RequestCheckpoint);
    assert!(!asks(&machine.on_tick(NOW, 0, SpoolView { unpublished: false, ..open })), "a call is up");
    machine.on_pbx_event(PbxEvent::Hangup { attempt: "a".into(), cause: 16, sip_status: 0 }, NOW + 1);
    assert!(!asks(&machine.on_tick(NOW + 2, 0, open)), "facts are on their way");
    assert!(asks(&machine.on_tick(NOW + 3, 0, SpoolView { unpublished: false, ..open })));
    let out = machine.on_tick(NOW + 4, 0, SpoolView { settled: true, ..SpoolView::default() });
    assert!(matches!(&out.facts[0].body, Body::NodeEmpty(e) if e.drain == 3));
    assert_eq!(machine.state_word(), "empty");
    let again = machine.on_tick(NOW + 5, 0, SpoolView { settled: true, ..SpoolView::default() });
    assert!(again.facts.is_empty(), "said once");
    machine.on_drain(3, &v1::DrainOrder { term: 1, drain: 3, undrain: true });
    assert_eq!(machine.state_word(), "ready");
    let stale = machine.on_drain(4, &v1::DrainOrder { term: 1, drain: 2, undrain: false });
    assert!(!reply(&stale).taken);
    assert_eq!(machine.state_word(), "ready");
}

#[test]
fn ready_is_said_once_for_each_pbx_process() {
    let mut machine = Machine::new("i-1", 2, Saved::default());
    let readies = |out: &Output| out.facts.iter().filter(|f| matches!(f.body, Body::NodeReady(_))).count();
    assert_eq!(readies(&machine.on_pbx_up(boot("b1", &[]), NOW)), 0);
    assert_eq!(readies(&machine.on_gate(Gate::Admitted(true))), 0);
    assert_eq!(readies(&machine.on_gate(Gate::Clock(true))), 1);
    assert_eq!(readies(&machine.on_gate(Gate::Clock(true))), 0);
    machine.on_pbx_down("lost", NOW);
    assert_eq!(readies(&machine.on_pbx_up(boot("b1", &[]), NOW)), 1);
    let mut restarted = Machine::new("i-1", 2, Saved { ready: Some("b1".into()), ..Saved::default() });
    open_gates(&mut restarted);
    assert_eq!(readies(&restarted.on_pbx_up(boot("b1", &[]), NOW)), 0, "the log knows");
}

#[test]
fn load_is_said_every_ten_seconds_and_on_change() {
    let mut machine = ready(2);
    let loads = |out: &Output| out.facts.iter().filter(|f| f.is_routine()).count();
    assert_eq!(loads(&machine.on_tick(NOW, 5, SpoolView::default())), 1);
    assert_eq!(loads(&machine.on_tick(NOW + 1, 5, SpoolView::default())), 0);
    assert_eq!(loads(&machine.on_tick(NOW + LOAD_EVERY_MS, 5, SpoolView::default())), 1);
    machine.on_gate(Gate::SpoolFull(true));
    let out = machine.on_tick(NOW + LOAD_EVERY_MS + 1, 5, SpoolView::default());
    let Body::NodeLoad(load) = &out.facts[0].body else { panic!() };
    assert_eq!(load.free_slots, 0, "a node that takes nothing has no free slot");
}

//! Variables travel with the call, tags with the step; neither is taken from an answer that could not have made them.
#![allow(clippy::unwrap_used)]

use asterism_proto::v1;

use super::tests::{NOW, answer, answered, asked as dialled, order, question, ready};
use super::*;
use crate::dialplan::LastVerb;

fn var(name: &str, value: &str) -> v1::ContactField {
    v1::ContactField { name: name.into(), value: value.into() }
}

/// The question that goes to the responder.
fn asked(out: &Output) -> &v1::StepQuestion {
    let asked = out.effects.iter().find_map(|effect| match effect {
        Effect::Ask(question) => Some(question),
        _ => None,
    });
    asked.unwrap()
}

fn taken(out: &Output) -> &v1::StepTaken {
    match &out.facts[0].body {
        Body::StepTaken(taken) => taken,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_an_answer_sets_comes_with_the_next_question_and_its_tags_are_told() {
    let mut machine = answered();
    let first = machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
    assert!(asked(&first).vars.is_empty());
    let mut set = answer("gather|menu|4|5|1|#", "pin").unwrap();
    set.vars = vec![var("language", "de")];
    set.tags = vec!["german".into()];
    assert_eq!(taken(&machine.on_answer("a", 1, Ok(set))).tags, ["german"]);
    let second = machine.on_question(&question(2, LastVerb::Gather, "OK", "1234"), NOW);
    assert_eq!(asked(&second).vars, [var("language", "de")]);
    // Those of an answer are all there are.
    machine.on_answer("a", 2, answer("pause|1", "pin"));
    let third = machine.on_question(&question(3, LastVerb::Pause, "OK", ""), NOW);
    assert!(asked(&third).vars.is_empty());
}

#[test]
fn a_call_plays_in_the_language_its_flow_says_else_in_that_of_its_callee() {
    let said = |out: &Output| {
        let line = |effect: &Effect| match effect {
            Effect::Answer { line, .. } => line.clone(),
            _ => None,
        };
        let line = out.effects.iter().find_map(line).unwrap();
        line.rsplit('|').next().unwrap().to_owned()
    };
    for (callee, var_of_flow, expected) in [
        ("", None, "."),
        ("fr", None, "fr."),
        ("fr", Some("de_AT"), "de_AT."),
        ("fr", Some("../x"), "fr."),
        ("../x", None, "."),
    ] {
        let mut machine = ready(2);
        let attempts = vec![v1::DialAttempt { language: callee.into(), ..dialled("a") }];
        machine.on_dial(1, v1::DialOrder { attempts, ..order(1, &[]) }, NOW);
        machine.due(NOW);
        machine.on_pbx_event(PbxEvent::Originated { attempt: "a".into(), answered: true, reason: 4 }, NOW);
        machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
        let mut played = answer("play|menu|0", "pin").unwrap();
        played.vars = var_of_flow.map(|value| var("language", value)).into_iter().collect();
        assert_eq!(said(&machine.on_answer("a", 1, Ok(played))), expected);
        // So does what a node says alone.
        machine.on_question(&question(2, LastVerb::Play, "SUCCESS", ""), NOW);
        assert_eq!(said(&machine.on_answer("a", 2, Err("nobody answers".into()))), expected);
    }
}

#[test]
fn variables_and_tags_that_no_flow_could_have_made_are_no_answer() {
    type Bent = fn(&mut v1::StepAnswer);
    let bent: [Bent; 6] = [
        |answer| answer.vars = vec![var("${SHELL}", "x")],
        |answer| answer.vars = vec![var("pin", &"1".repeat(65))],
        |answer| answer.vars = vec![var("pin", "1\r\nAction: Originate")],
        |answer| answer.vars = (0..17).map(|n| var(&format!("v{n}"), "x")).collect(),
        |answer| answer.tags = vec!["Very Angry".into()],
        |answer| answer.tags = vec!["angry".into(); 9],
    ];
    for (case, bend) in bent.into_iter().enumerate() {
        let mut machine = answered();
        machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
        let mut wrong = answer("pause|1", "s").unwrap();
        bend(&mut wrong);
        let out = machine.on_answer("a", 1, Ok(wrong));
        assert_eq!((case, taken(&out).source, taken(&out).tags.len()), (case, 2, 0), "the fallback");
    }
}

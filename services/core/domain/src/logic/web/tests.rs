//! Answers of back ends: what passes, and that nothing else does.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Map, json};

use super::reader::MAX_PROBLEMS;
use super::*;
use crate::logic::{Address, MAX_TAGS, MAX_VARS, is_name};

fn prompts() -> BTreeSet<String> {
    ["hello", "menu", "bye"].map(str::to_owned).into()
}

fn states() -> BTreeMap<String, usize> {
    BTreeMap::from([("lost".to_owned(), 0)])
}

fn judged(answer: &Value) -> Result<WebReply, Vec<ReplyProblem>> {
    let support = Destination { address: Address::parse("+12025550188").unwrap(), caller_id: None };
    let destinations = BTreeMap::from([("support".to_owned(), support)]);
    let fields = &["tier".to_owned()];
    read(answer, Allowed { prompts: &prompts(), states: &states(), fields, destinations: &destinations })
}

fn problem(answer: &Value) -> String {
    judged(answer).unwrap_err()[0].to_string()
}

#[test]
fn an_answer_with_everything_is_read() {
    let reply = judged(&json!({
        "do": [
            {"set": {"language": "de", "asked": "1"}},
            {"tag": "german"}, {"tag": "german"},
            {"gather": {"prompts": ["hello", "menu"], "max_digits": 2, "finish_key": ""}}
        ],
        "state": "menu",
        "cache": {"for_s": 60, "by": ["digits", "vars.language"], "stale_s": 600}
    }))
    .unwrap();
    assert_eq!(reply.set.len(), 2);
    assert_eq!(
        (reply.tags.as_slice(), reply.kept.for_s, reply.kept.stale_s),
        (&["german".to_owned()][..], 60, 600)
    );
    assert!(matches!(&reply.kept.by, Parts::These(parts) if parts.len() == 2), "{reply:?}");
    let Follows::Verb(verb, state) = reply.then else { panic!("no verb") };
    assert_eq!((verb.encode().unwrap().as_str(), state.as_str()), ("gather|hello&menu|2|5|1|none", "menu"));
    let goto = judged(&json!({"do": [{"goto": "lost"}]})).unwrap();
    assert_eq!(goto.then, Follows::Goto("lost".into()));
    for (answer, text) in [
        (json!({"do": [{"hangup": {}}]}), "hangup|16"),
        (json!({"do": [{"optout": {"prompts": ["bye"]}}]}), "optout|bye"),
        (json!({"do": [{"dial": {"to": "support"}}], "state": "a"}), "dial|support|30|3600"),
        (json!({"do": [{"pause": {"duration_s": 3}}], "state": "a"}), "pause|3"),
        (json!({"do": [{"record": {"max_s": 60}}], "state": "a"}), "record|60|3|#"),
        (
            json!({"do": [{"record": {"max_s": 9, "silence_s": 0, "finish_key": "any"}}], "state": "a"}),
            "record|9|0|any",
        ),
        (json!({"do": [{"play": {"prompts": ["bye"], "barge": true}}], "state": "a"}), "play|bye|1"),
        (
            json!({"do": [{"say": {"number": "42", "barge": true}}], "state": "a"}),
            "say|en/digits/40&en/digits/2|1",
        ),
    ] {
        let Follows::Verb(verb, _) = judged(&answer).unwrap().then else { panic!("no verb") };
        assert_eq!(verb.encode().unwrap(), text);
    }
}

#[test]
fn what_no_parts_can_say_is_refused() {
    for (answer, expected) in [
        (
            json!({"do": [{"sing": {}}], "state": "a"}),
            "AST-Q107 do[0].sing: no verb; there are play, gather, say",
        ),
        (
            json!({"do": [{"say": {}}], "state": "a"}),
            "AST-Q107 do[0].say: one of digits, number, date and money",
        ),
        (
            json!({"do": [{"say": {"number": "many"}}], "state": "a"}),
            "AST-Q105 do[0].say.number: no value of this kind",
        ),
        (
            json!({"do": [{"say": {"number": 12}}], "state": "a"}),
            "AST-Q103 do[0].say.number: a text is needed",
        ),
        (
            json!({"do": [{"say": {"money": "1", "currency": "eur"}}], "state": "a"}),
            "AST-Q105 do[0].say: Asterisk's own sounds know no currency",
        ),
        (
            json!({"do": [{"say": {"money": "1", "currency": "eur", "sounds": "say"}}], "state": "a"}),
            "AST-Q108 do[0].say: the flow does not declare a prompt say-eur-one",
        ),
    ] {
        let found = problem(&answer);
        assert!(found.starts_with(expected), "{answer}: {found}");
    }
}

#[test]
fn everything_else_is_refused_with_place_and_reason() {
    for (answer, expected) in [
        (json!([]), "AST-Q103: an object is needed here, this is a list"),
        (json!({}), "AST-Q104 do: the list of things to do is missing"),
        (json!({"do": []}), "AST-Q105 do: 1 to 16 things to do are allowed"),
        (
            json!({"do": [{"hangup": {}, "play": {}}]}),
            "AST-Q107 do[0]: 2 keys; each thing to do has one verb",
        ),
        (
            json!({"do": [{"hangup": {}}, {"hangup": {}}]}),
            "AST-Q107 do[0]: only set and tag may stand before the last thing to do",
        ),
        (
            json!({"do": [{"tag": "a"}]}),
            "AST-Q107 do[0]: the last thing to do is a verb that the caller notices",
        ),
        (
            json!({"do": [{"pause": {"duration_s": 1}}]}),
            "AST-Q104 state: the state of the next question is missing",
        ),
        (json!({"do": [{"goto": "lost"}], "state": "a"}), "AST-Q107 state: goto names the state"),
        (json!({"do": [{"goto": "nowhere"}]}), "AST-Q109 do[0].goto: the flow has no state nowhere"),
        (
            json!({"do": [{"play": {"prompts": ["${SHELL}"]}}], "state": "a"}),
            "AST-Q106 do[0].play.prompts[0]: names are",
        ),
        (
            json!({"do": [{"play": {"prompts": ["other"]}}], "state": "a"}),
            "AST-Q108 do[0].play.prompts[0]: the flow does not declare a prompt other",
        ),
        (
            json!({"do": [{"play": {"prompts": "hello"}}], "state": "a"}),
            "AST-Q103 do[0].play.prompts: a list",
        ),
        (json!({"do": [{"hangup": {"cause": 128}}]}), "AST-Q105 do[0].hangup.cause: 1 to 127 is allowed"),
        (json!({"do": [{"hangup": {"cause": 16.5}}]}), "AST-Q105 do[0].hangup.cause: 1 to 127 is allowed"),
        (
            json!({"do": [{"hangup": {"couse": 16}}]}),
            "AST-Q102 do[0].hangup.couse: no key here; there are cause",
        ),
        (json!({"do": [{"set": {"a b": "x"}}, {"hangup": {}}]}), "AST-Q106 do[0].set.ab: names are"),
        (json!({"do": [{"set": {"a": 1}}, {"hangup": {}}]}), "AST-Q103 do[0].set.a: a text is needed here"),
        (
            json!({"do": [{"set": {"a": "x".repeat(65)}}, {"hangup": {}}]}),
            "AST-Q105 do[0].set.a: a value has",
        ),
        (
            json!({"do": [{"gather": {"finish_key": "##"}}], "state": "a"}),
            "AST-Q105 do[0].gather.finish_key: one of 0-9, * and #",
        ),
        (
            json!({"do": [{"dial": {"to": "boss"}}], "state": "a"}),
            "AST-Q110 do[0].dial.to: the flow describes no destination boss",
        ),
        (
            json!({"do": [{"dial": {"to": "+12025550188"}}], "state": "a"}),
            "AST-Q106 do[0].dial.to: names are",
        ),
        (json!({"do": [{"dial": {}}], "state": "a"}), "AST-Q104 do[0].dial.to: the destination is missing"),
        (
            json!({"do": [{"hangup": {}}], "cache": {"for_s": 0}}),
            "AST-Q105 cache.for_s: 1 to 86400 is allowed",
        ),
        (
            json!({"do": [{"hangup": {}}], "cache": {"for_s": 1, "by": ["call"]}}),
            "AST-Q106 cache.by[0]: a part of the question",
        ),
        (
            json!({"do": [{"hangup": {}}], "cache": {"for_s": 1, "by": ["fields.tier", "fields.Tier"]}}),
            "AST-Q105 cache.by[1]: the flow does not tell this field",
        ),
        (
            json!({"do": [{"hangup": {}}], "cache": {"for_s": 1, "stale_s": 86_401}}),
            "AST-Q105 cache.stale_s: 0 to 86400 is allowed",
        ),
    ] {
        let found = problem(&answer);
        assert!(found.starts_with(expected), "{answer}: {found}");
    }
    let many: Vec<Value> =
        (0..16).map(|n| json!({"set": {format!("v{n}"): "x", format!("w{n}"): "y"}})).collect();
    assert!(problem(&json!({"do": many})).contains("a call has at most 16 variables"));
    let noisy: Map<String, Value> = (0..500).map(|n| (format!("k{n}"), Value::Null)).collect();
    assert_eq!(judged(&Value::Object(noisy)).unwrap_err().len(), MAX_PROBLEMS);
}

/// Values a back end could send, near the schema.
fn near() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(vec![
        "do",
        "state",
        "cache",
        "play",
        "gather",
        "pause",
        "hangup",
        "optout",
        "record",
        "max_s",
        "set",
        "tag",
        "goto",
        "prompts",
        "barge",
        "max_digits",
        "timeout_s",
        "attempts",
        "finish_key",
        "duration_s",
        "cause",
        "dial",
        "to",
        "ring_s",
        "talk_s",
        "support",
        "for_s",
        "by",
        "hello",
        "lost",
        "${x}",
        "a|b",
        "\u{0}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (0u32..40).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_comes_is_refused_or_is_a_verb_the_dialplan_takes(list in proptest::collection::vec(near(), 0..3), state in near()) {
        let answer = json!({"do": list, "state": state});
        match judged(&answer) {
            Err(problems) => prop_assert!(!problems.is_empty() && problems.len() <= MAX_PROBLEMS),
            Ok(reply) => {
                prop_assert!(reply.set.len() <= MAX_VARS && reply.tags.len() <= MAX_TAGS);
                if let Follows::Verb(verb, state) = reply.then {
                    prop_assert!(verb.encode().is_ok() && is_name(&state));
                }
            }
        }
    }
}

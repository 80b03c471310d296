//! `compose/logic/openapi.json` says what the code does: each example passes the code's own schema, the question is the code's
//! own, and over many made-up answers both say the same, but for what a schema cannot say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use asterism_domain::logic::web::WebQuestion;
use asterism_domain::logic::{Fields, Flow};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const FILE: &str = include_str!("../../../compose/logic/openapi.json");
/// What is beyond a schema: the order of things and what is missing for it, sums, bytes, and what the flow itself has.
const BEYOND: [&str; 6] = ["AST-Q104", "AST-Q105", "AST-Q107", "AST-Q108", "AST-Q109", "AST-Q110"];

fn file() -> Value {
    serde_json::from_str(FILE).unwrap()
}

fn flow() -> Flow {
    Flow::parse(
        "name = \"survey\"\nfallback = \"end\"\n[backend]\nkind = \"http\"\nurl = \"http://127.0.0.1/next\"\n\
         prompts = [\"q1\", \"welcome\", \"bye\"]\nfields = [\"tier\"]\n\
         [destinations.support]\nnumber = \"+12025550188\"\n[states.end]\nhangup = {}\n",
    )
    .unwrap()
}

/// As much of JSON Schema as the file uses; a word it does not know fails the test.
fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
    let schema = schema.as_object().unwrap();
    let each = |list: &Value| list.as_array().unwrap().clone();
    schema.iter().all(|(word, rule)| match word.as_str() {
        "description" | "default" => true,
        "$ref" => fits(root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value, root),
        "oneOf" => each(rule).iter().filter(|one| fits(one, value, root)).count() == 1,
        "enum" => each(rule).contains(value),
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            other => panic!("type {other}"),
        },
        "required" => each(rule).iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "properties" => object(value)
            .iter()
            .all(|(name, value)| rule.get(name).is_none_or(|rule| fits(rule, value, root))),
        "additionalProperties" => {
            let known = schema.get("properties").map(object).unwrap_or_default();
            let more = object(value).into_iter().filter(|(name, _)| !known.contains_key(name));
            let mut more = more.map(|(_, value)| rule.is_object() && fits(rule, &value, root));
            more.all(|fits| fits)
        }
        "propertyNames" => object(value).keys().all(|name| fits(rule, &json!(name), root)),
        "maxProperties" => object(value).len() as u64 <= rule.as_u64().unwrap(),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|item| fits(rule, item, root))),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
        "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
        "maximum" => value.as_u64().is_none_or(|number| number <= rule.as_u64().unwrap()),
        "maxLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap())
        }
        "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
        other => panic!("the test does not know {other}"),
    })
}

/// The patterns of the file.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[a-z0-9-]{1,64}$" => asterism_domain::logic::is_name(text),
        "^[a-z0-9-]{1,12}$" => asterism_domain::logic::is_name(text) && text.len() <= 12,
        "^(digits|status|verb|campaign|(vars|fields)\\..{1,64})$" => {
            let named = text.strip_prefix("vars.").or_else(|| text.strip_prefix("fields."));
            named.map_or(matches!(text, "digits" | "status" | "verb" | "campaign"), |name| {
                (1..=64).contains(&name.chars().count())
            })
        }
        other => panic!("the test does not know the pattern {other}"),
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn answer_fits(root: &Value, value: &Value) -> bool {
    fits(&root["components"]["schemas"]["Answer"], value, root)
}

#[test]
fn each_example_is_an_answer_and_there_is_one_for_every_verb() {
    let root = file();
    let content = &root["paths"]["/next"]["post"]["responses"]["200"]["content"]["application/json"];
    let mut verbs = BTreeSet::new();
    for (name, example) in object(&content["examples"]) {
        let answer = &example["value"];
        assert!(answer_fits(&root, answer), "{name}");
        flow().read_reply(answer).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        verbs.extend(
            answer["do"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|action| object(action).into_iter().map(|(name, _)| name)),
        );
    }
    let refused = flow().read_reply(&json!({"do": [{"nothing": {}}]})).unwrap_err();
    let known = refused[0].reason.split("there are ").nth(1).expect("the verbs there are");
    let known: BTreeSet<String> = known.split(", ").map(str::to_owned).collect();
    assert_eq!(verbs, known, "the code's verbs have an example each");
    let schemas = object(&root["components"]["schemas"]);
    let listed = schemas["Action"]["oneOf"].as_array().unwrap().len();
    assert_eq!(listed, known.len());
}

#[test]
fn the_question_is_the_one_that_is_asked() {
    let root = file();
    let (fields, vars) = (Fields::from([("tier".to_owned(), "gold".to_owned())]), Fields::new());
    let question = WebQuestion {
        version: 1,
        fleet: "prod",
        campaign: "spring",
        flow: "survey",
        call: "spring-17-1",
        step: 2,
        state: "language",
        verb: "gather",
        status: "OK",
        digits: "2",
        fields: &fields,
        vars: &vars,
    };
    let asked = serde_json::to_value(&question).unwrap();
    assert!(fits(&root["components"]["schemas"]["Question"], &asked, &root), "{asked}");
    assert_eq!(
        root["paths"]["/next"]["post"]["requestBody"]["content"]["application/json"]["example"],
        asked
    );
    let names: BTreeSet<String> = object(&asked).into_iter().map(|(name, _)| name).collect();
    let known: BTreeSet<String> = object(&root["components"]["schemas"]["Question"]["properties"])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, known);
}

/// A value as a web developer might get it right or wrong.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![
            -1_i64, 0, 1, 5, 9, 10, 16, 32, 33, 60, 61, 127, 128, 600, 601, 86_400, 86_401
        ])
        .prop_map(Value::from),
        Just(json!(1.5)),
        prop::sample::select(vec![
            "",
            "#",
            "##",
            "q1",
            "welcome",
            "nowhere",
            "end",
            "Q1",
            "a b",
            "\u{e4}",
            "vars.a",
            "fields.tier"
        ])
        .prop_map(Value::from),
        "[a-z]{63,66}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            prop::collection::btree_map("[a-z ]{1,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A member that is well, wrong or not there.
fn member(name: &'static str, well: Vec<Value>) -> impl Strategy<Value = Option<(String, Value)>> {
    let well = prop::sample::select(well);
    let value = prop_oneof![4 => well, 1 => any_value()];
    prop_oneof![3 => value.prop_map(move |value| Some((name.to_owned(), value))), 1 => Just(None)]
}

fn spec() -> impl Strategy<Value = Value> {
    let prompts = vec![json!(["q1"]), json!(["q1", "welcome"]), json!([]), json!(vec!["q1"; 9])];
    let members = (
        member("prompts", prompts),
        member("barge", vec![json!(true)]),
        member("max_digits", vec![json!(1), json!(32)]),
        member("timeout_s", vec![json!(8)]),
        member("finish_key", vec![json!(""), json!("#")]),
        member("cause", vec![json!(16)]),
        member("duration_s", vec![json!(3)]),
        member("to", vec![json!("support"), json!("sales")]),
        member("ring_s", vec![json!(20)]),
        member("max_s", vec![json!(60)]),
        0_u32..1024,
    );
    members.prop_map(|(a, b, c, d, e, f, g, h, i, j, keep)| {
        let all = [a, b, c, d, e, f, g, h, i, j];
        let kept = all.into_iter().enumerate().filter(|(at, _)| keep & (1 << at) != 0);
        Value::Object(kept.filter_map(|(_, member)| member).collect())
    })
}

fn action() -> impl Strategy<Value = Value> {
    let verb = prop::sample::select(vec![
        "set", "tag", "play", "gather", "say", "pause", "hangup", "optout", "dial", "record", "goto",
        "system",
    ]);
    let well = prop::sample::select(vec![
        json!({"play": {"prompts": ["q1"]}}),
        json!({"gather": {"prompts": [], "attempts": 3}}),
        json!({"pause": {"duration_s": 1}}),
        json!({"hangup": {}}),
        json!({"optout": {}}),
        json!({"dial": {"to": "support"}}),
        json!({"dial": {"to": "nobody"}}),
        json!({"record": {"max_s": 60, "finish_key": "any"}}),
        json!({"say": {"date": "2026-12-03", "year": true}}),
        json!({"say": {"number": "4x"}}),
        json!({"say": {"number": "4", "digits": "4"}}),
        json!({"say": {"digits": "4", "sounds": "abcdefghijklm"}}),
        json!({"say": {"money": "4", "sounds": "q"}}),
        json!({"goto": "end"}),
        json!({"tag": "a"}),
        json!({"set": {"a": "b"}}),
    ]);
    prop_oneof![
        3 => well,
        3 => (verb.clone(), spec()).prop_map(|(verb, spec)| json!({ verb: spec })),
        2 => (verb, any_value()).prop_map(|(verb, value)| json!({ verb: value })),
        1 => any_value(),
    ]
}

/// Actions whose order is right: what takes no time, then one that does.
fn in_order() -> impl Strategy<Value = Vec<Value>> {
    let quick = prop::sample::select(vec![json!({"tag": "a"}), json!({"set": {"a": "b"}})]);
    let last = prop::sample::select(vec![
        json!({"play": {"prompts": ["q1"], "barge": true}}),
        json!({"gather": {"prompts": ["welcome"], "max_digits": 2}}),
        json!({"pause": {"duration_s": 1}}),
        json!({"hangup": {}}),
        json!({"optout": {}}),
        json!({"dial": {"to": "support", "ring_s": 20}}),
        json!({"record": {"max_s": 60, "silence_s": 0}}),
        json!({"say": {"number": "42"}}),
        json!({"goto": "end"}),
    ]);
    (prop::collection::vec(quick, 0..3), last).prop_map(|(mut actions, last)| {
        actions.push(last);
        actions
    })
}

fn answer() -> impl Strategy<Value = Value> {
    let cache = (
        member("for_s", vec![json!(60)]),
        member("by", vec![json!([]), json!(["fields.tier", "vars.a"]), json!(["digits"])]),
        member("stale_s", vec![json!(60)]),
    )
        .prop_map(|(a, b, c)| Value::Object([a, b, c].into_iter().flatten().collect()));
    (
        prop_oneof![2 => prop::collection::vec(action(), 0..5), 1 => in_order()],
        member("state", vec![json!("next")]),
        prop::option::of(prop_oneof![3 => cache, 1 => any_value()]),
        prop::option::weighted(0.1, any_value()),
    )
        .prop_map(|(actions, state, cache, other)| {
            let mut answer = json!({ "do": actions });
            answer.as_object_mut().unwrap().extend(state);
            if let Some(cache) = cache {
                answer["cache"] = cache;
            }
            if let Some(other) = other {
                answer["other"] = other;
            }
            answer
        })
}

#[test]
fn the_file_and_the_code_agree_about_every_answer() {
    let (root, flow) = (file(), flow());
    let (mut passed, mut beyond, mut refused) = (0, 0, 0);
    let config = ProptestConfig {
        cases: 4_000.max(ProptestConfig::default().cases),
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let counts = std::cell::RefCell::new((&mut passed, &mut beyond, &mut refused));
    runner
        .run(&answer(), |answer| {
            let mut counts = counts.borrow_mut();
            match (answer_fits(&root, &answer), flow.read_reply(&answer)) {
                (true, Ok(_)) => *counts.0 += 1,
                (true, Err(problems)) => {
                    let explained = problems.iter().all(|problem| BEYOND.contains(&problem.code));
                    prop_assert!(explained, "only the code refuses {}: {:?}", answer, problems);
                    *counts.1 += 1;
                }
                (false, Err(problems)) => {
                    prop_assert!(problems.iter().all(|problem| !problem.reason.is_empty()));
                    *counts.2 += 1;
                }
                (false, Ok(_)) => prop_assert!(false, "only the file refuses {}", answer),
            }
            Ok(())
        })
        .unwrap();
    assert!(
        passed > 100 && beyond > 100 && refused > 100,
        "{passed} passed, {beyond} beyond, {refused} refused"
    );
}

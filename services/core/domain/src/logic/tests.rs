//! What holds for every flow and every text.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::format_push_string, clippy::format_collect)] // documents of a few lines, built to be read

use proptest::prelude::*;

use super::*;

/// [`super::next`] of a call without variables.
fn next(flow: &Flow, state: &str, status: &str, digits: &str, fields: &Fields) -> Next {
    super::next(flow, &Asked { state, status, digits, fields, vars: &Fields::new() })
}

const EVERY_VERB: &str = include_str!("../../tests/flows/every-verb.toml");
const DEMO: &str = include_str!("../../../../../compose/demo/flow.toml");

/// Two matches in a row, the second by a field nobody has.
const MATCH: &str = r#"
name = "match"
start = "language"
fallback = "bye"
[states.language]
match = "Language"
on = { "de" = "hallo", "Deutsch" = "hallo", "" = "vip" }
otherwise = "hello"
[states.vip]
match = "vip"
on = { "yes" = "hallo" }
otherwise = "bye"
[states.hallo]
play = ["hallo"]
next = "bye"
[states.hello]
play = ["hello"]
next = "bye"
[states.bye]
hangup = {}
"#;

#[test]
fn a_match_goes_on_by_a_field_and_never_says_it() {
    let flow = Flow::parse(MATCH).unwrap();
    assert_eq!(flow.fields(), ["Language", "vip"]);
    let came_to = |name: &str, value: &str| {
        let fields = Fields::from([(name.to_owned(), value.to_owned())]);
        next(&flow, "", "", "", &fields).next_state
    };
    for (name, value, state) in [
        ("language", " DE ", "hallo"),
        ("LANGUAGE", "deutsch", "hallo"),
        ("language", "de|hangup|16", "hello"),
        ("language", "", "bye"),
        ("city", "de", "bye"),
        ("vip", "Yes", "hallo"),
    ] {
        assert_eq!(came_to(name, value), state, "{name} = {value}");
    }
    let bad = MATCH.replace("otherwise = \"bye\"", "otherwise = \"language\"");
    let codes: Vec<&str> = Flow::parse(&bad).unwrap_err().iter().map(|problem| problem.code).collect();
    assert!(codes.contains(&code::BUSY_LOOP), "{codes:?}");
    let twice = MATCH.replace("\"Deutsch\"", "\"De\"");
    assert!(Flow::parse(&twice).is_err(), "capital letters make no difference");
    assert!(Flow::parse(&MATCH.replace("fallback = \"bye\"", "fallback = \"vip\"")).is_err());
}

/// What the dialplan lets through, and how it splits it.
fn assert_dialplan_takes(reply: &str) {
    assert!(reply.len() < 900, "{} bytes: {reply}", reply.len());
    assert!(reply.bytes().all(|b| b.is_ascii_alphanumeric() || b"|_/.&*#+-".contains(&b)), "{reply}");
    assert_eq!(Verb::parse(reply).and_then(|verb| verb.encode()).as_deref(), Ok(reply));
}

fn assert_sound(flow: &Flow) {
    assert_dialplan_takes(flow.fallback_reply());
    let mut at = flow.fallback_state().to_owned();
    let mut steps = 1;
    while !next(flow, &at, "SUCCESS", "", &Fields::new()).reply.starts_with("hangup") {
        at = next(flow, &at, "SUCCESS", "", &Fields::new()).next_state;
        steps += 1;
        assert!(steps < MAX_FALLBACK_STEPS, "the fallback does not end");
    }
    for state in flow.states() {
        let mut at = state.to_owned();
        let mut waited = false;
        for _ in 0..=MAX_STATES {
            let step = next(flow, &at, "TIMEOUT", "", &Fields::new());
            assert_dialplan_takes(&step.reply);
            assert_eq!(step.reason, None);
            waited |= !step.reply.starts_with("play");
            at = step.next_state;
        }
        assert!(waited, "from {state} on only prompts play, for ever");
    }
}

/// Asks for a number of four digits, keeps it, and goes on by it and by a variable that was set.
const KEEPS: &str = r#"
name = "keeps"
start = "german"
fallback = "bye"
[states.german]
set = { language = "de", asked = "yes" }
next = "by-language"
[states.by-language]
match = "language"
on = { "de" = "marked", "en" = "bye" }
otherwise = "bye"
[states.marked]
tag = "german"
next = "pin"
[states.pin]
gather = { prompts = ["pin"], max_digits = 4, pattern = "[1-9]XXX", save = "pin" }
invalid = "again"
otherwise = "check"
[states.again]
play = ["not-a-pin"]
next = "pin"
[states.check]
match = "pin"
on = { "1234" = "stop" }
otherwise = "bye"
[states.stop]
optout = { prompts = ["goodbye"] }
[states.bye]
hangup = {}
"#;

#[test]
fn answers_are_kept_checked_and_decide_and_variables_hide_fields() {
    let flow = Flow::parse(KEEPS).unwrap();
    assert_eq!((flow.vars(), flow.tags()), (vec!["asked", "language", "pin"], vec!["german"]));
    let fields = Fields::from([("language".to_owned(), "en".to_owned())]);
    let begin = next(&flow, "", "", "", &fields);
    assert_eq!((begin.next_state.as_str(), begin.tags.as_slice()), ("pin", &["german".to_owned()][..]));
    assert_eq!(begin.vars["language"], "de");
    let press = |digits: &str| {
        let asked = Asked { state: "pin", status: "OK", digits, fields: &fields, vars: &begin.vars };
        super::next(&flow, &asked)
    };
    assert_eq!(press("0123").next_state, "again");
    assert_eq!(press("123").next_state, "again");
    assert!(!press("0123").vars.contains_key("pin"), "what does not fit is not kept");
    let right = press("1234");
    assert_eq!((right.reply.as_str(), right.vars["pin"].as_str()), ("optout|goodbye", "1234"));
    assert_eq!((right.vars["asked"].as_str(), right.tags.len()), ("yes", 0));
    assert_eq!(press("").next_state, "bye", "nothing pressed is no wrong answer");
    assert_eq!(press("4321").next_state, "bye");

    for (from, to) in [
        ("invalid = \"again\"\n", ""),
        ("pattern = \"[1-9]XXX\", ", ""),
        ("[1-9]XXX", "[9-1]XXX"),
        ("[1-9]XXX", "XXXXX"),
        ("tag = \"german\"", "tag = \"Very German\""),
        ("set = { language = \"de\", asked = \"yes\" }", "set = {}"),
        ("asked = \"yes\"", "asked = \"a\\nb\""),
        ("next = \"pin\"\n[states.pin]", "next = \"german\"\n[states.pin]"),
        ("fallback = \"bye\"", "fallback = \"stop\""),
        ("fallback = \"bye\"", "fallback = \"german\""),
    ] {
        let bad = KEEPS.replace(from, to);
        assert!(bad != KEEPS && Flow::parse(&bad).is_err(), "{from} -> {to}");
    }
    let many: String = (0..=MAX_VARS).map(|n| format!("v{n} = \"\", ")).collect();
    let split = KEEPS.replace("asked = \"yes\"", many.trim_end_matches(", "));
    assert!(Flow::parse(&split).is_err(), "more variables than a call carries");
}

const REMOTE: &str = r#"
name = "survey"
fallback = "sorry"
[backend]
kind = "http"
url = "http://127.0.0.1:8080/next"
prompts = ["hello"]
fields = ["Language"]
key = "survey"
[states.sorry]
play = ["sorry"]
next = "bye"
[states.bye]
hangup = {}
"#;

#[test]
fn a_flow_with_a_back_end_needs_no_start_and_says_what_its_answers_may_play() {
    let flow = Flow::parse(REMOTE).unwrap();
    assert_eq!((flow.prompts(), flow.fields()), (vec!["hello", "sorry"], vec!["Language"]));
    assert_eq!(
        flow.backend().map(|backend| (backend.kind, backend.timeout_ms)),
        Some((BackendKind::Http, 500))
    );
    assert!(flow.has_state("bye") && !flow.has_state("hello"));
    for (from, to) in [
        ("kind = \"http\"", "kind = \"ftp\""),
        ("kind = \"http\"", "kind = \"nats\""),
        ("http://127.0.0.1:8080/next", "http:///next"),
        ("http://127.0.0.1:8080/next", "http://me:secret@127.0.0.1/"),
        ("http://127.0.0.1:8080/next", "http://a/#b"),
        ("http://127.0.0.1:8080/next", "http://a/ b"),
        ("http://127.0.0.1:8080/next", "file:///etc/passwd"),
        ("key = \"survey\"", "key = \"../survey\""),
        ("prompts = [\"hello\"]", "prompts = [\"../hello\"]"),
        ("fields = [\"Language\"]", "fields = [\"\"]"),
        ("kind = \"http\"", "kind = \"http\"\ntimeout_ms = 49"),
        ("fallback = \"sorry\"", "fallback = \"sorry\"\nstart = \"sorry\""),
        ("fallback = \"sorry\"", "fallback = \"hello\""),
    ] {
        let bad = REMOTE.replace(from, to);
        assert!(bad != REMOTE && Flow::parse(&bad).is_err(), "{from} -> {to}");
    }
}

#[test]
fn one_text_has_one_id() {
    let flow = Flow::parse(DEMO).unwrap();
    assert_eq!(flow.id(), flow_id(DEMO.as_bytes()));
    assert_eq!(flow.id().len(), 32);
    assert_ne!(flow.id(), Flow::parse(&format!("{DEMO}\n")).unwrap().id());
}

#[test]
fn a_windows_file_reads_like_any_other() {
    let flow = Flow::parse(&format!("\u{feff}{}", DEMO.replace('\n', "\r\n"))).unwrap();
    assert_eq!(
        next(&flow, "", "", "", &Fields::new()),
        next(&Flow::parse(DEMO).unwrap(), "", "", "", &Fields::new())
    );
}

#[test]
fn bytes_that_are_no_text_are_a_problem_with_a_place() {
    let problems = Flow::parse_bytes(b"name = \"d\"\n# M\xfcller\n").unwrap_err();
    assert_eq!(problems[0].to_string(), "2:4: AST-F001: not UTF-8 from here on; save the file as UTF-8");
    assert!(Flow::parse_bytes(DEMO.as_bytes()).is_ok());
}

#[test]
fn the_limits_hold_on_both_sides() {
    let chain = |states: usize| {
        let mut text =
            "name = \"n\"\nstart = \"s0\"\nfallback = \"end\"\n[states]\nend = { hangup = {} }\n".to_owned();
        for state in 0..states - 1 {
            let next = if state + 2 == states { "end".to_owned() } else { format!("s{}", state + 1) };
            text += &format!("s{state} = {{ play = [\"p\"], next = \"{next}\" }}\n");
        }
        text
    };
    assert!(Flow::parse(&chain(MAX_STATES)).is_ok());
    assert_eq!(Flow::parse(&chain(MAX_STATES + 1)).unwrap_err()[0].code, code::OUT_OF_BOUNDS);
    let padded = |bytes: usize| format!("{DEMO}#{}", "x".repeat(bytes - DEMO.len() - 1));
    assert!(Flow::parse(&padded(MAX_DOCUMENT_BYTES)).is_ok());
    assert_eq!(Flow::parse(&padded(MAX_DOCUMENT_BYTES + 1)).unwrap_err()[0].code, code::DOCUMENT);
    assert!(Flow::parse(&"a = [".repeat(10_000)).is_err(), "deep nesting is refused, not recursed into");
    assert!(Flow::parse(&"x".repeat(MAX_DOCUMENT_BYTES)).is_err());
    let noisy: String = (0..1000).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(Flow::parse(&noisy).unwrap_err().len(), MAX_PROBLEMS);
}

#[test]
fn a_suggestion_reaches_into_a_state_that_cannot_be_read() {
    let text =
        DEMO.replace("\"1\" = \"thanks\"", "\"1\" = \"tanks\"").replace("timeout_s = 5", "timeout_s = 500");
    let codes: Vec<_> = Flow::parse(&text).unwrap_err().iter().map(|p| p.code).collect();
    assert_eq!(codes, [code::OUT_OF_BOUNDS, code::UNKNOWN_STATE]);
}

/// Text of a flow of `count` states whose verbs and targets are drawn.
fn drawn_flow(states: &[(u8, usize, usize)]) -> String {
    let count = states.len();
    let mut text =
        "name = \"drawn\"\nstart = \"s0\"\nfallback = \"end\"\n[states]\nend = { hangup = {} }\n".to_owned();
    for (index, (verb, a, b)) in states.iter().enumerate() {
        let (a, b) = (a % count, b % count);
        text += &match verb % 5 {
            0 => format!("s{index} = {{ play = [\"p{a}\"], next = \"s{a}\" }}\n"),
            1 => format!(
                "s{index} = {{ play = [\"p\"], barge = true, on = {{ \"1\" = \"s{b}\" }}, next = \"s{a}\" }}\n"
            ),
            2 => format!(
                "s{index} = {{ gather = {{ prompts = [\"g\"] }}, on = {{ \"1\" = \"s{a}\" }}, otherwise = \"s{b}\" }}\n"
            ),
            3 => format!("s{index} = {{ pause = {{ duration_s = 1 }}, next = \"s{a}\" }}\n"),
            _ => format!("s{index} = {{ hangup = {{}} }}\n"),
        };
    }
    text
}

proptest! {
    #[test]
    fn any_text_is_judged_without_panic(text in "\\PC{0,400}") {
        let _ = Flow::parse(&text);
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Flow::parse_bytes(&bytes);
    }

    #[test]
    fn a_damaged_flow_is_refused_or_sound(at in 0..EVERY_VERB.len(), with in "[ -~\\n]{0,3}", cut in 0usize..12) {
        let end = (at + cut).min(EVERY_VERB.len());
        if let Ok(flow) = Flow::parse(&format!("{}{with}{}", &EVERY_VERB[..at], &EVERY_VERB[end..])) {
            assert_sound(&flow);
        }
    }

    #[test]
    fn a_drawn_flow_is_refused_with_reasons_or_sound(
        states in proptest::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..12)
    ) {
        match Flow::parse(&drawn_flow(&states)) {
            Ok(flow) => assert_sound(&flow),
            Err(problems) => {
                let graph_only = |p: &FlowProblem| [code::UNREACHABLE, code::BUSY_LOOP].contains(&p.code);
                prop_assert!(!problems.is_empty() && problems.iter().all(graph_only), "{problems:?}");
            }
        }
    }

    #[test]
    fn next_is_total(state in "\\PC{0,20}", status in "\\PC{0,10}", digits in "\\PC{0,40}", name in "\\PC{0,9}", value in "\\PC{0,40}") {
        let fields = Fields::from([("language".to_owned(), value.clone()), (name, value)]);
        let matching = Flow::parse(MATCH).unwrap();
        let step = next(&matching, "", &status, &digits, &fields);
        prop_assert!(["hallo", "hello", "bye"].contains(&step.next_state.as_str()), "{step:?}");
        assert_dialplan_takes(&step.reply);
        let flow = Flow::parse(DEMO).unwrap();
        for state in flow.states().chain([state.as_str()]) {
            let step = next(&flow, state, &status, &digits, &fields);
            assert_dialplan_takes(&step.reply);
            prop_assert!(flow.states().any(|known| known == step.next_state));
            prop_assert_eq!(step.reason.is_some(), !state.is_empty() && flow.states().all(|known| known != state));
        }
    }
}

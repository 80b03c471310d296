//! Answered calls in their dialplan: questions, keys, misses, end reports and the journal.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::unnecessary_wraps)] // scripts share one signature

mod common;

use asterism_agent::dialplan::{EndReport, MAX_MISSES, Question, Reply, Verb};
use asterism_pbx_sim::Sim;
use asterism_pbx_sim::callees::Callees;
use common::{Ami, Node, config, eventually, script, three_steps};

fn reply(question: &Question, verb: Verb) -> Result<String, u16> {
    Ok(Reply { step: question.step, verb, language: String::new() }.encode().unwrap())
}

fn gather(max_digits: u32, attempts: u32, finish_key: Option<char>) -> Verb {
    Verb::Gather { prompts: vec!["asterism/menu".into()], max_digits, timeout_s: 2, attempts, finish_key }
}

#[tokio::test]
async fn a_three_step_flow_takes_the_key_and_ends() {
    let callees = "[[number]]\nnumber = \"+15550100001\"\nhabit = \"press_1\"\n[[number]]\nnumber = \"+15550100002\"\n\
                   habit = \"press_2\"\n[[number]]\nnumber = \"+15550100003\"\nhabit = \"press_nothing\"\n";
    let node = Node::start(Callees::parse(callees).unwrap(), 10, three_steps).await;
    let mut ami = node.ami().await;
    for (n, status, key) in [(1, "OK", "1"), (2, "OK", "2"), (3, "TIMEOUT", "")] {
        let id = format!("att-{n}");
        ami.originate(&format!("+1555010000{n}"), &id, 8000).await;
        ami.ended(&id).await;
        let third = format!("3 0 gather {status} {key}").trim_end().to_owned();
        assert_eq!(node.steps.asked(&id), ["1 0 start", "2 0 play SUCCESS", &third, "4 0 play SUCCESS"]);
        let end = node.steps.end(&id).unwrap();
        let expected = EndReport {
            channel_id: id.clone(),
            step: 4,
            last_verb: asterism_agent::dialplan::LastVerb::Hangup,
            status: "done".into(),
            typed_ahead: key.into(),
            cause: 16,
            rx_packets: "0".into(),
            lost_packets: "0".into(),
            jitter_s: "0.000000".into(),
            rtt_s: "0.000000".into(),
            ..EndReport::default()
        };
        assert_eq!(end, expected);
        assert_eq!(node.steps.asked.lock().unwrap()[0].flow, "demo");
    }
}

#[tokio::test]
async fn a_callee_who_leaves_ends_the_verb_it_was_in() {
    let node = Node::start(script(), 10, |q| reply(q, gather(1, 9, None))).await;
    let mut ami = node.ami().await;
    ami.originate("+15550100157", "left", 8000).await;
    ami.ended("left").await;
    let end = node.steps.end("left").unwrap();
    assert_eq!((end.step, end.last_verb.as_str(), end.status.as_str(), end.cause), (1, "gather", "", 0));
}

#[tokio::test]
async fn keys_follow_max_digits_finish_key_attempts_and_barge() {
    let callees = "[press]\nmin_ms = 200\nmax_ms = 200\n[[number]]\nnumber = \"*1\"\nhabit = \"press_nothing\"\n\
                   digits = \"12345#67\"\n[[number]]\nnumber = \"*2\"\nhabit = \"press_nothing\"\ndigits = \"9\"\n\
                   press_at_ms = 100\n[[number]]\nnumber = \"*3\"\nhabit = \"press_nothing\"\n";
    let node = Node::start(Callees::parse(callees).unwrap(), 10, |q| match (q.channel_id.as_str(), q.step) {
        ("many", 1) => reply(q, gather(3, 1, Some('#'))),
        ("many", 2) => reply(q, gather(9, 1, Some('#'))),
        ("many", 3) => reply(q, gather(9, 2, None)),
        ("barge", 1) => reply(q, Verb::Play { prompts: vec!["a".into(), "b".into()], barge: true }),
        ("none", 1) => reply(q, Verb::Play { prompts: vec!["a".into()], barge: true }),
        ("none", 2) => reply(q, gather(1, 3, None)),
        ("none", 3) => reply(q, Verb::Pause { seconds: 1 }),
        _ => reply(q, Verb::Hangup { cause: 17 }),
    })
    .await;
    let mut ami = node.ami().await;
    for (number, id) in [("1", "many"), ("2", "barge"), ("3", "none")] {
        ami.originate(number, id, 8000).await;
    }
    for id in ["many", "barge", "none"] {
        assert_eq!(ami.ended(id).await.get("Cause"), Some("17"));
    }
    assert_eq!(
        node.steps.asked("many"),
        ["1 0 start", "2 0 gather OK 123", "3 0 gather OK 45", "4 0 gather TIMEOUT 67"]
    );
    assert_eq!(node.steps.end("many").unwrap().typed_ahead, "12345#67");
    assert_eq!(node.steps.asked("barge"), ["1 0 start", "2 0 play OK 9"]);
    assert_eq!(
        node.steps.asked("none"),
        ["1 0 start", "2 0 play TIMEOUT", "3 0 gather TIMEOUT", "4 0 pause OK"]
    );
}

#[tokio::test]
async fn unusable_replies_are_asked_again_a_few_times_then_the_call_is_lost() {
    let node = Node::start(script(), 10, |q| match q.channel_id.as_str() {
        "nonsense" => Ok("nonsense\u{1}".into()),
        "other-step" => reply(&Question { step: q.step + 1, ..q.clone() }, Verb::Pause { seconds: 1 }),
        "cut" => Ok(format!("1|{}|pause|1||||", q.step)),
        "refused" => Err(503),
        "huge" => Ok("1".repeat(100_000)),
        "late" if q.misses < 2 => Err(429),
        _ => reply(q, Verb::Hangup { cause: 16 }),
    })
    .await;
    let mut ami = node.ami().await;
    let lost = ["nonsense", "other-step", "cut", "refused", "huge"];
    for id in lost.iter().chain(&["late"]) {
        ami.originate("+15550100150", id, 8000).await;
    }
    for id in lost {
        assert_eq!(ami.ended(id).await.get("Cause"), Some("41"), "{id}");
        let asked: Vec<String> = (0..=MAX_MISSES).map(|miss| format!("1 {miss} start")).collect();
        assert_eq!(node.steps.asked(id), asked, "{id}");
        let end = node.steps.end(id).unwrap();
        assert_eq!(
            (end.step, end.last_verb.as_str(), end.status.as_str(), end.cause),
            (1, "start", "lost", 41)
        );
    }
    assert_eq!(ami.ended("late").await.get("Cause"), Some("16"));
    assert_eq!(node.steps.asked("late"), ["1 0 start", "1 1 start", "1 2 start"]);
}

#[tokio::test]
async fn without_an_agent_the_end_is_left_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again at once
    let sim = Sim::start(config(nobody, None, 10, &folder), script()).await.unwrap();
    let mut ami = Ami::login(sim.ami_addr()).await;
    ami.originate("+15550100150", "alone", 8000).await;
    assert_eq!(ami.ended("alone").await.get("Cause"), Some("41"));
    let left = std::fs::read(folder.path().join("journal/alone")).unwrap();
    assert_eq!(
        String::from_utf8(left.clone()).unwrap(),
        "c=alone&n=1&v=start&st=lost&d=&ta=&cause=41&rec=&dial=&rx=0&lp=0&jit=0.000000&rtt=0.000000\n"
    );
    assert_eq!(EndReport::parse(&left).unwrap().status, "lost");
}

#[tokio::test]
async fn two_hundred_calls_at_once_each_get_their_own_answers() {
    let node = Node::start(Callees::default(), 4, three_steps).await;
    let mut ami = node.ami().await;
    for n in 0..200 {
        ami.originate(&format!("+155501{n:05}"), &format!("call-{n}"), 8000).await;
    }
    for n in 0..200 {
        ami.ended(&format!("call-{n}")).await;
    }
    eventually("every channel gone", || node.sim.channel_count() == 0).await;
    let count = node.recorder.as_ref().unwrap().count();
    assert_eq!((count.rings, count.attempts, count.double_rings), (200, 200, 0));
    let answered = ami.seen.iter().filter(|m| m.get("DialStatus") == Some("ANSWER")).count();
    assert_eq!(node.steps.ended.lock().unwrap().len(), answered);
    assert!((80..180).contains(&answered), "{answered}");
}

fn dial(to: &str, ring_s: u32, talk_s: u32, by: &str) -> Verb {
    let address = |text: &str| asterism_agent::dialplan::Address::parse(text).unwrap();
    Verb::Dial { to: address(to), ring_s, talk_s, caller_id: None, by: Some(address(by)) }
}

#[tokio::test]
async fn somebody_is_dialled_in_the_middle_of_a_call_and_how_that_ended_is_asked_with() {
    let callees = "[[number]]\nnumber = \"+15550100001\"\nhabit = \"press_nothing\"\n[[number]]\nnumber = \"+15550100002\"\n\
                   habit = \"busy\"\n[[number]]\nnumber = \"+15550100003\"\nhabit = \"no_answer\"\n[[number]]\n\
                   number = \"+15550100004\"\nhabit = \"press_nothing\"\nhang_up_at_ms = 4000\n";
    let node = Node::start(Callees::parse(callees).unwrap(), 10, |q| match (q.channel_id.as_str(), q.step) {
        ("talks", 1) => reply(q, dial("+15550100001", 30, 5, "trunk")),
        ("busy", 1) => reply(q, dial("+15550100002", 30, 5, "trunk")),
        ("silent", 1) => reply(q, dial("+15550100003", 3, 5, "trunk")),
        ("nowhere", 1) => reply(q, dial("+15550100001", 3, 5, "other")),
        ("leaves", 1) => reply(q, dial("+15550100001", 30, 600, "trunk")),
        _ => reply(q, Verb::Hangup { cause: 16 }),
    })
    .await;
    let mut ami = node.ami().await;
    let calls = ["talks", "busy", "silent", "nowhere"];
    for id in calls {
        ami.originate("+15550100001", id, 8000).await;
    }
    ami.originate("+15550100004", "leaves", 8000).await;
    for id in calls.iter().chain(&["leaves"]) {
        ami.ended(id).await;
    }
    let asked = node.steps.asked.lock().unwrap().clone();
    for (id, status, talk_ms) in [
        ("talks", "ANSWER", 5_000),
        ("busy", "BUSY", 0),
        ("silent", "NOANSWER", 0),
        ("nowhere", "CHANUNAVAIL", 0),
    ] {
        let back = asked.iter().find(|q| q.channel_id == id && q.step == 2).unwrap();
        assert_eq!((back.last_verb.as_str(), back.status.as_str()), ("dial", status), "{id}");
        let leg = back.leg.unwrap();
        assert!((talk_ms..talk_ms + 2_000).contains(&leg.talk_ms), "{id}: {leg:?}");
    }
    // Whoever leaves while two are joined takes the other along: no question more, and the report says so.
    let end = node.steps.end("leaves").unwrap();
    assert_eq!((end.step, end.last_verb.as_str(), end.dial.as_str()), (1, "dial", "ANSWER"));
    assert!(end.leg.unwrap().talk_ms > 2_000, "{end:?}");
}

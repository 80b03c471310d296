//! Every outcome, event for event, against what was recorded from Asterisk 22.10.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use asterism_agent::ami::Action;
use common::{Ami, Node, hold, script, three_steps};

/// The recorded stories: events in order, `OriginateResponse` apart because it may come anywhere after `DialBegin`.
struct Recorded {
    ends: &'static str,
    timeout_ms: u32,
    response: &'static str,
    events: &'static [&'static str],
}

const RING: &str = "Newstate Ringing + DialState RINGING"; // in either order

const RECORDED: [Recorded; 12] = [
    Recorded {
        ends: "0150",
        timeout_ms: 8000,
        response: "Success 4",
        events: &[
            "Newchannel",
            "DialBegin",
            RING,
            "Newstate Up",
            "DialEnd ANSWER",
            "SoftHangupRequest 16",
            "Hangup 16 -",
        ],
    },
    Recorded {
        ends: "0158",
        timeout_ms: 8000,
        response: "Success 4",
        events: &[
            "Newchannel",
            "DialBegin",
            "Newstate Up",
            "DialEnd ANSWER",
            "SoftHangupRequest 16",
            "Hangup 16 -",
        ],
    },
    Recorded {
        ends: "0183",
        timeout_ms: 8000,
        response: "Success 4",
        events: &[
            "Newchannel",
            "DialBegin",
            "DialState PROGRESS",
            "Newstate Up",
            "DialEnd ANSWER",
            "SoftHangupRequest 16",
            "Hangup 16 -",
        ],
    },
    Recorded {
        ends: "0157",
        timeout_ms: 8000,
        response: "Success 4",
        events: &[
            "Newchannel",
            "DialBegin",
            RING,
            "Newstate Up",
            "DialEnd ANSWER",
            "HangupRequest - -",
            "SoftHangupRequest 16",
            "Hangup 0 -",
        ],
    },
    Recorded {
        ends: "0156",
        timeout_ms: 8000,
        response: "Success 4",
        events: &[
            "Newchannel",
            "DialBegin",
            RING,
            "Newstate Up",
            "DialEnd ANSWER",
            "HangupRequest 16 -",
            "SoftHangupRequest 16",
            "Hangup 16 -",
        ],
    },
    Recorded {
        ends: "0186",
        timeout_ms: 8000,
        response: "Failure 0",
        events: &["Newchannel", "DialBegin", "HangupRequest 17 486", "DialEnd BUSY", "Hangup 17 486"],
    },
    Recorded {
        ends: "0187",
        timeout_ms: 8000,
        response: "Failure 0",
        events: &["Newchannel", "DialBegin", RING, "HangupRequest 17 486", "DialEnd BUSY", "Hangup 17 486"],
    },
    Recorded {
        ends: "0160",
        timeout_ms: 8000,
        response: "Failure 0",
        events: &["Newchannel", "DialBegin", "HangupRequest 21 603", "DialEnd NOANSWER", "Hangup 21 603"],
    },
    Recorded {
        ends: "0144",
        timeout_ms: 8000,
        response: "Failure 0",
        events: &["Newchannel", "DialBegin", "HangupRequest 1 404", "DialEnd NOANSWER", "Hangup 1 404"],
    },
    Recorded {
        ends: "0180",
        timeout_ms: 8000,
        response: "Failure 0",
        events: &["Newchannel", "DialBegin", "HangupRequest 19 480", "DialEnd NOANSWER", "Hangup 19 480"],
    },
    Recorded {
        ends: "0153",
        timeout_ms: 8000,
        response: "Failure 0",
        events: &["Newchannel", "DialBegin", "HangupRequest 34 503", "DialEnd CONGESTION", "Hangup 34 503"],
    },
    Recorded {
        ends: "0190",
        timeout_ms: 3000,
        response: "Failure 3",
        events: &["Newchannel", "DialBegin", RING, "Hangup 19 480"],
    },
];

/// Takes the response out and joins the two events of ringing, whose order varies.
fn told(ami: &Ami, id: &str) -> (Vec<String>, Vec<String>) {
    let (responses, mut events): (Vec<_>, Vec<_>) =
        ami.story(id).into_iter().partition(|e| e.starts_with("OriginateResponse"));
    let ringing = ["Newstate Ringing", "DialState RINGING"];
    if let Some(at) =
        events.windows(2).position(|w| w[0] != w[1] && w.iter().all(|e| ringing.contains(&e.as_str())))
    {
        RING.clone_into(&mut events[at]);
        events.remove(at + 1);
    }
    (responses, events)
}

#[tokio::test]
async fn each_outcome_tells_the_recorded_story() {
    let node = Node::start(script(), 10, three_steps).await;
    let mut ami = node.ami().await;
    // Several of each: the places of OriginateResponse and the order of ringing vary from call to call.
    let calls: Vec<_> =
        (0..8).flat_map(|n| RECORDED.iter().map(move |r| (r, format!("{}-{n}", r.ends)))).collect();
    for (recorded, id) in &calls {
        ami.originate(&format!("+1555010{}", recorded.ends), id, recorded.timeout_ms).await;
    }
    let mut response_last = 0;
    for (recorded, id) in &calls {
        ami.ended(id).await;
        let (responses, events) = told(&ami, id);
        assert_eq!(responses, [format!("OriginateResponse {}", recorded.response)], "{id}");
        assert_eq!(events, recorded.events, "{id}");
        response_last += usize::from(ami.story(id).last().unwrap().starts_with("OriginateResponse"));
    }
    assert!(response_last > 0, "the response is last in some calls, and a client must bear it");
    let count = node.recorder.as_ref().unwrap().count();
    assert_eq!(
        (count.rings, count.attempts, count.double_rings),
        (calls.len() as u64, calls.len() as u64, 0)
    );
}

#[tokio::test]
async fn silence_ends_by_timeout_or_by_the_transaction() {
    let node = Node::start(script(), 40, three_steps).await;
    let mut ami = node.ami().await;
    ami.originate("+15550100199", "short", 4000).await;
    ami.originate("+15550100199", "long", 40_000).await;
    let hangup = ami.ended("short").await;
    assert_eq!(hangup.get("ChannelStateDesc"), Some("Down"));
    assert_eq!(told(&ami, "short").1, ["Newchannel", "DialBegin", "Hangup 19 480"]);
    assert_eq!(told(&ami, "short").0, ["OriginateResponse Failure 3"]);
    ami.ended("long").await;
    assert_eq!(
        told(&ami, "long").1,
        ["Newchannel", "DialBegin", "HangupRequest 18 408", "DialEnd NOANSWER", "Hangup 18 408"]
    );
    assert_eq!(told(&ami, "long").0, ["OriginateResponse Failure 0"]);
}

#[tokio::test]
async fn hangup_actions_tell_the_recorded_story() {
    let node = Node::start(script(), 1, hold).await;
    let mut ami = node.ami().await;
    for id in ["with", "without"] {
        ami.originate("+15550100158", id, 8000).await;
        ami.until("its first step", |m| {
            m.get("Event") == Some("DialEnd") && m.get("DestUniqueid") == Some(id)
        })
        .await;
    }
    ami.send(&Action::hangup("h1", "with", 16).unwrap()).await;
    ami.send(&Action::new("Hangup", "h2").unwrap().header("Channel", "without").unwrap()).await;
    for (id, cause) in [("with", 16), ("without", 0)] {
        ami.ended(id).await;
        assert_eq!(
            told(&ami, id).1[2..],
            [
                "Newstate Up".into(),
                "DialEnd ANSWER".into(),
                "SoftHangupRequest 16".to_owned(),
                format!("Hangup {cause} -")
            ]
        );
        assert_eq!(node.steps.end(id).unwrap().cause, cause);
    }
    ami.originate("+15550100190", "ringing", 600_000).await;
    ami.until("ringing", |m| m.get("Event") == Some("Newstate") && m.get("Uniqueid") == Some("ringing"))
        .await;
    ami.send(&Action::hangup("h3", "ringing", 16).unwrap()).await;
    ami.ended("ringing").await;
    assert_eq!(told(&ami, "ringing").1, ["Newchannel", "DialBegin", RING, "DialEnd NOANSWER", "Hangup 16 -"]);
    assert_eq!(told(&ami, "ringing").0, ["OriginateResponse Failure 0"]);
    assert_eq!(
        node.steps.end("ringing"),
        None,
        "a call that was not answered has no dialplan to report its end"
    );
}

#[tokio::test]
async fn stopping_hangs_up_and_says_shutdown() {
    let node = Node::start(script(), 1, hold).await;
    let mut ami = node.ami().await;
    ami.originate("+15550100158", "up", 8000).await;
    ami.originate("+15550100190", "ringing", 600_000).await;
    ami.until("up", |m| m.get("Event") == Some("DialEnd") && m.get("DestUniqueid") == Some("up")).await;
    ami.until("ringing", |m| m.get("Event") == Some("Newstate") && m.get("Uniqueid") == Some("ringing"))
        .await;
    node.sim.stop().await;
    ami.closed().await;
    assert_eq!(told(&ami, "up").1[4..], ["SoftHangupRequest 4", "SoftHangupRequest 16", "Hangup 0 -"]);
    assert_eq!(told(&ami, "ringing").1[3..], ["SoftHangupRequest 4", "DialEnd NOANSWER", "Hangup 0 -"]);
    assert_eq!(ami.seen.last().unwrap().get("Event"), Some("Shutdown"));
    assert_eq!(ami.seen.last().unwrap().get("Shutdown"), Some("Cleanly"));
}

#[tokio::test]
async fn headers_are_those_recorded_and_in_their_order() {
    let node = Node::start(script(), 20, three_steps).await;
    let mut ami = node.ami().await;
    ami.originate("+15550100157", "left", 8000).await;
    ami.originate("+15550100187", "busy", 8000).await;
    ami.ended("left").await;
    ami.ended("busy").await;
    let head = "Event Privilege Timestamp SystemName";
    let channel = "Channel ChannelState ChannelStateDesc CallerIDNum CallerIDName ConnectedLineNum ConnectedLineName \
                   Language AccountCode Context Exten Priority Uniqueid Linkedid";
    let dest: String = format!("Dest{}", channel.split_whitespace().collect::<Vec<_>>().join(" Dest"));
    let response = "ActionID Response Channel Context Exten Reason Uniqueid CallerIDNum CallerIDName";
    for (id, event, names) in [
        ("left", "Newchannel", channel.to_owned()),
        ("left", "DialBegin", format!("{dest} DialString")),
        ("left", "DialState", format!("{dest} DialStatus")),
        ("left", "Newstate", channel.to_owned()),
        ("left", "DialEnd", format!("{dest} DialStatus")),
        ("left", "OriginateResponse", response.to_owned()),
        ("left", "HangupRequest", channel.to_owned()),
        ("left", "SoftHangupRequest", format!("{channel} Cause")),
        ("left", "Hangup", format!("{channel} Cause Cause-txt")),
        ("busy", "HangupRequest", format!("{channel} Cause TechCause")),
        ("busy", "Hangup", format!("{channel} Cause Cause-txt TechCause")),
        ("busy", "OriginateResponse", response.to_owned()),
    ] {
        let message = ami
            .seen
            .iter()
            .find(|m| {
                m.get("Event") == Some(event)
                    && [m.get("Uniqueid"), m.get("DestUniqueid")].contains(&Some(id))
            })
            .unwrap_or_else(|| panic!("no {event}"));
        let got: Vec<_> = message.headers.iter().map(|(n, _)| n.as_str()).collect();
        let expected: Vec<_> = head.split_whitespace().chain(names.split_whitespace()).collect();
        assert_eq!(got, expected, "{id} {event}");
        assert_eq!(message.get("SystemName"), Some("n1"));
    }
    let find = |id, event| {
        ami.seen.iter().find(|m| m.get("Event") == Some(event) && m.get("Uniqueid") == Some(id)).unwrap()
    };
    // The channel's name where it was answered, what was dialled where not.
    assert!(find("left", "OriginateResponse").get("Channel").unwrap().starts_with("PJSIP/trunk-0000000"));
    assert_eq!(find("busy", "OriginateResponse").get("Channel"), Some("PJSIP/+15550100187@trunk"));
    assert_eq!(find("left", "Newchannel").get("CallerIDNum"), Some("<unknown>"));
    assert_eq!(find("left", "Hangup").get("CallerIDNum"), Some("+15550100100"));
    assert_eq!(
        (find("left", "Hangup").get("Context"), find("left", "Hangup").get("Exten")),
        (Some("asterism"), Some("h"))
    );
    assert_eq!(find("busy", "Hangup").get("Context"), Some("inbound"));
    let begin = ami.seen.iter().find(|m| m.get("DialString").is_some()).unwrap();
    assert!(begin.get("DialString").unwrap().ends_with("@trunk"));
}

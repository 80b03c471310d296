//! The AMI side: login, refusals, lists, garbage, and the gate that keeps an attempt from ringing twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use asterism_agent::ami::{Action, Event, Kind};
use common::{Ami, DEADLINE, Node, SECRET, USER, eventually, hold, script, three_steps};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn login_in_clear_and_by_challenge() {
    let node = Node::start(script(), 20, three_steps).await;
    let mut ami = Ami::connect(node.sim.ami_addr()).await;
    ami.send(&Action::login("1", USER, SECRET).unwrap()).await;
    let answer = ami.response("1").await;
    assert_eq!(
        (answer.get("Response"), answer.get("Message")),
        (Some("Success"), Some("Authentication accepted"))
    );
    let booted = ami.until("FullyBooted", |m| m.get("Event") == Some("FullyBooted")).await;
    let names: Vec<_> = booted.headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["Event", "Privilege", "Timestamp", "SystemName", "Status", "Uptime", "LastReload"]);

    let mut ami = Ami::connect(node.sim.ami_addr()).await;
    ami.send(&Action::challenge("c").unwrap()).await;
    let challenge = ami.response("c").await.get("Challenge").unwrap().to_owned();
    ami.send(&Action::login_md5("2", USER, SECRET, &challenge).unwrap()).await;
    assert_eq!(ami.response("2").await.get("Response"), Some("Success"));
    ami.send(&Action::new("Ping", "p").unwrap()).await;
    assert_eq!(ami.response("p").await.get("Ping"), Some("Pong"));
    ami.send(&Action::new("Logoff", "q").unwrap()).await;
    assert_eq!(ami.response("q").await.get("Response"), Some("Goodbye"));
    ami.closed().await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_the_connection_closed() {
    let node = Node::start(script(), 20, three_steps).await;
    for login in [
        Action::login("1", USER, "wrong").unwrap(),
        Action::login("1", "root", SECRET).unwrap(),
        Action::login_md5("1", USER, SECRET, "a challenge never given").unwrap(),
    ] {
        let mut ami = Ami::connect(node.sim.ami_addr()).await;
        ami.send(&login).await;
        let answer = ami.response("1").await;
        assert_eq!(
            (answer.get("Response"), answer.get("Message")),
            (Some("Error"), Some("Authentication failed"))
        );
        ami.closed().await;
    }
}

#[tokio::test]
async fn nothing_works_before_the_login() {
    let node = Node::start(script(), 20, three_steps).await;
    let mut ami = Ami::connect(node.sim.ami_addr()).await;
    ami.originate("+15550100150", "a", 8000).await;
    assert_eq!(ami.response("order-a").await.get("Message"), Some("Permission denied"));
    assert_eq!(node.sim.channel_count(), 0);
    assert_eq!(node.recorder.as_ref().unwrap().count().rings, 0);
}

#[tokio::test]
async fn refused_originates_say_what_asterisk_says() {
    let node = Node::start(script(), 20, three_steps).await;
    let mut ami = node.ami().await;
    let base = |id: &str| {
        let action = Action::new("Originate", id).unwrap();
        action.header("Priority", "1").unwrap().header("Async", "true").unwrap().header("Exten", "s").unwrap()
    };
    let with = |a: Action, name: &str, value: &str| a.header(name, value).unwrap();
    let cases = [
        (base("1"), "Channel not specified"),
        (
            with(
                with(with(base("2"), "Channel", "PJSIP/1@trunk"), "Context", "asterism"),
                "ChannelId",
                &"a".repeat(200),
            ),
            "Uniqueid length exceeds maximum of 149",
        ),
        (
            with(with(with(base("3"), "Channel", "PJSIP/1@trunk"), "Context", "elsewhere"), "ChannelId", "a"),
            "Extension does not exist.",
        ),
    ];
    for (action, message) in cases {
        let id = action.message().get("ActionID").unwrap().to_owned();
        ami.send(&action).await;
        let answer = ami.response(&id).await;
        assert_eq!((answer.get("Response"), answer.get("Message")), (Some("Error"), Some(message)));
    }
    ami.send(&Action::new("Command", "4").unwrap()).await;
    assert_eq!(ami.response("4").await.get("Message"), Some("Permission denied"));
    ami.send(&Action::new("Dance", "5").unwrap()).await;
    assert!(ami.response("5").await.get("Message").unwrap().starts_with("Invalid/unknown command: Dance."));
    // An endpoint or technology that is not there is queued, fails without a channel and is no ring.
    for (id, channel) in [("e", "PJSIP/+15550100150@nope"), ("t", "SIP/x")] {
        let action = with(
            with(with(base(&format!("order-{id}")), "Channel", channel), "Context", "asterism"),
            "ChannelId",
            id,
        );
        ami.send(&action).await;
        assert_eq!(
            ami.response(&format!("order-{id}")).await.get("Message"),
            Some("Originate successfully queued")
        );
        ami.until("its failure", |m| {
            m.get("Event") == Some("OriginateResponse") && m.get("Uniqueid") == Some(id)
        })
        .await;
        assert_eq!(ami.story(id), ["OriginateResponse Failure 0"]);
    }
    node.sim.refuse_new();
    ami.originate("+15550100150", "late", 8000).await;
    assert_eq!(ami.response("order-late").await.get("Message"), Some("Asterisk is shutting down"));
    assert_eq!(node.recorder.as_ref().unwrap().count().rings, 0);
}

#[tokio::test]
async fn a_live_channel_id_is_never_dialled_again_but_a_dead_one_is() {
    let node = Node::start(script(), 1, hold).await;
    let mut ami = node.ami().await;
    let recorder = node.recorder.as_ref().unwrap();
    for (number, state) in [("+15550100190", "Ringing"), ("+15550100150", "Up")] {
        let id = format!("dup-{state}");
        let before = recorder.count().rings;
        ami.originate(number, &id, 600_000).await;
        ami.until(state, |m| {
            m.get("Event") == Some("Newstate")
                && m.get("Uniqueid") == Some(&id)
                && m.get("ChannelStateDesc") == Some(state)
        })
        .await;
        ami.originate_as("again", "+15550100151", &id, 5000).await;
        assert_eq!(ami.response("again").await.get("Response"), Some("Success"));
        let refused = ami
            .until("the refusal", |m| {
                m.get("Event") == Some("OriginateResponse") && m.get("ActionID") == Some("again")
            })
            .await;
        let Kind::Event(Event::OriginateResponse { unique_id, answered, reason, .. }) = refused.kind() else {
            panic!()
        };
        assert_eq!((unique_id, answered, reason), (id.as_str(), false, 0));
        ami.send(&Action::hangup("end", &id, 16).unwrap()).await;
        let hangup = ami.ended(&id).await;
        assert_eq!(hangup.get("ChannelStateDesc"), Some(state), "the live call went on undisturbed");
        assert_eq!(recorder.count().rings, before + 1);
        assert_eq!(ami.story(&id).iter().filter(|e| *e == "Newchannel").count(), 1);
        ami.seen.clear();
    }
    // Once it ended, Asterisk dials the same id again: the agent must not ask for that. The recorder would show it.
    ami.originate("+15550100186", "dup-Up", 5000).await;
    ami.ended("dup-Up").await;
    assert_eq!(recorder.count().double_rings, 1);
}

#[tokio::test]
async fn a_new_connection_lists_live_channels() {
    let node = Node::start(script(), 1, hold).await;
    let mut first = node.ami().await;
    first.originate("+15550100190", "rings", 600_000).await;
    first.originate("+15550100158", "up", 600_000).await;
    let state = |id: &'static str, state: &'static str| {
        move |m: &asterism_agent::ami::Message| {
            m.get("Event") == Some("Newstate")
                && m.get("Uniqueid") == Some(id)
                && m.get("ChannelStateDesc") == Some(state)
        }
    };
    first.until("ringing", state("rings", "Ringing")).await;
    first.until("up", state("up", "Up")).await;
    drop(first); // calls live on without any client
    let mut ami = node.ami().await;
    ami.send(&Action::new("CoreShowChannels", "list").unwrap()).await;
    let complete = ami.until("the list", |m| m.get("Event") == Some("CoreShowChannelsComplete")).await;
    assert_eq!((complete.get("ListItems"), complete.get("ActionID")), (Some("2"), Some("list")));
    let mut listed: Vec<_> = ami
        .seen
        .iter()
        .filter_map(|m| match m.kind() {
            Kind::Event(Event::CoreShowChannel { unique_id, state, .. }) => Some((unique_id, state)),
            _ => None,
        })
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, [("rings", 5), ("up", 6)]);
    ami.send(&Action::new("CoreStatus", "status").unwrap()).await;
    assert_eq!(ami.response("status").await.get("CoreCurrentCalls"), Some("2"));
    ami.send(&Action::new("CoreSettings", "settings").unwrap()).await;
    assert!(ami.response("settings").await.get("AsteriskVersion").unwrap().starts_with("22."));
    // By name and by unique id.
    let name = ami
        .seen
        .iter()
        .find(|m| m.get("Uniqueid") == Some("up"))
        .and_then(|m| m.get("Channel"))
        .unwrap()
        .to_owned();
    ami.send(&Action::hangup("h1", &name, 16).unwrap()).await;
    ami.send(&Action::hangup("h2", "rings", 16).unwrap()).await;
    ami.send(&Action::hangup("h3", "nobody", 16).unwrap()).await;
    for id in ["h1", "h2"] {
        assert_eq!(ami.response(id).await.get("Message"), Some("Channel Hungup"));
    }
    assert_eq!(ami.response("h3").await.get("Message"), Some("No such channel"));
    eventually("both gone", || node.sim.channel_count() == 0).await;
}

#[tokio::test]
async fn garbage_hurts_nobody_else() {
    let node = Node::start(script(), 10, three_steps).await;
    let mut ami = node.ami().await;
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..8 {
        let mut stream = tokio::net::TcpStream::connect(node.sim.ami_addr()).await.unwrap();
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()[3]
        })
        .take(200_000)
        .collect();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.write_all(b"\r\n\r\nAction: Originate\r\n\r\n").await;
        let mut answer = vec![0; 1024];
        // It may answer errors or have closed; it must do one of both in time.
        tokio::time::timeout(DEADLINE, stream.read(&mut answer)).await.unwrap().ok();
    }
    // On a logged-in connection too: the bad message is refused, the next one works.
    ami.send_bytes(&[b"A: ".as_slice(), &[b'x'; 9000], b"\r\nno colon\r\n\r\n"].concat()).await;
    ami.send_bytes(b"\xff\xfe: \x00\r\n\r\n").await;
    ami.until("a refusal", |m| m.get("Message") == Some("Missing action in request")).await;
    ami.originate("+15550100186", "after", 8000).await;
    ami.ended("after").await;
}

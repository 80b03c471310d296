//! One script set: pbx-sim and real Asterisk 22 do the same calls and must tell the same stories, which stand in
//! `tests/scripts/`. What Asterisk says is the truth: `ASTERISM_BLESS=1` lets its runs write the files anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::sync::Arc;

use asterism_agent::ami::{Action, Message};
use asterism_agent::render::endpoint;
use asterism_tests::asterisk::{AMI_SECRET, RealParts};
use asterism_tests::script::{Ami, Call, Entry, Pbx, Which, headers, response, same_as_golden, story};
use nix::sys::signal::Signal;

/// Longer than anything rings here.
const LONG_MS: u32 = 8_000;
/// A ring nobody means to wait out.
const FOR_EVER_MS: u32 = 600_000;

/// A script for both PBXes: two tests.
macro_rules! scripts {
    ($($name:ident),+ $(,)?) => {
        mod sim {
            $(#[tokio::test]
            async fn $name() {
                super::run(stringify!($name), super::Which::Sim, super::$name).await;
            })+
        }
        mod asterisk {
            $(#[tokio::test]
            async fn $name() {
                let name = concat!("script_set::asterisk::", stringify!($name));
                let Some(parts) = super::RealParts::find(name) else { return };
                super::run(stringify!($name), super::Which::Asterisk(parts), super::$name).await;
            })+
        }
    };
}

scripts!(outcomes, hangups, duplicates, refusals, no_port, lists, misses, drain, terminated, killed);

async fn run(name: &str, which: Which, script: impl AsyncFn(&mut Pbx) -> String) {
    let mut pbx = Pbx::start(&which).await;
    let text = script(&mut pbx).await;
    same_as_golden(name, &text, which.is_real());
}

/// A call whose callee is chosen by the last four digits. The area keeps calls to one callee apart.
fn call(title: &'static str, area: u32, ends: &str, id: &str) -> Call {
    Call { title, number: format!("+1{area}555{ends}"), id: id.to_owned(), action: format!("order-{id}") }
}

async fn dial(ami: &mut Ami, call: &Call, timeout_ms: u32) -> Message {
    ami.originate(&call.action, &call.number, &call.id, timeout_ms).await
}

/// Waits for the two messages that end an attempt, in either order.
async fn ended(pbx: &Pbx, call: &Call) {
    originated(pbx, call).await;
    let hangup = |m: &Message| m.get("Event") == Some("Hangup") && m.get("Uniqueid") == Some(&call.id);
    pbx.tape.message(&format!("the end of {}", call.title), hangup).await;
}

async fn originated(pbx: &Pbx, call: &Call) -> Message {
    let is =
        |m: &Message| m.get("Event") == Some("OriginateResponse") && m.get("ActionID") == Some(&call.action);
    pbx.tape.message(&format!("the OriginateResponse of {}", call.title), is).await
}

async fn rings(pbx: &Pbx, call: &Call) {
    let state =
        |m: &Message| m.get("ChannelStateDesc") == Some("Ringing") && m.get("Uniqueid") == Some(&call.id);
    let dial =
        |m: &Message| m.get("DialStatus") == Some("RINGING") && m.get("DestUniqueid") == Some(&call.id);
    pbx.tape.message(&format!("{} rings", call.title), state).await;
    pbx.tape.message(&format!("{} rings", call.title), dial).await;
}

fn told(pbx: &Pbx, call: &Call) -> String {
    story(&pbx.tape, call, pbx.rings(&call.number))
}

/// A call that is up and silent, in its pause.
async fn up(pbx: &Pbx, ami: &mut Ami, call: &Call) {
    dial(ami, call, LONG_MS).await;
    originated(pbx, call).await;
    ami.until_at(&call.id, "vpause").await;
}

/// A call that rings.
async fn ringing(pbx: &Pbx, ami: &mut Ami, call: &Call) {
    dial(ami, call, FOR_EVER_MS).await;
    rings(pbx, call).await;
}

fn last_event(pbx: &Pbx, name: &str) -> String {
    let last = pbx.tape.messages().into_iter().rev().find(|m| m.get("Event") == Some(name));
    let text = |m: Message| {
        m.headers
            .iter()
            .filter(|(n, _)| !["Timestamp", "SystemName"].contains(&n.as_str()))
            .map(|(n, v)| format!("{n}: {v}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    last.map_or_else(|| format!("no {name}"), text)
}

async fn closed(pbx: &Pbx) {
    pbx.tape.until("the connection closes", |e| matches!(e, Entry::Closed).then_some(())).await;
}

async fn outcomes(pbx: &mut Pbx) -> String {
    let calls = [
        ("answered, presses 1", "0151", LONG_MS),
        ("answered, presses 2", "0152", LONG_MS),
        ("answered, presses nothing", "0150", LONG_MS),
        ("answered, the callee leaves", "0157", LONG_MS),
        ("answered, the callee leaves and says why", "0156", LONG_MS),
        ("answered at once", "0158", LONG_MS),
        ("early media, then answered", "0183", LONG_MS),
        ("486", "0186", LONG_MS),
        ("rings, then 486", "0187", LONG_MS),
        ("603", "0160", LONG_MS),
        ("404", "0144", LONG_MS),
        ("480", "0180", LONG_MS),
        ("503", "0153", LONG_MS),
        ("silence", "0199", 3_000),
        ("rings till the timeout", "0190", 3_000),
    ];
    let calls =
        calls.map(|(title, ends, timeout_ms)| (call(title, 201, ends, &format!("att-{ends}")), timeout_ms));
    let mut ami = pbx.ami().await;
    for (call, timeout_ms) in &calls {
        dial(&mut ami, call, *timeout_ms).await;
    }
    let mut text = String::new();
    for (call, _) in &calls {
        ended(pbx, call).await;
        text += &told(pbx, call);
    }
    text + &headers(&pbx.tape)
}

async fn hangups(pbx: &mut Pbx) -> String {
    let mut ami = pbx.ami().await;
    let with = call("AMI Hangup of an answered call, cause 16", 201, "0158", "hold-with");
    let without = call("AMI Hangup of an answered call, no cause", 202, "0158", "hold-without");
    let by_name = call("AMI Hangup by the channel's name, cause 17", 203, "0158", "hold-name");
    let early = call("AMI Hangup of a ringing call, cause 16", 201, "0190", "att-ringing");
    for call in [&with, &without, &by_name] {
        up(pbx, &mut ami, call).await;
    }
    ringing(pbx, &mut ami, &early).await;
    let name =
        ami.list("names").await.iter().find(|m| m.get("Uniqueid") == Some(&by_name.id)).unwrap().clone();
    let mut text = String::new();
    for (action, about) in [
        (Action::hangup("h-1", &with.id, 16).unwrap(), "an answered call"),
        (Action::new("Hangup", "h-2").unwrap().header("Channel", &without.id).unwrap(), "without a cause"),
        (Action::hangup("h-3", name.get("Channel").unwrap(), 17).unwrap(), "by name"),
        (Action::hangup("h-4", &early.id, 16).unwrap(), "a ringing call"),
        (Action::hangup("h-5", "nobody", 16).unwrap(), "nobody"),
        (Action::new("Hangup", "h-6").unwrap(), "without a channel"),
    ] {
        writeln!(text, "hang up {about}: {}", response(&ami.ask(&action).await)).unwrap();
    }
    for call in [&with, &without, &by_name, &early] {
        ended(pbx, call).await;
        text += &told(pbx, call);
    }
    text + &headers(&pbx.tape)
}

async fn duplicates(pbx: &mut Pbx) -> String {
    let mut ami = pbx.ami().await;
    let mut text = String::new();
    let live = call("a call that is up", 201, "0158", "hold-up");
    let rung = call("a call that rings", 201, "0190", "att-ringing");
    up(pbx, &mut ami, &live).await;
    ringing(pbx, &mut ami, &rung).await;
    for first in [&live, &rung] {
        let mut again = call("its channel id again while it lives", 202, "0151", &first.id);
        again.action = format!("again-{}", first.id);
        let queued = dial(&mut ami, &again, LONG_MS).await;
        let refused = originated(pbx, &again).await;
        let of = |name| refused.get(name).unwrap_or("-");
        writeln!(text, "{}, {}: {}", first.title, again.title, response(&queued)).unwrap();
        let same = of("Uniqueid") == first.id;
        writeln!(text, "{} reason {}, same Uniqueid {same}", of("Response"), of("Reason")).unwrap();
        writeln!(text, "rings: {}\n", pbx.rings(&again.number)).unwrap();
        ami.ask(&Action::hangup(&format!("h-{}", first.id), &first.id, 16).unwrap()).await;
        ended(pbx, first).await;
        text += &told(pbx, first);
    }
    // An id whose call has ended is dialled again: whoever orders it must not.
    let mut dead = call("a channel id whose call has ended", 203, "0186", &live.id);
    "dead".clone_into(&mut dead.action);
    let queued = dial(&mut ami, &dead, LONG_MS).await;
    originated(pbx, &dead).await;
    let is = |m: &Message| m.get("Event") == Some("Hangup") && m.get("TechCause") == Some("486");
    pbx.tape.message("the end of the second call", is).await;
    writeln!(text, "{}: {}, rings: {}", dead.title, response(&queued), pbx.rings(&dead.number)).unwrap();
    text
}

async fn refusals(pbx: &mut Pbx) -> String {
    let mut ami = pbx.ami().await;
    let new = |name: &str, id: &str| Action::new(name, id).unwrap();
    let with = |action: Action, pairs: &[(&str, &str)]| {
        pairs.iter().fold(action, |action, (name, value)| action.header(name, value).unwrap())
    };
    let there = [("Exten", "s"), ("Priority", "1"), ("Timeout", "8000"), ("Async", "true")];
    let originate = |id: &str, pairs: &[(&str, &str)]| with(with(new("Originate", id), pairs), &there);
    let trunk = format!("PJSIP/+12015550150@{}", endpoint(AMI_SECRET, "trunk"));
    let long = "a".repeat(150);
    let mut text = String::new();
    for (what, action) in [
        ("no channel", originate("r-1", &[("Context", "asterism"), ("ChannelId", "a")])),
        (
            "no such context",
            originate("r-2", &[("Channel", &trunk), ("Context", "else"), ("ChannelId", "a")]),
        ),
        ("long id", originate("r-3", &[("Channel", &trunk), ("Context", "asterism"), ("ChannelId", &long)])),
        ("a command", with(new("Command", "r-4"), &[("Command", "core show version")])),
        ("an action there is not", new("Dance", "r-5")),
        ("a ping", new("Ping", "r-6")),
    ] {
        writeln!(text, "{what}: {}", response(&ami.ask(&action).await)).unwrap();
    }
    for (what, id, channel) in
        [("no such trunk", "r-7", "PJSIP/+12015550150@nope"), ("no such technology", "r-8", "Carrier/x")]
    {
        let pairs = [("Channel", channel), ("Context", "asterism"), ("ChannelId", id)];
        let answer = ami.ask(&originate(id, &pairs)).await;
        writeln!(text, "{what}: {}", response(&answer)).unwrap();
        let failed = Call { title: what, number: String::new(), id: id.to_owned(), action: id.to_owned() };
        originated(pbx, &failed).await;
        text += &story(&pbx.tape, &failed, pbx.rings("+12015550150"));
    }
    text += &headers(&pbx.tape);
    // A connection of its own: it is closed.
    let mut stranger = Ami::connect(pbx.ami_port().await, Arc::clone(&pbx.tape)).await;
    let early = stranger.ask(&new("Ping", "s-1")).await;
    writeln!(text, "a ping before the login: {}", response(&early)).unwrap();
    let mut stranger = Ami::connect(pbx.ami_port().await, Arc::clone(&pbx.tape)).await;
    let wrong = stranger.ask(&Action::login("s-2", "agent", &format!("{AMI_SECRET}x")).unwrap()).await;
    writeln!(text, "a wrong secret: {}", response(&wrong)).unwrap();
    closed(pbx).await;
    text
}

/// A channel that ends without `DialBegin` sent nothing: what the agent's `never_rang` rests on.
async fn no_port(pbx: &mut Pbx) -> String {
    pbx.room_for(1).await;
    let mut ami = pbx.ami().await;
    let holds = call("a call that holds the only port", 201, "0158", "hold-port");
    let none = call("no port for its media", 201, "0188", "att-none");
    up(pbx, &mut ami, &holds).await;
    dial(&mut ami, &none, LONG_MS).await;
    ended(pbx, &none).await;
    let text = told(pbx, &none);
    ami.ask(&Action::hangup("h-1", &holds.id, 16).unwrap()).await;
    ended(pbx, &holds).await;
    text
}

async fn lists(pbx: &mut Pbx) -> String {
    let mut first = pbx.ami().await;
    let live = call("up", 201, "0158", "hold-up");
    let rung = call("ringing", 201, "0190", "att-ringing");
    up(pbx, &mut first, &live).await;
    ringing(pbx, &mut first, &rung).await;
    drop(first); // calls live on without any connection
    let mut ami = pbx.ami().await;
    let mut text = String::from("== a new connection lists what lives\n");
    let mut listed = ami.list("list").await;
    listed.sort_by_key(|m| m.get("Uniqueid").map(str::to_owned));
    for m in listed {
        let of = |name: &str| m.get(name).unwrap_or("-").to_owned();
        let names: Vec<&str> = m.headers.iter().map(|(name, _)| name.as_str()).collect();
        let fields =
            ["Uniqueid", "ChannelState", "ChannelStateDesc", "Context", "Exten", "Priority", "Application"];
        writeln!(text, "{}", fields.map(of).join(" ")).unwrap();
        writeln!(text, "  {}", names.join(" ")).unwrap();
    }
    let status = ami.ask(&Action::new("CoreStatus", "status").unwrap()).await;
    let names: Vec<&str> = status.headers.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(text, "CoreCurrentCalls {}\n  {}\n", status.get("CoreCurrentCalls").unwrap(), names.join(" "))
        .unwrap();
    for call in [&live, &rung] {
        ami.ask(&Action::hangup(&format!("h-{}", call.id), &call.id, 16).unwrap()).await;
        let hangup = |m: &Message| m.get("Event") == Some("Hangup") && m.get("Uniqueid") == Some(&call.id);
        pbx.tape.message("its end, on the new connection", hangup).await;
        writeln!(text, "{}: its end came to the new connection", call.title).unwrap();
    }
    text
}

async fn misses(pbx: &mut Pbx) -> String {
    let mut ami = pbx.ami().await;
    let calls = [
        call("no reply by the rules", 201, "0158", "garbled-1"),
        call("the agent refuses", 202, "0158", "refused-1"),
        call("a reply to another step", 203, "0158", "other-1"),
        call("a reply the second time", 204, "0151", "late-1"),
        call("a prompt that is not there", 205, "0158", "missing-1"),
    ];
    for call in &calls {
        dial(&mut ami, call, LONG_MS).await;
    }
    let mut text = String::new();
    for call in &calls {
        ended(pbx, call).await;
        text += &told(pbx, call);
    }
    // Nobody is there to be asked: the report of the end goes to the journal.
    pbx.steps = None;
    let alone = call("no agent", 206, "0158", "att-alone");
    dial(&mut ami, &alone, LONG_MS).await;
    ended(pbx, &alone).await;
    text += &told(pbx, &alone);
    writeln!(text, "journal: {}", pbx.journal(&alone.id).await).unwrap();
    text
}

async fn drain(pbx: &mut Pbx) -> String {
    let mut ami = pbx.ami().await;
    let live = call("a call from before", 201, "0150", "att-up");
    dial(&mut ami, &live, LONG_MS).await;
    originated(pbx, &live).await;
    pbx.stop_gracefully();
    // It may take a moment until it is known everywhere: calls that are refused at once by the callee until then.
    let mut text = String::new();
    for turn in 0.. {
        let probe = call("a call from after", 201, "0186", &format!("probe-{turn}"));
        let answer = dial(&mut ami, &probe, LONG_MS).await;
        if answer.get("Response") == Some("Error") {
            writeln!(text, "{}: {}", probe.title, response(&answer)).unwrap();
            break;
        }
        // Taken, and then the stop came before its channel: it has a response and no Hangup.
        originated(pbx, &probe).await;
    }
    // Not only calls: no action is taken any more, so a call can be ended by its flow or its callee only.
    for (what, action) in [
        ("a list", Action::new("CoreShowChannels", "d-1").unwrap()),
        ("a hang-up", Action::hangup("d-2", &live.id, 16).unwrap()),
        ("a ping", Action::new("Ping", "d-3").unwrap()),
    ] {
        writeln!(text, "{what}: {}", response(&ami.ask(&action).await)).unwrap();
    }
    let mut late = Ami::connect(pbx.ami_port().await, Arc::clone(&pbx.tape)).await;
    let login = late.ask(&Action::login("d-4", "agent", AMI_SECRET).unwrap()).await;
    writeln!(text, "a login: {}", response(&login)).unwrap();
    drop(late); // its own end is not meant below
    ended(pbx, &live).await;
    text += &told(pbx, &live);
    closed(pbx).await;
    writeln!(text, "then: {}", last_event(pbx, "Shutdown")).unwrap();
    writeln!(text, "then: connection closed, {}", pbx.ended().await).unwrap();
    text
}

/// Ends the PBX with a call up and one ringing, starts it again, dials one of them again.
async fn stopped_by(pbx: &mut Pbx, signal: Signal) -> String {
    let mut ami = pbx.ami().await;
    let live = call("up", 201, "0158", "hold-up");
    let rung = call("ringing", 201, "0190", "att-ringing");
    up(pbx, &mut ami, &live).await;
    ringing(pbx, &mut ami, &rung).await;
    pbx.signal(signal);
    closed(pbx).await;
    let status = pbx.ended().await;
    let mut text = format!("{}{}", told(pbx, &live), told(pbx, &rung));
    writeln!(text, "then: {}", last_event(pbx, "Shutdown")).unwrap();
    writeln!(text, "then: connection closed, {status}\n").unwrap();
    pbx.tape = Arc::default();
    pbx.start_again();
    let mut ami = pbx.ami().await;
    writeln!(text, "started again, live channels: {}", ami.list("list").await.len()).unwrap();
    let again = call("an id from before the restart", 202, "0186", "hold-up");
    dial(&mut ami, &again, LONG_MS).await;
    ended(pbx, &again).await;
    text + &told(pbx, &again)
}

async fn terminated(pbx: &mut Pbx) -> String {
    stopped_by(pbx, Signal::SIGTERM).await
}

async fn killed(pbx: &mut Pbx) -> String {
    stopped_by(pbx, Signal::SIGKILL).await
}

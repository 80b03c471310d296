//! What is compared: a call as text, without what differs from run to run (names, times, the places in the order that
//! are not defined) and with everything the agent relies on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use asterism_agent::ami::Message;
use asterism_agent::dialplan::{EndReport, Question};

use super::tape::{Entry, Tape};

/// The number calls are shown to come from.
pub const CALLER: &str = "+15550100100";

/// One call of a script.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it is about, for the reader.
    pub title: &'static str,
    /// The number dialled.
    pub number: String,
    /// Its channel id.
    pub id: String,
    /// The action that originated it.
    pub action: String,
}

/// A response as text.
pub fn response(message: &Message) -> String {
    let known = message.get("Message").unwrap_or_default();
    format!("{} {known}", message.get("Response").unwrap_or("none")).trim_end().to_owned()
}

/// What was heard of a call. `rings` is what its carrier counted.
pub fn story(tape: &Tape, call: &Call, rings: usize) -> String {
    let entries = tape.entries();
    let mut text = format!("== {}\n", call.title);
    let mut add = |line: &str| writeln!(text, "{line}").unwrap();
    let (mut events, mut questions, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &entries {
        match entry {
            Entry::Ami(message) if answers(message, call) => {
                add(&format!("originate: {}", response(message)));
            }
            Entry::Ami(message) if is_of(message, &call.id) => events.push(event(message)),
            Entry::Question(question) if question.channel_id == call.id => questions.push(asked(question)),
            Entry::End(report) if report.channel_id == call.id => {
                ends.push(format!(
                    "{}, {} Hangup",
                    ended(report),
                    if gone(&events) { "after" } else { "before" }
                ));
            }
            _ => {}
        }
    }
    for line in in_defined_order(events) {
        add(&line);
    }
    for message in tape.messages() {
        if message.get("ActionID") == Some(&call.action) && message.get("Event").is_some() {
            // Another thread of Asterisk sends it: its place is not defined.
            add(&format!("and somewhere: {}", originate_response(&message)));
        }
    }
    for line in questions.into_iter().chain(ends) {
        add(&line);
    }
    add(&format!("rings: {rings}\n"));
    text
}

/// Every event and response with the names of its headers, each list once, in order.
pub fn headers(tape: &Tape) -> String {
    let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in tape.messages() {
        let kind = message.get("Event").map_or_else(|| "response".to_owned(), str::to_owned);
        let names: Vec<&str> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
        lists.entry(kind).or_default().insert(names.join(" "));
    }
    let mut text = String::from("== headers\n");
    for (kind, names) in lists {
        for list in names {
            writeln!(text, "{kind}: {list}").unwrap();
        }
    }
    text
}

/// Compares with `tests/scripts/NAME.golden`. With `ASTERISM_BLESS=1` real Asterisk, and only it, writes the file.
pub fn same_as_golden(name: &str, text: &str, real: bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/{name}.golden"));
    if real && std::env::var_os("ASTERISM_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden == text {
        return;
    }
    let differs = golden.lines().zip(text.lines()).position(|(a, b)| a != b);
    let at = differs.unwrap_or_else(|| golden.lines().count().min(text.lines().count()));
    let near = |text: &str| text.lines().skip(at.saturating_sub(12)).take(18).collect::<Vec<_>>().join("\n");
    panic!(
        "{name}: line {} differs from {}\n--- golden\n{}\n--- heard\n{}\n",
        at + 1,
        path.display(),
        near(&golden),
        near(text)
    );
}

fn answers(message: &Message, call: &Call) -> bool {
    message.get("Event").is_none() && message.get("ActionID") == Some(&call.action)
}

fn is_of(message: &Message, id: &str) -> bool {
    let named = [message.get("Uniqueid"), message.get("DestUniqueid")].contains(&Some(id));
    named && !["OriginateResponse", "CoreShowChannel"].contains(&message.get("Event").unwrap_or_default())
}

fn event(message: &Message) -> String {
    let of = |name| message.get(name).unwrap_or("-");
    let name = of("Event");
    let place = || format!("in {},{},{}", of("Context"), of("Exten"), of("Priority"));
    match name {
        "Newchannel" => format!("{name} {} {} from {}", of("ChannelStateDesc"), place(), of("CallerIDNum")),
        "DialBegin" => format!("{name} {} from {}", of("DestChannelStateDesc"), of("DestCallerIDNum")),
        "Newstate" => format!("{name} {}", of("ChannelStateDesc")),
        "DialState" | "DialEnd" => format!("{name} {}", of("DialStatus")),
        "HangupRequest" => format!("{name} cause {} sip {}", of("Cause"), of("TechCause")),
        "SoftHangupRequest" => format!("{name} cause {}", of("Cause")),
        "Hangup" => format!(
            "{name} {} cause {} ({}) sip {} {}",
            of("ChannelStateDesc"),
            of("Cause"),
            of("Cause-txt"),
            of("TechCause"),
            place()
        ),
        other => other.to_owned(),
    }
}

fn originate_response(message: &Message) -> String {
    let of = |name| message.get(name).unwrap_or("-");
    // The channel's name where it was answered; what was dialled, with the number, where not.
    let channel = if of("Channel").contains('@') { "what was dialled" } else { "the channel" };
    format!("OriginateResponse {} reason {} for {channel}", of("Response"), of("Reason"))
}

fn asked(q: &Question) -> String {
    format!(
        "asks n={} m={} f={} v={} st={} d={}",
        q.step,
        q.misses,
        q.flow,
        q.last_verb.as_str(),
        q.status,
        q.digits
    )
}

/// An end report as text, but for what the media decides.
pub(super) fn ended(e: &EndReport) -> String {
    let verb = e.last_verb.as_str();
    format!(
        "ends n={} v={verb} st={} d={} ta={} cause={}",
        e.step, e.status, e.digits, e.typed_ahead, e.cause
    )
}

fn gone(events: &[String]) -> bool {
    events.iter().any(|event| event.starts_with("Hangup "))
}

/// Neighbours whose order is not defined become one line, or stand in the order in which they mostly come.
fn in_defined_order(mut events: Vec<String>) -> Vec<String> {
    const EITHER: [[&str; 2]; 2] =
        [["DialState RINGING", "Newstate Ringing"], ["DialEnd ANSWER", "Newstate Up"]];
    for pair in EITHER {
        let here = |w: &[String]| w[0] != w[1] && w.iter().all(|event| pair.contains(&event.as_str()));
        if let Some(at) = events.windows(2).position(here) {
            events[at] = format!("{} and {}, in either order", pair[0], pair[1]);
            events.remove(at + 1);
        }
    }
    // A refusal can be told by the thread of the signalling before the one that dials has told that it does.
    let early = |w: &[String]| {
        w[0].starts_with("HangupRequest cause") && w[0].contains(" sip ") && w[1].starts_with("DialBegin")
    };
    if let Some(at) = events.windows(2).position(early) {
        events.swap(at, at + 1);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_undefined_order_is_forgiven() {
        let list = |events: &[&str]| in_defined_order(events.iter().map(|e| (*e).to_owned()).collect());
        let one =
            list(&["DialBegin", "Newstate Ringing", "DialState RINGING", "Newstate Up", "DialEnd ANSWER"]);
        assert_eq!(
            one,
            list(&["DialBegin", "DialState RINGING", "Newstate Ringing", "DialEnd ANSWER", "Newstate Up"])
        );
        assert_eq!(one.len(), 3);
        assert_ne!(
            one,
            list(&["Newstate Ringing", "DialBegin", "DialState RINGING", "Newstate Up", "DialEnd ANSWER"])
        );
        assert_eq!(list(&["DialState RINGING", "DialState RINGING"]).len(), 2);
        let refused = list(&["HangupRequest cause 17 sip 486", "DialBegin", "DialEnd BUSY"]);
        assert_eq!(refused, ["DialBegin", "HangupRequest cause 17 sip 486", "DialEnd BUSY"]);
        assert_eq!(list(&["SoftHangupRequest cause 16", "DialBegin"])[1], "DialBegin");
    }
}

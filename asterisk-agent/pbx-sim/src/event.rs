//! The events, header for header as Asterisk 22.10 writes them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use asterism_agent::ami::Message;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::channel::Channel;

/// Messages one session may be behind before it is dropped, as Asterisk drops a client that does not read.
pub(crate) const MAX_SESSION_QUEUE: usize = 8192;

/// What an AMI session sends, in order.
pub(crate) struct Outbox {
    pub(crate) queue: mpsc::Sender<Bytes>,
    /// Wakes the session so that it closes.
    pub(crate) closing: Notify,
}

/// Every logged-in session.
#[derive(Default)]
pub(crate) struct Bus {
    sessions: Mutex<Vec<Arc<Outbox>>>,
}

impl Bus {
    pub(crate) fn join(&self, session: &Arc<Outbox>) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(session));
    }

    pub(crate) fn leave(&self, session: &Arc<Outbox>) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).retain(|s| !Arc::ptr_eq(s, session));
    }

    /// Closes every session and waits until what was queued has gone out.
    pub(crate) async fn close(&self) {
        let sessions = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        for session in &sessions {
            session.closing.notify_one();
        }
        for session in sessions {
            session.queue.closed().await;
        }
    }

    /// Sends an event to every session; with none it is lost, as in Asterisk.
    pub(crate) fn emit(&self, event: &Message) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.is_empty() {
            return;
        }
        let bytes = Bytes::from(event.encode());
        for session in sessions.iter() {
            if session.queue.try_send(bytes.clone()).is_err() {
                session.closing.notify_one();
            }
        }
    }
}

/// Builds events of one node.
pub(crate) struct Events {
    pub(crate) node: String,
}

impl Events {
    fn head(&self, name: &str, privilege: &str) -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = format!("{}.{:06}", now.as_secs(), now.subsec_micros());
        Message::from_pairs([
            ("Event", name),
            ("Privilege", privilege),
            ("Timestamp", &timestamp),
            ("SystemName", &self.node),
        ])
    }

    fn of_channel(&self, name: &str, channel: &Channel) -> Message {
        let mut event = self.head(name, "call,all");
        push_channel(&mut event, "", channel);
        event
    }

    fn of_dial(&self, name: &str, channel: &Channel) -> Message {
        let mut event = self.head(name, "call,all");
        push_channel(&mut event, "Dest", channel);
        event
    }

    pub(crate) fn newchannel(&self, channel: &Channel) -> Message {
        self.of_channel("Newchannel", channel)
    }

    pub(crate) fn newstate(&self, channel: &Channel) -> Message {
        self.of_channel("Newstate", channel)
    }

    pub(crate) fn dial_begin(&self, channel: &Channel) -> Message {
        let mut event = self.of_dial("DialBegin", channel);
        let origin = &channel.origin;
        push(&mut event, "DialString", &format!("{}@{}", origin.number, origin.trunk));
        event
    }

    pub(crate) fn dial_state(&self, channel: &Channel, status: &str) -> Message {
        let mut event = self.of_dial("DialState", channel);
        push(&mut event, "DialStatus", status);
        event
    }

    pub(crate) fn dial_end(&self, channel: &Channel, status: &str) -> Message {
        let mut event = self.of_dial("DialEnd", channel);
        push(&mut event, "DialStatus", status);
        event
    }

    /// The far end refused (with cause and SIP status), or hung up an answered call (mostly with neither).
    pub(crate) fn hangup_request(
        &self,
        channel: &Channel,
        cause: Option<u32>,
        status: Option<u32>,
    ) -> Message {
        let mut event = self.of_channel("HangupRequest", channel);
        for (name, value) in [("Cause", cause), ("TechCause", status)] {
            if let Some(value) = value {
                push(&mut event, name, &value.to_string());
            }
        }
        event
    }

    /// Cause 16 whatever the hang-up's own cause, but 4 where Asterisk itself stops.
    pub(crate) fn soft_hangup_request(&self, channel: &Channel, cause: u32) -> Message {
        let mut event = self.of_channel("SoftHangupRequest", channel);
        push(&mut event, "Cause", &cause.to_string());
        event
    }

    pub(crate) fn hangup(&self, channel: &Channel, cause: u32, tech_cause: Option<u32>) -> Message {
        let mut event = self.of_channel("Hangup", channel);
        push(&mut event, "Cause", &cause.to_string());
        push(&mut event, "Cause-txt", cause_text(cause));
        if let Some(status) = tech_cause {
            push(&mut event, "TechCause", &status.to_string());
        }
        event
    }

    /// `reason` 4 is answered, 3 timed out, 0 every other failure.
    pub(crate) fn originate_response(
        &self,
        origin: &crate::channel::Origin,
        name: &str,
        reason: u32,
    ) -> Message {
        let mut event = self.head("OriginateResponse", "call,all");
        if !origin.action_id.is_empty() {
            push(&mut event, "ActionID", &origin.action_id);
        }
        push(&mut event, "Response", if reason == 4 { "Success" } else { "Failure" });
        push(&mut event, "Channel", name);
        push(&mut event, "Context", &origin.context);
        push(&mut event, "Exten", &origin.exten);
        push(&mut event, "Reason", &reason.to_string());
        push(&mut event, "Uniqueid", &origin.unique_id);
        push(&mut event, "CallerIDNum", &origin.caller_id);
        push(&mut event, "CallerIDName", "<unknown>");
        event
    }

    pub(crate) fn fully_booted(&self, up_s: u64) -> Message {
        let mut event = self.head("FullyBooted", "system,all");
        push(&mut event, "Status", "Fully Booted");
        push(&mut event, "Uptime", &up_s.to_string());
        push(&mut event, "LastReload", &up_s.to_string());
        event
    }

    pub(crate) fn shutdown(&self) -> Message {
        let mut event = self.head("Shutdown", "system,all");
        push(&mut event, "Shutdown", "Cleanly");
        push(&mut event, "Restart", "False");
        event
    }
}

pub(crate) fn push(message: &mut Message, name: &str, value: &str) {
    message.headers.push((name.to_owned(), value.to_owned()));
}

/// The headers every channel event shares, each with `prefix` before its name.
pub(crate) fn push_channel(message: &mut Message, prefix: &str, channel: &Channel) {
    let (place, origin) = (channel.place(), &channel.origin);
    let number = if place.dialled { &origin.caller_id } else { "<unknown>" };
    let priority = place.priority.to_string();
    for (name, value) in [
        ("Channel", channel.name.as_str()),
        ("ChannelState", place.state.number()),
        ("ChannelStateDesc", place.state.words()),
        ("CallerIDNum", number),
        ("CallerIDName", "<unknown>"),
        ("ConnectedLineNum", number),
        ("ConnectedLineName", "<unknown>"),
        ("Language", "en"),
        ("AccountCode", ""),
        ("Context", place.context),
        ("Exten", place.exten),
        ("Priority", &priority),
        ("Uniqueid", &origin.unique_id),
        ("Linkedid", &origin.unique_id),
    ] {
        message.headers.push((format!("{prefix}{name}"), value.to_owned()));
    }
}

/// Asterisk's words for a Q.850 cause.
fn cause_text(cause: u32) -> &'static str {
    match cause {
        1 => "Unallocated (unassigned) number",
        16 => "Normal Clearing",
        17 => "User busy",
        18 => "No user responding",
        19 => "User alerting, no answer",
        20 => "Subscriber absent",
        21 => "Call Rejected",
        27 => "Destination out of order",
        31 => "Normal, unspecified",
        34 => "Circuit/channel congestion",
        38 => "Network out of order",
        41 => "Temporary failure",
        42 => "Switching equipment congestion",
        127 => "Interworking, unspecified",
        _ => "Unknown",
    }
}

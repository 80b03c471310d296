//! What a message from the server is, and typed views of the events the agent lives on.

use super::Message;

/// `Reason` of an `OriginateResponse`, as Asterisk 22.10 gives it for PJSIP channels.
pub mod reason {
    /// Every failure but a timeout: the far end refused (busy too), a live duplicate `ChannelId`, an unknown trunk.
    /// With a channel, the `Cause` and `TechCause` of its `Hangup` tell which; without `Newchannel` nothing was dialled.
    pub const FAILURE: u32 = 0;
    /// The originate's `Timeout` passed, whether it rang or not.
    pub const TIMEOUT: u32 = 3;
    /// Answered.
    pub const ANSWERED: u32 = 4;
}

/// What the server says of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `Success`.
    Success,
    /// `Error`.
    Error,
    /// `Goodbye`, the answer to Logoff.
    Goodbye,
    /// Anything else.
    Other,
}

/// The class of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// The answer to the action with this id.
    Response {
        /// How it went.
        status: Status,
        /// The action's id, absent if the action had none.
        action_id: Option<&'a str>,
        /// Asterisk's words.
        message: &'a str,
    },
    /// Something happened.
    Event(Event<'a>),
    /// Neither: an action, or a message without either header.
    Other,
}

/// An event, borrowed from its message. A field that is missing on the wire is empty or 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The server finished starting; sent after each login too.
    FullyBooted {
        /// Seconds since Asterisk started.
        uptime_s: u32,
    },
    /// A channel exists.
    Newchannel {
        /// Its unique id: the attempt's id.
        unique_id: &'a str,
        /// Its name, for example `PJSIP/trunk-a-00000001`.
        channel: &'a str,
    },
    /// A channel's driver took a call: its INVITE may be on its way.
    DialBegin {
        /// The dialled channel.
        unique_id: &'a str,
    },
    /// A dial made progress.
    DialState {
        /// The dialled channel.
        unique_id: &'a str,
        /// `RINGING`, `PROGRESS`, `PROCEEDING`.
        status: &'a str,
    },
    /// A dial ended.
    DialEnd {
        /// The dialled channel.
        unique_id: &'a str,
        /// `ANSWER`, `BUSY`, `CONGESTION`, `NOANSWER`.
        status: &'a str,
    },
    /// A channel changed its state.
    Newstate {
        /// The channel.
        unique_id: &'a str,
        /// `5` is ringing, `6` is up.
        state: u32,
    },
    /// The far end ended or refused the call.
    HangupRequest {
        /// The channel.
        unique_id: &'a str,
        /// The Q.850 cause of a refusal, 0 where an answered call was hung up.
        cause: u32,
        /// The SIP status of a refusal, 0 if there was none.
        tech_cause: u32,
    },
    /// An answered channel was told to hang up: by its dialplan, an action or its callee.
    SoftHangupRequest {
        /// The channel.
        unique_id: &'a str,
    },
    /// A channel is gone.
    Hangup {
        /// The channel.
        unique_id: &'a str,
        /// The Q.850 cause; 0 where the callee hung up an answered call.
        cause: u32,
        /// The SIP status behind it, 0 if there was none.
        tech_cause: u32,
    },
    /// How an asynchronous Originate went.
    OriginateResponse {
        /// The `ActionID` of the Originate.
        action_id: &'a str,
        /// The `ChannelId` given, also where no channel came to be.
        unique_id: &'a str,
        /// Whether it was answered.
        answered: bool,
        /// One of [`reason`].
        reason: u32,
    },
    /// One line of the answer to `CoreShowChannels`.
    CoreShowChannel {
        /// The action's id.
        action_id: &'a str,
        /// The channel.
        unique_id: &'a str,
        /// Its name.
        channel: &'a str,
        /// `6` is up, `5` is ringing, `4` is ring, `0` is down.
        state: u32,
    },
    /// The end of the answer to `CoreShowChannels`.
    CoreShowChannelsComplete {
        /// The action's id.
        action_id: &'a str,
        /// How many channels were listed.
        count: u32,
    },
    /// Asterisk stops.
    Shutdown,
    /// Any other event.
    Other {
        /// Its name.
        name: &'a str,
    },
}

impl Message {
    /// What this message is.
    pub fn kind(&self) -> Kind<'_> {
        if let Some(name) = self.get("Event") {
            return Kind::Event(self.event(name));
        }
        let Some(response) = self.get("Response") else {
            return Kind::Other;
        };
        let status = match response {
            "Success" => Status::Success,
            "Error" => Status::Error,
            "Goodbye" => Status::Goodbye,
            _ => Status::Other,
        };
        Kind::Response { status, action_id: self.get("ActionID"), message: self.text("Message") }
    }

    fn event<'a>(&'a self, name: &'a str) -> Event<'a> {
        let unique_id = self.text("Uniqueid");
        let channel = self.text("Channel");
        let action_id = self.text("ActionID");
        match name {
            "FullyBooted" => Event::FullyBooted { uptime_s: self.number("Uptime") },
            "Newchannel" => Event::Newchannel { unique_id, channel },
            "DialBegin" => Event::DialBegin { unique_id: self.text("DestUniqueid") },
            "DialState" => {
                Event::DialState { unique_id: self.text("DestUniqueid"), status: self.text("DialStatus") }
            }
            "DialEnd" => {
                Event::DialEnd { unique_id: self.text("DestUniqueid"), status: self.text("DialStatus") }
            }
            "Newstate" => Event::Newstate { unique_id, state: self.number("ChannelState") },
            "HangupRequest" => {
                let (cause, tech_cause) = (self.number("Cause"), self.number("TechCause"));
                Event::HangupRequest { unique_id, cause, tech_cause }
            }
            "SoftHangupRequest" => Event::SoftHangupRequest { unique_id },
            "Hangup" => {
                let (cause, tech_cause) = (self.number("Cause"), self.number("TechCause"));
                Event::Hangup { unique_id, cause, tech_cause }
            }
            "OriginateResponse" => Event::OriginateResponse {
                action_id,
                unique_id,
                answered: self.get("Response") == Some("Success"),
                reason: self.number("Reason"),
            },
            "CoreShowChannel" => {
                Event::CoreShowChannel { action_id, unique_id, channel, state: self.number("ChannelState") }
            }
            "CoreShowChannelsComplete" => {
                Event::CoreShowChannelsComplete { action_id, count: self.number("ListItems") }
            }
            "Shutdown" => Event::Shutdown,
            _ => Event::Other { name },
        }
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u32 {
        self.get_u32(name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn responses_and_events_are_told_apart() {
        // OriginateResponse is an event although it has a Response header.
        let m = Message::from_pairs([
            ("Event", "OriginateResponse"),
            ("ActionID", "a-1"),
            ("Response", "Failure"),
            ("Reason", "3"),
            ("Uniqueid", "a-1"),
        ]);
        assert_eq!(
            m.kind(),
            Kind::Event(Event::OriginateResponse {
                action_id: "a-1",
                unique_id: "a-1",
                answered: false,
                reason: reason::TIMEOUT
            })
        );
        let m = Message::from_pairs([("Response", "Error"), ("Message", "No such channel")]);
        let Kind::Response { status, action_id, message } = m.kind() else { panic!("{m:?}") };
        assert_eq!((status, action_id, message), (Status::Error, None, "No such channel"));
        assert_eq!(Message::from_pairs([("Action", "Ping")]).kind(), Kind::Other);
    }

    #[test]
    fn a_dial_event_is_about_the_dialled_channel() {
        let m = Message::from_pairs([
            ("Event", "DialEnd"),
            ("Uniqueid", "caller"),
            ("DestUniqueid", "a-1"),
            ("DialStatus", "BUSY"),
        ]);
        assert_eq!(m.kind(), Kind::Event(Event::DialEnd { unique_id: "a-1", status: "BUSY" }));
    }

    #[test]
    fn missing_or_odd_numbers_are_zero() {
        let m = Message::from_pairs([("Event", "Hangup"), ("Uniqueid", "a"), ("Cause", "-1")]);
        assert_eq!(m.kind(), Kind::Event(Event::Hangup { unique_id: "a", cause: 0, tech_cause: 0 }));
    }
}

//! Building actions: nothing in a value can start another header, another action or another variable.

use std::fmt;

use md5::{Digest, Md5};

use super::{Error, MAX_ACTION_HEADERS, MAX_ACTION_LINE_BYTES, Message};

/// An action under construction; every header is checked as it is added.
#[derive(Clone, PartialEq, Eq)]
pub struct Action {
    message: Message,
}

impl Action {
    /// An action of this name with its `ActionID`, which every response and the final event repeat.
    pub fn new(name: &str, action_id: &str) -> Result<Self, Error> {
        Self { message: Message::default() }.header("Action", name)?.header("ActionID", action_id)
    }

    /// Adds a header. Names may repeat. Refuses CR, LF and NUL in the value and lines Asterisk would drop.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Error::BadName);
        }
        if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(Error::ForbiddenByte { name: name.to_owned() });
        }
        if name.len() + 2 + value.len() > MAX_ACTION_LINE_BYTES {
            return Err(Error::ValueTooLong { name: name.to_owned() });
        }
        if self.message.headers.len() == MAX_ACTION_HEADERS {
            return Err(Error::ActionTooLong);
        }
        self.message.headers.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// Adds a channel variable to an Originate. Asterisk splits that header at commas and the dialplan expands
    /// `$`, quotes and brackets, so names are `[A-Za-z_][A-Za-z0-9_]*` and values `A-Za-z0-9` and `_-./:@+#*;=`.
    pub fn variable(self, name: &str, value: &str) -> Result<Self, Error> {
        let head = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !head || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Error::BadVariable { name: "?".to_owned() });
        }
        if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./:@+#*;=".contains(&b)) {
            return Err(Error::BadVariable { name: name.to_owned() });
        }
        self.header("Variable", &format!("{name}={value}"))
    }

    /// `Login` with the secret in clear, for loopback.
    pub fn login(action_id: &str, user: &str, secret: &str) -> Result<Self, Error> {
        Self::new("Login", action_id)?.header("Username", user)?.header("Secret", secret)
    }

    /// `Challenge`: asks for the text that [`Action::login_md5`] answers.
    pub fn challenge(action_id: &str) -> Result<Self, Error> {
        Self::new("Challenge", action_id)?.header("AuthType", "MD5")
    }

    /// `Login` that proves the secret without sending it.
    pub fn login_md5(action_id: &str, user: &str, secret: &str, challenge: &str) -> Result<Self, Error> {
        Self::new("Login", action_id)?
            .header("AuthType", "MD5")?
            .header("Username", user)?
            .header("Key", &challenge_key(challenge, secret))
    }

    /// `Hangup` of the channel with this name or unique id, with a Q.850 cause.
    pub fn hangup(action_id: &str, channel: &str, cause: u8) -> Result<Self, Error> {
        Self::new("Hangup", action_id)?.header("Channel", channel)?.header("Cause", &cause.to_string())
    }

    /// An asynchronous `Originate` into the dialplan.
    pub fn originate(action_id: &str, originate: &Originate<'_>) -> Result<Self, Error> {
        let mut action = Self::new("Originate", action_id)?
            .header("Channel", originate.channel)?
            .header("Context", originate.context)?
            .header("Exten", originate.exten)?
            .header("Priority", "1")?
            .header("Timeout", &originate.timeout_ms.to_string())?
            .header("ChannelId", originate.channel_id)?
            .header("Async", "true")?;
        if let Some(caller_id) = originate.caller_id {
            action = action.header("CallerID", caller_id)?;
        }
        for (name, value) in originate.variables {
            action = action.variable(name, value)?;
        }
        Ok(action)
    }

    /// The action's headers, in order.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The action as it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        self.message.encode()
    }
}

/// Never shows a secret or a number, see [`Message`]'s `Debug`.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

/// What an Originate needs.
#[derive(Clone, Copy)]
pub struct Originate<'a> {
    /// Technology and destination, for example `PJSIP/+15550100123@trunk-a`.
    pub channel: &'a str,
    /// Where an answered call enters the dialplan.
    pub context: &'a str,
    /// The extension in that context; the priority is 1.
    pub exten: &'a str,
    /// How long it may ring, in ms.
    pub timeout_ms: u32,
    /// The channel's unique id: the attempt's id. A live duplicate is refused by Asterisk.
    pub channel_id: &'a str,
    /// The number shown to the callee.
    pub caller_id: Option<&'a str>,
    /// Channel variables.
    pub variables: &'a [(&'a str, &'a str)],
}

/// The `Key` that answers a `Challenge`: the lower-case hex MD5 of challenge and secret.
pub fn challenge_key(challenge: &str, secret: &str) -> String {
    use fmt::Write as _;
    let digest = Md5::new().chain_update(challenge).chain_update(secret).finalize();
    digest.iter().fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::super::{Decoder, Item, Role};
    use super::*;

    fn call<'a>(variables: &'a [(&'a str, &'a str)]) -> Originate<'a> {
        Originate {
            channel: "PJSIP/+15550100123@trunk-a",
            context: "asterism",
            exten: "s",
            timeout_ms: 30_000,
            channel_id: "a-1",
            caller_id: Some("+15550100001"),
            variables,
        }
    }

    #[test]
    fn an_originate_reads_as_asterisk_expects_it() {
        let bytes = Action::originate("a-1", &call(&[("FLOW", "demo"), ("X", "a.b")])).unwrap().encode();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "Action: Originate\r\nActionID: a-1\r\nChannel: PJSIP/+15550100123@trunk-a\r\nContext: asterism\r\n\
             Exten: s\r\nPriority: 1\r\nTimeout: 30000\r\nChannelId: a-1\r\nAsync: true\r\n\
             CallerID: +15550100001\r\nVariable: FLOW=demo\r\nVariable: X=a.b\r\n\r\n"
        );
    }

    #[test]
    fn what_asterisk_would_split_or_expand_is_refused() {
        for value in ["a,b", "${SHELL(id)}", "a\"b", "a b", "x\r\ny", "a|b", "é"] {
            let error = Action::originate("1", &call(&[("X", value)])).unwrap_err();
            assert_eq!(error, Error::BadVariable { name: "X".into() }, "{value}");
        }
        for name in ["", "1A", "A=B", "__A,B", "SHELL(x)"] {
            let error = Action::originate("1", &call(&[(name, "v")])).unwrap_err();
            assert_eq!(error, Error::BadVariable { name: "?".into() }, "{name}");
        }
    }

    #[test]
    fn limits_are_those_of_asterisk() {
        let action = Action::new("Ping", "1").unwrap();
        let fits = "x".repeat(MAX_ACTION_LINE_BYTES - 3);
        assert!(action.clone().header("A", &fits).is_ok());
        let error = action.clone().header("A", &format!("{fits}x")).unwrap_err();
        assert_eq!(error, Error::ValueTooLong { name: "A".into() });
        let mut full = action;
        for _ in 0..MAX_ACTION_HEADERS - 2 {
            full = full.header("A", "1").unwrap();
        }
        assert_eq!(full.header("A", "1").unwrap_err(), Error::ActionTooLong);
    }

    #[test]
    fn the_challenge_answer_is_the_md5_of_both() {
        // printf '%s' 123456secret | md5sum
        assert_eq!(challenge_key("123456", "secret"), "992f3c4e7ec9a0e96173284c816612bd");
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", Action::login("7", "agent", "hush").unwrap());
        assert!(text.contains("Login") && !text.contains("hush"), "{text}");
    }

    proptest! {
        #[test]
        fn one_action_is_always_one_message(name in ".{0,30}", value in "(?s).{0,80}") {
            let Ok(action) = Action::new("Ping", "1").and_then(|a| a.header(&name, &value)) else {
                prop_assert!(
                    name.is_empty()
                        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                        || value.contains(['\r', '\n', '\0'])
                );
                return Ok(());
            };
            let mut decoder = Decoder::new(Role::Server);
            decoder.push(&action.encode());
            let Some(Ok(Item::Message(read))) = decoder.next() else { panic!("no message") };
            prop_assert_eq!(read.headers.len(), 3);
            prop_assert_eq!(read.headers[2].1.as_str(), value.trim_start_matches(' '));
            prop_assert!(decoder.next().is_none());
        }
    }
}

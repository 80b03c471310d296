//! One AMI message: an ordered list of headers.

use std::fmt;

/// Headers whose values hold nothing personal, so `Debug` may show them.
const SHOWN: [&str; 16] = [
    "Event",
    "Response",
    "Action",
    "ActionID",
    "Uniqueid",
    "ChannelState",
    "ChannelStateDesc",
    "DestUniqueid",
    "DestChannelState",
    "DialStatus",
    "Reason",
    "Cause",
    "Cause-txt",
    "Status",
    "ListItems",
    "EventList",
];

/// An AMI message as it came from the wire or goes to it: headers in order, names may repeat.
///
/// A line without a colon is kept as a header with an empty name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// `(name, value)` in wire order.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// A message from pairs, in order. Nothing is checked; actions go through [`super::Action`].
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { headers: pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// The first value of the header `name`, compared without case as Asterisk does.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every value of the header `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The first value of the header `name` as a number, if it is one.
    pub fn get_u32(&self, name: &str) -> Option<u32> {
        self.get(name)?.parse().ok()
    }

    /// Appends the message to `out` as it goes over the wire, blank line included.
    ///
    /// CR, LF and NUL in a name or value are written as spaces: a value can never start another header.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.headers {
            if !name.is_empty() {
                push_clean(out, name);
                out.extend_from_slice(b": ");
            }
            push_clean(out, value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The message as it goes over the wire, see [`Message::encode_into`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.encode_into(&mut out);
        out
    }
}

fn push_clean(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
}

/// Shows names, and values only of headers known to hold neither numbers nor secrets.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in &self.headers {
            let shown = SHOWN.iter().any(|s| s.eq_ignore_ascii_case(name));
            map.entry(name, if shown { value } else { &"…" as &dyn fmt::Debug });
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_are_found_without_case_and_may_repeat() {
        let m = Message::from_pairs([("Variable", "a=1"), ("variable", "b=2"), ("Reason", "4")]);
        assert_eq!(m.get("VARIABLE"), Some("a=1"));
        assert_eq!(m.get_all("Variable").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(m.get_u32("reason"), Some(4));
        assert_eq!(m.get_u32("variable"), None);
    }

    #[test]
    fn a_value_cannot_start_another_header() {
        let m = Message::from_pairs([("Event", "X\r\nAction: Originate\r\n\r\n")]);
        assert_eq!(m.encode(), b"Event: X  Action: Originate    \r\n\r\n");
    }

    #[test]
    fn debug_hides_numbers_and_secrets() {
        let m = Message::from_pairs([
            ("Event", "Newchannel"),
            ("CallerIDNum", "+15550100123"),
            ("Secret", "hush"),
        ]);
        let text = format!("{m:?}");
        assert!(text.contains("Newchannel"), "{text}");
        assert!(!text.contains("555") && !text.contains("hush"), "{text}");
    }
}

//! What the agent answers: one line of exactly 8 fields and an end mark, `1|STEP|verb|A1|A2|A3|A4|A5|.`.
//!
//! The dialplan looks for the mark in field 9: a reply cut short is none. The alphabet `A-Za-z0-9|_/.&*#+-` holds
//! nothing the dialplan could interpret, the length stays under 1,000 bytes, and prompts are names only.
//! What [`Reply::parse`] accepts, [`Reply::encode`] writes back byte for byte.

use super::form::{is_text, parse_number};
use super::{Error, LastVerb, MAX_PROMPTS, MAX_REPLY_BYTES, MAX_STEP};

/// Most digits one gather takes.
pub const MAX_GATHER_DIGITS: u32 = 32;
/// Longest wait for a digit, in seconds.
pub const MAX_GATHER_TIMEOUT_S: u32 = 60;
/// Most attempts of one gather.
pub const MAX_GATHER_ATTEMPTS: u32 = 9;
/// Longest pause, in seconds.
pub const MAX_PAUSE_S: u32 = 600;
/// Highest Q.850 cause.
pub const MAX_CAUSE: u32 = 127;

const FIELDS: usize = 9;
const END_MARK: &str = ".";
const NO_FINISH_KEY: &str = "none";

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The step it answers; the dialplan refuses any other.
    pub step: u32,
    /// What to do.
    pub verb: Verb,
}

/// What a call does in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Plays prompts one after the other.
    Play {
        /// Names of prompts, at least one.
        prompts: Vec<String>,
        /// Whether a digit stops them.
        barge: bool,
    },
    /// Plays prompts and takes digits; a digit stops the prompts.
    Gather {
        /// Names of prompts, may be empty.
        prompts: Vec<String>,
        /// How many digits end it, 1 to [`MAX_GATHER_DIGITS`].
        max_digits: u32,
        /// How long to wait for each digit, in seconds, 1 to [`MAX_GATHER_TIMEOUT_S`].
        timeout_s: u32,
        /// How often to play and wait while nothing is pressed, 1 to [`MAX_GATHER_ATTEMPTS`].
        attempts: u32,
        /// The key that ends it early: one of `0-9*#`.
        finish_key: Option<char>,
    },
    /// Silence.
    Pause {
        /// How long, in seconds, 0 to [`MAX_PAUSE_S`].
        seconds: u32,
    },
    /// Ends the call.
    Hangup {
        /// The Q.850 cause, 1 to [`MAX_CAUSE`]; 16 is a normal end.
        cause: u32,
    },
}

impl Verb {
    /// The verb's word on the wire and in the next question.
    pub fn name(&self) -> LastVerb {
        match self {
            Self::Play { .. } => LastVerb::Play,
            Self::Gather { .. } => LastVerb::Gather,
            Self::Pause { .. } => LastVerb::Pause,
            Self::Hangup { .. } => LastVerb::Hangup,
        }
    }

    fn parse(word: &str, args: [&str; 5]) -> Result<Self, Error> {
        let (verb, used) = match LastVerb::parse(word)? {
            LastVerb::Start => return Err(Error::unknown_verb(word)),
            LastVerb::Play => {
                let barge = match args[1] {
                    "0" => false,
                    "1" => true,
                    _ => return Err(Error::BadField("barge")),
                };
                (Self::Play { prompts: prompts(args[0], 1)?, barge }, 2)
            }
            LastVerb::Gather => {
                let gather = Self::Gather {
                    prompts: prompts(args[0], 0)?,
                    max_digits: number(args[1], 1, MAX_GATHER_DIGITS, "max_digits")?,
                    timeout_s: number(args[2], 1, MAX_GATHER_TIMEOUT_S, "timeout")?,
                    attempts: number(args[3], 1, MAX_GATHER_ATTEMPTS, "attempts")?,
                    finish_key: finish_key(args[4])?,
                };
                (gather, 5)
            }
            LastVerb::Pause => (Self::Pause { seconds: number(args[0], 0, MAX_PAUSE_S, "seconds")? }, 1),
            LastVerb::Hangup => (Self::Hangup { cause: number(args[0], 1, MAX_CAUSE, "cause")? }, 1),
        };
        if args[used..].iter().any(|arg| !arg.is_empty()) {
            return Err(Error::BadField("unused"));
        }
        Ok(verb)
    }

    fn args(&self) -> [String; 5] {
        let mut args: [String; 5] = Default::default();
        match self {
            Self::Play { prompts, barge } => {
                args[0] = prompts.join("&");
                args[1] = u8::from(*barge).to_string();
            }
            Self::Gather { prompts, max_digits, timeout_s, attempts, finish_key } => {
                args[0] = prompts.join("&");
                args[1] = max_digits.to_string();
                args[2] = timeout_s.to_string();
                args[3] = attempts.to_string();
                args[4] = finish_key.map_or_else(|| NO_FINISH_KEY.to_owned(), String::from);
            }
            Self::Pause { seconds } => args[0] = seconds.to_string(),
            Self::Hangup { cause } => args[0] = cause.to_string(),
        }
        args
    }
}

impl Reply {
    /// Reads a reply.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_REPLY_BYTES {
            return Err(Error::ReplyTooLong);
        }
        if !is_text(text, MAX_REPLY_BYTES, b"|_/.&*#+-") {
            return Err(Error::BadAlphabet);
        }
        let mut fields = [""; FIELDS];
        let mut count = 0;
        for field in text.split('|') {
            *fields.get_mut(count).ok_or(Error::FieldCount)? = field;
            count += 1;
        }
        if count != FIELDS {
            return Err(Error::FieldCount);
        }
        let [version, step, word, args @ .., mark] = fields;
        if mark != END_MARK {
            return Err(Error::FieldCount);
        }
        if version != "1" {
            return Err(Error::BadVersion);
        }
        Ok(Self { step: number(step, 1, MAX_STEP, "step")?, verb: Verb::parse(word, args)? })
    }

    /// The line, checked against the whole grammar: a value built by hand that breaks it is an error, never sent.
    pub fn encode(&self) -> Result<String, Error> {
        let text = format!(
            "1|{}|{}|{}|{END_MARK}",
            self.step,
            self.verb.name().as_str(),
            self.verb.args().join("|")
        );
        if Self::parse(&text)? == *self { Ok(text) } else { Err(Error::BadField("prompts")) }
    }
}

/// Whether `name` can name a prompt: `A-Za-z0-9_/.-`, segments that are not empty and do not begin with a dot.
pub fn is_prompt_name(name: &str) -> bool {
    is_text(name, MAX_REPLY_BYTES, b"_/.-") && name.split('/').all(|s| !s.is_empty() && !s.starts_with('.'))
}

fn prompts(list: &str, min: usize) -> Result<Vec<String>, Error> {
    let names: Vec<String> =
        if list.is_empty() { Vec::new() } else { list.split('&').map(str::to_owned).collect() };
    let in_range = (min..=MAX_PROMPTS).contains(&names.len());
    if in_range && names.iter().all(|name| is_prompt_name(name)) {
        Ok(names)
    } else {
        Err(Error::BadField("prompts"))
    }
}

/// A number in its one canonical form: no sign, no leading zero.
fn number(text: &str, min: u32, max: u32, name: &'static str) -> Result<u32, Error> {
    let canonical = text.len() == 1 || !text.starts_with('0');
    parse_number(text, max).filter(|n| *n >= min && canonical).ok_or(Error::BadField(name))
}

fn finish_key(text: &str) -> Result<Option<char>, Error> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        _ if text == NO_FINISH_KEY => Ok(None),
        (Some(key), None) if key.is_ascii_digit() || matches!(key, '*' | '#') => Ok(Some(key)),
        _ => Err(Error::BadField("finish_key")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_verb_reads_as_the_dialplan_splits_it() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        for (text, verb) in [
            ("1|1|play|m/hi&m/menu|1||||.", Verb::Play { prompts: names(&["m/hi", "m/menu"]), barge: true }),
            (
                "1|1|gather|menu|1|5|2|none|.",
                Verb::Gather {
                    prompts: names(&["menu"]),
                    max_digits: 1,
                    timeout_s: 5,
                    attempts: 2,
                    finish_key: None,
                },
            ),
            (
                "1|1|gather||32|60|9|#|.",
                Verb::Gather {
                    prompts: vec![],
                    max_digits: 32,
                    timeout_s: 60,
                    attempts: 9,
                    finish_key: Some('#'),
                },
            ),
            ("1|1|pause|0|||||.", Verb::Pause { seconds: 0 }),
            ("1|1|hangup|16|||||.", Verb::Hangup { cause: 16 }),
        ] {
            let reply = Reply { step: 1, verb };
            assert_eq!(Reply::parse(text), Ok(reply.clone()));
            assert_eq!(reply.encode().as_deref(), Ok(text));
        }
    }

    #[test]
    fn bad_replies_are_refused() {
        for (text, error) in [
            ("", Error::FieldCount),
            ("1|1|pause|1|||||", Error::FieldCount),
            ("1|1|pause|1|||||x", Error::FieldCount),
            ("1|1|pause|1||||.", Error::FieldCount),
            ("1|1|pause|1||||||.", Error::FieldCount),
            ("2|1|pause|1|||||.", Error::BadVersion),
            ("1|0|pause|1|||||.", Error::BadField("step")),
            ("1|01|pause|1|||||.", Error::BadField("step")),
            ("1|+1|pause|1|||||.", Error::BadField("step")),
            ("1|1|dial|1|||||.", Error::UnknownVerb("dial".into())),
            ("1|1|start||||||.", Error::UnknownVerb("start".into())),
            ("1|1|play||0||||.", Error::BadField("prompts")),
            ("1|1|play|a&&b|0||||.", Error::BadField("prompts")),
            ("1|1|play|../etc/passwd|0||||.", Error::BadField("prompts")),
            ("1|1|play|/etc/passwd|0||||.", Error::BadField("prompts")),
            ("1|1|play|a|2||||.", Error::BadField("barge")),
            ("1|1|play|a|0|x|||.", Error::BadField("unused")),
            ("1|1|gather|a|33|5|1|#|.", Error::BadField("max_digits")),
            ("1|1|gather|a|1|0|1|#|.", Error::BadField("timeout")),
            ("1|1|gather|a|1|5|1|##|.", Error::BadField("finish_key")),
            ("1|1|hangup|128|||||.", Error::BadField("cause")),
            ("1|1|play|${SHELL}|0||||.", Error::BadAlphabet),
            ("1|1|pause|1|||||.\n", Error::BadAlphabet),
        ] {
            assert_eq!(Reply::parse(text), Err(error), "{text}");
        }
        assert_eq!(Reply::parse(&"1".repeat(MAX_REPLY_BYTES + 1)), Err(Error::ReplyTooLong));
    }

    #[test]
    fn a_value_built_by_hand_cannot_break_the_line() {
        for prompts in [vec!["a&b".to_owned()], vec!["a|1|hangup".to_owned()], vec![String::new()], vec![]] {
            assert!(Reply { step: 1, verb: Verb::Play { prompts, barge: false } }.encode().is_err());
        }
        let prompts = vec!["x".repeat(900), "y".repeat(100)];
        let reply = Reply { step: 1, verb: Verb::Play { prompts, barge: false } };
        assert_eq!(reply.encode(), Err(Error::ReplyTooLong));
        assert_eq!(
            Reply { step: 0, verb: Verb::Pause { seconds: 1 } }.encode(),
            Err(Error::BadField("step"))
        );
    }

    fn verb() -> impl Strategy<Value = Verb> {
        let prompts = |min| {
            proptest::collection::vec("[a-z0-9_]{1,9}(/[a-z0-9_.-]{0,3}[a-z])?", min..5_usize)
                .prop_filter("segments beginning with a dot", |p| p.iter().all(|n| is_prompt_name(n)))
        };
        let key = proptest::option::of(proptest::sample::select("0123456789*#".chars().collect::<Vec<_>>()));
        prop_oneof![
            (prompts(1), any::<bool>()).prop_map(|(prompts, barge)| Verb::Play { prompts, barge }),
            (prompts(0), 1..=MAX_GATHER_DIGITS, 1..=MAX_GATHER_TIMEOUT_S, 1..=MAX_GATHER_ATTEMPTS, key)
                .prop_map(|(prompts, max_digits, timeout_s, attempts, finish_key)| Verb::Gather {
                    prompts,
                    max_digits,
                    timeout_s,
                    attempts,
                    finish_key
                }),
            (0..=MAX_PAUSE_S).prop_map(|seconds| Verb::Pause { seconds }),
            (1..=MAX_CAUSE).prop_map(|cause| Verb::Hangup { cause }),
        ]
    }

    proptest! {
        #[test]
        fn replies_round_trip(step in 1..=MAX_STEP, verb in verb()) {
            let reply = Reply { step, verb };
            let text = reply.encode().unwrap();
            prop_assert!(text.len() <= MAX_REPLY_BYTES && text.matches('|').count() == FIELDS - 1);
            prop_assert_eq!(Reply::parse(&text), Ok(reply));
        }

        #[test]
        fn what_parses_is_written_back_byte_for_byte(
            text in "1\\|[0-9]{1,3}\\|(play|gather|pause|hangup|dial)\\|[a-b&/.]{0,6}\\|[0-3]{0,2}\\|[0-9]?\\|[1-2]?\\|(none|#)?\\|\\.",
        ) {
            if let Ok(reply) = Reply::parse(&text) {
                prop_assert_eq!(reply.encode(), Ok(text));
            }
        }

        #[test]
        fn hostile_prompts_never_leave_the_grammar(prompts in proptest::collection::vec(".{0,20}", 0..4), barge in any::<bool>()) {
            if let Ok(text) = (Reply { step: 7, verb: Verb::Play { prompts: prompts.clone(), barge } }).encode() {
                prop_assert!(prompts.iter().all(|p| is_prompt_name(p)));
                prop_assert!(is_text(&text, MAX_REPLY_BYTES, b"|_/.&*#+-"));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
            let _ = Reply::parse(&text);
        }
    }
}

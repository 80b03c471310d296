//! What the agent answers: one line of exactly 9 fields, `1|STEP|verb|A1|A2|A3|A4|A5|LANGUAGE.`, the last of which may be the
//! end mark alone.
//!
//! The dialplan looks for the mark at the end of field 9: a reply cut short is none. The verbs are [`asterism_domain::logic`]'s; the
//! length stays under 1,000 bytes. What [`Reply::parse`] accepts, [`Reply::encode`] writes back byte for byte.

use asterism_domain::logic::{VERB_ARGS, Verb};
use asterism_domain::media::is_language;

use super::form::{is_text, parse_number};
use super::{Error, MAX_REPLY_BYTES, MAX_STEP};

const FIELDS: usize = VERB_ARGS + 4;
const END_MARK: &str = ".";

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The step it answers; the dialplan refuses any other.
    pub step: u32,
    /// What to do.
    pub verb: Verb,
    /// Which folder of sounds it is played from; empty = the PBX's own language. What is not there is played from that.
    pub language: String,
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
        let language = mark.strip_suffix(END_MARK).ok_or(Error::FieldCount)?;
        if !language.is_empty() && !is_language(language) {
            return Err(Error::BadField("language"));
        }
        if version != "1" {
            return Err(Error::BadVersion);
        }
        let canonical = !step.starts_with('0');
        let step = parse_number(step, MAX_STEP).filter(|_| canonical).ok_or(Error::BadField("step"))?;
        Ok(Self { step, verb: Verb::of(word, args)?, language: language.to_owned() })
    }

    /// The line, checked against the whole grammar: a value built by hand that breaks it is an error, never sent.
    pub fn encode(&self) -> Result<String, Error> {
        let text = format!(
            "1|{}|{}|{}|{}{END_MARK}",
            self.step,
            self.verb.name().as_str(),
            self.verb.args().join("|"),
            self.language
        );
        if Self::parse(&text)? == *self { Ok(text) } else { Err(Error::BadField("prompts")) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use asterism_domain::logic::{
        Address, Finish, MAX_ATTEMPTS, MAX_CAUSE, MAX_DIGITS, MAX_PAUSE_S, MAX_RECORD_S, MAX_RING_S,
        MAX_TALK_S, MAX_TIMEOUT_S, VerbError, is_prompt_name,
    };
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn bad(argument: &'static str) -> Error {
        VerbError::BadArgument(argument).into()
    }

    fn unknown(word: &str) -> Error {
        VerbError::Unknown(word.to_owned()).into()
    }

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
            ("1|1|say|en/digits/1|0||||.", Verb::Say { parts: names(&["en/digits/1"]), barge: false }),
            ("1|1|optout||||||.", Verb::Optout { prompts: vec![] }),
            (
                "1|1|dial|+12025550188|30|600|+12025550100|a1b2|.",
                Verb::Dial {
                    to: address("+12025550188"),
                    ring_s: 30,
                    talk_s: 600,
                    caller_id: Some(address("+12025550100")),
                    by: Some(address("a1b2")),
                },
            ),
            ("1|1|record|60|3|#|||.", Verb::Record { max_s: 60, silence_s: 3, finish: Finish::Hash }),
            ("1|1|record|3600|0|none|||.", Verb::Record { max_s: 3_600, silence_s: 0, finish: Finish::None }),
        ] {
            let reply = Reply { step: 1, verb, language: String::new() };
            assert_eq!(Reply::parse(text), Ok(reply.clone()));
            assert_eq!(reply.encode().as_deref(), Ok(text));
        }
        let spoken = Reply::parse("1|1|play|m/hi|0||||de_AT.").unwrap();
        assert_eq!(
            (spoken.language.as_str(), spoken.encode().as_deref()),
            ("de_AT", Ok("1|1|play|m/hi|0||||de_AT."))
        );
    }

    #[test]
    fn bad_replies_are_refused() {
        for (text, error) in [
            ("", Error::FieldCount),
            ("1|1|pause|1|||||", Error::FieldCount),
            ("1|1|pause|1|||||x", Error::FieldCount),
            ("1|1|pause|1||||.", Error::FieldCount),
            ("1|1|pause|1||||||.", Error::FieldCount),
            ("1|1|pause|1|||||d", Error::FieldCount),
            ("1|1|pause|1|||||de", Error::FieldCount),
            ("1|1|pause|1|||||DE.", Error::BadField("language")),
            ("1|1|pause|1|||||../m.", Error::BadField("language")),
            ("2|1|pause|1|||||.", Error::BadVersion),
            ("1|0|pause|1|||||.", Error::BadField("step")),
            ("1|01|pause|1|||||.", Error::BadField("step")),
            ("1|+1|pause|1|||||.", Error::BadField("step")),
            ("1|1|dial|1|||||.", bad("ring")),
            ("1|1|dial||30|60|||.", bad("to")),
            ("1|1|dial|a/b|30|60|||.", bad("to")),
            ("1|1|dial|+1&+2|30|60|||.", bad("to")),
            ("1|1|dial|+1|121|60|||.", bad("ring")),
            ("1|1|dial|+1|30|14401|||.", bad("talk")),
            ("1|1|dial|+1|30|60|a.b||.", bad("caller_id")),
            ("1|1|dial|+1|30|60||a*b|.", bad("by")),
            ("1|1|exec|1|||||.", unknown("exec")),
            ("1|1|start||||||.", unknown("start")),
            ("1|1|play||0||||.", bad("prompts")),
            ("1|1|play|a&&b|0||||.", bad("prompts")),
            ("1|1|play|../etc/passwd|0||||.", bad("prompts")),
            ("1|1|play|/etc/passwd|0||||.", bad("prompts")),
            ("1|1|play|a|2||||.", bad("barge")),
            ("1|1|play|a|0|x|||.", bad("unused")),
            ("1|1|gather|a|33|5|1|#|.", bad("max_digits")),
            ("1|1|gather|a|1|0|1|#|.", bad("timeout")),
            ("1|1|gather|a|1|5|1|##|.", bad("finish_key")),
            ("1|1|hangup|128|||||.", bad("cause")),
            ("1|1|record|0|3|#|||.", bad("max_s")),
            ("1|1|record|3601|3|#|||.", bad("max_s")),
            ("1|1|record|60|61|#|||.", bad("silence")),
            ("1|1|record|60|3|9|||.", bad("finish")),
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
            assert!(
                Reply { step: 1, verb: Verb::Play { prompts, barge: false }, language: String::new() }
                    .encode()
                    .is_err()
            );
        }
        let prompts = vec!["x".repeat(900), "y".repeat(100)];
        let reply = Reply { step: 1, verb: Verb::Play { prompts, barge: false }, language: String::new() };
        assert_eq!(reply.encode(), Err(Error::ReplyTooLong));
        assert_eq!(
            Reply { step: 0, verb: Verb::Pause { seconds: 1 }, language: String::new() }.encode(),
            Err(Error::BadField("step"))
        );
    }

    fn leg() -> impl Strategy<Value = Address> {
        "\\+?[A-Za-z0-9_-]{1,63}".prop_map(|text| address(&text))
    }

    fn verb() -> impl Strategy<Value = Verb> {
        let prompts = |min| {
            proptest::collection::vec("[a-z0-9_]{1,9}(/[a-z0-9_.-]{0,3}[a-z])?", min..5_usize)
                .prop_filter("segments beginning with a dot", |p| p.iter().all(|n| is_prompt_name(n)))
        };
        let key = proptest::option::of(proptest::sample::select("0123456789*#".chars().collect::<Vec<_>>()));
        prop_oneof![
            (prompts(1), any::<bool>()).prop_map(|(prompts, barge)| Verb::Play { prompts, barge }),
            (prompts(0), 1..=MAX_DIGITS, 1..=MAX_TIMEOUT_S, 1..=MAX_ATTEMPTS, key).prop_map(
                |(prompts, max_digits, timeout_s, attempts, finish_key)| Verb::Gather {
                    prompts,
                    max_digits,
                    timeout_s,
                    attempts,
                    finish_key
                }
            ),
            (0..=MAX_PAUSE_S).prop_map(|seconds| Verb::Pause { seconds }),
            (1..=MAX_CAUSE).prop_map(|cause| Verb::Hangup { cause }),
            (prompts(1), any::<bool>()).prop_map(|(parts, barge)| Verb::Say { parts, barge }),
            prompts(0).prop_map(|prompts| Verb::Optout { prompts }),
            (leg(), 1..=MAX_RING_S, 1..=MAX_TALK_S, proptest::option::of(leg()), proptest::option::of(leg()))
                .prop_map(|(to, ring_s, talk_s, caller_id, by)| Verb::Dial {
                    to,
                    ring_s,
                    talk_s,
                    caller_id,
                    by
                }),
            (1..=MAX_RECORD_S, 0..=MAX_TIMEOUT_S, proptest::sample::select(Finish::ALL.to_vec()))
                .prop_map(|(max_s, silence_s, finish)| Verb::Record { max_s, silence_s, finish }),
        ]
    }

    proptest! {
        #[test]
        fn replies_round_trip(step in 1..=MAX_STEP, verb in verb(), language in "([a-z]{2,3}(_[A-Z]{2})?)?") {
            let reply = Reply { step, verb, language };
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
            if let Ok(text) = (Reply { step: 7, verb: Verb::Play { prompts: prompts.clone(), barge }, language: String::new() }).encode() {
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

//! What the dialplan says: the question before a step and the report at the end of a call.

use std::fmt;

use asterism_domain::logic::LastVerb;

use super::form::{Form, is_text, push};
use super::{
    Error, Heard, Leg, MAX_CHANNEL_ID_BYTES, MAX_FLOW_BYTES, MAX_MISSES, MAX_RESULT_BYTES, MAX_STATUS_BYTES,
    MAX_STEP,
};

/// "What next?": posted by the dialplan before each step.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// `c`: the channel's unique id, which is the attempt's id. 1 to 149 of `A-Za-z0-9._-`.
    pub channel_id: String,
    /// `n`: the number of the step asked for, from 1.
    pub step: u32,
    /// `m`: how often this step was asked before without a usable reply.
    pub misses: u32,
    /// `f`: the flow, up to 64 of `A-Za-z0-9._-`. Empty if the originate named none.
    pub flow: String,
    /// `v`: the verb run last.
    pub last_verb: LastVerb,
    /// `st`: how it ended, for example `OK`, `TIMEOUT`, `SUCCESS`.
    pub status: String,
    /// `d`: its result: the digits pressed. May be personal, never logged.
    pub digits: String,
    /// `am`, `ac`, `at`: what was made of who answered, where that was asked for.
    pub listened: Option<Heard>,
    /// `lc`, `lb`, `la`, `le`: how the last leg that was dialled ended.
    pub leg: Option<Leg>,
}

impl Question {
    /// Reads the body of a question. Fields this build does not know are ignored.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let form = Form::parse(body)?;
        let question = Self {
            channel_id: form.text("c", MAX_CHANNEL_ID_BYTES, b"._-")?,
            step: form.number("n", MAX_STEP)?,
            misses: form.number("m", MAX_MISSES)?,
            flow: form.text("f", MAX_FLOW_BYTES, b"._-")?,
            last_verb: LastVerb::parse(form.get("v")?.unwrap_or_default())?,
            status: form.text("st", MAX_STATUS_BYTES, b"_-")?,
            digits: form.text("d", MAX_RESULT_BYTES, b"._-*#")?,
            listened: Heard::of(&form)?,
            leg: Leg::of(&form)?,
        };
        if question.channel_id.is_empty() {
            return Err(Error::BadField("c"));
        }
        if question.step == 0 {
            return Err(Error::BadField("n"));
        }
        Ok(question)
    }

    /// The body as the dialplan posts it.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(128);
        push(&mut out, "c", &self.channel_id);
        push(&mut out, "n", &self.step.to_string());
        push(&mut out, "m", &self.misses.to_string());
        push(&mut out, "f", &self.flow);
        push(&mut out, "v", self.last_verb.as_str());
        push(&mut out, "st", &self.status);
        push(&mut out, "d", &self.digits);
        self.listened.iter().for_each(|heard| heard.push(&mut out));
        self.leg.iter().for_each(|leg| leg.push(&mut out));
        out
    }
}

/// Shows how many digits there are, not which.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("channel_id", &self.channel_id)
            .field("step", &self.step)
            .field("misses", &self.misses)
            .field("flow", &self.flow)
            .field("last_verb", &self.last_verb)
            .field("status", &self.status)
            .field("digit_count", &self.digits.len())
            .field("listened", &self.listened)
            .field("leg", &self.leg)
            .finish()
    }
}

/// The end of a call as its dialplan saw it: posted once when the channel hangs up, or left in a journal file.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EndReport {
    /// `c`: the channel's unique id, which is the attempt's id.
    pub channel_id: String,
    /// `n`: the step it was in, 0 before the first.
    pub step: u32,
    /// `v`: the verb it ran.
    pub last_verb: LastVerb,
    /// `st`: how that ended; empty if the hang-up interrupted it, `done` after `hangup`, `lost` after too many misses.
    pub status: String,
    /// `d`: its result.
    pub digits: String,
    /// `ta`: every digit pressed during the call, taken by a verb or not.
    pub typed_ahead: String,
    /// `cause`: the Q.850 hang-up cause. Asterisk 22 says 0 where the callee hung up.
    pub cause: u32,
    /// `rec`: how a recording ended, empty without one.
    pub recording: String,
    /// `dial`: how the leg ended that was dialled when the call did, empty without one.
    pub dial: String,
    /// `rx`: RTP packets received, as Asterisk writes it; empty if unknown.
    pub rx_packets: String,
    /// `lp`: RTP packets lost; empty if unknown.
    pub lost_packets: String,
    /// `jit`: jitter in seconds, a decimal fraction; empty if unknown.
    pub jitter_s: String,
    /// `rtt`: round trip in seconds, a decimal fraction; empty if unknown.
    pub rtt_s: String,
    /// `am`, `ac`, `at`: what was made of who answered, where that was asked for.
    pub listened: Option<Heard>,
    /// `lb`, `la`, `le`: the times of the leg that was dialled when the call ended.
    pub leg: Option<Leg>,
}

impl EndReport {
    /// Reads the body of a report, or a journal file. Fields this build does not know are ignored.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let form = Form::parse(body)?;
        let last_verb = match form.get("v")?.unwrap_or_default() {
            "" => LastVerb::Start, // hung up before the dialplan set it
            word => LastVerb::parse(word)?,
        };
        let report = Self {
            channel_id: form.text("c", MAX_CHANNEL_ID_BYTES, b"._-")?,
            step: form.number("n", MAX_STEP)?,
            last_verb,
            status: form.text("st", MAX_STATUS_BYTES, b"_-")?,
            digits: form.text("d", MAX_RESULT_BYTES, b"._-*#")?,
            typed_ahead: form.text("ta", MAX_STATUS_BYTES, b"*#")?,
            cause: form.number("cause", 127)?,
            recording: form.text("rec", MAX_STATUS_BYTES, b"_-")?,
            dial: form.text("dial", MAX_STATUS_BYTES, b"_-")?,
            rx_packets: form.text("rx", MAX_STATUS_BYTES, b"._-")?,
            lost_packets: form.text("lp", MAX_STATUS_BYTES, b"._-")?,
            jitter_s: form.text("jit", MAX_STATUS_BYTES, b"._-")?,
            rtt_s: form.text("rtt", MAX_STATUS_BYTES, b"._-")?,
            listened: Heard::of(&form)?,
            leg: Leg::of(&form)?,
        };
        if report.channel_id.is_empty() {
            return Err(Error::BadField("c"));
        }
        Ok(report)
    }

    /// The body as the dialplan posts it.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(160);
        push(&mut out, "c", &self.channel_id);
        push(&mut out, "n", &self.step.to_string());
        push(&mut out, "v", self.last_verb.as_str());
        push(&mut out, "st", &self.status);
        push(&mut out, "d", &self.digits);
        push(&mut out, "ta", &self.typed_ahead);
        push(&mut out, "cause", &self.cause.to_string());
        push(&mut out, "rec", &self.recording);
        push(&mut out, "dial", &self.dial);
        push(&mut out, "rx", &self.rx_packets);
        push(&mut out, "lp", &self.lost_packets);
        push(&mut out, "jit", &self.jitter_s);
        push(&mut out, "rtt", &self.rtt_s);
        self.listened.iter().for_each(|heard| heard.push(&mut out));
        self.leg.iter().for_each(|leg| leg.push(&mut out));
        out
    }
}

/// Shows how many digits there are, not which.
impl fmt::Debug for EndReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndReport")
            .field("channel_id", &self.channel_id)
            .field("step", &self.step)
            .field("last_verb", &self.last_verb)
            .field("status", &self.status)
            .field("digit_count", &self.digits.len())
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// Whether `id` can be the unique id of a channel: 1 to 149 of `A-Za-z0-9._-`.
pub fn is_channel_id(id: &str) -> bool {
    !id.is_empty() && is_text(id, MAX_CHANNEL_ID_BYTES, b"._-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use asterism_domain::logic::VerbError;
    use proptest::prelude::*;

    use super::*;

    fn unknown(word: &str) -> Error {
        VerbError::Unknown(word.to_owned()).into()
    }

    #[test]
    fn a_question_as_the_dialplan_writes_it() {
        let q = Question::parse(b"c=i-0a1-17.3&n=2&m=0&f=demo&v=gather&st=OK&d=1%23%2A").unwrap();
        assert_eq!(
            (q.channel_id.as_str(), q.step, q.misses, q.flow.as_str(), q.last_verb, q.status.as_str()),
            ("i-0a1-17.3", 2, 0, "demo", LastVerb::Gather, "OK")
        );
        assert_eq!(q.digits, "1#*");
        assert!(!format!("{q:?}").contains("1#*"));
    }

    #[test]
    fn an_end_report_before_the_first_step_and_from_a_journal() {
        let e = EndReport::parse(b"c=a&n=&v=&st=&d=&ta=&cause=&rec=&dial=&rx=&lp=&jit=&rtt=\n").unwrap();
        assert_eq!((e.step, e.last_verb, e.cause), (0, LastVerb::Start, 0));
        let e = EndReport::parse(b"c=a&n=3&v=play&st=&d=&ta=12&cause=16&rx=403&lp=0&jit=0.0003&rtt=0.01")
            .unwrap();
        assert_eq!((e.step, e.last_verb, e.cause, e.typed_ahead.as_str()), (3, LastVerb::Play, 16, "12"));
        assert_eq!(e.jitter_s, "0.0003");
    }

    #[test]
    fn bad_questions_are_refused_with_the_field() {
        for (body, error) in [
            ("", Error::BadForm),
            ("n=1&v=start", Error::BadField("c")),
            ("c=a&n=0&v=start", Error::BadField("n")),
            ("c=a&n=10001&v=start", Error::BadField("n")),
            ("c=a&n=%2B1&v=start", Error::BadField("n")),
            ("c=a&n=1&m=10&v=start", Error::BadField("m")),
            ("c=a&c=b&n=1&v=start", Error::Twice("c")),
            ("c=a/../b&n=1&v=start", Error::BadField("c")),
            ("c=a&n=1&v=start&f=a%20b", Error::BadField("f")),
            ("c=a&n=1&v=start&d=%0D", Error::BadForm),
            ("c=a&n=1&v=start&d=%4", Error::BadForm),
            ("c=a&n=1&v=System", unknown("System")),
            ("c=a&n=1", unknown("")),
        ] {
            assert_eq!(Question::parse(body.as_bytes()).unwrap_err(), error, "{body}");
        }
        assert_eq!(Question::parse(&vec![b'a'; 4096]).unwrap_err(), Error::BodyTooLong);
        assert_eq!(Question::parse("a=1&".repeat(40).as_bytes()).unwrap_err(), Error::TooManyFields);
    }

    fn verb() -> impl Strategy<Value = LastVerb> {
        proptest::sample::select(LastVerb::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn questions_round_trip(
            channel_id in "[A-Za-z0-9._-]{1,149}", step in 1..=MAX_STEP, misses in 0..=MAX_MISSES,
            flow in "[A-Za-z0-9._-]{0,64}", last_verb in verb(), status in "[A-Z]{0,32}",
            digits in "[0-9A-D*#]{0,64}",
        ) {
            let q = Question { channel_id, step, misses, flow, last_verb, status, digits, listened: None, leg: None };
            prop_assert_eq!(Question::parse(q.encode().as_bytes()), Ok(q));
        }

        #[test]
        fn end_reports_round_trip(
            channel_id in "[A-Za-z0-9._-]{1,149}", step in 0..=MAX_STEP, last_verb in verb(),
            digits in "[0-9*#]{0,32}", typed_ahead in "[0-9*#]{0,32}", cause in 0..=127_u32,
            jitter_s in "[0-9]\\.[0-9]{6}",
        ) {
            let e = EndReport { channel_id, step, last_verb, digits, typed_ahead, cause, jitter_s, ..EndReport::default() };
            prop_assert_eq!(EndReport::parse(e.encode().as_bytes()), Ok(e));
        }

        #[test]
        fn arbitrary_bodies_never_panic_and_stay_in_their_alphabet(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(q) = Question::parse(&body) {
                prop_assert!(is_channel_id(&q.channel_id));
            }
            let _ = EndReport::parse(&body);
        }

        #[test]
        fn hostile_values_of_one_field(value in "[ -~]{0,40}") {
            let mut body = String::from("c=a&n=1&v=start");
            push(&mut body, "d", &value);
            match Question::parse(body.as_bytes()) {
                Ok(q) => prop_assert_eq!(q.digits, value),
                Err(error) => {
                    prop_assert_eq!(error, Error::BadField("d"));
                    prop_assert!(!is_text(&value, MAX_RESULT_BYTES, b"._-*#"));
                }
            }
        }
    }
}

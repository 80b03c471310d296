//! What Asterisk's `AMD()` made of who answered.

use serde::{Deserialize, Serialize};

use super::Error;
use super::form::{Form, push};

/// Longest cause, in bytes.
const CAUSE_MAX_BYTES: usize = 64;
/// Longest time listened, in ms: the dialplan gives up after five seconds.
const TOOK_MAX_MS: u32 = 60_000;

/// Who it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listened {
    /// `HUMAN`.
    Human,
    /// `MACHINE`.
    Machine,
    /// `NOTSURE`, and whatever else is said: nobody is hung up on for it.
    NotSure,
}

impl Listened {
    /// The wire number in `MachineJudged`.
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Human => "HUMAN",
            Self::Machine => "MACHINE",
            Self::NotSure => "NOTSURE",
        }
    }
}

/// Verdict, why, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who it was.
    pub verdict: Listened,
    /// The PBX's own words, like `LONGGREETING-1500-1500`.
    pub cause: String,
    /// From the answer on, in ms.
    pub took_ms: u32,
}

impl Heard {
    /// Of a form; none where nothing was listened to.
    pub(super) fn of(form: &Form) -> Result<Option<Self>, Error> {
        let word = form.text("am", 16, b"")?;
        let cause = form.text("ac", CAUSE_MAX_BYTES, b"-")?;
        // A clock that is set meanwhile says nonsense; a call is not lost for it.
        let took_ms = form.number("at", u32::MAX)?.min(TOOK_MAX_MS);
        let verdict = match word.as_str() {
            "" => return Ok(None),
            "HUMAN" => Listened::Human,
            "MACHINE" => Listened::Machine,
            _ => Listened::NotSure,
        };
        Ok(Some(Self { verdict, cause, took_ms }))
    }

    /// As the dialplan writes it.
    pub(super) fn push(&self, out: &mut String) {
        push(out, "am", self.verdict.word());
        push(out, "ac", &self.cause);
        push(out, "at", &self.took_ms.to_string());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_heard_is_read_and_whatever_is_not_a_machine_is_none() {
        let read = |body: &str| Heard::of(&Form::parse(body.as_bytes()).unwrap());
        let machine = read("am=MACHINE&ac=LONGGREETING-1500-1500&at=1820").unwrap().unwrap();
        assert_eq!((machine.verdict, machine.took_ms), (Listened::Machine, 1820));
        assert_eq!(machine.cause, "LONGGREETING-1500-1500");
        let mut again = String::new();
        machine.push(&mut again);
        assert_eq!(again, "am=MACHINE&ac=LONGGREETING-1500-1500&at=1820");
        assert_eq!(read("am=HUMAN&ac=HUMAN-800-800&at=1").unwrap().unwrap().verdict, Listened::Human);
        assert_eq!(read("am=HANGUP&ac=&at=").unwrap().unwrap().verdict, Listened::NotSure);
        assert_eq!(read("am=&ac=&at=").unwrap(), None);
        assert_eq!(read("c=a").unwrap(), None);
        assert_eq!(read("am=HUMAN&at=4000000000").unwrap().unwrap().took_ms, 60_000);
        for bad in ["am=MACHINE&ac=a%0ab", "am=MACHINE&at=-1", "am=A%26B"] {
            assert!(Form::parse(bad.as_bytes()).and_then(|form| Heard::of(&form)).is_err(), "{bad}");
        }
    }
}

//! What is known of a call's second leg once it is over.

use super::Error;
use super::form::{Form, push};

/// Longest time of a leg that is told, in ms: above what the dialplan allows.
const MAX_MS: u32 = 24 * 3_600_000;

/// Its cause and times. The dialplan says when it began (`lb`), was answered (`la`, empty if it was not) and ended (`le`), in ms
/// of its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leg {
    /// `lc`: the Q.850 cause; 0 where nobody said one.
    pub cause: u32,
    /// From its beginning to its end, in ms.
    pub dialled_ms: u32,
    /// From its answer to its end, in ms.
    pub talk_ms: u32,
}

impl Leg {
    /// Of a form; none where nothing was dialled.
    pub(super) fn of(form: &Form) -> Result<Option<Self>, Error> {
        let (cause, begun) = (form.number("lc", 127)?, time(form, "lb")?);
        let (answered, ended) = (time(form, "la")?, time(form, "le")?);
        let (Some(begun), Some(ended)) = (begun, ended) else { return Ok(None) };
        // A clock that is set meanwhile says nonsense; a call is not lost for it.
        let since = |at: u64| u32::try_from(ended.saturating_sub(at)).unwrap_or(MAX_MS).min(MAX_MS);
        Ok(Some(Self { cause, dialled_ms: since(begun), talk_ms: answered.map_or(0, since) }))
    }

    /// As the dialplan writes it.
    pub(super) fn push(&self, out: &mut String) {
        push(out, "lc", &self.cause.to_string());
        push(out, "lb", "0");
        let answered = if self.talk_ms > 0 { self.ring_ms().to_string() } else { String::new() };
        push(out, "la", &answered);
        push(out, "le", &self.dialled_ms.to_string());
    }

    /// How long it rang, in ms.
    pub fn ring_ms(&self) -> u32 {
        self.dialled_ms.saturating_sub(self.talk_ms)
    }
}

/// A time in ms; none where the field is empty.
fn time(form: &Form, name: &'static str) -> Result<Option<u64>, Error> {
    match form.text(name, 16, b"")?.as_str() {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| Error::BadField(name)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_where_something_was_dialled() {
        let read = |body: &str| Leg::of(&Form::parse(body.as_bytes()).unwrap());
        let leg = read("lc=17&lb=1764700000000&la=1764700003000&le=1764700004200").unwrap().unwrap();
        assert_eq!((leg.cause, leg.ring_ms(), leg.talk_ms), (17, 3_000, 1_200));
        let mut again = String::new();
        leg.push(&mut again);
        assert_eq!(again, "lc=17&lb=0&la=3000&le=4200");
        assert_eq!(read(&again).unwrap(), Some(leg));
        assert_eq!(read("lc=16&lb=100&la=&le=1000").unwrap().unwrap().talk_ms, 0, "nobody answered");
        assert_eq!(read("lb=&la=&le=").unwrap(), None);
        assert_eq!(read("c=a").unwrap(), None);
        assert_eq!(read("lb=0&le=4000000000").unwrap().unwrap().dialled_ms, MAX_MS);
        for bad in ["lb=-1", "lb=1&lc=128", "lb=${x}", "lb=1&le=a", "lb=99999999999999999"] {
            assert!(Form::parse(bad.as_bytes()).and_then(|form| Leg::of(&form)).is_err(), "{bad}");
        }
    }
}

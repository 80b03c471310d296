//! Values as people write them: lengths of time, telephone numbers.

use std::fmt;
use std::str::FromStr;

use asterism_media_sync::publish::Format;

/// A format of prompts, by its file extension.
pub(super) fn format(text: &str) -> Result<Format, String> {
    let known = || Format::ALL.map(Format::extension).join(", ");
    Format::of_extension(text).ok_or_else(|| format!("expected one of {}", known()))
}

/// A length of time in ms, written `1500ms`, `30s`, `2m` or `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a time like 1500ms, 30s, 2m or 1h".to_owned();
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let (number, unit) = text.split_at(unit_at);
        let factor: u32 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(expected()),
        };
        let number: u32 = number.parse().map_err(|_| expected())?;
        number.checked_mul(factor).map(Self).ok_or_else(|| "more than 49 days".to_owned())
    }
}

/// A number as it was typed. It is read later, so that no message repeats it.
#[derive(Clone, PartialEq, Eq)]
pub struct Number(pub String);

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Number(masked)")
    }
}

impl From<&str> for Number {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_need_a_unit() {
        let read = |text: &str| text.parse::<Millis>().map(|time| time.0);
        assert_eq!(read("1500ms"), Ok(1_500));
        assert_eq!(read("30s"), Ok(30_000));
        assert_eq!(read("2m"), Ok(120_000));
        assert_eq!(read("1h"), Ok(3_600_000));
        for text in ["", "30", "s", "-1s", "1.5s", "30 s", "30S", "99999999999s", "2000h"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_number_is_not_shown() {
        assert_eq!(format!("{:?}", Number::from("+12025550123")), "Number(masked)");
    }

    proptest! {
        #[test]
        fn any_time_is_judged_without_panic(text in "[0-9]{0,12}\\PC{0,4}") {
            let _ = text.parse::<Millis>();
        }
    }
}

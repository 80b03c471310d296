//! `say`: a value of the call by recorded parts.
//!
//! Two sets of parts. Asterisk's own sounds, which are English and know digits, numbers and dates; or prompts of the
//! campaign, in the call's language, whose names begin with a word of the author's. Those are cut so that no grammar is
//! needed: 0 to 99 and the hundreds are a prompt each, so that "einundzwanzig" and "quatre-vingt-onze" are said as people
//! say them, and one thousand, one million and one of a currency have a prompt of their own.

use chrono::{Datelike, NaiveDate};

/// Highest number that is said.
pub const MAX_NUMBER: u32 = 999_999_999;
/// Most keys said one by one.
pub const MAX_SAID_DIGITS: usize = 16;
/// Longest word that names of the author's own parts begin with, in bytes.
pub const MAX_SOUNDS_BYTES: usize = 12;

/// What a value is said as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SayKind {
    /// Key by key: 0-9, `*` and `#`, spaces and `-` left out.
    Digits,
    /// A whole number, with `-` before it.
    Number,
    /// `YYYY-MM-DD`: month and day, in the order of the language.
    Date,
    /// A whole number, or one with two digits behind a point.
    Money,
}

impl SayKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Digits, Self::Number, Self::Date, Self::Money];

    /// Its key in a flow and in an answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Number => "number",
            Self::Date => "date",
            Self::Money => "money",
        }
    }
}

/// How a value is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Say {
    /// As what.
    pub kind: SayKind,
    /// The word that the campaign's prompts for it begin with; none for Asterisk's own sounds.
    pub sounds: Option<String>,
    /// Highest number, or amount of whole currency, 1 to [`MAX_NUMBER`]: what is higher has no prompts.
    pub max: u32,
    /// Code of the currency, three small letters; with money only.
    pub currency: String,
    /// Whether a date is said with its year.
    pub year: bool,
    /// Whether a key stops it.
    pub barge: bool,
}

impl Say {
    /// Why it cannot be said at all, whatever the value.
    pub fn wrong(&self) -> Option<&'static str> {
        let own = self.sounds.is_some();
        if self.kind == SayKind::Money && !own {
            return Some(
                "Asterisk's own sounds know no currency; record your own and name them with sounds = \"say\"",
            );
        }
        let code = self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_lowercase());
        match self.kind {
            SayKind::Money if !code => Some("currency is a code of three small letters, like \"eur\""),
            _ => None,
        }
    }

    /// The verb for a value, as it is written; `None` for a value that is none of its kind, or too high.
    pub fn verb(&self, value: &str, language: &str) -> Option<String> {
        let value = value.trim();
        let mut parts = Parts { of: self, names: Vec::new() };
        match self.kind {
            SayKind::Digits => parts.digits(value)?,
            SayKind::Number => {
                let (minus, number) = value.strip_prefix('-').map_or((false, value), |rest| (true, rest));
                let number = self.whole(number)?;
                if minus && number > 0 {
                    parts.add("minus");
                }
                parts.number(number);
            }
            SayKind::Date => parts.date(NaiveDate::parse_from_str(value, "%Y-%m-%d").ok()?, language)?,
            SayKind::Money => parts.money(value)?,
        }
        let word = if self.sounds.is_some() { "play" } else { "say" };
        Some(format!("{word}|{}|{}", parts.names.join("&"), u8::from(self.barge)))
    }

    /// Every prompt of the campaign's it can need.
    pub fn prompts(&self) -> Vec<String> {
        let Some(sounds) = &self.sounds else { return Vec::new() };
        let mut parts: Vec<String> = Vec::new();
        match self.kind {
            SayKind::Digits => {
                parts.extend((0..10).map(|digit: u32| digit.to_string()));
                parts.extend(["star", "hash"].map(str::to_owned));
            }
            SayKind::Number => {
                parts.push("minus".to_owned());
                parts.extend(numbers(self.max));
            }
            SayKind::Date => {
                parts.extend((1..=12).map(|month| format!("month-{month}")));
                parts.extend((1..=31).map(|day| format!("day-{day}")));
                if self.year {
                    parts.extend(numbers(9_999));
                }
            }
            SayKind::Money => {
                parts.extend(numbers(self.max.max(99)));
                let code = &self.currency;
                parts.extend(["one", "many", "cent", "cents"].map(|what| format!("{code}-{what}")));
            }
        }
        parts.into_iter().map(|part| format!("{sounds}-{part}")).collect()
    }

    /// Digits only, and not above the highest.
    fn whole(&self, text: &str) -> Option<u32> {
        let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = text.parse().ok().filter(|_| digits)?;
        (number <= self.max).then_some(number)
    }
}

/// Parts of the numbers up to `max`.
fn numbers(max: u32) -> Vec<String> {
    let mut parts: Vec<String> = (0..=max.min(99)).map(|number| number.to_string()).collect();
    parts.extend((1..10).map(|hundreds| hundreds * 100).filter(|n| *n <= max).map(|n: u32| n.to_string()));
    for (one, many) in [(1_000, "thousand"), (1_000_000, "million")] {
        if max >= one {
            parts.push(one.to_string());
        }
        if max >= 2 * one {
            parts.push(many.to_owned());
        }
    }
    parts
}

struct Parts<'a> {
    of: &'a Say,
    names: Vec<String>,
}

impl Parts<'_> {
    /// A part by the name it has in both sets.
    fn add(&mut self, part: &str) {
        let name = match &self.of.sounds {
            Some(sounds) => format!("{sounds}-{part}"),
            None => format!("en/digits/{part}"),
        };
        self.names.push(name);
    }

    /// The one that the campaign's prompts have, or the one of Asterisk's.
    fn add_either(&mut self, own: &str, asterisk: &str) {
        self.add(if self.of.sounds.is_some() { own } else { asterisk });
    }

    fn digits(&mut self, value: &str) -> Option<()> {
        for key in value.chars().filter(|key| !matches!(key, ' ' | '-')) {
            match key {
                '0'..='9' => self.add(key.encode_utf8(&mut [0; 4])),
                '*' => self.add("star"),
                '#' => self.add_either("hash", "pound"),
                _ => return None,
            }
        }
        (1..=MAX_SAID_DIGITS).contains(&self.names.len()).then_some(())
    }

    fn number(&mut self, number: u32) {
        let (millions, thousands, rest) = (number / 1_000_000, number / 1_000 % 1_000, number % 1_000);
        for (count, one, many) in [(millions, "1000000", "million"), (thousands, "1000", "thousand")] {
            match count {
                0 => {}
                // "ein", "un" and "one" differ before a noun: recorded as one.
                1 if self.of.sounds.is_some() => self.add(one),
                _ => {
                    self.below_thousand(count);
                    self.add(many);
                }
            }
        }
        if rest > 0 || number == 0 {
            self.below_thousand(rest);
        }
    }

    fn below_thousand(&mut self, number: u32) {
        let (hundreds, rest) = (number / 100, number % 100);
        if hundreds > 0 {
            if self.of.sounds.is_some() {
                self.add(&(hundreds * 100).to_string());
            } else {
                self.add(&hundreds.to_string());
                self.add("hundred");
            }
        }
        if rest == 0 && hundreds > 0 {
            return;
        }
        if self.of.sounds.is_some() || rest <= 20 || rest % 10 == 0 {
            self.add(&rest.to_string());
        } else {
            self.add(&(rest / 10 * 10).to_string());
            self.add(&(rest % 10).to_string());
        }
    }

    fn date(&mut self, date: NaiveDate, language: &str) -> Option<()> {
        let year = u32::try_from(date.year()).ok().filter(|year| (1..=9_999).contains(year))?;
        let (month, day) = (date.month(), date.day());
        if self.of.sounds.is_none() {
            self.add(&format!("mon-{}", date.month0()));
            match day {
                1..=20 | 30 => self.add(&format!("h-{day}")),
                _ => {
                    self.add(&(day / 10 * 10).to_string());
                    self.add(&format!("h-{}", day % 10));
                }
            }
        } else {
            let (month, day) = (format!("month-{month}"), format!("day-{day}"));
            let english = language.is_empty() || language.starts_with("en");
            for part in if english { [month, day] } else { [day, month] } {
                self.add(&part);
            }
        }
        if self.of.year {
            self.number(year);
        }
        Some(())
    }

    fn money(&mut self, value: &str) -> Option<()> {
        let (whole, cents) = value.split_once('.').unwrap_or((value, "00"));
        let whole = self.of.whole(whole)?;
        let two = cents.len() == 2 && cents.bytes().all(|byte| byte.is_ascii_digit());
        let cents: u32 = cents.parse().ok().filter(|_| two)?;
        let code = &self.of.currency;
        match whole {
            0 if cents > 0 => {}
            1 => self.add(&format!("{code}-one")),
            _ => {
                self.number(whole);
                self.add(&format!("{code}-many"));
            }
        }
        match cents {
            0 => {}
            1 => self.add(&format!("{code}-cent")),
            _ => {
                self.number(cents);
                self.add(&format!("{code}-cents"));
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::Verb;
    use super::*;

    fn say(kind: SayKind, sounds: Option<&str>) -> Say {
        let sounds = sounds.map(str::to_owned);
        Say { kind, sounds, max: MAX_NUMBER, currency: "eur".into(), year: true, barge: false }
    }

    fn parts(say: &Say, value: &str, language: &str) -> Option<String> {
        let verb = say.verb(value, language)?;
        let prefix = say.sounds.as_ref().map_or("en/digits/".to_owned(), |sounds| format!("{sounds}-"));
        let list = verb.split('|').nth(1).unwrap().split('&').map(|name| name.strip_prefix(&prefix).unwrap());
        Some(list.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn asterisks_own_sounds_say_english() {
        let rows = [
            (SayKind::Digits, "0-12 *#", Some("0 1 2 star pound")),
            (SayKind::Digits, "", None),
            (SayKind::Digits, "12345678901234567", None),
            (SayKind::Digits, "12a", None),
            (SayKind::Number, "0", Some("0")),
            (SayKind::Number, "21", Some("20 1")),
            (SayKind::Number, "-100", Some("minus 1 hundred")),
            (SayKind::Number, "1001", Some("1 thousand 1")),
            (
                SayKind::Number,
                "999999999",
                Some("9 hundred 90 9 million 9 hundred 90 9 thousand 9 hundred 90 9"),
            ),
            (SayKind::Number, "1000000000", None),
            (SayKind::Number, "1e3", None),
            (SayKind::Date, "2026-12-03", Some("mon-11 h-3 2 thousand 20 6")),
            (SayKind::Date, "2026-01-31", Some("mon-0 30 h-1 2 thousand 20 6")),
            (SayKind::Date, "2026-02-30", None),
        ];
        for (kind, value, expected) in rows {
            assert_eq!(parts(&say(kind, None), value, "de").as_deref(), expected, "{value}");
        }
        assert!(say(SayKind::Money, None).wrong().unwrap().contains("no currency"));
    }

    #[test]
    fn own_prompts_are_whole_words_in_the_order_of_the_language() {
        let rows = [
            (SayKind::Number, "21", "de", Some("21")),
            (SayKind::Number, "1121", "de", Some("1000 100 21")),
            (SayKind::Number, "2000000", "fr", Some("2 million")),
            (SayKind::Money, "1", "de", Some("eur-one")),
            (SayKind::Money, "0.01", "de", Some("eur-cent")),
            (SayKind::Money, "0", "de", Some("0 eur-many")),
            (SayKind::Money, "1021.50", "de", Some("1000 21 eur-many 50 eur-cents")),
            (SayKind::Money, "1.5", "de", None),
            (SayKind::Money, "-3", "de", None),
            (SayKind::Date, "2026-12-03", "de", Some("day-3 month-12 2 thousand 26")),
            (SayKind::Date, "2026-12-03", "en-gb", Some("month-12 day-3 2 thousand 26")),
            (SayKind::Digits, "*1#", "de", Some("star 1 hash")),
        ];
        for (kind, value, language, expected) in rows {
            assert_eq!(parts(&say(kind, Some("say")), value, language).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        /// What is said is a verb, short enough for the dialplan behind the longest folder, of prompts that were asked for.
        #[test]
        fn whatever_is_said_can_be_played(
            kind in prop::sample::select(SayKind::ALL.to_vec()),
            own in any::<bool>(),
            max in 1..=MAX_NUMBER,
            year in any::<bool>(),
            value in "-?[0-9]{1,10}|[0-9]{1,9}\\.[0-9]{2}|[0-9]{4}-[01][0-9]-[0-3][0-9]|[0-9*# -]{0,20}|.{0,12}",
        ) {
            let sounds = own.then_some("abcdefghijkl");
            let say = Say { max, year, ..say(kind, sounds) };
            if let Some(text) = say.verb(&value, "de") {
                let mut verb = Verb::parse(&text).unwrap();
                let asked: BTreeSet<String> = say.prompts().into_iter().collect();
                for prompt in verb.prompts() {
                    prop_assert!(asked.contains(prompt), "{prompt} of {value}");
                }
                verb.within(&"m".repeat(32));
                prop_assert!(verb.encode().is_ok(), "{text}");
            }
        }
    }
}

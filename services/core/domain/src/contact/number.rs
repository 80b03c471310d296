//! Telephone numbers: one form inside, E.164; anything else is refused with its reason.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::RowProblem;
use super::shape::{is_scientific, unmarked};

/// Fewest digits of a number, country code included.
pub const MIN_DIGITS: usize = 8;
/// Most digits of a number, as ITU-T E.164 has it.
pub const MAX_DIGITS: usize = 15;
/// Longest text looked at: digits with every separator people put between them.
const MAX_TEXT_BYTES: usize = 64;

/// A number in international form. Its Debug is masked and it has no Display: whoever needs the digits asks for them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(u64);

impl E164 {
    /// Reads a number with its `+` and country code. Spaces, `-`, `.`, `(` and `)` may stand between the digits.
    pub fn parse(text: &str) -> Result<Self, RowProblem> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RowProblem::NumberEmpty);
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(RowProblem::NumberTooLong {
                digits: text.bytes().filter(u8::is_ascii_digit).count(),
            });
        }
        if is_scientific(text) {
            return Err(RowProblem::SpreadsheetForm);
        }
        if let Some((mark, _)) = unmarked(text) {
            return Err(RowProblem::Marked { mark });
        }
        let (national, digits) = text.strip_prefix('+').map_or((true, text), |rest| (false, rest));
        if let Some(odd) = digits.chars().find(|c| !c.is_ascii_digit() && !is_separator(*c)) {
            return Err(if odd.is_alphabetic() {
                RowProblem::NumberLetters
            } else {
                RowProblem::NumberCharacter { character: odd }
            });
        }
        let count = digits.bytes().filter(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(RowProblem::NumberEmpty);
        }
        if national {
            return Err(RowProblem::NoCountryCode);
        }
        if count > MAX_DIGITS {
            return Err(RowProblem::NumberTooLong { digits: count });
        }
        let value =
            digits.bytes().filter(u8::is_ascii_digit).fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
        if digits.bytes().find(u8::is_ascii_digit) == Some(b'0') {
            return Err(RowProblem::LeadingZero);
        }
        if count < MIN_DIGITS {
            return Err(RowProblem::NumberTooShort { digits: count });
        }
        Ok(Self(value))
    }

    /// The number as it is dialled: `+` and digits. Never for logs; those get [`E164::mask`].
    pub fn expose(self) -> String {
        format!("+{}", self.0)
    }

    /// The digits as one number: smaller than 10^15, and what the duplicate check hashes.
    pub fn digits(self) -> u64 {
        self.0
    }

    /// What may be shown: the first digit and the last three, `+1•••••••123`.
    pub fn mask(self) -> String {
        let digits = self.0.to_string();
        let (first, rest) = digits.split_at(1);
        let (middle, last) = rest.split_at(rest.len() - 3);
        format!("+{first}{}{last}", "•".repeat(middle.len()))
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mask())
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '(' | ')')
}

/// Keyed hash of a canonical number, 16 bytes: ten digits are guessed in seconds from a bare hash.
pub fn number_hash(key: &[u8; 32], number: &str) -> [u8; 16] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!());
    mac.update(number.as_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::contact::Mark;
    use proptest::prelude::*;

    #[test]
    fn the_usual_spellings_are_one_number() {
        for text in
            ["+12025550123", "+1 202 555 0123", " +1 (202) 555-0123 ", "+1.202.555.0123", "+ 1-202-555-0123"]
        {
            assert_eq!(E164::parse(text).unwrap().expose(), "+12025550123", "{text}");
        }
        assert_eq!(E164::parse("+12345678").unwrap().expose(), "+12345678");
        assert_eq!(E164::parse("+123456789012345").unwrap().expose(), "+123456789012345");
    }

    #[test]
    fn every_refusal_has_its_own_reason() {
        let national = RowProblem::NoCountryCode;
        for (text, problem) in [
            ("", RowProblem::NumberEmpty),
            ("   ", RowProblem::NumberEmpty),
            ("+", RowProblem::NumberEmpty),
            ("()", RowProblem::NumberEmpty),
            ("1.55512E+10", RowProblem::SpreadsheetForm),
            ("1,55512E+10", RowProblem::SpreadsheetForm),
            ("+1.2E10", RowProblem::SpreadsheetForm),
            ("2e-5", RowProblem::SpreadsheetForm),
            ("+1 800 FLOWERS", RowProblem::NumberLetters),
            ("n/a", RowProblem::NumberLetters),
            ("E", RowProblem::NumberLetters),
            ("+1202555０123", RowProblem::NumberCharacter { character: '０' }),
            ("+1202+5550123", RowProblem::NumberCharacter { character: '+' }),
            ("'+12025550123", RowProblem::Marked { mark: Mark::Apostrophe }),
            ("=+12025550123", RowProblem::Marked { mark: Mark::Formula }),
            ("12025550123.0", RowProblem::Marked { mark: Mark::Decimal }),
            ("=SUM(A1)", RowProblem::NumberCharacter { character: '=' }),
            ("\u{202d}+12025550123", RowProblem::NumberCharacter { character: '\u{202d}' }),
            ("+1\u{a0}2025550123", RowProblem::NumberCharacter { character: '\u{a0}' }),
            ("(202) 555-0123", national),
            ("0012025550123", national),
            ("+0012025550123", RowProblem::LeadingZero),
            ("+1234567", RowProblem::NumberTooShort { digits: 7 }),
            ("+1234567890123456", RowProblem::NumberTooLong { digits: 16 }),
        ] {
            assert_eq!(E164::parse(text), Err(problem), "{text:?}");
        }
        assert_eq!(E164::parse(&"1".repeat(70)), Err(RowProblem::NumberTooLong { digits: 70 }));
    }

    #[test]
    fn only_the_ends_are_shown() {
        let number = E164::parse("+15551234123").unwrap();
        assert_eq!(number.mask(), "+1•••••••123");
        assert_eq!(format!("{number:?}"), "+1•••••••123");
        assert_eq!(E164::parse("+12345678").unwrap().mask(), "+1••••678");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC{0,80}") {
            if let Ok(number) = E164::parse(&text) {
                prop_assert_eq!(E164::parse(&number.expose()), Ok(number));
            }
        }

        #[test]
        fn separators_never_change_a_number(digits in "[1-9][0-9]{7,14}", at in 0usize..8, with in "[ ().-]{0,3}") {
            let plain = E164::parse(&format!("+{digits}")).unwrap();
            prop_assert_eq!(plain.expose(), format!("+{digits}"));
            prop_assert_eq!(E164::parse(&format!("+{}{with}{}", &digits[..at], &digits[at..])), Ok(plain));
            let shown = format!("{plain:?}");
            prop_assert!(!shown.contains(&digits[1..digits.len() - 3]));
        }
    }
}

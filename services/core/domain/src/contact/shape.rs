//! What spreadsheets and programs do to numbers, and why a country has no such number. A form that lost digits is
//! refused; where every digit is there, [`unmarked`] finds them.

/// What stands around digits that are all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// `'+44…`: how a spreadsheet is told that it is text.
    Apostrophe,
    /// `=+44…`: a number typed with its + into a spreadsheet.
    Formula,
    /// `="+44…"`: how programs keep spreadsheets from taking it for a number.
    QuotedFormula,
    /// `44….0`: a number that went through a column of decimals.
    Decimal,
}

impl Mark {
    /// The mark as a spreadsheet shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apostrophe => "a leading '",
            Self::Formula => "a leading =",
            Self::QuotedFormula => "=\"…\" around it",
            Self::Decimal => "a trailing .0",
        }
    }

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Apostrophe => "a spreadsheet's text mark ' stands before the number",
            Self::Formula => "a spreadsheet made a formula of the number: = stands before it",
            Self::QuotedFormula => "a spreadsheet's formula =\"...\" stands around the number",
            Self::Decimal => "a spreadsheet or program made a decimal of the number: it ends in .0",
        }
    }
}

/// Why there can be no such number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impossible {
    /// No country has the code.
    Country,
    /// Fewer digits than any number of the country has.
    TooShort,
    /// More digits than any number of the country has.
    TooLong,
    /// A length between those it has.
    Length,
    /// Its area code is missing.
    NoAreaCode,
}

impl Impossible {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Country => "no country has this code",
            Self::TooShort => "it has too few digits for its country",
            Self::TooLong => "it has too many digits for its country",
            Self::Length => "no number of its country has this many digits",
            Self::NoAreaCode => "it has no area code",
        }
    }

    pub(super) fn fix(self) -> &'static str {
        match self {
            Self::Country => "check the country code; a number of another country needs its own, or --region",
            Self::TooShort | Self::Length => {
                "check the number; digits are missing or too many for its country"
            }
            Self::TooLong => "check the number; digits are too many, or the country code stands twice",
            Self::NoAreaCode => "add the area code",
        }
    }
}

/// The mark around a number and what is left without it; `None` for a text that is not just a marked number. Never
/// shorter by a digit but for the `.0`.
pub fn unmarked(text: &str) -> Option<(Mark, &str)> {
    let text = text.trim();
    let (mark, rest) = if let Some(rest) = text.strip_prefix(['\'', '\u{2019}']) {
        (Mark::Apostrophe, rest)
    } else if let Some(rest) = text.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')) {
        (Mark::QuotedFormula, rest)
    } else if let Some(rest) = text.strip_prefix('=') {
        (Mark::Formula, rest)
    } else {
        (Mark::Decimal, decimal(text)?)
    };
    let rest = rest.trim();
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    let plain = |byte: u8| byte.is_ascii_digit() || b"+ -.()'".contains(&byte);
    (digits > 0 && rest.bytes().all(plain)).then_some((mark, rest))
}

/// The digits before `.0` or `,0`. Eight are asked for, and with a + one 0 only: `+33 1.00` may be spelt in groups.
fn decimal(text: &str) -> Option<&str> {
    let (whole, zeros) = text.rsplit_once(['.', ','])?;
    let plus = whole.starts_with('+');
    let digits = whole.strip_prefix('+').unwrap_or(whole);
    let is_whole = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_zero = !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0');
    (is_whole && is_zero && (!plus || zeros.len() == 1)).then_some(whole)
}

/// `1.55512E+10`: what a spreadsheet makes of a long number. The digits it cut off are gone.
pub(super) fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = |part: &str, also: &[u8]| {
        part.bytes().any(|b| b.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_digit() || also.contains(&b))
    };
    is_number(mantissa, b".,+-") && is_number(exponent, b"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_mark_is_known_and_comes_off() {
        for (text, mark, rest) in [
            ("'+442079460000", Mark::Apostrophe, "+442079460000"),
            ("\u{2019}020 7946 0000", Mark::Apostrophe, "020 7946 0000"),
            ("=+442079460000", Mark::Formula, "+442079460000"),
            ("=442079460000", Mark::Formula, "442079460000"),
            ("=\"+442079460000\"", Mark::QuotedFormula, "+442079460000"),
            (" =\" 020 7946 0000 \" ", Mark::QuotedFormula, "020 7946 0000"),
            ("442079460000.0", Mark::Decimal, "442079460000"),
            ("442079460000,00", Mark::Decimal, "442079460000"),
            ("+442079460000.0", Mark::Decimal, "+442079460000"),
        ] {
            assert_eq!(unmarked(text), Some((mark, rest)), "{text:?}");
        }
        for plain in
            ["", "'", "=", "+33.123.456.00", "+33123456.00", "4420794600.5", "=SUM(A1:A9)", "=HYPERLINK(1)"]
        {
            assert_eq!(unmarked(plain), None, "{plain:?}");
        }
    }

    proptest! {
        #[test]
        fn no_digit_is_lost_with_a_mark(text in "['=]{0,2}\"?\\+?[0-9 ]{0,16}([.,]0{0,3})?\"?") {
            if let Some((mark, rest)) = unmarked(&text) {
                let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
                let (before, after) = (digits(&text), digits(rest));
                prop_assert!(before.starts_with(&after));
                prop_assert!(mark == Mark::Decimal || before == after);
            }
        }
    }
}

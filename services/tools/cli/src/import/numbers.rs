//! What a text in the number's column is: the canonical form, by a port of Google's libphonenumber.
//!
//! `rlibphonenumber` and not `phonenumber`: of 144,815 numbers of all regions the former read 3 otherwise than Google's own
//! (a newer range), the latter 5,103 of 139,000, some of them as other numbers; and it takes 1 µs for each, not 1.5 ms.

use std::fmt;

use asterism_domain::contact::{E164, Impossible, MAX_DIGITS, Mark, RowProblem, unmarked};
use rlibphonenumber::enums::Region;
use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumber, PhoneNumberFormat, ValidationError,
};

/// Fewest digits of which it is said that only the + is missing: shorter ones may as well be national.
const WHOLE_DIGITS: usize = 11;

/// How numbers are read.
#[derive(Clone, Copy, Default)]
pub struct Numbers {
    /// The country of numbers without + and code.
    pub region: Option<Region>,
    /// Every number is international, whether it has its + or not.
    pub add_plus: bool,
    /// Marks of spreadsheets that hide no digit are taken off.
    pub mend: bool,
    /// Numbers in no range their country has given out are refused, those reserved for fiction among them.
    pub assigned_only: bool,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region.map(|region| region.to_string());
        f.debug_struct("Numbers")
            .field("region", &region)
            .field("add_plus", &self.add_plus)
            .field("mend", &self.mend)
            .field("assigned_only", &self.assigned_only)
            .finish()
    }
}

/// A number and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Understood {
    /// The number.
    pub number: E164,
    /// The mark that was taken off.
    pub mended: Option<Mark>,
    /// It had no + and code; they are the region's.
    pub national: bool,
    /// It is in a range its country has given out.
    pub assigned: bool,
}

/// Reads a region: two letters, like `GB`.
pub fn region(text: &str) -> Option<Region> {
    let region: Region = text.trim().to_ascii_uppercase().parse().ok()?;
    PHONE_NUMBER_UTIL.get_country_code_for_region(region).map(|_| region)
}

impl Numbers {
    /// Whether nothing was asked for.
    pub fn is_plain(self) -> bool {
        self.region.is_none() && !self.add_plus && !self.mend && !self.assigned_only
    }

    /// Reads one number.
    pub fn read(self, text: &str) -> Result<Understood, RowProblem> {
        match E164::parse(text) {
            Ok(number) => self.judge(&parsed(&number.expose(), None)?, false),
            Err(RowProblem::NoCountryCode) => self.national(text),
            Err(RowProblem::Marked { mark }) if self.mend => {
                let (_, rest) = unmarked(text).ok_or(RowProblem::Marked { mark })?;
                Ok(Understood { mended: Some(mark), ..self.read(rest)? })
            }
            Err(problem) => Err(problem),
        }
    }

    fn national(self, text: &str) -> Result<Understood, RowProblem> {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let whole = digits.strip_prefix("00").unwrap_or(&digits);
        if self.add_plus {
            let number = E164::parse(&format!("+{whole}"))?;
            return self.judge(&parsed(&number.expose(), None)?, false);
        }
        let lost_plus = || {
            let long = (WHOLE_DIGITS..=MAX_DIGITS).contains(&digits.len()) && !digits.starts_with('0');
            long && parsed(&format!("+{digits}"), None).is_ok_and(|number| number.is_valid())
        };
        let Some(region) = self.region else {
            return Err(if lost_plus() { RowProblem::LostPlus } else { RowProblem::NoCountryCode });
        };
        let number = match parsed(&digits, Some(region)) {
            Err(_) if lost_plus() => return Err(RowProblem::LostPlus),
            number => number?,
        };
        // Without its 0 a number of Italy is another one.
        if !number.is_valid()
            && !digits.starts_with('0')
            && parsed(&format!("0{digits}"), Some(region)).is_ok_and(|number| number.is_valid())
        {
            return Err(RowProblem::LostZero);
        }
        self.judge(&number, true)
    }

    fn judge(self, number: &PhoneNumber, national: bool) -> Result<Understood, RowProblem> {
        let assigned = number.is_valid();
        if self.assigned_only && !assigned {
            return Err(RowProblem::NotAssigned);
        }
        let number = E164::parse(&number.format_as(PhoneNumberFormat::E164))?;
        Ok(Understood { number, mended: None, national, assigned })
    }
}

/// A number that can be one, by its length and country code.
fn parsed(text: &str, region: Option<Region>) -> Result<PhoneNumber, RowProblem> {
    let impossible = |why| Err(RowProblem::Impossible { why });
    let number = match PHONE_NUMBER_UTIL.parse(text, region) {
        Ok(number) => number,
        Err(ParseError::InvalidCountryCode) => return impossible(Impossible::Country),
        Err(ParseError::TooLongNsn) => return impossible(Impossible::TooLong),
        Err(_) => return impossible(Impossible::TooShort),
    };
    match number.is_possible_with_reason() {
        Ok(NumberLengthType::IsPossible) => Ok(number),
        Ok(NumberLengthType::IsPossibleLocalOnly) => impossible(Impossible::NoAreaCode),
        Err(ValidationError::InvalidCountryCode) => impossible(Impossible::Country),
        Err(ValidationError::TooShort) => impossible(Impossible::TooShort),
        Err(ValidationError::TooLong) => impossible(Impossible::TooLong),
        Err(ValidationError::InvalidLength) => impossible(Impossible::Length),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn of(country: &str) -> Numbers {
        Numbers { region: Some(region(country).unwrap()), ..Numbers::default() }
    }

    #[test]
    fn national_forms_of_several_countries_are_one_international_number() {
        for (country, text, number) in [
            ("US", "(202) 555-0123", "+12025550123"),
            ("US", "1 202 555 0123", "+12025550123"),
            ("CA", "613 555 0123", "+16135550123"),
            ("GB", "020 7946 0000", "+442079460000"),
            ("GB", "2079460000", "+442079460000"),
            ("DE", "030 23125 000", "+493023125000"),
            ("FR", "01 99 00 12 34", "+33199001234"),
            ("IT", "06 1234 5678", "+390612345678"),
            ("IT", "347 123 4567", "+393471234567"),
            ("AU", "0491 570 156", "+61491570156"),
            ("AR", "011 15-1234-5678", "+5491112345678"),
            ("BR", "(11) 98765-4321", "+5511987654321"),
            ("HU", "06 1 123 4567", "+3611234567"),
            ("RU", "8 (912) 345-67-89", "+79123456789"),
            ("GB", "00 1 202 555 0123", "+12025550123"),
            ("US", "011 44 20 7946 0000", "+442079460000"),
        ] {
            let understood = of(country).read(text).unwrap();
            assert_eq!(understood.number.expose(), number, "{country} {text}");
            assert!(understood.national);
        }
        // With + the region says nothing; a trunk 0 between brackets is no digit of the number.
        let abroad = of("US").read("+44 (0)20 7946 0000").unwrap();
        assert_eq!((abroad.number.expose().as_str(), abroad.national), ("+442079460000", false));
    }

    #[test]
    fn ranges_of_fiction_are_taken_and_said() {
        for (country, text) in [("GB", "07700 900123"), ("GB", "01632 960123"), ("IE", "020 910 1234")] {
            let fiction = of(country).read(text).unwrap();
            assert!(!fiction.assigned, "{text}");
            let strict = Numbers { assigned_only: true, ..of(country) };
            assert_eq!(strict.read(text), Err(RowProblem::NotAssigned));
        }
        assert!(of("US").read("202 555 0123").unwrap().assigned);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let impossible = |why| Err(RowProblem::Impossible { why });
        let plain = Numbers::default();
        assert_eq!(plain.read("+999123456789"), impossible(Impossible::Country));
        assert_eq!(plain.read("+120255501234"), impossible(Impossible::TooLong));
        assert_eq!(plain.read("+44207946"), impossible(Impossible::NoAreaCode));
        assert_eq!(of("US").read("555-0123"), impossible(Impossible::NoAreaCode));
        assert_eq!(of("GB").read("12"), impossible(Impossible::TooShort));
        assert_eq!(of("SG").read("6123 45678"), impossible(Impossible::Length));
        for country in ["", "UK", "XX", "GBR", "001"] {
            assert!(region(country).is_none(), "{country:?}");
        }
    }

    #[test]
    fn what_a_spreadsheet_took_is_named() {
        let plain = Numbers::default();
        assert_eq!(plain.read("442079460000"), Err(RowProblem::LostPlus));
        assert_eq!(plain.read("2025550123"), Err(RowProblem::NoCountryCode));
        assert_eq!(of("US").read("442079460000"), Err(RowProblem::LostPlus));
        assert_eq!(of("IT").read("612345678"), Err(RowProblem::LostZero));
        let plus = Numbers { add_plus: true, ..plain };
        assert_eq!(plus.read("442079460000").unwrap().number.expose(), "+442079460000");
        assert_eq!(plus.read("00442079460000").unwrap().number.expose(), "+442079460000");
        for (text, mark) in [
            ("'+442079460000", Mark::Apostrophe),
            ("=+442079460000", Mark::Formula),
            ("=\"+442079460000\"", Mark::QuotedFormula),
        ] {
            assert_eq!(plain.read(text), Err(RowProblem::Marked { mark }));
            let mended = Numbers { mend: true, ..plain }.read(text).unwrap();
            assert_eq!((mended.number.expose().as_str(), mended.mended), ("+442079460000", Some(mark)));
        }
        let decimal = Numbers { mend: true, add_plus: true, ..plain }.read("442079460000.0").unwrap();
        assert_eq!(decimal.mended, Some(Mark::Decimal));
        assert_eq!(Numbers { mend: true, ..plain }.read("4.42079E+11"), Err(RowProblem::SpreadsheetForm));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "['=\"+0-9 ().,E-]{0,24}|\\PC{0,40}", mend: bool, add_plus: bool) {
            for region in [None, region("GB"), region("IT"), region("US")] {
                let numbers = Numbers { region, add_plus, mend, assigned_only: false };
                if let Ok(found) = numbers.read(&text) {
                    // What is canonical stays what it is.
                    prop_assert_eq!(numbers.read(&found.number.expose()).map(|again| again.number), Ok(found.number));
                }
            }
        }
    }
}

//! Why a row or a whole list is refused.

use super::{
    Impossible, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_CONTACT_BYTES, MAX_DIGITS, MAX_VALUE_BYTES,
    MIN_DIGITS, Mark, NUMBER_COLUMNS, ZONE_COLUMN,
};

/// Why one row is refused; the other rows go on. Each has a stable code and a way to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// Bytes that are no text.
    #[error("the row is not utf-8")]
    NotUtf8,
    /// More or fewer columns than the header.
    #[error("the row has {found} columns, the header has {wanted}")]
    Ragged {
        /// Columns of the header.
        wanted: usize,
        /// Columns of the row.
        found: usize,
    },
    /// The row never ends, or is over the limit.
    #[error("the row is longer than {max_bytes} bytes")]
    RowTooLong {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// A quote that is opened and not closed.
    #[error("a quote is opened here and not closed within {max_lines} lines")]
    OpenQuote {
        /// The limit in lines.
        max_lines: usize,
    },
    /// One value is over the limit.
    #[error("the value has {size_bytes} bytes, at most {MAX_VALUE_BYTES} are allowed")]
    ValueTooLong {
        /// Its length in bytes.
        size_bytes: usize,
    },
    /// Number and fields together are over the limit.
    #[error(
        "number and fields with their names have {size_bytes} bytes, at most {MAX_CONTACT_BYTES} are allowed"
    )]
    ContactTooLong {
        /// Their length in bytes.
        size_bytes: usize,
    },
    /// No number at all.
    #[error("there is no number")]
    NumberEmpty,
    /// `1.55512E+10`.
    #[error("a spreadsheet turned the number into scientific notation and dropped digits")]
    SpreadsheetForm,
    /// `'+44…`, `=+44…`, `="+44…"`, `44….0`: every digit is there, and something that is none.
    #[error("{}", mark.what())]
    Marked {
        /// What stands around the digits.
        mark: Mark,
    },
    /// Digits that are a number only with a + before them.
    #[error("the number has no +, and with one it is a number; a spreadsheet takes it off")]
    LostPlus,
    /// Digits that are a number only with a 0 before them.
    #[error("the number lacks the 0 it begins with in its country; a spreadsheet takes it off")]
    LostZero,
    /// The country has no such number.
    #[error("there can be no such number: {}", why.what())]
    Impossible {
        /// What is wrong with it.
        why: Impossible,
    },
    /// The numbering plan has it in no range that is given out, and only such are wanted.
    #[error("the number is in no range its country has given out")]
    NotAssigned,
    /// The name of a time zone that is none.
    #[error("the column {ZONE_COLUMN} holds no name of a time zone")]
    NoZone,
    /// Letters in the number.
    #[error("the number contains letters")]
    NumberLetters,
    /// Another character that has no place in a number.
    #[error("the number contains the character U+{:04X}", u32::from(*character))]
    NumberCharacter {
        /// The character.
        character: char,
    },
    /// National form, and nobody said of which country.
    #[error("the number has no + and country code")]
    NoCountryCode,
    /// `+0...`.
    #[error("no country code begins with 0")]
    LeadingZero,
    /// Too few digits.
    #[error("the number has {digits} digits, at least {MIN_DIGITS} are needed")]
    NumberTooShort {
        /// How many it has.
        digits: usize,
    },
    /// Too many digits.
    #[error("the number has {digits} digits, at most {MAX_DIGITS} are allowed")]
    NumberTooLong {
        /// How many it has.
        digits: usize,
    },
}

impl RowProblem {
    /// The stable code, like `AST-I009`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "AST-I001",
            Self::Ragged { .. } => "AST-I002",
            Self::RowTooLong { .. } => "AST-I003",
            Self::OpenQuote { .. } => "AST-I004",
            Self::ValueTooLong { .. } => "AST-I005",
            Self::ContactTooLong { .. } => "AST-I006",
            Self::NumberEmpty => "AST-I007",
            Self::SpreadsheetForm => "AST-I008",
            Self::NumberLetters => "AST-I009",
            Self::NumberCharacter { .. } => "AST-I010",
            Self::NoCountryCode => "AST-I011",
            Self::LeadingZero => "AST-I012",
            Self::NumberTooShort { .. } => "AST-I013",
            Self::NumberTooLong { .. } => "AST-I014",
            Self::Marked { .. } => "AST-I015",
            Self::LostPlus => "AST-I016",
            Self::LostZero => "AST-I017",
            Self::Impossible { .. } => "AST-I018",
            Self::NotAssigned => "AST-I019",
            Self::NoZone => "AST-I027",
        }
    }

    /// How to mend the row.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "save the file as UTF-8 (in a spreadsheet: CSV UTF-8)",
            Self::Ragged { .. } => {
                "give the row as many columns as the header; put values with separators in quotes"
            }
            Self::RowTooLong { .. } | Self::ValueTooLong { .. } => "shorten the values",
            Self::ContactTooLong { .. } => "shorten the values, or leave out columns the flow does not need",
            Self::OpenQuote { .. } => "close the quote, or double it where it is meant as a character",
            Self::NumberEmpty => "add the number or remove the row",
            Self::SpreadsheetForm => "format the column as text in the original list and export again",
            Self::Marked { .. } => {
                "import with --mend, which takes it off, or format the column as text and export again"
            }
            Self::LostPlus => {
                "write it with +, or import with --add-plus if the whole column is international without +"
            }
            Self::LostZero => "write the 0 or the number as +COUNTRY...; format the column as text",
            Self::Impossible { why } => why.fix(),
            Self::NotAssigned => "check the number, or import without --assigned-only",
            Self::NoZone => "write a name of the IANA list, like Europe/London or America/New_York",
            Self::NumberLetters => "replace the letters by the digits they stand for",
            Self::NumberCharacter { .. } => "retype the number with +, digits, spaces, - . ( ) only",
            Self::NoCountryCode => {
                "write the number as +COUNTRY..., like +1 202 555 0123, or import with --region, like --region GB"
            }
            Self::LeadingZero => "write the country code without leading zeros, like +44",
            Self::NumberTooShort { .. } | Self::NumberTooLong { .. } => {
                "check the number; digits are missing or too many"
            }
        }
    }
}

/// A refused row: what is wrong, and in which column (from 0), if it is one column's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub problem: RowProblem,
    /// The column, from 0.
    pub column: Option<usize>,
}

/// Why a list cannot be read at all: its header does not say what the columns are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnProblem {
    /// No column is known as the number's.
    #[error("AST-I020: no column is named {}; columns here: {found}; name it with --number-column", NUMBER_COLUMNS.join(", "))]
    NoNumber {
        /// The columns there are.
        found: String,
    },
    /// The column given for the number is not there.
    #[error("AST-I021: there is no column {wanted:?}; columns here: {found}")]
    NotThere {
        /// The name asked for.
        wanted: String,
        /// The columns there are.
        found: String,
    },
    /// Two columns could be the number.
    #[error(
        "AST-I022: columns {first:?} and {second:?} could both be the number; name one with --number-column"
    )]
    TwoNumbers {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// Two columns of one name.
    #[error("AST-I023: two columns are named {name:?}; rename one of them, here with --map NEW=COLUMN")]
    Twice {
        /// The name.
        name: String,
    },
    /// A column without a usable name.
    #[error(
        "AST-I024: column {column} has no usable name; give it 1 to {MAX_COLUMN_NAME_BYTES} bytes without control characters"
    )]
    BadName {
        /// The column, from 1.
        column: usize,
    },
    /// More columns than the limit.
    #[error("AST-I025: the list has {found} columns, at most {MAX_COLUMNS} are allowed")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// The first row is a contact, not a header.
    #[error(
        "AST-I026: the first row holds a number where names of columns are expected; add a header row, like number,name"
    )]
    NoHeader,
}

impl ColumnProblem {
    /// The stable code, like `AST-I020`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNumber { .. } => "AST-I020",
            Self::NotThere { .. } => "AST-I021",
            Self::TwoNumbers { .. } => "AST-I022",
            Self::Twice { .. } => "AST-I023",
            Self::BadName { .. } => "AST-I024",
            Self::TooMany { .. } => "AST-I025",
            Self::NoHeader => "AST-I026",
        }
    }
}

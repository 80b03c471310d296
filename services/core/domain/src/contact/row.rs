//! Rows of a contact list: which column is the number, and what the others are.

use std::fmt;

use super::problem::{ColumnProblem, Refused, RowProblem};
use super::{E164, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_CONTACT_BYTES, MAX_DIGITS, MAX_VALUE_BYTES};

/// Names by which a number column is known, in any case.
pub const NUMBER_COLUMNS: [&str; 4] = ["number", "phone", "msisdn", "e164"];

/// What the columns of a list are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    number: usize,
}

/// A good row. Debug shows the mask and the names of the fields, never a value.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactRow {
    /// The number to dial.
    pub number: E164,
    /// Name and value of every other column that is not empty, in the order of the list.
    pub fields: Vec<(String, String)>,
}

impl fmt::Debug for ContactRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ContactRow").field("number", &self.number).field("fields", &names).finish()
    }
}

impl Columns {
    /// Reads a header. `number_column` names the number's column where its own name does not tell.
    pub fn read(header: &[&str], number_column: Option<&str>) -> Result<Self, ColumnProblem> {
        if header.len() > MAX_COLUMNS {
            return Err(ColumnProblem::TooMany { found: header.len() });
        }
        if header.iter().any(|name| E164::parse(name).is_ok()) {
            return Err(ColumnProblem::NoHeader);
        }
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        for (index, name) in names.iter().enumerate() {
            let usable =
                (1..=MAX_COLUMN_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
            if !usable {
                return Err(ColumnProblem::BadName { column: index + 1 });
            }
            if names[..index].iter().any(|other| other.eq_ignore_ascii_case(name)) {
                return Err(ColumnProblem::Twice { name: name.clone() });
            }
        }
        let number = number_index(&names, number_column)?;
        Ok(Self { names, number })
    }

    /// Names of all columns, as the header has them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Which column is the number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads one row.
    pub fn row<'a>(&self, values: impl ExactSizeIterator<Item = &'a str>) -> Result<ContactRow, Refused> {
        if values.len() != self.names.len() {
            let problem = RowProblem::Ragged { wanted: self.names.len(), found: values.len() };
            return Err(Refused { problem, column: None });
        }
        let mut number = Err(RowProblem::NumberEmpty);
        let mut fields = Vec::with_capacity(self.names.len() - 1);
        let mut size_bytes = packed_bytes(MAX_DIGITS + 1) + packed_bytes(0);
        for (column, (name, value)) in self.names.iter().zip(values).enumerate() {
            if value.len() > MAX_VALUE_BYTES {
                let problem = RowProblem::ValueTooLong { size_bytes: value.len() };
                return Err(Refused { problem, column: Some(column) });
            }
            if column == self.number {
                number = E164::parse(value);
            } else if !value.is_empty() {
                size_bytes += packed_bytes(name.len()) + packed_bytes(value.len());
                fields.push((name.clone(), value.to_owned()));
            }
        }
        let number = number.map_err(|problem| Refused { problem, column: Some(self.number) })?;
        if size_bytes > MAX_CONTACT_BYTES {
            return Err(Refused { problem: RowProblem::ContactTooLong { size_bytes }, column: None });
        }
        Ok(ContactRow { number, fields })
    }
}

/// Bytes of a text as it is sealed: its length goes before it, in seven bits a byte.
fn packed_bytes(text_bytes: usize) -> usize {
    text_bytes + if text_bytes < 128 { 1 } else { 2 }
}

fn number_index(names: &[String], wanted: Option<&str>) -> Result<usize, ColumnProblem> {
    let found = || names.join(", ");
    if let Some(wanted) = wanted {
        let index = names.iter().position(|name| name.eq_ignore_ascii_case(wanted.trim()));
        return index.ok_or_else(|| ColumnProblem::NotThere { wanted: wanted.to_owned(), found: found() });
    }
    let known = |name: &str| NUMBER_COLUMNS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut candidates = names.iter().enumerate().filter(|(_, name)| known(name));
    let Some((index, first)) = candidates.next() else {
        return Err(ColumnProblem::NoNumber { found: found() });
    };
    match candidates.next() {
        None => Ok(index),
        Some((_, second)) => Err(ColumnProblem::TwoNumbers { first: first.clone(), second: second.clone() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn columns(header: &[&str]) -> Result<Columns, ColumnProblem> {
        Columns::read(header, None)
    }

    fn row(values: &[&str]) -> Result<ContactRow, Refused> {
        columns(&["name", "Phone", "city"]).unwrap().row(values.iter().copied())
    }

    #[test]
    fn a_header_names_the_number_or_is_refused() {
        assert_eq!(columns(&["name", " MSISDN "]).unwrap().number(), 1);
        assert_eq!(Columns::read(&["a", "b"], Some("B")).unwrap().number(), 1);
        assert_eq!(Columns::read(&["number", "mobile"], Some("mobile")).unwrap().number(), 1);
        let code = |header: &[&str], wanted| Columns::read(header, wanted).unwrap_err().code();
        assert_eq!(code(&["name", "city"], None), "AST-I020");
        assert_eq!(code(&["name", "number"], Some("tel")), "AST-I021");
        assert_eq!(code(&["number", "phone"], None), "AST-I022");
        assert_eq!(code(&["number", "City", "city"], None), "AST-I023");
        assert_eq!(code(&["number", ""], None), "AST-I024");
        assert_eq!(code(&["number", "a\tb"], None), "AST-I024");
        assert_eq!(code(&["number", &"x".repeat(65)], None), "AST-I024");
        assert_eq!(code(&["x"; MAX_COLUMNS + 1], None), "AST-I025");
        assert_eq!(code(&["+12025550123", "Ada"], None), "AST-I026");
    }

    #[test]
    fn a_row_gives_its_number_and_the_fields_that_say_something() {
        let contact = row(&["Ada", "+1 202 555 0123", ""]).unwrap();
        assert_eq!(contact.number.expose(), "+12025550123");
        assert_eq!(contact.fields, [("name".to_owned(), "Ada".to_owned())]);
        assert_eq!(format!("{contact:?}"), r#"ContactRow { number: +1•••••••123, fields: ["name"] }"#);
    }

    #[test]
    fn a_refused_row_names_its_column() {
        let refused = |values: &[&str]| row(values).map_err(|r| (r.problem.code(), r.column)).unwrap_err();
        assert_eq!(refused(&["Ada", "12"]), ("AST-I002", None));
        assert_eq!(refused(&["Ada", "2025550123", "Rome"]), ("AST-I011", Some(1)));
        assert_eq!(refused(&[&"x".repeat(MAX_VALUE_BYTES + 1), "+12025550123", ""]), ("AST-I005", Some(0)));
        // "+", 15 digits and two lengths are 18 bytes; each field has its name and two lengths more.
        let fits = "x".repeat(MAX_CONTACT_BYTES - 18 - "name".len() - 1 - 2);
        assert!(row(&[&fits, "+12025550123", ""]).is_ok());
        assert_eq!(refused(&[&format!("{fits}x"), "+12025550123", ""]), ("AST-I006", None));
        assert_eq!(refused(&[&fits, "+12025550123", "Rome"]), ("AST-I006", None));
    }

    proptest! {
        #[test]
        fn any_header_and_row_are_judged_without_panic(
            header in proptest::collection::vec("\\PC{0,70}", 0..6),
            values in proptest::collection::vec("\\PC{0,40}", 0..6),
        ) {
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            for wanted in [None, header.first().copied()] {
                if let Ok(columns) = Columns::read(&header, wanted) {
                    let _ = columns.row(values.iter().map(String::as_str));
                }
            }
        }
    }
}

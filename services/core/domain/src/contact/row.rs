//! Rows of a contact list: which column is the number, and what the others are.

use std::fmt;

use super::problem::{ColumnProblem, Refused, RowProblem};
use super::zone::{self, ZONE_COLUMN};
use super::{E164, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_CONTACT_BYTES, MAX_DIGITS, MAX_VALUE_BYTES};

/// Names by which a number column is known, in any case.
pub const NUMBER_COLUMNS: [&str; 4] = ["number", "phone", "msisdn", "e164"];

/// What is said about a list's columns beside its header. Names are compared in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The number's column, where its name does not tell.
    pub number_column: Option<String>,
    /// Field and the column it comes from.
    pub renamed: Vec<(String, String)>,
    /// Columns that are left out.
    pub omitted: Vec<String>,
}

/// What becomes of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Use {
    Number,
    Zone,
    Field(String),
    Omitted,
}

/// What the columns of a list are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    uses: Vec<Use>,
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
    /// Reads a header.
    pub fn read(header: &[&str], mapping: &Mapping) -> Result<Self, ColumnProblem> {
        if header.len() > MAX_COLUMNS {
            return Err(ColumnProblem::TooMany { found: header.len() });
        }
        if header.iter().any(|name| E164::parse(name).is_ok()) {
            return Err(ColumnProblem::NoHeader);
        }
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let at = |wanted: &str| {
            names
                .iter()
                .position(|name| same(name, wanted))
                .ok_or_else(|| ColumnProblem::NotThere { wanted: wanted.to_owned(), found: names.join(", ") })
        };
        let mut fields = names.clone();
        let mut omitted = vec![false; names.len()];
        for (field, column) in &mapping.renamed {
            field.trim().clone_into(&mut fields[at(column)?]);
        }
        for column in &mapping.omitted {
            omitted[at(column)?] = true;
        }
        let kept = |index: usize| !omitted[index];
        for index in (0..fields.len()).filter(|index| kept(*index)) {
            let name = &fields[index];
            let usable =
                (1..=MAX_COLUMN_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
            if !usable {
                return Err(ColumnProblem::BadName { column: index + 1 });
            }
            if (0..index).any(|other| kept(other) && same(&fields[other], name)) {
                return Err(ColumnProblem::Twice { name: name.clone() });
            }
        }
        let number = match &mapping.number_column {
            Some(wanted) => at(wanted)?,
            None => number_index(&fields, &omitted)?,
        };
        let uses = fields.into_iter().enumerate().map(|(index, field)| match field {
            _ if index == number => Use::Number,
            _ if omitted[index] => Use::Omitted,
            field if same(&field, ZONE_COLUMN) => Use::Zone,
            field => Use::Field(field),
        });
        let uses = uses.collect();
        Ok(Self { names, uses, number })
    }

    /// Names of all columns, as the header has them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Which column is the number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Names of the fields a contact gets, in the order of the columns.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.uses.iter().filter_map(|one| match one {
            Use::Field(name) => Some(name.as_str()),
            Use::Zone => Some(ZONE_COLUMN),
            Use::Number | Use::Omitted => None,
        })
    }

    /// Reads one row; `read` says what a number is.
    pub fn row<'a>(
        &self,
        values: impl ExactSizeIterator<Item = &'a str>,
        read: impl FnOnce(&str) -> Result<E164, RowProblem>,
    ) -> Result<ContactRow, Refused> {
        if values.len() != self.names.len() {
            let problem = RowProblem::Ragged { wanted: self.names.len(), found: values.len() };
            return Err(Refused { problem, column: None });
        }
        let mut number = "";
        let mut fields = Vec::with_capacity(self.names.len() - 1);
        let mut size_bytes = packed_bytes(MAX_DIGITS + 1) + packed_bytes(0);
        let mut keep = |name: &str, value: &str| {
            size_bytes += packed_bytes(name.len()) + packed_bytes(value.len());
            fields.push((name.to_owned(), value.to_owned()));
        };
        for (column, (one, value)) in self.uses.iter().zip(values).enumerate() {
            let refuse = |problem| Err(Refused { problem, column: Some(column) });
            if *one != Use::Omitted && value.len() > MAX_VALUE_BYTES {
                return refuse(RowProblem::ValueTooLong { size_bytes: value.len() });
            }
            match one {
                Use::Number => number = value,
                Use::Zone if !value.trim().is_empty() => match zone::read(value) {
                    Ok(zone) => keep(ZONE_COLUMN, zone.name()),
                    Err(zone::NoZone) => return refuse(RowProblem::NoZone),
                },
                Use::Field(name) if !value.is_empty() => keep(name, value),
                Use::Field(_) | Use::Zone | Use::Omitted => {}
            }
        }
        let number = read(number).map_err(|problem| Refused { problem, column: Some(self.number) })?;
        if size_bytes > MAX_CONTACT_BYTES {
            return Err(Refused { problem: RowProblem::ContactTooLong { size_bytes }, column: None });
        }
        Ok(ContactRow { number, fields })
    }
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other.trim())
}

/// Bytes of a text as it is sealed: its length goes before it, in seven bits a byte.
fn packed_bytes(text_bytes: usize) -> usize {
    text_bytes + if text_bytes < 128 { 1 } else { 2 }
}

fn number_index(fields: &[String], omitted: &[bool]) -> Result<usize, ColumnProblem> {
    let known = |name: &str| NUMBER_COLUMNS.iter().any(|known| same(known, name));
    let mut candidates = fields.iter().enumerate().filter(|(index, name)| !omitted[*index] && known(name));
    let Some((index, first)) = candidates.next() else {
        return Err(ColumnProblem::NoNumber { found: fields.join(", ") });
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
        Columns::read(header, &Mapping::default())
    }

    fn mapping(number: Option<&str>, renamed: &[(&str, &str)], omitted: &[&str]) -> Mapping {
        Mapping {
            number_column: number.map(str::to_owned),
            renamed: renamed.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            omitted: omitted.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn row(values: &[&str]) -> Result<ContactRow, Refused> {
        columns(&["name", "Phone", "city"]).unwrap().row(values.iter().copied(), E164::parse)
    }

    #[test]
    fn a_header_names_the_number_or_is_refused() {
        assert_eq!(columns(&["name", " MSISDN "]).unwrap().number(), 1);
        assert_eq!(Columns::read(&["a", "b"], &mapping(Some("B"), &[], &[])).unwrap().number(), 1);
        assert_eq!(
            Columns::read(&["number", "mobile"], &mapping(Some("mobile"), &[], &[])).unwrap().number(),
            1
        );
        let code = |header: &[&str], wanted: Option<&str>| {
            Columns::read(header, &mapping(wanted, &[], &[])).unwrap_err().code()
        };
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
    fn columns_are_renamed_and_left_out() {
        let header = ["Tel. mobil", "Vorname", "note", "note", "Zone"];
        let said =
            mapping(None, &[("number", "tel. MOBIL"), ("first name", "Vorname"), ("timezone", "zone")], &[]);
        assert_eq!(Columns::read(&header, &said).unwrap_err().code(), "AST-I023");
        let said = Mapping { omitted: vec!["Note".to_owned()], ..said };
        // The first of two columns of one name is left out by it; the other stays.
        let columns = Columns::read(&header, &said).unwrap();
        assert_eq!(columns.fields().collect::<Vec<_>>(), ["first name", "note", "timezone"]);
        let values = ["+12025550123", "Ada", "left out", "kept", "america/new york"];
        let contact = columns.row(values.into_iter(), E164::parse).unwrap();
        let fields: Vec<_> =
            contact.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("first name", "Ada"), ("note", "kept"), ("timezone", "America/New_York")]);
        let code = |renamed, omitted| {
            Columns::read(&["number", "name"], &mapping(None, renamed, omitted)).unwrap_err().code()
        };
        assert_eq!(code(&[("x", "nobody")], &[]), "AST-I021");
        assert_eq!(code(&[], &["nobody"]), "AST-I021");
        assert_eq!(code(&[("phone", "name")], &[]), "AST-I022");
        assert_eq!(code(&[("NUMBER", "name")], &[]), "AST-I023");
        assert_eq!(code(&[("", "name")], &[]), "AST-I024");
        assert_eq!(code(&[], &["number"]), "AST-I020");
    }

    #[test]
    fn a_zone_is_checked_and_a_column_left_out_is_not() {
        let said = mapping(None, &[], &["junk"]);
        let columns = Columns::read(&["number", "TimeZone", "junk"], &said).unwrap();
        let row = |zone: &str, junk: &str| columns.row(["+12025550123", zone, junk].into_iter(), E164::parse);
        assert_eq!(row("EST", "").unwrap_err(), Refused { problem: RowProblem::NoZone, column: Some(1) });
        assert!(row(" ", &"x".repeat(MAX_VALUE_BYTES * 2)).unwrap().fields.is_empty());
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
                if let Ok(columns) = Columns::read(&header, &mapping(wanted, &[], &[])) {
                    let _ = columns.row(values.iter().map(String::as_str), E164::parse);
                }
            }
        }
    }
}

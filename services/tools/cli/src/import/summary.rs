//! What an import did, or would do, in numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use asterism_domain::contact::zone::{self, ZoneChoice};
use asterism_domain::contact::{Columns, ContactRow, ZONE_COLUMN};

use super::SAMPLE_ROWS;
use super::numbers::Understood;

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of the file, hex: the same file is the same import.
    pub file_sha256: String,
    /// How its bytes were read as text, like `UTF-8`.
    pub encoding: &'static str,
    /// How that is known.
    pub encoding_known: &'static str,
    /// What stands between the columns.
    pub separator: char,
    /// Names of all columns.
    pub columns: Vec<String>,
    /// Name of the number's column.
    pub number_column: String,
    /// Rows with something in them, the header not counted: good, rejected and duplicates together.
    pub rows: u64,
    /// Rows handed on.
    pub good: u64,
    /// Rows refused.
    pub rejected: u64,
    /// Rows left out because their number came before.
    pub duplicates: u64,
    /// How many rows were refused for each reason, by code.
    pub rejected_by_code: BTreeMap<&'static str, u64>,
    /// Good rows whose number was in national form.
    pub national: u64,
    /// Good rows whose number is in no range its country has given out.
    pub unassigned: u64,
    /// Good rows whose number had a spreadsheet's mark taken off, by mark.
    pub mended: BTreeMap<&'static str, u64>,
    /// Good rows by what their time zone is.
    pub zones: Zones,
    /// Each field of the contacts.
    pub fields: Vec<Field>,
    /// The first good rows as they were understood. Personal: show their masks.
    pub samples: Vec<ContactRow>,
    /// The file of rejects, if there are any and it was asked for.
    pub rejects: Option<PathBuf>,
    /// Whether nothing was handed on.
    pub dry_run: bool,
    /// What the dialer made of the rows handed on.
    pub taken: Taken,
}

/// What the dialer made of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Contacts that are new in the campaign.
    pub fresh: u64,
    /// Contacts of the campaign already: of this list, imported before, or of another one.
    pub there: u64,
    /// Left out: another campaign has their numbers, as was asked.
    pub known: u64,
    /// Rows whose answer came before: they were taken by an earlier try.
    pub before: u64,
    /// The file was in the campaign, whole, before anything was sent.
    pub whole: bool,
}

/// Contacts by time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zones {
    /// In one zone, by its name.
    pub named: BTreeMap<&'static str, u64>,
    /// In one of several, nobody knows which: toll-free numbers, mobiles of large countries.
    pub several: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// A field of the contacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Contacts that have it.
    pub filled: u64,
    /// Its longest value.
    pub longest_bytes: usize,
}

impl Summary {
    /// For a list of these columns.
    pub(super) fn new(columns: &Columns) -> Self {
        let field = |name: &str| Field { name: name.to_owned(), ..Field::default() };
        Self {
            columns: columns.names().to_vec(),
            number_column: columns.names()[columns.number()].clone(),
            fields: columns.fields().map(field).collect(),
            ..Self::default()
        }
    }

    /// Counts a good row.
    pub(super) fn count(&mut self, contact: &ContactRow, understood: Option<Understood>) {
        self.good += 1;
        if let Some(Understood { mended, national, assigned, .. }) = understood {
            self.national += u64::from(national);
            self.unassigned += u64::from(!assigned);
            if let Some(mark) = mended {
                *self.mended.entry(mark.name()).or_default() += 1;
            }
        }
        // Fields stand in the order of the columns, the empty ones left out.
        let mut fields = self.fields.iter_mut();
        let mut column = None;
        for (name, value) in &contact.fields {
            if let Some(field) = fields.find(|field| field.name == *name) {
                field.filled += 1;
                field.longest_bytes = field.longest_bytes.max(value.len());
            }
            if name == ZONE_COLUMN {
                column = Some(value.as_str());
            }
        }
        match zone::choose(column, contact.number) {
            Ok(ZoneChoice::Named(zone)) => *self.zones.named.entry(zone.name()).or_default() += 1,
            Ok(ZoneChoice::AllOf(_)) => self.zones.several += 1,
            Ok(ZoneChoice::Unknown) | Err(zone::NoZone) => self.zones.unknown += 1,
        }
        if self.samples.len() < SAMPLE_ROWS {
            self.samples.push(contact.clone());
        }
    }
}

//! Contacts as they come in: what a number is, which columns a list has, and why a row is refused. Pure rules;
//! reading files belongs to the importer.
//!
//! Reading order: `number` ([`E164`] and its mask), `shape` (what spreadsheets do to numbers), `row` ([`Columns`], [`ContactRow`]), `problem`
//! ([`RowProblem`] for a row, [`ColumnProblem`] for a list), [`zone`] (which clock a contact lives by).

#![deny(clippy::float_arithmetic)]

mod number;
mod problem;
mod row;
mod shape;
pub mod zone;

pub use number::{E164, MAX_DIGITS, MIN_DIGITS, number_hash};
pub use problem::{ColumnProblem, Refused, RowProblem};
pub use row::{Columns, ContactRow, Mapping, NUMBER_COLUMNS};
pub use shape::{Impossible, Mark, unmarked};
pub use zone::ZONE_COLUMN;

/// Most columns of a list.
pub const MAX_COLUMNS: usize = 64;
/// Longest name of a column, in bytes.
pub const MAX_COLUMN_NAME_BYTES: usize = 64;
/// Longest value of a field, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;
/// Most bytes of one contact, number and fields packed as they are sealed: sealing adds 40, and the sealed contact has
/// to stay within [`SEALED_MAX_BYTES`](crate::campaign::decide::SEALED_MAX_BYTES).
pub const MAX_CONTACT_BYTES: usize = 180;

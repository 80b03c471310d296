//! Rows on their way out: CSV in two modes, one JSON object a line, or Parquet; one after the other, so that nothing but a
//! group of Parquet is ever in memory.

#[cfg(feature = "parquet")]
pub(crate) mod parquet;

use std::io::Write;

use serde_json::{Map, Value};

use crate::Error;
use crate::sheet::{Mode, Sheet};

/// A row by its columns; what it does not have is not there or null.
pub(crate) type Row = Map<String, Value>;
/// Takes the rows.
pub(crate) type Sink<'a> = dyn FnMut(Row) -> Result<(), Error> + 'a;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "parquet"), allow(dead_code))]
pub(crate) enum Kind {
    /// A number.
    Number,
    /// Milliseconds since 1970.
    Time,
    /// UTF-8.
    Text,
    /// Bytes: hexadecimal in the other formats.
    Bytes,
}

/// Columns in their order.
pub(crate) type Columns = [(&'static str, Kind)];

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180: cells are exactly what there is.
    Strict,
    /// For spreadsheets: no cell is a formula, and no text becomes a number.
    Spreadsheet,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet, with types; in builds with the feature `parquet`.
    Parquet,
}

/// Writes a table whose rows `each` hands over; returns what that returned.
pub(crate) fn write<T>(
    name: &str,
    columns: &Columns,
    format: Format,
    out: &mut dyn Write,
    each: impl FnOnce(&mut Sink<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    match format {
        Format::Strict => csv(columns, Sheet::new(out, Mode::Strict), false, each),
        Format::Spreadsheet => {
            // Without it a spreadsheet takes UTF-8 for something else.
            out.write_all("\u{feff}".as_bytes())?;
            csv(columns, Sheet::new(out, Mode::Spreadsheet), true, each)
        }
        Format::Jsonl => each(&mut |row| {
            serde_json::to_writer(&mut *out, &row).map_err(std::io::Error::from)?;
            Ok(out.write_all(b"\n")?)
        }),
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::write(name, columns, out, each),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            let _ = (name, each);
            Err(Error::NoParquet)
        }
    }
}

fn csv<W: Write, T>(
    columns: &Columns,
    mut sheet: Sheet<W>,
    for_spreadsheets: bool,
    each: impl FnOnce(&mut Sink<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    sheet.row(columns.iter().map(|(name, _)| *name))?;
    let done = each(&mut |mut row| {
        sheet.row(columns.iter().map(|(name, kind)| match row.get_mut(*name).map(Value::take) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if for_spreadsheets && *kind == Kind::Text && is_mangled(&text) => {
                format!("'{text}")
            }
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        }))
    })?;
    sheet.finish()?;
    Ok(done)
}

/// A text a spreadsheet would take for a number and show as another one: it has fifteen digits, and no zeros before them.
fn is_mangled(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text.len() > 11 || (text.len() > 1 && text.starts_with('0')))
}

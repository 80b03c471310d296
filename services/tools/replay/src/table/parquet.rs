//! Parquet, in groups of rows that bound the memory. In builds with the feature `parquet`; the others say how to get one.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use super::{Columns, Kind, Row, Sink};
use crate::Error;

/// Rows of a group: all that is in memory at a time.
const GROUP_ROWS: usize = 16_384;

/// Writes the rows that `each` hands over; what one does not have is null.
pub(crate) fn write<T>(
    name: &str,
    columns: &Columns,
    out: &mut dyn Write,
    each: impl FnOnce(&mut Sink<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut file = Groups::new(name, columns)?;
    let mut rows = Vec::with_capacity(GROUP_ROWS);
    let done = each(&mut |row| {
        rows.push(row);
        if rows.len() < GROUP_ROWS {
            return Ok(());
        }
        file.group(&rows)?;
        rows.clear();
        Ok(out.write_all(&file.take()?)?)
    })?;
    if !rows.is_empty() {
        file.group(&rows)?;
    }
    out.write_all(&file.finish()?)?;
    Ok(done)
}

/// A Parquet file that is handed on group by group.
struct Groups<'a> {
    file: SerializedFileWriter<Vec<u8>>,
    columns: &'a Columns,
}

impl<'a> Groups<'a> {
    fn new(name: &str, columns: &'a Columns) -> Result<Self, Error> {
        let field = |(column, kind): &(&str, Kind)| match kind {
            Kind::Number => format!("optional int64 {column} (INTEGER(64,true));"),
            Kind::Time => format!("optional int64 {column} (TIMESTAMP(MILLIS,true));"),
            Kind::Text => format!("optional binary {column} (STRING);"),
            Kind::Bytes => format!("optional binary {column};"),
        };
        let fields: Vec<String> = columns.iter().map(field).collect();
        let schema =
            parse_message_type(&format!("message {name} {{ {} }}", fields.join(" "))).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("asterism-replay ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties));
        Ok(Self { file: file.map_err(failed)?, columns })
    }

    fn group(&mut self, rows: &[Row]) -> Result<(), Error> {
        let mut group = self.file.next_row_group().map_err(failed)?;
        for (name, kind) in self.columns {
            let Some(mut column) = group.next_column().map_err(failed)? else { break };
            let cells = rows.iter().map(|row| row.get(*name));
            if matches!(kind, Kind::Number | Kind::Time) {
                let (values, levels) = present(cells.map(|cell| cell.and_then(number)));
                column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).map_err(failed)?;
            } else {
                let (values, levels) = present(cells.map(|cell| cell.and_then(|cell| bytes(*kind, cell))));
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).map_err(failed)?;
            }
            column.close().map_err(failed)?;
        }
        group.close().map_err(failed)?;
        Ok(())
    }

    /// What was written since the last time.
    fn take(&mut self) -> Result<Vec<u8>, Error> {
        self.file.flush()?;
        Ok(std::mem::take(self.file.inner_mut()))
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.file.finish().map_err(failed)?;
        self.take()
    }
}

/// Values that are there, and for each row whether it has one: what Parquet calls definition levels.
fn present<T>(cells: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    (values, levels)
}

/// Numbers of the log stay far below 2^63; a forged one that does not is null, and verify tells of it.
fn number(cell: &Value) -> Option<i64> {
    cell.as_u64().and_then(|number| i64::try_from(number).ok())
}

fn bytes(kind: Kind, cell: &Value) -> Option<ByteArray> {
    let text = match cell {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if kind == Kind::Bytes { hex::decode(text).ok().map(ByteArray::from) } else { Some(text.as_str().into()) }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape map_err takes")]
fn failed(error: ParquetError) -> Error {
    Error::Output(std::io::Error::other(error.to_string()))
}

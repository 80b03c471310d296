//! The file of rejected rows: where each stands and how to mend it. It holds no value of a row, so it can be passed on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use asterism_domain::contact::RowProblem;

/// Columns of the file.
pub const HEADER: [&str; 6] = ["line", "column", "column_name", "code", "reason", "fix"];

/// Writes rejects. The file is made with the first of them, so a clean import leaves none.
pub struct Rejects {
    path: PathBuf,
    writer: Option<csv::Writer<BufWriter<File>>>,
}

impl Rejects {
    /// Rejects that go to `path`. What an earlier import left there is removed.
    pub fn new(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), writer: None })
    }

    /// Adds one. `column` counts from 1, 0 means the whole row.
    pub fn add(
        &mut self,
        line: u64,
        column: usize,
        column_name: &str,
        problem: &RowProblem,
    ) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
                let mut writer = csv::Writer::from_writer(BufWriter::new(file));
                writer.write_record(HEADER)?;
                none.insert(writer)
            }
        };
        let column = if column == 0 { String::new() } else { column.to_string() };
        let record = [
            &line.to_string(),
            &column,
            &harmless(column_name),
            problem.code(),
            &problem.to_string(),
            problem.fix(),
        ];
        writer.write_record(record)?;
        Ok(())
    }

    /// Makes what was written durable; the path, if there were any rejects.
    pub fn finish(self) -> io::Result<Option<PathBuf>> {
        let Some(writer) = self.writer else { return Ok(None) };
        let file = writer.into_inner().map_err(|error| io::Error::from(error.error().kind()))?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(Some(self.path))
    }
}

/// A name that no spreadsheet takes for a formula.
fn harmless(name: &str) -> String {
    if name.starts_with(['=', '+', '-', '@']) { format!("'{name}") } else { name.to_owned() }
}

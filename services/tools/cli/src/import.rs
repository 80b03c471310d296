//! Contact lists from CSV files: read as a stream, bad rows set aside with their reason, good rows handed on in batches.
//!
//! A file is read twice: once to its end for its hash and encoding ([`survey`]), then row by row. Memory does not grow
//! with the file but for 8 bytes a number (times the hash table's slack), which find duplicates. What a row is is decided
//! by `asterism_domain::contact`; here is only the reading.
//!
//! Reading order: `survey`, `decode`, `rows`, `numbers`, this file, `summary`, `rejects`.

mod decode;
mod error;
pub mod numbers;
mod rejects;
mod rows;
mod summary;
pub mod survey;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use asterism_domain::contact::{Columns, ContactRow, Mapping, Refused, RowProblem};
use encoding_rs::Encoding;
use sha2::{Digest, Sha256};

use decode::Decoded;
pub use error::Error;
pub use numbers::Numbers;
pub use rejects::HEADER as REJECT_COLUMNS;
use rejects::Rejects;
pub use rows::{MAX_ROW_BYTES, MAX_ROW_LINES};
use rows::{Next, Rows};
pub use summary::{Field, Summary, Taken, Zones};
pub use survey::Survey;

/// Most contacts of one batch.
pub const MAX_BATCH_CONTACTS: usize = 200;
/// Most rows of one file; the duplicate check holds a number for each.
pub const MAX_ROWS: u64 = 5_000_000;
/// Good rows shown in the summary as they were understood.
pub const SAMPLE_ROWS: usize = 5;
/// Separators told apart by looking at the header.
const SEPARATORS: [u8; 3] = *b",;\t";

/// How a file is imported.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the columns are, where their names do not tell.
    pub mapping: Mapping,
    /// How numbers are read.
    pub numbers: Numbers,
    /// The encoding, where the bytes do not tell.
    pub encoding: Option<&'static Encoding>,
    /// Reads and counts everything, hands nothing on.
    pub dry_run: bool,
    /// Where rejected rows go; `None` only counts them. A file of that name is replaced.
    pub rejects: Option<PathBuf>,
    /// Campaigns whose numbers the dialer leaves out, or `all`.
    pub skip_known: Vec<String>,
    /// Stops after this many good rows.
    pub limit: Option<u64>,
}

/// Looks at a file as [`import_file`] will read it.
pub fn survey_file(path: &Path, options: &Options) -> Result<Survey, Error> {
    let name = path.display().to_string();
    let read_error = |source| Error::Read { path: name.clone(), source };
    let file = File::open(path).map_err(read_error)?;
    // It is read twice.
    if !file.metadata().map_err(read_error)?.is_file() {
        let source =
            io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file; save it as one first");
        return Err(read_error(source));
    }
    survey::survey(file, options.encoding).map_err(read_error)
}

/// Imports a file: each batch of at most [`MAX_BATCH_CONTACTS`] contacts goes to `sink`, in the order of the file.
/// A sink that fails ends the import.
pub fn import_file<E: std::fmt::Display>(
    path: &Path,
    survey: &Survey,
    options: &Options,
    sink: impl FnMut(Vec<ContactRow>) -> Result<(), E>,
) -> Result<Summary, Error> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|source| Error::Read { path: name.clone(), source })?;
    let rejects = options.rejects.as_deref().and_then(|rejects| rejects.canonicalize().ok());
    if rejects.is_some() && rejects == path.canonicalize().ok() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is the list itself");
        return Err(rejects_error(options, source));
    }
    import(file, &name, survey, options, sink)
}

/// [`import_file`] for any source that stands at its start; `name` stands for it in messages.
pub fn import<E: std::fmt::Display>(
    mut source: impl Read + Seek,
    name: &str,
    survey: &Survey,
    options: &Options,
    sink: impl FnMut(Vec<ContactRow>) -> Result<(), E>,
) -> Result<Summary, Error> {
    let read_error = |source| Error::Read { path: name.to_owned(), source };
    if let Some(what) = survey.no_text {
        return Err(Error::NoText { path: name.to_owned(), what });
    }
    let mut mark = vec![0; survey.mark_bytes];
    source.seek(SeekFrom::Start(0)).and_then(|_| source.read_exact(&mut mark)).map_err(read_error)?;
    let hashed = Hashed { source, hasher: Sha256::new_with_prefix(&mark) };
    let mut source = BufReader::with_capacity(256 * 1024, Decoded::new(hashed, survey.encoding));
    let separator = separator(&mut source).map_err(read_error)?;
    let mut rows = Rows::new(source, separator);
    let columns = header(&mut rows, name, options)?;
    let rejects = match &options.rejects {
        Some(path) => Some(Rejects::new(path).map_err(|source| rejects_error(options, source))?),
        None => None,
    };
    let summary = Summary {
        separator: char::from(separator),
        encoding: survey.encoding.name(),
        encoding_known: survey.known_by.words(),
        dry_run: options.dry_run,
        file_sha256: survey.sha256.clone(),
        ..Summary::new(&columns)
    };
    let mut import =
        Import { name, options, columns, rejects, summary, seen: HashSet::new(), batch: Vec::new(), sink };
    let mut whole = false;
    while options.limit.is_none_or(|limit| import.summary.good < limit) {
        let next = rows.advance().map_err(read_error)?;
        if next == Next::End {
            whole = true;
            break;
        }
        import.take(next, &rows)?;
    }
    let line = rows.line();
    let hashed = rows.into_source().into_inner().into_source().hasher;
    if whole && hex::encode(hashed.finalize()) != survey.sha256 {
        return Err(Error::Changed { path: name.to_owned() });
    }
    import.flush(line)?;
    let mut summary = import.summary;
    if let Some(rejects) = import.rejects {
        summary.rejects = rejects.finish().map_err(|source| rejects_error(options, source))?;
    }
    Ok(summary)
}

struct Import<'a, S> {
    name: &'a str,
    options: &'a Options,
    columns: Columns,
    rejects: Option<Rejects>,
    summary: Summary,
    seen: HashSet<u64>,
    batch: Vec<ContactRow>,
    sink: S,
}

impl<E: std::fmt::Display, S: FnMut(Vec<ContactRow>) -> Result<(), E>> Import<'_, S> {
    fn take<R: BufRead>(&mut self, next: Next, rows: &Rows<R>) -> Result<(), Error> {
        if next == Next::Row && (0..rows.columns()).all(|column| rows.value(column).is_empty()) {
            return Ok(()); // what a spreadsheet leaves below its last row
        }
        if self.summary.rows == MAX_ROWS {
            return Err(Error::TooManyRows { path: self.name.to_owned(), line: rows.line() });
        }
        self.summary.rows += 1;
        let mut understood = None;
        let numbers = &self.options.numbers;
        let read = |text: &str| {
            let found = numbers.read(text)?;
            understood = Some(found);
            Ok(found.number)
        };
        match judge(&self.columns, next, rows, read) {
            Ok(contact) if !self.seen.insert(contact.number.digits()) => self.summary.duplicates += 1,
            Ok(contact) => {
                self.summary.count(&contact, understood);
                self.batch.push(contact);
                if self.batch.len() == MAX_BATCH_CONTACTS {
                    self.flush(rows.line())?;
                }
            }
            Err(refused) => self.reject(rows.line(), refused)?,
        }
        Ok(())
    }

    fn reject(&mut self, line: u64, refused: Refused) -> Result<(), Error> {
        self.summary.rejected += 1;
        *self.summary.rejected_by_code.entry(refused.problem.code()).or_default() += 1;
        if let Some(rejects) = &mut self.rejects {
            let name =
                refused.column.and_then(|column| self.columns.names().get(column)).map_or("", String::as_str);
            rejects
                .add(line, refused.column.map_or(0, |column| column + 1), name, &refused.problem)
                .map_err(|source| rejects_error(self.options, source))?;
        }
        Ok(())
    }

    fn flush(&mut self, line: u64) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() || self.options.dry_run {
            return Ok(());
        }
        (self.sink)(batch).map_err(|why| Error::Sink {
            path: self.name.to_owned(),
            line,
            why: why.to_string(),
        })
    }
}

fn judge<R: BufRead>(
    columns: &Columns,
    next: Next,
    rows: &Rows<R>,
    read: impl FnOnce(&str) -> Result<asterism_domain::contact::E164, RowProblem>,
) -> Result<ContactRow, Refused> {
    let problem = match next {
        Next::TooLong => RowProblem::RowTooLong { max_bytes: MAX_ROW_BYTES },
        Next::OpenQuote => RowProblem::OpenQuote { max_lines: MAX_ROW_LINES },
        Next::Row | Next::End => {
            let mut values = Vec::with_capacity(rows.columns());
            for column in 0..rows.columns() {
                let value = std::str::from_utf8(rows.value(column));
                values
                    .push(value.map_err(|_| Refused { problem: RowProblem::NotUtf8, column: Some(column) })?);
            }
            return columns.row(values.into_iter(), read);
        }
    };
    Err(Refused { problem, column: None })
}

/// Finds what separates the columns, without reading on.
fn separator(source: &mut impl BufRead) -> io::Result<u8> {
    let header = source.fill_buf()?;
    let mut counts = [0usize; SEPARATORS.len()];
    let mut quoted = false;
    for byte in header.iter().skip_while(|byte| byte.is_ascii_whitespace() && **byte != b'\t') {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            byte => {
                if let Some(index) = SEPARATORS.iter().position(|separator| separator == byte) {
                    counts[index] += 1;
                }
            }
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let best = counts.iter().position(|count| *count == most).unwrap_or_default();
    Ok(SEPARATORS[best])
}

fn header<R: BufRead>(rows: &mut Rows<R>, name: &str, options: &Options) -> Result<Columns, Error> {
    let refuse = |why: String| Error::Header { path: name.to_owned(), why };
    match rows.advance().map_err(|source| Error::Read { path: name.to_owned(), source })? {
        Next::End => return Err(Error::Empty { path: name.to_owned() }),
        Next::TooLong => return Err(refuse(RowProblem::RowTooLong { max_bytes: MAX_ROW_BYTES }.to_string())),
        Next::OpenQuote => {
            return Err(refuse(RowProblem::OpenQuote { max_lines: MAX_ROW_LINES }.to_string()));
        }
        Next::Row => {}
    }
    let mut names = Vec::with_capacity(rows.columns());
    for column in 0..rows.columns() {
        let text =
            std::str::from_utf8(rows.value(column)).map_err(|_| refuse(RowProblem::NotUtf8.to_string()))?;
        if text.contains('\r') {
            return Err(refuse(
                "its lines end with carriage returns only; save it with ordinary line ends".to_owned(),
            ));
        }
        names.push(text);
    }
    Columns::read(&names, &options.mapping)
        .map_err(|problem| Error::Columns { path: name.to_owned(), problem })
}

fn rejects_error(options: &Options, source: io::Error) -> Error {
    let path = options.rejects.as_deref().unwrap_or(Path::new("")).display().to_string();
    Error::Rejects { path, source }
}

/// Hashes a file while it is read.
struct Hashed<R> {
    source: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

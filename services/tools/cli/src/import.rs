//! Contact lists from CSV files: read as a stream, bad rows set aside with their reason, good rows handed on in batches.
//!
//! Memory does not grow with the file but for 8 bytes a number (times the hash table's slack), which find duplicates.
//! What a number and a row are is decided by `asterism_domain::contact`; here is only the reading.

mod rejects;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use asterism_domain::contact::{ColumnProblem, Columns, ContactRow, Refused, RowProblem};
use sha2::{Digest, Sha256};

pub use rejects::HEADER as REJECT_COLUMNS;
use rejects::Rejects;
pub use rows::{MAX_ROW_BYTES, MAX_ROW_LINES};
use rows::{Next, Rows};

/// Most contacts of one batch.
pub const MAX_BATCH_CONTACTS: usize = 200;
/// Most rows of one file; the duplicate check holds a number for each.
pub const MAX_ROWS: u64 = 5_000_000;
/// Good rows shown in the summary as they were understood.
pub const SAMPLE_ROWS: usize = 5;
/// Separators told apart by looking at the header.
const SEPARATORS: [u8; 3] = *b",;\t";

/// Why nothing more of a file can be imported. Each has a stable code (see [`Error::code`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("AST-I030: {path} cannot be read: {source}; check the path and its permissions")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// Another encoding.
    #[error("AST-I031: {path} is UTF-16; save it as UTF-8 (in a spreadsheet: CSV UTF-8)")]
    Utf16 {
        /// The file.
        path: String,
    },
    /// Nothing in it.
    #[error("AST-I032: {path} is empty; the first row names the columns, like number,name")]
    Empty {
        /// The file.
        path: String,
    },
    /// The first row is not readable.
    #[error(
        "AST-I033: {path}:1: the header cannot be read: {why}; the first row names the columns, like number,name"
    )]
    Header {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The header does not say what the columns are.
    #[error("{problem} (in {path})")]
    Columns {
        /// The file.
        path: String,
        /// What is wrong.
        problem: ColumnProblem,
    },
    /// Rejected rows cannot be written down.
    #[error(
        "AST-I034: rejected rows cannot be written to {path}: {source}; free some space or name another file with --rejects"
    )]
    Rejects {
        /// The file of rejects.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// More rows than the limit.
    #[error(
        "AST-I035: {path} has more than {MAX_ROWS} rows; split it (rows before line {line} are imported)"
    )]
    TooManyRows {
        /// The file.
        path: String,
        /// Line of the first row that is too much.
        line: u64,
    },
    /// A batch was not taken.
    #[error("AST-I036: contacts up to line {line} of {path} could not be handed on: {why}")]
    Sink {
        /// The file.
        path: String,
        /// Line of the batch's last row.
        line: u64,
        /// What the taker says.
        why: String,
    },
}

impl Error {
    /// The stable code, like `AST-I030`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "AST-I030",
            Self::Utf16 { .. } => "AST-I031",
            Self::Empty { .. } => "AST-I032",
            Self::Header { .. } => "AST-I033",
            Self::Columns { problem, .. } => problem.code(),
            Self::Rejects { .. } => "AST-I034",
            Self::TooManyRows { .. } => "AST-I035",
            Self::Sink { .. } => "AST-I036",
        }
    }
}

/// How a file is imported.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The number's column, where its name does not tell.
    pub number_column: Option<String>,
    /// Reads and counts everything, hands nothing on.
    pub dry_run: bool,
    /// Where rejected rows go; `None` only counts them. A file of that name is replaced.
    pub rejects: Option<PathBuf>,
    /// Stops after this many good rows.
    pub limit: Option<u64>,
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of the file, hex: the same file is the same import.
    pub file_sha256: String,
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
    /// The first good rows as they were understood. Personal: show their masks.
    pub samples: Vec<ContactRow>,
    /// The file of rejects, if there are any and it was asked for.
    pub rejects: Option<PathBuf>,
    /// Whether nothing was handed on.
    pub dry_run: bool,
}

/// Imports a file: each batch of at most [`MAX_BATCH_CONTACTS`] contacts goes to `sink`, in the order of the file.
/// A sink that fails ends the import.
pub fn import_file<E: std::fmt::Display>(
    path: &Path,
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
    import(file, &name, options, sink)
}

/// [`import_file`] for any source; `name` stands for it in messages.
pub fn import<E: std::fmt::Display>(
    source: impl Read,
    name: &str,
    options: &Options,
    sink: impl FnMut(Vec<ContactRow>) -> Result<(), E>,
) -> Result<Summary, Error> {
    let read_error = |source| Error::Read { path: name.to_owned(), source };
    let mut source = BufReader::with_capacity(256 * 1024, Hashed { source, hasher: Sha256::new() });
    let separator = start(&mut source, name)?;
    let mut rows = Rows::new(source, separator);
    let columns = header(&mut rows, name, options)?;
    let rejects = match &options.rejects {
        Some(path) => Some(Rejects::new(path).map_err(|source| rejects_error(options, source))?),
        None => None,
    };
    let summary = Summary {
        separator: char::from(separator),
        columns: columns.names().to_vec(),
        number_column: columns.names()[columns.number()].clone(),
        dry_run: options.dry_run,
        ..Summary::default()
    };
    let mut import =
        Import { name, options, columns, rejects, summary, seen: HashSet::new(), batch: Vec::new(), sink };
    while options.limit.is_none_or(|limit| import.summary.good < limit) {
        let next = rows.advance().map_err(read_error)?;
        if next == Next::End {
            break;
        }
        import.take(next, &rows)?;
    }
    import.flush(rows.line())?;
    let mut summary = import.summary;
    if let Some(rejects) = import.rejects {
        summary.rejects = rejects.finish().map_err(|source| rejects_error(options, source))?;
    }
    let mut source = rows.into_source();
    // The hash is the whole file's, also where reading stopped early.
    io::copy(&mut source, &mut io::sink()).map_err(read_error)?;
    summary.file_sha256 = hex::encode(source.into_inner().hasher.finalize());
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
        match self.judge(next, rows) {
            Ok(contact) if !self.seen.insert(contact.number.digits()) => self.summary.duplicates += 1,
            Ok(contact) => {
                self.summary.good += 1;
                if self.summary.samples.len() < SAMPLE_ROWS {
                    self.summary.samples.push(contact.clone());
                }
                self.batch.push(contact);
                if self.batch.len() == MAX_BATCH_CONTACTS {
                    self.flush(rows.line())?;
                }
            }
            Err(refused) => self.reject(rows.line(), refused)?,
        }
        Ok(())
    }

    fn judge<R: BufRead>(&self, next: Next, rows: &Rows<R>) -> Result<ContactRow, Refused> {
        let problem = match next {
            Next::TooLong => RowProblem::RowTooLong { max_bytes: MAX_ROW_BYTES },
            Next::OpenQuote => RowProblem::OpenQuote { max_lines: MAX_ROW_LINES },
            Next::Row | Next::End => {
                let mut values = Vec::with_capacity(rows.columns());
                for column in 0..rows.columns() {
                    let value = std::str::from_utf8(rows.value(column));
                    values.push(
                        value.map_err(|_| Refused { problem: RowProblem::NotUtf8, column: Some(column) })?,
                    );
                }
                return self.columns.row(values.into_iter());
            }
        };
        Err(Refused { problem, column: None })
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

/// Passes over a byte order mark and finds what separates the columns, without reading on.
fn start(source: &mut impl BufRead, name: &str) -> Result<u8, Error> {
    let read_error = |source| Error::Read { path: name.to_owned(), source };
    let first = source.fill_buf().map_err(read_error)?;
    // Text of the header in UTF-16 without a mark: every other byte is zero.
    let utf16 = first.starts_with(&[0xff, 0xfe])
        || first.starts_with(&[0xfe, 0xff])
        || first.iter().take(8).any(|b| *b == 0);
    if utf16 {
        return Err(Error::Utf16 { path: name.to_owned() });
    }
    if first.starts_with("\u{feff}".as_bytes()) {
        source.consume(3);
    }
    let header = source.fill_buf().map_err(read_error)?;
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
    Columns::read(&names, options.number_column.as_deref())
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

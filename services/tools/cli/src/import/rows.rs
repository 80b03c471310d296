//! Rows of a CSV file one after the other, in bounded memory and without losing a good row to a bad one.
//!
//! A quote that is never closed would swallow the rest of the file: it may span [`MAX_ROW_LINES`] lines, then the line
//! that opened it is refused alone and reading goes on with the next.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

/// Longest row, in bytes, over all its lines.
pub const MAX_ROW_BYTES: usize = 64 * 1024;
/// Most lines of one row: line breaks may stand inside quotes.
pub const MAX_ROW_LINES: usize = 16;
/// Most columns told apart in one row; a row with more counts as one more than this.
const MAX_ROW_COLUMNS: usize = 1024;

/// What stands next in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A row, to be read by [`Rows::value`].
    Row,
    /// A row over [`MAX_ROW_BYTES`].
    TooLong,
    /// A quote not closed within [`MAX_ROW_LINES`] lines.
    OpenQuote,
    /// The end of the file.
    End,
}

/// The rows of one file.
pub struct Rows<R> {
    source: R,
    parser: Reader,
    /// Lines read ahead while looking for a closing quote.
    ahead: VecDeque<Line>,
    /// Lines of the row at hand.
    held: Vec<Line>,
    lines_read: u64,
    line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
    columns: usize,
}

#[derive(Debug, Default)]
struct Line {
    number: u64,
    bytes: Vec<u8>,
    too_long: bool,
}

impl<R: BufRead> Rows<R> {
    /// Rows of a source that stands at the first line, a byte order mark already skipped.
    pub fn new(source: R, separator: u8) -> Self {
        Self {
            source,
            parser: ReaderBuilder::new().delimiter(separator).terminator(Terminator::Any(b'\n')).build(),
            ahead: VecDeque::new(),
            held: Vec::new(),
            lines_read: 0,
            line: 0,
            text: vec![0; MAX_ROW_BYTES + MAX_ROW_LINES],
            ends: vec![0; MAX_ROW_COLUMNS],
            columns: 0,
        }
    }

    /// Reads on to the next row; lines with nothing in them are passed over.
    pub fn advance(&mut self) -> io::Result<Next> {
        self.columns = 0;
        let first = loop {
            match self.next_line()? {
                None => return Ok(Next::End),
                Some(line) if line.bytes.trim_ascii().is_empty() && !line.too_long => {}
                Some(line) => break line,
            }
        };
        self.line = first.number;
        if first.too_long {
            return Ok(Next::TooLong);
        }
        self.parse(first)
    }

    /// Gives the source back.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Line of the row at hand, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How many columns the row at hand has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of one column of the row at hand, quotes taken off.
    pub fn value(&self, column: usize) -> &[u8] {
        let known = self.columns.min(MAX_ROW_COLUMNS);
        if column >= known {
            return &[];
        }
        let start = if column == 0 { 0 } else { self.ends[column - 1] };
        &self.text[start..self.ends[column]]
    }

    fn parse(&mut self, first: Line) -> io::Result<Next> {
        self.parser.reset();
        self.held.clear();
        let (mut written, mut ended, mut size_bytes) = (0, 0, 0);
        let mut line = first;
        loop {
            size_bytes += line.bytes.len();
            let fits = size_bytes <= MAX_ROW_BYTES && !line.too_long;
            self.held.push(line);
            if !fits {
                return Ok(self.give_back(Next::TooLong));
            }
            let input = &self.held[self.held.len() - 1].bytes;
            let (result, _, bytes, ends) =
                self.parser.read_record(input, &mut self.text[written..], &mut self.ends[ended..]);
            written += bytes;
            ended += ends;
            match result {
                ReadRecordResult::Record => {
                    self.columns = ended;
                    return Ok(Next::Row);
                }
                ReadRecordResult::OutputEndsFull => {
                    self.columns = MAX_ROW_COLUMNS + 1;
                    return Ok(Next::Row);
                }
                // The text buffer takes any row of allowed length, so only the closing quote can be missing.
                ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull | ReadRecordResult::End => {}
            }
            if self.held.len() == MAX_ROW_LINES {
                return Ok(self.give_back(Next::OpenQuote));
            }
            match self.next_line()? {
                Some(next) => line = next,
                None => return Ok(self.give_back(Next::OpenQuote)),
            }
        }
    }

    /// Refuses the first held line only; the others are read again as rows of their own.
    fn give_back(&mut self, why: Next) -> Next {
        let one_line = self.held.len() == 1;
        for line in self.held.drain(1..).rev() {
            self.ahead.push_front(line);
        }
        // A row of several lines became too long because a quote was left open.
        if one_line { why } else { Next::OpenQuote }
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Line::default();
        (&mut self.source).take(MAX_ROW_BYTES as u64 + 1).read_until(b'\n', &mut line.bytes)?;
        if line.bytes.is_empty() {
            return Ok(None);
        }
        self.lines_read += 1;
        line.number = self.lines_read;
        if line.bytes.last() != Some(&b'\n') && line.bytes.len() > MAX_ROW_BYTES {
            line.too_long = true;
            line.bytes.clear();
            skip_line(&mut self.source)?;
            return Ok(Some(line));
        }
        // One line end for the parser, whatever the file has and even if its last line has none.
        while line.bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.bytes.pop();
        }
        line.bytes.push(b'\n');
        Ok(Some(line))
    }
}

/// Reads to the end of a line without keeping it.
fn skip_line(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = source.fill_buf()?;
        let (used, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        source.consume(used);
        if done {
            return Ok(());
        }
    }
}

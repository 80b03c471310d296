//! Rows of CSV, quoted where needed.

use std::io::Write;

use crate::Error;

/// What begins a formula in one spreadsheet or another, the wide forms among them.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Cells are exactly what the log says; lines end as on Unix.
    Plain,
    /// The same as RFC 4180 has it, lines too.
    Strict,
    /// A cell that would be a formula begins with an apostrophe: what a log holds was written by others.
    Spreadsheet,
}

impl Mode {
    /// What the flag `--spreadsheet` asks for.
    pub(crate) const fn of(spreadsheet: bool) -> Self {
        if spreadsheet { Self::Spreadsheet } else { Self::Plain }
    }
}

/// Writes rows.
pub(crate) struct Sheet<W: Write> {
    writer: csv::Writer<W>,
    spreadsheet: bool,
}

impl<W: Write> Sheet<W> {
    pub(crate) fn new(out: W, mode: Mode) -> Self {
        let crlf = mode == Mode::Strict;
        let end = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let writer = csv::WriterBuilder::new().terminator(end).from_writer(out);
        Self { writer, spreadsheet: mode == Mode::Spreadsheet }
    }

    pub(crate) fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) -> Result<(), Error> {
        for cell in cells {
            let cell = cell.as_ref();
            let written = if self.spreadsheet && cell.starts_with(FORMULA) {
                self.writer.write_field(format!("'{cell}"))
            } else {
                self.writer.write_field(cell)
            };
            written.map_err(output)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(output)
    }

    /// Hands over the last rows; without it a failure there would be nobody's.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        Ok(self.writer.flush()?)
    }
}

/// The error of whoever takes the rows, as it is: a pipe that was closed is no failure.
fn output(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Error::Output(error),
        other => Error::Output(std::io::Error::other(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_was_closed_is_told_as_one() {
        let mut sheet = Sheet::new(Closed, Mode::Plain);
        let many = (0..10_000).map(|_| sheet.row(["a cell", "another"])).find_map(Result::err);
        let few = Sheet::new(Closed, Mode::Plain).one_row();
        for error in [many, few] {
            let kind = match error {
                Some(Error::Output(error)) => Some(error.kind()),
                _ => None,
            };
            assert_eq!(kind, Some(ErrorKind::BrokenPipe));
        }
    }

    impl<W: Write> Sheet<W> {
        /// One row, which stays in the buffer until the end.
        fn one_row(mut self) -> Option<Error> {
            self.row(["one"]).err().or_else(|| self.finish().err())
        }
    }
}

//! The only place that prints results: tables for people, JSON for programs. Talk goes to standard error, so that
//! standard output holds the result and nothing else.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::error::CliError;

/// Where results go and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON instead of tables.
    pub json: bool,
    /// More talk.
    pub verbose: bool,
}

impl Output {
    /// Prints a result: `value` for programs, what `human` makes for people.
    ///
    /// # Errors
    /// AST-U005 standard output cannot be written; a reader that went away is fine.
    pub fn result(&self, value: &impl Serialize, human: impl FnOnce() -> String) -> Result<(), CliError> {
        let text = if self.json {
            let value = serde_json::to_value(value).unwrap_or(Value::Null);
            format!("{}\n", serde_json::to_string_pretty(&value).unwrap_or_default())
        } else {
            human()
        };
        self.raw(text.as_bytes())
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::new("AST-U005", "the result cannot be written", error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Says something on standard error; programs that read JSON are spared.
    pub fn say(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", plain(text));
        }
    }

    /// Tells of a failure on standard error.
    pub fn error(&self, error: &CliError) {
        let text = if self.json {
            error.to_json().to_string()
        } else {
            format!("asterism: {}", plain(&error.to_string()))
        };
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// How a column is lined up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table with a header row; the last column is not padded.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell).replace('\n', " ")).collect()).collect();
    let width = |index: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain([name.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> =
        columns.iter().enumerate().map(|(index, (name, _))| width(index, name)).collect();
    let header: Vec<String> = columns.iter().map(|(name, _)| name.to_uppercase()).collect();
    let mut text = String::new();
    for row in [&header].into_iter().chain(&rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(columns) {
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines `name  value`, values lined up.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in pairs {
        let _ = writeln!(text, "{name:<width$}  {}", plain(value).replace('\n', " "));
    }
    text
}

/// Text without anything a terminal would act on; line ends stay.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_its_columns_up_and_cannot_steer_a_terminal() {
        let rows =
            vec![vec!["a".to_owned(), "1".to_owned()], vec!["long\x1b[2J".to_owned(), "1,000".to_owned()]];
        let text = table(&[("name", Align::Left), ("contacts", Align::Right)], &rows);
        assert_eq!(text, "NAME      CONTACTS\na                1\nlong\u{fffd}[2J     1,000\n");
        assert_eq!(pairs(&[("a", "1".into()), ("long", "x\ny".into())]), "a     1\nlong  x y\n");
    }
}

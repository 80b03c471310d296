//! What is wrong with a configuration: every problem at once, each with where it stands and what to do.

use std::fmt;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of the file.
    File {
        /// The file as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A `--set` flag, by its key.
    Set(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Env(name) => f.write_str(name),
            Source::Set(key) => write!(f, "--set {key}"),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, `AST-C0xx`.
    pub code: &'static str,
    /// The key, as `section.key`; empty when the whole file is meant.
    pub key: String,
    /// Where the value stands; `None` for a default or a missing value.
    pub source: Option<Source>,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        // A flag names its key already.
        let named = matches!(&self.source, Some(Source::Set(key)) if *key == self.key);
        if !self.key.is_empty() && !named {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// A configuration that cannot be used. Prints one problem a line.
///
/// Codes: C001 file unreadable, C002 not TOML, C003 unknown key, C004 value of another kind, C005 unknown environment
/// variable, C006 unusable `--set`, C010 value outside its limits, C011 name unusable, C012 bus unprotected or its address
/// unusable, C013 secret file unreadable, C014 values that do not fit one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn one(
        code: &'static str,
        source: Option<Source>,
        key: &str,
        what: impl Into<String>,
    ) -> Self {
        Self { problems: vec![Problem { code, key: key.to_owned(), source, what: what.into() }] }
    }

    /// The code of the first problem.
    pub fn code(&self) -> &'static str {
        self.problems.first().map_or("AST-C000", |problem| problem.code)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

//! A secret text that never prints itself.

use std::fmt;
use std::path::Path;

/// Longest secret read from a file, in bytes.
const SECRET_MAX_BYTES: u64 = 4096;

/// A password or token. `Debug` and `Display` show a mask only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first line of a file, at most 4 KiB, without the line end.
    pub fn from_file(path: &Path) -> std::io::Result<Self> {
        let size = std::fs::metadata(path)?.len();
        if size > SECRET_MAX_BYTES {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("{size} bytes, a secret has at most {SECRET_MAX_BYTES}"),
            ));
        }
        let text = std::fs::read_to_string(path)?;
        match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the first line is empty")),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret}"), "••• •••");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_file_gives_its_first_line_and_an_empty_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "abc\nrest\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().reveal(), "abc");
        std::fs::write(&path, "\nabc").unwrap();
        assert!(Secret::from_file(&path).is_err());
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(Secret::from_file(&path).is_err());
    }
}

//! What tests with real calls need, and whether it is here.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The roots of Asterisk and `SIPp`, or a line in the list of skipped tests; a failure where nobody keeps such a list.
pub fn installed(test: &str) -> Option<(PathBuf, PathBuf)> {
    let root = std::env::var_os("ASTERISM_ASTERISK_ROOT").map(PathBuf::from).or_else(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors()
            .map(|dir| dir.join(".cache/asterisk-22"))
            .find(|dir| dir.join("run-asterisk").exists())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sipp = std::env::split_paths(&path).map(|dir| dir.join("sipp")).find(|file| file.is_file());
    if let (Some(root), Some(sipp)) = (root, sipp) {
        return Some((root, sipp));
    }
    skip(test, "no Asterisk 22 root (ASTERISM_ASTERISK_ROOT) or no sipp here");
    None
}

/// Writes a test down as skipped; where nobody keeps such a list it fails.
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}");
    let file = std::env::var_os("ASTERISM_SKIP_FILE");
    assert!(file.is_some(), "{line}; with ASTERISM_SKIP_FILE=FILE it is written down there instead");
    eprintln!("{line}");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file.unwrap()).unwrap();
    writeln!(file, "{line}").unwrap();
}

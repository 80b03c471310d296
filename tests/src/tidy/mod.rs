//! House rules as code: what may depend on what, and what may stand in a committed file.
//!
//! Every rule is a function on data that returns its violations as lines a reader can act on; each has a test here that
//! plants a violation and sees it reported, so no rule is dead. `tests/tests/tidy.rs` runs them on this repository.

pub mod codes;
pub mod graph;
pub mod layers;
pub mod licence;
pub mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the repository: the folder above this crate.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Standard output of a command run in the repository's root, or a line that says why there is none.
pub fn output_of(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository())
        .output()
        .map_err(|e| format!("{program} does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{program} {arguments:?}: not UTF-8: {e}"))
}

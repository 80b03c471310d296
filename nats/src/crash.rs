//! Crash points: named places where a process of a test dies, before and after each write and each send that a ring
//! depends on. Here because every program that dials or decides links this crate.
//!
//! A release build has none. In any other a point does nothing unless `ASTERISM_CRASH_DIR` names a folder: then each pass
//! is written to its file `passes`, and where `armed/PROGRAM:POINT` holds a number, that pass from now on ends the process
//! at once, as `kill -9` would. The file moves to `hit/`, so one process dies of it.

/// What a process writes down or sends, as far as it has its own points.
pub const FOLDER_VARIABLE: &str = "ASTERISM_CRASH_DIR";

/// Whether passes are counted at all: what is done for a point's sake alone asks this first.
#[inline]
pub fn listens() -> bool {
    #[cfg(debug_assertions)]
    return armed::folder().is_some();
    #[cfg(not(debug_assertions))]
    false
}

/// A place where this process may die.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// The folder, and this program's name.
    pub(super) fn folder() -> Option<&'static (PathBuf, String)> {
        static FOLDER: OnceLock<Option<(PathBuf, String)>> = OnceLock::new();
        FOLDER
            .get_or_init(|| {
                let folder = PathBuf::from(std::env::var_os(super::FOLDER_VARIABLE)?);
                let program = std::env::current_exe().ok()?;
                Some((folder, program.file_name()?.to_string_lossy().into_owned()))
            })
            .as_ref()
    }

    /// A test's files: what cannot be read or written leaves a point unarmed or uncounted, which the test sees.
    pub(super) fn pass(name: &'static str) {
        static PASSED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
        let Some((folder, program)) = folder() else { return };
        let point = format!("{program}:{name}");
        if let Ok(mut passes) = OpenOptions::new().append(true).create(true).open(folder.join("passes")) {
            let _ = passes.write_all(format!("{point}\n").as_bytes()); // one write: processes share the file
        }
        let file = folder.join("armed").join(&point);
        let Some(nth) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok())
        else {
            return;
        };
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(name).or_default();
        *count += 1;
        if *count >= nth && fs::rename(&file, folder.join("hit").join(&point)).is_ok() {
            std::process::abort();
        }
    }
}

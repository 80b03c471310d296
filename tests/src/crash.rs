//! Crash points armed from outside (`asterism_nats::crash`): which are to kill, which have killed, how often each was passed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use asterism_nats::crash::FOLDER_VARIABLE;

/// The folder the processes of a test look into.
#[derive(Debug)]
pub struct Points {
    dir: PathBuf,
}

impl Points {
    /// An empty folder: points are counted, none kills.
    pub fn new(dir: &Path) -> Self {
        for folder in ["armed", "hit"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        Self { dir: dir.to_owned() }
    }

    /// What the processes have to see.
    pub fn variable(&self) -> (String, String) {
        (FOLDER_VARIABLE.to_owned(), self.dir.display().to_string())
    }

    /// The process that passes `PROGRAM:POINT` for the `nth` time from now on dies there.
    pub fn arm(&self, point: &str, nth: u64) {
        // Whole or not there: it is read at any moment.
        let whole = self.dir.join(point);
        fs::write(&whole, nth.to_string()).unwrap();
        fs::rename(whole, self.dir.join("armed").join(point)).unwrap();
    }

    /// Takes back what was armed and has not killed.
    pub fn disarm(&self, point: &str) {
        let _ = fs::remove_file(self.dir.join("armed").join(point)); // it has killed: as good
    }

    /// Points that killed a process.
    pub fn hit(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.dir.join("hit")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// How often each point was passed, by any process.
    pub fn passes(&self) -> BTreeMap<String, u64> {
        let mut passes = BTreeMap::new();
        for line in fs::read_to_string(self.dir.join("passes")).unwrap_or_default().lines() {
            *passes.entry(line.to_owned()).or_default() += 1;
        }
        passes
    }
}

/// Every point named in the sources below a folder, without its program.
pub fn named_in(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            names.extend(named_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let table = path.ends_with("shell/points.rs");
            for word in text.split('"').skip(1).step_by(2) {
                let called = [format!("point(\"{word}\")"), format!("point(\"{word}\"")];
                let is_name = word.split_once('.').is_some_and(|(thing, done)| {
                    [thing, done]
                        .iter()
                        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
                });
                if is_name && (table || called.iter().any(|call| text.contains(call))) {
                    names.insert(word.to_owned());
                }
            }
        }
    }
    names
}

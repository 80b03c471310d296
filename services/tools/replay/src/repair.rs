//! `repair`: what is sound of a damaged log in a new folder, refilled from other folders of the same log.

use std::io::Write;
use std::path::{Path, PathBuf};

use asterism_domain::wire::contacts_of;
use asterism_event_log::salvage::salvage;
use serde::Serialize;

use crate::Error;
use crate::fold::Pass;

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Repaired {
    /// The new folder.
    pub folder: PathBuf,
    /// Fleet whose log it is.
    pub fleet: String,
    /// Events in it, from the beginning on without a gap.
    pub events: u64,
    /// RFC 6962 root over them, hexadecimal.
    pub root: String,
    /// Events by the folder they were taken from.
    pub taken: Vec<(PathBuf, u64)>,
    /// Whether it has all that any of the folders speaks of.
    pub whole: bool,
    /// First position that nobody has.
    pub missing_from: Option<u64>,
    /// Where the next file begins that is there and cannot be joined; none if nothing follows.
    pub missing_to: Option<u64>,
    /// Highest end any of the folders speaks of.
    pub known_end: u64,
    /// What was wrong with the folders.
    pub problems: Vec<String>,
}

/// Repairs the folder of the pass into `to`.
///
/// # Errors
/// AST-V013 `to` is not empty; no folder has the beginning of a log; a file cannot be written.
pub fn repair(pass: &mut Pass<'_>, from: &[PathBuf], to: &Path) -> Result<Repaired, Error> {
    let bad = |error: std::io::Error| Error::File { path: to.to_owned(), why: error.to_string() };
    let folders: Vec<&Path> = [pass.folder].into_iter().chain(from.iter().map(PathBuf::as_path)).collect();
    let is_new = !to.exists();
    std::fs::create_dir_all(to).map_err(bad)?;
    if std::fs::read_dir(to).map_err(bad)?.next().is_some() {
        return Err(Error::NotEmpty { folder: to.to_owned() });
    }
    let done = salvage(&folders, to, pass.anchor, Some(contacts_of), pass.progress).inspect_err(|_| {
        // Nothing to repair: no empty folder is left behind.
        if is_new {
            let _ = std::fs::remove_dir(to);
        }
    })?;
    let whole = done.is_whole();
    Ok(Repaired {
        folder: to.to_owned(),
        fleet: done.fleet,
        events: done.events,
        root: hex::encode(done.root),
        taken: folders.iter().map(|folder| (*folder).to_owned()).zip(done.taken).collect(),
        whole,
        missing_from: (!whole).then_some(done.events),
        missing_to: done.next_first,
        known_end: done.known_end,
        problems: done.problems,
    })
}

impl Repaired {
    /// For people.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "log of fleet {}, repaired in {}", self.fleet, self.folder.display())?;
        writeln!(out, "  events       {}", self.events)?;
        writeln!(out, "  root         {}", self.root)?;
        for (folder, events) in &self.taken {
            writeln!(out, "  {events:>9} events from {}", folder.display())?;
        }
        self.problems.iter().try_for_each(|problem| writeln!(out, "problem: {problem}"))?;
        let folder = self.folder.display();
        match (self.missing_from, self.missing_to) {
            (None, _) => {
                writeln!(out, "ok: nothing is known to be missing; check it: asterism-replay verify {folder}")
            }
            (Some(from), Some(to)) => writeln!(
                out,
                "MISSING: events {from} to {to}; those behind them, up to {}, are there and cannot be joined without; name a \
                 folder that has them with --from (asterism archive fetch), and a new --to",
                self.known_end
            ),
            (Some(from), None) => writeln!(
                out,
                "MISSING: events {from} to {}; name a folder that has them with --from (asterism archive fetch), and a new --to",
                self.known_end
            ),
        }
    }
}

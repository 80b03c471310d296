//! A whole log out of damaged folders: what is sound is written anew, frame by frame, from whichever folder has it.
//!
//! Nothing is believed: each frame is judged as by any reader, so a folder of another log, or one that was changed, can
//! contribute nothing wrong. The folders read are never written to.

use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;

use crate::error::Error;
use crate::head;
use crate::replay::readmit;
use crate::sealed::{self, ContactsOf, Reader, Writer};
use crate::sequencer::{CheckpointCheck, Sequencer};

/// What was written and what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// Fleet whose log it is.
    pub fleet: String,
    /// Events written, all from the beginning on.
    pub events: u64,
    /// Root over them.
    pub root: Hash,
    /// Events by folder, in the order the folders were given.
    pub taken: Vec<u64>,
    /// Highest end that any file, or a HEAD, speaks of.
    pub known_end: u64,
    /// Where the next file begins that could not be joined, because what precedes it is missing.
    pub next_first: Option<u64>,
    /// What was found wrong on the way: file by file, in the order it was met.
    pub problems: Vec<String>,
}

impl Salvaged {
    /// Whether nothing is known to be missing.
    pub const fn is_whole(&self) -> bool {
        self.events >= self.known_end
    }
}

struct Source {
    folder: usize,
    first: u64,
    end: u64,
    path: PathBuf,
    /// Read already up to where it could be read.
    spent: bool,
}

/// Writes what the folders have of a log, from its beginning on without a gap, into `to`, a new or empty folder.
/// Events are filed under their contacts if somebody knows them.
///
/// # Errors
/// A folder cannot be listed, none has the beginning of a log, or `to` cannot be written.
pub fn salvage(
    folders: &[&Path],
    to: &Path,
    anchor: Option<Hash>,
    contacts: Option<ContactsOf>,
    progress: &mut dyn FnMut(u64),
) -> Result<Salvaged, Error> {
    let mut sources = Vec::new();
    let mut known_end = 0;
    for (index, folder) in folders.iter().enumerate() {
        if !folder.is_dir() {
            return Err(Error::NoFolder { folder: (*folder).to_owned() });
        }
        known_end = known_end.max(head::peek(folder).map_or(0, |head| head.hot_first));
        for (first, end, path) in sealed::list(folder)? {
            known_end = known_end.max(end);
            sources.push(Source { folder: index, first, end, path, spent: false });
        }
    }
    let fleet = sources
        .iter()
        .filter(|source| source.first == 0)
        .find_map(|source| Some(Reader::open(&source.path).ok()?.next_frame().ok()??.frame.header.fleet));
    let Some((fleet, first)) = fleet.zip(folders.first()) else {
        let folder = folders.first().map(|folder| (*folder).to_owned()).unwrap_or_default();
        return Err(if sources.is_empty() {
            Error::NothingSealed { folder, hot: false }
        } else {
            Error::damaged(&folder, 0, "no folder has a readable first segment")
        });
    };
    let mut work = Work {
        sequencer: Sequencer::new(&fleet, anchor),
        to,
        first,
        contacts,
        taken: vec![0; folders.len()],
        problems: Vec::new(),
    };
    while let Some(next) = sources.iter().position(|source| {
        !source.spent && source.first <= work.sequencer.size() && source.end > work.sequencer.size()
    }) {
        sources[next].spent = true;
        if !work.take(&sources[next], progress)? {
            break;
        }
    }
    let size = work.sequencer.size();
    Ok(Salvaged {
        fleet,
        events: size,
        root: work.sequencer.root(),
        taken: work.taken,
        known_end,
        next_first: sources.iter().map(|source| source.first).filter(|first| *first > size).min(),
        problems: work.problems,
    })
}

struct Work<'a> {
    sequencer: Sequencer,
    to: &'a Path,
    first: &'a Path,
    contacts: Option<ContactsOf>,
    taken: Vec<u64>,
    problems: Vec<String>,
}

impl Work<'_> {
    /// Takes what a file has behind the log so far; `false` if nothing may follow.
    fn take(&mut self, source: &Source, progress: &mut dyn FnMut(u64)) -> Result<bool, Error> {
        let start = self.sequencer.size();
        let mut writer = None;
        let mut goes_on = true;
        if let Err(error) = self.frames(source, &mut writer, &mut goes_on, progress) {
            // A failing target ends it; a failing source only says what it did not have.
            if matches!(&error, Error::DiskFull { .. }) || self.is_of_target(&error) {
                return Err(error);
            }
            self.problems.push(error.to_string());
        }
        if let Some(writer) = writer {
            let anchor = self.sequencer.anchor().unwrap_or_default();
            writer.finish(&anchor)?;
        }
        self.taken[source.folder] += self.sequencer.size() - start;
        Ok(goes_on)
    }

    fn is_of_target(&self, error: &Error) -> bool {
        matches!(error, Error::Io { path, .. } if path.starts_with(self.to))
    }

    fn frames(
        &mut self,
        source: &Source,
        writer: &mut Option<Writer>,
        goes_on: &mut bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let mut reader = Reader::open(&source.path)?;
        let mut position = reader.footer().first;
        while let Some(stored) = reader.next_frame()? {
            let here = position;
            position += stored.leaves.len() as u64;
            if here < self.sequencer.size() {
                continue;
            }
            let before = self.sequencer.tree().clone();
            let accepted = readmit(&mut self.sequencer, self.first, stored)?;
            let target = match writer {
                Some(writer) => writer,
                None => writer.insert(Writer::create(self.to, &before, self.contacts)?),
            };
            target.push(&accepted.to_stored())?;
            progress(accepted.end());
            let seen = self.sequencer.checkpoint().filter(|seen| seen.position >= accepted.first);
            if seen.is_some_and(|seen| seen.check == CheckpointCheck::Differs) {
                *goes_on = false;
                let what = "a checkpoint names another root: frames before it were changed in order or time, or are missing";
                return Err(Error::damaged(&source.path, accepted.first, what));
            }
        }
        Ok(())
    }
}

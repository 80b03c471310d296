//! The node's one small sled: attempts, terms, drain, spool, key and epoch.
//!
//! sled's flush is no fsync, so every commit is `flush()` and then `fdatasync` on the db file. Values are written one
//! by one in an order that any prefix of survives: a frame goes in before the facts it holds go out.
//!
//! One thread owns the writing side ([`Committer`]): what waits is committed together. Each commit is also written ahead,
//! so that it outlives this process before the sync is done.

mod ahead;
mod committer;
mod frames;
mod open;

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use ahead::WriteAhead;
pub use committer::{Commit, Committed, Committer};

use crate::Error;
use crate::machine::{Change, Drain, Saved, Witnessed};
use crate::spool::{SavedSpool, SpoolChange, Waiting};

/// One change of either part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StoreChange {
    /// Of the machine.
    Machine(Change),
    /// Of the spool.
    Spool(SpoolChange),
}

/// The store. Cheap to clone; reads may come from any thread, writes from one.
#[derive(Clone)]
pub struct Store {
    dir: PathBuf,
    db: sled::Db,
    attempts: sled::Tree,
    past: sled::Tree,
    manifests: sled::Tree,
    recordings: sled::Tree,
    facts: sled::Tree,
    frames: frames::Frames,
    /// `term/<role>`, `drain`, `ready`, `epoch`, `framed`, `committed`, `witnessed`.
    meta: sled::Tree,
    file: std::sync::Arc<File>,
}

/// What was in the store when it was opened.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The machine's part.
    pub machine: Saved,
    /// The spool's part.
    pub spool: SavedSpool,
    /// Born with this spool.
    pub epoch: [u8; 16],
}

/// Most attempts, facts, frames or manifests read back: far above what the limits of machine and spool allow.
const LOAD_MAX: usize = 1_000_000;

impl Store {
    /// Opens the store in `dir`, which is created for its owner only. `fresh_epoch` is used if it is new.
    pub fn open(dir: &Path, fresh_epoch: [u8; 16]) -> Result<(Self, Loaded), Error> {
        let store = open::open(dir)?;
        let epoch = store.epoch(fresh_epoch)?;
        store.catch_up()?;
        let loaded = store.load(epoch)?;
        Ok((store, loaded))
    }

    /// Takes in what was written ahead and not synced when the process before this one died.
    fn catch_up(&self) -> Result<(), Error> {
        let missing = ahead::missing(&self.dir, self.committed()?)?;
        let Some((last, _)) = missing.last() else { return Ok(()) };
        tracing::info!(commits = missing.len(), "taking in what was written ahead");
        for change in missing.iter().flat_map(|(_, changes)| changes) {
            self.apply(change)?;
        }
        self.put_committed(*last)?;
        self.sync()
    }

    /// Number of the last commit in the store.
    fn committed(&self) -> Result<u64, Error> {
        Ok(self.meta_value("committed")?.unwrap_or_default())
    }

    /// Goes in after the commit itself: what sled loses is always an end.
    fn put_committed(&self, number: u64) -> Result<(), Error> {
        self.put(&self.meta, b"committed", &number)
    }

    fn bad(&self, why: impl Into<String>) -> Error {
        Error::Store { path: self.dir.clone(), why: why.into() }
    }

    fn failed(&self, why: &impl ToString) -> Error {
        Error::StoreWrite { path: self.dir.clone(), why: why.to_string() }
    }

    fn load(&self, epoch: [u8; 16]) -> Result<Loaded, Error> {
        let mut loaded = Loaded { epoch, ..Loaded::default() };
        for entry in self.entries(&self.attempts) {
            let (key, value) = entry?;
            loaded.machine.attempts.insert(self.text(&key)?, self.decode(&value)?);
        }
        for entry in self.entries(&self.past) {
            let (key, value) = entry?;
            let key = key
                .as_slice()
                .try_into()
                .map_err(|_| self.bad("a key of a past attempt has a wrong length"))?;
            loaded.machine.past.insert(key, self.decode(&value)?);
        }
        for entry in self.entries(&self.manifests) {
            loaded.machine.manifests.insert(self.text(&entry?.0)?);
        }
        for entry in self.entries(&self.recordings) {
            let (key, value) = entry?;
            loaded.machine.recordings.insert(self.text(&key)?, self.decode(&value)?);
        }
        for entry in self.entries(&self.meta) {
            let (key, value) = entry?;
            let key = self.text(&key)?;
            if let Some(role) = key.strip_prefix("term/") {
                loaded.machine.terms.insert(role.to_owned(), self.decode(&value)?);
            }
        }
        loaded.machine.drain = self.meta_value::<Drain>("drain")?.unwrap_or_default();
        loaded.machine.ready = self.meta_value::<Option<String>>("ready")?.flatten();
        loaded.machine.witnessed = self.meta_value::<Witnessed>("witnessed")?.unwrap_or_default();
        loaded.spool = self.load_spool()?;
        Ok(loaded)
    }

    fn load_spool(&self) -> Result<SavedSpool, Error> {
        let (mut last_number, mut last_framed) = self.meta_value::<(u64, u64)>("framed")?.unwrap_or_default();
        let frames = self.frames.load().map_err(|error| self.bad(error.to_string()))?;
        for (number, held) in &frames {
            last_number = last_number.max(*number);
            last_framed = last_framed.max(held.last_fact);
        }
        let mut facts = Vec::new();
        for entry in self.entries(&self.facts) {
            let (key, value) = entry?;
            let fact = self.number(&key)?;
            if fact <= last_framed {
                continue; // its frame went in, then the agent died
            }
            let (head, event) = value.split_at_checked(8).ok_or_else(|| self.bad("a fact is too short"))?;
            facts.push(Waiting { fact, at_ms: self.number(head)?, event: event.to_vec() });
        }
        Ok(SavedSpool { facts, frames, last_number, last_framed })
    }

    /// Writes one change; nothing is durable before [`Store::sync`].
    pub fn apply(&self, change: &StoreChange) -> Result<(), Error> {
        match change {
            StoreChange::Machine(change) => self.apply_machine(change),
            StoreChange::Spool(change) => self.apply_spool(change),
        }
    }

    fn apply_machine(&self, change: &Change) -> Result<(), Error> {
        match change {
            Change::PutAttempt(id, attempt) => self.put(&self.attempts, id.as_bytes(), attempt.as_ref()),
            Change::DropAttempt(id) => self.remove(&self.attempts, id.as_bytes()),
            Change::PutPast(key, past) => self.put(&self.past, key, past),
            Change::DropPast(key) => self.remove(&self.past, key),
            Change::PutTerm(role, term) => self.put(&self.meta, format!("term/{role}").as_bytes(), term),
            Change::PutDrain(drain) => self.put(&self.meta, b"drain", drain),
            Change::PutReady(boot_id) => self.put(&self.meta, b"ready", boot_id),
            Change::PutWitnessed(seen) => self.put(&self.meta, b"witnessed", seen.as_ref()),
            Change::PutManifest(manifest) => self.put(&self.manifests, manifest.as_bytes(), &()),
            Change::DropManifest(manifest) => self.remove(&self.manifests, manifest.as_bytes()),
            Change::PutRecording(name, it) => self.put(&self.recordings, name.as_bytes(), it.as_ref()),
            Change::DropRecording(name) => self.remove(&self.recordings, name.as_bytes()),
        }
    }

    fn apply_spool(&self, change: &SpoolChange) -> Result<(), Error> {
        match change {
            SpoolChange::PutFact { fact, at_ms, event } => {
                let mut value = at_ms.to_be_bytes().to_vec();
                value.extend_from_slice(event);
                self.put_raw(&self.facts, &fact.to_be_bytes(), value)
            }
            SpoolChange::PutFrame { number, held, bytes } => {
                self.frames.put(*number, *held, bytes).map_err(|error| self.failed(&error))?;
                self.put(&self.meta, b"framed", &(*number, held.last_fact))?;
                self.remove_up_to(&self.facts, held.last_fact)
            }
            SpoolChange::DropFrames(number) => {
                self.frames.remove_up_to(*number).map_err(|error| self.failed(&error))
            }
        }
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.db.flush().map_err(|error| self.failed(&error))?;
        self.file.sync_data().map_err(|error| self.failed(&error))
    }

    /// A frame's bytes as they were first published.
    pub fn frame(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        self.frames.get(number).map_err(|error| self.failed(&error))
    }

    /// The epoch stands in the store and in a file beside it: sled opens a cut-off log without a word, and a store
    /// that lost its epoch lost its attempts too.
    fn epoch(&self, fresh: [u8; 16]) -> Result<[u8; 16], Error> {
        let beside = self.dir.with_extension("epoch");
        let known = match std::fs::read(&beside) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::file("read", &beside)(error)),
        };
        let held = self.meta_value::<[u8; 16]>("epoch")?;
        if let Some(known) = known {
            return held.filter(|held| known == held).ok_or_else(|| self.bad("it lost what was in it"));
        }
        let epoch = held.unwrap_or(fresh);
        self.put(&self.meta, b"epoch", &epoch)?;
        self.sync()?;
        crate::files::write_private(&beside, &epoch)?;
        Ok(epoch)
    }

    fn put<T: Serialize>(&self, tree: &sled::Tree, key: &[u8], value: &T) -> Result<(), Error> {
        let bytes = postcard::to_allocvec(value).map_err(|error| self.failed(&error))?;
        self.put_raw(tree, key, bytes)
    }

    fn put_raw(&self, tree: &sled::Tree, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        tree.insert(key, value).map(drop).map_err(|error| self.failed(&error))
    }

    fn remove(&self, tree: &sled::Tree, key: &[u8]) -> Result<(), Error> {
        tree.remove(key).map(drop).map_err(|error| self.failed(&error))
    }

    fn remove_up_to(&self, tree: &sled::Tree, last: u64) -> Result<(), Error> {
        for entry in tree.range(..=last.to_be_bytes()) {
            let (key, _) = entry.map_err(|error| self.failed(&error))?;
            self.remove(tree, &key)?;
        }
        Ok(())
    }

    fn entries(&self, tree: &sled::Tree) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), Error>> {
        tree.iter().take(LOAD_MAX).map(|entry| {
            entry
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .map_err(|error| self.bad(error.to_string()))
        })
    }

    fn meta_value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let value = self.meta.get(key).map_err(|error| self.bad(error.to_string()))?;
        value.map(|value| self.decode(&value)).transpose()
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        postcard::from_bytes(bytes).map_err(|_| self.bad("a record cannot be read"))
    }

    fn text(&self, bytes: &[u8]) -> Result<String, Error> {
        String::from_utf8(bytes.to_vec()).map_err(|_| self.bad("a key is no text"))
    }

    fn number(&self, bytes: &[u8]) -> Result<u64, Error> {
        bytes.try_into().map(u64::from_be_bytes).map_err(|_| self.bad("a key is no number"))
    }
}

#[cfg(test)]
mod tests;

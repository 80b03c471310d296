//! Archived snapshots: what the log had folded to, signed by the log key, so that an empty machine need not fold it all.
//!
//! ```text
//! log/<fleet>-<anchor>/snap/<size>-<reducer>-<hash>.ast   a snapshot, byte for byte as its file
//! log/<fleet>-<anchor>/snx/<size>-<reducer>               what stands there (JSON, signed): it counts once this exists
//! ```
//!
//! A cache of the log and nothing more: the newest few are kept, one that does not fit in any way is passed over and
//! told, and what it says of the state counts for leading only once the log bears it out (see [`crate::snapshot`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use asterism_event_log::snapshot::Snapshot;
use asterism_object_store::{MAX_OBJECT_BYTES, ObjectName, PutResult, list_all};
use asterism_proto::OriginKey;
use asterism_proto::hash::sha256;
use asterism_proto::note::TreeHead;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Archive, ArchiveError};

/// Longest entry, in bytes.
const ENTRY_MAX_BYTES: u64 = 4 * 1024;
/// Most entries listed: far above what is kept.
const ENTRIES_MAX: usize = 10_000;
/// Snapshots kept of each reducer: a damaged newest one leaves the one before it.
const KEPT: usize = 2;
/// Reducers whose snapshots are kept: two versions run while one is rolled out.
const REDUCERS_KEPT: usize = 3;
/// Longest name of a reducer.
const REDUCER_MAX_BYTES: usize = 40;
/// Hex digits of the object's hash in its name.
const NAME_DIGITS: usize = 16;

/// An archived snapshot, as its entry names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedSnapshot {
    /// Events folded.
    pub size: u64,
    /// The reducer that folded them.
    pub reducer: String,
    /// The object's name.
    pub object: String,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// The log's root at `size`, hex.
    pub root: String,
    /// The state's hash, hex.
    pub state: String,
    /// The log key's signature of all that, hex.
    pub signature: String,
}

impl ArchivedSnapshot {
    /// What is signed.
    fn text(&self, tag: &str) -> String {
        let Self { size, reducer, object, sha256, size_bytes, root, state, signature: _ } = self;
        format!(
            "asterism snapshot v1\n{tag}\n{size}\n{reducer}\n{object}\n{sha256}\n{size_bytes}\n{root}\n{state}\n"
        )
    }
}

impl Archive {
    fn snapshot_entry(&self, size: u64, reducer: &str) -> Result<ObjectName, ArchiveError> {
        self.name(&format!("snx/{size:020}-{reducer}"))
    }

    /// Stores a snapshot with the log's note at its size, and removes all but the newest. `None`: it is larger than an
    /// object may be.
    ///
    /// # Errors
    /// AST-R070, AST-R072, AST-R075, AST-Bxxx.
    pub async fn put_snapshot(
        &self,
        key: &OriginKey,
        taken: &Arc<Snapshot>,
    ) -> Result<Option<ArchivedSnapshot>, ArchiveError> {
        let (size, packing) = (taken.size(), Arc::clone(taken));
        // A large state takes seconds; the ledger renews its lease meanwhile.
        let packed = tokio::task::spawn_blocking(move || {
            let file = packing.to_file()?;
            let hashes = (hex::encode(sha256(&file)), hex::encode(sha256(&packing.state)));
            Ok::<_, std::io::Error>((file, hashes))
        });
        let packed = packed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let (file, (hash, state)) =
            packed.map_err(|error| ArchiveError::io("packing", Path::new("a snapshot"), error))?;
        if file.len() as u64 > MAX_OBJECT_BYTES {
            return Ok(None);
        }
        let digits: String = hash.chars().take(NAME_DIGITS).collect();
        let name = self.name(&format!("snap/{size:020}-{}-{digits}.ast", taken.reducer))?;
        let mut entry = ArchivedSnapshot {
            size,
            reducer: taken.reducer.clone(),
            object: name.to_string(),
            sha256: hash.clone(),
            size_bytes: file.len() as u64,
            root: hex::encode(taken.sequencer.root()),
            state,
            signature: String::new(),
        };
        entry.signature = hex::encode(key.sign(entry.text(self.tag()).as_bytes()));
        self.store.put_if_absent(&name, Bytes::from(file)).await?;
        let there = self.store.get(&name, MAX_OBJECT_BYTES).await?;
        if hex::encode(sha256(&there)) != hash {
            return Err(ArchiveError::damaged(&name, "it does not read back as it was written"));
        }
        drop(there);
        self.put_note(key, &TreeHead { size, root: taken.sequencer.root() }).await?;
        let at = self.snapshot_entry(size, &taken.reducer)?;
        let json = serde_json::to_vec_pretty(&entry)
            .map_err(|error| ArchiveError::damaged(&at, &error.to_string()))?;
        // Another ledger's of the same size is as good.
        if self.store.put_if_absent(&at, json.into()).await? == PutResult::Exists {
            entry = self.read_entry(&at).await?;
        }
        self.prune_snapshots().await?;
        Ok(Some(entry))
    }

    /// The snapshots of a reducer up to a log size, the newest first. Entries that are not the log key's are left out.
    ///
    /// # Errors
    /// AST-Bxxx.
    pub async fn snapshots(&self, reducer: &str, up_to: u64) -> Result<Vec<ArchivedSnapshot>, ArchiveError> {
        let mut found = Vec::new();
        for (size, of, name) in self.snapshot_entries().await? {
            if of != reducer || size > up_to {
                continue;
            }
            match self.read_entry(&name).await {
                Ok(entry) => found.push(entry),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::warn!(%error, "an archived snapshot is passed over"),
            }
        }
        Ok(found)
    }

    /// Fetches a snapshot: of this log, of that reducer, with the root the log key has signed at its size.
    ///
    /// # Errors
    /// AST-R072 it is anything else, AST-R075 the log key has signed another root there, or none; AST-Bxxx.
    pub async fn fetch_snapshot(&self, entry: &ArchivedSnapshot) -> Result<Snapshot, ArchiveError> {
        let name = ObjectName::new(entry.object.clone())?;
        let damaged = |what: &str| ArchiveError::damaged(&name, what);
        let bytes = self.find(&name, MAX_OBJECT_BYTES).await?;
        let bytes = bytes.ok_or_else(|| damaged("its entry names it and it is not there"))?;
        if bytes.len() as u64 != entry.size_bytes || hex::encode(sha256(&bytes)) != entry.sha256 {
            return Err(damaged("it is not what its entry says was stored"));
        }
        let snapshot = Snapshot::from_file(&bytes).ok_or_else(|| damaged("it is no whole snapshot"))?;
        let sequencer = &snapshot.sequencer;
        let same = (snapshot.reducer.as_str(), snapshot.size()) == (entry.reducer.as_str(), entry.size)
            && hex::encode(sequencer.root()) == entry.root
            && hex::encode(sha256(&snapshot.state)) == entry.state;
        if !same {
            return Err(damaged("it holds something else than its entry says"));
        }
        if sequencer.fleet() != self.fleet || sequencer.anchor() != Some(self.anchor()) {
            return Err(damaged("it is of another log"));
        }
        let refused = |why: &str| ArchiveError::Note { object: entry.object.clone(), why: why.to_owned() };
        let note = self.note_at(entry.size).await?;
        let (head, _) = note.ok_or_else(|| refused("no checkpoint is signed at its size"))?;
        if head.root == sequencer.root() {
            Ok(snapshot)
        } else {
            Err(refused("another root is signed at its size"))
        }
    }

    /// Size, reducer and name of every entry, the newest first.
    async fn snapshot_entries(&self) -> Result<Vec<(u64, String, ObjectName)>, ArchiveError> {
        let prefix = format!("log/{}/snx/", self.tag());
        let listed = list_all(self.store.as_ref(), &prefix, ENTRIES_MAX).await?;
        let mut entries: Vec<_> = listed
            .into_iter()
            .filter_map(|listed| {
                let (size, reducer) = listed.name.as_str().strip_prefix(&prefix)?.split_once('-')?;
                let sound = size.len() == 20 && reducer.len() <= REDUCER_MAX_BYTES;
                Some((size.parse::<u64>().ok().filter(|_| sound)?, reducer.to_owned(), listed.name))
            })
            .collect();
        entries.sort_by(|(one, ..), (other, ..)| other.cmp(one));
        Ok(entries)
    }

    async fn read_entry(&self, name: &ObjectName) -> Result<ArchivedSnapshot, ArchiveError> {
        let damaged = |what: &str| ArchiveError::damaged(name, what);
        let bytes =
            self.find(name, ENTRY_MAX_BYTES).await?.ok_or_else(|| damaged("it was there and is gone"))?;
        let entry: ArchivedSnapshot =
            serde_json::from_slice(&bytes).map_err(|_| damaged("it is no entry of a snapshot"))?;
        let signature = hex::decode(&entry.signature).unwrap_or_default();
        if !self.log_key.verifies(entry.text(self.tag()).as_bytes(), &signature) {
            return Err(damaged("the log key has not signed it"));
        }
        if *name == self.snapshot_entry(entry.size, &entry.reducer)? {
            Ok(entry)
        } else {
            Err(damaged("it does not describe the snapshot it is named after"))
        }
    }

    /// Keeps the newest of each reducer; entries go before their objects.
    async fn prune_snapshots(&self) -> Result<(), ArchiveError> {
        let entries = self.snapshot_entries().await?;
        let newest = entries.first().map_or(0, |(size, ..)| *size);
        let mut of: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut kept, mut old) = (Vec::new(), Vec::new());
        for (size, reducer, name) in &entries {
            let known = of.len();
            match of.get_mut(reducer.as_str()) {
                Some(count) if *count < KEPT => {
                    *count += 1;
                    kept.push((*size, reducer));
                }
                None if known < REDUCERS_KEPT => {
                    of.insert(reducer, 1);
                    kept.push((*size, reducer));
                }
                _ => old.push(name),
            }
        }
        for name in old {
            self.store.delete(name).await?;
        }
        let prefix = format!("log/{}/snap/", self.tag());
        for object in list_all(self.store.as_ref(), &prefix, ENTRIES_MAX).await? {
            let rest = object.name.as_str().strip_prefix(&prefix).unwrap_or_default();
            let size = rest.get(..20).and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(u64::MAX);
            let named =
                kept.iter().any(|(kept, reducer)| rest.starts_with(&format!("{kept:020}-{reducer}-")));
            // One that has no entry yet may be under way.
            if !named && size < newest {
                self.store.delete(&object.name).await?;
            }
        }
        Ok(())
    }
}

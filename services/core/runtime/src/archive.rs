//! The archive: sealed segments and signed checkpoints in the object store, each created once and never changed.
//!
//! ```text
//! log/<fleet>-<anchor>/seg/<first>-<end>.ast    a sealed segment, byte for byte as its file
//! log/<fleet>-<anchor>/idx/<first>              what stands there (JSON): a segment counts once this exists
//! log/<fleet>-<anchor>/ck/<size>                a checkpoint as a C2SP signed note
//! log/<fleet>-<anchor>/snap/…, snx/…            snapshots of the state: a cache, see `snapshots.rs`
//! ```
//!
//! Positions have 20 digits, `<anchor>` is the beginning of the trust anchor. Of two writers that cut the log
//! differently exactly one gets `idx/<first>`, so there is one chain of segments, whoever wrote it.

mod error;
mod snapshots;
mod store;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asterism_event_log::sealed::{self, Reader};
use asterism_object_store::{Error as StoreError, MAX_OBJECT_BYTES, ObjectName, ObjectStore, list_all};
use asterism_proto::PublicKey;
use asterism_proto::hash::{Hash, sha256};
use asterism_proto::note::{self, NOTE_MAX_BYTES, TreeHead};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use error::ArchiveError;
pub use snapshots::ArchivedSnapshot;
pub use store::Stored;

/// Most segments or checkpoints listed.
const ENTRIES_MAX: usize = 1_000_000;
/// Longest index entry, in bytes.
const INDEX_MAX_BYTES: u64 = 4 * 1024;

/// A sealed segment in the archive, as its index entry names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// First event.
    pub first: u64,
    /// Log size after it.
    pub end: u64,
    /// The object's name.
    pub object: String,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// The log's root at `end`, hex.
    pub root: String,
}

/// Positions no segment covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// First event that is missing.
    pub first: u64,
    /// First event that is there again.
    pub end: u64,
}

/// The archive of one log.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    fleet: String,
    tag: String,
    anchor: Hash,
    log_key: PublicKey,
}

impl Archive {
    /// Opens the archive of a log: `file:///folder` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// AST-Bxxx of the object store.
    pub async fn open(
        url: &str,
        fleet: &str,
        anchor: Hash,
        log_key: PublicKey,
    ) -> Result<Self, ArchiveError> {
        let store = asterism_object_store::open(url).await?;
        Ok(Self::new(store, fleet, anchor, log_key))
    }

    /// The archive of a log in a store that is open.
    pub fn new(store: Arc<dyn ObjectStore>, fleet: &str, anchor: Hash, log_key: PublicKey) -> Self {
        let tag = note::tag(fleet, &anchor);
        Self { store, fleet: fleet.to_owned(), tag, anchor, log_key }
    }

    /// Names this log among others in the same store: the fleet and the beginning of its anchor.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The trust anchor of the log.
    pub fn anchor(&self) -> Hash {
        self.anchor
    }

    fn name(&self, rest: &str) -> Result<ObjectName, ArchiveError> {
        Ok(ObjectName::new(format!("log/{}/{rest}", self.tag))?)
    }

    fn segment_name(&self, first: u64, end: u64) -> Result<ObjectName, ArchiveError> {
        self.name(&format!("seg/{first:020}-{end:020}.ast"))
    }

    fn index_name(&self, first: u64) -> Result<ObjectName, ArchiveError> {
        self.name(&format!("idx/{first:020}"))
    }

    fn note_name(&self, size: u64) -> Result<ObjectName, ArchiveError> {
        self.name(&format!("ck/{size:020}"))
    }

    /// The object, or `None` if there is none of that name.
    async fn find(&self, name: &ObjectName, max_bytes: u64) -> Result<Option<Bytes>, ArchiveError> {
        match self.store.get(name, max_bytes).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The segment that begins at a position.
    ///
    /// # Errors
    /// AST-R072 the entry is not what an archive writes; AST-Bxxx.
    pub async fn segment_at(&self, first: u64) -> Result<Option<Segment>, ArchiveError> {
        let name = self.index_name(first)?;
        match self.find(&name, INDEX_MAX_BYTES).await? {
            Some(bytes) => self.read_index(&name, first, &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn read_index(&self, name: &ObjectName, first: u64, bytes: &[u8]) -> Result<Segment, ArchiveError> {
        let damaged = |what: &str| ArchiveError::damaged(name, what);
        let segment: Segment =
            serde_json::from_slice(bytes).map_err(|_| damaged("it is no entry of an archive's index"))?;
        let is_hash = |text: &str| hex::decode(text).is_ok_and(|bytes| bytes.len() == 32);
        let named = self.segment_name(segment.first, segment.end)?;
        let sound = segment.first == first
            && segment.end > first
            && segment.object == named.as_str()
            && is_hash(&segment.sha256)
            && is_hash(&segment.root);
        if sound { Ok(segment) } else { Err(damaged("it does not describe the segment it is named after")) }
    }

    /// All segments by position, holes or not.
    ///
    /// # Errors
    /// AST-R071 the archive is empty, AST-R073 it holds another log only; AST-R072, AST-Bxxx.
    pub async fn segments(&self) -> Result<Vec<Segment>, ArchiveError> {
        let mut segments = Vec::new();
        for first in self.starts().await? {
            segments.extend(self.segment_at(first).await?);
        }
        if segments.is_empty() { Err(self.why_empty().await?) } else { Ok(segments) }
    }

    /// Nothing of this log is there: is anything of another one?
    async fn why_empty(&self) -> Result<ArchiveError, ArchiveError> {
        for prefix in [format!("log/{}-", self.fleet), "log/".to_owned()] {
            let page = self.store.list(&prefix, None, 1).await?;
            let other = page.entries.first().and_then(|entry| entry.name.as_str().split('/').nth(1));
            if let Some(other) = other.filter(|other| *other != self.tag) {
                return Ok(ArchiveError::OtherLog { wanted: self.tag.clone(), found: other.to_owned() });
            }
        }
        Ok(ArchiveError::Empty { log: self.tag.clone() })
    }

    /// The last segment there is, if there is any. Holes before it are not looked for.
    ///
    /// # Errors
    /// AST-R072, AST-Bxxx.
    pub async fn last_segment(&self) -> Result<Option<Segment>, ArchiveError> {
        match self.starts().await?.last() {
            Some(first) => self.segment_at(*first).await,
            None => Ok(None),
        }
    }

    /// The segment that holds an event.
    ///
    /// # Errors
    /// AST-R072, AST-Bxxx.
    pub async fn segment_holding(&self, event: u64) -> Result<Option<Segment>, ArchiveError> {
        if let Some(segment) = self.segment_at(event).await? {
            return Ok(Some(segment));
        }
        match self.starts().await?.range(..event).next_back() {
            Some(first) => Ok(self.segment_at(*first).await?.filter(|segment| segment.end > event)),
            None => Ok(None),
        }
    }

    /// First events of all segments.
    async fn starts(&self) -> Result<BTreeSet<u64>, ArchiveError> {
        let prefix = format!("log/{}/idx/", self.tag);
        let entries = list_all(self.store.as_ref(), &prefix, ENTRIES_MAX).await?;
        let starts = entries.iter().map(|entry| {
            let digits = entry.name.as_str().strip_prefix(&prefix).unwrap_or_default();
            let first = digits.parse().ok().filter(|_| digits.len() == 20);
            first.ok_or_else(|| ArchiveError::damaged(&entry.name, "it is not named by a position"))
        });
        starts.collect()
    }

    /// The chain of segments from a position on; `Ok` and empty if nothing of this log is there behind it.
    ///
    /// # Errors
    /// AST-R074 a segment is missing in between; AST-R072, AST-Bxxx.
    pub async fn chain_from(&self, first: u64) -> Result<Vec<Segment>, ArchiveError> {
        let mut chain = Vec::new();
        let mut at = first;
        while let Some(segment) = self.segment_at(at).await? {
            at = segment.end;
            chain.push(segment);
        }
        let after = self.index_name(at)?;
        let page = self.store.list(&format!("log/{}/idx/", self.tag), Some(&after), 1).await?;
        match page.entries.first().and_then(|entry| entry.name.as_str().rsplit('/').next()?.parse().ok()) {
            Some(next) => Err(ArchiveError::Missing { at, next }),
            None => Ok(chain),
        }
    }

    /// The segment's bytes: those that were archived, or an error.
    ///
    /// # Errors
    /// AST-R072 other bytes, or none; AST-Bxxx.
    pub async fn bytes(&self, segment: &Segment) -> Result<Bytes, ArchiveError> {
        let name = ObjectName::new(segment.object.clone())?;
        let bytes = self.find(&name, MAX_OBJECT_BYTES).await?;
        let bytes =
            bytes.ok_or_else(|| ArchiveError::damaged(&name, "the index names it and it is not there"))?;
        let same = bytes.len() as u64 == segment.size_bytes && hex::encode(sha256(&bytes)) == segment.sha256;
        if same {
            Ok(bytes)
        } else {
            Err(ArchiveError::damaged(&name, "it is not what the index says was stored"))
        }
    }

    /// Fetches a segment into a folder, under the name a log's folder has it under: whole and checked, or not at all.
    ///
    /// # Errors
    /// AST-R072 it is damaged, AST-R076 the folder cannot be written; AST-Bxxx.
    pub async fn fetch(&self, segment: &Segment, folder: &Path) -> Result<PathBuf, ArchiveError> {
        let bytes = self.bytes(segment).await?;
        let path = folder.join(sealed::file_name(segment.first, segment.end));
        store::write_whole(&path, bytes).await?;
        self.check_file(segment, &path)?;
        Ok(path)
    }

    /// Whether a file is the segment by its own footer: positions, root and the anchor of this log.
    ///
    /// # Errors
    /// AST-R072.
    pub fn check_file(&self, segment: &Segment, path: &Path) -> Result<(), ArchiveError> {
        let damaged = |what: String| ArchiveError::Damaged { object: segment.object.clone(), what };
        let reader = Reader::open(path).map_err(|error| damaged(error.to_string()))?;
        let footer = reader.footer();
        if footer.anchor != self.anchor {
            return Err(damaged("it is of a log with another anchor".to_owned()));
        }
        let same = (footer.first, footer.end) == (segment.first, segment.end)
            && hex::encode(footer.root) == segment.root;
        if same { Ok(()) } else { Err(damaged("its footer is not what the index says".to_owned())) }
    }

    /// The checkpoint note at a size, checked against the log key.
    ///
    /// # Errors
    /// AST-R075 not signed by the log key for this log; AST-Bxxx.
    pub async fn note_at(&self, size: u64) -> Result<Option<(TreeHead, Bytes)>, ArchiveError> {
        let name = self.note_name(size)?;
        let Some(bytes) = self.find(&name, NOTE_MAX_BYTES as u64).await? else { return Ok(None) };
        let refused = |why: String| ArchiveError::Note { object: name.to_string(), why };
        let head = note::open(&bytes, &note::origin(&self.tag), &self.log_key);
        let head = head.map_err(|error| refused(error.to_string()))?;
        if head.size != size {
            return Err(refused(format!("it covers {} events", head.size)));
        }
        Ok(Some((head, bytes)))
    }

    /// Sizes at which there are checkpoint notes, ascending.
    ///
    /// # Errors
    /// AST-Bxxx.
    pub async fn note_sizes(&self) -> Result<BTreeSet<u64>, ArchiveError> {
        let prefix = format!("log/{}/ck/", self.tag);
        let entries = list_all(self.store.as_ref(), &prefix, ENTRIES_MAX).await?;
        Ok(entries.iter().filter_map(|entry| entry.name.as_str().rsplit('/').next()?.parse().ok()).collect())
    }

    /// Compares a segment with the checkpoint note at its end.
    ///
    /// # Errors
    /// AST-R075 there is none, or it names another root; AST-Bxxx.
    pub async fn check_note(&self, segment: &Segment) -> Result<Bytes, ArchiveError> {
        let refused = |why: &str| ArchiveError::Note {
            object: format!("log/{}/ck/{:020}", self.tag, segment.end),
            why: why.to_owned(),
        };
        let (head, note) = self.note_at(segment.end).await?.ok_or_else(|| refused("it is not there"))?;
        let same = hex::encode(head.root) == segment.root;
        if same { Ok(note) } else { Err(refused("it signs another root than the segment's")) }
    }
}

/// The positions between and before segments that none covers.
pub fn holes(segments: &[Segment]) -> Vec<Hole> {
    let mut at = 0;
    let mut holes = Vec::new();
    for segment in segments {
        if segment.first > at {
            holes.push(Hole { first: at, end: segment.first });
        }
        at = at.max(segment.end);
    }
    holes
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;

//! Writing to the archive: create once, read back, then the index entry that makes it count.

use std::io::Write;
use std::path::Path;

use asterism_event_log::sealed::Reader;
use asterism_object_store::{MAX_OBJECT_BYTES, ObjectName, PutResult};
use asterism_proto::OriginKey;
use asterism_proto::hash::sha256;
use asterism_proto::note::{self, TreeHead};
use bytes::Bytes;

use super::{Archive, ArchiveError, Segment};

/// What became of a segment that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is in the archive, now or since before.
    Here(Segment),
    /// Another writer's segment begins there and counts. Whether it is of the same log is for the caller to see.
    Other(Segment),
}

impl Archive {
    /// Stores a sealed file. Repeating it after a crash does no harm.
    ///
    /// # Errors
    /// AST-R070 an object of its name has other bytes, AST-R072 it does not read back, AST-R076 the file cannot be
    /// read; AST-Bxxx.
    pub async fn put_segment(&self, path: &Path) -> Result<Stored, ArchiveError> {
        let unreadable = |error: asterism_event_log::Error| ArchiveError::Damaged {
            object: path.display().to_string(),
            what: error.to_string(),
        };
        let footer = *Reader::open(path).map_err(unreadable)?.footer();
        let name = self.segment_name(footer.first, footer.end)?;
        let bytes = tokio::fs::read(path).await;
        let bytes = Bytes::from(bytes.map_err(|error| ArchiveError::io("reading", path, error))?);
        let segment = Segment {
            first: footer.first,
            end: footer.end,
            object: name.to_string(),
            sha256: hex::encode(sha256(&bytes)),
            size_bytes: bytes.len() as u64,
            root: hex::encode(footer.root),
        };
        let created = self.store.put_if_absent(&name, bytes).await?;
        self.read_back(&name, &segment, created).await?;
        let index = self.index_name(footer.first)?;
        let entry = serde_json::to_vec_pretty(&segment)
            .map_err(|error| ArchiveError::damaged(&index, &error.to_string()))?;
        match self.store.put_if_absent(&index, entry.into()).await? {
            PutResult::Created => Ok(Stored::Here(segment)),
            PutResult::Exists => match self.segment_at(footer.first).await? {
                Some(there) if there == segment => Ok(Stored::Here(segment)),
                Some(there) => Ok(Stored::Other(there)),
                None => Err(ArchiveError::damaged(&index, "it was there and is gone")),
            },
        }
    }

    async fn read_back(
        &self,
        name: &ObjectName,
        segment: &Segment,
        created: PutResult,
    ) -> Result<(), ArchiveError> {
        let there = self.store.get(name, MAX_OBJECT_BYTES).await?;
        let found = hex::encode(sha256(&there));
        match created {
            _ if found == segment.sha256 => Ok(()),
            PutResult::Created => Err(ArchiveError::damaged(name, "it does not read back as it was written")),
            PutResult::Exists => Err(ArchiveError::SecondWriter {
                object: name.to_string(),
                theirs: format!("SHA-256 {found}"),
                ours: segment.sha256.clone(),
            }),
        }
    }

    /// Signs the log at a size and stores the note.
    ///
    /// # Errors
    /// AST-R070 the log key has signed another root at that size, AST-R075 what is there is not believed; AST-Bxxx.
    pub async fn put_note(&self, key: &OriginKey, head: &TreeHead) -> Result<(), ArchiveError> {
        self.put_note_text(head, note::sign(key, &note::origin(self.tag()), head)).await
    }

    /// Stores a note that is signed already, with cosignatures or without. One that is there stays as it is.
    ///
    /// # Errors
    /// As [`Archive::put_note`].
    pub async fn put_note_text(&self, head: &TreeHead, text: String) -> Result<(), ArchiveError> {
        let name = self.note_name(head.size)?;
        if self.store.put_if_absent(&name, text.into()).await? == PutResult::Created {
            return Ok(());
        }
        match self.note_at(head.size).await? {
            Some((there, _)) if there != *head => Err(ArchiveError::SecondWriter {
                object: name.to_string(),
                theirs: format!("root {}", hex::encode(there.root)),
                ours: hex::encode(head.root),
            }),
            _ => Ok(()),
        }
    }
}

/// Writes a file whole or not at all, synced with its folder.
pub(super) async fn write_whole(path: &Path, bytes: Bytes) -> Result<(), ArchiveError> {
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let part = path.with_extension("part");
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::File::create(&part)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&part, &path))
            .and_then(|()| std::fs::File::open(folder)?.sync_all())
            .map_err(|error| ArchiveError::io("writing", &path, error))
    });
    written.await.unwrap_or_else(|error| {
        Err(ArchiveError::io("writing", Path::new("a fetched segment"), std::io::Error::other(error)))
    })
}

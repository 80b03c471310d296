//! Writing a sealed file, and reading it back before it gets its name.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;
use sha2::{Digest, Sha256};

use super::chunk;
use super::footer::{Footer, IndexAt};
use super::index::{ContactsOf, Group, no_contacts};
use super::{MAGIC, MAGIC_BYTES, Reader, SealedSegment, file_name};
use crate::disk::{self, sync_folder};
use crate::error::Error;
use crate::merkle::Frontier;
use crate::record::StoredFrame;

const DOING: &str = "writing a sealed segment";

/// Writes one sealed segment; nothing has its name before everything is durable.
pub(crate) struct Writer {
    folder: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    hasher: Sha256,
    /// Bytes written.
    at: u64,
    chunk: Vec<u8>,
    group: Group,
    /// The index so far: some four bytes for each contact and call of each chunk, a hundredth of the events.
    index: Vec<u8>,
    contacts: Option<ContactsOf>,
    first: u64,
    frames: u64,
    before: Frontier,
    tree: Frontier,
}

impl Writer {
    /// A segment that follows the tree `before`; events are filed under their contacts if somebody knows them.
    pub(crate) fn create(
        folder: &Path,
        before: &Frontier,
        contacts: Option<ContactsOf>,
    ) -> Result<Self, Error> {
        let first = before.size();
        let part = folder.join(format!("segment-{first:020}.part"));
        let file = File::create(&part).map_err(|error| Error::io(DOING, &part, error))?;
        let mut writer = Self {
            folder: folder.to_owned(),
            part,
            out: BufWriter::with_capacity(256 * 1024, file),
            hasher: Sha256::new(),
            at: 0,
            chunk: Vec::with_capacity(chunk::RAW_MAX_BYTES),
            group: Group::new(MAGIC_BYTES, first),
            index: Vec::new(),
            contacts,
            first,
            frames: 0,
            before: before.clone(),
            tree: before.clone(),
        };
        writer.put(&MAGIC)?;
        Ok(writer)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(DOING, &self.part, error)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| Error::io(DOING, &self.part, error))
    }

    /// The tree with everything pushed.
    pub(crate) const fn tree(&self) -> &Frontier {
        &self.tree
    }

    pub(crate) fn push(&mut self, frame: &StoredFrame) -> Result<(), Error> {
        frame.encode(&mut self.chunk);
        self.group.file(frame, self.contacts.unwrap_or(no_contacts));
        self.tree.extend(&frame.leaves);
        self.frames += 1;
        if self.chunk.len() >= chunk::RAW_TARGET_BYTES { self.close_chunk() } else { Ok(()) }
    }

    fn close_chunk(&mut self) -> Result<(), Error> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let packed = chunk::pack(&self.chunk).map_err(|error| self.failed(error))?;
        self.put(&packed)?;
        self.chunk.clear();
        let mut group = std::mem::replace(&mut self.group, Group::new(self.at, self.tree.size()));
        group.close();
        group.encode(&mut self.index);
        Ok(())
    }

    /// Ends the file, syncs it, reads it back against the same tree and only then gives it its name.
    pub(crate) fn finish(mut self, anchor: &Hash) -> Result<SealedSegment, Error> {
        let (footer, index) = self.close(anchor)?;
        self.check_written(&footer, &index)?;
        self.publish(&footer)
    }

    /// As [`Writer::finish`], without reading it back: what an attacker writes need not be sound.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn finish_unread(mut self, anchor: &Hash) -> Result<SealedSegment, Error> {
        let (footer, _) = self.close(anchor)?;
        self.publish(&footer)
    }

    fn close(&mut self, anchor: &Hash) -> Result<(Footer, Vec<u8>), Error> {
        self.close_chunk()?;
        let index = std::mem::take(&mut self.index);
        let at = IndexAt {
            at: self.at,
            bytes: index.len() as u64,
            contacts: self.contacts.is_some(),
            sha256: Sha256::digest(&index).into(),
        };
        self.put(&index)?;
        let footer = Footer {
            first: self.first,
            end: self.tree.size(),
            frames: self.frames,
            root_before: self.before.root(),
            root: self.tree.root(),
            anchor: *anchor,
            index: Some(at),
        };
        let mut bytes = footer.encode();
        self.put(&bytes)?;
        let content: Hash = self.hasher.clone().finalize().into();
        self.put(&content)?;
        bytes.extend_from_slice(&content);
        let crc = crc32fast::hash(&bytes);
        self.put(&crc.to_be_bytes())?;
        self.out
            .flush()
            .and_then(|()| disk::sync_all(self.out.get_ref(), &self.part))
            .map_err(|error| self.failed(error))?;
        Ok((footer, index))
    }

    fn publish(self, footer: &Footer) -> Result<SealedSegment, Error> {
        let size = self.out.get_ref().metadata().map_err(|error| self.failed(error))?.len();
        let (first, end) = (footer.first, footer.end);
        let path = self.folder.join(file_name(first, end));
        std::fs::rename(&self.part, &path).map_err(|error| self.failed(error))?;
        sync_folder(&self.folder)?;
        Ok(SealedSegment { path, first, end, size, sha256: self.hasher.finalize().into() })
    }

    /// Reads the file back: same footer, same number of frames, a root that the leaves of what was read really have,
    /// and an index that what was read is really filed under.
    fn check_written(&self, expected: &Footer, index: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::open(&self.part)?;
        let mut tree = self.before.clone();
        let (mut frames, mut again, mut group) = (0, Vec::new(), None::<Group>);
        let mut close = |group: Option<Group>| {
            if let Some(mut group) = group {
                group.close();
                group.encode(&mut again);
            }
        };
        while let Some(frame) = reader.next_frame()? {
            if group.as_ref().is_none_or(|group| group.at != reader.chunk_at()) {
                close(group.replace(Group::new(reader.chunk_at(), tree.size())));
            }
            if let Some(group) = &mut group {
                group.file(&frame, self.contacts.unwrap_or(no_contacts));
            }
            tree.extend(&frame.leaves);
            frames += 1;
        }
        close(group);
        let same = reader.footer() == expected
            && frames == expected.frames
            && tree.size() == expected.end
            && tree.root() == expected.root
            && again == index;
        let what = "the sealed file does not read back as it was written";
        if same { Ok(()) } else { Err(Error::damaged(&self.part, self.first, what)) }
    }
}

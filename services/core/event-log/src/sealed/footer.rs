//! What a sealed file says of itself at its end.

use asterism_proto::hash::Hash;

use crate::codec::{Cursor, put_u64};

/// Of a file of version 01, and of one of version 02.
const TAGS: [u8; 2] = [2, 4];
const HEAD_BYTES: usize = 1 + 3 * 8 + 3 * 32;
const INDEX_BYTES: usize = 8 + 8 + 1 + 32;
const TAIL_BYTES: usize = 32 + 4;

/// Versions of the file. A writer writes the newest; a reader reads all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Chunks and a footer.
    V1,
    /// An index between them.
    V2,
}

impl Version {
    /// By the two digits behind the magic.
    pub(super) const fn of(digits: [u8; 2]) -> Option<Self> {
        match &digits {
            b"01" => Some(Self::V1),
            b"02" => Some(Self::V2),
            _ => None,
        }
    }

    /// Bytes of the footer with the hash of the content and the checksum.
    pub(super) const fn footer_bytes(self) -> usize {
        match self {
            Self::V1 => HEAD_BYTES + TAIL_BYTES,
            Self::V2 => HEAD_BYTES + INDEX_BYTES + TAIL_BYTES,
        }
    }
}

/// What a sealed segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// First global sequence.
    pub first: u64,
    /// Log size after it.
    pub end: u64,
    /// Number of frames.
    pub frames: u64,
    /// Root of the log before it.
    pub root_before: Hash,
    /// Root of the log after it.
    pub root: Hash,
    /// The log's trust anchor.
    pub anchor: Hash,
    /// Its index; files of version 01 have none.
    pub index: Option<IndexAt>,
}

/// Where the index of a sealed segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexAt {
    /// First byte in the file.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
    /// Whether events were filed under their contacts too.
    pub contacts: bool,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
}

impl Footer {
    pub(super) const fn version(&self) -> Version {
        if self.index.is_some() { Version::V2 } else { Version::V1 }
    }

    /// Everything before the content's hash.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.index.is_some() { TAGS[1] } else { TAGS[0] }];
        for number in [self.first, self.end, self.frames] {
            put_u64(&mut out, number);
        }
        for hash in [&self.root_before, &self.root, &self.anchor] {
            out.extend_from_slice(hash);
        }
        if let Some(index) = &self.index {
            put_u64(&mut out, index.at);
            put_u64(&mut out, index.bytes);
            out.push(u8::from(index.contacts));
            out.extend_from_slice(&index.sha256);
        }
        out
    }

    /// Reads a whole footer of this version; `at` is where it stands in the file. Returns the content's hash too.
    pub(super) fn read(bytes: &[u8], version: Version, at: u64) -> Option<(Self, Hash)> {
        let (content, crc) = bytes.split_at_checked(version.footer_bytes() - 4)?;
        if crc32fast::hash(content).to_be_bytes() != crc {
            return None;
        }
        let mut cursor = Cursor::new(content);
        if cursor.u8()? != TAGS[usize::from(version == Version::V2)] {
            return None;
        }
        let (first, end, frames) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let mut footer = Self {
            first,
            end,
            frames,
            root_before: cursor.array()?,
            root: cursor.array()?,
            anchor: cursor.array()?,
            index: None,
        };
        if version == Version::V2 {
            let (index, bytes) = (cursor.u64()?, cursor.u64()?);
            let contacts = cursor.u8()? == 1;
            let sha256 = cursor.array()?;
            if index < super::MAGIC_BYTES || index.checked_add(bytes) != Some(at) {
                return None;
            }
            footer.index = Some(IndexAt { at: index, bytes, contacts, sha256 });
        }
        Some((footer, cursor.array()?)).filter(|(footer, _)| footer.first < footer.end)
    }
}

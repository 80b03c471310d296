//! Sealed segments: immutable, compressed, provable files `segment-<first>-<end>.ast`.
//!
//! Layout (big endian): magic `ASTSEG01`, then chunks (tag 1, raw length, compressed length, CRC-32 of the compressed
//! bytes, zstd of whole stored frames), then the footer (tag 2, first, end, frames, root before, root at end, trust
//! anchor, SHA-256 of everything before that hash, CRC-32 of the footer).

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use asterism_proto::frame::FRAME_VERSION;
use asterism_proto::hash::Hash;
use sha2::{Digest, Sha256};

use crate::codec::{Cursor, put_u64};
use crate::error::Error;
use crate::merkle::Frontier;
use crate::record::StoredFrame;
use crate::segment::sync_folder;

const MAGIC: [u8; 8] = *b"ASTSEG01";
const TAG_CHUNK: u8 = 1;
const TAG_FOOTER: u8 = 2;
const CHUNK_HEAD_BYTES: usize = 1 + 4 + 4 + 4;
const FOOTER_BYTES: usize = 1 + 3 * 8 + 4 * 32 + 4;
/// A chunk is closed at this many raw bytes; one more frame may have gone in before.
const CHUNK_RAW_TARGET_BYTES: usize = 192 * 1024;
/// Most raw bytes of a chunk: the target and the largest frame. A reader refuses more.
const CHUNK_RAW_MAX_BYTES: usize = 320 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// A sealed segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSegment {
    /// The file.
    pub path: PathBuf,
    /// First global sequence in it.
    pub first: u64,
    /// Log size after it.
    pub end: u64,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub sha256: Hash,
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
}

/// File name of a sealed segment.
pub fn file_name(first: u64, end: u64) -> String {
    format!("segment-{first:020}-{end:020}.ast")
}

/// Reads first and end from a sealed segment's file name.
pub fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (first, end) = name.strip_prefix("segment-")?.strip_suffix(".ast")?.split_once('-')?;
    let number = |text: &str| {
        (text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())
    };
    Some((number(first)??, number(end)??)).filter(|(first, end)| first < end)
}

/// Sealed segments in a folder by position. Other files are not looked at.
pub(crate) fn list(folder: &Path) -> Result<Vec<(u64, u64, PathBuf)>, Error> {
    let listing = |error| Error::io("listing the log folder", folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        if let Some((first, end)) = entry.file_name().to_str().and_then(parse_file_name) {
            found.push((first, end, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes one sealed segment; nothing has its name before everything is durable.
pub(crate) struct Writer {
    folder: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    hasher: Sha256,
    chunk: Vec<u8>,
    first: u64,
    frames: u64,
    before: Frontier,
    tree: Frontier,
}

impl Writer {
    /// A segment that follows the tree `before`.
    pub(crate) fn create(folder: &Path, before: &Frontier) -> Result<Self, Error> {
        let first = before.size();
        let part = folder.join(format!("segment-{first:020}.part"));
        let file =
            File::create(&part).map_err(|error| Error::io("writing a sealed segment", &part, error))?;
        let mut writer = Self {
            folder: folder.to_owned(),
            part,
            out: BufWriter::with_capacity(256 * 1024, file),
            hasher: Sha256::new(),
            chunk: Vec::with_capacity(CHUNK_RAW_MAX_BYTES),
            first,
            frames: 0,
            before: before.clone(),
            tree: before.clone(),
        };
        writer.put(&MAGIC)?;
        Ok(writer)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io("writing a sealed segment", &self.part, error)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(|error| Error::io("writing a sealed segment", &self.part, error))
    }

    /// The tree with everything pushed.
    pub(crate) const fn tree(&self) -> &Frontier {
        &self.tree
    }

    pub(crate) fn push(&mut self, frame: &StoredFrame) -> Result<(), Error> {
        frame.encode(&mut self.chunk);
        for leaf in &frame.leaves {
            self.tree.push(*leaf);
        }
        self.frames += 1;
        if self.chunk.len() >= CHUNK_RAW_TARGET_BYTES { self.close_chunk() } else { Ok(()) }
    }

    fn close_chunk(&mut self) -> Result<(), Error> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let packed = zstd::bulk::compress(&self.chunk, ZSTD_LEVEL).map_err(|error| self.failed(error))?;
        let mut head = vec![TAG_CHUNK];
        head.extend_from_slice(&(self.chunk.len() as u32).to_be_bytes());
        head.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        head.extend_from_slice(&crc32fast::hash(&packed).to_be_bytes());
        self.put(&head)?;
        self.put(&packed)?;
        self.chunk.clear();
        Ok(())
    }

    /// Ends the file, syncs it, reads it back against the same tree and only then gives it its name.
    pub(crate) fn finish(mut self, anchor: &Hash) -> Result<SealedSegment, Error> {
        let footer = self.close(anchor)?;
        self.check_written(&footer)?;
        self.publish(&footer)
    }

    /// As [`Writer::finish`], without reading it back: what an attacker writes need not be sound.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn finish_unread(mut self, anchor: &Hash) -> Result<SealedSegment, Error> {
        let footer = self.close(anchor)?;
        self.publish(&footer)
    }

    fn close(&mut self, anchor: &Hash) -> Result<Footer, Error> {
        self.close_chunk()?;
        let (end, root) = (self.tree.size(), self.tree.root());
        let footer = Footer {
            first: self.first,
            end,
            frames: self.frames,
            root_before: self.before.root(),
            root,
            anchor: *anchor,
        };
        let mut bytes = encode_footer(&footer);
        self.put(&bytes)?;
        let content: Hash = self.hasher.clone().finalize().into();
        self.put(&content)?;
        bytes.extend_from_slice(&content);
        let crc = crc32fast::hash(&bytes);
        self.put(&crc.to_be_bytes())?;
        self.out.flush().and_then(|()| self.out.get_ref().sync_all()).map_err(|error| self.failed(error))?;
        Ok(footer)
    }

    fn publish(self, footer: &Footer) -> Result<SealedSegment, Error> {
        let size = self.out.get_ref().metadata().map_err(|error| self.failed(error))?.len();
        let (first, end) = (footer.first, footer.end);
        let path = self.folder.join(file_name(first, end));
        std::fs::rename(&self.part, &path).map_err(|error| self.failed(error))?;
        sync_folder(&self.folder)?;
        Ok(SealedSegment { path, first, end, size, sha256: self.hasher.finalize().into() })
    }

    /// Reads the file back from the disk: same footer, same number of frames, and a root that the leaves of what
    /// was read really have.
    fn check_written(&self, expected: &Footer) -> Result<(), Error> {
        let mut reader = Reader::open(&self.part)?;
        let mut tree = self.before.clone();
        let mut frames = 0;
        while let Some(frame) = reader.next_frame()? {
            frame.leaves.iter().for_each(|leaf| tree.push(*leaf));
            frames += 1;
        }
        let same = reader.footer() == expected
            && frames == expected.frames
            && tree.size() == expected.end
            && tree.root() == expected.root;
        let what = "the sealed file does not read back as it was written";
        if same { Ok(()) } else { Err(Error::damaged(&self.part, self.first, what)) }
    }
}

/// Reads a sealed segment frame by frame with one chunk in memory. Checks the footer first, every chunk's CRC on the
/// way and the SHA-256 at the end; order, signatures and roots are the caller's.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    hasher: Sha256,
    footer: Footer,
    content_hash: Hash,
    /// Bytes of the file before the footer that are not read yet.
    left: u64,
    chunk: Vec<u8>,
    offset: usize,
    position: u64,
}

impl Reader {
    /// Opens a sealed segment and reads its footer.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let reading = |error| Error::io("reading a sealed segment", path, error);
        let mut file = File::open(path).map_err(reading)?;
        let length = file.metadata().map_err(reading)?.len();
        let Some(footer_at) = length.checked_sub(FOOTER_BYTES as u64).filter(|at| *at >= 8) else {
            return Err(Error::damaged(path, 0, "it is too short to be a sealed segment"));
        };
        let mut magic = [0; 8];
        file.read_exact(&mut magic).map_err(reading)?;
        if magic[..6] != MAGIC[..6] {
            return Err(Error::damaged(path, 0, "it does not begin as a sealed segment"));
        }
        if magic != MAGIC {
            let what = "a sealed segment of another version than 01";
            return Err(Error::Format { path: path.to_owned(), what });
        }
        let mut tail = [0; FOOTER_BYTES];
        file.seek(SeekFrom::Start(footer_at)).map_err(reading)?;
        file.read_exact(&mut tail).map_err(reading)?;
        let (footer, content_hash) = read_footer(&tail)
            .ok_or_else(|| Error::damaged(path, 0, "the footer does not match its checksum"))?;
        file.seek(SeekFrom::Start(8)).map_err(reading)?;
        Ok(Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(256 * 1024, file),
            hasher: Sha256::new_with_prefix(MAGIC),
            position: footer.first,
            footer,
            content_hash,
            left: footer_at - 8,
            chunk: Vec::new(),
            offset: 0,
        })
    }

    /// What the segment says of itself.
    pub const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Log size after the last frame returned.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The next frame; `None` behind the last one, and only if the whole file had the SHA-256 its footer names.
    pub fn next_frame(&mut self) -> Result<Option<StoredFrame>, Error> {
        if self.offset == self.chunk.len() && !self.next_chunk()? {
            return Ok(None);
        }
        let rest = self.chunk.get(self.offset..).unwrap_or_default();
        let Some((frame, length)) = StoredFrame::decode(rest) else {
            return Err(match StoredFrame::newer_version(rest) {
                Some(version) => Error::TooNew {
                    folder: self.path.clone(),
                    position: self.position,
                    what: format!("a frame of version {version}, only {FRAME_VERSION} is known here"),
                },
                None => self.damaged("a chunk does not hold whole frames"),
            });
        };
        self.offset += length;
        self.position += frame.leaves.len() as u64;
        Ok(Some(frame))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged(&self.path, self.position, what)
    }

    fn next_chunk(&mut self) -> Result<bool, Error> {
        if self.left == 0 {
            return self.check_end().map(|()| false);
        }
        let mut head = [0; CHUNK_HEAD_BYTES];
        self.fill(&mut head)?;
        let mut cursor = Cursor::new(&head);
        let fields = (cursor.u8(), cursor.u32(), cursor.u32(), cursor.u32());
        let (Some(TAG_CHUNK), Some(raw), Some(packed), Some(crc)) = fields else {
            return Err(self.damaged("a chunk does not begin as one"));
        };
        let (raw, packed) = (raw as usize, packed as usize);
        let packed_max = zstd::zstd_safe::compress_bound(CHUNK_RAW_MAX_BYTES);
        if raw == 0 || raw > CHUNK_RAW_MAX_BYTES || packed > packed_max || packed as u64 > self.left {
            return Err(self.damaged("a chunk is over its limit"));
        }
        let mut bytes = vec![0; packed];
        self.fill(&mut bytes)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(self.damaged("a chunk's checksum does not match"));
        }
        self.chunk = zstd::bulk::decompress(&bytes, raw)
            .ok()
            .filter(|chunk| chunk.len() == raw)
            .ok_or_else(|| self.damaged("a chunk cannot be decompressed"))?;
        self.offset = 0;
        Ok(true)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if buffer.len() as u64 > self.left {
            return Err(self.damaged("the last chunk is cut"));
        }
        self.input
            .read_exact(buffer)
            .map_err(|error| Error::io("reading a sealed segment", &self.path, error))?;
        self.left -= buffer.len() as u64;
        self.hasher.update(buffer);
        Ok(())
    }

    /// Everything was read: the hash of it must be the footer's.
    fn check_end(&self) -> Result<(), Error> {
        let mut hasher = self.hasher.clone();
        hasher.update(encode_footer(&self.footer));
        let hash: Hash = hasher.finalize().into();
        match () {
            () if hash != self.content_hash => Err(self.damaged("the file is not the one that was sealed")),
            () if self.position != self.footer.end => Err(self.damaged("frames are missing or too many")),
            () => Ok(()),
        }
    }
}

fn encode_footer(footer: &Footer) -> Vec<u8> {
    let mut out = vec![TAG_FOOTER];
    for number in [footer.first, footer.end, footer.frames] {
        put_u64(&mut out, number);
    }
    for hash in [&footer.root_before, &footer.root, &footer.anchor] {
        out.extend_from_slice(hash);
    }
    out
}

fn read_footer(bytes: &[u8; FOOTER_BYTES]) -> Option<(Footer, Hash)> {
    let (content, crc) = bytes.split_at_checked(FOOTER_BYTES - 4)?;
    if crc32fast::hash(content).to_be_bytes() != crc {
        return None;
    }
    let mut cursor = Cursor::new(content);
    if cursor.u8()? != TAG_FOOTER {
        return None;
    }
    let (first, end, frames) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let footer = Footer {
        first,
        end,
        frames,
        root_before: cursor.array()?,
        root: cursor.array()?,
        anchor: cursor.array()?,
    };
    Some((footer, cursor.array()?)).filter(|(footer, _)| footer.first < footer.end)
}

//! Snapshots: what the log had folded to at a size, so that a start need not fold all of it again.
//!
//! A cache and nothing more. A file counts only if it is whole, of this log and of this reducer; the events behind it
//! must lead from its root to the roots of the sealed segments and of HEAD, and a fold from the beginning proves it in
//! the background. Layout (big endian): magic `ASTSNP01`, reducer (16-bit length), sequencer (32), state (32 raw, 32
//! packed, zstd), SHA-256 of everything before it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use asterism_proto::hash::sha256;

use crate::codec::{Cursor, put_slice16};
use crate::disk::{self, sync_folder};
use crate::error::Error;
use crate::sequencer::Sequencer;

const MAGIC: [u8; 8] = *b"ASTSNP01";
const ZSTD_LEVEL: i32 = 1;
/// Largest file read: four contacts' records a kilobyte, ten million of them.
const FILE_MAX_BYTES: u64 = 4 << 30;
/// Snapshots kept in a folder; a damaged newest one leaves the one before it.
pub const KEPT: usize = 2;

/// The log's state at a size.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Names the reducer that folded the state.
    pub reducer: String,
    /// The sequencer after the last frame folded.
    pub sequencer: Sequencer,
    /// The state's canonical bytes.
    pub state: Vec<u8>,
}

/// File name of a snapshot at a log size.
pub fn file_name(size: u64) -> String {
    format!("snapshot-{size:020}.ast")
}

/// Reads the log size from a snapshot's file name.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("snapshot-")?.strip_suffix(".ast")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// Snapshots in a folder, the newest first.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let listing = |error| Error::io("listing the log folder", folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        if let Some(size) = entry.file_name().to_str().and_then(parse_file_name) {
            found.push((size, entry.path()));
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

impl Snapshot {
    /// Events folded.
    pub fn size(&self) -> u64 {
        self.sequencer.size()
    }

    /// Writes it durably into a log folder and removes all but the newest [`KEPT`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        let name = file_name(self.size());
        let (part, path) = (folder.join(format!("{name}.part")), folder.join(&name));
        let writing = |error| Error::io("writing a snapshot", &part, error);
        let mut file = File::create(&part).map_err(writing)?;
        file.write_all(&self.to_file().map_err(writing)?)
            .and_then(|()| disk::sync_all(&file, &part))
            .map_err(writing)?;
        std::fs::rename(&part, &path).map_err(writing)?;
        sync_folder(folder)?;
        for (_, old) in list(folder)?.into_iter().skip(KEPT) {
            std::fs::remove_file(&old).map_err(|error| Error::io("removing an old snapshot", &old, error))?;
        }
        Ok(path)
    }

    /// The bytes of its file; [`Snapshot::from_file`] reads them.
    pub fn to_file(&self) -> std::io::Result<Vec<u8>> {
        let sequencer = self.sequencer.to_bytes();
        let packed = zstd::bulk::compress(&self.state, ZSTD_LEVEL)?;
        let mut out = MAGIC.to_vec();
        put_slice16(&mut out, self.reducer.as_bytes());
        for part in [sequencer.len(), self.state.len(), packed.len()] {
            let length = u32::try_from(part).map_err(std::io::Error::other)?;
            out.extend_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(&sequencer);
        out.extend_from_slice(&packed);
        out.extend_from_slice(&sha256(&out));
        Ok(out)
    }

    /// Reads a snapshot file. The hash says that it is the file that was written, not that what it says is true.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let reading = |error| Error::io("reading a snapshot", path, error);
        let file = File::open(path).map_err(reading)?;
        if file.metadata().map_err(reading)?.len() > FILE_MAX_BYTES {
            return Err(Error::damaged(path, 0, "it is larger than any snapshot"));
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(reading)?;
        Self::from_file(&bytes).ok_or_else(|| Error::damaged(path, 0, "it is no whole snapshot"))
    }

    /// Reads the bytes of a file: the whole of it, or nothing.
    pub fn from_file(bytes: &[u8]) -> Option<Self> {
        let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if !content.starts_with(&MAGIC) || sha256(content) != hash {
            return None;
        }
        let mut cursor = Cursor::new(content);
        cursor.take(MAGIC.len())?;
        let reducer = std::str::from_utf8(cursor.slice16()?).ok()?.to_owned();
        let (sequencer, raw, packed) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let sequencer = Sequencer::from_bytes(cursor.take(sequencer as usize)?)?;
        let packed = cursor.take(packed as usize)?;
        // Grows with what is really there: the length is a word in a file.
        let mut state = Vec::new();
        let decoder = zstd::stream::Decoder::new(packed).ok()?;
        decoder.take(u64::from(raw) + 1).read_to_end(&mut state).ok()?;
        (cursor.is_empty() && state.len() == raw as usize).then_some(Self { reducer, sequencer, state })
    }
}

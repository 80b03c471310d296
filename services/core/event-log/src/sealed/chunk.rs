//! One chunk of a sealed file: a head and zstd of whole stored frames.

use crate::codec::Cursor;

pub(super) const TAG_CHUNK: u8 = 1;
pub(super) const HEAD_BYTES: usize = 1 + 4 + 4 + 4;
/// A chunk is closed at this many raw bytes; one more frame may have gone in before.
pub(super) const RAW_TARGET_BYTES: usize = 192 * 1024;
/// Most raw bytes of a chunk: the target and the largest frame. A reader refuses more.
pub(super) const RAW_MAX_BYTES: usize = 320 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// A chunk's head, within its limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    raw: usize,
    pub(super) packed: usize,
    crc: u32,
}

impl Head {
    /// Reads a head; `left` bytes may follow it at most.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES], left: u64) -> Result<Self, &'static str> {
        let mut cursor = Cursor::new(bytes);
        let fields = (cursor.u8(), cursor.u32(), cursor.u32(), cursor.u32());
        let (Some(TAG_CHUNK), Some(raw), Some(packed), Some(crc)) = fields else {
            return Err("a chunk does not begin as one");
        };
        let (raw, packed) = (raw as usize, packed as usize);
        let packed_max = zstd::zstd_safe::compress_bound(RAW_MAX_BYTES);
        if raw == 0 || raw > RAW_MAX_BYTES || packed > packed_max || packed as u64 > left {
            return Err("a chunk is over its limit");
        }
        Ok(Self { raw, packed, crc })
    }

    /// Unpacks what followed the head.
    pub(super) fn open(&self, packed: &[u8]) -> Result<Vec<u8>, &'static str> {
        if crc32fast::hash(packed) != self.crc {
            return Err("a chunk's checksum does not match");
        }
        zstd::bulk::decompress(packed, self.raw)
            .ok()
            .filter(|chunk| chunk.len() == self.raw)
            .ok_or("a chunk cannot be decompressed")
    }
}

/// A chunk with its head.
pub(super) fn pack(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    let packed = zstd::bulk::compress(raw, ZSTD_LEVEL)?;
    let mut out = Vec::with_capacity(HEAD_BYTES + packed.len());
    out.push(TAG_CHUNK);
    out.extend_from_slice(&(raw.len() as u32).to_be_bytes());
    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&packed).to_be_bytes());
    out.extend_from_slice(&packed);
    Ok(out)
}

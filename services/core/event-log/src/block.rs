//! Blocks: what a segment store holds. 1 to 24 events, at most 7 KiB, a checksum, and a hash chain over the leaves.
//!
//! Layout (big endian): magic `ASTB`, version 1, event count, two zero bytes, first global sequence, previous block's
//! hash, own hash, body length (u16), body, CRC-32 of all that. The body is runs: part of one frame each, with the
//! frame's header and signature repeated where a frame spans blocks. The own hash is SHA-256 over the previous hash,
//! the position, the count, the body's CRC-32 and the leaf hashes: the tree needs those anyway.

use asterism_proto::frame::{EVENT_MAX_BYTES, FRAME_MAX_EVENTS, HEADER_MAX_BYTES};
use asterism_proto::hash::{Hash, event_leaves, sha256};
use asterism_proto::v1::FrameHeader;
use asterism_proto::{Events, OpenFrame};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::codec::{Cursor, put_slice16, put_u64};
use crate::record::{AcceptedFrame, StoredFrame, StreamAt};

/// Most bytes of a block: sixteen of them must fit one page record of sled, or it spills into files it never syncs.
pub const BLOCK_MAX_BYTES: usize = 7 * 1024;
/// Most events in a block.
pub const BLOCK_MAX_EVENTS: usize = 24;

const MAGIC: [u8; 4] = *b"ASTB";
const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 4 + 1 + 1 + 2 + 8 + 32 + 32 + 2;
const CRC_BYTES: usize = 4;
const BODY_MAX_BYTES: usize = BLOCK_MAX_BYTES - PREFIX_BYTES - CRC_BYTES;
const SIGNATURE_BYTES: usize = 64;
/// Events of a frame of a busy origin: room is made for them.
const FRAME_EVENTS: usize = 64;
/// Header and signature with their lengths, three times, index and count.
const RUN_OVERHEAD_BYTES: usize = 2 + 2 + 24 + 2 + 1;

const _: () = assert!(
    RUN_OVERHEAD_BYTES + HEADER_MAX_BYTES + SIGNATURE_BYTES + 2 + EVENT_MAX_BYTES <= BODY_MAX_BYTES,
    "the largest event fits a block"
);

/// An encoded block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Global sequence of its first event.
    pub first: u64,
    /// Its hash, the next block's `previous`.
    pub hash: Hash,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Wrong magic, length or a field out of its range.
    #[error("the block is malformed")]
    Malformed,
    /// A version from the future.
    #[error("block version {0} is not known here")]
    Version(u8),
    /// The checksum is not that of the bytes.
    #[error("the block's checksum does not match")]
    Checksum,
    /// The block does not follow the one before it.
    #[error("the block does not continue the chain")]
    Chain,
    /// The own hash is not that of the content.
    #[error("the block's hash does not match its content")]
    Hash,
    /// The parts do not make whole frames.
    #[error("the block's frames are not whole")]
    Frame,
}

/// Part of one frame inside a block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    header: Vec<u8>,
    signature: Vec<u8>,
    record_time_ms: u64,
    at: StreamAt,
    index: u16,
    events: Events,
    leaves: Vec<Hash>,
}

/// A block read back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecodedBlock {
    pub(crate) first: u64,
    pub(crate) hash: Hash,
    pub(crate) count: u64,
    pub(crate) runs: Vec<Run>,
}

fn chain_hash(previous: &Hash, first: u64, count: u8, body: &[u8], leaves: &[Hash]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(MAGIC);
    hasher.update([VERSION, count]);
    hasher.update(previous);
    hasher.update(first.to_be_bytes());
    hasher.update(crc32fast::hash(body).to_be_bytes());
    for leaf in leaves {
        hasher.update(leaf);
    }
    hasher.finalize().into()
}

/// Reads the length of a block from its first bytes; `None` if they are not those of a block.
pub(crate) fn block_length(prefix: &[u8; PREFIX_BYTES]) -> Option<usize> {
    let body = usize::from(u16::from_be_bytes([prefix[PREFIX_BYTES - 2], prefix[PREFIX_BYTES - 1]]));
    (prefix[..4] == MAGIC && body <= BODY_MAX_BYTES).then_some(PREFIX_BYTES + body + CRC_BYTES)
}

/// Bytes a reader needs before it knows a block's length.
pub(crate) const BLOCK_PREFIX_BYTES: usize = PREFIX_BYTES;

/// Position of a block, read without checking anything else.
pub(crate) fn block_first(bytes: &[u8]) -> Option<u64> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(8)?;
    cursor.u64()
}

impl DecodedBlock {
    /// Reads and checks a block that must follow the one with hash `previous` and begin at `first`.
    pub(crate) fn read(bytes: &[u8], previous: &Hash, first: u64) -> Result<Self, BlockError> {
        if bytes.len() > BLOCK_MAX_BYTES || bytes.len() < PREFIX_BYTES + CRC_BYTES {
            return Err(BlockError::Malformed);
        }
        let (content, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc32fast::hash(content).to_be_bytes() != crc {
            return Err(BlockError::Checksum);
        }
        let mut cursor = Cursor::new(content);
        if cursor.array() != Some(MAGIC) {
            return Err(BlockError::Malformed);
        }
        match cursor.u8() {
            Some(VERSION) => {}
            Some(version) => return Err(BlockError::Version(version)),
            None => return Err(BlockError::Malformed),
        }
        let block = Self::read_fields(&mut cursor).ok_or(BlockError::Malformed)?;
        let (count, at, stored_previous, hash, body) = block;
        if at != first || stored_previous != *previous {
            return Err(BlockError::Chain);
        }
        let runs = read_runs(body, usize::from(count)).ok_or(BlockError::Malformed)?;
        let leaves: Vec<Hash> = runs.iter().flat_map(|run| run.leaves.iter().copied()).collect();
        if chain_hash(previous, first, count, body, &leaves) != hash {
            return Err(BlockError::Hash);
        }
        Ok(Self { first, hash, count: u64::from(count), runs })
    }

    fn read_fields<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, u64, Hash, Hash, &'a [u8])> {
        let count = cursor.u8()?;
        let zero = cursor.u16()?;
        let (first, previous, hash) = (cursor.u64()?, cursor.array()?, cursor.array()?);
        let body = cursor.slice16()?;
        let in_range = (1..=BLOCK_MAX_EVENTS).contains(&usize::from(count)) && zero == 0;
        (in_range && cursor.is_empty()).then_some((count, first, previous, hash, body))
    }
}

fn read_runs(body: &[u8], count: usize) -> Option<Vec<Run>> {
    let mut cursor = Cursor::new(body);
    let mut runs = Vec::new();
    let mut seen = 0usize;
    while !cursor.is_empty() {
        let header = cursor.slice16()?.to_vec();
        let signature = cursor.slice16()?.to_vec();
        let record_time_ms = cursor.u64()?;
        let at = StreamAt { sequence: cursor.u64()?, time_ms: cursor.u64()? };
        let index = cursor.u16()?;
        let length = usize::from(cursor.u8()?);
        seen += length;
        if length == 0 || seen > count || usize::from(index) + length > FRAME_MAX_EVENTS {
            return None;
        }
        // In a frame's first run more are to come.
        let expected = if index == 0 { length.max(FRAME_EVENTS) } else { length };
        let bytes = cursor.clone().lengths16(length)?;
        let mut events = Events::with_capacity(expected, bytes * expected / length);
        for _ in 0..length {
            events.push(cursor.slice16()?);
        }
        let header_hash = sha256(&header);
        let leaves = event_leaves(&header_hash, u32::from(index), record_time_ms, &events);
        runs.push(Run { header, signature, record_time_ms, at, index, events, leaves });
    }
    (seen == count).then_some(runs)
}

/// Packs frames into blocks.
#[derive(Debug)]
pub(crate) struct Packer {
    previous: Hash,
    next: u64,
    open_first: u64,
    body: Vec<u8>,
    leaves: Vec<Hash>,
    done: Vec<Block>,
}

impl Packer {
    /// Goes on after a block with this hash that ended before `next`.
    pub(crate) const fn new(previous: Hash, next: u64) -> Self {
        Self { previous, next, open_first: next, body: Vec::new(), leaves: Vec::new(), done: Vec::new() }
    }

    /// Adds a whole frame.
    pub(crate) fn push(&mut self, frame: &OpenFrame, record_time_ms: u64, at: StreamAt, leaves: &[Hash]) {
        let mut index = 0;
        while index < frame.events.len() {
            // An empty block always takes one: the assertion above, for frames within the wire's limits.
            let fits = self.fitting(frame, index).max(usize::from(self.leaves.is_empty()));
            if fits == 0 {
                self.close();
                continue;
            }
            put_slice16(&mut self.body, &frame.header_bytes);
            put_slice16(&mut self.body, &frame.signature);
            put_u64(&mut self.body, record_time_ms);
            put_u64(&mut self.body, at.sequence);
            put_u64(&mut self.body, at.time_ms);
            self.body.extend_from_slice(&(index as u16).to_be_bytes());
            self.body.push(fits as u8);
            for event in frame.events.iter().skip(index).take(fits) {
                put_slice16(&mut self.body, event);
            }
            self.leaves.extend(leaves.iter().skip(index).take(fits));
            self.next += fits as u64;
            index += fits;
        }
    }

    /// How many of the frame's events from `index` on fit the open block. An empty block takes at least one.
    fn fitting(&self, frame: &OpenFrame, index: usize) -> usize {
        let fixed = RUN_OVERHEAD_BYTES + frame.header_bytes.len() + frame.signature.len();
        let mut length = self.body.len() + fixed;
        let room = BLOCK_MAX_EVENTS - self.leaves.len();
        let events = frame.events.iter().skip(index).take(room);
        events
            .take_while(|event| {
                length += 2 + event.len();
                length <= BODY_MAX_BYTES
            })
            .count()
    }

    fn close(&mut self) {
        if self.leaves.is_empty() {
            return;
        }
        let count = self.leaves.len() as u8;
        let hash = chain_hash(&self.previous, self.open_first, count, &self.body, &self.leaves);
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + self.body.len() + CRC_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, count, 0, 0]);
        put_u64(&mut bytes, self.open_first);
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&hash);
        put_slice16(&mut bytes, &self.body);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        self.done.push(Block { first: self.open_first, hash, bytes });
        self.previous = hash;
        self.open_first = self.next;
        self.body.clear();
        self.leaves.clear();
    }

    /// Hash of the last closed block.
    pub(crate) const fn previous(&self) -> Hash {
        self.previous
    }

    /// Position after everything pushed.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Closes the open block and hands out all blocks closed since the last call.
    pub(crate) fn take(&mut self) -> Vec<Block> {
        self.close();
        std::mem::take(&mut self.done)
    }
}

/// Blocks for a list of frames, the first of which follows a block with hash `previous`.
pub fn pack(previous: Hash, frames: &[AcceptedFrame]) -> Vec<Block> {
    let mut packer = Packer::new(previous, frames.first().map_or(0, |frame| frame.first));
    for frame in frames {
        packer.push(&frame.frame, frame.record_time_ms, frame.at, &frame.leaves);
    }
    packer.take()
}

/// Puts frames together again from the runs of consecutive blocks.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    open: Option<(Run, usize)>,
}

impl Assembler {
    /// Whether the last run ended a frame.
    pub(crate) const fn is_between_frames(&self) -> bool {
        self.open.is_none()
    }

    /// Takes the next run; returns the frame it completes.
    pub(crate) fn push(&mut self, run: Run) -> Result<Option<StoredFrame>, BlockError> {
        let (mut whole, total) = if let Some((mut open, total)) = self.open.take() {
            let same = open.header == run.header
                && open.signature == run.signature
                && open.record_time_ms == run.record_time_ms
                && open.at == run.at
                && open.events.len() == usize::from(run.index);
            if !same {
                return Err(BlockError::Frame);
            }
            open.events.append(&run.events);
            open.leaves.extend(run.leaves);
            (open, total)
        } else {
            let header = FrameHeader::decode(run.header.as_slice()).map_err(|_| BlockError::Frame)?;
            let total = header.event_count as usize;
            if run.index != 0 || total > FRAME_MAX_EVENTS {
                return Err(BlockError::Frame);
            }
            (run, total)
        };
        match whole.events.len() {
            have if have < total => {
                self.open = Some((whole, total));
                Ok(None)
            }
            have if have > total => Err(BlockError::Frame),
            _ => {
                let (header, signature) =
                    (std::mem::take(&mut whole.header), std::mem::take(&mut whole.signature));
                let frame =
                    OpenFrame::from_parts(header, signature, whole.events).map_err(|_| BlockError::Frame)?;
                Ok(Some(StoredFrame {
                    frame,
                    record_time_ms: whole.record_time_ms,
                    at: whole.at,
                    leaves: whole.leaves,
                }))
            }
        }
    }
}

/// Reads blocks written by [`pack`] back into frames, checking checksum, chain and wholeness.
pub fn unpack(mut previous: Hash, mut first: u64, blocks: &[Block]) -> Result<Vec<StoredFrame>, BlockError> {
    let mut assembler = Assembler::default();
    let mut frames = Vec::new();
    for block in blocks {
        let decoded = DecodedBlock::read(&block.bytes, &previous, first)?;
        (previous, first) = (decoded.hash, decoded.first + decoded.count);
        for run in decoded.runs {
            frames.extend(assembler.push(run)?);
        }
    }
    if assembler.is_between_frames() { Ok(frames) } else { Err(BlockError::Frame) }
}

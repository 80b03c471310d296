//! Frames once they have a place: as the sequencer accepts them and as segments store them.

use asterism_proto::frame::FRAME_VERSION;
use asterism_proto::hash::{Hash, event_leaves};
use asterism_proto::{Events, OpenFrame, v1};
use prost::Message;

use crate::codec::{Cursor, put_slice16, put_u64};

/// Room made for an event; most are smaller.
const EVENT_BYTES: usize = 192;

/// Where a frame stands in the stream. The stream's id is the caller's: it is of the stream, not of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamAt {
    /// The stream's own sequence.
    pub sequence: u64,
    /// The stream's timestamp, in ms since 1970.
    pub time_ms: u64,
}

/// A frame the sequencer accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedFrame {
    /// The frame.
    pub frame: OpenFrame,
    /// SHA-256 of its header bytes.
    pub header_hash: Hash,
    /// Global sequence of its first event, from 0.
    pub first: u64,
    /// The stream's time, never lower than the previous record's.
    pub record_time_ms: u64,
    /// Where it stood in the stream.
    pub at: StreamAt,
    /// Leaf hash of each event.
    pub leaves: Vec<Hash>,
}

impl AcceptedFrame {
    /// Log size after this frame.
    pub fn end(&self) -> u64 {
        self.first + self.leaves.len() as u64
    }

    /// The part that is stored; the rest follows from it and from what precedes it.
    pub fn to_stored(&self) -> StoredFrame {
        StoredFrame {
            frame: self.frame.clone(),
            record_time_ms: self.record_time_ms,
            at: self.at,
            leaves: self.leaves.clone(),
        }
    }
}

/// A frame as a segment or an archive holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFrame {
    /// The frame.
    pub frame: OpenFrame,
    /// Record time in ms.
    pub record_time_ms: u64,
    /// Where it stood in the stream.
    pub at: StreamAt,
    /// Leaf hash of each event, computed from the bytes read.
    pub(crate) leaves: Vec<Hash>,
}

impl StoredFrame {
    /// A frame with its place.
    pub fn new(frame: OpenFrame, record_time_ms: u64, at: StreamAt) -> Self {
        let leaves = event_leaves(&frame.header_hash(), 0, record_time_ms, &frame.events);
        Self { frame, record_time_ms, at, leaves }
    }

    /// Leaf hash of each event.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// Appends the frame's stored form; [`StoredFrame::decode`] reads it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_slice16(out, &self.frame.header_bytes);
        put_slice16(out, &self.frame.signature);
        put_u64(out, self.record_time_ms);
        put_u64(out, self.at.sequence);
        put_u64(out, self.at.time_ms);
        out.extend_from_slice(&(self.frame.events.len() as u16).to_be_bytes());
        for event in &self.frame.events {
            put_slice16(out, event);
        }
    }

    /// The version of a stored frame, if that is why [`StoredFrame::decode`] cannot read it.
    pub(crate) fn newer_version(bytes: &[u8]) -> Option<u32> {
        let header = Cursor::new(bytes).slice16()?;
        let version = v1::FrameHeader::decode(header).ok()?.version;
        (version > FRAME_VERSION).then_some(version)
    }

    /// Reads one frame from the beginning of the bytes; returns it and how many bytes it took. `None` if they hold
    /// no frame within the limits of the wire.
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut cursor = Cursor::new(bytes);
        let header = cursor.slice16()?.to_vec();
        let signature = cursor.slice16()?.to_vec();
        let record_time_ms = cursor.u64()?;
        let at = StreamAt { sequence: cursor.u64()?, time_ms: cursor.u64()? };
        let count = cursor.u16()?;
        if usize::from(count) > asterism_proto::frame::FRAME_MAX_EVENTS {
            return None;
        }
        let mut length = 2 + header.len() + 2 + signature.len() + 26;
        let mut events = Events::with_capacity(usize::from(count), usize::from(count) * EVENT_BYTES);
        for _ in 0..count {
            let event = cursor.slice16()?;
            length += 2 + event.len();
            events.push(event);
        }
        let frame = OpenFrame::from_parts(header, signature, events).ok()?;
        Some((Self::new(frame, record_time_ms, at), length))
    }
}

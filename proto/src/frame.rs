//! The frame: events published together, signed by their origin.
//!
//! A frame is hashed and kept as it was received; nothing here ever encodes a header twice.

use prost::Message;

use crate::events::Events;
use crate::hash::{Hash, leaf_hashes, sha256, tree_root};
use crate::key::{OriginKey, PublicKey};
use crate::origin::{Origin, OriginError};
use crate::v1;

/// The one frame version there is. A reader that meets a higher one stops.
pub const FRAME_VERSION: u32 = 1;
/// Most events in a frame.
pub const FRAME_MAX_EVENTS: usize = 256;
/// Most bytes of a whole encoded frame.
pub const FRAME_MAX_BYTES: usize = 64 * 1024;
/// Most bytes of one encoded event: a block of the log holds at least one.
pub const EVENT_MAX_BYTES: usize = 6 * 1024;
/// Most bytes of an encoded header.
pub const HEADER_MAX_BYTES: usize = 512;

/// The frame on the wire.
pub type Frame = v1::Frame;

/// Why bytes are no acceptable frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not decodable.
    #[error("the frame cannot be decoded")]
    Decode,
    /// Larger than the fixed limits.
    #[error("the frame is over a limit: {0}")]
    Limit(&'static str),
    /// A newer version: the reader must stop, not skip.
    #[error("frame version {0} is not known here, only {FRAME_VERSION}")]
    Version(u32),
    /// Header and events disagree.
    #[error("the events are not those the header names")]
    Events,
    /// The origin cannot be read.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Epoch is not 16 bytes, or number is 0.
    #[error("epoch or number is malformed")]
    Identity,
}

/// What an origin fills in before it signs.
#[derive(Debug, Clone)]
pub struct FrameDraft<'a> {
    /// The fleet whose log this is.
    pub fleet: &'a str,
    /// Who writes.
    pub origin: &'a Origin,
    /// The epoch the number counts in.
    pub epoch: [u8; 16],
    /// 1, 2, 3 ... within the epoch.
    pub number: u64,
    /// The leader's term; 0 for nodes and processes.
    pub term: u64,
    /// Log size the events were decided at.
    pub based_on: u64,
}

impl FrameDraft<'_> {
    /// Signs the events (encoded [`v1::Event`]s) into a frame and returns its bytes.
    pub fn sign(&self, key: &OriginKey, events: Vec<Vec<u8>>) -> Result<Vec<u8>, FrameError> {
        if events.is_empty() || events.len() > FRAME_MAX_EVENTS {
            return Err(FrameError::Limit("1 to 256 events"));
        }
        if events.iter().any(|event| event.len() > EVENT_MAX_BYTES) {
            return Err(FrameError::Limit("6 KiB an event"));
        }
        let header = v1::FrameHeader {
            version: FRAME_VERSION,
            fleet: self.fleet.to_owned(),
            origin: self.origin.to_string(),
            epoch: self.epoch.to_vec(),
            number: self.number,
            term: self.term,
            based_on: self.based_on,
            event_count: events.len() as u32,
            events_root: events_root(&events).to_vec(),
        }
        .encode_to_vec();
        let signature = key.sign(&header).to_vec();
        let bytes = Frame { header, signature, events }.encode_to_vec();
        if bytes.len() > FRAME_MAX_BYTES {
            return Err(FrameError::Limit("64 KiB a frame"));
        }
        Ok(bytes)
    }
}

/// A decoded frame whose parts agree with one another. The signature is checked by [`OpenFrame::signed_by`], since
/// the key comes from the log.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenFrame {
    /// The header, read.
    pub header: v1::FrameHeader,
    /// The header's bytes as received.
    pub header_bytes: Vec<u8>,
    /// The origin, read.
    pub origin: Origin,
    /// The epoch, read.
    pub epoch: [u8; 16],
    /// The signature as received.
    pub signature: Vec<u8>,
    /// The events' bytes as received.
    pub events: Events,
}

impl OpenFrame {
    /// Reads a frame from the wire.
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > FRAME_MAX_BYTES {
            return Err(FrameError::Limit("64 KiB a frame"));
        }
        if let Some((header, signature, events)) = plain_parts(bytes) {
            return Self::from_parts(header.to_vec(), signature.to_vec(), events);
        }
        let frame = Frame::decode(bytes).map_err(|_| FrameError::Decode)?;
        Self::from_parts(frame.header, frame.signature, frame.events.into())
    }

    /// Reads a frame from its three stored parts.
    pub fn from_parts(header_bytes: Vec<u8>, signature: Vec<u8>, events: Events) -> Result<Self, FrameError> {
        if header_bytes.len() > HEADER_MAX_BYTES {
            return Err(FrameError::Limit("512 bytes a header"));
        }
        let header = v1::FrameHeader::decode(header_bytes.as_slice()).map_err(|_| FrameError::Decode)?;
        if header.version != FRAME_VERSION {
            return Err(FrameError::Version(header.version));
        }
        if events.is_empty() || events.len() > FRAME_MAX_EVENTS {
            return Err(FrameError::Limit("1 to 256 events"));
        }
        if events.iter().any(|event| event.len() > EVENT_MAX_BYTES) {
            return Err(FrameError::Limit("6 KiB an event"));
        }
        if header.event_count as usize != events.len() || header.events_root != events_root(&events) {
            return Err(FrameError::Events);
        }
        let origin: Origin = header.origin.parse()?;
        let epoch: [u8; 16] = header.epoch.as_slice().try_into().map_err(|_| FrameError::Identity)?;
        if header.number == 0 {
            return Err(FrameError::Identity);
        }
        Ok(Self { header, header_bytes, origin, epoch, signature, events })
    }

    /// Its bytes as they go over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { header_bytes, signature, events, .. } = self.clone();
        Frame { header: header_bytes, signature, events: (&events).into() }.encode_to_vec()
    }

    /// SHA-256 of the header's bytes: part of each of its events' leaves.
    pub fn header_hash(&self) -> Hash {
        sha256(&self.header_bytes)
    }

    /// Whether the key signed this frame.
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.header_bytes, &self.signature)
    }

    /// `Nats-Msg-Id`: a hint for the stream's own short memory, unguessable by its epoch.
    pub fn message_id(&self) -> String {
        message_id(&self.origin, &self.epoch, self.header.number)
    }
}

/// `Nats-Msg-Id` of a frame.
pub fn message_id(origin: &Origin, epoch: &[u8; 16], number: u64) -> String {
    format!("{origin}.{}.{number}", hex::encode(epoch))
}

/// RFC 6962 root over the event bytes, so that one event can be proved to belong to a signed header.
pub fn events_root<T: AsRef<[u8]>>(events: impl IntoIterator<Item = T>) -> Hash {
    tree_root(&leaf_hashes(events))
}

/// The parts of a frame encoded as everybody encodes one: header, signature, events, nothing else and nothing twice.
/// Anything that is not just so is prost's to judge.
fn plain_parts(bytes: &[u8]) -> Option<(&[u8], &[u8], Events)> {
    let mut rest = bytes;
    let (header, signature) = (plain_field(&mut rest, 1)?, plain_field(&mut rest, 2)?);
    let mut events = Events::with_capacity(FRAME_MAX_EVENTS.min(rest.len() / 64 + 1), rest.len());
    while !rest.is_empty() {
        events.push(plain_field(&mut rest, 3)?);
    }
    Some((header, signature, events))
}

/// The bytes of a field, behind its key and a length of one to three bytes.
fn plain_field<'a>(rest: &mut &'a [u8], number: u8) -> Option<&'a [u8]> {
    let (key, mut left) = rest.split_first()?;
    if *key != number << 3 | 2 {
        return None;
    }
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte;
        (byte, left) = left.split_first()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        match byte & 0x80 {
            0 => break,
            _ if shift == 21 => return None,
            _ => {}
        }
    }
    let (field, left) = left.split_at_checked(length)?;
    *rest = left;
    Some(field)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn draft(origin: &Origin) -> FrameDraft<'_> {
        FrameDraft { fleet: "f", origin, epoch: [9; 16], number: 3, term: 2, based_on: 17 }
    }

    #[test]
    fn a_signed_frame_opens_and_a_changed_byte_does_not_pass() {
        let key = OriginKey::from_entropy([1; 32]);
        let origin = Origin::Node("i-1".into());
        let bytes = draft(&origin).sign(&key, vec![b"one".to_vec(), b"two".to_vec()]).unwrap();
        let frame = OpenFrame::read(&bytes).unwrap();
        assert!(frame.signed_by(&key.public()));
        assert_eq!(frame.message_id(), "node/i-1.09090909090909090909090909090909.3");
        for position in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[position] ^= 1;
            let passes = OpenFrame::read(&bent).is_ok_and(|frame| frame.signed_by(&key.public()));
            assert!(!passes, "a flip at byte {position} went unnoticed");
        }
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let key = OriginKey::from_entropy([1; 32]);
        let origin = Origin::Node("i-1".into());
        assert!(draft(&origin).sign(&key, vec![]).is_err());
        assert!(draft(&origin).sign(&key, vec![vec![0]; 257]).is_err());
        assert!(draft(&origin).sign(&key, vec![vec![0; EVENT_MAX_BYTES + 1]]).is_err());
        assert!(draft(&origin).sign(&key, vec![vec![0; 6000]; 12]).is_err());
        assert_eq!(OpenFrame::read(&vec![0; FRAME_MAX_BYTES + 1]), Err(FrameError::Limit("64 KiB a frame")));
    }

    /// A frame as prost reads it, and that the plain reading is the same or none.
    #[track_caller]
    fn read_alike(bytes: &[u8]) -> Option<Frame> {
        let read = Frame::decode(bytes).ok();
        if let Some((header, signature, events)) = plain_parts(bytes) {
            let plain =
                Frame { header: header.to_vec(), signature: signature.to_vec(), events: Vec::from(&events) };
            assert_eq!(Some(&plain), read.as_ref(), "{bytes:?}");
        }
        read
    }

    proptest! {
        #[test]
        fn a_frame_read_plainly_is_what_prost_reads(
            parts in (proptest::collection::vec(any::<u8>(), 0..300), proptest::collection::vec(any::<u8>(), 0..70)),
            events in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..9),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let (header, signature) = parts;
            let mut bytes = Frame { header, signature, events }.encode_to_vec();
            prop_assert!(read_alike(&bytes).is_some());
            for (at, flip) in flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= flip;
                    read_alike(&bytes);
                }
            }
        }

        #[test]
        fn short_fields_in_any_order_are_read_as_prost_reads_them(
            fields in proptest::collection::vec((1_u8..5, 0_usize..4, 0_u8..4), 0..9)
        ) {
            let mut bytes = Vec::new();
            for (number, length, padding) in fields {
                bytes.push(number << 3 | 2);
                // a length may be written in more bytes than it needs
                bytes.push(length as u8 | if padding > 0 { 0x80 } else { 0 });
                bytes.extend((1..=padding).map(|at| if at == padding { 0 } else { 0x80 }));
                bytes.extend(std::iter::repeat_n(7, length));
            }
            read_alike(&bytes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = OpenFrame::read(&bytes);
        }
    }
}

//! The seven event types the sequencer itself reads; everything else is opaque to it.

use asterism_proto::frame::OpenFrame;
use asterism_proto::v1;
use prost::Message;

use super::verdict::{Denied, RefusedReason, StopReason};

/// The one schema of these bodies there is.
const SCHEMA: u32 = 1;

/// The only field of an event that is read of every event. Bytes that do not decode are an opaque event.
#[derive(Clone, PartialEq, Message)]
struct EventKind {
    #[prost(uint32, tag = "1")]
    kind: u32,
}

/// The kind of an event; `None` if it cannot be decoded.
fn kind_of(event: &[u8]) -> Option<u32> {
    plain_kind(event).or_else(|| EventKind::decode(event).ok().map(|event| event.kind))
}

/// The kind of an event of numbers and byte strings with short keys, which is what everybody encodes. Anything else is
/// prost's to judge.
fn plain_kind(event: &[u8]) -> Option<u32> {
    let (mut rest, mut kind) = (event, 0);
    while let [key, left @ ..] = rest {
        rest = left;
        // Numbers of one byte from 1 on: the key is a byte, and what follows a varint.
        if !(0x08..0x80).contains(key) {
            return None;
        }
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let [byte, left @ ..] = rest else { return None };
            rest = left;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            // The tenth byte of a varint has rules of its own.
            if shift == 63 {
                return None;
            }
        }
        match key & 7 {
            0 if *key == 0x08 => kind = value as u32,
            0 => {}
            2 if *key != 0x0a => rest = rest.get(usize::try_from(value).ok()?..)?,
            _ => return None,
        }
    }
    Some(kind)
}

/// A decoded body of one of the log's own event types.
#[derive(Debug, Clone)]
pub(super) enum Body {
    LogCreated(v1::LogCreated),
    NodeAdmitted(v1::NodeAdmitted),
    OriginClosed(v1::OriginClosed),
    LeaderElected(v1::LeaderElected),
    Checkpoint(v1::Checkpoint),
    Continues(v1::Continues),
    FramesLost(v1::FramesLost),
}

/// One of the log's own events in a frame.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) index: u32,
    pub(super) kind: u32,
    schema: u32,
    bytes: Vec<u8>,
}

impl Control {
    /// Reads the body. Called only once the origin is known to be allowed to write it, so that a reader stops for
    /// an unknown schema only where a member of the fleet with the right to say so wrote it.
    pub(super) fn body(&self) -> Result<Body, Denied> {
        if self.schema != SCHEMA {
            return Err(Denied::Stop(StopReason::Schema { kind: self.kind, schema: self.schema }));
        }
        let bytes = self.bytes.as_slice();
        let body = match v1::EventType::try_from(self.kind.cast_signed()) {
            Ok(v1::EventType::LogCreated) => v1::LogCreated::decode(bytes).map(Body::LogCreated),
            Ok(v1::EventType::NodeAdmitted) => v1::NodeAdmitted::decode(bytes).map(Body::NodeAdmitted),
            Ok(v1::EventType::OriginClosed) => v1::OriginClosed::decode(bytes).map(Body::OriginClosed),
            Ok(v1::EventType::LeaderElected) => v1::LeaderElected::decode(bytes).map(Body::LeaderElected),
            Ok(v1::EventType::Checkpoint) => v1::Checkpoint::decode(bytes).map(Body::Checkpoint),
            Ok(v1::EventType::FramesLost) => v1::FramesLost::decode(bytes).map(Body::FramesLost),
            _ => v1::Continues::decode(bytes).map(Body::Continues),
        };
        body.map_err(|_| self.refused("the body cannot be decoded").into())
    }

    pub(super) const fn is(&self, kind: v1::EventType) -> bool {
        self.kind == kind as u32
    }

    pub(super) const fn refused(&self, why: &'static str) -> RefusedReason {
        RefusedReason::Body { index: self.index, why }
    }

    pub(super) const fn not_allowed(&self) -> RefusedReason {
        RefusedReason::NotAllowed { index: self.index, kind: self.kind }
    }
}

/// The log's own events in a frame, in order.
pub(super) fn controls(frame: &OpenFrame) -> Result<Vec<Control>, RefusedReason> {
    let mut found = Vec::new();
    for (index, bytes) in (0u32..).zip(&frame.events) {
        let Some(kind) = kind_of(bytes) else { continue };
        if (v1::EventType::LogCreated as u32..=v1::EventType::FramesLost as u32).contains(&kind) {
            let event = v1::Event::decode(bytes)
                .map_err(|_| RefusedReason::Body { index, why: "the event cannot be decoded" })?;
            found.push(Control { index, kind, schema: event.schema, bytes: event.body });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn as_prost_reads_it(event: &[u8]) {
        let read = EventKind::decode(event).ok().map(|event| event.kind);
        assert_eq!(kind_of(event), read, "{event:?}");
    }

    fn field() -> impl Strategy<Value = Vec<u8>> {
        let number = (0_u8..18, any::<u64>(), 0_u32..64).prop_map(|(field, value, bits)| {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(u64::from(field) << 3, &mut bytes);
            prost::encoding::encode_varint(value >> bits, &mut bytes);
            bytes
        });
        let text = (0_u8..18, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(field, value)| {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(u64::from(field) << 3 | 2, &mut bytes);
            prost::encoding::encode_varint(value.len() as u64, &mut bytes);
            [bytes, value].concat()
        });
        prop_oneof![number, text, proptest::collection::vec(any::<u8>(), 0..4)]
    }

    proptest! {
        #[test]
        fn the_kind_of_any_bytes_is_what_prost_reads(
            fields in proptest::collection::vec(field(), 0..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let event = fields.concat();
            as_prost_reads_it(&event);
            as_prost_reads_it(&event[..cut.index(event.len() + 1)]);
        }

        #[test]
        fn an_events_kind_is_its_own(
            kind in any::<u32>(), at in 0..1_u64 << 63, body in proptest::collection::vec(any::<u8>(), 0..9)
        ) {
            let event = v1::Event { r#type: kind, occurred_at_ms: at, body, ..v1::Event::default() }.encode_to_vec();
            prop_assert_eq!(plain_kind(&event), Some(kind));
        }
    }
}

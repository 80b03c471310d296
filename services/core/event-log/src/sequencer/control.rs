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
        let Ok(EventKind { kind }) = EventKind::decode(bytes.as_slice()) else { continue };
        if (v1::EventType::LogCreated as u32..=v1::EventType::FramesLost as u32).contains(&kind) {
            let event = v1::Event::decode(bytes.as_slice())
                .map_err(|_| RefusedReason::Body { index, why: "the event cannot be decoded" })?;
            found.push(Control { index, kind, schema: event.schema, bytes: event.body });
        }
    }
    Ok(found)
}

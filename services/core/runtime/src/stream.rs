//! What neither the stream nor this copy has comes from a ledger's copy, piece by piece, by position in the log.

use std::time::Duration;

use asterism_event_log::{StoredFrame, StreamAt};
use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::OpenFrame;
use asterism_proto::v1::{RangeReply, RangeRequest};
use prost::Message as _;

/// How long a ledger's answer may take.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before it is asked again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A piece of the log as a ledger has it.
#[derive(Debug)]
pub(crate) struct Piece {
    /// In order, from where it was asked for. Nobody has judged them here.
    pub(crate) frames: Vec<StoredFrame>,
    /// Log size of that ledger's copy.
    pub(crate) end: u64,
    /// The stream it reads.
    pub(crate) stream_id: String,
    /// Up to where: every frame of the log up to there is below `end`.
    pub(crate) stream_sequence: u64,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PieceError {
    /// No ledger answers.
    #[error("the ledger does not answer: {0}")]
    Away(String),
    /// It may have one in a moment.
    #[error("{0}")]
    Later(String),
    /// It has none.
    #[error("{0}")]
    Refused(String),
}

/// The frames from an event on, as many as fit a reply; none if that ledger's log ends there.
pub(crate) async fn piece(bus: &Bus, fleet: &str, from_event: u64) -> Result<Piece, PieceError> {
    let subject = Subject::range_request(fleet).map_err(|error| PieceError::Refused(error.to_string()))?;
    let request = RangeRequest { from_event, ..RangeRequest::default() }.encode_to_vec();
    let reply = bus.request(&subject, request, ASK_PATIENCE).await.map_err(|error| match error {
        RequestError::Service { code: 503, reason } => PieceError::Later(reason),
        RequestError::Service { reason, .. } => PieceError::Refused(reason),
        other => PieceError::Away(other.to_string()),
    })?;
    read(&reply, from_event).ok_or_else(|| PieceError::Refused("its answer cannot be read".to_owned()))
}

/// Reads a reply that moves on; the bus bounds its length.
fn read(reply: &[u8], from_event: u64) -> Option<Piece> {
    let RangeReply { frames: told, size, end, stream_id, stream_sequence, .. } =
        RangeReply::decode(reply).ok()?;
    let mut at = from_event;
    let mut frames = Vec::with_capacity(told.len());
    for told in told {
        let frame = OpenFrame::read(&told.frame).ok()?;
        at = at.saturating_add(frame.events.len() as u64);
        let place = StreamAt { sequence: told.sequence, time_ms: told.time_ms };
        frames.push(StoredFrame::new(frame, told.record_time_ms, place));
    }
    let sound = at == size && (size > from_event || end <= from_event);
    sound.then_some(Piece { frames, end, stream_id, stream_sequence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_that_does_not_move_on_or_leaves_out_something_is_none() {
        let reply = |size, end| RangeReply { size, end, ..RangeReply::default() }.encode_to_vec();
        assert!(read(&reply(7, 7), 7).is_some_and(|piece| piece.frames.is_empty()));
        assert!(read(&reply(7, 9), 7).is_none(), "there is more and none of it came");
        assert!(read(&reply(8, 9), 7).is_none(), "says more than it gives");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), from: u64) {
            let _ = read(&bytes, from);
        }
    }
}

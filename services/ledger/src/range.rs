//! Ranges of the log for copies under repair, from this process's own copy: what the stream has lost is here.
//!
//! A frame is signed by its origin, and the asker's own sequencer judges each by the same rules and compares with a
//! checkpoint; so nothing here is believed on its word. A copy that is itself in doubt gives nothing.

use asterism_nats::{ServiceError, ServiceHandle, ServiceSpec, Subject, serve as serve_requests};
use asterism_proto::v1::{RangeReply, RangeRequest};
use asterism_runtime::log::Log;
use prost::Message;

use crate::shelf::{Shelf, ShelfError};

/// Most bytes of frames in a reply; one frame always fits.
pub const RANGE_MAX_BYTES: usize = 64 * 1024;
/// Most frames in a reply.
pub const RANGE_MAX_FRAMES: usize = 256;
/// Ranges read at the same time.
const CONCURRENCY: usize = 4;
/// Longest request, in bytes.
const REQUEST_MAX_BYTES: usize = 512;

/// Answers range requests; every ledger process does, leading or not.
pub(crate) async fn serve(log: &Log) -> Result<ServiceHandle, asterism_nats::Error> {
    let spec = ServiceSpec {
        name: "asterism-ledger-range".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "frames of the log from the ledger's copy, for copies under repair".to_owned(),
        subject: Subject::range_request(log.fleet())?,
        queue: "ledger".to_owned(),
        concurrency: CONCURRENCY,
    };
    let (served, shelf) = (log.clone(), Shelf::new(log.clone()));
    serve_requests(log.bus(), spec, move |payload| {
        let (log, shelf) = (served.clone(), shelf.clone());
        async move { reply(&log, &shelf, &payload).await.map(|reply| reply.encode_to_vec()) }
    })
    .await
}

async fn reply(log: &Log, shelf: &Shelf, payload: &[u8]) -> Result<RangeReply, ServiceError> {
    let request = read_request(payload)?;
    let (end, stream_id, stream_sequence) =
        log.sequencer(|sequencer, id, read| (sequencer.size(), id.to_owned(), read));
    check(request.from_event, end)?;
    if let Some(doubt) = log.suspicion() {
        return Err(refuse(503, &format!("AST-G014: this copy has nothing to give: {doubt}")));
    }
    let mut reply =
        RangeReply { size: request.from_event, end, stream_id, stream_sequence, ..RangeReply::default() };
    if reply.size < end {
        let piece = shelf.read(request.from_event).await.map_err(|error| unreadable(&error))?;
        (reply.frames, reply.size) = piece;
    }
    Ok(reply)
}

fn read_request(payload: &[u8]) -> Result<RangeRequest, ServiceError> {
    let refused = |reason| refuse(400, reason);
    if payload.len() > REQUEST_MAX_BYTES {
        return Err(refused("AST-G010: the request is over 512 bytes"));
    }
    let request =
        RangeRequest::decode(payload).map_err(|_| refused("AST-G010: the request cannot be decoded"))?;
    if request.from > 0 {
        return Err(refused("AST-G010: ranges are asked for by position in the log, not in the stream"));
    }
    Ok(request)
}

fn check(from_event: u64, end: u64) -> Result<(), ServiceError> {
    if from_event > end {
        let reason = format!("AST-G013: the log does not reach that far: {end} events here");
        return Err(refuse(416, &reason));
    }
    Ok(())
}

fn refuse(code: u16, reason: &str) -> ServiceError {
    ServiceError { code, reason: reason.to_owned() }
}

fn unreadable(error: &ShelfError) -> ServiceError {
    let code = if matches!(error, ShelfError::Later) { 503 } else { 500 };
    refuse(code, &error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_begins_in_the_log() {
        let judged = |from| check(from, 20).err().map(|error| error.code);
        assert_eq!([judged(0), judged(19), judged(20), judged(21)], [None, None, None, Some(416)]);
        let old = RangeRequest { stream_id: "one".to_owned(), from: 1, from_event: 0 };
        assert_eq!(read_request(&old.encode_to_vec()).unwrap_err().code, 400);
        assert_eq!(read_request(&[8; 513]).unwrap_err().code, 400);
    }

    proptest! {
        #[test]
        fn any_request_is_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_request(&bytes);
        }
    }
}

//! Ranges of the stream for copies under repair.
//!
//! Served from the stream as far as this copy has read it, so a frame that never counted may be among them: the asker's
//! own sequencer judges each by the same rules and compares with a checkpoint.

use asterism_nats::stream::{self, StreamInfo};
use asterism_nats::{ServiceError, ServiceHandle, ServiceSpec, Subject, serve as serve_requests};
use asterism_proto::v1::{RangeFrame, RangeReply, RangeRequest};
use asterism_runtime::log::Log;
use prost::Message;

/// Most bytes of frames in a reply; one frame always fits.
pub const RANGE_MAX_BYTES: usize = 64 * 1024;
/// Most frames in a reply: each is a request to the stream.
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
        description: "frames of the log's stream, for copies under repair".to_owned(),
        subject: Subject::range_request(log.fleet())?,
        queue: "ledger".to_owned(),
        concurrency: CONCURRENCY,
    };
    let served = log.clone();
    serve_requests(log.bus(), spec, move |payload| {
        let log = served.clone();
        async move { reply(&log, &payload).await.map(|reply| reply.encode_to_vec()) }
    })
    .await
}

async fn reply(log: &Log, payload: &[u8]) -> Result<RangeReply, ServiceError> {
    let request = read_request(payload)?;
    let (bus, fleet) = (log.bus(), log.fleet());
    let info = stream::info(bus, fleet).await.map_err(unavailable)?;
    let read = log.sequencer(|_, _, sequence| sequence);
    check(&request, &info, read)?;
    let last = read.min(info.last_sequence);
    let mut reply = RangeReply { frames: Vec::new(), next: request.from, last };
    let mut bytes = 0;
    while reply.next <= last && reply.frames.len() < RANGE_MAX_FRAMES {
        if let Some(stored) = stream::frame_at(bus, fleet, reply.next).await.map_err(unavailable)? {
            bytes += stored.payload.len();
            if bytes > RANGE_MAX_BYTES && !reply.frames.is_empty() {
                break;
            }
            let (sequence, time_ms) = (stored.sequence, stored.time_ms);
            reply.frames.push(RangeFrame { sequence, time_ms, frame: stored.payload.into() });
        }
        reply.next += 1;
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
    if request.from == 0 { Err(refused("AST-G010: sequences begin at 1")) } else { Ok(request) }
}

fn check(request: &RangeRequest, info: &StreamInfo, read: u64) -> Result<(), ServiceError> {
    if request.stream_id != info.stream_id {
        return Err(refuse(409, "AST-G011: the stream is another one; start from the archive"));
    }
    if request.from < info.first_sequence {
        return Err(refuse(410, "AST-G012: the stream no longer has that; take it from the archive"));
    }
    if request.from > read.min(info.last_sequence) + 1 {
        return Err(refuse(416, "AST-G013: the log does not reach that far"));
    }
    Ok(())
}

fn refuse(code: u16, reason: &str) -> ServiceError {
    ServiceError { code, reason: reason.to_owned() }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape map_err takes")]
fn unavailable(error: asterism_nats::Error) -> ServiceError {
    ServiceError { code: 503, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn judged(stream_id: &str, from: u64) -> Option<u16> {
        let info = StreamInfo {
            name: "AST_demo".to_owned(),
            stream_id: "one".to_owned(),
            first_sequence: 10,
            last_sequence: 20,
            bytes: 0,
            max_bytes: 1,
            replicas: 1,
        };
        let request = RangeRequest { stream_id: stream_id.to_owned(), from };
        check(&request, &info, 18).err().map(|error| error.code)
    }

    #[test]
    fn a_range_is_of_this_stream_and_between_its_ends() {
        assert_eq!(judged("two", 12), Some(409));
        assert_eq!(judged("one", 9), Some(410));
        assert_eq!(judged("one", 10), None);
        assert_eq!(judged("one", 19), None, "the end is an empty range");
        assert_eq!(judged("one", 20), Some(416), "not read here yet");
    }

    proptest! {
        #[test]
        fn any_request_is_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_request(&bytes);
        }
    }
}

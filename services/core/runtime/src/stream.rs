//! Where the stream has lost what others have read: the frames come from a ledger's copy.

use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::v1::{RangeFrame, RangeReply, RangeRequest};
use prost::Message as _;

/// How long a ledger's answer may take.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a copy waits for a ledger that has what the stream lost.
const REFILL_PATIENCE: Duration = Duration::from_mins(1);

/// The frames the stream has lost between two sequences, from a ledger's copy that has read all of them: `from` up to
/// below `to`.
///
/// # Errors
/// AST-R025: no ledger has them.
pub(crate) async fn refill(
    bus: &Bus,
    fleet: &str,
    stream_id: &str,
    from: u64,
    to: u64,
) -> Result<Vec<RangeFrame>, String> {
    let failed = |why: &str| {
        format!(
            "AST-R025: the stream has lost {from} to {} and no ledger gives them: {why}; start the ledger, or delete the \
             stream: the ledger continues the log in a new one and what is lost is asked for again",
            to - 1
        )
    };
    let asking = async {
        let (mut next, mut frames) = (from, Vec::new());
        while next < to {
            let why = match ask(bus, fleet, stream_id, next).await {
                // A copy that has not read beyond the hole itself cannot tell what was in it.
                Ok(reply) if reply.last + 1 < to => format!("it has read up to {}", reply.last),
                Ok(reply) if reply.next <= next => "its answer does not move on".to_owned(),
                Ok(reply) => {
                    next = reply.next;
                    frames.extend(
                        reply.frames.into_iter().filter(|frame| (from..to).contains(&frame.sequence)),
                    );
                    continue;
                }
                Err(error) => error.to_string(),
            };
            tracing::warn!(from, to, why, "the stream has a hole; asking the ledger again");
            tokio::time::sleep(ASK_AGAIN).await;
        }
        frames
    };
    tokio::time::timeout(REFILL_PATIENCE, asking).await.map_err(|_| failed("not in time"))
}

async fn ask(bus: &Bus, fleet: &str, stream_id: &str, from: u64) -> Result<RangeReply, RequestError> {
    let unreadable = |reason: String| RequestError::Service { code: 500, reason };
    let subject = Subject::range_request(fleet).map_err(|error| unreadable(error.to_string()))?;
    let request = RangeRequest { stream_id: stream_id.to_owned(), from }.encode_to_vec();
    let reply = bus.request(&subject, request, ASK_PATIENCE).await?;
    RangeReply::decode(reply.as_slice()).map_err(|error| unreadable(error.to_string()))
}

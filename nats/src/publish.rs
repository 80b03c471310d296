//! Frames into the stream: one attempt with a deadline. Whoever publishes keeps the frame and repeats it with the same id
//! until it is acknowledged.

use std::time::Duration;

use asterism_proto::Origin;
use asterism_proto::frame::FRAME_MAX_BYTES;
use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use serde::Deserialize;

use crate::bus::{Bus, RequestError};
use crate::error::Error;
use crate::subject::Subject;

/// How long one attempt waits for its acknowledgement.
pub const ACK_DEADLINE: Duration = Duration::from_secs(2);

/// The server's code for a message larger than the stream takes.
const MESSAGE_TOO_LARGE: u64 = 10054;

/// The stream has the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameAck {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Whether the stream had it already, by its id.
    pub duplicate: bool,
    /// The stream that has it.
    pub stream: String,
}

/// Why a frame was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishFrameError {
    /// No acknowledgement came (deadline, nobody there, link down): the stream may have it or not. Repeat it.
    #[error("not acknowledged, outcome unknown: {0}")]
    NotAcknowledged(RequestError),
    /// The last sequence on the subject is another. Says nothing about this frame: it may itself be the last.
    #[error("another frame is the last on the subject")]
    WrongLastSequence,
    /// The stream or its disk is full. The id is not burnt: repeat it when there is room.
    #[error("the stream is full: {0}")]
    StreamFull(String),
    /// The subject could not be built.
    #[error(transparent)]
    Subject(#[from] Error),
    /// The server refused it for another reason.
    #[error("refused ({code}): {reason}")]
    Refused {
        /// The server's error code.
        code: u64,
        /// What the server said.
        reason: String,
    },
    /// The answer is no acknowledgement.
    #[error("unreadable acknowledgement: {0}")]
    Other(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Bus {
    /// Publishes a frame of an origin and waits for the stream's acknowledgement, at most [`ACK_DEADLINE`].
    ///
    /// `message_id` is origin.epoch.number, the same at every attempt. `expected_last` is the sequence of the last frame
    /// on this origin's subject (0: none), for leaders.
    pub async fn publish_frame(
        &self,
        fleet: &str,
        origin: &Origin,
        frame: Vec<u8>,
        message_id: &str,
        expected_last: Option<u64>,
    ) -> Result<FrameAck, PublishFrameError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, message_id);
        if let Some(sequence) = expected_last {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        }
        self.store_frame(fleet, origin, frame, Some(headers)).await
    }

    /// Publishes a frame that was acknowledged before, because the log misses it. It goes without its message id.
    ///
    /// The stream remembers ids for [`crate::stream::DUPLICATE_WINDOW`] and drops a frame whose id it remembers, with an
    /// acknowledgement that says `duplicate`. Measured with nats-server 2.15.1: it does so for a frame it has lost, until
    /// it is restarted, and for one it still holds behind the hole, where the log did not take it and needs it again.
    /// The sequencer drops what it has twice.
    pub async fn publish_frame_again(
        &self,
        fleet: &str,
        origin: &Origin,
        frame: Vec<u8>,
    ) -> Result<FrameAck, PublishFrameError> {
        self.store_frame(fleet, origin, frame, None).await
    }

    async fn store_frame(
        &self,
        fleet: &str,
        origin: &Origin,
        frame: Vec<u8>,
        headers: Option<HeaderMap>,
    ) -> Result<FrameAck, PublishFrameError> {
        let subject = Subject::event(fleet, origin).map_err(Error::from)?;
        if frame.len() > FRAME_MAX_BYTES {
            let reason = format!("{} bytes, a frame has at most {FRAME_MAX_BYTES}", frame.len());
            return Err(PublishFrameError::Refused { code: MESSAGE_TOO_LARGE, reason });
        }
        let answer = self
            .ask(subject.as_str(), headers, frame, ACK_DEADLINE, ACK_DEADLINE)
            .await
            .map_err(PublishFrameError::NotAcknowledged)?;
        read_answer(&answer.payload)
    }
}

fn read_answer(payload: &[u8]) -> Result<FrameAck, PublishFrameError> {
    let answer: Answer =
        serde_json::from_slice(payload).map_err(|error| PublishFrameError::Other(error.to_string()))?;
    match answer.error {
        None if answer.seq > 0 && !answer.stream.is_empty() => {
            Ok(FrameAck { sequence: answer.seq, duplicate: answer.duplicate, stream: answer.stream })
        }
        None => Err(PublishFrameError::Other("neither a sequence nor an error".to_owned())),
        Some(error) => Err(refusal(error)),
    }
}

fn refusal(error: ApiError) -> PublishFrameError {
    match error.err_code {
        10071 | 10164 => PublishFrameError::WrongLastSequence,
        // Limits of the account or server, and a store that failed to write (its limit, a full disk).
        10002 | 10023 | 10047 | 10077 => PublishFrameError::StreamFull(error.description),
        // 10158: the same id is being written right now.
        10158 => PublishFrameError::NotAcknowledged(RequestError::Other(error.description)),
        _ if error.code == 503 => PublishFrameError::NotAcknowledged(RequestError::Other(error.description)),
        code => PublishFrameError::Refused { code, reason: error.description },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_acknowledgement_gives_its_sequence() {
        let ack = read_answer(br#"{"stream":"AST_demo","seq":7,"duplicate":true}"#).unwrap();
        assert_eq!(ack, FrameAck { sequence: 7, duplicate: true, stream: "AST_demo".into() });
    }

    #[test]
    fn each_refusal_means_what_the_log_protocol_says() {
        let answer = |code: u64, err: u64| {
            read_answer(
                format!(r#"{{"error":{{"code":{code},"err_code":{err},"description":"d"}}}}"#).as_bytes(),
            )
            .unwrap_err()
        };
        assert!(matches!(answer(400, 10071), PublishFrameError::WrongLastSequence));
        assert!(matches!(answer(503, 10077), PublishFrameError::StreamFull(_)));
        assert!(matches!(answer(503, 10008), PublishFrameError::NotAcknowledged(_)));
        assert!(matches!(answer(400, 10054), PublishFrameError::Refused { code: 10054, .. }));
        assert!(matches!(read_answer(b"{}").unwrap_err(), PublishFrameError::Other(_)));
        assert!(matches!(read_answer(b"").unwrap_err(), PublishFrameError::Other(_)));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answer(&bytes);
        }
    }
}

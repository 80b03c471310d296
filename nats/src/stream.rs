//! The one stream of a fleet: its limits, its identity, and single frames of it.
//!
//! A stream that exists with other settings is explained, never deleted and never loosened. Only `max_bytes` is raised.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use asterism_proto::frame::FRAME_MAX_BYTES;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, PersistenceMode, RawMessageErrorKind};
use async_nats::jetstream::stream::{RetentionPolicy, StorageType};
use bytes::Bytes;

use crate::bus::{Bus, with_source};
use crate::error::Error;
use crate::subject::{self, Subject};

/// How long the stream keeps a frame. The ledger lengthens it while frames are unarchived.
pub const MAX_AGE: Duration = Duration::from_hours(24);
/// How long the stream remembers message ids. A hint only: the sequencer decides what is a duplicate.
pub const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
/// Room for headers beside a frame.
const HEADERS_MAX_BYTES: usize = 4 * 1024;
/// The metadata key of the stream's own id.
const ID_KEY: &str = "asterism_stream_id";

/// What to make the stream with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Bytes the stream may hold. An existing smaller stream is raised to it, a larger one is left.
    pub max_bytes: u64,
    /// Copies: 1 on one box, 3 on a cluster. Not changed on an existing stream.
    pub replicas: usize,
}

/// The stream as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Its identity: differs when it was deleted and made again, under whatever name and settings.
    pub stream_id: String,
    /// Sequence of the oldest frame it still has; last + 1 when it has none.
    pub first_sequence: u64,
    /// Sequence of the newest frame; 0 before the first.
    pub last_sequence: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Bytes it may hold.
    pub max_bytes: u64,
    /// How long it keeps a frame.
    pub max_age: Duration,
    /// Copies.
    pub replicas: usize,
}

/// A frame as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its sequence.
    pub sequence: u64,
    /// When the stream took it, in ms since 1970.
    pub time_ms: u64,
    /// Where it was published.
    pub subject: Subject,
    /// Its bytes.
    pub payload: Bytes,
}

/// Makes the fleet's stream with one copy, or checks the one that is there. See [`ensure_stream_with`].
pub async fn ensure_stream(bus: &Bus, fleet: &str, max_bytes: u64) -> Result<StreamInfo, Error> {
    ensure_stream_with(bus, fleet, &StreamSpec { max_bytes, replicas: 1 }).await
}

/// Makes the fleet's stream, or checks the one that is there and raises its `max_bytes` if it is smaller.
///
/// # Errors
/// AST-N020 it exists with other settings, AST-N021 the server refuses it, AST-N022 no answer (repeat).
pub async fn ensure_stream_with(bus: &Bus, fleet: &str, spec: &StreamSpec) -> Result<StreamInfo, Error> {
    let wanted = config(fleet, spec)?;
    let info = match bus.jetstream.get_stream(&wanted.name).await {
        Ok(stream) => stream.cached_info().clone(),
        Err(error) if is_not_found(&error) => match bus.jetstream.create_stream(wanted.clone()).await {
            Ok(stream) => stream.cached_info().clone(),
            // Two processes start at once: the other one made it. Anything else is said again by the next request.
            Err(error) => match bus.jetstream.get_stream(&wanted.name).await {
                Ok(stream) => stream.cached_info().clone(),
                Err(_) => return Err(create_error(&wanted.name, &error)),
            },
        },
        Err(error) => return Err(unavailable(&wanted.name, &error)),
    };
    let differences = differences(&info.config, &wanted);
    if !differences.is_empty() {
        return Err(Error::StreamDiffers { stream: wanted.name, differences });
    }
    if info.config.max_bytes >= wanted.max_bytes {
        return Ok(stream_info(&info));
    }
    let raised = Config { max_bytes: wanted.max_bytes, ..info.config };
    bus.jetstream
        .update_stream(raised)
        .await
        .map(|info| stream_info(&info))
        .map_err(|error| Error::StreamRefused { stream: wanted.name.clone(), reason: with_source(&error) })
}

/// Sets how long the stream keeps a frame, at least [`MAX_AGE`]. `false`: it was so already.
///
/// # Errors
/// AST-N021 the server refuses it, AST-N022 no answer (repeat).
pub async fn keep_for(bus: &Bus, fleet: &str, age: Duration) -> Result<bool, Error> {
    let name = subject::stream_name(fleet)?;
    let stream = bus.jetstream.get_stream(&name).await.map_err(|error| unavailable(&name, &error))?;
    let config = stream.cached_info().config.clone();
    let max_age = age.max(MAX_AGE);
    if config.max_age == max_age {
        return Ok(false);
    }
    let changed = bus.jetstream.update_stream(Config { max_age, ..config }).await;
    changed.map(|_| true).map_err(|error| Error::StreamRefused { stream: name, reason: with_source(&error) })
}

/// The stream as it is now.
///
/// # Errors
/// AST-N022: no such stream, or no answer.
pub async fn info(bus: &Bus, fleet: &str) -> Result<StreamInfo, Error> {
    let name = subject::stream_name(fleet)?;
    match bus.jetstream.get_stream(&name).await {
        Ok(stream) => Ok(stream_info(stream.cached_info())),
        Err(error) => Err(unavailable(&name, &error)),
    }
}

/// The frame stored at a sequence; `None` when the stream has none there (aged out, lost, or not yet written).
///
/// # Errors
/// AST-N022: no such stream, or no answer.
pub async fn frame_at(bus: &Bus, fleet: &str, sequence: u64) -> Result<Option<StoredFrame>, Error> {
    let name = subject::stream_name(fleet)?;
    let stream = bus.jetstream.get_stream_no_info(&name).await.map_err(|error| unavailable(&name, &error))?;
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(StoredFrame {
            sequence: message.sequence,
            time_ms: time_ms(message.time.unix_timestamp_nanos()),
            subject: Subject::received(&message.subject),
            payload: message.payload,
        })),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unavailable(&name, &error)),
    }
}

/// Milliseconds since 1970 of a server's nanoseconds.
pub(crate) fn time_ms(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}

fn config(fleet: &str, spec: &StreamSpec) -> Result<Config, Error> {
    let name = subject::stream_name(fleet)?;
    let max_bytes =
        i64::try_from(spec.max_bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(|| Error::Config {
            key: "nats.stream_max_bytes",
            value: spec.max_bytes.to_string(),
            reason: "expected 1 to 2^63-1".to_owned(),
        })?;
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|error| Error::StreamRefused {
        stream: name.clone(),
        reason: format!("no randomness for its id: {error}"),
    })?;
    Ok(Config {
        subjects: vec![Subject::events(fleet)?.as_str().to_owned()],
        description: Some(format!("every event of fleet {fleet}")),
        name,
        max_bytes,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        discard: DiscardPolicy::New,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        max_age: MAX_AGE,
        max_message_size: i32::try_from(FRAME_MAX_BYTES + HEADERS_MAX_BYTES).unwrap_or(i32::MAX),
        num_replicas: spec.replicas.max(1),
        duplicate_window: DUPLICATE_WINDOW,
        allow_rollup: false,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        metadata: HashMap::from([(ID_KEY.to_owned(), hex::encode(id))]),
        ..Config::default()
    })
}

/// What makes the existing stream unfit, as `name: is X, needs Y` separated by semicolons; empty when it is fit.
fn differences(is: &Config, needs: &Config) -> String {
    let mut text = String::new();
    let mut differ = |name: &str, is: &dyn std::fmt::Debug, needs: &dyn std::fmt::Debug| {
        let (is, needs) = (format!("{is:?}"), format!("{needs:?}"));
        if is != needs {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{name}: is {is}, needs {needs}");
        }
    };
    differ("subjects", &is.subjects, &needs.subjects);
    differ("storage", &is.storage, &needs.storage);
    differ("retention", &is.retention, &needs.retention);
    differ("discard", &is.discard, &needs.discard);
    differ("deny_delete", &is.deny_delete, &needs.deny_delete);
    differ("deny_purge", &is.deny_purge, &needs.deny_purge);
    differ("allow_rollup_hdrs", &is.allow_rollup, &needs.allow_rollup);
    differ("allow_msg_ttl", &is.allow_message_ttl, &false);
    differ("max_msgs", &is.max_messages, &needs.max_messages);
    differ("max_msgs_per_subject", &is.max_messages_per_subject, &needs.max_messages_per_subject);
    differ("sealed", &is.sealed, &false);
    differ("no_ack", &is.no_ack, &false);
    differ("mirror", &is.mirror.is_some(), &false);
    differ("sources", &is.sources.as_ref().is_some_and(|sources| !sources.is_empty()), &false);
    differ("subject_transform", &is.subject_transform.is_some(), &false);
    differ("persist_mode async", &(is.persist_mode == Some(PersistenceMode::Async)), &false);
    differ("max_age (at least)", &is.max_age.min(needs.max_age), &needs.max_age);
    differ(
        "duplicate_window (at least)",
        &is.duplicate_window.min(needs.duplicate_window),
        &needs.duplicate_window,
    );
    let size = if is.max_message_size <= 0 { needs.max_message_size } else { is.max_message_size };
    differ("max_msg_size (at least)", &size.min(needs.max_message_size), &needs.max_message_size);
    text
}

fn stream_info(info: &Info) -> StreamInfo {
    let id = info.config.metadata.get(ID_KEY).map_or("none", String::as_str);
    let id: String = id.chars().take(64).collect();
    StreamInfo {
        name: info.config.name.clone(),
        // The creation time tells apart a stream made again by hand with copied metadata.
        stream_id: format!("{id}.{:x}", info.created.unix_timestamp_nanos()),
        first_sequence: info.state.first_sequence.max(1),
        last_sequence: info.state.last_sequence,
        bytes: info.state.bytes,
        max_bytes: u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX),
        max_age: info.config.max_age,
        replicas: info.config.num_replicas,
    }
}

fn is_not_found(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    use async_nats::jetstream::context::GetStreamErrorKind;
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.code() == 404,
        _ => false,
    }
}

fn create_error(stream: &str, error: &async_nats::jetstream::context::CreateStreamError) -> Error {
    use async_nats::jetstream::context::CreateStreamErrorKind;
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) if error.code() != 503 => {
            Error::StreamRefused { stream: stream.to_owned(), reason: error.to_string() }
        }
        _ => unavailable(stream, error),
    }
}

fn unavailable(stream: &str, error: &dyn std::error::Error) -> Error {
    Error::StreamUnavailable { stream: stream.to_owned(), reason: with_source(error) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_looser_stream_is_explained_and_a_roomier_one_is_fine() {
        let spec = StreamSpec { max_bytes: 1 << 20, replicas: 1 };
        let needs = config("demo", &spec).unwrap();
        assert_eq!(differences(&needs.clone(), &needs), "");
        let roomier = Config {
            max_age: MAX_AGE * 3,
            max_bytes: 1 << 30,
            max_message_size: -1,
            num_replicas: 3,
            ..needs.clone()
        };
        assert_eq!(differences(&roomier, &needs), "");
        let looser = Config { deny_purge: false, discard: DiscardPolicy::Old, ..needs.clone() };
        assert_eq!(
            differences(&looser, &needs),
            "discard: is Old, needs New; deny_purge: is false, needs true"
        );
    }

    #[test]
    fn two_streams_never_share_an_id() {
        let spec = StreamSpec { max_bytes: 1, replicas: 1 };
        assert_ne!(config("demo", &spec).unwrap().metadata, config("demo", &spec).unwrap().metadata);
    }
}

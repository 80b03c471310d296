//! What the sequencer says of a frame, and why.

use asterism_proto::frame::FrameError;

use crate::record::AcceptedFrame;

/// The sequencer's answer to one frame. Only `Accepted` changes the log.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // accepted is the common case and moves once
pub enum Verdict {
    /// The frame is part of the log.
    Accepted(AcceptedFrame),
    /// The origin's number was seen before.
    Duplicate,
    /// Frames of this origin are missing; it must resend from `expected`.
    Gap {
        /// The origin, spelt.
        origin: String,
        /// Its next number.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The frame has no effect.
    Refused {
        /// The origin it names, if that could be read.
        origin: Option<String>,
        /// Why.
        reason: RefusedReason,
    },
    /// The reader must stop here: it cannot know what this frame means.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

/// Why a frame has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// No frame, or over a limit.
    #[error("malformed: {0}")]
    Malformed(FrameError),
    /// Signed for another fleet.
    #[error("the frame is of another fleet")]
    WrongFleet,
    /// The log does not exist yet and this frame does not create it.
    #[error("the log has no first frame yet")]
    NotCreated,
    /// The first frame is not the configured trust anchor.
    #[error("the first frame is not the trust anchor")]
    WrongAnchor,
    /// Nobody with that name may write.
    #[error("unknown origin")]
    UnknownOrigin,
    /// The origin was closed.
    #[error("the origin is closed")]
    Closed,
    /// The signature is not by the origin's key.
    #[error("the signature is not the origin's")]
    Signature,
    /// Not the current epoch of that origin.
    #[error("not the origin's current epoch")]
    Epoch,
    /// Not the current term: a leader that was fenced, or one that was never elected.
    #[error("term {got}, the log is at {current}")]
    Term {
        /// Term the log is at.
        current: u64,
        /// Term of the frame.
        got: u64,
    },
    /// `LeaderElected` in the wrong place or with the wrong content.
    #[error("an election that breaks its rule: {0}")]
    Election(&'static str),
    /// An event of the log's own kinds that this origin may not write, or not here.
    #[error("event {index} of type {kind} is not this origin's to write")]
    NotAllowed {
        /// Index in the frame.
        index: u32,
        /// Event type number.
        kind: u32,
    },
    /// An event of the log's own kinds that cannot take effect.
    #[error("event {index} cannot take effect: {why}")]
    Body {
        /// Index in the frame.
        index: u32,
        /// Why.
        why: &'static str,
    },
    /// A fixed limit on origins is reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// A recreated stream says nothing before its `Continues`.
    #[error("before the recreated stream's first continuation")]
    BeforeContinues,
}

/// Why a reader must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// A frame version from the future.
    #[error("frame version {0} is not known here; update this program")]
    FrameVersion(u32),
    /// An event of the log's own kinds in a schema from the future.
    #[error("event type {kind} in schema {schema} is not known here; update this program")]
    Schema {
        /// Event type number.
        kind: u32,
        /// Its schema.
        schema: u32,
    },
    /// A recreated stream continues a log this copy does not have.
    #[error(
        "the stream continues a log of {theirs} events, this copy has {ours} or another root; repair the copy"
    )]
    Continues {
        /// Size the stream continues at.
        theirs: u64,
        /// Size here.
        ours: u64,
    },
}

/// Internal: every way not to be accepted. Small, so that it can be the error of a `Result`.
#[derive(Debug)]
pub(super) enum Denied {
    Duplicate,
    Gap { expected: u64, got: u64 },
    Refused(RefusedReason),
    Stop(StopReason),
}

impl From<RefusedReason> for Denied {
    fn from(reason: RefusedReason) -> Self {
        Self::Refused(reason)
    }
}

//! What the dialplan and the agent say to each other: the grammar of the step protocol.
//!
//! The dialplan loop asks "what next?" with a [`Question`] (a form posted to [`STEP_PATH`]), gets a [`Reply`] (one
//! line that holds nothing a dialplan could interpret), runs its verb and asks again. When the channel hangs up it
//! posts an [`EndReport`] to [`END_PATH`], or leaves the same text in a journal file when nobody takes it.
//! Parsing and encoding go both ways, so the agent, the simulator and the tests share one grammar.

mod form;
mod leg;
mod listened;
mod question;
mod reply;

use asterism_domain::logic::VerbError;
pub use asterism_domain::logic::{Address, Finish, LastVerb, Verb};
pub use leg::Leg;
pub use listened::{Heard, Listened};
pub use question::{EndReport, Question, is_channel_id};
pub use reply::Reply;

/// Where questions are posted.
pub const STEP_PATH: &str = "/s";
/// Where end reports are posted.
pub const END_PATH: &str = "/h_end";
/// The header that carries the shared secret of dialplan and agent.
pub const SECRET_HEADER: &str = "X-Asterism";
/// The answer to an end report that was taken.
pub const END_TAKEN: &str = "ok";

/// Longest reply, in bytes. The dialplan refuses longer ones.
pub const MAX_REPLY_BYTES: usize = 1000;
/// Longest question or end report, in bytes.
pub const MAX_BODY_BYTES: usize = 2 * 1024;
/// Most fields in a question or end report.
pub const MAX_FIELDS: usize = 32;
/// Highest step number of one call.
pub const MAX_STEP: u32 = 10_000;
/// Misses (no usable reply) after which the dialplan gives the call up: 0.3 s apart, so that calls outlive an agent that is
/// started again.
pub const MAX_MISSES: u32 = 9;
/// Longest unique id of a channel, in bytes; Asterisk's own limit.
pub const MAX_CHANNEL_ID_BYTES: usize = 149;
/// Longest flow id, in bytes.
pub const MAX_FLOW_BYTES: usize = 64;
/// Longest status of a verb, in bytes.
pub const MAX_STATUS_BYTES: usize = 32;
/// Longest result of a verb (digits, or the name of a recording), in bytes.
pub const MAX_RESULT_BYTES: usize = 192;

/// What can be wrong with a question, an end report or a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A form was longer than [`MAX_BODY_BYTES`].
    #[error("step form longer than {MAX_BODY_BYTES} bytes")]
    BodyTooLong,
    /// A form had more than [`MAX_FIELDS`] fields.
    #[error("step form with more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// A form was not `key=value&...`, or a percent escape was broken or gave something other than printable ASCII.
    #[error("step form is not form-urlencoded printable ascii")]
    BadForm,
    /// A form named a field twice.
    #[error("step form names field {0} twice")]
    Twice(&'static str),
    /// A field is missing, out of range or has a character it may not have.
    #[error("step field {0} is missing or out of range")]
    BadField(&'static str),
    /// A reply was longer than [`MAX_REPLY_BYTES`].
    #[error("reply longer than {MAX_REPLY_BYTES} bytes")]
    ReplyTooLong,
    /// A reply had a character outside `A-Za-z0-9|_/.&*#+-`.
    #[error("reply has a character outside its alphabet")]
    BadAlphabet,
    /// A reply did not have exactly 8 fields and the end mark.
    #[error("reply does not have exactly 8 fields and an end mark")]
    FieldCount,
    /// A reply was of another protocol version than 1.
    #[error("reply of another protocol version than 1")]
    BadVersion,
    /// The verb of a question or a reply is none.
    #[error(transparent)]
    Verb(#[from] VerbError),
}

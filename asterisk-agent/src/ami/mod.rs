//! A sans-IO codec for the Asterisk Manager Interface (AMI).
//!
//! Nothing in here reads a socket or a clock: bytes are pushed into a [`Decoder`] and [`Message`]s come out;
//! an [`Action`] is built, checked and turned into bytes. The agent uses it as a client, the simulator as a
//! server, so both sides of every test speak through the same bounds.
//!
//! Every limit is a constant below. What exceeds one is dropped message by message and reported as an
//! [`Error`]; the decoder then goes on at the next blank line, so one bad message never costs the connection.

mod action;
mod decoder;
mod event;
mod message;

pub use action::{Action, Originate, challenge_key};
pub use decoder::{Decoder, Item, Role};
pub use event::{Event, Kind, Status, reason};
pub use message::Message;

/// Longest line accepted from the wire, in bytes, without its line end.
pub const MAX_LINE_BYTES: usize = 4 * 1024;
/// Most headers in one message accepted from the wire.
pub const MAX_HEADERS: usize = 256;
/// Largest message accepted from the wire, in bytes, line ends included.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Longest line of an action, in bytes. Asterisk 22 reads lines into a buffer of 1,025 bytes and drops longer ones.
pub const MAX_ACTION_LINE_BYTES: usize = 1000;
/// Most headers of an action. Asterisk 22 refuses a request with 128.
pub const MAX_ACTION_HEADERS: usize = 120;

/// What can be wrong with a message or an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line on the wire was longer than [`MAX_LINE_BYTES`]; its message is dropped.
    #[error("ami line longer than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// A message on the wire had more than [`MAX_HEADERS`] headers; it is dropped.
    #[error("ami message with more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// A message on the wire was larger than [`MAX_MESSAGE_BYTES`]; it is dropped.
    #[error("ami message larger than {MAX_MESSAGE_BYTES} bytes")]
    MessageTooLarge,
    /// The first line from the server was not a banner of a manager interface.
    #[error("the peer is not an asterisk manager interface: no banner in its first line")]
    NoBanner,
    /// A header of an action had an empty name or a character outside `A-Za-z0-9-`.
    #[error("ami header name is empty or has a forbidden character")]
    BadName,
    /// A value of an action contained CR, LF or NUL, which would start another header or action.
    #[error("value of ami header {name} contains a line end or nul")]
    ForbiddenByte {
        /// The header's name.
        name: String,
    },
    /// A header line of an action was longer than [`MAX_ACTION_LINE_BYTES`].
    #[error("ami header {name} longer than {MAX_ACTION_LINE_BYTES} bytes")]
    ValueTooLong {
        /// The header's name.
        name: String,
    },
    /// Where a call goes cannot be said.
    #[error("{0}")]
    Target(String),
    /// An action had more than [`MAX_ACTION_HEADERS`] headers.
    #[error("ami action with more than {MAX_ACTION_HEADERS} headers")]
    ActionTooLong,
    /// A channel variable's name or value contained a character the dialplan would split or expand.
    #[error("channel variable {name} has a character asterisk would split or expand")]
    BadVariable {
        /// The variable's name, or `?` where the name itself is at fault.
        name: String,
    },
}

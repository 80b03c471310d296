//! The log: which frames count (sequencer), the tree over them, and the copy of them on disk.
//!
//! Reading order: [`sequencer`], [`merkle`], [`record`], [`block`], [`segment`], [`sealed`].

pub mod block;
mod codec;
mod error;
mod file_store;
mod head;
pub mod merkle;
pub mod record;
pub mod sealed;
pub mod segment;
pub mod sequencer;
mod sled_store;

pub use error::Error;
pub use record::{AcceptedFrame, StoredFrame, StreamAt};
pub use sequencer::{RefusedReason, Sequencer, SignatureCheck, StopReason, Verdict};

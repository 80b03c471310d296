//! The log: which frames count (sequencer), the tree over them, and the copy of them on disk.
//!
//! Reading order: [`sequencer`], [`merkle`], [`record`], [`block`], [`segment`], [`sealed`], [`copy`], [`reader`], [`salvage`]; then
//! [`snapshot`], [`tiles`] and [`proof`]. Every sync of the disk is in `disk`.

pub mod block;
mod codec;
pub mod copy;
#[cfg(any(test, feature = "test-util"))]
pub mod disk;
#[cfg(not(any(test, feature = "test-util")))]
mod disk;
mod error;
mod file_store;
pub mod growth;
mod head;
pub mod merkle;
pub mod proof;
pub mod reader;
pub mod record;
pub mod recut;
mod replay;
pub mod salvage;
pub mod sealed;
pub mod segment;
pub mod sequencer;
mod sled_store;
pub mod snapshot;
mod steps;
#[cfg(any(test, feature = "test-util"))]
pub mod testkit;
#[cfg(test)]
mod tests;
pub mod tiles;

pub use copy::{Copy, Durable, Opened, Suspect};
pub use error::Error;
pub use reader::LogFolder;
pub use record::{AcceptedFrame, StoredFrame, StreamAt};
pub use sequencer::{RefusedReason, Sequencer, SignatureCheck, StopReason, Verdict};

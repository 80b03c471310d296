//! Tests that cross modules.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod block;
mod copies;
mod copy;
mod damage;
mod election;
mod faults;
mod hostile;
mod lost;
mod sealed;
mod sequencer;
mod snapshot;
mod store;

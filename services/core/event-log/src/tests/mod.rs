//! Tests that cross modules.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod block;
mod copy;
mod damage;
mod election;
mod faults;
mod sequencer;
mod snapshot;
mod store;

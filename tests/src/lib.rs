//! Harness and suites: what the tests of the whole project share.
//!
//! [`tidy`] holds the house rules; [`stack`] runs the real programs as child processes, [`up`] all of them in one;
//! [`script`] does the same calls on pbx-sim and on real Asterisk ([`asterisk`]) with SIPp as the carrier ([`sipp`]);
//! [`bench`] measures.
// A harness may panic, cast and format as it likes: it runs nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic)]

pub mod api;
pub mod asterisk;
pub mod bench;
pub mod child;
pub mod clock;
pub mod commands;
pub mod crash;
pub mod disk;
pub mod rings;
pub mod script;
pub mod sipp;
pub mod stack;
pub mod survey;
pub mod tidy;
pub mod up;
pub mod wire;

//! Harness and suites: what the tests of the whole project share.
//!
//! [`tidy`] holds the house rules; [`stack`] runs the real programs as child processes;
//! [`script`] does the same calls on pbx-sim and on real Asterisk ([`asterisk`]) with SIPp as the carrier ([`sipp`]).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod asterisk;
pub mod child;
pub mod script;
pub mod sipp;
pub mod stack;
pub mod tidy;

//! Harness and suites: what the tests of the whole project share.
//!
//! [`tidy`] holds the house rules; [`stack`] runs the real programs as child processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod stack;
pub mod tidy;

//! Harness and suites: what the tests of the whole project share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod tidy;

//! The sidecar on each node: it holds the node's calls, dials what it was ordered to and tells the log what happened.
//!
//! Reading order: [`machine`] (pure: every rule of the node), [`fact`] (what it tells the log), [`spool`] (pure: facts
//! into frames), [`store`] (what survives a crash).

pub mod address;
pub mod ami;
pub mod dialplan;

pub mod bus;
pub mod clock;
pub mod config;
pub mod error;
pub mod fact;
mod files;
pub mod health;
pub mod input;
pub mod instance;
pub mod machine;
pub mod media;
pub mod notice;
pub mod pbx;
pub mod recordings;
pub mod render;
pub mod run;
pub mod shell;
pub mod spool;
pub mod step_server;
pub mod store;
pub mod trunks;

pub use error::Error;

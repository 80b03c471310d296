//! The `asterism` program: contact lists, campaigns, the fleet, the log, from a command line.
//!
//! Reading order: [`client`] (asking a role), [`ops`] (what people do, each one function), [`import`] (contact lists).

pub mod args;
pub mod bar;
pub mod client;
pub mod commands;
pub mod demo_contacts;
pub mod error;
pub mod import;
pub mod ops;
pub mod output;
pub mod up;

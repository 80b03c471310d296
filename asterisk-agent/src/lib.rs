//! The sidecar on each node.

pub mod ami;
pub mod dialplan;

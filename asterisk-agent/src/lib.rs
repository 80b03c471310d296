//! The sidecar on each node.

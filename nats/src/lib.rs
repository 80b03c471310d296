//! The only crate that speaks NATS.

//! The only owner of instances.

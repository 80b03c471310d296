//! The only owner of instances.

pub mod cloud;

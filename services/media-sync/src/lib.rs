//! Prompts to every node.

pub mod publish;

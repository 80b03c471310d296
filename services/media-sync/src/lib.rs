//! Prompts to every node.

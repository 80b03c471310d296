//! What the dialplan and the agent say to each other.

pub mod reply;

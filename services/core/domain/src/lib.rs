//! Pure decisions.

pub mod logic;

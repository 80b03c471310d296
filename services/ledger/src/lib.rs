//! Signs checkpoints, serves ranges.

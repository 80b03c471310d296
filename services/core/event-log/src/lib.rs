//! Frames, sequencer, segments, Merkle tree.

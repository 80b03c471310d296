//! A simulated Asterisk.

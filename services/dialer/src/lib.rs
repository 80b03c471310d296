//! Contacts to attempts.

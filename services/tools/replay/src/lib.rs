//! The auditor's program.

//! The asterism binary.

pub mod demo_contacts;
pub mod import;

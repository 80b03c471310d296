//! The policy lab: generated calls, a simulated fleet in virtual time, and scaling policies judged side by side.
//!
//! Nothing here touches a network, a clock or a cloud. Our policy is `asterism_domain::fleet::staffing` itself, not a
//! copy. Costs are compared with what a planner that knows every call would pay at least (`optimum`). Randomness and
//! floats are for making workloads and for printing; what decides is integers.

// Times are within years and calls within millions: the readers of files check it.
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

pub mod account;
pub mod chart;
pub mod engine;
pub mod error;
pub mod lab;
pub mod optimum;
pub mod planned;
pub mod policies;
pub mod recorded;
pub mod whatif;
pub mod workload;

pub use error::LabError;

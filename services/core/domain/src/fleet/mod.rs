//! Nodes and the instances they run on.
//!
//! ```text
//! intent requested ──NodeLaunched──▶ launched ──NodeAdmitted──▶ admitted ──NodeReady──▶ ready
//!     │ LaunchFailed(final)                                        ▲  NodeStopped ◀──▶ NodeReady
//!     ▼                                                            │
//!   failed              ready/admitted ──NodeDraining──▶ draining ─┘ NodeUndrained
//!                        draining + NodeEmpty ──NodeTerminating──▶ terminating ──▶ terminated
//!                        any, confirmed dead by the cloud ──NodeLost──▶ lost
//! ```

pub mod apply;
pub mod command;
pub mod decide;
pub mod plan;
pub mod state;

pub use command::{FleetCommand, Inventory, LaunchOutcome};
pub use plan::{FleetPolicy, FleetView, Plan, plan};
pub use state::{Admission, Fleet, Intent, IntentStatus, Node, NodeStatus};

//! Nodes and the instances they run on.
//!
//! ```text
//! intent requested ──NodeLaunched──▶ launched ──NodeAdmitted──▶ admitted ──NodeReady──▶ ready
//!     │ LaunchPlaced: asked for so, and again elsewhere while the cloud has none
//!     │ LaunchFailed(final)                                        ▲  NodeStopped ◀──▶ NodeReady
//!     ▼                                                            │
//!   failed              ready/admitted ──NodeDraining──▶ draining ─┘ NodeUndrained
//!                        draining + NodeEmpty ──NodeTerminating──▶ terminating ──▶ terminated
//!        draining + NodeUncovered, a while ago ──NodeTerminating──▶ terminating
//!              ready/draining, not heard of for too long ──NodeTerminating, cuts named──▶ terminating
//!                        any, confirmed dead by the cloud ──NodeLost──▶ lost
//! ```

pub mod addresses;
pub mod apply;
mod budget;
pub mod command;
pub mod decide;
pub mod hearing;
pub mod learnt;
mod limits;
mod meter;
mod paid;
pub mod plan;
pub mod prices;
mod probing;
mod refusing;
mod seen;
pub mod staffing;
pub mod state;

pub use addresses::{AddressPool, AddressStatus, NodeAddress};
pub use command::{Absence, FleetCommand, Inventory, LaunchOutcome};
pub use hearing::{Heard, Hearing, LEAVING_MS, Standing};
pub use limits::{FleetLimits, Limited};
pub use meter::Meter;
pub use plan::{FleetPolicy, FleetView, Plan, plan};
pub use prices::{Billing, NodePrice, PriceLine, Prices};
pub use seen::{Need, need};
pub use state::{Admission, Fleet, Intent, IntentStatus, Node, NodeStatus, Place, Placed, Uncovered};

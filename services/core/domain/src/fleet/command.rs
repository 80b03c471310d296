//! What the scaler can be asked, and what it is told.

use std::collections::BTreeMap;

use super::hearing::Hearing;
use super::plan::FleetPolicy;
use super::state::Place;
use crate::ids::{IntentId, NodeId};

/// A complete listing by the cloud: instance id to whether it is confirmed ended. A partial one is never passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Instances of this fleet and whether the cloud says they have ended.
    pub ended: BTreeMap<NodeId, bool>,
    /// Nodes of the log it does not hold, and for how long that has been so.
    pub absent: BTreeMap<NodeId, Absence>,
}

/// For how long the cloud has not listed a node. One listing proves nothing: a cloud shows things late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Absence {
    /// Complete listings in a row without it.
    pub listings: u32,
    /// Time since the first of them.
    pub ms: u64,
}

/// How the cloud answered a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LaunchOutcome {
    Launched { node: NodeId },
    Failed { code: String, reason: String, is_final: bool },
}

/// A command to the scaler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::large_enum_variant)] // the tick is the common case, and none is kept
pub enum FleetCommand {
    /// The scaler's own tick.
    Tick { policy: FleetPolicy, hearing: Hearing, inventory: Option<Inventory> },
    /// Intents are to be asked for in one request; `reason` says why not where they were asked for before.
    Place { intents: Vec<IntentId>, place: Place, reason: String },
    /// The outcome of a launch effect.
    Launch { intent: IntentId, outcome: LaunchOutcome },
    /// The outcomes of launches that were asked for together, in one commit.
    Launches { outcomes: Vec<(IntentId, LaunchOutcome)> },
    /// The cloud has given a node its address.
    Addressed { node: NodeId, address: String },
    /// The cloud has the address of a node that ends back.
    Unaddressed { node: NodeId, address: String },
    /// An agent asks to be admitted.
    Register { node: NodeId, intent: IntentId, public_key: Vec<u8>, epoch: Vec<u8> },
    /// An operator drains a node.
    Drain { node: NodeId, reason: String },
    /// An operator opens a draining node again.
    Undrain { node: NodeId, reason: String },
    /// An operator sends the fleet home.
    Stop { reason: String },
}

//! Workloads: calls that come, or wait to be made, and the fleet's facts.

mod families;
mod files;
mod generate;

use std::collections::BTreeMap;

use asterism_domain::fleet::staffing::HistoryBin;
use serde::{Deserialize, Serialize};

pub use families::{FAMILIES, Family, family};
pub use files::{read, write_result};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// A call. Its place in the list is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Inbound: when it arrives. Outbound: from when on it may start.
    pub at_ms: i64,
    /// How long it holds a slot once it has started; unknown until it ends.
    pub hold_ms: i64,
    /// Outbound: until when it must have started. Nothing: inbound.
    pub deadline_ms: Option<i64>,
}

/// Whether the carrier takes calls from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkEvent {
    /// When.
    pub t_ms: i64,
    /// `trunk_down` or `trunk_up`; known when it happens.
    pub event: TrunkChange,
}

/// What happens to the trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrunkChange {
    /// No outbound call starts.
    TrunkDown,
    /// They start again.
    TrunkUp,
}

/// A time in which the cloud has no instance to give: nothing is launched, and nothing billed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// From when on.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
}

/// A list of outbound calls, as it is known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// From when on its calls may start.
    pub open_ms: i64,
    /// Until when they must have started.
    pub deadline_ms: i64,
    /// How many.
    pub calls: u32,
}

/// Caps that lists share: those of their campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Which lists, by their deadlines.
    pub lists: Vec<i64>,
    /// Calls at once; 0 = no cap.
    pub channels: u32,
    /// Calls started in one calendar second; 0 = no cap.
    pub dials_per_s: u32,
}

/// The fleet's facts. Field names are those of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetFacts {
    /// Name of the workload.
    pub name: String,
    /// Its family.
    #[serde(default)]
    pub family: String,
    /// The seed it was made from.
    #[serde(default)]
    pub seed: u64,
    /// Cost counts to here.
    pub horizon_ms: i64,
    /// Launches are allowed so long before 0.
    pub prelaunch_ms: i64,
    /// Calls a node may hold.
    pub capacity: u32,
    /// What a boot takes as a rule: all a policy may know of it.
    pub boot_nominal_ms: i64,
    /// What each boot takes, by the node's number modulo the list's length; -1: it never comes up.
    pub boot_ms: Vec<i64>,
    /// The least that is billed for a node.
    pub min_bill_ms: i64,
    /// What a stopped instance costs of a running one, in millionths, where nodes are a warm tier; 0: they are not.
    #[serde(default)]
    pub standing_ppm: i64,
    /// Outbound calls started in one calendar second at most.
    pub dials_per_s: u32,
    /// Mean time an inbound call holds its slot, as learnt from the log.
    pub mean_inbound_hold_ms: i64,
    /// What happens to the trunk.
    #[serde(default)]
    pub events: Vec<TrunkEvent>,
    /// Lists of outbound calls.
    #[serde(default)]
    pub campaigns: Vec<List>,
    /// Times without capacity in the cloud; known when a launch is refused.
    #[serde(default)]
    pub shortages: Vec<Shortage>,
}

/// A workload.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The fleet's facts.
    pub fleet: FleetFacts,
    /// Calls by time.
    pub calls: Vec<Call>,
    /// The past week of inbound calls; empty if there is no usable past.
    pub history: Vec<HistoryBin>,
    /// When calls of the list with this deadline may start; one that is not here: at any time.
    pub hours: BTreeMap<i64, Vec<(i64, i64)>>,
    /// What several lists may do together.
    pub caps: Vec<Caps>,
    /// Outbound calls that follow others: by the one before, which it is and how long after that one's end it may start.
    pub again: BTreeMap<usize, (usize, i64)>,
    /// Expected arrivals a second, for oracles only; empty if read from files.
    pub truth: Vec<f64>,
}

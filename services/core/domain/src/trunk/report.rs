//! What a person is told of trunks: read from the state, never kept beside it.

use serde::{Deserialize, Serialize};

use super::TrunkSettings;
use super::health::BreakerState;
use crate::fleet::NodeStatus;
use crate::ids::Timestamp;
use crate::state::State;

/// A trunk as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrunkReport {
    /// Its name.
    pub trunk: String,
    /// What was set.
    pub settings: TrunkSettings,
    /// It stands in the dialer's configuration, and is changed there.
    pub configured: bool,
    /// It leads outside this machine.
    pub outside: bool,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Nodes whose PBX has it as it is set.
    pub nodes: u32,
    /// Open nodes that do not have it yet.
    pub nodes_owed: u32,
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// Why it stands so; empty while it is closed.
    pub reason: String,
    /// Open: until then.
    pub until_ms: Timestamp,
    /// Attempts in 1,000 s while it is slowed down; 0 = its full pace.
    pub per_1000_s: u32,
    /// Campaigns that have not ended and use it.
    pub campaigns: Vec<String>,
}

/// Every trunk there is.
pub fn trunks(state: &State) -> Vec<TrunkReport> {
    let report = |(name, trunk): (&String, &super::Trunk)| {
        let settings = trunk.usable()?.clone();
        let open = || {
            let nodes = state.fleet.nodes.values();
            nodes.filter(|node| matches!(node.status, NodeStatus::Admitted | NodeStatus::Ready))
        };
        let nodes = open().filter(|node| node.trunks.get(name) == Some(&trunk.revision)).count() as u32;
        let uses = state.campaigns.iter().filter(|(_, campaign)| {
            campaign.ended_at.is_none() && campaign.trunks.iter().any(|used| used == name)
        });
        let breaker = &trunk.health.breaker;
        Some(TrunkReport {
            trunk: name.clone(),
            configured: trunk.configured,
            outside: settings.is_outside(),
            settings,
            in_flight: trunk.in_flight,
            nodes,
            nodes_owed: open().count() as u32 - nodes,
            breaker: breaker.state,
            reason: breaker.reason.clone(),
            until_ms: breaker.until_ms,
            per_1000_s: trunk.health.per_1000_s,
            campaigns: uses.map(|(id, _)| id.clone()).collect(),
        })
    };
    state.trunks.iter().filter_map(report).collect()
}

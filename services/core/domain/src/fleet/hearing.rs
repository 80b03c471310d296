//! What the nodes said last, as the plan reads it: missing or old words are never good news (INV-07).

use std::collections::BTreeMap;

use super::plan::FleetPolicy;
use super::state::Node;
use crate::ids::{NodeId, Timestamp};

/// `closed_ms` of a node that its cloud takes away: no waiting helps, it is replaced at once.
pub const LEAVING_MS: u64 = u64::MAX;

/// A node's last heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How long ago it came.
    pub silent_ms: u64,
    /// For how long its heartbeats have said that it could not take calls, a drain apart; `None` if it could,
    /// [`LEAVING_MS`] if it never will again.
    pub closed_ms: Option<u64>,
}

/// The last heartbeats, and for how long they could have been heard at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// How long the asker has listened without a break. A node's silence is never longer: who was deaf knows nothing.
    pub listening_ms: u64,
    /// Nodes by their last heartbeat; a node that was never heard is absent.
    pub nodes: BTreeMap<NodeId, Heard>,
    /// The public address that each node's PBX has, by its last heartbeat; a node that named none is absent.
    pub addresses: BTreeMap<NodeId, String>,
}

/// What an open node is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes calls.
    Dials,
    /// It is heard of, cannot take calls, and is waited for: it is not replaced yet.
    Closed,
    /// It is not heard of and is waited for: counted as fully loaded, never a victim.
    Stale,
    /// It is heard of and could not take calls for too long, or is about to be taken away: to be drained and replaced.
    Shut,
    /// It is not heard of for too long: replaced, but left alone, because its calls may be alive.
    Dead,
}

impl Hearing {
    /// Whether a node was heard of lately.
    pub fn is_fresh(&self, node: &str, policy: &FleetPolicy) -> bool {
        self.nodes.get(node).is_some_and(|heard| heard.silent_ms <= policy.stale_after_ms)
    }

    /// The public address that a node was heard to have lately.
    pub fn address(&self, node: &str, policy: &FleetPolicy) -> Option<&String> {
        self.addresses.get(node).filter(|_| self.is_fresh(node, policy))
    }

    /// For how long a node has been silent while somebody listened.
    pub fn silent_ms(&self, node: &str) -> u64 {
        self.nodes.get(node).map_or(u64::MAX, |heard| heard.silent_ms).min(self.listening_ms)
    }

    /// Whether a node was not heard of for too long.
    pub fn is_dead(&self, node: &str, policy: &FleetPolicy) -> bool {
        !self.is_fresh(node, policy) && self.silent_ms(node) > policy.dead_after_ms
    }

    /// Whether a node has said that its cloud takes it away.
    pub fn is_leaving(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|heard| heard.closed_ms == Some(LEAVING_MS))
    }

    /// Whether a node is heard of and nothing keeps it from taking calls but a drain.
    pub fn could_dial(&self, id: &str, node: &Node, policy: &FleetPolicy) -> bool {
        self.is_fresh(id, policy) && self.closed_ms(id, node, 0).is_none()
    }

    /// What an open node is good for.
    pub fn standing(&self, id: &str, node: &Node, policy: &FleetPolicy, at: Timestamp) -> Standing {
        if self.is_dead(id, policy) {
            return Standing::Dead;
        }
        if !self.is_fresh(id, policy) {
            return Standing::Stale;
        }
        match self.closed_ms(id, node, at) {
            None => Standing::Dials,
            Some(ms) if ms <= policy.not_ready_grace_ms => Standing::Closed,
            Some(_) => Standing::Shut,
        }
    }

    /// For how long it cannot take calls, by its PBX in the log and by its heartbeats; the longer one counts.
    fn closed_ms(&self, id: &str, node: &Node, at: Timestamp) -> Option<u64> {
        let down = (!node.pbx_up).then(|| at.saturating_sub(node.down_since.unwrap_or(at)));
        let unaddressed = (!node.is_addressed()).then(|| at.saturating_sub(node.ready_at.unwrap_or(at)));
        down.max(unaddressed).max(self.nodes.get(id).and_then(|heard| heard.closed_ms))
    }
}

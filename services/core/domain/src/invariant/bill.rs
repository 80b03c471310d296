//! Nodes and their time, counted along a log: how many there are and what the fleet has cost is known at every position
//! without a walk over its nodes.

use crate::event::Event;
use crate::fleet::{Fleet, Node};
use crate::ids::Timestamp;

/// The nodes that run, and when they were launched, as a sum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bill {
    running: u64,
    launched_at_sum: u128,
    owed: u32,
}

impl Bill {
    /// Adds a node, if it runs.
    pub(super) fn add(&mut self, node: &Node) {
        if node.status.exists() {
            self.running = self.running.wrapping_add(1);
            self.launched_at_sum = self.launched_at_sum.wrapping_add(u128::from(node.launched_at));
        }
    }

    /// Takes out what was added. Wraps where something was changed unseen, so that the bill is wrong and not the judge.
    pub(super) fn remove(&mut self, node: &Node) {
        if node.status.exists() {
            self.running = self.running.wrapping_sub(1);
            self.launched_at_sum = self.launched_at_sum.wrapping_sub(u128::from(node.launched_at));
        }
    }

    /// What the cloud owes is counted where that can change.
    pub(super) fn intents(&mut self, fleet: &Fleet, event: &Event) {
        let about = matches!(
            event,
            Event::LaunchIntended { .. } | Event::NodeLaunched { .. } | Event::LaunchFailed { .. }
        );
        if about {
            self.owed = fleet.owed_launches().count() as u32;
        }
    }

    /// Instances there are or that are owed.
    pub(super) fn billing(&self) -> u64 {
        self.running.wrapping_add(u64::from(self.owed))
    }

    /// Node time up to a time no earlier than any launch, milliseconds.
    pub(super) fn node_ms(&self, fleet: &Fleet, at: Timestamp) -> u64 {
        let running = (u128::from(self.running) * u128::from(at)).saturating_sub(self.launched_at_sum);
        fleet.ended_node_ms.saturating_add(u64::try_from(running).unwrap_or(u64::MAX))
    }
}

//! Nodes, counted along a log: how many there are is known at every position without a walk over them. What they cost is
//! the fleet's own meter.

use crate::event::Event;
use crate::fleet::{Fleet, Node};

/// The nodes that run, and the instances the cloud owes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bill {
    running: u64,
    owed: u32,
}

impl Bill {
    /// Adds a node, if it runs.
    pub(super) fn add(&mut self, node: &Node) {
        if node.status.exists() {
            self.running = self.running.wrapping_add(1);
        }
    }

    /// Takes out what was added. Wraps where something was changed unseen, so that the bill is wrong and not the judge.
    pub(super) fn remove(&mut self, node: &Node) {
        if node.status.exists() {
            self.running = self.running.wrapping_sub(1);
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
}

//! How fast the fleet dials and how many calls it has at once, over all campaigns and trunks. The dialer's configuration says
//! it, and the log has it before anything is decided by it: whoever reads the log can judge each start.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::fleet::{Fleet, Node};
use crate::ids::Timestamp;
use crate::state::{Effectless, State};
use crate::trunk::state::keeps_pace;

/// Caps over all campaigns and trunks; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paces {
    /// Most attempts the fleet starts a second.
    pub calls_per_second: u32,
    /// Most attempts one node starts a second.
    pub node_calls_per_second: u32,
    /// Most attempts in flight.
    pub max_channels: u32,
}

/// The caps, and what has been started by them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paced {
    /// The caps.
    pub caps: Paces,
    /// Attempts that were in flight above the cap when that was lowered, and are still.
    pub above_cap: u32,
    /// Latest `not_before_ms` given out.
    pub last_start_ms: Timestamp,
}

impl Paced {
    /// Attempts the fleet may start in 1,000 s; 0 = any number.
    pub const fn per_1000_s(&self) -> u32 {
        self.caps.calls_per_second.saturating_mul(1_000)
    }

    /// The same of one node.
    pub const fn node_per_1000_s(&self) -> u32 {
        self.caps.node_calls_per_second.saturating_mul(1_000)
    }

    /// How many more attempts may be in flight.
    pub const fn room(&self, in_flight: u32) -> u32 {
        if self.caps.max_channels == 0 { u32::MAX } else { self.caps.max_channels.saturating_sub(in_flight) }
    }

    /// Counts an attempt that was put on a node.
    pub(crate) fn took(&mut self, home: &mut Node, start_ms: Timestamp) {
        self.last_start_ms = self.last_start_ms.max(start_ms);
        home.last_start_ms = home.last_start_ms.max(start_ms);
    }
}

/// What differs from what the log has.
pub(crate) fn decide(state: &State, caps: Paces) -> Vec<Event> {
    if state.fleet.paced.caps == caps {
        return Vec::new();
    }
    let Paces { calls_per_second, node_calls_per_second, max_channels } = caps;
    let reason = "as the dialer's configuration has it".to_owned();
    vec![Event::PacesSet { calls_per_second, node_calls_per_second, max_channels, reason }]
}

/// Applies [`Event::PacesSet`].
pub(crate) fn apply(fleet: &mut Fleet, event: &Event, in_flight: u32) {
    let Event::PacesSet { calls_per_second, node_calls_per_second, max_channels, .. } = event else { return };
    let (calls_per_second, node_calls_per_second) = (*calls_per_second, *node_calls_per_second);
    let max_channels = *max_channels;
    fleet.paced.caps = Paces { calls_per_second, node_calls_per_second, max_channels };
    fleet.paced.above_cap = if max_channels > 0 && in_flight > max_channels { in_flight } else { 0 };
}

/// The guard of a start, judged where it landed.
pub(crate) fn may_start(
    fleet: &Fleet,
    home: &Node,
    in_flight: u32,
    start_ms: Timestamp,
) -> Result<(), Effectless> {
    let paced = &fleet.paced;
    match () {
        () if paced.room(in_flight) == 0 => Err(Effectless::void("the fleet is at its cap")),
        () if !keeps_pace(paced.last_start_ms, start_ms, paced.per_1000_s()) => {
            Err(Effectless::void("the fleet's pace does not let it start then"))
        }
        () if !keeps_pace(home.last_start_ms, start_ms, paced.node_per_1000_s()) => {
            Err(Effectless::void("its node's pace does not let it start then"))
        }
        () => Ok(()),
    }
}

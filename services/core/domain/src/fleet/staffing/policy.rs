//! What the operator may set, and what follows from it.

use serde::{Deserialize, Serialize};

use super::fixed::ratio;
use super::history::BIN_MS;
use super::paid;

/// Boots that take so many bins of history or more are replayed well.
const REPLAYED_WELL_BINS: u64 = 3;

/// Limits and aims of staffing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffingPolicy {
    /// Calls a node may hold.
    pub capacity: u32,
    /// What a boot takes as a rule.
    pub boot_ms: u64,
    /// Mean time an inbound call holds its slot, as learnt from the log.
    pub mean_hold_ms: u64,
    /// Inbound calls that may be turned away, in millionths; the reserve is the cheapest that would have done so.
    pub blocked_target_ppm: u64,
    /// Thousandths of a standard deviation from which more calls than expected are a burst.
    pub burst_deviations_milli: u64,
    /// A node nobody needs is kept for so much of a boot, in millionths, before it goes (ski rental).
    pub hold_boots_ppm: u64,
    /// Outbound calls are to have started so long before their deadline.
    pub finish_early_ms: u64,
    /// Outbound calls started a second at most.
    pub dials_per_s: u32,
    /// Nodes there are at least, for inbound calls that nobody foresees.
    pub min_nodes: u32,
    /// Each begun hour of a node is billed.
    #[serde(default)]
    pub by_the_hour: bool,
}

impl StaffingPolicy {
    /// For nodes of a size and a boot time, everything else as measured to be good.
    pub fn new(capacity: u32, boot_ms: u64, mean_hold_ms: u64, dials_per_s: u32) -> Self {
        Self {
            capacity: capacity.max(1),
            boot_ms,
            mean_hold_ms: mean_hold_ms.max(1_000),
            blocked_target_ppm: 30,
            burst_deviations_milli: 3_500,
            hold_boots_ppm: 300_000,
            finish_early_ms: 150_000,
            dials_per_s,
            min_nodes: 0,
            by_the_hour: false,
        }
    }

    /// For how long a node launched at a time is paid for beyond now.
    pub fn paid_ms(&self, launched_ms: i64, at_ms: i64) -> u64 {
        let age = u64::try_from(at_ms - launched_ms).unwrap_or(0);
        if self.by_the_hour { paid::HOUR_MS - age % paid::HOUR_MS } else { 0 }
    }

    /// How far ahead the forecast looks: a boot, as slow as boots are.
    pub fn lead_ms(&self) -> u64 {
        self.boot_ms * 115 / 100 + 3_000
    }

    /// The share the replay of past half-minutes may turn away. The shorter boots are, the more happens within a half-minute
    /// that the replay does not see: it may turn away less.
    pub fn replay_target_ppm(&self) -> u64 {
        let whole_ms = REPLAYED_WELL_BINS * BIN_MS;
        ratio(self.blocked_target_ppm, self.boot_ms.min(whole_ms), whole_ms)
    }

    /// How long a node nobody needs is kept.
    pub fn hold_ms(&self) -> u64 {
        self.boot_ms * self.hold_boots_ppm / 1_000_000
    }

    /// A node that is not ready by then is not counted on any more.
    pub fn late_ms(&self) -> u64 {
        self.boot_ms * 125 / 100
    }

    /// A node that is not ready by then is given up.
    pub fn boot_deadline_ms(&self) -> u64 {
        self.boot_ms * 3
    }
}

//! What the log says of one trunk.

use serde::{Deserialize, Serialize};

use super::TrunkSettings;
use super::health::{BreakerState, Health};
use crate::ids::Timestamp;

/// A trunk, over all campaigns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// What was set; none in logs from before trunks were in them.
    pub settings: Option<TrunkSettings>,
    /// Names what a node renders of the settings.
    pub revision: String,
    /// It stands in the dialer's configuration, and is changed there.
    pub configured: bool,
    /// It was removed, and not set again.
    pub removed: bool,
    /// When it was set last.
    pub set_at: Timestamp,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Channels kept for them: one each, two where the call can be joined with somebody.
    pub channels: u32,
    /// Channels that were kept above the cap when that was lowered, and are still.
    pub above_cap: u32,
    /// Latest `not_before_ms` given out, for its pace.
    pub last_start_ms: Timestamp,
    /// How it does.
    pub health: Health,
}

impl Trunk {
    /// Its settings, if attempts may be put on it at all.
    pub fn usable(&self) -> Option<&TrunkSettings> {
        self.settings.as_ref().filter(|_| !self.removed)
    }

    /// Whether there is room below its cap for one more attempt that may need so many channels.
    pub fn has_room(&self, channels: u32) -> bool {
        let kept = self.channels.saturating_add(channels);
        self.usable().is_none_or(|set| set.max_channels == 0 || kept <= set.max_channels)
    }

    /// Attempts in 1,000 s it may start now: its own, or less while it is slowed down; 0 = any number.
    pub fn per_1000_s(&self) -> u32 {
        let full = self.full_per_1000_s();
        match self.health.per_1000_s {
            0 => full,
            slowed if full == 0 => slowed,
            slowed => slowed.min(full),
        }
    }

    /// Attempts in 1,000 s it may start when nothing slows it down; 0 = any number.
    pub fn full_per_1000_s(&self) -> u32 {
        self.usable().map_or(0, |set| set.calls_per_second.saturating_mul(1_000))
    }

    /// Why nothing is put on it, if so.
    pub fn closed(&self) -> Option<String> {
        if self.removed {
            return Some("it was removed".to_owned());
        }
        if self.settings.is_none() {
            return Some("it was never set".to_owned());
        }
        (self.health.breaker.state == BreakerState::Open).then(|| self.health.breaker.reason.clone())
    }
}

/// Microseconds between two starts at a pace; 0 where there is none.
pub const fn spacing_us(per_1000_s: u32) -> u64 {
    if per_1000_s == 0 { 0 } else { 1_000_000_000 / per_1000_s as u64 }
}

/// Whether a start keeps the pace: starts are known to the millisecond, so each is given the whole of it.
pub const fn keeps_pace(last_start_ms: Timestamp, start_ms: Timestamp, per_1000_s: u32) -> bool {
    per_1000_s == 0
        || last_start_ms == 0
        || start_ms.saturating_mul(1_000).saturating_add(999)
            >= last_start_ms.saturating_mul(1_000).saturating_add(spacing_us(per_1000_s))
}

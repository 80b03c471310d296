//! What the dialer runs with.

use std::collections::BTreeMap;

use asterism_domain::campaign::TrunkLimits;

/// The dialer's settings.
#[derive(Clone, Debug)]
pub struct DialerConfig {
    /// Time between ticks, at least 20.
    pub tick_ms: u64,
    /// How long an order may be carried out, at most 2,000.
    pub order_window_ms: u32,
    /// Most attempts decided in one tick.
    pub max_intents: u32,
    /// Caps of each trunk.
    pub trunks: BTreeMap<String, TrunkLimits>,
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self { tick_ms: 50, order_window_ms: 2_000, max_intents: 100, trunks: BTreeMap::new() }
    }
}

//! Time that is paid for already: with an hourly bill a node is closed towards the end of its hour, ends just before the
//! next one begins, and is opened again for nothing within it.

/// An hour.
pub const HOUR_MS: u64 = 3_600_000;
/// A node ends so long before its next hour begins: the cloud takes its time, and bills it.
pub const END_AHEAD_MS: u64 = 120_000;
/// Calls are given so many of their mean lengths to end before that.
const DRAIN_HOLDS: u64 = 4;
/// Nodes are closed so long before their hour's end at least, and at most.
const DRAIN_LEAST_MS: u64 = 5 * 60_000;
const DRAIN_MOST_MS: u64 = HOUR_MS / 2;

/// Whether closing a node nobody needs saves anything: its calls take about as long to end as it is paid for.
pub fn may_close(paid_ms: u64, holding_ms: u64) -> bool {
    let calls_ms = holding_ms.saturating_mul(DRAIN_HOLDS).clamp(DRAIN_LEAST_MS, DRAIN_MOST_MS);
    paid_ms <= calls_ms + END_AHEAD_MS
}

//! What the scaler counts.

use asterism_runtime::health::{Counter, Metrics, MetricsError};

/// Counters by what they count. Clones share them.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Calls to the cloud that launch.
    pub launches: Counter,
    /// Of these, the ones that failed.
    pub launch_failures: Counter,
    /// Calls to the cloud that end instances and failed.
    pub end_failures: Counter,
    /// Listings that failed or were not complete.
    pub list_failures: Counter,
    /// Listings that came whole by their own word and lacked nodes that were listed before.
    pub listings_in_part: Counter,
    /// Instances of the fleet that no launch intent explains, ended.
    pub orphans: Counter,
    /// Calls that give or take a public address and failed.
    pub address_failures: Counter,
    /// Orders to nodes that were not taken.
    pub order_failures: Counter,
    /// Registrations refused.
    pub registrations_refused: Counter,
}

impl Counters {
    /// Counters of a process's metrics.
    ///
    /// # Errors
    /// The process has too many metrics.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let counter = |name: &str, help| metrics.counter(&format!("asterism_scaler_{name}_total"), help);
        Ok(Self {
            launches: counter("launches", "Calls to the cloud that launch.")?,
            launch_failures: counter("launch_failures", "Launch calls that failed.")?,
            end_failures: counter("end_failures", "Terminate calls that failed.")?,
            list_failures: counter("list_failures", "Listings that failed.")?,
            listings_in_part: counter("listings_in_part", "Listings that lacked nodes listed before.")?,
            orphans: counter("orphans", "Instances that no launch intent explains, terminated.")?,
            address_failures: counter("address_failures", "Calls about public addresses that failed.")?,
            order_failures: counter("order_failures", "Orders to nodes that were not taken.")?,
            registrations_refused: counter("registrations_refused", "Registrations refused.")?,
        })
    }
}

impl Default for Counters {
    /// Counters nobody looks at.
    fn default() -> Self {
        let metrics = Metrics::default();
        Self::new(&metrics).unwrap_or_else(|_| unreachable!("an empty set of metrics takes nine"))
    }
}

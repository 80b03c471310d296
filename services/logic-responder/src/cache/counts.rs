//! How often what was kept served.

use asterism_runtime::health::{Counter, Metrics, MetricsError};

/// Each question to a back end is one of these, but [`Counts::stale`] and [`Counts::errors`], which come on top.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) hits: Counter,
    pub(super) shared_hits: Counter,
    pub(super) joined: Counter,
    pub(super) negative: Counter,
    pub(super) misses: Counter,
    pub(super) passes: Counter,
    pub(super) stale: Counter,
    pub(super) errors: Counter,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let counter =
            |name: &str, help: &str| metrics.counter(&format!("asterism_logic_cache_{name}_total"), help);
        Ok(Self {
            hits: counter("hits", "Questions answered with what this process held.")?,
            shared_hits: counter("shared_hits", "Questions answered with what memcached held.")?,
            joined: counter("joined", "Questions answered with what another one was just told.")?,
            negative: counter("negative", "Questions whose answer just before could not be used.")?,
            misses: counter("misses", "Questions asked whose answers may be kept.")?,
            passes: counter("passes", "Questions asked whose answers may not be kept, as far as is known.")?,
            stale: counter("stale", "Failures for which an answer from before stood in.")?,
            errors: counter("shared_errors", "Requests that memcached did not serve.")?,
        })
    }
}

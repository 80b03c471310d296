//! Counters and gauges by fixed names, shown as Prometheus text.
//!
//! No labels: a metric's name says what it counts. What belongs to one node, campaign or contact is in the log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What every name begins with.
const PREFIX: &str = "asterism_";
/// Most metrics of a process.
const METRICS_MAX: usize = 256;
/// Longest name, in bytes.
const NAME_MAX_BYTES: usize = 100;

/// Why a metric could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// The name is not of the form `asterism_[a-z0-9_]+`.
    #[error("metric {0:?}: expected asterism_ and then small letters, digits and _")]
    Name(String),
    /// The name is of a metric of the other kind.
    #[error("metric {0} is of another kind already")]
    Kind(String),
    /// There are too many.
    #[error("more than {METRICS_MAX} metrics")]
    TooMany,
}

/// Counts up. Clones share the count.
#[derive(Clone, Debug)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug)]
struct Metric {
    kind: Kind,
    help: String,
    value: Arc<AtomicU64>,
}

/// The metrics of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    metrics: Mutex<BTreeMap<String, Metric>>,
}

impl Metrics {
    /// The counter of this name; the same one each time. Names of counters end with `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, MetricsError> {
        self.metric(name, help, Kind::Counter).map(Counter)
    }

    /// The gauge of this name; the same one each time.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.metric(name, help, Kind::Gauge).map(Gauge)
    }

    fn metric(&self, name: &str, help: &str, kind: Kind) -> Result<Arc<AtomicU64>, MetricsError> {
        if !is_name(name) {
            return Err(MetricsError::Name(name.chars().take(NAME_MAX_BYTES).collect()));
        }
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = metrics.get(name) {
            let same = metric.kind == kind;
            return if same {
                Ok(Arc::clone(&metric.value))
            } else {
                Err(MetricsError::Kind(name.to_owned()))
            };
        }
        if metrics.len() >= METRICS_MAX {
            return Err(MetricsError::TooMany);
        }
        let value = Arc::new(AtomicU64::new(0));
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        metrics.insert(name.to_owned(), Metric { kind, help, value: Arc::clone(&value) });
        Ok(value)
    }

    /// All metrics as Prometheus text, by name.
    pub fn text(&self) -> String {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, metric) in metrics.iter() {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let (help, value) = (&metric.help, metric.value.load(Ordering::Relaxed));
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
        text
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX_BYTES
        && name.strip_prefix(PREFIX).is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_name_is_one_metric_of_one_kind() {
        let metrics = Metrics::default();
        let counter = metrics.counter("asterism_calls_total", "Calls.").unwrap();
        counter.increment();
        metrics.counter("asterism_calls_total", "Calls.").unwrap().add(2);
        assert_eq!(counter.get(), 3);
        assert!(matches!(metrics.gauge("asterism_calls_total", ""), Err(MetricsError::Kind(_))));
        metrics.gauge("asterism_nodes", "Two\nlines.").unwrap().set(4);
        assert!(metrics.text().contains("# HELP asterism_nodes Two\\nlines.\n"), "{}", metrics.text());
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        let metrics = Metrics::default();
        for bad in ["calls", "asterism_", "asterism_Calls", "asterism_calls{node=\"x\"}", "asterism_a\n"] {
            assert!(matches!(metrics.counter(bad, ""), Err(MetricsError::Name(_))), "{bad}");
        }
        for number in 0..METRICS_MAX {
            metrics.gauge(&format!("asterism_{number}"), "").unwrap();
        }
        assert_eq!(metrics.gauge("asterism_one_more", "").unwrap_err(), MetricsError::TooMany);
    }
}

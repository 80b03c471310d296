//! What a process says about itself: log lines on stderr, as text or JSON lines.
//!
//! The level comes from `ASTERISM_LOG` (for example `info,asterism_nats=debug`), else from what the process asks for.

use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The variable with the filter.
pub const LOG_VARIABLE: &str = "ASTERISM_LOG";
/// Longest field in a JSON line, in characters.
const FIELD_MAX_CHARS: usize = 4_096;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("AST-C020: {LOG_VARIABLE}: {reason}: expected a filter like info,asterism_nats=debug")]
    Filter {
        /// What is wrong.
        reason: String,
    },
    /// Logging was set up before.
    #[error("AST-C021: logging was set up twice in this process")]
    Twice,
}

/// Sets up logging for the process: once, first thing. `default_filter` holds when `ASTERISM_LOG` is not set.
pub fn init(default_filter: &str, format: Format) -> Result<(), TelemetryError> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(filter) if !filter.trim().is_empty() => filter,
        _ => default_filter.to_owned(),
    };
    let filter =
        EnvFilter::try_new(&filter).map_err(|error| TelemetryError::Filter { reason: error.to_string() })?;
    let registry = tracing_subscriber::registry().with(filter);
    let set = match format {
        Format::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(true),
            )
            .try_init(),
        Format::Json => registry.with(JsonLines).try_init(),
    };
    set.map_err(|_| TelemetryError::Twice)
}

/// One JSON object a line: time, level, target, message and fields.
struct JsonLines;

impl<S: tracing::Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        use std::io::Write;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let line = json_line(event, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        // A log that cannot be written must not stop the process.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

fn json_line(event: &tracing::Event<'_>, time_ms: u64) -> String {
    let mut fields = Fields(Map::new());
    fields.0.insert("time_ms".to_owned(), time_ms.into());
    fields.0.insert("level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
    fields.0.insert("target".to_owned(), event.metadata().target().into());
    event.record(&mut fields);
    Value::Object(fields.0).to_string()
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // The names of the line itself are not taken over by a field.
        let name = match field.name() {
            name @ ("time_ms" | "level" | "target") => format!("field_{name}"),
            name => name.to_owned(),
        };
        self.0.insert(name, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}").chars().take(FIELD_MAX_CHARS).collect::<String>().into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.chars().take(FIELD_MAX_CHARS).collect::<String>().into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Capture(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(json_line(event, 7));
        }
    }

    #[test]
    fn a_json_line_has_its_fields_and_stays_one_line() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Capture(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(node = "i-1", ringing = 3, level = "mine", "two\nlines \"quoted\"");
        });
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains('\n'));
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "two\nlines \"quoted\"");
        assert_eq!((&line["level"], &line["field_level"]), (&"warn".into(), &"mine".into()));
        assert_eq!(
            (&line["node"], &line["ringing"], &line["time_ms"]),
            (&"i-1".into(), &3.into(), &7.into())
        );
    }
}

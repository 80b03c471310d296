//! `/livez`, `/readyz` and `/metrics`, from the first moment.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::shell::Status;

/// What the node says of itself, and the checkpoint notices it did not believe.
type Shared = (watch::Receiver<Status>, Arc<AtomicU64>);

/// Answers until the listener fails.
pub async fn serve(
    listener: TcpListener,
    status: watch::Receiver<Status>,
    refused: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(async |State((status, refused)): State<Shared>| {
                metrics(&status.borrow(), refused.load(Ordering::Relaxed))
            }),
        )
        .with_state((status, refused));
    axum::serve(listener, router).await
}

async fn ready(State((status, _)): State<Shared>) -> (StatusCode, String) {
    let status = status.borrow();
    if status.state == "ready" {
        let lacks = &status.prompts_problem;
        (StatusCode::OK, if lacks.is_empty() { "ready\n".to_owned() } else { format!("ready\n{lacks}\n") })
    } else {
        let why = if status.why_not_ready.is_empty() { "starting" } else { status.why_not_ready.as_str() };
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
    }
}

/// Prometheus text.
fn metrics(status: &Status, refused: u64) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: i64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"); // a String takes all
    };
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    gauge("asterism_node_ready", "Whether the node takes calls.", i64::from(status.state == "ready"));
    gauge("asterism_node_bus_connected", "Whether the bus is connected.", i64::from(status.bus_connected));
    gauge("asterism_node_attempts_ringing", "Attempts accepted or ringing.", status.slots.ringing.into());
    gauge("asterism_node_calls_up", "Calls up.", status.slots.up.into());
    gauge("asterism_node_slots_free", "Free call slots.", status.slots.free.into());
    gauge("asterism_node_spool_frames", "Frames no checkpoint covers.", count(status.spool_frames));
    gauge("asterism_node_spool_bytes", "Bytes of the spool.", count(status.spool_bytes));
    gauge("asterism_node_clock_offset_ms", "Offset of the machine's clock, ms.", status.clock_offset_ms);
    let lacks = i64::from(!status.prompts_problem.is_empty());
    gauge("asterism_node_prompts_lacking", "Whether prompts that were ordered could not be had.", lacks);
    gauge(
        "asterism_node_recordings_unsent",
        "Recordings not known to be stored.",
        status.recordings_unsent.into(),
    );
    gauge("asterism_node_checkpoint_size", "Size of the newest checkpoint checked.", count(status.witnessed));
    gauge("asterism_node_notices_refused", "Checkpoint notices that were not believed.", count(refused));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_prometheus_text() {
        let text = metrics(&Status { state: "ready".into(), spool_bytes: 7, ..Status::default() }, 4);
        assert!(text.contains("\nasterism_node_spool_bytes 7\n"), "{text}");
        assert!(text.contains("\nasterism_node_ready 1\n"), "{text}");
        assert!(text.contains("\nasterism_node_notices_refused 4\n"), "{text}");
        assert_eq!(text.lines().count(), 36);
    }
}

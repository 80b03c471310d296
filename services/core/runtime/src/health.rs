//! How a process is: `/livez` (it runs), `/readyz` (it can work, or why not) and `/metrics` (Prometheus text), from the
//! start on.

mod metrics;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use metrics::{Counter, Gauge, Metrics, MetricsError};

/// Most named checks of a process.
const CHECKS_MAX: usize = 64;
/// Longest reason kept, in characters.
const REASON_MAX_CHARS: usize = 300;

/// Why health could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// Another process listens there.
    #[error("AST-R001: {address} is taken by another process: choose another {key} or stop it")]
    PortTaken {
        /// The address.
        address: SocketAddr,
        /// The configuration key it came from.
        key: String,
    },
    /// The address cannot be listened on.
    #[error("AST-R002: cannot listen on {address} ({source}): correct {key}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The configuration key it came from.
        key: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The named checks of a process and its metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    service: String,
    checks: Mutex<BTreeMap<String, Result<(), String>>>,
    metrics: Metrics,
}

/// What `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// The process.
    pub service: String,
    /// Whether every check is well.
    pub ready: bool,
    /// Each check: `ok`, or why not.
    pub checks: BTreeMap<String, String>,
}

impl Health {
    /// A process that waits for these checks. It is not ready until each was set well.
    pub fn new(service: &str, waits_for: &[&str]) -> Self {
        let waiting = |name: &&str| ((*name).to_owned(), Err("not yet".to_owned()));
        Self {
            shared: Arc::new(Shared {
                service: service.to_owned(),
                checks: Mutex::new(waits_for.iter().map(waiting).collect()),
                metrics: Metrics::default(),
            }),
        }
    }

    /// Sets a check well, or not with a reason in one phrase.
    pub fn set(&self, name: &str, state: Result<(), impl Into<String>>) {
        let state = state.map_err(|reason| reason.into().chars().take(REASON_MAX_CHARS).collect::<String>());
        let mut checks = self.checks();
        if checks.get(name) == Some(&state) || (checks.len() >= CHECKS_MAX && !checks.contains_key(name)) {
            return;
        }
        match &state {
            Ok(()) => tracing::info!(service = %self.shared.service, check = name, "well"),
            Err(reason) => tracing::warn!(service = %self.shared.service, check = name, reason, "not well"),
        }
        checks.insert(name.to_owned(), state);
    }

    /// Whether every check is well.
    pub fn is_ready(&self) -> bool {
        self.checks().values().all(Result::is_ok)
    }

    /// Every check, as `/readyz` says it.
    pub fn readiness(&self) -> Readiness {
        let checks = self.checks();
        Readiness {
            service: self.shared.service.clone(),
            ready: checks.values().all(Result::is_ok),
            checks: checks
                .iter()
                .map(|(name, state)| (name.clone(), state.clone().err().unwrap_or_else(|| "ok".to_owned())))
                .collect(),
        }
    }

    /// The process' metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<String, Result<(), String>>> {
        self.shared.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts answering on an address. `key` is the configuration key the address came from, for messages.
    ///
    /// # Errors
    /// AST-R001 the port is taken, AST-R002 the address cannot be used.
    pub async fn serve(&self, address: SocketAddr, key: &str) -> Result<HealthServer, HealthError> {
        let listen = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => HealthError::PortTaken { address, key: key.to_owned() },
            _ => HealthError::Listen { address, key: key.to_owned(), source },
        };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        tracing::info!(service = %self.shared.service, %address, "health is served");
        let router = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .with_state(self.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "health is no longer served");
            }
        });
        Ok(HealthServer { address, task })
    }
}

/// A served health page. Dropping it stops it.
#[derive(Debug)]
pub struct HealthServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HealthServer {
    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn metrics_text(State(health): State<Health>) -> Response {
    let ready = u64::from(health.is_ready());
    let text = format!(
        "{}# HELP asterism_ready Whether every check of the process is well.\n# TYPE asterism_ready gauge\nasterism_ready {ready}\n",
        health.metrics().text()
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_process_lives_from_the_start_and_is_ready_when_every_check_is_well() {
        let health = Health::new("dialer", &["nats", "log"]);
        let server = health.serve("127.0.0.1:0".parse().unwrap(), "dialer.http_listen").await.unwrap();
        assert!(fetch(server.address(), "/livez").await.starts_with("HTTP/1.1 200"));

        health.set("nats", Ok::<(), String>(()));
        let answer = fetch(server.address(), "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.ends_with(r#"{"service":"dialer","ready":false,"checks":{"log":"not yet","nats":"ok"}}"#)
        );
        health.set("log", Ok::<(), String>(()));
        assert!(fetch(server.address(), "/readyz").await.starts_with("HTTP/1.1 200"));
        health.set("nats", Err("the link is down"));
        assert!(fetch(server.address(), "/readyz").await.contains(r#""nats":"the link is down""#));
        assert!(fetch(server.address(), "/else").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let health = Health::new("dialer", &[]);
        health.metrics().counter("asterism_dialer_orders_total", "Orders sent.").unwrap().add(3);
        let server = health.serve("127.0.0.1:0".parse().unwrap(), "dialer.http_listen").await.unwrap();
        let answer = fetch(server.address(), "/metrics").await;
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        assert!(
            answer.contains("# TYPE asterism_dialer_orders_total counter\nasterism_dialer_orders_total 3\n")
        );
        assert!(answer.ends_with("asterism_ready 1\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_key() {
        let health = Health::new("dialer", &[]);
        let server = health.serve("127.0.0.1:0".parse().unwrap(), "x").await.unwrap();
        let error = health.serve(server.address(), "dialer.http_listen").await.unwrap_err().to_string();
        assert!(error.starts_with("AST-R001: 127.0.0.1:") && error.contains("dialer.http_listen"), "{error}");
    }

    #[test]
    fn reasons_are_cut_and_checks_are_bounded() {
        let health = Health::new("x", &[]);
        for number in 0..100 {
            health.set(&format!("check {number}"), Err("y".repeat(1_000)));
        }
        let readiness = health.readiness();
        assert_eq!(readiness.checks.len(), CHECKS_MAX);
        assert!(readiness.checks.values().all(|reason| reason.len() == REASON_MAX_CHARS));
    }
}

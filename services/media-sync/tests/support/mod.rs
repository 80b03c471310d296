//! A real nats-server, a key folder, and processes that each have a copy of the log of their own.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;
use std::time::Duration;

use asterism_nats::server::find_binary;
use asterism_nats::{Bus, LeaseTiming, NatsServer};
use asterism_runtime::keys::Keyring;
use asterism_runtime::leader::now_ms;
use asterism_runtime::log::{Log, LogConfig};
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;

pub const FLEET: &str = "demo";
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Fixture {
    pub server: NatsServer,
    pub keyring: Keyring,
    pub dir: tempfile::TempDir,
}

impl Fixture {
    pub async fn start() -> Self {
        let binary = find_binary().expect(
            "no nats-server: set ASTERISM_NATS_SERVER, put one on PATH, or run tests/setup/nats-server.sh",
        );
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        let keyring = Keyring::init(&dir.path().join("keys"), FLEET, now_ms()).unwrap();
        Self { server, keyring, dir }
    }

    pub async fn service(&self, name: &str) -> Bus {
        Bus::connect(&self.server.service(name).unwrap()).await.unwrap()
    }

    /// What one process has: a connection and a copy.
    pub async fn process(&self, name: &str) -> Deps {
        let bus = self.service(name).await;
        let config = LogConfig {
            fleet: FLEET.to_owned(),
            dir: self.dir.path().join("log").join(name),
            anchor: self.keyring.anchor(),
            first_frame: self.keyring.first_frame().to_vec(),
            stream_max_bytes: 64 * 1024 * 1024,
        };
        let log = within("open the log", Box::pin(Log::open(config, bus.clone()))).await.unwrap();
        Deps {
            bus,
            log,
            keyring: self.keyring.clone(),
            holder: name.to_owned(),
            lease_timing: LeaseTiming::faster(10),
            shutdown: Shutdown::new(),
        }
    }
}

/// Fails the test when something takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}")
    };
    value
}

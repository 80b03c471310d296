//! A real nats-server in a folder that goes away, and waiting with a deadline.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::match_wild_err_arm)]

use std::future::Future;
use std::time::Duration;

use asterism_nats::server::find_binary;
use asterism_nats::stream::{StreamInfo, ensure_stream};
use asterism_nats::{Bus, NatsServer, Reader, ReaderEvent};
use asterism_proto::{Origin, Role};

/// The fleet of every test: each test has a server of its own.
pub const FLEET: &str = "demo";
/// Room for every test's frames.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server and its folder.
pub struct Fixture {
    pub server: NatsServer,
    pub dir: tempfile::TempDir,
}

impl Fixture {
    pub async fn start() -> Self {
        let binary = find_binary().expect(
            "no nats-server: set ASTERISM_NATS_SERVER, put one on PATH, or run tests/setup/nats-server.sh",
        );
        let dir = tempfile::tempdir().unwrap();
        let server = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        Self { server, dir }
    }

    pub async fn service(&self, name: &str) -> Bus {
        Bus::connect(&self.server.service(name).unwrap()).await.unwrap()
    }

    pub async fn node(&self, name: &str) -> Bus {
        Bus::connect(&self.server.node(name).unwrap()).await.unwrap()
    }

    /// A service's connection with the stream made.
    pub async fn with_stream(&self) -> (Bus, StreamInfo) {
        let bus = self.service("first").await;
        let info = ensure_stream(&bus, FLEET, MAX_BYTES).await.unwrap();
        (bus, info)
    }
}

/// A client without our guards, as a careless or hostile process would use, with the rights of a service.
pub async fn raw_client(fixture: &Fixture) -> async_nats::Client {
    raw_client_as(fixture.server.service("raw").unwrap()).await
}

/// The same with the rights of any user.
pub async fn raw_client_as(config: asterism_nats::BusConfig) -> async_nats::Client {
    async_nats::ConnectOptions::new()
        .user_and_password(config.user.unwrap(), config.password.unwrap().reveal().to_owned())
        .custom_inbox_prefix(&config.inbox_prefix)
        .connect(&config.url)
        .await
        .unwrap()
}

/// The origin most tests write as.
pub fn dialer() -> Origin {
    Origin::Role(Role::Dialer)
}

/// Fails the test when something takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// The next frame of a reader, without the other events.
pub async fn next_frame(reader: &mut Reader) -> (u64, Vec<u8>) {
    loop {
        match within("a frame", reader.next()).await {
            ReaderEvent::Message { sequence, payload, .. } => return (sequence, payload.to_vec()),
            ReaderEvent::CaughtUp { .. } => {}
            ReaderEvent::Incident(incident) => panic!("{incident}"),
        }
    }
}

/// Publishes until it is acknowledged, as an origin does.
pub async fn publish_until_acknowledged(bus: &Bus, frame: &[u8], id: &str) -> u64 {
    let repeat = async {
        loop {
            match bus.publish_frame(FLEET, &dialer(), frame.to_vec(), id, None).await {
                Ok(ack) => return ack.sequence,
                Err(asterism_nats::PublishFrameError::NotAcknowledged(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    within("an acknowledgement", repeat).await
}

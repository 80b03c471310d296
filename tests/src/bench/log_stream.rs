//! What the log benches with a real server share: a fresh stream at `sync_interval: always`, and a bare publisher.

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use asterism_nats::server::{SyncInterval, find_binary};
use asterism_nats::stream::ensure_stream;
use asterism_nats::{Bus, NatsServer, Subject};
use asterism_proto::OpenFrame;
use async_nats::jetstream::{
    self,
    consumer::{Consumer, pull},
};

use super::corpus::FLEET;
use super::report::scratch;

/// Acknowledgements a publisher waits for at once, on both sides of every ratio.
pub const IN_FLIGHT: usize = 256;
/// Far more than a bench writes.
const STREAM_MAX_BYTES: u64 = 1 << 30;

/// A server of its own with the fleet's stream, empty.
pub struct Stream {
    /// A service's connection.
    pub bus: Bus,
    jetstream: jetstream::Context,
    name: String,
    _server: NatsServer,
    // Last, so that the server is gone before its folder is.
    dir: tempfile::TempDir,
}

/// Frames as they are published: subject and bytes.
pub type Published = Vec<(String, bytes::Bytes)>;

/// Names the subject of each frame.
pub fn addressed(frames: &[Vec<u8>]) -> anyhow::Result<Published> {
    let address = |bytes: &Vec<u8>| {
        let subject = Subject::event(FLEET, &OpenFrame::read(bytes)?.origin)?;
        Ok((subject.to_string(), bytes.clone().into()))
    };
    frames.iter().map(address).collect()
}

impl Stream {
    /// Starts the server and makes the stream.
    pub async fn start() -> anyhow::Result<Self> {
        let dir = scratch()?;
        let binary = find_binary().context("no nats-server: run tests/setup/nats-server.sh")?;
        let server =
            NatsServer::start_with(&binary, &dir.path().join("nats"), None, SyncInterval::Always).await?;
        let config = server.service("bench")?;
        let bus = Bus::connect(&config).await?;
        let name = ensure_stream(&bus, FLEET, STREAM_MAX_BYTES).await?.name;
        let (user, password) = (config.user.clone(), config.password.as_ref());
        let password = password.context("no password")?.reveal().to_owned();
        let options = async_nats::ConnectOptions::with_user_and_password(user.context("no user")?, password);
        let jetstream = jetstream::new(options.connect(&config.url).await?);
        Ok(Self { bus, jetstream, name, _server: server, dir })
    }

    /// A bare consumer of the stream.
    pub async fn consumer(&self, config: pull::Config) -> anyhow::Result<Consumer<pull::Config>> {
        Ok(self.jetstream.create_consumer_on_stream(config, &self.name).await?)
    }

    /// The folder on the disk that is measured.
    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Publishes all messages with [`IN_FLIGHT`] acknowledgements open, and waits for every one of them.
    pub async fn publish(&self, messages: &Published) -> anyhow::Result<()> {
        let mut open = VecDeque::new();
        let mut last = 0;
        for (subject, payload) in messages {
            if open.len() == IN_FLIGHT
                && let Some(oldest) = open.pop_front()
            {
                last = acknowledged(oldest).await?;
            }
            let ack = self.jetstream.publish(subject.clone(), payload.clone()).await?;
            open.push_back(ack);
        }
        for ack in open {
            last = acknowledged(ack).await?;
        }
        ensure!(last == messages.len() as u64, "{last} of {} frames are in the stream", messages.len());
        Ok(())
    }
}

async fn acknowledged(ack: jetstream::context::PublishAckFuture) -> anyhow::Result<u64> {
    Ok(ack.await?.sequence)
}

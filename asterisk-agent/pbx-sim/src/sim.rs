//! The simulated node as a value: start it, ask where it listens, stop it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Error;
use crate::callees::Callees;
use crate::channel::{ChannelState, ChannelTable};
use crate::endpoints::Endpoints;
use crate::event::{Bus, Events};
use crate::recorder::{RecorderClient, is_node};
use crate::session;
use crate::step::StepServer;

/// How long hung-up channels have to report their end when the node stops.
const STOP_DEADLINE: Duration = Duration::from_millis(1100);

/// How a simulated node runs.
#[derive(Clone)]
pub struct SimConfig {
    /// Where AMI listens; port 0 takes a free one. Loopback, as the agent requires.
    pub ami_listen: SocketAddr,
    /// The one AMI user.
    pub ami_user: String,
    /// Its secret.
    pub ami_secret: String,
    /// The agent's step server, `http://ADDRESS:PORT`.
    pub step_url: String,
    /// The secret sent with each question.
    pub step_secret: String,
    /// The carrier recorder; without one no ring is reported.
    pub carrier: Option<SocketAddr>,
    /// The node's name, `SystemName` in events.
    pub node: String,
    /// Trunks that exist; empty means any.
    pub trunks: Vec<String>,
    /// File with the endpoints the agent wrote, in Asterisk's own form; read at start and on `Reload`. While it is not
    /// there, every trunk exists.
    pub trunks_file: Option<PathBuf>,
    /// Where end reports go that nobody took; created if absent.
    pub journal_dir: Option<PathBuf>,
    /// Where recordings go; created if absent. Without one `record` fails.
    pub recordings_dir: Option<PathBuf>,
    /// Folder of the sounds, in which a prompt is `en/NAME.ulaw`; without one every prompt is there.
    pub sounds_dir: Option<PathBuf>,
    /// Divides every duration of the simulated world; deadlines of real sockets stay. 1 but in tests.
    pub clock_scale: NonZeroU32,
}

/// Shows no secret.
impl std::fmt::Debug for SimConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimConfig")
            .field("ami_listen", &self.ami_listen)
            .field("ami_user", &self.ami_user)
            .field("step_url", &self.step_url)
            .field("carrier", &self.carrier)
            .field("node", &self.node)
            .field("trunks", &self.trunks)
            .field("journal_dir", &self.journal_dir)
            .field("recordings_dir", &self.recordings_dir)
            .field("sounds_dir", &self.sounds_dir)
            .field("clock_scale", &self.clock_scale)
            .finish_non_exhaustive()
    }
}

impl SimConfig {
    /// Whether a prompt could be played.
    pub(crate) fn has_prompt(&self, name: &str) -> bool {
        self.sounds_dir.as_ref().is_none_or(|sounds| sounds.join("en").join(format!("{name}.ulaw")).is_file())
    }
}

/// What every task of a node shares.
pub(crate) struct Ctx {
    pub(crate) config: SimConfig,
    pub(crate) callees: Callees,
    pub(crate) channels: ChannelTable,
    pub(crate) bus: Bus,
    pub(crate) events: Events,
    pub(crate) step: StepServer,
    pub(crate) recorder: Option<RecorderClient>,
    pub(crate) started: SystemTime,
    pub(crate) stopping: AtomicBool,
    pub(crate) endpoints: Endpoints,
}

/// A running simulated node. Dropping it stops listening; calls that are up go on until they end.
pub struct Sim {
    addr: SocketAddr,
    ctx: Arc<Ctx>,
    accept: JoinHandle<()>,
}

impl Sim {
    /// Checks the configuration and starts listening, on the runtime that calls.
    pub async fn start(config: SimConfig, callees: Callees) -> Result<Self, Error> {
        if !is_node(&config.node) {
            return Err(Error::NodeName);
        }
        let step = StepServer::parse(&config.step_url, &config.step_secret)?;
        for folder in config.journal_dir.iter().chain(&config.recordings_dir) {
            std::fs::create_dir_all(folder).map_err(|source| Error::file("create", folder, source))?;
        }
        let listener = TcpListener::bind(config.ami_listen).await.map_err(|source| Error::Listen {
            what: "ami",
            addr: config.ami_listen,
            source,
        })?;
        let addr = listener.local_addr().map_err(Error::Socket)?;
        let ctx = Arc::new(Ctx {
            callees,
            channels: ChannelTable::default(),
            bus: Bus::default(),
            events: Events { node: config.node.clone() },
            step,
            recorder: config.carrier.map(RecorderClient::new),
            started: SystemTime::now(),
            stopping: AtomicBool::new(false),
            endpoints: Endpoints::read(config.trunks_file.as_deref()),
            config,
        });
        let accept = tokio::spawn(session::accept(listener, Arc::clone(&ctx)));
        Ok(Self { addr, ctx, accept })
    }

    /// Where AMI listens.
    pub fn ami_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Channels that are live now.
    pub fn channel_count(&self) -> usize {
        self.ctx.channels.list().len()
    }

    /// Refuses new originates, as `core stop gracefully` does.
    pub fn refuse_new(&self) {
        self.ctx.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until every call has ended. For one waiter.
    pub async fn all_ended(&self) {
        self.ctx.channels.all_ended().await;
    }

    /// Stops as Asterisk does on SIGTERM: hangs every channel up, says `Shutdown` to every client, then closes their
    /// connections.
    pub async fn stop(self) {
        self.refuse_new();
        for channel in self.ctx.channels.list() {
            self.ctx.bus.emit(&self.ctx.events.soft_hangup_request(&channel, 4));
            if channel.place().state == ChannelState::Up {
                self.ctx.bus.emit(&self.ctx.events.soft_hangup_request(&channel, 16));
            }
            channel.ask_hangup(0);
        }
        // An agent that does not answer holds nothing up.
        let _ = tokio::time::timeout(STOP_DEADLINE, self.ctx.channels.all_ended()).await;
        self.ctx.bus.emit(&self.ctx.events.shutdown());
        self.ctx.bus.close().await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

//! The sections of the configuration file and their defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use asterism_domain::fleet::FleetPolicy;
use serde::{Deserialize, Serialize};

/// A free port on loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// `nats://host:port` or `tls://host:port`, several separated by commas.
    pub url: String,
    /// The user, `service` or a node's.
    pub user: Option<String>,
    /// The file with its password, in the first line.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Connect beyond this machine without TLS or credentials.
    pub insecure: bool,
    /// Bytes the stream of events may hold. Raised on an existing stream, never lowered.
    pub stream_max_bytes: u64,
    /// Copies of a stream that is made: 1 on one box, 3 on a cluster.
    pub stream_replicas: u32,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password_file: None,
            ca_file: None,
            insecure: false,
            stream_max_bytes: 1024 * 1024 * 1024,
            stream_replicas: 1,
        }
    }
}

/// Folders of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathsConfig {
    /// Copies of the log, spools and everything else a process keeps.
    pub data_dir: PathBuf,
    /// Key files, readable by their owner only; `keys` in the data folder when absent.
    pub keys_dir: Option<PathBuf>,
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self { data_dir: PathBuf::from("asterism-data"), keys_dir: None }
    }
}

/// The copies of the log on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// A copy seals once this many events are in no sealed segment.
    pub seal_events: u64,
    /// Or once their blocks have this many bytes.
    pub seal_bytes: u64,
    /// Or once the oldest of them is this old, in seconds.
    pub seal_after_s: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { seal_events: 1 << 20, seal_bytes: 256 * 1024 * 1024, seal_after_s: 15 * 60 }
    }
}

/// The object store: prompts, recordings, archived segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectsConfig {
    /// `file:///folder` or `s3://bucket/prefix?region=...`; `objects` in the data folder when absent.
    pub url: Option<String>,
}

/// The dialer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DialerConfig {
    /// Time between two decisions, at least 20.
    pub tick_ms: u64,
    /// From a decision to the latest start it allows, at most 2,000: a node that is cut off dials for so long after an
    /// emergency stop.
    pub order_window_ms: u64,
    /// Most attempts decided in one tick, at most 256 (they fit one frame).
    pub max_intents: u32,
    /// Most attempts started a second, over all campaigns and trunks; 0 = no cap.
    pub calls_per_second: u32,
    /// Most attempts one node starts a second; 0 = no cap.
    pub node_calls_per_second: u32,
    /// Most attempts in flight, over all campaigns and trunks; 0 = no cap.
    pub max_channels: u32,
    /// Where `/livez`, `/readyz` and `/metrics` answer; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Where `POST /calls` answers, on loopback only; without a token it does not.
    pub calls_listen: SocketAddr,
    /// File whose first line is the token for it, at least 16 characters.
    pub calls_token_file: Option<PathBuf>,
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self {
            tick_ms: 50,
            order_window_ms: 1_000,
            max_intents: 100,
            calls_per_second: 0,
            node_calls_per_second: 0,
            max_channels: 0,
            http_listen: ANY_PORT,
            calls_listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8_071),
            calls_token_file: None,
        }
    }
}

/// Where instances come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Processes of this machine.
    #[default]
    Local,
    /// Amazon EC2.
    Ec2,
}

/// What places the calls on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pbx {
    /// The simulated Asterisk.
    #[default]
    Sim,
    /// Asterisk 22.
    Asterisk,
}

/// The scaler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScalerConfig {
    /// Where instances come from: `local` or `ec2`.
    pub provider: Provider,
    /// Time between two plans.
    pub tick_ms: u64,
    /// Nodes kept even without work.
    pub min_nodes: u32,
    /// Nodes there may be, whatever the policy says.
    pub max_nodes: u32,
    /// Slots of a node.
    pub node_capacity: u32,
    /// What a node costs in an hour, in millionths of a dollar, where no price book says it by type.
    pub price_micro_usd_per_hour: u64,
    /// A price book (`asterism prices check`): what each type costs in each market. Every type that may be launched must be
    /// in it.
    pub prices: Option<PathBuf>,
    /// What all nodes together may cost in an hour, in millionths of a dollar, whatever the policy says; 0 sets no limit.
    pub max_micro_usd_per_hour: u64,
    /// Launches in a minute, whatever the policy says.
    pub launch_per_minute: u32,
    /// What may be spent, in millionths of a dollar, whatever the policy says.
    pub budget_micro_usd: u64,
    /// How long a launched instance may take until its agent registers.
    pub boot_deadline_ms: u64,
    /// How long a node that is heard of may be unable to take calls until it is drained and replaced.
    pub not_ready_grace_ms: u64,
    /// How long nobody may hear of a node that the cloud lists as running until it is terminated, its calls with it;
    /// 0 never does. It is replaced after `agent.dead_after_ms` already.
    pub unreachable_terminate_after_ms: u64,
    /// How long the cloud may not list a node that nobody hears of until it counts as ended.
    pub gone_after_ms: u64,
    /// How long a node that refuses the log (AST-A025) is kept once it holds no call and has said all it had to say, so that
    /// people can look at it; then it is terminated.
    pub refusing_terminate_after_ms: u64,
    /// An empty node that has recordings to send is waited for so long; what it has not sent by then is lost, ms.
    pub recordings_wait_ms: u64,
    /// The fleet is drained when the budget leaves less than its nodes cost in this time: as long as a drain may take.
    pub budget_reserve_ms: u64,
    /// Where `/livez`, `/readyz` and `/metrics` answer; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// The agent program of the provider `local`; found beside the running program when absent.
    pub agent_bin: Option<PathBuf>,
    /// Arguments added to those the scaler gives the agent.
    pub agent_args: Vec<String>,
    /// What places the calls on a node: `sim` or `asterisk`.
    pub pbx: Pbx,
    /// The provider `ec2`.
    pub ec2: Ec2Config,
}

impl Default for ScalerConfig {
    fn default() -> Self {
        let policy = FleetPolicy::default();
        Self {
            provider: Provider::Local,
            tick_ms: 500,
            min_nodes: policy.min_nodes,
            max_nodes: policy.max_nodes,
            node_capacity: policy.node_capacity,
            price_micro_usd_per_hour: policy.price_micro_usd_per_hour,
            prices: None,
            max_micro_usd_per_hour: policy.max_micro_usd_per_hour,
            launch_per_minute: policy.launches_per_minute,
            budget_micro_usd: policy.budget_micro_usd,
            boot_deadline_ms: policy.boot_deadline_ms,
            not_ready_grace_ms: policy.not_ready_grace_ms,
            unreachable_terminate_after_ms: policy.unreachable_terminate_after_ms,
            gone_after_ms: policy.gone_after_ms,
            refusing_terminate_after_ms: policy.refusing_terminate_after_ms,
            recordings_wait_ms: policy.recordings_wait_ms,
            budget_reserve_ms: policy.budget_reserve_ms,
            http_listen: ANY_PORT,
            agent_bin: None,
            agent_args: Vec::new(),
            pbx: Pbx::Sim,
            ec2: Ec2Config::default(),
        }
    }
}

/// The provider `ec2`. Credentials come from the environment or the machine's role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ec2Config {
    /// The region; the environment decides when absent.
    pub region: Option<String>,
    /// Another server than Amazon's.
    pub endpoint: Option<String>,
    /// The image, without a launch template.
    pub image_id: Option<String>,
    /// The instance type, without a launch template.
    pub instance_type: Option<String>,
    /// Further types, asked for where there is no room for the first. With `scaler.prices` the cheapest call slot is asked
    /// for first instead.
    pub more_instance_types: Vec<String>,
    /// Call slots that types were measured to have; the others have `scaler.node_capacity`. The plan reckons with the
    /// fewest.
    pub call_slots: BTreeMap<String, u32>,
    /// The subnet.
    pub subnet_id: Option<String>,
    /// Further subnets, best in other zones.
    pub more_subnet_ids: Vec<String>,
    /// Asks for spot instances first and on demand where there are none: only for calls that end within two minutes.
    pub spot: bool,
    /// The name of the pool of `addresses`.
    pub address_pool: Option<String>,
    /// Elastic IP addresses of the account that carriers take calls from: each node gets one before it takes calls, there
    /// are no more nodes than these, and each goes back to the pool when its node ends. They stay the account's.
    pub addresses: Vec<String>,
    /// The security groups.
    pub security_group_ids: Vec<String>,
    /// A launch template, by id or name; what is said above goes over it.
    pub launch_template: Option<String>,
}

/// The logic responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogicConfig {
    /// How long a step may wait for its answer before the flow's fallback is taken.
    pub deadline_ms: u64,
    /// Questions answered at the same time.
    pub concurrency: u32,
    /// Files with the secrets that sign what back ends are asked, by the names flows call them (`[backend] key = "NAME"`).
    pub keys: BTreeMap<String, PathBuf>,
    /// Certificates (PEM) that back ends are trusted by, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Most answers of back ends that this process keeps; 0 keeps none, in memcached neither.
    pub cache_entries: u32,
    /// memcached servers that all responders share what they keep in: `HOST:PORT` or `unix:///PATH`.
    pub memcached: Vec<String>,
    /// How long one of them may take; a quarter of what a step has left at most. One that takes longer is left alone for a second.
    pub memcached_ms: u64,
    /// Where `/livez`, `/readyz` and `/metrics` answer; port 0 takes a free one.
    pub http_listen: SocketAddr,
}

impl Default for LogicConfig {
    fn default() -> Self {
        Self {
            deadline_ms: 800,
            concurrency: 256,
            keys: BTreeMap::new(),
            ca_file: None,
            cache_entries: 10_000,
            memcached: Vec::new(),
            memcached_ms: 100,
            http_listen: ANY_PORT,
        }
    }
}

/// media-sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// Days recordings of a campaign are kept that has no number of its own; 0 = until somebody erases them.
    pub recordings_keep_days: u32,
    /// Where `/livez`, `/readyz` and `/metrics` answer; port 0 takes a free one.
    pub http_listen: SocketAddr,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { recordings_keep_days: 0, http_listen: ANY_PORT }
    }
}

/// The ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// Time between two checkpoints.
    pub checkpoint_every_ms: u64,
    /// Where sealed segments and signed checkpoints go, `file:///folder` or `s3://bucket/prefix?region=...`; nowhere
    /// when absent. Every service restores a lost copy of the log from there.
    pub archive: Option<String>,
    /// Time between two seals of the ledger's copy for the archive, while the log grows.
    pub seal_every_ms: u64,
    /// How long frames are missing before they are given up in the log, if their origin says it has them no more or is
    /// closed. One that is silent is waited for.
    pub lost_after_ms: u64,
    /// Where `/livez`, `/readyz` and `/metrics` answer; port 0 takes a free one.
    pub http_listen: SocketAddr,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            checkpoint_every_ms: 10_000,
            archive: None,
            seal_every_ms: 900_000,
            lost_after_ms: 900_000,
            http_listen: ANY_PORT,
        }
    }
}

/// The agent of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The node's id; asked from the machine when absent.
    pub node: Option<String>,
    /// The launch intent this node came from, given by the scaler.
    pub intent: Option<String>,
    /// Slots: ringing and up together, legs too.
    pub capacity: u32,
    /// Time between two heartbeats.
    pub heartbeat_ms: u64,
    /// Time between two load facts in the log.
    pub load_every_ms: u64,
    /// A heartbeat older than this is stale: no new attempts go there.
    pub stale_after_ms: u64,
    /// A heartbeat older than this means the node is dead.
    pub dead_after_ms: u64,
    /// What places the calls: `sim` or `asterisk`.
    pub pbx: Pbx,
    /// The Manager Interface, on loopback.
    pub ami: SocketAddr,
    /// Where the dialplan asks for steps, on loopback; port 0 takes a free one.
    pub step_listen: SocketAddr,
    /// Bytes the spool may hold before the node says it is not ready.
    pub spool_max_bytes: u64,
    /// Where `/livez`, `/readyz` and `/metrics` answer; port 0 takes a free one.
    pub http_listen: SocketAddr,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            node: None,
            intent: None,
            capacity: 20,
            heartbeat_ms: 2_000,
            load_every_ms: 10_000,
            stale_after_ms: 5_000,
            dead_after_ms: 30_000,
            pbx: Pbx::Sim,
            ami: SocketAddr::from((Ipv4Addr::LOCALHOST, 5038)),
            step_listen: ANY_PORT,
            spool_max_bytes: 64 * 1024 * 1024,
            http_listen: ANY_PORT,
        }
    }
}

/// For tests and demonstrations only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestConfig {
    /// How many times faster calls pass than in life.
    pub clock_scale: u32,
}

impl Default for TestConfig {
    fn default() -> Self {
        Self { clock_scale: 1 }
    }
}

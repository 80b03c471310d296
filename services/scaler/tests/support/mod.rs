//! A scaler over a real nats-server and log, a cloud in memory whose answers can be lost, and nodes that register,
//! write their own frames and take orders as an agent does.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cloud;
pub mod node;
#[cfg(feature = "aws")]
pub mod sky;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::campaign::command::{ImportRow, Limits, NewCampaign};
use asterism_domain::campaign::{self, CampaignCommand, DialTick};
use asterism_domain::fleet::{FleetPolicy, NodeStatus};
use asterism_domain::rules::CampaignRules;
use asterism_domain::trunk::{TrunkCommand, TrunkSettings};
use asterism_domain::wire::Envelope;
use asterism_domain::{Event, State};
use asterism_nats::{Bus, LeaseTiming, NatsServer, Subject};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::commit::Term;
use asterism_runtime::health::Metrics;
use asterism_runtime::keys::Keyring;
use asterism_runtime::leader::Desk;
use asterism_runtime::log::{Log, LogConfig, SealAt};
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;
use asterism_scaler::cloud::Cloud;
use asterism_scaler::config::LaunchTemplate;
use asterism_scaler::counters::Counters;
use asterism_scaler::{Error, ScalerConfig};
use prost::Message as _;
use tokio::task::JoinHandle;

pub const FLEET: &str = "lab";
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A nats-server, the keys and one copy of the log for the test itself.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub server: NatsServer,
    pub deps: Deps,
    dialer: Option<Desk<CampaignCommand>>,
}

/// A running scaler. Dropping it ends its process's part: its tasks and its lease.
pub struct Scaler {
    pub deps: Deps,
    pub counters: Counters,
    task: JoinHandle<Result<(), Error>>,
}

impl Drop for Scaler {
    fn drop(&mut self) {
        self.task.abort();
        self.deps.shutdown.request();
    }
}

impl Scaler {
    /// Asks it to stop and waits until `run` has returned.
    pub async fn stop(mut self) {
        self.deps.shutdown.request();
        within("the scaler stops", &mut self.task).await.unwrap().unwrap();
    }
}

/// The trunk `t` of the campaigns, as every node has it.
pub fn trunk() -> TrunkSettings {
    TrunkSettings { hosts: vec!["127.0.0.1:5060".into()], ..TrunkSettings::default() }
}

/// Fast times; nothing is ended for being an orphan unless a test says so.
pub fn config() -> ScalerConfig {
    ScalerConfig {
        policy: FleetPolicy {
            max_nodes: 4,
            node_capacity: 2,
            price_micro_usd_per_hour: 100_000,
            budget_micro_usd: 0,
            launches_per_minute: 100,
            boot_deadline_ms: 60_000,
            instance_type: "small".into(),
            stale_after_ms: 1_000,
            dead_after_ms: 30_000,
            not_ready_grace_ms: 1_000,
            unreachable_terminate_after_ms: 60_000,
            gone_after_ms: 1_500,
            refusing_terminate_after_ms: 1_000,
            recordings_wait_ms: 1_000,
            budget_reserve_ms: 0,
            ..FleetPolicy::default()
        },
        tick_ms: 20,
        list_every_ms: 200,
        orphan_after_ms: 120_000,
        orphan_confirm_ms: 300,
        capacity_memory_ms: 180_000,
        capacity_patience_ms: 600_000,
        order_repeat_ms: 200,
        template: LaunchTemplate { image_id: "image".into(), ..LaunchTemplate::default() },
    }
}

impl Rig {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let binary =
            asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
        let server = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        let deps = deps(&server, dir.path(), "test").await;
        Self { dir, server, deps, dialer: None }
    }

    pub fn log(&self) -> &Log {
        &self.deps.log
    }

    /// Starts a scaler with its own connection and copy of the log.
    pub async fn scaler(&self, name: &str, config: ScalerConfig, cloud: Arc<dyn Cloud>) -> Scaler {
        let deps = deps(&self.server, self.dir.path(), name).await;
        let counters = Counters::new(&Metrics::default()).unwrap();
        let task = tokio::spawn(asterism_scaler::run_counted(config, deps.clone(), cloud, counters.clone()));
        Scaler { deps, counters, task }
    }

    /// A campaign that wants `contacts` calls at once.
    pub async fn campaign(&mut self, id: &str, contacts: u8) {
        let desk = self.dialer().await;
        let create = CampaignCommand::Create(Box::new(NewCampaign {
            campaign: id.into(),
            name: id.into(),
            flow: "f".into(),
            manifest: "m".into(),
            trunks: vec!["t".into()],
            limits: Limits {
                max_channels: 0,
                calls_per_second: 0,
                ring_timeout_ms: 30_000,
                max_attempts: 1,
                caller_id: String::new(),
                caller_ids: vec![],
                rules: CampaignRules::default(),
            },
            live: false,
            allowed_hashes: vec![],
        }));
        let rows = (0..contacts)
            .map(|n| ImportRow { number_hash: [n; 16], sealed: vec![n; 60], ..ImportRow::default() })
            .collect();
        let import = CampaignCommand::Import {
            campaign: id.into(),
            import: format!("{id}-1"),
            rows,
            last: true,
            skip_known: vec![],
        };
        for command in [create, import, CampaignCommand::Start { campaign: id.into() }] {
            within("a campaign's command", desk.tell(command)).await.unwrap();
        }
    }

    /// Claims a slot for each contact that waits, on nodes that are ready by the log. The nodes are not told.
    pub async fn dial(&mut self) {
        let desk = self.dialer().await;
        let fresh = self.nodes(NodeStatus::Ready).into_iter().collect();
        let tick = DialTick { fresh, order_window_ms: 2_000, max_intents: 100, caps: None };
        desk.tell(CampaignCommand::Tick(tick)).await.unwrap();
    }

    /// Takes away what a campaign wants.
    pub async fn pause(&mut self, id: &str) {
        let desk = self.dialer().await;
        desk.tell(CampaignCommand::Pause { campaign: id.into(), reason: "test".into() }).await.unwrap();
    }

    async fn dialer(&mut self) -> Desk<CampaignCommand> {
        if let Some(desk) = &self.dialer {
            return desk.clone();
        }
        let key = self.deps.key(Role::MediaSync).unwrap();
        let mut media = Term::elect(self.log(), Role::MediaSync, &key, "test").await.unwrap();
        let (name, object) = ("x".to_owned(), "o".to_owned());
        let published = [
            Event::FlowPublished {
                flow: "f".into(),
                name: name.clone(),
                object: object.clone(),
                sha256: vec![],
                bridges: false,
            },
            Event::ManifestPublished {
                manifest: "m".into(),
                name,
                object,
                sha256: vec![],
                prompts: 1,
                size_bytes: 1,
            },
        ];
        media.commit(&published, &Envelope::default()).await.unwrap();
        let desk = self.deps.lead(Role::Dialer, campaign::decide).unwrap();
        within("the dialer leads", desk.leading().wait_for(Option::is_some)).await.unwrap();
        let set = TrunkCommand::Set {
            trunk: "t".into(),
            settings: Box::new(trunk()),
            new: true,
            reason: String::new(),
        };
        within("a trunk", desk.tell(CampaignCommand::Trunk(set))).await.unwrap();
        self.dialer.insert(desk).clone()
    }

    /// Waits until the log says so.
    pub async fn until(&self, what: &str, done: impl Fn(&State) -> bool) {
        let mut head = self.log().head();
        let wait = async {
            while !self.log().read(&done) {
                head.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        let fleet = || self.log().read(|state| state.fleet.clone());
        assert!(in_time, "{what}: not within {PATIENCE:?}; {:#?}", fleet());
    }

    /// Nodes of a status, by the log.
    pub fn nodes(&self, status: NodeStatus) -> Vec<String> {
        self.log().read(|state| with_status(state, status))
    }

    /// Asks the scaler's command subject until somebody answers. A question that reaches a process in the moment of its
    /// death is never answered, so it is asked again: the verbs of a fleet may be said twice.
    pub async fn command(&self, verb: &str, json: &str) -> RoleReply {
        let subject = Subject::role(FLEET, Role::Scaler).unwrap();
        let command = RoleCommand {
            verb: verb.into(),
            json: json.as_bytes().to_vec(),
            actor: "test".into(),
            ..RoleCommand::default()
        };
        let ask = async {
            loop {
                let answer = self.deps.bus.request(&subject, command.encode_to_vec(), PATIENCE / 6).await;
                match answer {
                    Ok(answer) => return RoleReply::decode(answer.as_slice()).unwrap(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        within("an answer to a command", ask).await
    }
}

pub fn with_status(state: &State, status: NodeStatus) -> Vec<String> {
    let of_status = state.fleet.nodes.iter().filter(|(_, node)| node.status == status);
    of_status.map(|(id, _)| id.clone()).collect()
}

/// Fails the test when something takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}")
    };
    value
}

/// Waits for what no channel tells.
pub async fn eventually(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, wait).await;
}

async fn deps(server: &NatsServer, dir: &Path, name: &str) -> Deps {
    let keyring = Keyring::init(&dir.join("keys"), FLEET, 1).unwrap();
    let bus = Bus::connect(&server.service(name).unwrap()).await.unwrap();
    let config = LogConfig {
        fleet: FLEET.into(),
        dir: dir.join(format!("log-{name}")),
        anchor: keyring.anchor(),
        first_frame: keyring.first_frame().to_vec(),
        stream_max_bytes: 64 << 20,
        seal: SealAt::default(),
    };
    Deps {
        log: Log::open(config, bus.clone()).await.unwrap(),
        bus,
        keyring,
        holder: name.to_owned(),
        lease_timing: LeaseTiming::default(),
        shutdown: Shutdown::new(),
    }
}

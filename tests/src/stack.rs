//! The whole system as separate programs: a real nats-server, each service a process, nodes as processes of the `local`
//! provider, the carrier's recorder outside all of them. Everything ends when the stack is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use asterism_cli::client::Client;
use asterism_cli::{import, ops};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::{Recorded, State, wire};
use asterism_event_log::LogFolder;
use asterism_nats::{Bus, NatsServer};
use asterism_object_store::ObjectStore;
use asterism_pbx_sim::recorder::{RingCount, read_rings};
use asterism_proto::{OriginKey, Role};
use asterism_runtime::config::Config;
use asterism_runtime::keys::Keyring;
use asterism_runtime::log::{Log, LogConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disk::SmallDisk;

/// The fleet's name.
pub const FLEET: &str = "kills";
/// The campaign's id.
pub const CAMPAIGN: &str = "c";
/// The number its calls are shown to come from.
pub const CALLER: &str = "+12025550199";
/// The services, in the order they are started here; any order would do.
pub const SERVICES: [&str; 5] = [
    "asterism-ledger",
    "asterism-media-sync",
    "asterism-scaler",
    "asterism-dialer",
    "asterism-logic-responder",
];

/// What stands behind the nodes' agents.
#[derive(Debug, Clone)]
pub enum StackPbx {
    /// pbx-sim, whose rings a recorder counts.
    Sim,
    /// The same, and the nodes reach the bus at this port of loopback.
    SimBehind(u16),
    /// Real Asterisk.
    Asterisk {
        /// The root of its installation.
        root: PathBuf,
        /// The SIP port of the carrier on loopback.
        carrier: u16,
    },
}

/// How a system is made.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Most nodes.
    pub max_nodes: u32,
    /// Call slots of a node.
    pub capacity: u32,
    /// What stands behind the nodes' agents.
    pub pbx: StackPbx,
}

/// A running system.
pub struct Stack {
    /// The server all meet at.
    pub nats: NatsServer,
    /// This process's own copy of the log: an observer that leads nothing.
    pub log: Log,
    /// Speaks to the services.
    pub client: Client,
    /// The configuration they run with.
    pub config: Config,
    keyring: Keyring,
    env: Vec<(String, String)>,
    processes: BTreeMap<&'static str, Child>,
    recorder: Child,
    /// Disks of their own below the folder.
    disks: Vec<SmallDisk>,
    // Last, so that processes are gone before their folder is.
    dir: tempfile::TempDir,
}

impl Stack {
    /// Starts everything, with simulated nodes.
    pub async fn start(max_nodes: u32, capacity: u32) -> Self {
        Self::start_with(StackOptions { max_nodes, capacity, pbx: StackPbx::Sim }).await
    }

    /// Starts everything.
    pub async fn start_with(options: StackOptions) -> Self {
        Self::start_with_env(options, Vec::new()).await
    }

    /// Starts everything with variables that the services see: `ASTERISM_SECTION__KEY` wins over the file.
    pub async fn start_with_env(options: StackOptions, env: Vec<(String, String)>) -> Self {
        let all = SERVICES.map(|service| (service, Vec::new()));
        Box::pin(Self::start_on(options, env, &[], &all)).await.expect("no disk of its own is asked for")
    }

    /// Starts everything with disks of so many bytes below its folder, and with variables that one service sees.
    /// `None`: this machine lets nobody mount a disk.
    pub async fn start_on(
        options: StackOptions,
        env: Vec<(String, String)>,
        disks: &[(&str, u64)],
        services: &[(&'static str, Vec<(String, String)>)],
    ) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("asterism-stack-").tempdir().unwrap();
        let mounted = disks.iter().map(|(at, bytes)| SmallDisk::mount(&dir.path().join(at), *bytes));
        let disks = mounted.collect::<Option<Vec<SmallDisk>>>()?;
        let binary =
            asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
        let nats = NatsServer::start(&binary, &dir.path().join("nats"), None).await.unwrap();
        let keyring = Keyring::init(&dir.path().join("keys"), FLEET, 1).unwrap();
        let (recorder, carrier) = start_recorder(dir.path()).await;
        let file = write_config(dir.path(), &nats, carrier, &options);
        let config = Config::load(Some(&file), env.iter().cloned(), &[]).unwrap();
        let bus = Bus::connect(&nats.service("observer").unwrap()).await.unwrap();
        let log = Log::open(
            LogConfig {
                fleet: FLEET.to_owned(),
                dir: dir.path().join("log-observer"),
                anchor: keyring.anchor(),
                first_frame: keyring.first_frame().to_vec(),
                stream_max_bytes: config.nats.stream_max_bytes,
                seal: (&config.log).into(),
            },
            bus.clone(),
        )
        .await
        .unwrap();
        let client = Client::new(bus, FLEET);
        let processes = BTreeMap::new();
        let mut stack = Self { nats, log, client, config, keyring, env, processes, recorder, disks, dir };
        for (service, env) in services {
            stack.start_process(service, service, env);
        }
        Some(stack)
    }

    /// A disk [`Stack::start_on`] was asked for, in that order.
    pub fn disk(&self, index: usize) -> &SmallDisk {
        &self.disks[index]
    }

    /// What a process has said, standard error.
    pub fn said(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// How a process ended; none while it runs.
    pub fn ended(&mut self, name: &'static str) -> Option<ExitStatus> {
        self.processes.get_mut(name).expect("it was started").try_wait().unwrap()
    }

    /// The folder everything is below.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The trust anchor, hexadecimal.
    pub fn anchor(&self) -> String {
        self.keyring.anchor().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Starts a service (again).
    pub fn start_service(&mut self, service: &'static str) {
        self.start_process(service, service, &[]);
    }

    fn start_process(&mut self, service: &str, name: &'static str, env: &[(String, String)]) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join(format!("{name}.log")))
            .unwrap();
        let child = Command::new(program(service))
            .env("ASTERISM_CONFIG", self.path().join("asterism.toml"))
            .envs(self.env.iter().chain(env).cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{service}: {error}; cargo build --bins"));
        self.processes.insert(name, child);
    }

    /// kill -9, and waits until it is gone.
    pub fn kill_service(&mut self, service: &'static str) {
        let mut child = self.processes.remove(service).expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A signal to a service's process.
    pub fn signal_service(&self, service: &'static str, signal: Signal) {
        let id = self.processes[service].id().cast_signed();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// Starts a second process of a service, with its own data folder and variables that it alone sees.
    pub fn start_rival(&mut self, service: &'static str, rival: &'static str, env: &[(String, String)]) {
        let folder = self.path().join(rival).display().to_string();
        let own = ("ASTERISM_PATHS__DATA_DIR".to_owned(), folder);
        self.start_process(service, rival, &[&[own], env].concat());
    }

    /// Whether a process of the stack has not ended.
    pub fn runs(&mut self, name: &'static str) -> bool {
        let child = self.processes.get_mut(name).expect("it was started");
        matches!(child.try_wait(), Ok(None))
    }

    /// The key that signs checkpoints and notices: what an equivocating ledger has.
    pub fn log_signer(&self) -> OriginKey {
        self.keyring.role(Role::Ledger).unwrap()
    }

    /// Every event of the sealed copy, in order, and when it happened by its origin's clock; [`Stack::replay_agrees`]
    /// seals it.
    pub fn timed_events(&self) -> Vec<(Recorded, u64)> {
        let folder = LogFolder::open(&self.path().join("log-observer"), Some(self.keyring.anchor())).unwrap();
        let mut events = Vec::new();
        for frame in folder.frames() {
            let frame = frame.unwrap();
            for (index, bytes) in frame.frame.events.iter().enumerate() {
                let sequence = frame.first + index as u64;
                let event =
                    wire::recorded(&frame.frame, index as u32, sequence, frame.record_time_ms).unwrap();
                events.push((event, wire::decode_bytes(bytes).unwrap().0.occurred_at_ms));
            }
        }
        events
    }

    /// [`Stack::timed_events`] without their origins' times.
    pub fn sealed_events(&self) -> Vec<Recorded> {
        self.timed_events().into_iter().map(|(event, _)| event).collect()
    }

    /// Where contacts stand, by the keyed hash of their numbers.
    pub fn number_hash(&self, number: &str) -> [u8; 16] {
        asterism_runtime::seal::number_hash(&self.keyring.numbers().unwrap(), number)
    }

    /// Publishes prompts and flow, imports contacts of the demo, starts the campaign.
    pub async fn campaign(&self, contacts: u64) {
        let list = root().join("compose/demo/contacts.csv");
        self.campaign_of(&list, Some(contacts), 1).await;
    }

    /// Publishes prompts and flow of the demo, imports a list, starts the campaign.
    pub async fn campaign_of(&self, list: &Path, limit: Option<u64>, max_attempts: u32) {
        let url = self.config.objects_url().unwrap();
        let store = asterism_object_store::open(&url).await.unwrap();
        self.campaign_from(store.as_ref(), list, limit, max_attempts).await;
    }

    /// The same with the services' object store opened by the caller, who has its credentials.
    pub async fn campaign_from(
        &self,
        store: &dyn ObjectStore,
        list: &Path,
        limit: Option<u64>,
        max_attempts: u32,
    ) {
        let demo = root().join("compose/demo");
        let prompts = ops::publish_prompts(&self.client, store, &demo.join("prompts"), "demo").await.unwrap();
        let flow = ops::publish_flow(&self.client, store, &demo.join("flow.toml")).await.unwrap();
        let create: CreateCampaign = serde_json::from_value(serde_json::json!({
            "campaign": CAMPAIGN, "flow": flow.id(), "manifest": prompts.manifest_id, "trunk": "carrier",
            "ring_timeout_ms": 5_000, "max_attempts": max_attempts, "caller_id": CALLER,
            // Callees of a simulation that are congested once are so for ever: no more attempts than others have.
            "rules": { "retries": [{ "outcome": "congestion", "delay_ms": 0, "max": max_attempts - 1 }] },
        }))
        .unwrap();
        ops::create_campaign(&self.client, &create).await.unwrap();
        let options = import::Options::default();
        ops::import_contacts(&self.client, CAMPAIGN, list, &options, limit, |_| {}).await.unwrap();
        ops::start_campaign(&self.client, CAMPAIGN).await.unwrap();
    }

    /// Waits for a condition on the state; panics with the last state and the services' logs.
    pub async fn wait(&self, what: &str, at_most: Duration, condition: impl Fn(&State) -> bool) {
        let began = Instant::now();
        let mut head = self.log.head();
        while !self.log.read(|state| condition(state)) {
            if began.elapsed() > at_most {
                panic!("not within {at_most:?}: {what}\n{}\n{}", self.summary(), self.logs());
            }
            if let Some(reason) = self.log.failure().borrow().clone() {
                panic!("the observer's copy stopped: {reason}");
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), head.changed()).await;
        }
    }

    /// Contacts and nodes in a line each.
    pub fn summary(&self) -> String {
        self.log.read(|state| {
            let campaigns = asterism_domain::report::campaigns(state, state.at);
            let nodes = asterism_domain::report::nodes(state, state.at);
            format!("size {} {campaigns:?}\n{nodes:?}\nincidents {:?}", state.size, state.incident_list)
        })
    }

    /// The last lines of every log file of the stack.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ext| ext == "log") {
                    let all = fs::read_to_string(&path).unwrap_or_default();
                    let lines: Vec<&str> = all.lines().rev().take(12).collect();
                    let tail: Vec<&str> = lines.into_iter().rev().collect();
                    text += &format!("--- {}\n{}\n", path.display(), tail.join("\n"));
                }
            }
        }
        text
    }

    /// The sealed copy, read by the auditor's library, has the live root and folds to the live state.
    pub async fn replay_agrees(&self) {
        self.log.sync().await.unwrap();
        self.log.seal().await.unwrap();
        let (size, root) = self.log.sequencer(|sequencer, _, _| (sequencer.size(), sequencer.root()));
        let output = Command::new(program("asterism-replay"))
            .args(["verify", "--json", "--anchor", &self.anchor()])
            .arg(self.path().join("log-observer"))
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(said["replay_ok"], true, "{said:#}");
        let events = said["events"].as_u64().unwrap();
        // The fleet may have gone on between seal and look: the replay is of the sealed part.
        assert!(events <= size);
        if events == size {
            let hex: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(said["root"], hex.as_str());
            let live: String = self.log.read(State::hash).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(said["state_hash"], live.as_str());
        }
    }

    /// How much the carrier saw.
    pub fn rings(&self) -> RingCount {
        read_rings(&self.path().join("rings.csv"), |_| {}).unwrap()
    }

    /// Every way in which the carrier's rings and the sealed copy differ; [`Stack::replay_agrees`] seals it.
    pub fn ring_differences(&self) -> Vec<String> {
        let mut seen = Vec::new();
        read_rings(&self.path().join("rings.csv"), |ring| {
            seen.push((ring.attempt_id.parse().unwrap(), self.number_hash(&ring.number)));
        })
        .unwrap();
        let fates = crate::rings::fates(&self.path().join("log-observer"), self.keyring.anchor());
        self.log.read(|state| crate::rings::differences(CAMPAIGN, &state.campaigns[CAMPAIGN], &fates, &seen))
    }

    /// Process ids under an instance's folder whose command line holds the word.
    pub fn pids(&self, node: &str, word: &str) -> Vec<i32> {
        crate::child::pids(&[node, word])
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Nodes are nobody's children here: they are found by their folder.
        let dir = self.dir.path().to_string_lossy().into_owned();
        for pid in self.pids(&dir, "") {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.recorder.kill();
        let _ = self.recorder.wait();
        if std::thread::panicking() {
            // What a failed story left behind is worth more than a clean folder.
            self.dir.disable_cleanup(true);
            eprintln!("the stack's files stay in {}", self.dir.path().display());
        }
    }
}

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program of the project, as built.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    // A test is below the programs, a benchmark beside them.
    let beside = if folder.join(name).exists() { folder } else { folder.parent().unwrap() }.join(name);
    std::env::var_os("ASTERISM_BIN_DIR").map_or(beside, |dir| PathBuf::from(dir).join(name))
}

async fn start_recorder(dir: &Path) -> (Child, u16) {
    let port_file = dir.join("carrier.port");
    let mut child = Command::new(program("carrier-recorder"))
        .args(["--listen", "127.0.0.1:0", "--port-file"])
        .arg(&port_file)
        .arg("--out")
        .arg(dir.join("rings.csv"))
        .stdin(Stdio::null())
        .stderr(fs::File::create(dir.join("carrier.log")).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let port = loop {
        let port = fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok());
        if port.is_some() || began.elapsed() > Duration::from_secs(10) {
            break port;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let Some(port) = port else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("carrier-recorder did not come up");
    };
    (child, port)
}

fn agent_args(nats: &NatsServer, carrier: u16, options: &StackOptions) -> toml::Value {
    let mut words = match &options.pbx {
        StackPbx::Sim | StackPbx::SimBehind(_) => vec![
            "--pbx".to_owned(),
            "sim".to_owned(),
            "--pbx-sim-bin".to_owned(),
            program("pbx-sim").display().to_string(),
            "--carrier".to_owned(),
            format!("127.0.0.1:{carrier}"),
        ],
        StackPbx::Asterisk { root, .. } => vec![
            "--pbx".to_owned(),
            "asterisk".to_owned(),
            "--asterisk-root".to_owned(),
            root.display().to_string(),
        ],
    };
    let bus = match options.pbx {
        StackPbx::SimBehind(port) => format!("nats://127.0.0.1:{port}"),
        _ => nats.service("x").unwrap().url,
    };
    for (flag, value) in [
        ("--fleet", FLEET.to_owned()),
        ("--nats-url", bus),
        ("--nats-user", "node".to_owned()),
        ("--nats-password-file", nats.password_file("node").display().to_string()),
        ("--capacity", options.capacity.to_string()),
    ] {
        words.extend([flag.to_owned(), value]);
    }
    words.into_iter().map(toml::Value::String).collect::<Vec<_>>().into()
}

fn write_config(dir: &Path, nats: &NatsServer, carrier: u16, options: &StackOptions) -> PathBuf {
    let agent_args = agent_args(nats, carrier, options);
    let StackOptions { max_nodes, capacity, .. } = options;
    let text = |value: &dyn std::fmt::Display| toml::Value::String(value.to_string()).to_string();
    let path = dir.join("asterism.toml");
    let sip = match &options.pbx {
        StackPbx::Sim | StackPbx::SimBehind(_) => 5060,
        StackPbx::Asterisk { carrier, .. } => *carrier,
    };
    let file = format!(
        "fleet = {}\n[nats]\nurl = {}\nuser = \"service\"\npassword_file = {}\n[paths]\ndata_dir = {}\nkeys_dir = {}\n\
         [objects]\nurl = {}\n[scaler]\nmax_nodes = {max_nodes}\nnode_capacity = {capacity}\nagent_bin = {}\nagent_args = {agent_args}\n\
         [ledger]\ncheckpoint_every_ms = 2000\n[trunks.carrier]\nuri = \"sip:127.0.0.1:{sip}\"\nmax_channels = 10000\ncalls_per_second = 10000\n",
        text(&FLEET),
        text(&nats.service("x").unwrap().url),
        text(&nats.password_file("service").display()),
        text(&dir.join("data").display()),
        text(&dir.join("keys").display()),
        text(&format!("file://{}", dir.join("objects").display())),
        text(&program("asterism-agent").display()),
    );
    fs::write(&path, file).unwrap();
    path
}

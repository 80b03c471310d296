//! What runs under `asterism up`: the same services as the programs, on one connection and one copy of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use asterism_nats::{Bus, LeaseTiming, NatsServer};
use asterism_object_store::ObjectStore;
use asterism_proto::Role;
use asterism_runtime::boot;
use asterism_runtime::config::Config;
use asterism_runtime::health::Health;
use asterism_runtime::heartbeat::Heartbeats;
use asterism_runtime::keys::Keyring;
use asterism_runtime::leader::now_ms;
use asterism_runtime::log::{Log, LogConfig};
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;
use asterism_scaler::cloud::Cloud;
use asterism_scaler::cloud::local::{LocalCloud, LocalConfig};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::args::{PbxKind, UpArgs};
use super::objects::{self, Objects};
use super::settings::Settings;
use crate::client::Client;

/// The only fleet of a local system.
pub(super) const FLEET: &str = "local";
/// The only trunk of a local system.
pub const TRUNK: &str = "carrier";
/// How long the services may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How often the nats-server child is looked after.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// A running local system.
pub struct System {
    /// The fleet's name.
    pub fleet: String,
    /// Everything is below this folder.
    pub dir: PathBuf,
    /// Where other commands find this system.
    pub config_file: PathBuf,
    /// The bus.
    pub nats_url: String,
    /// What the services run on; its shutdown ends them.
    pub deps: Deps,
    /// Prompts and flows.
    pub store: Arc<dyn ObjectStore>,
    /// The local provider.
    pub cloud: LocalCloud,
    /// What nodes say of themselves.
    pub heartbeats: Heartbeats,
    /// Speaks to the services like any other command.
    pub client: Client,
    /// The configuration the services run with.
    pub config: Config,
    /// Rings as the carrier saw them.
    pub rings_file: PathBuf,
    /// Ctrl-C and SIGTERM.
    pub signals: Shutdown,
    tasks: tokio::sync::Mutex<JoinSet<anyhow::Result<()>>>,
    _children: Vec<Child>,
    _objects: Objects,
    watcher: tokio::task::JoinHandle<()>,
}

impl System {
    /// Starts everything and waits until it answers.
    pub async fn start(args: &UpArgs, settings: &Settings) -> anyhow::Result<Self> {
        let signals = Shutdown::on_signals()?;
        let dir = prepare_dir(args)?;
        let binary = args.nats_server.clone().or_else(asterism_nats::server::find_binary).context(
            "AST-U070: nats-server 2.12 or newer was not found; run tests/setup/nats-server.sh or name it by --nats-server",
        )?;
        let nats = NatsServer::start(&binary, &dir.join("nats"), None).await?;
        let keyring = Keyring::init(&dir.join("keys"), FLEET, now_ms())?;
        let (carrier, recorder) = start_recorder(args, &dir).await?;
        let objects = objects::start(args, &dir).await?;
        let (config, config_file) = settings.finish(&dir, &nats, &objects.url)?;
        let nats_url = config.nats.url.clone();
        let bus = Bus::connect(&nats.service("up")?).await?;
        let archive = boot::archive(&config, &keyring).await?;
        let log = Log::open_with(
            LogConfig {
                fleet: FLEET.to_owned(),
                dir: dir.join("log"),
                anchor: keyring.anchor(),
                first_frame: keyring.first_frame().to_vec(),
                stream_max_bytes: config.nats.stream_max_bytes,
                seal: (&config.log).into(),
            },
            bus.clone(),
            archive.as_ref(),
        )
        .await?;
        let deps = Deps {
            bus: bus.clone(),
            log,
            keyring,
            holder: format!("up-{}", std::process::id()),
            lease_timing: LeaseTiming::default(),
            shutdown: Shutdown::new(),
        };
        let store = asterism_object_store::open(&config.objects_url()?).await?;
        let stale = Duration::from_millis(config.agent.stale_after_ms);
        let heartbeats = Heartbeats::follow(&bus, FLEET, stale).await?;
        let cloud = LocalCloud::new(local_config(args, &config, &dir, &nats, carrier)?)?;
        let mut tasks = JoinSet::new();
        start_services(&mut tasks, &config, &deps, &store, &cloud, &heartbeats)?;
        let system = Self {
            fleet: FLEET.to_owned(),
            rings_file: dir.join("rings.csv"),
            dir,
            config_file,
            nats_url,
            client: Client::new(bus, FLEET),
            deps,
            store,
            cloud,
            heartbeats,
            config,
            signals,
            tasks: tokio::sync::Mutex::new(tasks),
            _children: recorder.into_iter().collect(),
            _objects: objects,
            watcher: tokio::spawn(watch_server(nats)),
        };
        Ok(system)
    }

    /// Fails if a service has ended with an error or the log cannot be followed.
    pub async fn check(&self) -> anyhow::Result<()> {
        if let Some(reason) = self.deps.log.failure().borrow().clone() {
            bail!("AST-U071: the log cannot be followed: {reason}");
        }
        while let Some(ended) = self.tasks.lock().await.try_join_next() {
            ended.context("a service panicked")??;
        }
        Ok(())
    }

    /// Ends the services and waits for them.
    pub async fn stop_services(&self) -> anyhow::Result<()> {
        self.deps.shutdown.request();
        let mut tasks = self.tasks.lock().await;
        let ended = tokio::time::timeout(STOP_PATIENCE, async {
            while let Some(ended) = tasks.join_next().await {
                ended.context("a service panicked")??;
            }
            Ok(())
        });
        ended.await.context("AST-U072: a service did not end within 20 s")?
    }

    /// Ends what still runs.
    pub async fn stop(self) -> anyhow::Result<()> {
        let result = self.stop_services().await;
        // Sealed and archived, so that `asterism replay` and `asterism archive` give what this run did.
        self.deps.log.sync().await;
        if let Err(error) = self.deps.log.seal().await {
            tracing::warn!(%error, "the log stays unsealed");
        }
        let ledger = asterism_ledger::LedgerConfig::from(&self.config);
        if let Err(problem) = asterism_ledger::archive_at_the_end(&ledger, &self.deps).await {
            eprintln!("{problem}");
        }
        self.watcher.abort();
        let _ = self.watcher.await;
        result
    }
}

fn start_services(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    deps: &Deps,
    store: &Arc<dyn ObjectStore>,
    cloud: &LocalCloud,
    heartbeats: &Heartbeats,
) -> anyhow::Result<()> {
    let (c, d) = (asterism_ledger::LedgerConfig::from(config), deps.clone());
    tasks.spawn(async move { Ok(Box::pin(asterism_ledger::run(c, d)).await?) });
    let recordings_keep_days = config.media.recordings_keep_days;
    let c = asterism_media_sync::MediaConfig { recordings_keep_days, ..Default::default() };
    let (d, s) = (deps.clone(), store.clone());
    tasks.spawn(async move { Ok(asterism_media_sync::run(c, d, s).await?) });
    let (c, d) = (asterism_scaler::ScalerConfig::load(config)?, deps.clone());
    let cloud: Arc<dyn Cloud> = Arc::new(cloud.clone());
    tasks.spawn(async move { Ok(asterism_scaler::run(c, d, cloud).await?) });
    let (c, d) = (asterism_dialer::DialerConfig::from(config), deps.clone());
    let (s, h) = (store.clone(), heartbeats.clone());
    tasks.spawn(async move { Ok(asterism_dialer::run(c, d, s, h).await?) });
    let responder = asterism_logic_responder::Deps {
        fleet: FLEET.to_owned(),
        bus: deps.bus.clone(),
        store: store.clone(),
        key: deps.key(Role::LogicResponder)?,
        log_key: deps.keyring.log_key()?,
        health: Health::new("logic-responder", &asterism_logic_responder::CHECKS),
        spool_dir: config.paths.data_dir.join("logic-responder.spool"),
    };
    let (c, shutdown) = (config.logic.clone(), deps.shutdown.clone());
    tasks.spawn(async move { Ok(asterism_logic_responder::run(c, responder, shutdown).await?) });
    Ok(())
}

/// The demo begins anew each time; other systems go on where they were.
fn prepare_dir(args: &UpArgs) -> anyhow::Result<PathBuf> {
    let default = if args.demo { "target/demo" } else { "asterism-data" };
    let dir = args.dir.clone().unwrap_or_else(|| default.into());
    if args.demo && args.dir.is_some() && dir.join("keys").is_dir() {
        // Only the demo's own folder is ever cleared: another one may hold a fleet's log.
        bail!("AST-U078: {} holds a fleet already; name an empty --dir for the demo", dir.display());
    }
    if args.demo && dir.join("keys").is_dir() && dir.join("nats").is_dir() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("AST-U073: clearing {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("AST-U074: {} cannot be made; choose another --dir", dir.display()))?;
    dir.canonicalize().with_context(|| format!("AST-U074: {}", dir.display()))
}

/// The carrier's recorder: outside all nodes, so its count is nobody's opinion.
async fn start_recorder(args: &UpArgs, dir: &Path) -> anyhow::Result<(Option<u16>, Option<Child>)> {
    if args.pbx != PbxKind::Sim {
        return Ok((None, None));
    }
    let port_file = dir.join("carrier.port");
    let _ = std::fs::remove_file(&port_file);
    let child = Command::new(sibling("carrier-recorder")?)
        .args(["--listen", "127.0.0.1:0", "--exit-on-stdin-eof", "--port-file"])
        .arg(&port_file)
        .arg("--out")
        .arg(dir.join("rings.csv"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("carrier.log"))?)
        .spawn()
        .context("AST-U075: carrier-recorder cannot be started")?;
    for _ in 0..200 {
        if let Some(port) = std::fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok())
        {
            return Ok((Some(port), Some(child)));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("AST-U075: carrier-recorder did not come up; see {}", dir.join("carrier.log").display())
}

/// A program that was built beside this one.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!("AST-U076: {name} is not beside {}; build all programs: cargo build --bins", own.display())
}

fn local_config(
    args: &UpArgs,
    config: &Config,
    dir: &Path,
    nats: &NatsServer,
    carrier: Option<u16>,
) -> anyhow::Result<LocalConfig> {
    let bus = nats.node("probe")?;
    let mut given: BTreeMap<&str, String> = BTreeMap::from([
        ("--fleet", FLEET.to_owned()),
        ("--nats-url", bus.url.clone()),
        ("--nats-user", "node".to_owned()),
        ("--nats-password-file", nats.password_file("node").display().to_string()),
        ("--capacity", config.scaler.node_capacity.to_string()),
        ("--step-timeout-ms", config.logic.deadline_ms.to_string()),
    ]);
    match args.pbx {
        PbxKind::Sim => {
            given.insert("--pbx", "sim".to_owned());
            given.insert("--clock-scale", config.test.clock_scale.to_string());
            given.insert("--pbx-sim-bin", sibling("pbx-sim")?.display().to_string());
            if let Some(port) = carrier {
                given.insert("--carrier", format!("127.0.0.1:{port}"));
            }
            if let Some(callees) = &args.callees {
                given.insert("--callees", callees.canonicalize()?.display().to_string());
            }
        }
        PbxKind::Asterisk => {
            let root = args.asterisk_root.clone().context(
                "AST-U077: --pbx asterisk needs --asterisk-root; tests/setup/asterisk.sh makes one and prints its path",
            )?;
            given.insert("--pbx", "asterisk".to_owned());
            given.insert("--asterisk-root", root.display().to_string());
        }
    }
    if let Some(file) = credentials(config, dir)? {
        given.insert("--trunk-credentials-file", file.display().to_string());
    }
    let flat = given.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    Ok(LocalConfig {
        agent_bin: sibling("asterism-agent")?,
        args: flat,
        env: Vec::new(),
        dir: dir.to_owned(),
    })
}

/// The carriers' credentials for the nodes of this machine, as the configuration names them: each under its trunk's name.
fn credentials(config: &Config, dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut lines = String::new();
    for (name, trunk) in &config.trunks {
        let (Some(user), Some(path)) = (&trunk.user, &trunk.password_file) else { continue };
        let about = std::fs::metadata(path)
            .with_context(|| format!("AST-U084: the password of the trunk {name}, {}", path.display()))?;
        if about.permissions().mode() & 0o077 != 0 {
            bail!("AST-U084: others can read {}: chmod 600 it", path.display());
        }
        let password = std::fs::read_to_string(path)
            .with_context(|| format!("AST-U084: the password of the trunk {name}, {}", path.display()))?;
        lines.extend([name, " ", user, " ", password.trim_end(), "\n"]);
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let file = dir.join("keys/trunk-credentials");
    write_secret(&file, &lines)?;
    Ok(Some(file))
}

/// Writes a file anew, for its owner alone.
pub(super) fn write_secret(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(file);
    let mut opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    opened.write_all(text.as_bytes())
}

/// Restarts the nats-server child whenever it has ended.
async fn watch_server(mut nats: NatsServer) {
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        if !nats.is_running() {
            tracing::warn!("nats-server has ended, starting it again");
            if let Err(error) = nats.restart().await {
                tracing::error!(%error, "nats-server cannot be started again");
            }
        }
    }
}

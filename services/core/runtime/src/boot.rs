//! How every service program starts: read the configuration, say it once, serve health, wait for the bus, open keys and
//! the copy of the log. Programs start in any order; each waits, and `/readyz` says for what.

use std::path::PathBuf;
use std::time::Duration;

use asterism_nats::{Bus, LeaseTiming};

use crate::archive::Archive;
use crate::config::{Config, ConfigError};
use crate::health::{Health, HealthError, HealthServer};
use crate::keys::{Keyring, KeyringError};
use crate::log::{Log, LogConfig, LogError, SealAt};
use crate::restore::RestoreError;
use crate::role::Deps;
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Format, TelemetryError};

/// How often a missing key folder is looked for.
const KEYS_RETRY: Duration = Duration::from_millis(500);

/// Flags of every service program.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CommonArgs {
    /// Configuration file (TOML), the same for all services.
    #[arg(long, env = "ASTERISM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one value; wins over the file and `ASTERISM_SECTION__KEY`.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Log lines as JSON.
    #[arg(long)]
    pub log_json: bool,
    /// Print the configuration with the place of each value, and end.
    #[arg(long)]
    pub print_config: bool,
}

/// Why a program could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The health page.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] asterism_nats::Error),
    /// The key folder.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The copy of the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Signals cannot be received.
    #[error("AST-R050: signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// The data folder's place.
    #[error("AST-R051: the working directory is gone: {0}")]
    WorkingDirectory(std::io::Error),
}

/// A started program without a copy of the log.
#[derive(Debug)]
pub struct Booted {
    /// The configuration.
    pub config: Config,
    /// The connection.
    pub bus: Bus,
    /// The key folder.
    pub keyring: Keyring,
    /// Its checks: `bus` and `keys` are set, the rest is the service's.
    pub health: Health,
    /// Asked to stop by SIGTERM or Ctrl-C.
    pub shutdown: Shutdown,
    /// `<service>-<process id>`: names this process to people and on the bus.
    pub holder: String,
    /// Keeps the health page up.
    pub health_server: HealthServer,
}

/// Reads and checks the configuration; `None` if it was only to be printed.
pub fn configure(args: &CommonArgs) -> Result<Option<Config>, BootError> {
    let config = Config::load(args.config.as_deref(), std::env::vars(), &args.sets)?;
    if args.print_config {
        use std::io::Write;
        let _ = std::io::stdout().write_all(config.print_masked().as_bytes());
        return Ok(None);
    }
    telemetry::init("info", if args.log_json { Format::Json } else { Format::default() })?;
    Ok(Some(config))
}

/// Starts a service up to its connection and keys. `None`: it was told to stop while it waited.
pub async fn boot(
    service: &str,
    config: Config,
    listen: std::net::SocketAddr,
    waits_for: &[&str],
) -> Result<Option<Booted>, BootError> {
    tracing::info!(service, version = env!("CARGO_PKG_VERSION"), "starting\n{}", config.print_masked());
    let mut shutdown = Shutdown::on_signals().map_err(BootError::Signals)?;
    let checks: Vec<&str> = ["bus", "keys"].into_iter().chain(waits_for.iter().copied()).collect();
    let health = Health::new(service, &checks);
    // The sections of the file are called by the first word: `logic`, `media`.
    let section = service.split('-').next().unwrap_or(service);
    let health_server = health.serve(listen, &format!("{section}.http_listen")).await?;
    tracing::info!(service, address = %health_server.address(), "health");
    let holder = format!("{service}-{}", std::process::id());
    let bus_config = config.bus_for_service(&holder)?;
    let waiting = health.clone();
    let bus = tokio::select! {
        bus = Bus::connect_waiting(&bus_config, move |attempt, error| {
            tracing::warn!(attempt, %error, "waiting for the bus");
            waiting.set("bus", Err(error.to_string()));
        }) => bus?,
        () = shutdown.requested() => return Ok(None),
    };
    follow_bus(&bus, &health);
    let keyring = tokio::select! {
        keyring = wait_for_keys(&config, &health) => keyring?,
        () = shutdown.requested() => return Ok(None),
    };
    Ok(Some(Booted { config, bus, keyring, health, shutdown, holder, health_server }))
}

/// Adds the copy of the log.
pub async fn with_log(booted: &Booted) -> Result<Deps, BootError> {
    let config = &booted.config;
    let service = booted.holder.rsplit_once('-').map_or(booted.holder.as_str(), |(service, _)| service);
    let archive = archive(config, &booted.keyring).await?;
    let log = Log::open_with(
        LogConfig {
            fleet: config.fleet.clone(),
            dir: config.paths.data_dir.join(format!("log-{service}")),
            anchor: booted.keyring.anchor(),
            first_frame: booted.keyring.first_frame().to_vec(),
            stream_max_bytes: config.nats.stream_max_bytes,
            seal: SealAt::from(&config.log),
        },
        booted.bus.clone(),
        archive.as_ref(),
    )
    .await?;
    let (health, follower, shutdown) = (booted.health.clone(), log.clone(), booted.shutdown.clone());
    log.report(&health);
    tokio::spawn(async move { watch_log(&health, &follower, &shutdown).await });
    Ok(Deps {
        bus: booted.bus.clone(),
        log,
        keyring: booted.keyring.clone(),
        holder: booted.holder.clone(),
        lease_timing: LeaseTiming::default(),
        shutdown: booted.shutdown.clone(),
    })
}

/// The archive of the log, if one is configured.
pub async fn archive(config: &Config, keyring: &Keyring) -> Result<Option<Archive>, BootError> {
    let Some(url) = &config.ledger.archive else { return Ok(None) };
    let archive = Archive::open(url, &config.fleet, keyring.anchor(), keyring.log_key()?).await;
    Ok(Some(archive.map_err(RestoreError::from).map_err(LogError::from)?))
}

/// What a program ends with: an error if its copy of the log could not go on, so that whoever started it can tell.
pub fn ending(deps: &Deps) -> Result<(), BootError> {
    match deps.log.failure().borrow().clone() {
        Some(reason) => Err(LogError::Stopped(reason).into()),
        None => Ok(()),
    }
}

/// Keeps the check `log`; a copy that cannot go on stops the process.
async fn watch_log(health: &Health, log: &Log, shutdown: &Shutdown) {
    let (mut head, mut failure) = (log.head(), log.failure());
    loop {
        let now = *head.borrow_and_update();
        let state = if now.caught_up {
            Ok(())
        } else {
            let doubt = log.doubt().filter(|_| now.at_end);
            Err(doubt.unwrap_or_else(|| "reading the log".to_owned()))
        };
        health.set("log", state);
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return },
            failed = failure.wait_for(Option::is_some) => {
                let reason = failed.ok().and_then(|reason| reason.clone()).unwrap_or_default();
                tracing::error!(reason, "the log cannot be followed, stopping");
                health.set("log", Err(reason));
                shutdown.request();
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn follow_bus(bus: &Bus, health: &Health) {
    let (bus, health) = (bus.clone(), health.clone());
    tokio::spawn(async move {
        loop {
            let state = if bus.is_connected() { Ok(()) } else { Err("not connected to nats-server") };
            health.set("bus", state);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
}

async fn wait_for_keys(config: &Config, health: &Health) -> Result<Keyring, KeyringError> {
    let dir = config.keys_dir();
    loop {
        match Keyring::open(&dir, &config.fleet) {
            Ok(keyring) => {
                health.set("keys", Ok::<(), String>(()));
                return Ok(keyring);
            }
            Err(KeyringError::Io { error, path }) if error.kind() == std::io::ErrorKind::NotFound => {
                let reason = format!("{} is not there; run `asterism init`", path.display());
                tracing::warn!(reason, "waiting for keys");
                health.set("keys", Err(reason));
                tokio::time::sleep(KEYS_RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

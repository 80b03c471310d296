//! The only owner of instances.
//!
//! Decisions are `asterism_domain::fleet`; this shell hands in ticks ([`tick`]) with what the cloud lists
//! ([`inventory`]) and the nodes say, does what the log owes the outside ([`effects`]) where there is room for it ([`places`]) and remembers why it could not ([`troubles`]), admits nodes
//! ([`registration`]), answers people ([`commands`]) and tells the time ([`time`]). It remembers nothing but what is in
//! flight: killed at any point, the next one goes on from the log.

pub mod cloud;
pub mod commands;
pub mod config;
pub mod counters;
pub mod effects;
mod hearing;
pub mod inventory;
pub mod places;
pub mod prices;
pub mod provider;
pub mod registration;
pub mod tick;
pub mod time;
pub mod token;
pub mod troubles;

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::fleet::{self, FleetCommand};
use asterism_proto::Role;
use asterism_runtime::heartbeat::Heartbeats;
use asterism_runtime::leader::Desk;
use asterism_runtime::role::Deps;
use tokio::task::JoinSet;

use cloud::Cloud;
pub use config::ScalerConfig;
use counters::Counters;
use inventory::Inventories;
use places::Places;
use troubles::Troubles;

/// Why the scaler cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key is missing.
    #[error(transparent)]
    Keys(#[from] asterism_runtime::keys::KeyringError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] asterism_nats::Error),
}

/// What every part of the shell works with.
#[derive(Clone)]
pub(crate) struct Shell {
    pub config: Arc<ScalerConfig>,
    pub deps: Deps,
    pub desk: Desk<FleetCommand>,
    pub cloud: Arc<dyn Cloud>,
    pub heartbeats: Heartbeats,
    pub inventories: Inventories,
    pub places: Arc<Places>,
    pub counters: Counters,
    pub troubles: Troubles,
}

/// Runs the scaler until shutdown, and returns when its tasks have ended.
///
/// # Errors
/// A key is missing, or the connection is closed.
pub async fn run(config: ScalerConfig, deps: Deps, cloud: Arc<dyn Cloud>) -> Result<(), Error> {
    run_counted(config, deps, cloud, Counters::default()).await
}

/// As [`run`], counting where the caller can see it.
///
/// # Errors
/// A key is missing, or the connection is closed.
pub async fn run_counted(
    config: ScalerConfig,
    deps: Deps,
    cloud: Arc<dyn Cloud>,
    counters: Counters,
) -> Result<(), Error> {
    let tokens = token::LaunchTokens::new(&deps.keyring)?;
    let log_key = deps.keyring.log_key()?;
    let stale = Duration::from_millis(config.policy.stale_after_ms);
    let heartbeats = Heartbeats::follow(&deps.bus, deps.log.fleet(), stale).await?;
    let desk = deps.lead(Role::Scaler, fleet::decide::decide)?;
    let mut shutdown = deps.shutdown.clone();
    let memory = Duration::from_millis(config.capacity_memory_ms);
    let shell = Shell {
        places: Arc::new(Places::new(config.template.places.clone(), memory)),
        config: Arc::new(config),
        deps,
        desk,
        cloud,
        heartbeats,
        inventories: Inventories::default(),
        counters,
        troubles: Troubles::default(),
    };
    commands::serve(&shell);
    let mut tasks = JoinSet::new();
    tasks.spawn(inventory::run(shell.clone()));
    tasks.spawn(tick::run(shell.clone()));
    tasks.spawn(effects::launch::run(shell.clone(), tokens.clone(), log_key));
    tasks.spawn(effects::addresses::run(shell.clone()));
    tasks.spawn(effects::orders::run(shell.clone()));
    tasks.spawn(effects::end::run(shell.clone()));
    tasks.spawn(effects::strays::run(shell.clone()));
    tasks.spawn(registration::run(shell.clone(), tokens));
    let (log, stop) = (shell.deps.log.clone(), shell.deps.shutdown.clone());
    tasks.spawn(async move { time::serve(&log, stop).await });
    shutdown.requested().await;
    tasks.shutdown().await;
    // The leader's loop ends with the shutdown too; a command being committed is finished first.
    let _ = shell.desk.leading().wait_for(Option::is_none).await;
    Ok(())
}

impl Shell {
    /// Whether this process still leads the term.
    pub(crate) fn leads(&self, term: u64) -> bool {
        self.desk.term() == Some(term)
    }

    /// Hands in what the outside answered. What is rejected here was answered before or is an incident.
    pub(crate) async fn tell(&self, command: FleetCommand) -> bool {
        match self.desk.tell(command).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "an outcome was not taken");
                false
            }
        }
    }
}

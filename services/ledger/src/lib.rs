//! The ledger: signs checkpoints of the log, seals, serves ranges to copies under repair, asks origins for what the log
//! misses.
//!
//! One ledger leads at a time, made by `LeaderElected` like any other role. It has no decisions, so it has no desk: a
//! checkpoint is what its copy holds, committed as it stands. Reading order: [`office`] (the loop), [`checkpoint`]
//! (what is signed), [`commands`], [`range`], [`resend`].

pub mod checkpoint;
pub mod commands;
pub mod office;
pub mod range;
pub mod resend;

use asterism_proto::Role;
use asterism_runtime::config::Config;
use asterism_runtime::role::Deps;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Local requests for a checkpoint that may wait.
const ASKS_MAX: usize = 64;

/// The ledger's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Time between checkpoints while the log grows.
    pub checkpoint_every_ms: u64,
    /// Requests that come within this time of a checkpoint share the next one.
    pub share_ms: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { checkpoint_every_ms: 10_000, share_ms: 50 }
    }
}

impl From<&Config> for LedgerConfig {
    fn from(config: &Config) -> Self {
        Self { checkpoint_every_ms: config.ledger.checkpoint_every_ms, ..Self::default() }
    }
}

/// Why the ledger cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its key is missing.
    #[error(transparent)]
    Keys(#[from] asterism_runtime::keys::KeyringError),
    /// The bus refuses it.
    #[error(transparent)]
    Bus(#[from] asterism_nats::Error),
    /// The copy of the log stopped; the process must end.
    #[error("AST-R031: the log has stopped: {0}")]
    Stopped(String),
}

/// Runs the ledger until shutdown.
pub async fn run(config: LedgerConfig, deps: Deps) -> Result<(), Error> {
    let key = deps.key(Role::Ledger)?;
    let _ranges = range::serve(&deps.log).await?;
    let (lead, leading) = watch::channel(None);
    let (asks, queue) = mpsc::channel(ASKS_MAX);
    commands::serve(&deps, leading.clone(), asks);
    let mut asking = JoinSet::new();
    asking.spawn(resend::ask(deps.log.clone(), leading));
    office::Office::new(config, deps, key, lead, queue).run().await
}

//! The ledger: signs checkpoints of the log, seals, serves ranges to copies under repair, asks origins for what the log
//! misses.
//!
//! One ledger leads at a time, made by `LeaderElected` like any other role. It has no decisions, so it has no desk: a
//! checkpoint is what its copy holds, committed as it stands. Reading order: [`office`] (the loop), [`checkpoint`]
//! (what is signed), [`commands`], [`range`] and `shelf` (this copy for others), [`resend`], [`witness`] (nodes that check
//! and cosign), `cosigned` (their notes for the archive), `archiver` (sealed segments to the object store), `continues` (a
//! stream that was made anew), [`losses`] (what is given up), [`retention`] (what only the stream has).

mod archiver;
pub mod checkpoint;
pub mod commands;
mod continues;
mod cosigned;
pub mod losses;
pub mod office;
pub mod range;
pub mod resend;
pub mod retention;
mod shelf;
pub mod witness;

use std::time::Duration;

use asterism_proto::{Role, note};
use asterism_runtime::archive::{Archive, ArchiveError};
use asterism_runtime::config::Config;
use asterism_runtime::health::Health;
use asterism_runtime::role::Deps;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use archiver::Problem as ArchiveProblem;
use archiver::{Archiver, Pace};
use losses::Said;
pub use retention::Retention;
pub use witness::Witnesses;

/// How long an orderly end waits for the archive.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Local requests for a checkpoint that may wait.
const ASKS_MAX: usize = 64;

/// The ledger's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Time between checkpoints while the log grows.
    pub checkpoint_every_ms: u64,
    /// Events after which one is due before its time: what origins hold until a checkpoint covers it stays bounded.
    pub checkpoint_every_events: u64,
    /// Requests that come within this time of a checkpoint share the next one.
    pub share_ms: u64,
    /// Where sealed segments go, if anywhere.
    pub archive: Option<String>,
    /// Time between two seals for the archive.
    pub seal_every_ms: u64,
    /// How long what only the ledger wrote waits until it is sealed for the archive: less than the stream keeps it.
    pub tail_after_ms: u64,
    /// Events between two archived snapshots: what an empty machine folds beyond one stays within about this.
    pub snapshot_events: u64,
    /// What the stream keeps for the archive.
    pub retention: Retention,
    /// How long frames are missing before they are given up.
    pub lost_after_ms: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            checkpoint_every_ms: 10_000,
            checkpoint_every_events: 65_536,
            share_ms: 50,
            archive: None,
            seal_every_ms: 900_000,
            tail_after_ms: 6 * 3_600_000,
            snapshot_events: 100_000,
            retention: Retention::default(),
            lost_after_ms: 900_000,
        }
    }
}

impl LedgerConfig {
    fn pace(&self) -> Pace {
        Pace {
            seal_every: Duration::from_millis(self.seal_every_ms),
            tail_after: Duration::from_millis(self.tail_after_ms),
            snapshot_events: self.snapshot_events,
        }
    }
}

impl From<&Config> for LedgerConfig {
    fn from(config: &Config) -> Self {
        let ledger = &config.ledger;
        Self {
            checkpoint_every_ms: ledger.checkpoint_every_ms,
            archive: ledger.archive.clone(),
            seal_every_ms: ledger.seal_every_ms,
            lost_after_ms: ledger.lost_after_ms,
            ..Self::default()
        }
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
    /// The archive cannot be opened.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A metric's name is taken by another kind.
    #[error(transparent)]
    Metrics(#[from] asterism_runtime::health::MetricsError),
    /// The copy of the log stopped; the process must end.
    #[error("AST-R031: the log has stopped: {0}")]
    Stopped(String),
}

/// Runs the ledger until shutdown.
pub async fn run(config: LedgerConfig, deps: Deps) -> Result<(), Error> {
    run_with(config, deps, None).await
}

/// [`run`], with the state of the archive in the process's health.
pub async fn run_with(config: LedgerConfig, deps: Deps, health: Option<Health>) -> Result<(), Error> {
    let key = deps.key(Role::Ledger)?;
    let tag = note::tag(deps.log.fleet(), &deps.keyring.anchor());
    let _ranges = range::serve(&deps.log).await?;
    let (lead, leading) = watch::channel(None);
    let (asks, queue) = mpsc::channel(ASKS_MAX);
    let (hand_in, losses) = mpsc::channel(ASKS_MAX);
    let said = Said::default();
    commands::serve(&deps, leading.clone(), asks.clone(), (said.clone(), hand_in.clone()));
    let mut tasks = JoinSet::new();
    let mut continuer = None;
    let (_growth, witnesses) = (witness::serve(&deps.log).await?, Witnesses::default());
    if let Some(health) = &health {
        witnesses.report(health)?;
    }
    tasks.spawn(witness::hear(deps.log.clone(), note::origin(&tag), witnesses.clone()));
    let after = Duration::from_millis(config.lost_after_ms);
    tasks.spawn(resend::ask(deps.log.clone(), leading.clone(), said, after, hand_in));
    if let Some(url) = &config.archive {
        let (anchor, log_key) = (deps.keyring.anchor(), deps.keyring.log_key()?);
        let archive = Archive::open(url, deps.log.fleet(), anchor, log_key).await?;
        let archiver = |health| {
            let (log, archive) = (deps.log.clone(), archive.clone());
            Archiver::new(log, archive, key.clone(), config.pace(), (asks.clone(), witnesses.clone()), health)
        };
        continuer = Some(archiver(None));
        tasks.spawn(retention::keep(deps.log.clone(), config.retention, asks.clone(), leading.clone()));
        tasks.spawn(archiver(health).run(leading));
    }
    let queues = (queue, losses);
    let ended = office::Office::new(config, deps, key, lead, queues, continuer).run().await;
    drop(asks); // held until here: a closed queue ends a term
    ended
}

/// At an orderly end, once nobody writes any more: seals this copy and stores what is sealed and not archived. Gives the
/// size up to which the log is archived, `None` without an archive. The log is told at the next start.
///
/// # Errors
/// AST-G022 the store is away; AST-R07x, AST-G020 as archiving. Nothing is lost: the copy has it.
pub async fn archive_at_the_end(config: &LedgerConfig, deps: &Deps) -> Result<Option<u64>, ArchiveProblem> {
    let Some(url) = &config.archive else { return Ok(None) };
    let at_the_end = |why: String| ArchiveProblem::AtTheEnd { why };
    let key = deps.key(Role::Ledger).map_err(|error| at_the_end(error.to_string()))?;
    let log_key = deps.keyring.log_key().map_err(|error| at_the_end(error.to_string()))?;
    let open = Archive::open(url, deps.log.fleet(), deps.keyring.anchor(), log_key);
    let archive = tokio::time::timeout(END_PATIENCE, open).await;
    let archive = archive.map_err(|_| at_the_end("the store did not answer".to_owned()))??;
    deps.log.seal().await.map_err(|error| at_the_end(error.to_string()))?;
    let (nobody, _) = mpsc::channel(1);
    let mut archiver =
        Archiver::new(deps.log.clone(), archive, key, config.pace(), (nobody, Witnesses::default()), None);
    archiver.catch_up_within(END_PATIENCE).await.map(Some)
}

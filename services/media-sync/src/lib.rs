//! Prompts and flows: published once, fetched by every node.
//!
//! [`publish`] puts documents and sounds into the object store; [`commands`] commits that they are there, after
//! [`shelf`] has read them back; [`orders`] tells nodes to fetch what running campaigns play until their own facts prove
//! that they hold it; [`recordings`] takes what calls recorded into the store.

mod addresses;
pub mod commands;
pub mod orders;
pub mod publish;
mod recordings;
pub mod records;
pub mod shelf;
pub mod sweep;

use std::sync::Arc;

use asterism_domain::catalogue;
use asterism_domain::recording::DAY_MS;
use asterism_object_store::ObjectStore;
use asterism_proto::Role;
use asterism_runtime::role::Deps;

use shelf::Shelf;

/// Media-sync's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaConfig {
    /// How long the addresses in an order can be fetched from.
    pub url_valid_s: u32,
    /// Time before an order is repeated to a node that took it and has not proved anything yet.
    pub repeat_after_ms: u64,
    /// Days recordings of a campaign are kept that has no number of its own; 0 = until they are erased.
    pub recordings_keep_days: u32,
    /// How long such a day is; shorter ones are for tests.
    pub day_ms: u64,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { url_valid_s: 3_600, repeat_after_ms: 5_000, recordings_keep_days: 0, day_ms: DAY_MS }
    }
}

/// Why media-sync cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its key is missing.
    #[error(transparent)]
    Keys(#[from] asterism_runtime::keys::KeyringError),
    /// The bus lets it serve nobody.
    #[error(transparent)]
    Bus(#[from] asterism_nats::Error),
    /// The copy of the log stopped; the process must end.
    #[error("AST-R031: the log has stopped: {0}")]
    Stopped(String),
}

/// Runs media-sync until shutdown.
pub async fn run(config: MediaConfig, deps: Deps, store: Arc<dyn ObjectStore>) -> Result<(), Error> {
    let desk = deps.lead(Role::MediaSync, catalogue::decide)?;
    let shelf = Arc::new(Shelf::new(store, config.url_valid_s));
    let keeper = Arc::new(recordings::Keeper::new(&deps.log, &desk, &shelf, &config));
    commands::serve(&deps, &desk, &shelf, &keeper);
    let _addresses = addresses::serve(&deps.log, &shelf, &keeper).await?;
    let (mut shutdown, mut failure) = (deps.shutdown.clone(), deps.log.failure());
    tokio::select! {
        () = orders::run(&config, &deps, &desk, &shelf) => {}
        () = keeper.run() => {}
        _ = failure.wait_for(Option::is_some) => {}
        () = shutdown.requested() => {}
    }
    // Whoever watches the copy may have asked for the stop because of this.
    if let Some(reason) = deps.log.failure().borrow().clone() {
        return Err(Error::Stopped(reason));
    }
    // The desk ends with the shutdown; a publication being committed is finished first.
    let _ = desk.leading().wait_for(Option::is_none).await;
    Ok(())
}

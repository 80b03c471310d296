//! The dialer: contacts to attempts.
//!
//! Decisions are `asterism_domain::campaign`; this shell hands in ticks ([`tick`]), sends the orders the log owes
//! ([`orders`]), answers people ([`commands`], [`emergency`]) and programs ([`calls`]), tells the user's
//! own server ([`webhook`]) and deletes the keys of erased imports. It remembers nothing but what is in flight.

pub mod calls;
pub mod commands;
pub mod config;
pub mod emergency;
mod erase;
pub mod orders;
pub mod tick;
pub mod trunks;
pub mod webhook;

use std::sync::Arc;

use asterism_domain::campaign;
use asterism_object_store::ObjectStore;
use asterism_proto::Role;
use asterism_runtime::heartbeat::Heartbeats;
use asterism_runtime::role::Deps;

pub use config::DialerConfig;

/// Why the dialer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key is missing.
    #[error(transparent)]
    Keys(#[from] asterism_runtime::keys::KeyringError),
    /// Calls cannot be taken.
    #[error(transparent)]
    Calls(#[from] calls::CallsError),
    /// Notices cannot be sent.
    #[error(transparent)]
    Webhook(#[from] webhook::WebhookError),
}

/// Runs the dialer until shutdown.
pub async fn run(
    config: DialerConfig,
    deps: Deps,
    store: Arc<dyn ObjectStore>,
    heartbeats: Heartbeats,
) -> Result<(), Error> {
    let desk = deps.lead(Role::Dialer, campaign::decide)?;
    let config = Arc::new(config);
    let webhook = webhook::Webhook::new(&config.webhook)?;
    let brake = emergency::Brake::default();
    let refusals = trunks::Refusals::default();
    commands::serve(&deps, &desk, &config, &brake, &refusals)?;
    let _calls = calls::serve(&deps, &desk, &config).await?;
    let ticks = tick::run(config.clone(), deps.clone(), desk.clone(), heartbeats, brake.clone());
    let orders = orders::run(deps.clone(), desk.clone(), store, brake);
    let mut shutdown = deps.shutdown.clone();
    tokio::select! {
        () = ticks => {}
        () = orders => {}
        () = emergency::run(deps.clone(), desk.clone()) => {}
        () = trunks::run(config, deps.clone(), desk.clone(), refusals) => {}
        () = erase::run(deps.clone()) => {}
        () = Box::pin(webhook.run(deps.clone(), desk.clone())) => {}
        () = shutdown.requested() => {}
    }
    // The loop itself ends with the shutdown; a command being committed is finished first.
    let mut leading = desk.leading();
    let _ = leading.wait_for(Option::is_none).await;
    Ok(())
}

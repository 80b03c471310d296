//! The logic responder: answers the dialplan's "what next?", and commits each decision before its answer leaves.
//!
//! Stateless: a call's state travels with its question, so any replica answers any question. Decisions are
//! `asterism_domain::logic::next`.
//!
//! Reading order: [`responder`] (question to answer), [`flows`] (the flows held in memory), [`backend`] (answers from
//! elsewhere), [`cache`] (answers of back ends, kept), [`commit`] (one frame in flight; whoever waits shares it).

pub mod backend;
pub mod cache;
pub mod commit;
pub mod flows;
pub mod responder;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asterism_nats::{Bus, ServiceSpec, Subject, serve, stream};
use asterism_object_store::ObjectStore;
use asterism_proto::v1::{StepAnswer, StepQuestion};
use asterism_proto::{OriginKey, PublicKey, Role};
use asterism_runtime::config::LogicConfig;
use asterism_runtime::health::{Health, MetricsError};
use asterism_runtime::keys::KeyringError;
use asterism_runtime::shutdown::Shutdown;
use asterism_runtime::spool::{Spool, SpoolError};
use bytes::Bytes;
use prost::Message as _;
use tokio::task::JoinSet;

pub use responder::{Refusal, Responder};

/// The checks of [`Health`] that this service sets; it is not ready until all are well.
pub const CHECKS: [&str; 2] = ["log", "service"];
/// How long an orderly stop may take before it is cut short.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a log that is not there yet is looked for.
const LOG_POLL: Duration = Duration::from_millis(500);
/// Longest question read, in bytes.
const QUESTION_MAX_BYTES: usize = 4 * 1024;

/// Why the responder cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus refuses the service.
    #[error(transparent)]
    Bus(#[from] asterism_nats::Error),
    /// No randomness for the epoch.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The spool's folder.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The back ends cannot be set up.
    #[error(transparent)]
    Backends(#[from] backend::SetupError),
    /// A metric's name is taken by another kind.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// What the responder runs on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The fleet whose questions it answers.
    pub fleet: String,
    /// The connection.
    pub bus: Bus,
    /// Where flows are published.
    pub store: Arc<dyn ObjectStore>,
    /// The key of the role; all replicas share it, each has an origin of its own.
    pub key: OriginKey,
    /// The key that signs the log's checkpoints.
    pub log_key: PublicKey,
    /// Its checks and metrics.
    pub health: Health,
    /// Where its frames stay until a checkpoint covers them; replicas may share it.
    pub spool_dir: PathBuf,
}

/// Answers questions until shutdown: waits for the log, serves, and on an orderly stop answers what it has taken and
/// closes its origin.
pub async fn run(config: LogicConfig, deps: Deps, mut shutdown: Shutdown) -> Result<(), Error> {
    tokio::select! {
        () = wait_for_log(&deps) => {}
        () = shutdown.requested() => return Ok(()),
    }
    let spool = Spool::open(&deps.spool_dir)?;
    let mut spooling = JoinSet::new();
    spooling.spawn(spool.clone().report(deps.health.clone()));
    spooling.spawn(spool.clone().serve(deps.bus.clone(), deps.fleet.clone(), deps.log_key));
    let (responder, commits) = Responder::start(&config, &deps, &spool)?;
    let responder = Arc::new(responder);
    tracing::info!(origin = %responder.origin(), "answering");
    let spec = ServiceSpec {
        name: Role::LogicResponder.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "decides what a call does next".to_owned(),
        subject: Subject::step(&deps.fleet).map_err(asterism_nats::Error::from)?,
        queue: Role::LogicResponder.name().to_owned(),
        concurrency: config.concurrency as usize,
    };
    let service = serve(&deps.bus, spec, move |payload| {
        let responder = Arc::clone(&responder);
        async move { Ok(answer(&responder, payload).await.encode_to_vec()) }
    })
    .await?;
    deps.health.set("service", Ok::<(), String>(()));
    shutdown.requested().await;
    deps.health.set("service", Err("stopping"));
    let drained = Shutdown::drain_within(DRAIN_TIMEOUT, async {
        service.stop().await;
        commits.stop().await;
    });
    if !drained.await {
        tracing::warn!("stopped without an acknowledgement for the last frame; its origin stays open");
    }
    Ok(())
}

async fn answer(responder: &Responder, payload: Bytes) -> StepAnswer {
    if payload.len() > QUESTION_MAX_BYTES {
        return Refusal::malformed("it is too long").into();
    }
    match StepQuestion::decode(payload) {
        Ok(question) => responder.answer(&question).await,
        Err(_) => Refusal::malformed("it cannot be decoded").into(),
    }
}

/// A frame that arrived before frame 1 of the log would be refused for good, so nothing is decided before.
async fn wait_for_log(deps: &Deps) {
    loop {
        let state = match stream::info(&deps.bus, &deps.fleet).await {
            Ok(info) if info.last_sequence > 0 => {
                deps.health.set("log", Ok::<(), String>(()));
                return;
            }
            Ok(_) => "the stream is empty: the log is not created yet".to_owned(),
            Err(error) => error.to_string(),
        };
        deps.health.set("log", Err(state));
        tokio::time::sleep(LOG_POLL).await;
    }
}

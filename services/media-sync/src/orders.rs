//! Sync orders: what the log owes the nodes, sent while this process leads and repeated until a fact ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::catalogue::{self, CatalogueCommand, Published};
use asterism_nats::{RequestError, Subject, Verb};
use asterism_proto::v1::{OrderReply, SyncOrder};
use asterism_runtime::leader::Desk;
use asterism_runtime::role::Deps;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::MediaConfig;
use crate::shelf::{Shelf, ShelfError};

/// Orders in flight at the same time.
pub const CONCURRENCY: usize = 16;
/// Largest order: what nats-server takes as one message, less its headers.
pub const ORDER_MAX_BYTES: usize = 1024 * 1024 - 4096;
/// How long a node may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Time before an order nobody took is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Time between two looks at a log that grows all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Time between two looks at a log that does not grow.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A manifest owed to a node.
type Owed = (NodeId, String);

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("AST-M077: the order has {0} bytes, a message of the bus has at most {ORDER_MAX_BYTES}")]
    TooLarge(usize),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the node is not named as one can be: {0}")]
    Subject(#[from] asterism_nats::subject::SubjectError),
    #[error("the answer cannot be read")]
    Answer,
    #[error("{code}: {reason}")]
    Refused { code: String, reason: String },
}

/// Sends orders while this process leads. Never ends by itself; dropped, it drops what is in flight.
pub(crate) async fn run(
    config: &MediaConfig,
    deps: &Deps,
    desk: &Desk<CatalogueCommand>,
    shelf: &Arc<Shelf>,
) {
    let repeat = Duration::from_millis(config.repeat_after_ms);
    let mut orders = Orders { deps, shelf, repeat, flying: BTreeSet::new(), waits: BTreeMap::new() };
    let (mut head, mut leading) = (deps.log.head(), desk.leading());
    loop {
        // What `wait_for` gives back is a lock: only the number leaves it.
        let led = leading.wait_for(Option::is_some).await.map(|term| *term);
        let Ok(Some(term)) = led else { return };
        let mut flight = JoinSet::new();
        orders.flying.clear();
        while *leading.borrow() == Some(term) {
            head.mark_unchanged();
            orders.send(term, &mut flight);
            let looked = Instant::now();
            tokio::select! {
                Some(done) = flight.join_next() => {
                    if let Ok((owed, wait)) = done {
                        orders.done(owed, wait);
                    }
                }
                _ = head.changed() => sleep_until(looked + LOOK_PAUSE).await,
                _ = leading.changed() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

struct Orders<'a> {
    deps: &'a Deps,
    shelf: &'a Arc<Shelf>,
    repeat: Duration,
    flying: BTreeSet<Owed>,
    /// When an order may be sent again.
    waits: BTreeMap<Owed, Instant>,
}

impl Orders<'_> {
    fn send(&mut self, term: u64, flight: &mut JoinSet<(Owed, Duration)>) {
        let owed: Vec<(Owed, Published)> = self.deps.log.read(|state| {
            let published = |manifest: &String| state.catalogue.manifests.get(manifest).cloned();
            catalogue::owed_syncs(state)
                .filter_map(|(node, manifest)| Some(((node.clone(), manifest.clone()), published(manifest)?)))
                .collect()
        });
        let still: BTreeSet<&Owed> = owed.iter().map(|(owed, _)| owed).collect();
        self.waits.retain(|owed, _| still.contains(owed));
        let now = Instant::now();
        for (owed, published) in owed {
            if flight.len() >= CONCURRENCY {
                return;
            }
            let waits = self.waits.get(&owed).is_some_and(|until| now < *until);
            if waits || !self.flying.insert(owed.clone()) {
                continue;
            }
            let (deps, from, repeat) = (self.deps.clone(), self.shelf.clone(), self.repeat);
            flight.spawn(async move {
                let wait = match order(&deps, &from, term, &owed, &published).await {
                    Ok(()) => repeat,
                    Err(error @ OrderError::Request(_)) => {
                        tracing::debug!(node = owed.0, manifest = owed.1, %error, "sync order not answered");
                        RETRY_AFTER
                    }
                    Err(error) => {
                        tracing::warn!(node = owed.0, manifest = owed.1, %error, "sync order not taken");
                        repeat
                    }
                };
                (owed, wait)
            });
        }
    }

    fn done(&mut self, owed: Owed, wait: Duration) {
        self.flying.remove(&owed);
        self.waits.insert(owed, Instant::now() + wait);
    }
}

async fn order(
    deps: &Deps,
    shelf: &Shelf,
    term: u64,
    (node, manifest): &Owed,
    published: &Published,
) -> Result<(), OrderError> {
    let subject = Subject::command(deps.log.fleet(), node, Verb::Sync)?;
    let shelved = match shelf.order(manifest, published).await {
        Err(error @ (ShelfError::Store(_) | ShelfError::Missing { .. })) => {
            tracing::warn!(manifest, %error, "the store does not give it; the node is told where it is");
            shelf.unread(manifest, published).await?
        }
        shelved => shelved?,
    };
    let keep = deps.log.read(|state| state.needed_manifests().into_iter().cloned().collect());
    let order = SyncOrder {
        term,
        manifest: manifest.clone(),
        prompts: shelved.prompts.to_vec(),
        document_url: shelved.document_url,
        bundle_url: shelved.bundle_url,
        keep,
    };
    let order = order.encode_to_vec();
    if order.len() > ORDER_MAX_BYTES {
        return Err(OrderError::TooLarge(order.len()));
    }
    let answer = deps.bus.request(&subject, order, ANSWER_DEADLINE).await?;
    let OrderReply { taken, code, reason, .. } =
        OrderReply::decode(answer.as_slice()).map_err(|_| OrderError::Answer)?;
    if taken { Ok(()) } else { Err(OrderError::Refused { code, reason }) }
}

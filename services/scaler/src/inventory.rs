//! What the cloud lists: one complete listing at a time, numbered, for the tick and for [`crate::effects::strays`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::fleet::{Absence, Inventory};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::Shell;
use crate::cloud::{Instance, InstanceState};
use crate::config::LIST_LEAST_MS;
use crate::troubles::Call;

/// How long a listing may take.
const LIST_TIMEOUT: Duration = Duration::from_mins(2);

/// A complete listing.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Counts listings; 0 is none.
    pub number: u64,
    /// Every instance of the fleet.
    pub instances: Vec<Instance>,
    /// Nodes of the log that an earlier listing of this process had and this one has not: it may be a part only.
    pub missing: usize,
}

impl Listing {
    /// What the domain reads of it, with what is known of the nodes it lacks.
    pub fn inventory(&self, absent: BTreeMap<NodeId, Absence>) -> Inventory {
        let ended: BTreeMap<_, _> = self
            .instances
            .iter()
            .map(|instance| (instance.instance_id.clone(), instance.state == InstanceState::Terminated))
            .collect();
        Inventory { ended, absent }
    }
}

/// Since when the cloud does not list nodes the log has: counted by this process, anew in each term.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    term: Option<u64>,
    number: u64,
    since: BTreeMap<NodeId, (u32, Instant)>,
}

impl Absences {
    /// Counts a listing, each once, and says how long each node of the log has been absent.
    pub(crate) fn look(
        &mut self,
        term: Option<u64>,
        listing: &Listing,
        nodes: &[NodeId],
    ) -> BTreeMap<NodeId, Absence> {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
        let now = Instant::now();
        if listing.number > self.number {
            self.number = listing.number;
            let listed = |id: &NodeId| listing.instances.iter().any(|instance| instance.instance_id == *id);
            let absent = nodes.iter().filter(|id| !listed(id));
            let before = std::mem::take(&mut self.since);
            self.since = absent
                .map(|id| {
                    let (listings, since) = before.get(id).copied().unwrap_or((0, now));
                    (id.clone(), (listings + 1, since))
                })
                .collect();
        }
        let absence = |(listings, since): &(u32, Instant)| Absence {
            listings: *listings,
            ms: now.saturating_duration_since(*since).as_millis() as u64,
        };
        self.since.iter().map(|(id, known)| (id.clone(), absence(known))).collect()
    }
}

/// The newest listing, and the bell that asks for another. Clones share both.
#[derive(Clone, Debug)]
pub struct Inventories {
    newest: Arc<watch::Sender<Arc<Listing>>>,
    wanted: Arc<Notify>,
}

impl Default for Inventories {
    fn default() -> Self {
        let (newest, _) = watch::channel(Arc::new(Listing::default()));
        Self { newest: Arc::new(newest), wanted: Arc::new(Notify::new()) }
    }
}

impl Inventories {
    /// The newest listing.
    pub fn newest(&self) -> Arc<Listing> {
        self.newest.borrow().clone()
    }

    /// Follows the listings.
    pub fn follow(&self) -> watch::Receiver<Arc<Listing>> {
        self.newest.subscribe()
    }

    /// Asks for a listing soon.
    pub fn ask(&self) {
        self.wanted.notify_one();
    }

    fn put(&self, instances: Vec<Instance>, missing: usize) {
        self.newest.send_modify(|listing| {
            *listing = Arc::new(Listing { number: listing.number + 1, instances, missing });
        });
    }
}

/// Lists while this process leads: every so often, and when asked. A failed listing says nothing.
pub(crate) async fn run(shell: Shell) {
    let every = Duration::from_millis(shell.config.list_every_ms.max(LIST_LEAST_MS));
    let least = Duration::from_millis(LIST_LEAST_MS);
    let mut leading = shell.desk.leading();
    let mut seen = BTreeSet::new();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        match tokio::time::timeout(LIST_TIMEOUT, shell.cloud.list()).await {
            Ok(Ok(instances)) => {
                shell.troubles.clear(Call::List);
                let missing = missing(&shell, &mut seen, &instances);
                if missing > 0 {
                    shell.counters.listings_in_part.increment();
                    tracing::warn!(
                        missing,
                        "AST-S064: a listing lacks nodes that were listed before: nobody ends for it"
                    );
                }
                shell.inventories.put(instances, missing);
            }
            Ok(Err(error)) => {
                shell.counters.list_failures.increment();
                shell.troubles.note(Call::List, &error);
                tracing::warn!(%error, "the cloud could not be listed");
            }
            Err(_) => {
                shell.counters.list_failures.increment();
                tracing::warn!("the cloud did not answer a listing in time");
            }
        }
        tokio::time::sleep(least).await;
        let _ = tokio::time::timeout(every.saturating_sub(least), shell.inventories.wanted.notified()).await;
    }
}

/// Nodes that exist by the log, that some listing had, and that this one lacks. EC2 lists what has ended for an hour.
fn missing(shell: &Shell, seen: &mut BTreeSet<NodeId>, instances: &[Instance]) -> usize {
    let listed: BTreeSet<&NodeId> = instances.iter().map(|instance| &instance.instance_id).collect();
    let missing = shell.deps.log.read(|state| {
        seen.retain(|id| state.fleet.nodes.get(id).is_some_and(|node| node.status.exists()));
        seen.iter().filter(|id| !listed.contains(id)).count()
    });
    seen.extend(listed.into_iter().cloned());
    missing
}

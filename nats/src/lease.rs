//! Who should try to lead a role: a key-value entry renewed by revision.
//!
//! The lease decides nothing by itself, `LeaderElected` in the log does; it only keeps rivals from trying at once. Nobody
//! compares clocks: the holder counts from its last successful renewal, a rival from when it first saw the revision.

use std::fmt;
use std::time::Duration;

use asterism_proto::Role;
use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::stream::StorageType;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bus::{Bus, with_source};
use crate::error::Error;
use crate::stream;
use crate::subject;

/// Events waiting for a slow caller; a lease changes hands far slower.
const QUEUE_EVENTS: usize = 16;
/// Shortest time one look or renewal gets, however fast the lease.
const STEP_MIN: Duration = Duration::from_millis(250);
/// Largest lease entry read.
const ENTRY_MAX_BYTES: usize = 1024;

/// The times of a lease. Rivals and holder of one role must use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How often the holder renews and a rival looks.
    pub renew: Duration,
    /// How long a rival sees one revision unchanged before it moves.
    pub takeover: Duration,
    /// How long after its last renewal the holder stops believing; shorter than `takeover`.
    pub give_up: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            renew: Duration::from_secs(1),
            takeover: Duration::from_secs(5),
            give_up: Duration::from_secs(4),
        }
    }
}

impl LeaseTiming {
    /// The default times divided by a number, for tests.
    #[must_use]
    pub fn faster(by: u32) -> Self {
        let normal = Self::default();
        let by = by.max(1);
        Self { renew: normal.renew / by, takeover: normal.takeover / by, give_up: normal.give_up / by }
    }
}

/// What a campaign for a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// This process should try to lead.
    Held {
        /// The revision it took the lease at.
        revision: u64,
    },
    /// It should stop deciding and acting at once. The campaign goes on.
    Lost {
        /// Why, in one phrase.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Who holds it, for people; empty when released.
    holder: String,
    /// Told apart from another process of the same name.
    nonce: String,
}

/// Whether a lease is held, for whoever is to act by it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseView(watch::Receiver<Option<Instant>>);

impl LeaseView {
    /// As [`Lease::is_held`].
    pub fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }
}

/// A campaign for the lease of one role. Dropping it stops renewing without a word: rivals wait their time.
pub struct Lease {
    events: mpsc::Receiver<LeaseEvent>,
    held_until: watch::Receiver<Option<Instant>>,
    release: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("held", &self.is_held()).finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lease {
    /// Starts campaigning with the default times, once the fleet's stream is there. `holder` names the process for
    /// people.
    ///
    /// # Errors
    /// AST-N006 when the fleet's name is unusable.
    pub fn campaign(bus: &Bus, fleet: &str, role: Role, holder: &str) -> Result<Self, Error> {
        Self::campaign_with(bus, fleet, role, holder, LeaseTiming::default())
    }

    /// Starts campaigning with other times.
    ///
    /// # Errors
    /// AST-N006 when the fleet's name is unusable, AST-N030 when there is no randomness.
    pub fn campaign_with(
        bus: &Bus,
        fleet: &str,
        role: Role,
        holder: &str,
        timing: LeaseTiming,
    ) -> Result<Self, Error> {
        let bucket = subject::lease_bucket(fleet)?;
        let mut nonce = [0u8; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| Error::Lease { bucket: bucket.clone(), reason: error.to_string() })?;
        let entry = Entry { holder: holder.chars().take(64).collect(), nonce: hex::encode(nonce) };
        let (events_tx, events) = mpsc::channel(QUEUE_EVENTS);
        let (held_tx, held_until) = watch::channel(None);
        let (release_tx, release) = oneshot::channel();
        let campaign = Campaign {
            bus: bus.clone(),
            fleet: fleet.to_owned(),
            bucket,
            key: role.name(),
            entry,
            timing,
            events: events_tx,
            held_until: held_tx,
            store: None,
            mine: None,
            seen: None,
        };
        Ok(Self { events, held_until, release: Some(release_tx), task: tokio::spawn(campaign.run(release)) })
    }

    /// The next change. May be dropped while it waits without losing one.
    pub async fn next(&mut self) -> LeaseEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Whether the lease is held at this moment: false as soon as the last renewal is too old, even if this process was
    /// stopped and has just woken. Ask before each effect.
    pub fn is_held(&self) -> bool {
        self.view().is_held()
    }

    /// The same for others to look at.
    pub fn view(&self) -> LeaseView {
        LeaseView(self.held_until.clone())
    }

    /// Gives the lease back, so that a rival moves at once, and ends the campaign.
    pub async fn release(mut self) {
        if let Some(release) = self.release.take() {
            let _ = release.send(());
        }
        let _ = (&mut self.task).await;
    }
}

struct Campaign {
    bus: Bus,
    fleet: String,
    bucket: String,
    key: &'static str,
    entry: Entry,
    timing: LeaseTiming,
    events: mpsc::Sender<LeaseEvent>,
    held_until: watch::Sender<Option<Instant>>,
    store: Option<Store>,
    /// The revision this process wrote last, while it believes in it.
    mine: Option<u64>,
    /// The rival's revision, and when it was first seen.
    seen: Option<(u64, Instant)>,
}

impl Campaign {
    async fn run(mut self, mut release: oneshot::Receiver<()>) {
        loop {
            let began = Instant::now();
            match tokio::time::timeout(self.timing.renew.max(STEP_MIN), self.step(began)).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => tracing::debug!(bucket = %self.bucket, role = self.key, reason, "lease"),
                // Whether a renewal went through is unknown; the next step reads what stands there.
                Err(_) => tracing::debug!(bucket = %self.bucket, role = self.key, "lease: no answer"),
            }
            let next = began + self.timing.renew;
            let given_up = self.held_until.borrow().filter(|until| *until < next);
            tokio::select! {
                () = tokio::time::sleep_until(given_up.unwrap_or(next)) => {}
                asked = &mut release => {
                    if asked.is_ok() {
                        self.give_back().await;
                    }
                    return;
                }
                () = self.events.closed() => return,
            }
            if given_up.is_some() && self.held_until.borrow().is_some_and(|until| until <= Instant::now()) {
                self.lose("not renewed in time").await;
            }
        }
    }

    async fn step(&mut self, began: Instant) -> Result<(), String> {
        if self.held_until.borrow().is_some_and(|until| until <= Instant::now()) {
            self.lose("not renewed in time").await;
        }
        let store = self.store().await?;
        if let Some(revision) = self.mine {
            let written = self.write(&store, Some(revision), began).await;
            // Over another's entry: what stands there is looked at now, not when the lease is nearly over.
            if written.is_ok() || self.store.is_none() {
                return written;
            }
        }
        match store.entry(self.key).await.map_err(|error| with_source(&error))? {
            None => self.write(&store, None, began).await,
            Some(entry) if entry.operation != kv::Operation::Put => {
                self.write(&store, Some(entry.revision), began).await
            }
            Some(entry) => {
                let value = (entry.value.len() <= ENTRY_MAX_BYTES)
                    .then(|| serde_json::from_slice::<Entry>(&entry.value).ok())
                    .flatten();
                // An entry nobody can read is no process's: whoever may publish an event can have the stream's acknowledgement
                // sent here. The holder writes over it; for a rival it must stand still first, like a holder's.
                let nobodys = value.is_none() && self.held_until.borrow().is_some();
                let free = value.as_ref().is_some_and(|value| value.holder.is_empty());
                let own = value.as_ref().is_some_and(|value| value.nonce == self.entry.nonce);
                if own || free || nobodys || self.stood_still(entry.revision) {
                    return self.write(&store, Some(entry.revision), began).await;
                }
                self.lose("another process holds it").await;
                Ok(())
            }
        }
    }

    fn stood_still(&mut self, revision: u64) -> bool {
        let now = Instant::now();
        match self.seen {
            Some((seen, since)) if seen == revision => now.duration_since(since) >= self.timing.takeover,
            _ => {
                self.seen = Some((revision, now));
                false
            }
        }
    }

    /// Writes this process' entry over a revision. `began` is taken before the request left: what was written is at
    /// least that young.
    async fn write(&mut self, store: &Store, over: Option<u64>, began: Instant) -> Result<(), String> {
        let value = serde_json::to_vec(&self.entry).map_err(|error| error.to_string())?;
        // Forgotten until the answer is there: a step that is cut off reads again.
        self.mine = None;
        let written = match over {
            Some(revision) => store.update(self.key, value.into(), revision).await.map_err(|error| {
                (error.kind() == kv::UpdateErrorKind::WrongLastRevision, with_source(&error))
            }),
            None => store
                .create(self.key, value.into())
                .await
                .map_err(|error| (error.kind() == kv::CreateErrorKind::AlreadyExists, with_source(&error))),
        };
        match written {
            Ok(revision) => {
                self.mine = Some(revision);
                self.seen = None;
                if self.held_until.send_replace(Some(began + self.timing.give_up)).is_none() {
                    tracing::info!(bucket = %self.bucket, role = self.key, revision, "lease taken");
                    let _ = self.events.send(LeaseEvent::Held { revision }).await;
                }
                Ok(())
            }
            // Another one wrote, or this was our own write whose answer was lost: the next look tells.
            Err((true, reason)) => Err(reason),
            Err((false, reason)) => {
                self.store = None;
                Err(reason)
            }
        }
    }

    async fn lose(&mut self, reason: &str) {
        self.mine = None;
        if self.held_until.send_replace(None).is_some() {
            tracing::warn!(bucket = %self.bucket, role = self.key, reason, "lease lost");
            let _ = self.events.send(LeaseEvent::Lost { reason: reason.to_owned() }).await;
        }
    }

    async fn give_back(&mut self) {
        self.held_until.send_replace(None);
        let (Some(store), Some(revision)) = (self.store.clone(), self.mine.take()) else { return };
        let free = Entry { holder: String::new(), nonce: self.entry.nonce.clone() };
        if let Ok(value) = serde_json::to_vec(&free) {
            let update = store.update(self.key, value.into(), revision);
            let _ = tokio::time::timeout(self.timing.give_up, update).await;
        }
    }

    async fn store(&mut self) -> Result<Store, String> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = match self.bus.jetstream.get_key_value(&self.bucket).await {
            Ok(store) => store,
            Err(_) => self.make_store().await?,
        };
        self.store = Some(store.clone());
        Ok(store)
    }

    /// Makes the bucket with as many copies as the fleet's stream has: a lease must not be lost before the log.
    async fn make_store(&self) -> Result<Store, String> {
        let stream = stream::info(&self.bus, &self.fleet).await.map_err(|error| error.to_string())?;
        let config = kv::Config {
            bucket: self.bucket.clone(),
            description: "who should try to lead each role".to_owned(),
            history: 1,
            max_value_size: i32::try_from(ENTRY_MAX_BYTES).unwrap_or(i32::MAX),
            storage: StorageType::File,
            num_replicas: stream.replicas,
            ..kv::Config::default()
        };
        self.bus.jetstream.create_key_value(config).await.map_err(|error| with_source(&error))
    }
}

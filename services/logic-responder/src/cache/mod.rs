//! Answers of back ends, kept: in this process, and in memcached for all replicas.
//!
//! A back end marks what may be kept, for how long and by which parts of a question (`asterism_domain::logic::web::Kept`).
//! What is kept saves time and stands in where the back end fails; it decides nothing: each answer found is checked
//! against the flow's schema like one that was just given, and committed for its own call. A memcached that is away, slow
//! or lies costs time at most.
//!
//! Reading order: this file (what a question is answered with), [`local`] (what this process holds), [`flight`] (who asks
//! the same at the same time waits for one), [`shared`] (what others hold, sealed), [`memcached`].

mod counts;
mod flight;
mod local;
pub mod memcached;
pub mod shared;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use asterism_domain::logic::Flow;
use asterism_domain::logic::web::{Parts, Place, WebQuestion, WebReply};
use asterism_proto::OriginKey;
use asterism_runtime::config::LogicConfig;
use asterism_runtime::health::{Metrics, MetricsError};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::backend::{Failure, late};
use counts::Counts;
use flight::{Flights, Joined, Landed};
use local::{Found, Local, Rule};
use memcached::Memcached;
use shared::{Seal, Shared};

/// What an answer is kept under: nothing of a question can be read from it.
type Key = [u8; 32];

/// How long an answer that cannot be used is not asked for again: calls that ask the same must not become as many requests.
const BAD_FOR: Duration = Duration::from_secs(1);
/// How long a question whose answers may not be kept is not looked up.
const PASS_FOR: Duration = Duration::from_secs(10);
/// How much longer than its answers what they depend on is known, in seconds.
const RULE_SPARE_S: u32 = 60;
/// Writes to memcached at the same time; further ones are left out.
const WRITES_AT_ONCE: usize = 64;

/// What a back end said: as it came, and read.
pub type Said = (Value, Arc<WebReply>);

/// What a question is answered with.
#[derive(Debug)]
pub struct Given {
    /// The answer.
    pub reply: Arc<WebReply>,
    /// The failure it stands in for.
    pub instead_of: Option<Failure>,
}

impl From<Arc<WebReply>> for Given {
    fn from(reply: Arc<WebReply>) -> Self {
        Self { reply, instead_of: None }
    }
}

/// The answers this process may give.
#[derive(Debug)]
pub struct Cache {
    /// None where nothing is kept.
    local: Option<Mutex<Local>>,
    shared: Option<Arc<dyn Shared>>,
    writes: Arc<Semaphore>,
    flights: Flights,
    seal: Seal,
    counts: Counts,
}

/// One question on its way: where it is asked, under what its answer is kept, and how long there is.
struct Way<'a> {
    flow: &'a Flow,
    question: &'a WebQuestion<'a>,
    place: Place,
    place_key: Key,
    limit: Duration,
    until: Instant,
}

impl Way<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Cache {
    /// Nothing kept yet. Replicas know each other's entries by the key of their role.
    pub fn new(config: &LogicConfig, key: &OriginKey, metrics: &Metrics) -> Result<Self, MetricsError> {
        let shared: Option<Arc<dyn Shared>> = match config.memcached.as_slice() {
            [] => None,
            servers => Some(Arc::new(Memcached::new(servers, Duration::from_millis(config.memcached_ms)))),
        };
        Self::with(config.cache_entries as usize, shared, key, metrics)
    }

    /// Keeps nothing.
    pub fn off() -> Result<Self, MetricsError> {
        Self::with(0, None, &OriginKey::from_entropy([0; 32]), &Metrics::default())
    }

    fn with(
        entries: usize,
        shared: Option<Arc<dyn Shared>>,
        key: &OriginKey,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        Ok(Self {
            local: Local::new(entries).map(Mutex::new),
            shared,
            writes: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
            flights: Flights::default(),
            seal: Seal::of(key),
            counts: Counts::new(metrics)?,
        })
    }

    /// Answers a question from what is kept, else by asking. `ask` is called once at most, with the time that is left.
    pub async fn answer<F>(
        &self,
        flow: &Flow,
        question: &WebQuestion<'_>,
        limit: Duration,
        ask: impl FnOnce(Duration) -> F,
    ) -> Result<Given, Failure>
    where
        F: Future<Output = Result<Said, Failure>>,
    {
        let Some(local) = &self.local else { return ask(limit).await.map(|(_, reply)| reply.into()) };
        let place = Place::of(flow.id(), question);
        let place_key = self.seal.key("place", place.bytes());
        let way = Way { flow, question, place, place_key, limit, until: Instant::now() + limit };
        let Some(parts) = self.parts(local, &way).await else {
            return self.openly(local, None, &way, ask).await;
        };
        let key = self.seal.key("answer", &way.place.key(&parts, question));
        let found = lock(local).find(&key, Instant::now());
        match found {
            Found::Fresh(reply) => {
                self.counts.hits.increment();
                Ok(reply.into())
            }
            Found::Pass => self.openly(local, Some(key), &way, ask).await,
            Found::Bad(failure) => {
                self.counts.negative.increment();
                self.stale(local, &key, failure)
            }
            Found::Nothing => self.together(local, key, &way, ask).await,
        }
    }

    /// What answers at this place depend on, if they may be kept at all.
    async fn parts(&self, local: &Mutex<Local>, way: &Way<'_>) -> Option<Parts> {
        let rule = lock(local).rule(&way.place_key, Instant::now());
        match rule {
            Some(Rule::By(parts)) => return Some(parts),
            Some(Rule::Pass) => return None,
            None => {}
        }
        let found = self.found(&shared::name("r", &way.place_key), way).await?;
        let parts = shared::parts(self.seal.open(&way.place_key, &found.value)?)?;
        Some(lock(local).learn(way.place_key, parts))
    }

    /// Asks for a question of which nothing is known, or that nothing may be kept of: nobody waits for another's answer.
    async fn openly<F>(
        &self,
        local: &Mutex<Local>,
        key: Option<Key>,
        way: &Way<'_>,
        ask: impl FnOnce(Duration) -> F,
    ) -> Result<Given, Failure>
    where
        F: Future<Output = Result<Said, Failure>>,
    {
        let whole = self.seal.key("answer", &way.place.key(&Parts::All, way.question));
        let found = lock(local).find(&whole, Instant::now());
        if let Found::Bad(failure) = found {
            self.counts.negative.increment();
            return Err(failure);
        }
        self.counts.passes.increment();
        match ask(way.left()).await {
            Ok(said) => Ok(self.keep(local, key, way, said)),
            Err(failure) => {
                lock(local).bad(whole, &failure, Instant::now());
                Err(failure)
            }
        }
    }

    /// Waits for whoever asks the same, or asks for all who do.
    async fn together<F>(
        &self,
        local: &Mutex<Local>,
        key: Key,
        way: &Way<'_>,
        ask: impl FnOnce(Duration) -> F,
    ) -> Result<Given, Failure>
    where
        F: Future<Output = Result<Said, Failure>>,
    {
        let mut flight = match self.flights.join(key) {
            Joined::Leads(lead) => {
                let result = self.lead(local, key, way, ask).await;
                lead.land(match &result {
                    Ok(given) if given.reply.kept.for_s > 0 => Landed::Kept(given.reply.clone()),
                    Ok(_) => Landed::NotKept,
                    Err(failure) => Landed::Failed(failure.clone()),
                });
                return result.or_else(|failure| self.stale(local, &key, failure));
            }
            Joined::Waits(flight) => flight,
        };
        let landed = tokio::time::timeout_at(way.until, flight.landed()).await;
        match landed {
            Ok(Some(Landed::Kept(reply))) => {
                self.counts.joined.increment();
                Ok(reply.into())
            }
            // Whoever joined late has time of its own.
            Ok(Some(Landed::Failed(failure))) if way.left() < way.limit / 2 => {
                self.stale(local, &key, failure)
            }
            Ok(_) => {
                self.openly(local, None, way, ask).await.or_else(|failure| self.stale(local, &key, failure))
            }
            Err(_) => self.stale(local, &key, late(way.limit)),
        }
    }

    async fn lead<F>(
        &self,
        local: &Mutex<Local>,
        key: Key,
        way: &Way<'_>,
        ask: impl FnOnce(Duration) -> F,
    ) -> Result<Given, Failure>
    where
        F: Future<Output = Result<Said, Failure>>,
    {
        // Another may have landed between the look and the start.
        let found = lock(local).find(&key, Instant::now());
        if let Found::Fresh(reply) = found {
            self.counts.hits.increment();
            return Ok(reply.into());
        }
        if let Some(reply) = self.fetch(local, &key, way).await {
            self.counts.shared_hits.increment();
            return Ok(reply.into());
        }
        self.counts.misses.increment();
        match ask(way.left()).await {
            Ok(said) => Ok(self.keep(local, Some(key), way, said)),
            Err(failure) => {
                lock(local).bad(key, &failure, Instant::now());
                Err(failure)
            }
        }
    }

    /// What another replica was told, if it is still fresh. What is past that is kept here for a failure.
    async fn fetch(&self, local: &Mutex<Local>, key: &Key, way: &Way<'_>) -> Option<Arc<WebReply>> {
        let found = self.found(&shared::name("a", key), way).await?;
        let value: Value = serde_json::from_slice(self.seal.open(key, &found.value)?).ok()?;
        let reply = Arc::new(way.flow.read_reply(&value).ok()?);
        let fresh_s = found.left_s.saturating_sub(reply.kept.stale_s).min(reply.kept.for_s);
        lock(local).put(*key, reply.clone(), fresh_s, Instant::now());
        (fresh_s > 0).then_some(reply)
    }

    /// Keeps what may be kept of what was said.
    fn keep(&self, local: &Mutex<Local>, key: Option<Key>, way: &Way<'_>, (value, reply): Said) -> Given {
        let (kept, now) = (&reply.kept, Instant::now());
        if kept.for_s == 0 {
            match key {
                Some(key) => lock(local).pass(key, now),
                None => lock(local).pass_at(way.place_key, now),
            }
            return reply.into();
        }
        let parts = lock(local).learn(way.place_key, kept.by.clone());
        let key = self.seal.key("answer", &way.place.key(&parts, way.question));
        lock(local).put(key, reply.clone(), kept.for_s, now);
        if let Some(shared) = &self.shared
            && let Ok(permit) = self.writes.clone().try_acquire_owned()
        {
            let for_s = kept.for_s + kept.stale_s;
            let rule = self.seal.close(&way.place_key, &shared::written(&parts));
            let answer = self.seal.close(&key, value.to_string().as_bytes());
            let (rule_name, name) = (shared::name("r", &way.place_key), shared::name("a", &key));
            let (shared, errors) = (shared.clone(), self.counts.errors.clone());
            // Nobody waits for it.
            tokio::spawn(async move {
                let _permit = permit;
                for (name, value, for_s) in [(name, answer, for_s), (rule_name, rule, for_s + RULE_SPARE_S)] {
                    if shared.set(&name, value, for_s).await.is_err() {
                        errors.increment();
                    }
                }
            });
        }
        reply.into()
    }

    /// What was kept longer than it was good for, where the back end fails.
    fn stale(&self, local: &Mutex<Local>, key: &Key, failure: Failure) -> Result<Given, Failure> {
        let Some(reply) = lock(local).stale(key, Instant::now()) else { return Err(failure) };
        self.counts.stale.increment();
        let reason = format!("{}; an answer kept from before stood in", failure.reason);
        Ok(Given { reply, instead_of: Some(Failure { reason, ..failure }) })
    }

    /// What memcached has, if it says so soon: most of the time belongs to the back end.
    async fn found(&self, name: &str, way: &Way<'_>) -> Option<shared::Value> {
        let found = tokio::time::timeout(way.left() / 4, self.shared.as_ref()?.get(name)).await;
        found.unwrap_or(Err(shared::Away)).unwrap_or_else(|_| {
            self.counts.errors.increment();
            None
        })
    }
}

fn lock(local: &Mutex<Local>) -> MutexGuard<'_, Local> {
    local.lock().unwrap_or_else(PoisonError::into_inner)
}

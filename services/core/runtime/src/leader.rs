//! The one loop of every leading role: receive → decide → commit → (apply by the reader) → answer.
//!
//! Serial by design: one own frame in flight, and no decision on a state that lacks it. Effects are not done here;
//! a role's shell derives them from the state (`pending`) while it leads and brings outcomes back as commands.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use asterism_domain::wire::Envelope;
use asterism_domain::{Event, Rejection, State, Timestamp};
use asterism_nats::{Lease, LeaseEvent, LeaseTiming, LeaseView};
use asterism_proto::{OriginKey, Role};
use tokio::sync::{mpsc, oneshot, watch};

use crate::commit::{CommitError, Term};
use crate::log::Log;
use crate::shutdown::Shutdown;

/// Commands that may wait.
pub const DESK_QUEUE: usize = 1_024;

/// A role's decision function.
pub type Decide<C> = fn(&State, &C, Timestamp) -> Result<Vec<Event>, Rejection>;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Decided against.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// This process does not lead the role (any more); the command may or may not be in the log: ask again with the
    /// same command id.
    #[error("AST-R033: this process does not lead {0} now; repeat the command with the same id")]
    NotLeading(Role),
}

/// A committed (or needless) command.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Log size after it.
    pub position: u64,
    /// What was decided; empty if there was nothing to do or the command was answered before.
    pub events: Vec<Event>,
}

struct Ask<C> {
    command: C,
    meta: Envelope,
    answer: oneshot::Sender<Result<Answer, AskError>>,
}

/// Where a role's commands are handed in. Clones share the queue.
pub struct Desk<C> {
    asks: mpsc::Sender<Ask<C>>,
    leading: watch::Receiver<Option<u64>>,
    lease: watch::Receiver<Option<LeaseView>>,
    role: Role,
}

impl<C> Clone for Desk<C> {
    fn clone(&self) -> Self {
        Self {
            asks: self.asks.clone(),
            leading: self.leading.clone(),
            lease: self.lease.clone(),
            role: self.role,
        }
    }
}

impl<C> std::fmt::Debug for Desk<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({}, leading {:?})", self.role, *self.leading.borrow())
    }
}

impl<C> Desk<C> {
    /// Hands in a command and waits until it is committed or rejected. While this process does not lead it is refused
    /// at once: a command that waited for a later term would be decided on inputs of long ago.
    pub async fn ask(&self, command: C, meta: Envelope) -> Result<Answer, AskError> {
        let (answer, done) = oneshot::channel();
        let gone = AskError::NotLeading(self.role);
        if self.term().is_none() {
            return Err(gone);
        }
        self.asks.send(Ask { command, meta, answer }).await.map_err(|_| gone.clone())?;
        done.await.unwrap_or(Err(gone))
    }

    /// Hands in a command nobody asked for: a tick, an outcome.
    pub async fn tell(&self, command: C) -> Result<Answer, AskError> {
        self.ask(command, Envelope::default()).await
    }

    /// The term led, while this process leads.
    pub fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.leading.clone()
    }

    /// The term led now: none as soon as the lease is too old, even if this process was stopped and has just woken and
    /// nothing has told it yet. Ask before each effect.
    pub fn term(&self) -> Option<u64> {
        (*self.leading.borrow()).filter(|_| self.lease.borrow().as_ref().is_some_and(LeaseView::is_held))
    }
}

/// What a leader runs with.
#[derive(Debug)]
pub struct LeaderConfig {
    /// The role.
    pub role: Role,
    /// Its key.
    pub key: OriginKey,
    /// Names this process to people.
    pub holder: String,
    /// Times of the lease.
    pub timing: LeaseTiming,
}

/// Starts the role's loop; it campaigns for the lease, leads, loses, campaigns again, until shutdown.
pub fn start<C: Send + 'static>(
    config: LeaderConfig,
    log: Log,
    decide: Decide<C>,
    shutdown: Shutdown,
) -> Desk<C> {
    let (asks, queue) = mpsc::channel(DESK_QUEUE);
    let (lead, leading) = watch::channel(None);
    let (lease_now, lease) = watch::channel(None);
    let role = config.role;
    let office = Office { config, log, decide, lead, lease_now, queue };
    tokio::spawn(office.run(shutdown));
    Desk { asks, leading, lease, role }
}

struct Office<C> {
    config: LeaderConfig,
    log: Log,
    decide: Decide<C>,
    lead: watch::Sender<Option<u64>>,
    lease_now: watch::Sender<Option<LeaseView>>,
    queue: mpsc::Receiver<Ask<C>>,
}

/// Why a term, or a campaign for one, ended.
enum End {
    /// The lease is gone or another leads: campaign again.
    Lost,
    /// The process stops.
    Stop,
}

impl<C: Send + 'static> Office<C> {
    async fn run(mut self, mut shutdown: Shutdown) {
        let LeaderConfig { role, holder, timing, .. } = &self.config;
        let (role, holder, timing) = (*role, holder.clone(), *timing);
        loop {
            let lease = Lease::campaign_with(self.log.bus(), self.log.fleet(), role, &holder, timing);
            let mut lease = match lease {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::error!(%role, %error, "cannot campaign for the lease");
                    return;
                }
            };
            self.lease_now.send_replace(Some(lease.view()));
            let end = self.campaign(&mut lease, &mut shutdown).await;
            self.lead.send_replace(None);
            self.refuse_waiting();
            tracing::info!(%role, "not leading");
            lease.release().await;
            if matches!(end, End::Stop) {
                return;
            }
        }
    }

    /// Waits for the lease, is elected, works the term.
    async fn campaign(&mut self, lease: &mut Lease, shutdown: &mut Shutdown) -> End {
        loop {
            tokio::select! {
                event = lease.next() => if matches!(event, LeaseEvent::Held { .. }) { break },
                () = shutdown.requested() => return End::Stop,
            }
        }
        let LeaderConfig { role, key, holder, .. } = &self.config;
        let elected = tokio::select! {
            elected = Term::elect(&self.log, *role, key, holder) => elected,
            () = shutdown.requested() => return End::Stop,
        };
        let mut term = match elected {
            Ok(term) => term,
            Err(error) => {
                tracing::warn!(%role, %error, "election failed");
                return if matches!(error, CommitError::Stopped(_)) { End::Stop } else { End::Lost };
            }
        };
        tracing::info!(%role, term = term.number(), "leading");
        self.refuse_waiting();
        self.lead.send_replace(Some(term.number()));
        loop {
            let ask = tokio::select! {
                biased;
                () = shutdown.requested() => return End::Stop,
                event = lease.next() => match event {
                    LeaseEvent::Held { .. } => continue,
                    LeaseEvent::Lost { reason } => {
                        tracing::warn!(role = %self.config.role, reason, "lease lost");
                        return End::Lost;
                    }
                },
                ask = self.queue.recv() => match ask {
                    Some(ask) => ask,
                    None => return End::Stop,
                },
            };
            if !lease.is_held() {
                let _ = ask.answer.send(Err(AskError::NotLeading(self.config.role)));
                return End::Lost;
            }
            let (done, held) = self.work_while_held(&mut term, ask, lease).await;
            if !held {
                return End::Lost;
            }
            if let Err(error) = done {
                tracing::warn!(role = %self.config.role, %error, "term ends");
                return if matches!(error, CommitError::Stopped(_)) { End::Stop } else { End::Lost };
            }
        }
    }

    /// Works one command. A commit that hangs outlives the lease: it is concluded by reading on, but from the loss on
    /// nobody here believes to lead.
    async fn work_while_held(
        &self,
        term: &mut Term,
        ask: Ask<C>,
        lease: &mut Lease,
    ) -> (Result<(), CommitError>, bool) {
        let mut working = std::pin::pin!(self.work(term, ask));
        let mut held = true;
        loop {
            tokio::select! {
                biased;
                done = &mut working => return (done, held),
                event = lease.next() => if let LeaseEvent::Lost { reason } = event {
                    tracing::warn!(role = %self.config.role, reason, "lease lost in the middle of a commit");
                    self.lead.send_replace(None);
                    held = false;
                },
            }
        }
    }

    /// Refuses what was handed in for a term that has ended.
    fn refuse_waiting(&mut self) {
        while let Ok(ask) = self.queue.try_recv() {
            let _ = ask.answer.send(Err(AskError::NotLeading(self.config.role)));
        }
    }

    async fn work(&self, term: &mut Term, ask: Ask<C>) -> Result<(), CommitError> {
        let Ask { command, mut meta, answer } = ask;
        let known = (!meta.command_id.is_empty())
            .then(|| self.log.read(|state| state.command_position(&meta.command_id)))
            .flatten();
        if let Some(position) = known {
            let _ = answer.send(Ok(Answer { position, events: Vec::new() }));
            return Ok(());
        }
        meta.occurred_at_ms = self.log.now_ms();
        let (decided, size) = self.log.read(|state| {
            let at = meta.occurred_at_ms.max(state.at);
            ((self.decide)(state, &command, at), state.size)
        });
        let result = match decided {
            Err(rejection) => Err(AskError::Rejected(rejection)),
            Ok(events) if events.is_empty() => Ok(Answer { position: size, events }),
            Ok(events) => match term.commit(&events, &meta).await {
                Ok(position) => Ok(Answer { position, events }),
                Err(error @ CommitError::Frame(_)) => {
                    tracing::error!(role = %self.config.role, %error, "a decision does not fit a frame");
                    Err(AskError::Rejected(Rejection::new("AST-R034", "the decision does not fit one frame")))
                }
                Err(error) => {
                    let _ = answer.send(Err(AskError::NotLeading(self.config.role)));
                    return Err(error);
                }
            },
        };
        let _ = answer.send(result);
        Ok(())
    }
}

/// This machine's clock, ms since 1970, for what nobody decides by; [`Log::now_ms`] is the fleet's.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

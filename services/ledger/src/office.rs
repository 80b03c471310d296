//! The ledger's loop: lease, election, checkpoints; fenced means campaign again.

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::wire::Envelope;
use asterism_domain::{Event, REDUCER};
use asterism_event_log::snapshot::Snapshot as State;
use asterism_nats::{Bus, Lease, LeaseEvent, Reply, Subject, Subscription, stream};
use asterism_proto::hash::sha256;
use asterism_proto::v1::CheckpointNotice;
use asterism_proto::{OriginKey, Role};
use asterism_runtime::commit::{CommitError, Term};
use asterism_runtime::leader::now_ms;
use asterism_runtime::log::Log;
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::archiver::Archiver;
use crate::checkpoint::{Signed, Snapshot};
use crate::continues;
use crate::losses::{self, Loss};
use crate::{Error, LedgerConfig};

/// Askers that share one checkpoint at most; the next ones wait in the subscription.
const WAITERS_MAX: usize = 1_024;
/// How long a requested checkpoint waits for this copy to read what the stream had when it was asked.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const READ_POLL: Duration = Duration::from_millis(5);
/// Pause after a campaign that ended at once.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A checkpoint of this process's asking.
pub struct Marked {
    /// What everyone is told.
    pub notice: CheckpointNotice,
    /// The state whose hash is in the log right before it.
    pub state: Option<Arc<State>>,
}

/// Who is told of a checkpoint.
enum Waiter {
    Bus(Reply),
    Local(oneshot::Sender<Marked>),
}

/// A request of this process to its own ledger; unanswered if the term ends before.
pub enum Ask {
    /// A checkpoint of everything so far.
    Checkpoint(oneshot::Sender<Marked>),
    /// These events, in one frame; answered with the log's size after them.
    Commit(Vec<Event>, oneshot::Sender<u64>),
}

/// The ledger's office in this process.
pub(crate) struct Office {
    config: LedgerConfig,
    deps: Deps,
    key: OriginKey,
    lead: watch::Sender<Option<u64>>,
    queue: mpsc::Receiver<Ask>,
    /// Archives what a stream that was made anew continues.
    archiver: Option<Archiver>,
    losses: mpsc::Receiver<Loss>,
}

/// Why a term, or a campaign for one, ended.
enum End {
    /// The lease is gone or another leads.
    Lost,
    /// The process stops.
    Stop,
    /// The copy stopped.
    Failed(String),
}

impl From<CommitError> for End {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Stopped(reason) => End::Failed(reason),
            CommitError::Fenced(_) | CommitError::Frame(_) => {
                tracing::warn!(role = %Role::Ledger, %error, "term ends");
                End::Lost
            }
        }
    }
}

impl Office {
    pub(crate) fn new(
        config: LedgerConfig,
        deps: Deps,
        key: OriginKey,
        lead: watch::Sender<Option<u64>>,
        (queue, losses): (mpsc::Receiver<Ask>, mpsc::Receiver<Loss>),
        archiver: Option<Archiver>,
    ) -> Self {
        Self { config, deps, key, lead, queue, archiver, losses }
    }

    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let (log, mut shutdown) = (self.deps.log.clone(), self.deps.shutdown.clone());
        let (holder, timing) = (self.deps.holder.clone(), self.deps.lease_timing);
        loop {
            let mut lease = Lease::campaign_with(log.bus(), log.fleet(), Role::Ledger, &holder, timing)?;
            let end = self.campaign(&log, &mut lease, &mut shutdown).await;
            self.lead.send_replace(None);
            tracing::info!(role = %Role::Ledger, "not leading");
            lease.release().await;
            // Whoever watches the copy may have asked for the stop because of this.
            let stopped = log.failure().borrow().clone();
            match stopped.map_or(end, End::Failed) {
                End::Stop => return Ok(()),
                End::Failed(reason) => return Err(Error::Stopped(reason)),
                End::Lost => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    }

    /// Waits for the lease, is elected, works the term.
    async fn campaign(&mut self, log: &Log, lease: &mut Lease, shutdown: &mut Shutdown) -> End {
        loop {
            tokio::select! {
                event = lease.next() => if matches!(event, LeaseEvent::Held { .. }) { break },
                reason = failed(log) => return End::Failed(reason),
                () = shutdown.requested() => return End::Stop,
            }
        }
        let elect = async {
            continues::ensure(log, &self.key, self.archiver.as_mut()).await?;
            Term::elect(log, Role::Ledger, &self.key, &self.deps.holder).await
        };
        let elected = tokio::select! {
            elected = elect => elected,
            reason = failed(log) => return End::Failed(reason),
            () = shutdown.requested() => return End::Stop,
        };
        let term = match elected {
            Ok(term) => term,
            Err(error) => return error.into(),
        };
        let subject = Subject::checkpoint_request(log.fleet()).map_err(asterism_nats::Error::from);
        let requests = match subject {
            Ok(subject) => log.bus().subscribe(&subject, None).await,
            Err(error) => Err(error),
        };
        let requests = match requests {
            Ok(requests) => requests,
            Err(error) => {
                tracing::warn!(role = %Role::Ledger, %error, "cannot hear requests");
                return End::Lost;
            }
        };
        tracing::info!(role = %Role::Ledger, term = term.number(), "leading");
        self.lead.send_replace(Some(term.number()));
        let work = Work::new(&self.config, log, &self.key, term);
        tokio::select! {
            end = work.run(lease, requests, &mut self.queue, &mut self.losses) => end,
            reason = failed(log) => End::Failed(reason),
            () = shutdown.requested() => End::Stop,
        }
    }
}

/// One term.
struct Work<'a> {
    log: &'a Log,
    key: &'a OriginKey,
    every: Duration,
    every_events: u64,
    share: Duration,
    term: Term,
    signed: Option<Signed>,
    waiters: Vec<Waiter>,
    /// When the last one was made, if any, or looked for.
    last: Option<Instant>,
}

impl<'a> Work<'a> {
    fn new(config: &LedgerConfig, log: &'a Log, key: &'a OriginKey, term: Term) -> Self {
        Self {
            log,
            key,
            every: Duration::from_millis(config.checkpoint_every_ms.max(1)),
            every_events: config.checkpoint_every_events.max(1),
            share: Duration::from_millis(config.share_ms),
            term,
            signed: None,
            waiters: Vec::new(),
            last: None,
        }
    }

    async fn run(
        mut self,
        lease: &mut Lease,
        mut requests: Subscription,
        asks: &mut mpsc::Receiver<Ask>,
        losses: &mut mpsc::Receiver<Loss>,
    ) -> End {
        let mut head = self.log.head();
        loop {
            let room = self.waiters.len() < WAITERS_MAX;
            let due = self.due();
            let grown = self.grown();
            // Requests before the clock: all that wait share the checkpoint that is due.
            tokio::select! {
                biased;
                event = lease.next() => if let LeaseEvent::Lost { reason } = event {
                    tracing::warn!(role = %Role::Ledger, reason, "lease lost");
                    return End::Lost;
                },
                request = requests.next(), if room => match request {
                    Some(request) => self.waiters.extend(request.reply.map(Waiter::Bus)),
                    None => return End::Lost,
                },
                ask = asks.recv(), if room => match ask {
                    Some(Ask::Checkpoint(ask)) => self.waiters.push(Waiter::Local(ask)),
                    Some(Ask::Commit(events, done)) => match self.commit(&events).await {
                        // Who asked may have gone.
                        Ok(size) => drop(done.send(size)),
                        Err(error) => return error.into(),
                    },
                    None => return End::Stop, // the ledger itself holds a sender
                },
                Some(loss) = losses.recv() => {
                    if !lease.is_held() {
                        return End::Lost;
                    }
                    if let Err(error) = losses::commit(&mut self.term, self.log, loss).await {
                        return error.into();
                    }
                }
                () = sleep_until(due) => if let Err(end) = self.in_time(lease).await { return end },
                () = async { drop(head.wait_for(|head| head.size >= grown).await) } => {
                    if let Err(end) = self.in_time(lease).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Makes the checkpoint that is due, while the lease is held.
    async fn in_time(&mut self, lease: &Lease) -> Result<(), End> {
        if !lease.is_held() {
            return Err(End::Lost);
        }
        self.make().await?;
        self.last = Some(Instant::now());
        Ok(())
    }

    /// The log size at which a checkpoint is due before its time.
    fn grown(&self) -> u64 {
        self.signed.as_ref().map_or(u64::MAX, |signed| signed.size.saturating_add(self.every_events))
    }

    /// At once at the start of a term; then by the clock, or a little after the last one when somebody waits.
    fn due(&self) -> Instant {
        let pause = if self.waiters.is_empty() { self.every } else { self.share };
        self.last.map_or_else(Instant::now, |last| last + pause)
    }

    async fn commit(&mut self, events: &[Event]) -> Result<u64, CommitError> {
        let meta = Envelope { occurred_at_ms: now_ms(), ..Envelope::default() };
        self.term.commit(events, &meta).await
    }

    /// Before a seal: what this copy has folded to, so that INV-08 can be checked from the log alone.
    async fn hash_state(&mut self) -> Result<Arc<State>, CommitError> {
        let taken = Arc::new(self.log.snapshot());
        let (size, hash) = (taken.size(), sha256(&taken.state));
        let hashed = Event::StateHashed { size, hash: hash.to_vec(), reducer: REDUCER.to_owned() };
        self.term.commit(&[hashed], &Envelope::default()).await?;
        Ok(taken)
    }

    /// Makes a checkpoint if the log has grown, tells everyone, and answers those who wait.
    async fn make(&mut self) -> Result<(), CommitError> {
        if !self.waiters.is_empty() {
            read_to_end(self.log).await;
        }
        let mut state = None;
        if self.waiters.iter().any(|waiter| matches!(waiter, Waiter::Local(_))) {
            state = Some(self.hash_state().await?);
        }
        let size = self.log.sequencer(|sequencer, _, _| sequencer.size());
        let signed = match self.signed.take() {
            Some(signed) if signed.covers(size) => signed,
            before => {
                let snapshot = Snapshot::take(self.log, before.map(|signed| signed.size)).await?;
                let signed = snapshot.commit(&mut self.term, self.log.fleet(), self.key).await?;
                tracing::debug!(size = signed.size, marks = signed.notice.marks.len(), "checkpoint");
                tell_everyone(self.log, &signed.notice).await;
                signed
            }
        };
        for waiter in self.waiters.drain(..) {
            answer(self.log.bus(), waiter, &signed.notice, state.as_ref()).await;
        }
        self.signed = Some(signed);
        Ok(())
    }
}

/// Waits until this copy has read what the stream holds now: an asker's own frame is acknowledged before it is read
/// here. If it takes too long the checkpoint covers what is read; the asker sees that by its mark.
async fn read_to_end(log: &Log) {
    let wait = async {
        let info = stream::info(log.bus(), log.fleet()).await?;
        while log.sequencer(|_, _, read| read) < info.last_sequence {
            tokio::time::sleep(READ_POLL).await;
        }
        Ok::<_, asterism_nats::Error>(())
    };
    match tokio::time::timeout(READ_PATIENCE, wait).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the stream's end is unknown"),
        Err(_) => tracing::debug!("this copy is behind the stream"),
    }
}

async fn tell_everyone(log: &Log, notice: &CheckpointNotice) {
    let Ok(subject) = Subject::checkpoint_notice(log.fleet()) else { return };
    if let Err(error) = log.bus().publish(&subject, notice.encode_to_vec()).await {
        tracing::debug!(%error, "a checkpoint's notice could not be sent");
    }
}

async fn answer(bus: &Bus, waiter: Waiter, notice: &CheckpointNotice, state: Option<&Arc<State>>) {
    match waiter {
        Waiter::Bus(reply) => {
            if let Err(error) = bus.respond(reply, notice.encode_to_vec()).await {
                tracing::debug!(%error, "a checkpoint's answer could not be sent");
            }
        }
        Waiter::Local(ask) => {
            // Who asked may have gone.
            let _ = ask.send(Marked { notice: notice.clone(), state: state.cloned() });
        }
    }
}

/// Ends when the copy has stopped, with the reason.
async fn failed(log: &Log) -> String {
    let mut failure = log.failure();
    match failure.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "the reader is gone".to_owned(),
    }
}

//! A service's own frames, until a checkpoint covers them: what it answers a gap with.
//!
//! A frame enters behind its acknowledgement and is on disk within 50 ms, by a thread of its own: no answer waits for it.
//! The spool is bounded. A full one holds on to what it has, says so in the readiness, and goes on when a checkpoint
//! makes room.

mod files;
mod held;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use asterism_nats::{Bus, Parsed, Subject};
use asterism_proto::v1::{OrderReply, ResendOrder};
use asterism_proto::{NoticeError, Origin, PublicKey, notice};
use prost::Message as _;
use tokio::sync::watch;

use files::{Files, Work};
use held::Taken;
pub use held::{Dropped, Held, LogId};

use crate::health::Health;

/// Most bytes of frames held: ten seconds, the time between checkpoints, of 100 full frames a second.
pub const SPOOL_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Frames that may wait for the disk.
const QUEUE_FRAMES: usize = 4_096;
/// A refused notice is said once, and then so often at most.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// Pause before a subscription that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("AST-R060: the spool {} cannot be opened: {error}; make the folder writable for this user", path.display())]
pub struct SpoolError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub error: std::io::Error,
}

/// How a spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Frames held.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that found no room since the last checkpoint.
    pub missed: u64,
    /// Checkpoint notices that were not believed since the start.
    pub refused: u64,
}

/// The spool of a process. Clones share it; the last one dropped syncs what waits.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    held: Mutex<Held>,
    status: watch::Sender<SpoolStatus>,
    failure: watch::Receiver<Option<String>>,
    turns: Mutex<HashMap<Origin, Turn>>,
    work: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// Who has it may publish a frame of the origin: a resend is in order, and no new frame comes between.
pub type Turn = Arc<tokio::sync::Mutex<()>>;

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({:?})", *self.0.status.borrow())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // one sync at most; the folder is free when it returns
        }
    }
}

impl Spool {
    /// Opens the folder and reads what an earlier life of this process left there.
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        Self::open_with(dir, SPOOL_MAX_BYTES)
    }

    /// [`Spool::open`] with a limit in bytes of frames.
    pub fn open_with(dir: &Path, limit_bytes: u64) -> Result<Self, SpoolError> {
        let failed = |error| SpoolError { path: dir.to_owned(), error };
        let mut held = Held::new(limit_bytes);
        let (failure_in, failure) = watch::channel(None);
        let files = Files::open(dir, &mut held, failure_in).map_err(failed)?;
        let (work, queue) = sync_channel(QUEUE_FRAMES);
        let thread = std::thread::Builder::new().name("spool".to_owned());
        let thread = thread.spawn(move || files.run(&queue)).map_err(failed)?;
        if held.frames() > 0 {
            tracing::info!(frames = held.frames(), "frames of an earlier life are held until a checkpoint");
        }
        let status = SpoolStatus { frames: held.frames() as u64, bytes: held.bytes(), ..Default::default() };
        Ok(Self(Arc::new(Inner {
            held: Mutex::new(held),
            status: watch::channel(status).0,
            failure,
            turns: Mutex::default(),
            work: Some(work),
            thread: Some(thread),
        })))
    }

    /// Takes a frame that the stream has acknowledged. Returns at once.
    pub fn push(&self, origin: &Origin, epoch: [u8; 16], number: u64, frame: &[u8]) {
        let frame: Arc<[u8]> = frame.into();
        let log = (origin.clone(), epoch);
        let mut held = self.held();
        match held.push(log.clone(), number, frame.clone()) {
            Taken::New => {
                // Under the lock: the files get the frames in the order of their numbers.
                self.tell(Work::Append(log, number, frame));
                self.say(&held, 0);
            }
            Taken::Known => {}
            Taken::Full => {
                if self.0.status.borrow().missed == 0 {
                    tracing::warn!(bytes = held.bytes(), "the spool is full; is there a ledger?");
                }
                self.say(&held, 1);
            }
        }
    }

    /// A checkpoint's notice, as it came from the bus: what it covers leaves, if the log key has signed it.
    pub fn hear(&self, payload: &[u8], fleet: &str, log_key: PublicKey) -> Result<(), NoticeError> {
        let body = notice::open(payload, fleet, &log_key)
            .inspect_err(|_| self.0.status.send_modify(|status| status.refused += 1))?;
        let mut held = self.held();
        let Some((heard, dropped)) = held.hear(log_key, &body) else { return Ok(()) };
        let any = !dropped.is_empty();
        for dropped in dropped {
            self.tell(Work::Drop(dropped));
        }
        // Behind the drops: what a crash leaves of them is covered by the same notice again.
        self.tell(Work::Heard(heard));
        if any {
            self.0.status.send_modify(|status| {
                (status.frames, status.bytes) = (held.frames() as u64, held.bytes());
                status.missed = 0;
            });
        }
        Ok(())
    }

    /// How it is.
    pub fn status(&self) -> watch::Receiver<SpoolStatus> {
        self.0.status.subscribe()
    }

    /// The right to publish a frame of this origin.
    pub fn turn(&self, origin: &Origin) -> Turn {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(origin.clone()).or_default().clone()
    }

    /// Waits until everything handed in is on disk. Blocks: for tests and the end of a process.
    pub fn flush(&self) {
        let (told, done) = sync_channel(1);
        if let Some(work) = &self.0.work
            && work.send(Work::Flush(told)).is_ok()
        {
            let _ = done.recv();
        }
    }

    /// Publishes the frames of a log again, from a number on, in order. Returns how many.
    async fn resend(&self, bus: &Bus, fleet: &str, log: &LogId, from: u64) -> usize {
        let turn = self.turn(&log.0);
        let _turn = turn.lock().await;
        let frames = self.held().resend(log, from);
        for (sent, frame) in frames.iter().enumerate() {
            if let Err(error) = bus.publish_frame_again(fleet, &log.0, frame.to_vec()).await {
                tracing::warn!(origin = %log.0, from, sent, %error, "a resend broke off; it is asked for again");
                return sent;
            }
        }
        tracing::info!(origin = %log.0, from, frames = frames.len(), "frames sent again");
        frames.len()
    }

    /// Serves until the process ends: checkpoints signed by the log key drop frames, requests get theirs again.
    pub async fn serve(self, bus: Bus, fleet: String, log_key: PublicKey) {
        loop {
            match self.serve_once(&bus, &fleet, log_key).await {
                Ok(()) => return, // the connection is closed for good
                Err(error) => tracing::debug!(%error, "the spool hears nothing yet"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn serve_once(
        &self,
        bus: &Bus,
        fleet: &str,
        log_key: PublicKey,
    ) -> Result<(), asterism_nats::Error> {
        let mut said: Option<Instant> = None;
        let mut notices = bus.subscribe(&Subject::checkpoint_notice(fleet)?, None).await?;
        let mut orders = bus.subscribe(&Subject::resends(fleet)?, None).await?;
        loop {
            tokio::select! {
                notice = notices.next() => {
                    let Some(notice) = notice else { return Ok(()) };
                    if let Err(error) = self.hear(&notice.payload, fleet, log_key)
                        && said.is_none_or(|at| at.elapsed() >= SAY_EVERY)
                    {
                        let refused = self.0.status.borrow().refused;
                        tracing::warn!(refused, "AST-R063: a checkpoint notice is not believed: {error}");
                        said = Some(Instant::now());
                    }
                }
                order = orders.next() => {
                    let Some(order) = order else { return Ok(()) };
                    let Some(log) = self.asked_for(&order.subject, &order.payload) else { continue };
                    let lost_to = self.held().lost_to(&log.0, log.1);
                    let taken = lost_to == 0;
                    let reply = OrderReply { taken, lost_to, ..OrderReply::default() }.encode_to_vec();
                    if let Some(inbox) = order.reply
                        && let Err(error) = bus.respond(inbox, reply).await
                    {
                        tracing::debug!(%error, "a resend's answer could not be sent");
                    }
                    self.resend(bus, fleet, &log.0, log.1).await;
                }
            }
        }
    }

    /// What is asked of this process: other holders of the role's frames stay silent.
    fn asked_for(&self, subject: &Subject, payload: &[u8]) -> Option<(LogId, u64)> {
        let Ok(Parsed::Resend { origin, .. }) = subject.parse() else { return None };
        let order = ResendOrder::decode(payload).ok()?;
        let log = (origin, order.epoch.as_slice().try_into().ok()?);
        self.held().holds(&log).then_some((log, order.from_number))
    }

    /// Keeps the check `spool` and its gauges.
    pub async fn report(self, health: Health) {
        let gauge = |name, help| health.metrics().gauge(name, help).ok();
        let frames = gauge("asterism_spool_frames", "Own frames no checkpoint covers yet.");
        let bytes = gauge("asterism_spool_bytes", "Their bytes.");
        let refused = gauge("asterism_spool_notices_refused", "Checkpoint notices that were not believed.");
        let (mut status, mut failure) = (self.status(), self.0.failure.clone());
        drop(self);
        loop {
            let now = *status.borrow_and_update();
            if let (Some(frames), Some(bytes), Some(refused)) = (&frames, &bytes, &refused) {
                frames.set(now.frames);
                bytes.set(now.bytes);
                refused.set(now.refused);
            }
            let state = match failure.borrow_and_update().clone() {
                Some(reason) => Err(reason),
                None if now.missed > 0 => Err(format!(
                    "AST-R062: the spool is full at {} bytes, {} frames are not held; start the ledger",
                    now.bytes, now.missed
                )),
                None => Ok(()),
            };
            health.set("spool", state);
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                _ = failure.changed() => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, held: &Held, missed: u64) {
        self.0.status.send_modify(|status| {
            (status.frames, status.bytes) = (held.frames() as u64, held.bytes());
            status.missed += missed;
        });
    }

    fn tell(&self, work: Work) {
        let Some(queue) = &self.0.work else { return };
        if let Err(TrySendError::Full(_)) = queue.try_send(work) {
            tracing::warn!("the disk is slower than the frames come; some are held in memory only");
        }
    }
}

//! The commits of one responder process: it is an origin of its own, with one frame in flight.
//!
//! A responder leads nothing, so the stream's acknowledgement is the commit. What answers somebody leaves at once: a
//! frame takes all decisions that wait when the one before is acknowledged. A frame whose acknowledgement is lost is
//! sent again, same bytes and same id, until it has one. An acknowledged frame stays in the spool until a checkpoint covers
//! it: the log may still miss it.

use std::time::{Duration, Instant};

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_nats::{Bus, FrameAck, PublishFrameError, crash};
use asterism_proto::frame::{FRAME_MAX_BYTES, FRAME_MAX_EVENTS, FrameDraft, HEADER_MAX_BYTES, message_id};
use asterism_proto::{Origin, OriginKey, Role};
use asterism_runtime::health::{Counter, Health};
use asterism_runtime::keys::random;
use asterism_runtime::spool::{Spool, Turn};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::responder::Refusal;
use crate::{Deps, Error};

/// Most decisions that wait for a frame; the next is refused at once.
const MAX_WAITING: usize = 4_096;
/// Bytes of events in a frame: what signature, header and framing leave of it.
const MAX_EVENT_BYTES: usize = FRAME_MAX_BYTES - HEADER_MAX_BYTES - 256;
/// What prost adds to each event of a frame at most.
const EVENT_OVERHEAD_BYTES: usize = 4;
/// First and longest pause before a frame is sent again.
const REPEAT_AFTER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often a frame that is not acknowledged is said so in the log.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Where a decision stands: number of its frame and index in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The frame's number within the epoch.
    pub frame: u64,
    /// The event in it.
    pub index: u32,
}

struct Waiting {
    event: Vec<u8>,
    place: oneshot::Sender<Place>,
}

/// Hands decisions to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commits(mpsc::Sender<Waiting>);

impl Commits {
    /// Commits one encoded event. Returns once the stream has it; dropped before that, the event may be written or not.
    pub async fn commit(&self, event: Vec<u8>) -> Result<Place, Refusal> {
        let (place, answer) = oneshot::channel();
        self.0.try_send(Waiting { event, place }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refusal { code: "AST-Q007", reason: format!("{MAX_WAITING} decisions wait already") }
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        answer.await.map_err(|_| stopping())
    }
}

fn stopping() -> Refusal {
    Refusal { code: "AST-Q006", reason: "this process is stopping; another replica answers".to_owned() }
}

/// The running writer.
#[derive(Debug)]
pub struct Writer {
    origin: Origin,
    epoch: [u8; 16],
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts writing as an origin nobody else has.
    pub fn start(deps: &Deps, spool: &Spool) -> Result<(Commits, Self), Error> {
        let origin = Origin::Proc(Role::LogicResponder, hex::encode(random::<8>()?));
        let epoch = random()?;
        let (commits, waiting) = mpsc::channel(MAX_WAITING);
        let (stop, stopped) = oneshot::channel();
        let frames = deps.health.metrics().counter("asterism_logic_frames_total", "Frames acknowledged.")?;
        let loop_ = Loop {
            fleet: deps.fleet.clone(),
            bus: deps.bus.clone(),
            key: deps.key.clone(),
            health: deps.health.clone(),
            frames,
            spool: spool.clone(),
            turn: spool.turn(&origin),
            origin: origin.clone(),
            epoch,
            number: 0,
            waiting,
            next: None,
        };
        let task = tokio::spawn(loop_.run(stopped));
        Ok((Commits(commits), Self { origin, epoch, stop, task }))
    }

    /// The origin written as.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its epoch.
    pub fn epoch(&self) -> &[u8; 16] {
        &self.epoch
    }

    /// Takes no more, commits what waits, closes the origin if it ever wrote, and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Loop {
    fleet: String,
    bus: Bus,
    key: OriginKey,
    health: Health,
    frames: Counter,
    spool: Spool,
    turn: Turn,
    origin: Origin,
    epoch: [u8; 16],
    number: u64,
    waiting: mpsc::Receiver<Waiting>,
    /// One taken that did not fit the frame before.
    next: Option<Waiting>,
}

impl Loop {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut stopping = false;
        loop {
            let first = match self.next.take() {
                Some(first) => first,
                None if stopping => match self.waiting.recv().await {
                    Some(first) => first,
                    None => break,
                },
                None => tokio::select! {
                    biased;
                    first = self.waiting.recv() => match first {
                        Some(first) => first,
                        None => break,
                    },
                    // Asked to stop, or the handle is gone: what waits is still written.
                    _ = &mut stopped => {
                        stopping = true;
                        self.waiting.close();
                        continue;
                    }
                },
            };
            let (events, places) = self.gather(first);
            if events.is_empty() {
                continue;
            }
            if !self.commit(events).await {
                continue;
            }
            for (index, place) in (0u32..).zip(places) {
                // Whoever does not wait any more has taken the fallback; the decision stays without effect.
                let _ = place.send(Place { frame: self.number, index });
            }
        }
        self.close().await;
    }

    /// The decisions of the next frame: the first and all that wait, as far as they fit.
    fn gather(&mut self, first: Waiting) -> (Vec<Vec<u8>>, Vec<oneshot::Sender<Place>>) {
        let (mut events, mut places, mut size_bytes) = (Vec::new(), Vec::new(), 0);
        let mut candidate = Some(first);
        while let Some(waiting) = candidate {
            // Nobody waits for it any more, and it is in no frame yet: it never happened.
            if !waiting.place.is_closed() {
                size_bytes += waiting.event.len() + EVENT_OVERHEAD_BYTES;
                if events.len() == FRAME_MAX_EVENTS || size_bytes > MAX_EVENT_BYTES {
                    self.next = Some(waiting);
                    break;
                }
                events.push(waiting.event);
                places.push(waiting.place);
            }
            candidate = self.waiting.try_recv().ok();
        }
        (events, places)
    }

    /// Commits one frame. `false`: it could not even be made, and its number is not used.
    async fn commit(&mut self, events: Vec<Vec<u8>>) -> bool {
        let number = self.number + 1;
        let draft = FrameDraft {
            fleet: &self.fleet,
            origin: &self.origin,
            epoch: self.epoch,
            number,
            term: 0,
            based_on: 0, // a responder keeps no copy of the log: it decides on the question alone
        };
        let frame = match draft.sign(&self.key, events) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, "a frame could not be made; its questions get no answer");
                return false;
            }
        };
        let id = message_id(&self.origin, &self.epoch, number);
        self.publish_until_acknowledged(number, &frame, &id).await;
        self.number = number;
        self.frames.increment();
        true
    }

    async fn publish_until_acknowledged(&self, number: u64, frame: &[u8], id: &str) {
        let mut pause = REPEAT_AFTER.0;
        let mut said: Option<Instant> = None;
        loop {
            match self.publish(number, frame, id).await {
                Ok(_) => {
                    if said.is_some() {
                        self.health.set("log", Ok::<(), String>(()));
                    }
                    return;
                }
                Err(error) => {
                    if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                        said = Some(Instant::now());
                        tracing::warn!(%error, "a frame is not acknowledged, repeating");
                        self.health.set("log", Err(not_written(&error)));
                    }
                }
            }
            // A link that comes back is used at once.
            if self.bus.is_connected() {
                tokio::time::sleep(pause).await;
            } else {
                self.bus.wait_connected(pause).await;
            }
            pause = (pause * 2).min(REPEAT_AFTER.1);
        }
    }

    /// Publishes the frame once; what is acknowledged goes into the spool before a resend may come between.
    async fn publish(&self, number: u64, frame: &[u8], id: &str) -> Result<FrameAck, PublishFrameError> {
        let _turn = self.turn.lock().await;
        crash::point("decision.unsent");
        let ack = self.bus.publish_frame(&self.fleet, &self.origin, frame.to_vec(), id, None).await?;
        crash::point("decision.acknowledged");
        self.spool.push(&self.origin, self.epoch, number, frame);
        Ok(ack)
    }

    async fn close(&mut self) {
        if self.number == 0 {
            return; // never seen by anyone
        }
        let closed = Event::OriginClosed { origin: self.origin.to_string(), reason: "stopped".to_owned() };
        self.commit(vec![wire::encode(&closed, &Envelope::default())]).await;
    }
}

fn not_written(error: &PublishFrameError) -> String {
    format!("the last frame is not acknowledged: {error}")
}

//! Every frame of the stream once and in order, from a position, across restarts of the server.
//!
//! One unfiltered consumer from the reader's own position, made again at each reconnect. The server's bookkeeping is never
//! believed: sequences must follow one another, and every five seconds the stream is asked whether it still is the one the
//! reader read from. What does not fit is an incident, and ends the reader: going on is the caller's decision.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use asterism_proto::OpenFrame;
use asterism_proto::hash::{Hash, sha256};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::bus::{Bus, with_source};
use crate::error::Error;
use crate::stream::{self, StreamInfo};
use crate::subject::{self, Subject};

/// How long one pull lasts: bounds the silence after a server restart.
const PULL_EXPIRES: Duration = Duration::from_secs(2);
/// How often the server says that an idle pull lives.
const PULL_HEARTBEAT: Duration = Duration::from_secs(1);
/// Frames asked for at once.
const PULL_FRAMES: usize = 256;
/// When the server forgets a consumer nobody pulls from.
const CONSUMER_IDLE: Duration = Duration::from_secs(10);
/// How often the position is checked against the stream.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long a question of the check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Frames waiting for a slow caller (at most 64 KiB each).
const QUEUE_FRAMES: usize = 256;
/// Pause after a consumer could not be made, first and longest.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Where to read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadFrom {
    /// The first sequence wanted: position + 1, or 1 for everything.
    pub sequence: u64,
    /// The stream the position is of; without it the stream found first is taken.
    pub stream_id: Option<String>,
    /// SHA-256 of the frame at the position (`sequence - 1`), if the caller has it: then that is checked from the start.
    pub last_frame: Option<Hash>,
    /// SHA-256 of that frame's header, for a caller that keeps no more of it.
    pub last_header: Option<Hash>,
}

/// What a reader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderEvent {
    /// The next frame.
    Message {
        /// Its sequence: one more than the last.
        sequence: u64,
        /// When the stream took it, in ms since 1970.
        time_ms: u64,
        /// Where it was published.
        subject: Subject,
        /// Its bytes as published.
        payload: Bytes,
    },
    /// Everything the stream had when it was asked has been delivered. Once after the start and after each reconnect.
    CaughtUp {
        /// The last sequence delivered (or the position, when nothing came after it).
        last_sequence: u64,
    },
    /// The stream is not what it was. The reader has ended and says the same from now on.
    Incident(ReaderIncident),
}

/// Why a reader ended. Positions are stream sequences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReaderIncident {
    /// Frames are missing in the stream.
    #[error("the stream jumps from {expected} to {got}: frames are missing or were removed by age")]
    Jump {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// It is another stream.
    #[error("the stream was made again: was {was}, is {is}")]
    StreamRecreated {
        /// The identity of the stream read so far.
        was: String,
        /// The one that is there.
        is: String,
    },
    /// The stream ends before the position, or has no frame there.
    #[error("the stream lost position {position}: its last sequence is {last_sequence}")]
    PositionLost {
        /// The last sequence read.
        position: u64,
        /// The stream's last.
        last_sequence: u64,
    },
    /// Another frame stands at the position.
    #[error("the frame at {position} is not the one that was read there")]
    FrameDiffers {
        /// The last sequence read.
        position: u64,
    },
}

/// A running reader. Dropping it ends it.
pub struct Reader {
    events: mpsc::Receiver<ReaderEvent>,
    ended: Option<ReaderIncident>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    /// Starts reading a fleet's stream at a sequence. It waits for the server and for the stream to appear.
    ///
    /// # Errors
    /// AST-N006 when the fleet's name is unusable.
    pub fn start(
        bus: &Bus,
        fleet: &str,
        from_sequence: u64,
        stream_id: Option<String>,
    ) -> Result<Self, Error> {
        Self::start_at(bus, fleet, ReadFrom { sequence: from_sequence, stream_id, ..ReadFrom::default() })
    }

    /// Starts reading from a position whose frame the caller still knows.
    ///
    /// # Errors
    /// AST-N006 when the fleet's name is unusable.
    pub fn start_at(bus: &Bus, fleet: &str, from: ReadFrom) -> Result<Self, Error> {
        let stream = subject::stream_name(fleet)?;
        let (out, events) = mpsc::channel(QUEUE_FRAMES);
        let follower = Follower {
            bus: bus.clone(),
            fleet: fleet.to_owned(),
            stream,
            next: from.sequence.max(1),
            stream_id: from.stream_id,
            last: match (from.last_frame, from.last_header) {
                (Some(hash), _) => Last::Hash(hash),
                (None, Some(hash)) => Last::Header(hash),
                (None, None) => Last::Unknown,
            },
            gap_at: None,
            out,
        };
        Ok(Self { events, ended: None, task: tokio::spawn(follower.run()) })
    }

    /// The next event. May be dropped while it waits without losing one. After an incident it gives the same incident
    /// each time: start another reader from a repaired position.
    pub async fn next(&mut self) -> ReaderEvent {
        if let Some(incident) = &self.ended {
            return ReaderEvent::Incident(incident.clone());
        }
        match self.events.recv().await {
            Some(ReaderEvent::Incident(incident)) => {
                self.ended = Some(incident.clone());
                ReaderEvent::Incident(incident)
            }
            Some(event) => event,
            // The task ends only after an incident or by a panic; nothing more will ever come.
            None => std::future::pending().await,
        }
    }
}

/// The frame at the position, for comparing.
#[derive(Clone)]
enum Last {
    Unknown,
    Hash(Hash),
    Header(Hash),
    Frame(Bytes),
}

impl Last {
    fn differs(&self, stored: &[u8]) -> bool {
        match self {
            Last::Unknown => false,
            Last::Hash(hash) => *hash != sha256(stored),
            Last::Header(hash) => OpenFrame::read(stored).map_or(true, |frame| frame.header_hash() != *hash),
            Last::Frame(frame) => frame != stored,
        }
    }
}

/// Why following stopped.
enum Stop {
    /// Make the consumer again: the link is new, the server forgot it, or a gap showed.
    Again(String),
    Incident(ReaderIncident),
    /// Nobody listens any more.
    Closed,
}

struct Follower {
    bus: Bus,
    fleet: String,
    stream: String,
    next: u64,
    stream_id: Option<String>,
    last: Last,
    /// Where a gap was seen once. A gap after a broken link may be the consumer's; seen again it is the stream's.
    gap_at: Option<u64>,
    out: mpsc::Sender<ReaderEvent>,
}

type Check = Pin<Box<dyn Future<Output = Result<StreamInfo, Stop>> + Send>>;

impl Follower {
    async fn run(mut self) {
        let mut pause = RETRY_PAUSE.0;
        loop {
            let started = self.next;
            match self.read().await {
                Stop::Again(reason) => {
                    tracing::debug!(stream = %self.stream, next = self.next, reason, "reading again");
                }
                Stop::Incident(incident) => {
                    tracing::error!(stream = %self.stream, %incident, "the reader ends");
                    let _ = self.out.send(ReaderEvent::Incident(incident)).await;
                    return;
                }
                Stop::Closed => return,
            }
            pause = if self.next > started { RETRY_PAUSE.0 } else { (pause * 2).min(RETRY_PAUSE.1) };
            let mut connects = self.bus.connects();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = connects.changed() => pause = RETRY_PAUSE.0,
                () = self.out.closed() => return,
            }
        }
    }

    /// Checks the position, makes a consumer and reads from it until something ends it.
    async fn read(&mut self) -> Stop {
        tokio::select! {
            up = self.bus.wait_connected(CHECK_EVERY) => if !up { return Stop::Again("no link".to_owned()) },
            () = self.out.closed() => return Stop::Closed,
        }
        // Taken before the first question: a reconnect from here on is seen below.
        let mut connects = self.bus.connects();
        let info = match self.check().await {
            Ok(info) => info,
            Err(stop) => return stop,
        };
        let end = info.last_sequence;
        self.stream_id = Some(info.stream_id);
        let (mut messages, pending) = match self.consume().await {
            Ok(made) => made,
            Err(error) => return Stop::Again(error),
        };
        let mut caught_up = false;
        if pending == 0 {
            // A damaged block ends with its file: the stream counts what it cannot give, and says nothing.
            if end >= self.next {
                return self.jump(end + 1);
            }
            caught_up = true;
            if self.out.send(ReaderEvent::CaughtUp { last_sequence: self.next - 1 }).await.is_err() {
                return Stop::Closed;
            }
        }
        let mut ticks = tokio::time::interval_at(Instant::now() + CHECK_EVERY, CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check: Option<Check> = None;
        loop {
            tokio::select! {
                biased;
                _ = connects.changed() => return Stop::Again("the link is new".to_owned()),
                message = messages.next() => {
                    let message = match message {
                        Some(Ok(message)) => message,
                        Some(Err(error)) => return Stop::Again(with_source(&error)),
                        None => return Stop::Again("the consumer ended".to_owned()),
                    };
                    if let Err(stop) = self.deliver(message, &mut caught_up).await {
                        return stop;
                    }
                }
                done = async { match check.as_mut() { Some(check) => check.await, None => std::future::pending().await } } => {
                    check = None;
                    // A question without an answer decides nothing; the next one comes in five seconds.
                    if let Err(stop @ Stop::Incident(_)) = done {
                        return stop;
                    }
                }
                _ = ticks.tick() => if check.is_none() { check = Some(Box::pin(self.check())) },
                () = self.out.closed() => return Stop::Closed,
            }
        }
    }

    async fn consume(&self) -> Result<(pull::Stream, u64), String> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            inactive_threshold: CONSUMER_IDLE,
            max_expires: PULL_EXPIRES,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let making = async {
            let consumer = self
                .bus
                .jetstream
                .create_consumer_on_stream(config, &self.stream)
                .await
                .map_err(|error| with_source(&error))?;
            let pending = consumer.cached_info().num_pending;
            let messages = consumer
                .stream()
                .max_messages_per_batch(PULL_FRAMES)
                .expires(PULL_EXPIRES)
                .heartbeat(PULL_HEARTBEAT)
                .messages()
                .await
                .map_err(|error| with_source(&error))?;
            Ok((messages, pending))
        };
        tokio::time::timeout(CHECK_TIMEOUT, making).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    async fn deliver(
        &mut self,
        message: async_nats::jetstream::Message,
        caught_up: &mut bool,
    ) -> Result<(), Stop> {
        let info = message.info().map_err(|error| Stop::Again(error.to_string()))?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let time_ms = stream::time_ms(info.published.unix_timestamp_nanos());
        if sequence < self.next {
            return Ok(());
        }
        if sequence > self.next {
            return Err(self.jump(sequence));
        }
        self.gap_at = None;
        self.next = sequence + 1;
        self.last = Last::Frame(message.payload.clone());
        let subject = Subject::received(&message.subject);
        let event = ReaderEvent::Message { sequence, time_ms, subject, payload: message.payload.clone() };
        self.out.send(event).await.map_err(|_| Stop::Closed)?;
        if pending == 0 && !*caught_up {
            *caught_up = true;
            self.out
                .send(ReaderEvent::CaughtUp { last_sequence: sequence })
                .await
                .map_err(|_| Stop::Closed)?;
        }
        Ok(())
    }

    /// What stands between is missing if it is so a second time.
    fn jump(&mut self, got: u64) -> Stop {
        if self.gap_at.replace(self.next) == Some(self.next) {
            return Stop::Incident(ReaderIncident::Jump { expected: self.next, got });
        }
        Stop::Again(format!("{got} came where {} was due", self.next))
    }

    /// Asks the stream whether it still is the one read from, and still has the frame at the position.
    fn check(&self) -> impl Future<Output = Result<StreamInfo, Stop>> + Send + 'static {
        let (bus, fleet, position) = (self.bus.clone(), self.fleet.clone(), self.next - 1);
        let (stream_id, last) = (self.stream_id.clone(), self.last.clone());
        async move {
            let asking = check_position(&bus, &fleet, position, stream_id.as_deref(), &last);
            match tokio::time::timeout(CHECK_TIMEOUT, asking).await {
                Ok(answer) => answer,
                Err(_) => Err(Stop::Again("no answer about the position".to_owned())),
            }
        }
    }
}

async fn check_position(
    bus: &Bus,
    fleet: &str,
    position: u64,
    stream_id: Option<&str>,
    last: &Last,
) -> Result<StreamInfo, Stop> {
    let again = |error: Error| Stop::Again(error.to_string());
    let info = stream::info(bus, fleet).await.map_err(again)?;
    if let Some(was) = stream_id.filter(|was| *was != info.stream_id) {
        return Err(Stop::Incident(ReaderIncident::StreamRecreated {
            was: was.to_owned(),
            is: info.stream_id,
        }));
    }
    let gone = ReaderIncident::PositionLost { position, last_sequence: info.last_sequence };
    if info.last_sequence < position {
        return Err(Stop::Incident(gone));
    }
    if info.first_sequence > position + 1 {
        return Err(Stop::Incident(ReaderIncident::Jump {
            expected: position + 1,
            got: info.first_sequence,
        }));
    }
    // What age removed can no longer be compared; nothing is missing after it.
    if position == 0 || info.first_sequence > position || matches!(last, Last::Unknown) {
        return Ok(info);
    }
    match stream::frame_at(bus, fleet, position).await.map_err(again)? {
        Some(stored) if last.differs(&stored.payload) => {
            Err(Stop::Incident(ReaderIncident::FrameDiffers { position }))
        }
        // Where there is none, age removed it, or the disk did. This reader has it: what counts is that nothing is missing
        // behind it.
        _ => Ok(info),
    }
}

//! A leader's commit: the stream's acknowledgement plus its own reader delivering the frame.
//!
//! After a lost acknowledgement or "wrong last sequence" nothing is concluded: the frame is repeated with its id until
//! the reader delivers it or refuses it.

use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_nats::{FrameAck, PublishFrameError, crash};
use asterism_proto::frame::{FrameDraft, FrameError, message_id};
use asterism_proto::v1::EventType;
use asterism_proto::{Origin, OriginKey, Role};
use tokio::sync::oneshot;

use crate::keys::random;
use crate::log::{Delivery, Log};
use crate::spool::Turn;

/// Pause between repeats of an unacknowledged frame.
const REPEAT_AFTER: Duration = Duration::from_millis(100);
/// How long an acknowledged frame may take to come back before it is published again: a stream that lost it, or an
/// acknowledgement that was for somebody else's frame.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(5);

/// Why a commit failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another leader has a higher term, or the sequencer refused the frame.
    #[error("AST-R030: this process does not lead any more: {0}")]
    Fenced(String),
    /// The copy stopped.
    #[error("AST-R031: the log has stopped: {0}")]
    Stopped(String),
    /// The events do not fit a frame.
    #[error("AST-R032: {0}")]
    Frame(#[from] FrameError),
}

/// A frame that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Log size after it.
    pub size: u64,
    /// Its bytes, signed.
    pub frame: Vec<u8>,
}

/// A term of leadership: the right to commit frames of a role, one at a time.
#[derive(Debug)]
pub struct Term {
    log: Log,
    role: Role,
    origin: Origin,
    key: OriginKey,
    epoch: [u8; 16],
    held: u64,
    frames: u64,
    last_on_subject: Option<u64>,
    turn: Turn,
    /// The frame being committed intends attempts; for [`crash`].
    intents: bool,
}

impl Term {
    /// Commits `LeaderElected` with the next term and waits to read it back: that is the catch-up.
    pub async fn elect(log: &Log, role: Role, key: &OriginKey, holder: &str) -> Result<Self, CommitError> {
        log.caught_up().await;
        let term = log.term(role) + 1;
        let epoch = random().map_err(|error| CommitError::Stopped(error.to_string()))?;
        let mut new = Self {
            log: log.clone(),
            role,
            origin: Origin::Role(role),
            key: key.clone(),
            epoch,
            held: term,
            frames: 0,
            last_on_subject: None,
            turn: log.spool().turn(&Origin::Role(role)),
            intents: false,
        };
        let elected = Event::LeaderElected { role: role.name().to_owned(), term, holder: holder.to_owned() };
        new.commit(&[elected], &Envelope::default()).await?;
        if let Some(repaired) = log.untold_repair(holder) {
            new.commit(&[repaired], &Envelope::default()).await?;
            log.repair_told();
        }
        Ok(new)
    }

    /// The term's number.
    pub fn number(&self) -> u64 {
        self.held
    }

    /// The role led.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Commits the events of one command; returns the log's size after them.
    pub async fn commit(&mut self, events: &[Event], meta: &Envelope) -> Result<u64, CommitError> {
        self.intents = events.iter().any(|event| matches!(event, Event::AttemptIntended { .. }));
        let events = events.iter().map(|event| wire::encode(event, meta)).collect();
        self.point("intent.unsent");
        let size = self.commit_encoded(events).await.map(|committed| committed.size)?;
        self.point("intent.committed");
        Ok(size)
    }

    fn point(&self, name: &'static str) {
        if self.intents {
            crash::point(name);
        }
    }

    /// Commits one frame of events of one type whose bodies their writer encoded itself.
    pub async fn commit_bodies(
        &mut self,
        event_type: EventType,
        bodies: Vec<Vec<u8>>,
        meta: &Envelope,
    ) -> Result<Committed, CommitError> {
        let encode = |body| prost::Message::encode_to_vec(&wire::envelope(event_type, body, meta));
        self.commit_encoded(bodies.into_iter().map(encode).collect()).await
    }

    async fn commit_encoded(&mut self, events: Vec<Vec<u8>>) -> Result<Committed, CommitError> {
        let number = self.frames + 1;
        let based_on = self.log.read(|state| state.size);
        let draft = FrameDraft {
            fleet: self.log.fleet(),
            origin: &self.origin,
            epoch: self.epoch,
            number,
            term: self.held,
            based_on,
        };
        let frame = draft.sign(&self.key, events)?;
        let id = message_id(&self.origin, &self.epoch, number);
        let delivered = self.log.expect(id.clone());
        let result = self.publish_until_delivered(number, &frame, &id, delivered).await;
        self.log.forget(&id);
        let size = result?;
        self.log.spool().push(&self.origin, self.epoch, number, &frame);
        self.frames = number;
        Ok(Committed { size, frame })
    }

    async fn publish_until_delivered(
        &mut self,
        number: u64,
        frame: &[u8],
        id: &str,
        mut delivered: oneshot::Receiver<Delivery>,
    ) -> Result<u64, CommitError> {
        let mut failure = self.log.failure();
        // The expectation is an early stop only; a repeat goes without it and is judged by the sequencer alone.
        let mut expected = self.last_on_subject;
        loop {
            let attempt = self.attempt(number, frame, id, expected);
            let mut pause = REPEAT_AFTER;
            tokio::select! {
                biased;
                delivery = &mut delivered => return outcome(delivery),
                Ok(stopped) = failure.wait_for(Option::is_some) => {
                    return Err(CommitError::Stopped(stopped.clone().unwrap_or_default()));
                }
                answer = attempt => match answer {
                    Ok(ack) => {
                        self.last_on_subject = Some(ack.sequence);
                        pause = DELIVERY_PATIENCE;
                    }
                    Err(PublishFrameError::WrongLastSequence) => self.last_on_subject = None,
                    Err(error) => {
                        tracing::debug!(role = %self.role, %error, "frame not acknowledged, repeating");
                        self.last_on_subject = None;
                    }
                },
            }
            expected = None;
            tokio::select! {
                biased;
                delivery = &mut delivered => return outcome(delivery),
                Ok(stopped) = failure.wait_for(Option::is_some) => {
                    return Err(CommitError::Stopped(stopped.clone().unwrap_or_default()));
                }
                () = tokio::time::sleep(pause) => {
                    if self.log.term(self.role) > self.held {
                        return Err(CommitError::Fenced("a higher term is in the log".to_owned()));
                    }
                }
            }
        }
    }

    /// Publishes the frame once. Acknowledged is enough for the spool: the stream may lose it before anyone reads it.
    async fn attempt(
        &self,
        number: u64,
        frame: &[u8],
        id: &str,
        expected: Option<u64>,
    ) -> Result<FrameAck, PublishFrameError> {
        let _turn = self.turn.lock().await;
        let (bus, fleet) = (self.log.bus(), self.log.fleet());
        let ack = bus.publish_frame(fleet, &self.origin, frame.to_vec(), id, expected).await?;
        self.point("intent.acknowledged");
        self.log.spool().push(&self.origin, self.epoch, number, frame);
        Ok(ack)
    }
}

fn outcome(delivery: Result<Delivery, oneshot::error::RecvError>) -> Result<u64, CommitError> {
    match delivery {
        Ok(Delivery::Accepted(size)) => Ok(size),
        Ok(Delivery::Refused(reason)) => Err(CommitError::Fenced(reason)),
        Err(_) => Err(CommitError::Stopped("the reader is gone".to_owned())),
    }
}

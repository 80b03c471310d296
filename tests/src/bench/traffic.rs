//! What stands in the stream: counted as it comes, so that a bench can say that its work was really done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, ensure};
use asterism_domain::Event;
use asterism_domain::event::StepSource;
use asterism_domain::wire::decode_bytes;
use asterism_nats::{Bus, Reader, ReaderEvent};
use asterism_proto::{OpenFrame, Origin, v1};

use super::world::FLEET;

/// The counts. Shared by who reads and who asks.
#[derive(Default)]
pub struct Traffic(Mutex<Counts>);

/// What the frames said so far.
#[derive(Clone, Default)]
pub struct Counts {
    /// Frames of the node, by number: one that was repeated counts once.
    node_frames: BTreeSet<u64>,
    mark: Option<v1::Mark>,
    /// Attempts that were answered.
    pub answered: u64,
    /// Ends, by attempt: how often, and the last outcome.
    pub ended: BTreeMap<String, (u32, String)>,
    /// Attempts a node refused.
    pub refused: u64,
    /// Steps that name a decision, as (call, step).
    pub by_responder: BTreeSet<(String, u32)>,
    /// Steps that took the fallback.
    pub by_fallback: u64,
    /// Decisions, as (call, step).
    pub decided: BTreeSet<(String, u32)>,
    /// All events.
    pub events: u64,
}

impl Traffic {
    /// Reads the stream for as long as the task is kept.
    pub async fn follow(&self, bus: &Bus) -> anyhow::Result<()> {
        let mut reader = Reader::start(bus, FLEET, 1, None)?;
        loop {
            match reader.next().await {
                ReaderEvent::Message { payload, .. } => self.take(&payload)?,
                ReaderEvent::CaughtUp { .. } => {}
                ReaderEvent::Incident(incident) => bail!("{incident}"),
            }
        }
    }

    /// Reads the stream to its end.
    pub async fn read(&self, bus: &Bus) -> anyhow::Result<Counts> {
        let mut reader = Reader::start(bus, FLEET, 1, None)?;
        loop {
            match reader.next().await {
                ReaderEvent::Message { payload, .. } => self.take(&payload)?,
                ReaderEvent::CaughtUp { .. } => return Ok(self.counts()),
                ReaderEvent::Incident(incident) => bail!("{incident}"),
            }
        }
    }

    /// The counts as they are now.
    pub fn counts(&self) -> Counts {
        self.look(Clone::clone)
    }

    /// Looks at the counts.
    pub fn look<T>(&self, look: impl FnOnce(&Counts) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest frame of the node, as a checkpoint marks it.
    pub fn mark(&self) -> Option<v1::Mark> {
        self.look(|counts| counts.mark.clone())
    }

    fn take(&self, payload: &[u8]) -> anyhow::Result<()> {
        let frame = OpenFrame::read(payload)?;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(frame.origin, Origin::Node(_)) {
            let number = frame.header.number;
            if !counts.node_frames.insert(number) {
                return Ok(());
            }
            let expected = counts.node_frames.len() as u64;
            ensure!(number == expected, "the node's frame {number} came where {expected} was expected");
            counts.mark =
                Some(v1::Mark { origin: frame.header.origin.clone(), epoch: frame.epoch.to_vec(), number });
        }
        for event in &frame.events {
            counts.count(decode_bytes(event)?.1);
        }
        Ok(())
    }
}

impl Counts {
    fn count(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::AttemptAnswered { .. } => self.answered += 1,
            Event::AttemptRefused { .. } => self.refused += 1,
            Event::AttemptEnded { attempt, outcome, .. } => {
                let end = self.ended.entry(attempt.to_string()).or_default();
                *end = (end.0 + 1, format!("{outcome:?}"));
            }
            Event::StepDecided { call, step, .. } => {
                self.decided.insert((call.to_string(), step));
            }
            Event::StepTaken { call, step, source, decision, .. } => {
                if source == StepSource::Responder && decision.is_some() {
                    self.by_responder.insert((call.to_string(), step));
                } else {
                    self.by_fallback += 1;
                }
            }
            _ => {}
        }
    }
}

//! The reader's side of a copy: each frame judged, compared, folded, kept, told; holes filled or shown.

use std::sync::PoisonError;
use std::time::Instant;

use asterism_event_log::sequencer::{CheckpointCheck, RefusedReason};
use asterism_event_log::{AcceptedFrame, Sequencer, StreamAt, Verdict};
use asterism_nats::{ReadFrom, Reader, ReaderEvent, ReaderIncident};
use asterism_proto::hash::Hash;
use asterism_proto::{OpenFrame, Origin, Role};

use super::{Delivery, Log, fold};
use crate::{restore, stream};

impl Log {
    pub(super) async fn follow(self, mut reader: Reader) {
        let mut failure = self.0.failure.subscribe();
        loop {
            let event = tokio::select! {
                event = reader.next() => event,
                _ = failure.changed() => return,
            };
            let done = match event {
                ReaderEvent::Message { sequence, time_ms, payload, .. } => {
                    self.take(&payload, StreamAt { sequence, time_ms }).await
                }
                ReaderEvent::CaughtUp { last_sequence }
                    if last_sequence > 0 && self.read(|state| state.size) == 0 =>
                {
                    // Whoever lacks the beginning can judge nothing of what follows.
                    let what = "the stream does not hold the beginning of the log";
                    Err(format!(
                        "AST-R027: {what}; restore this folder from the archive or from another copy"
                    ))
                }
                ReaderEvent::CaughtUp { .. } => {
                    self.0.head.send_modify(|head| head.at_end = true);
                    self.settle();
                    Ok(())
                }
                ReaderEvent::Incident(ReaderIncident::Jump { expected, got }) => {
                    let refilled = tokio::select! {
                        refilled = self.refill(expected, got) => refilled,
                        _ = failure.changed() => return,
                    };
                    refilled.map(|behind| reader = behind)
                }
                ReaderEvent::Incident(incident) => Err(format!("AST-R024: {incident}")),
            };
            if let Err(reason) = done {
                self.0.failure.send_replace(Some(reason));
                return;
            }
        }
    }

    /// The stream has lost frames that others have read: they come from a ledger's copy, judged as if they had come from
    /// the stream. Gives a reader behind the hole.
    async fn refill(&self, expected: u64, got: u64) -> Result<Reader, String> {
        tracing::error!(
            expected,
            got,
            "AST-R026: the stream has lost frames; this copy takes them from the ledger"
        );
        self.0.head.send_modify(|head| (head.at_end, head.caught_up) = (false, false));
        let stream_id = self.sequencer(|_, stream_id, _| stream_id.to_owned());
        let frames = stream::refill(&self.0.bus, &self.0.fleet, &stream_id, expected, got).await?;
        for frame in &frames {
            let at = StreamAt { sequence: frame.sequence, time_ms: frame.time_ms };
            self.take(&frame.frame, at).await?;
        }
        let size = self.0.head.borrow().size;
        *self.0.suspect.lock().unwrap_or_else(PoisonError::into_inner) = Some(size);
        tracing::info!(frames = frames.len(), expected, got, "refilled; suspect until a checkpoint agrees");
        let from = ReadFrom { sequence: got, stream_id: Some(stream_id), ..ReadFrom::default() };
        Reader::start_at(&self.0.bus, &self.0.fleet, from).map_err(|error| error.to_string())
    }

    async fn take(&self, payload: &[u8], at: StreamAt) -> Result<(), String> {
        let (verdict, root, continued) = {
            let mut folded = self.0.folded.write().unwrap_or_else(PoisonError::into_inner);
            let awaited = folded.sequencer.is_awaiting_continues();
            let verdict = folded.sequencer.judge(payload, at);
            folded.stream_sequence = at.sequence;
            let mut root = Hash::default();
            if let Verdict::Accepted(frame) = &verdict {
                agrees(&folded.sequencer, frame)
                    .inspect_err(|reason| restore::disagreed(&self.0.folder, reason))?;
                root = folded.sequencer.root();
                fold(&mut folded.state, frame)?;
            }
            let continued = awaited && !folded.sequencer.is_awaiting_continues();
            (verdict, root, continued.then(|| folded.stream_id.clone()))
        };
        match verdict {
            Verdict::Accepted(frame) => {
                let (id, end) = (frame.frame.message_id(), frame.end());
                self.close_gap(&frame.frame);
                self.0.storage.frame(frame, root).await;
                if let Some(stream_id) = continued {
                    tracing::info!(size = end, stream_id, "the log goes on in a stream that was made anew");
                    self.0.storage.stream_id(stream_id).await;
                }
                self.0.head.send_modify(|head| head.size = end);
                self.settle();
                self.tell(&id, Delivery::Accepted(end));
            }
            Verdict::Duplicate => tracing::debug!(sequence = at.sequence, "duplicate frame"),
            Verdict::Gap { origin, expected, got } => self.open_gap(payload, &origin, expected, got),
            Verdict::Refused { origin, reason } => {
                tracing::warn!(?origin, %reason, sequence = at.sequence, "frame refused");
                // Only what the origin's key has signed can be this process's own.
                let anybodys = matches!(
                    reason,
                    RefusedReason::Signature | RefusedReason::WrongFleet | RefusedReason::UnknownOrigin
                );
                if let Ok(frame) = OpenFrame::read(payload)
                    && !anybodys
                {
                    self.tell(&frame.message_id(), Delivery::Refused(reason.to_string()));
                }
            }
            Verdict::Stop { reason } => return Err(format!("AST-R028: {reason}")),
        }
        Ok(())
    }

    fn open_gap(&self, payload: &[u8], origin: &str, expected: u64, got: u64) {
        let Ok(frame) = OpenFrame::read(payload) else { return };
        self.0.gaps.send_modify(|gaps| {
            if gaps.missing(frame.origin, frame.epoch, expected, got, Instant::now()) {
                tracing::warn!(origin, expected, got, "frames of an origin are missing, it must resend");
            }
        });
    }

    fn close_gap(&self, frame: &OpenFrame) {
        if self.0.gaps.borrow().open().is_empty() {
            return;
        }
        self.0.gaps.send_modify(|gaps| {
            let closed = gaps.accepted(&frame.origin, &frame.epoch, frame.header.number, Instant::now());
            if let Some(after) = closed {
                tracing::info!(origin = %frame.origin, ?after, "what was missing of an origin is in the log");
            }
            // Its events may have given up frames of others.
            if frame.origin == Origin::Role(Role::Ledger) {
                let open: Vec<Origin> = gaps.open().keys().cloned().collect();
                for origin in open {
                    let next = self.sequencer(|sequencer, _, _| sequencer.next_of(&origin));
                    if let Some((epoch, next)) = next {
                        gaps.given_up(&origin, &epoch, next - 1, Instant::now());
                    }
                }
            }
        });
    }

    fn tell(&self, message_id: &str, delivery: Delivery) {
        if let Some(waiter) = self.waiters().remove(message_id) {
            let _ = waiter.send(delivery);
        }
    }
}

/// Compares the checkpoint in a frame, if it holds one, with the log here (INV-09).
fn agrees(sequencer: &Sequencer, frame: &AcceptedFrame) -> Result<(), String> {
    let Some(seen) = sequencer.checkpoint().filter(|seen| seen.position >= frame.first) else {
        return Ok(());
    };
    if seen.check != CheckpointCheck::Differs {
        return Ok(());
    }
    let ours = sequencer.root_at(seen.size).map_or_else(|| "no root".to_owned(), hex::encode);
    let reason = format!(
        "AST-R022: the checkpoint at size {} has root {}, this copy has {ours}; the next start sets it aside \
         and refills it from the archive and the stream",
        seen.size,
        hex::encode(seen.root)
    );
    tracing::warn!(reason, "this copy disagrees with the ledger");
    Err(reason)
}

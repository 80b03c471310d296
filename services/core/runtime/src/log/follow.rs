//! The reader's side of a copy: each frame judged, compared, folded, kept, told; holes filled or shown.

use std::sync::PoisonError;
use std::time::Instant;

use asterism_domain::State;
use asterism_event_log::sequencer::{CheckpointCheck, RefusedReason};
use asterism_event_log::{AcceptedFrame, Sequencer, StreamAt, Verdict};
use asterism_nats::{Reader, ReaderEvent, ReaderIncident, crash};
use asterism_proto::hash::Hash;
use asterism_proto::{OpenFrame, Origin, Role};

use super::{Delivery, Log, fold};
use crate::{restore, snapshot};

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
                    let filled = tokio::select! {
                        filled = self.fill_hole(expected, got) => filled,
                        _ = failure.changed() => return,
                    };
                    filled.map(|behind| reader = behind)
                }
                ReaderEvent::Incident(incident) => Err(format!("AST-R024: {incident}{}", way_out(&incident))),
            };
            if let Err(reason) = done {
                self.0.failure.send_replace(Some(reason));
                return;
            }
        }
    }

    async fn take(&self, payload: &[u8], at: StreamAt) -> Result<(), String> {
        let arrived = Instant::now();
        let judged = self.judge(at.sequence, |sequencer| sequencer.judge(payload, at)).await?;
        let refused = match judged {
            Err(refused) => refused,
            Ok(record_time_ms) => {
                if self.0.head.borrow().at_end {
                    self.0.clock.arrived(record_time_ms, arrived);
                }
                return Ok(());
            }
        };
        match refused {
            Verdict::Accepted(_) => {}
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

    /// Judges a frame that stands at this place of the stream; one that is accepted is folded, kept and told. Gives its
    /// record time, or any other verdict.
    pub(super) async fn judge(
        &self,
        sequence: u64,
        judge: impl FnOnce(&mut Sequencer) -> Verdict,
    ) -> Result<Result<u64, Verdict>, String> {
        let (verdict, root, continued) = {
            let mut folded = self.0.folded.write().unwrap_or_else(PoisonError::into_inner);
            let awaited = folded.sequencer.is_awaiting_continues();
            let verdict = judge(&mut folded.sequencer);
            folded.stream_sequence = sequence;
            let mut root = Hash::default();
            if let Verdict::Accepted(frame) = &verdict {
                agrees(&folded.sequencer, frame)
                    .inspect_err(|reason| restore::disagreed(&self.0.folder, reason))?;
                root = folded.sequencer.root();
                self.bear_out(frame, &folded.state)?;
                fold(&mut folded.state, frame)?;
            }
            let continued = awaited && !folded.sequencer.is_awaiting_continues();
            (verdict, root, continued.then(|| folded.stream_id.clone()))
        };
        let frame = match verdict {
            Verdict::Accepted(frame) => frame,
            other => return Ok(Err(other)),
        };
        if matches!(frame.frame.origin, Origin::Node(_)) {
            crash::point("fact.folded");
        }
        let (id, end, record_time_ms) = (frame.frame.message_id(), frame.end(), frame.record_time_ms);
        self.close_gap(&frame.frame);
        self.0.storage.frame(frame, root).await;
        if let Some(stream_id) = continued {
            tracing::info!(size = end, stream_id, "the log goes on in a stream that was made anew");
            self.0.storage.stream_id(stream_id).await;
        }
        self.0.head.send_modify(|head| head.size = end);
        self.settle();
        self.tell(&id, Delivery::Accepted(end));
        Ok(Ok(record_time_ms))
    }

    /// Lets a frame bear out the snapshot this copy was opened from.
    fn bear_out(&self, frame: &AcceptedFrame, state: &State) -> Result<(), String> {
        let mut unproved = self.0.unproved.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(doubt) = *unproved else { return Ok(()) };
        match doubt.is_borne_out(frame, state) {
            Ok(true) => *unproved = None,
            Ok(false) => {}
            Err(reason) => {
                snapshot::discard(&self.0.folder);
                return Err(reason);
            }
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

/// What to do about a stream that is not the one this copy read. One that was made again needs nothing but a new start.
fn way_out(incident: &ReaderIncident) -> &'static str {
    match incident {
        ReaderIncident::PositionLost { .. } | ReaderIncident::FrameDiffers { .. } => {
            "; the nats-server has lost or exchanged what it had acknowledged: give it its newer store back, or delete the \
             stream: the ledger continues the log in a new one, from its own copy"
        }
        ReaderIncident::StreamRecreated { .. } | ReaderIncident::Jump { .. } => "",
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
         and refills it from the archive, the ledger's copy and the stream",
        seen.size,
        hex::encode(seen.root)
    );
    tracing::warn!(reason, "this copy disagrees with the ledger");
    Err(reason)
}

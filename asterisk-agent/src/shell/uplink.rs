//! Frames to the stream: one in flight, at a pace that follows the acknowledgements, repeated for ever with the same id.
//! What was acknowledged and is asked for again goes without it: the stream drops an id it remembers.

use std::time::{Duration, Instant};

use asterism_nats::{Pace, crash};
use asterism_proto::frame::message_id;

use super::Shell;
use crate::Error;
use crate::input::Input;
use crate::spool::{Spool, SpoolChange};

/// Pause before a frame that was not acknowledged goes out again.
const RETRY: Duration = Duration::from_millis(200);
/// How long the loop may sleep when nothing is to be published.
const IDLE: Duration = Duration::from_secs(1);

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    pace: Pace,
    in_flight: Option<u64>,
    /// The highest frame acknowledged since the start.
    acknowledged: u64,
    not_before: Option<Instant>,
    /// A frame is being made durable.
    pub(super) cutting: bool,
    /// Tries of the frame now on its way.
    tries: u32,
}

impl Uplink {
    /// Until something may leave.
    pub(super) fn pause(&self, now: Instant, spool: &Spool) -> Duration {
        if self.in_flight.is_some() || self.cutting || !(spool.has_waiting() || spool.next().is_some()) {
            return IDLE;
        }
        self.not_before
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            .max(Duration::from_millis(1))
    }

    pub(super) fn published(
        &mut self,
        spool: &mut Spool,
        number: u64,
        acknowledged: Option<Duration>,
        waited: Duration,
    ) {
        self.in_flight = None;
        self.pace.acknowledged(acknowledged.unwrap_or(waited));
        let gap = match acknowledged {
            Some(_) => {
                self.tries = 0;
                self.acknowledged = self.acknowledged.max(number);
                spool.on_acked(number);
                self.pace.gap().saturating_sub(waited)
            }
            None => RETRY,
        };
        self.not_before = Some(Instant::now() + gap);
    }

    fn may_leave(&self, now: Instant) -> bool {
        self.in_flight.is_none() && self.not_before.is_none_or(|at| at <= now)
    }
}

impl Shell {
    /// Cuts and publishes what may leave now. Facts are framed when they could leave at once, or fill a frame.
    pub(super) fn publish(&mut self, now: Instant) -> Result<(), Error> {
        let linked = self.admitted && self.bus.as_ref().is_some_and(asterism_nats::Bus::is_connected);
        let may_leave = linked && self.uplink.may_leave(now);
        let behind = self.parts.spool.next().is_some();
        let cut_now = self.parts.spool.has_waiting() && may_leave && !behind && !self.uplink.cutting;
        if cut_now || self.parts.spool.has_full_frame() {
            self.cut()?;
        }
        if !may_leave {
            return Ok(());
        }
        let Some(number) = self.parts.spool.next() else { return Ok(()) };
        let Some(frame) = self.parts.store.frame(number)? else {
            tracing::error!(number, "a frame is missing in the store");
            self.parts.spool.on_acked(number);
            return Ok(());
        };
        let Some(bus) = self.bus.clone() else { return Ok(()) };
        let signer = &self.parts.signer;
        let (fleet, origin) = (signer.fleet.clone(), signer.origin.clone());
        let id = message_id(&origin, &signer.epoch, number);
        let inputs = self.parts.inputs.clone();
        self.uplink.in_flight = Some(number);
        self.uplink.tries += 1;
        let first_try = self.uplink.tries == 1;
        let again = number <= self.uplink.acknowledged;
        tokio::spawn(async move {
            crash::point("frame.unsent");
            let sent = Instant::now();
            let result = if again {
                bus.publish_frame_again(&fleet, &origin, frame).await
            } else {
                bus.publish_frame(&fleet, &origin, frame, &id, None).await
            };
            let waited = sent.elapsed();
            if result.is_ok() {
                crash::point("frame.acknowledged");
            }
            if let Err(error) = &result
                && first_try
            {
                tracing::warn!(number, %error, "a frame was not acknowledged; it is repeated until it is");
            }
            let acknowledged = result.is_ok().then_some(waited);
            let _ = inputs.send(Input::Published { number, acknowledged, waited }).await; // stopping: it is in the spool
        });
        Ok(())
    }

    fn cut(&mut self) -> Result<(), Error> {
        let cut = self.parts.spool.cut(&self.parts.signer);
        let cut = cut.map_err(|error| Error::Start { what: "a frame".to_owned(), why: error.to_string() })?;
        if let Some(change @ SpoolChange::PutFrame { number, .. }) = cut {
            self.uplink.cutting = true;
            self.commit_frame(change, number);
        }
        Ok(())
    }
}

//! Frames that nobody has any more: when they are given up, and by whom.
//!
//! By themselves only where their origin has said so, or is closed, and after a patience; an origin that is merely silent is
//! waited for, or given up by a person. What is given up is an event: a gap is never skipped in silence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use asterism_domain::Event;
use asterism_domain::wire::Envelope;
use asterism_proto::Origin;
use asterism_proto::v1::OrderReply;
use asterism_runtime::commit::{CommitError, Term};
use asterism_runtime::gaps::{Gap, Gaps};
use asterism_runtime::log::Log;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// What origins have said of the frames they were asked for: up to which number they have none. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said(Arc<Mutex<BTreeMap<Origin, (Gap, u64)>>>);

impl Said {
    /// The answer to an order about a gap.
    pub(crate) fn hear(&self, origin: &Origin, gap: &Gap, reply: &OrderReply) {
        // Nobody gives up more than is missing: the rest may be another's to send.
        let lost_to = reply.lost_to.min(gap.seen);
        if !reply.taken && lost_to >= gap.expected {
            self.lock().insert(origin.clone(), (*gap, lost_to));
        } else {
            self.lock().remove(origin);
        }
    }

    /// Up to which number the origin has none of what this gap misses first.
    pub(crate) fn of(&self, origin: &Origin, gap: &Gap) -> Option<u64> {
        let said = self.lock().get(origin).copied();
        said.filter(|(of, _)| (of.epoch, of.expected) == (gap.epoch, gap.expected)).map(|(_, to)| to)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Origin, (Gap, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames to give up.
#[derive(Debug)]
pub(crate) struct Loss {
    /// Whose.
    pub(crate) origin: Origin,
    /// The epoch they count in.
    pub(crate) epoch: [u8; 16],
    /// The last of them; the first is the one the log misses when it is committed.
    pub(crate) to: u64,
    /// Why.
    pub(crate) reason: String,
    /// Who decided it.
    pub(crate) meta: Envelope,
    /// Gets the log's size behind the event, or why there is none.
    pub(crate) answer: oneshot::Sender<Result<u64, String>>,
}

/// A gap, as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapShown {
    /// Whose frames.
    pub origin: String,
    /// The first that is missing.
    pub from: u64,
    /// The last that came behind it and could not be taken.
    pub seen: u64,
    /// For how long.
    pub open_ms: u64,
    /// Whether the origin is closed and will send nothing more.
    pub closed: bool,
    /// Up to which number the origin says it has none; 0 = it has not said so.
    pub lost_to: u64,
}

/// What is missing now.
pub(crate) fn shown(log: &Log, said: &Said, now: Instant) -> Vec<GapShown> {
    let gaps = log.gaps().borrow().clone();
    let show = |(origin, gap): (&Origin, &Gap)| GapShown {
        origin: origin.to_string(),
        from: gap.expected,
        seen: gap.seen,
        open_ms: now.saturating_duration_since(gap.since).as_millis() as u64,
        closed: is_closed(log, origin),
        lost_to: said.of(origin, gap).unwrap_or(0),
    };
    gaps.open().iter().map(show).collect()
}

pub(crate) fn is_closed(log: &Log, origin: &Origin) -> bool {
    log.sequencer(|sequencer, _, _| sequencer.is_closed(origin))
}

/// Whether a gap is given up now: the last number lost, and why.
fn verdict(
    gap: &Gap,
    said: Option<u64>,
    closed: bool,
    after: Duration,
    now: Instant,
) -> Option<(u64, &'static str)> {
    if now.saturating_duration_since(gap.since) < after {
        return None;
    }
    match said {
        _ if closed => Some((gap.seen, "the origin is closed")),
        Some(to) => Some((to, "the origin no longer has them")),
        None => None,
    }
}

/// Hands in what is given up without being asked. Returns how many answers are to come.
pub(crate) fn give_up(log: &Log, gaps: &Gaps, said: &Said, after: Duration, hand_in: &mpsc::Sender<Loss>) {
    for (origin, gap) in gaps.open() {
        let closed = is_closed(log, origin);
        let Some((to, reason)) = verdict(gap, said.of(origin, gap), closed, after, Instant::now()) else {
            continue;
        };
        let (answer, _) = oneshot::channel();
        let (origin, reason) = (origin.clone(), reason.to_owned());
        let loss = Loss { origin, epoch: gap.epoch, to, reason, meta: Envelope::default(), answer };
        if hand_in.try_send(loss).is_err() {
            return; // in the next round
        }
    }
}

/// Commits a loss, if it still is one.
pub(crate) async fn commit(term: &mut Term, log: &Log, loss: Loss) -> Result<(), CommitError> {
    let Loss { origin, epoch, to, reason, meta, answer } = loss;
    let next = log.sequencer(|sequencer, _, _| sequencer.next_of(&origin));
    let Some((_, from)) = next.filter(|(current, from)| *current == epoch && *from <= to) else {
        let _ = answer.send(Err(format!("the log misses nothing of {origin} up to frame {to} now")));
        return Ok(());
    };
    tracing::error!(%origin, from, to, reason, "AST-G030: frames are given up");
    let event = Event::FramesLost { origin: origin.to_string(), epoch: epoch.to_vec(), from, to, reason };
    let size = term.commit(&[event], &meta).await?;
    // Who asked may have gone.
    let _ = answer.send(Ok(size));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_mins(1);

    #[test]
    fn frames_are_given_up_after_a_patience_and_never_because_their_origin_is_silent() {
        let start = Instant::now();
        let gap = Gap { epoch: [1; 16], expected: 3, seen: 9, since: start };
        let judged = |said, closed, after_s| {
            verdict(&gap, said, closed, AFTER, start + Duration::from_secs(after_s)).map(|(to, _)| to)
        };
        assert_eq!(judged(Some(5), false, 59), None);
        assert_eq!(judged(Some(5), false, 60), Some(5));
        assert_eq!(judged(None, true, 59), None);
        assert_eq!(judged(None, true, 60), Some(9));
        assert_eq!(judged(None, false, 1_000_000), None, "silent");
    }

    #[test]
    fn an_answer_counts_for_the_gap_it_was_given_about_and_for_no_more_than_that() {
        let (said, origin) = (Said::default(), Origin::Node("n".to_owned()));
        let gap = Gap { epoch: [1; 16], expected: 3, seen: 9, since: Instant::now() };
        let no = |lost_to| OrderReply { lost_to, ..OrderReply::default() };
        said.hear(&origin, &gap, &no(5));
        assert_eq!(said.of(&origin, &gap), Some(5));
        assert_eq!(said.of(&origin, &Gap { expected: 4, ..gap }), None, "another hole");
        assert_eq!(said.of(&origin, &Gap { epoch: [2; 16], ..gap }), None, "another epoch");
        said.hear(&origin, &gap, &no(u64::MAX));
        assert_eq!(said.of(&origin, &gap), Some(9), "what nobody has seen is not given up");
        said.hear(&origin, &gap, &no(2));
        assert_eq!(said.of(&origin, &gap), None, "nothing said");
        said.hear(&origin, &gap, &no(4));
        said.hear(&origin, &gap, &OrderReply { taken: true, ..OrderReply::default() });
        assert_eq!(said.of(&origin, &gap), None, "it sends them after all");
    }
}

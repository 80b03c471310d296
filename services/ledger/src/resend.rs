//! Asking for what the log misses: the leader sends an order to the origin until its frames are in the log.
//!
//! The log itself knows the gaps; here is only who is asked, and how often.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use asterism_nats::Subject;
use asterism_proto::Origin;
use asterism_proto::v1::{OrderReply, OriginMark, ResendOrder};
use asterism_runtime::gaps::{Gap, Gaps};
use asterism_runtime::log::Log;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::losses::{self, Loss, Said};

/// An origin is asked once in this time at most.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Orders without an answer yet; the others wait for the next round.
const ORDERS_MAX: usize = 64;

/// When each origin with a gap was asked last.
#[derive(Debug, Default)]
struct Pace(BTreeMap<Origin, Instant>);

impl Pace {
    /// Whom to ask now. Remembers nobody whose gap has closed.
    fn due(&mut self, gaps: &Gaps, now: Instant, at_most: usize) -> Vec<(Origin, Gap)> {
        // One that closed and opens again at once is still the same origin: its time is kept until it has passed.
        let rests = |asked: &Instant| now.saturating_duration_since(*asked) < ASK_EVERY;
        self.0.retain(|_, asked| rests(asked));
        let due = gaps.open().iter().filter(|(origin, _)| !self.0.contains_key(*origin)).take(at_most);
        let due: Vec<_> = due.map(|(origin, gap)| (origin.clone(), *gap)).collect();
        self.0.extend(due.iter().map(|(origin, _)| (origin.clone(), now)));
        due
    }
}

/// Asks while this process leads, and hands in what is lost; ends with the sender of `leading`.
pub(crate) async fn ask(
    log: Log,
    mut leading: watch::Receiver<Option<u64>>,
    said: Said,
    lost_after: Duration,
    hand_in: mpsc::Sender<Loss>,
) {
    let (mut gaps, mut pace, mut orders) = (log.gaps(), Pace::default(), JoinSet::new());
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let open = gaps.borrow_and_update().clone();
        while orders.try_join_next().is_some() {}
        for (origin, gap) in pace.due(&open, Instant::now(), ORDERS_MAX.saturating_sub(orders.len())) {
            // One that is closed sends nothing more: it is given up in its time.
            if !losses::is_closed(&log, &origin) {
                orders.spawn(order(log.clone(), origin, gap, said.clone()));
            }
        }
        losses::give_up(&log, &open, &said, lost_after, &hand_in);
        let wait = if open.open().is_empty() { Duration::from_hours(1) } else { ASK_EVERY / 10 };
        tokio::select! {
            changed = gaps.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Asks an origin for what it has behind a mark, if anything; it publishes without being waited for.
pub(crate) async fn ask_behind(log: &Log, mark: &OriginMark) {
    let Ok(origin) = mark.origin.parse::<Origin>() else { return };
    let Ok(subject) = Subject::resend(log.fleet(), &origin) else { return };
    let order = ResendOrder { from_number: mark.number + 1, epoch: mark.epoch.clone() }.encode_to_vec();
    if let Err(error) = log.bus().publish(&subject, order).await {
        tracing::debug!(%origin, %error, "a resend could not be asked for");
    }
}

async fn order(log: Log, origin: Origin, gap: Gap, said: Said) {
    tracing::info!(%origin, from = gap.expected, "asking for frames again");
    let Ok(subject) = Subject::resend(log.fleet(), &origin) else { return };
    let order = ResendOrder { from_number: gap.expected, epoch: gap.epoch.to_vec() }.encode_to_vec();
    let reply = log.bus().request(&subject, order, ASK_EVERY).await.map(|reply| OrderReply::decode(&*reply));
    if let Ok(Ok(reply)) = &reply {
        said.hear(&origin, &gap, reply);
    }
    match reply {
        Ok(Ok(OrderReply { taken: true, .. })) => {}
        Ok(Ok(reply)) => tracing::warn!(%origin, code = reply.code, reason = reply.reason, "resend refused"),
        Ok(Err(error)) => tracing::warn!(%origin, %error, "a resend's answer cannot be read"),
        Err(error) => tracing::debug!(%origin, %error, "nobody sends again yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_is_asked_once_a_second_and_only_while_its_gap_is_open() {
        let (one, two) = (Origin::Node("one".to_owned()), Origin::Node("two".to_owned()));
        let (mut gaps, mut pace, start) = (Gaps::default(), Pace::default(), Instant::now());
        let asked = |pace: &mut Pace, gaps: &Gaps, after_ms| {
            let due = pace.due(gaps, start + Duration::from_millis(after_ms), 64);
            due.into_iter().map(|(origin, gap)| (origin, gap.expected)).collect::<Vec<_>>()
        };
        gaps.missing(one.clone(), [1; 16], 3, 4, start);
        assert_eq!(asked(&mut pace, &gaps, 0), [(one.clone(), 3)]);
        gaps.missing(two.clone(), [1; 16], 7, 9, start);
        assert_eq!(asked(&mut pace, &gaps, 500), [(two.clone(), 7)]);
        gaps.accepted(&two, &[1; 16], 9, start);
        gaps.missing(two.clone(), [1; 16], 10, 11, start);
        assert_eq!(asked(&mut pace, &gaps, 999), []);
        assert_eq!(asked(&mut pace, &gaps, 1_000), [(one.clone(), 3)]);
        gaps.accepted(&one, &[1; 16], 4, start);
        assert_eq!(asked(&mut pace, &gaps, 2_500), [(two, 10)]);
        assert_eq!(pace.due(&gaps, start + Duration::from_secs(9), 0), []);
    }
}

//! What this process heard of the nodes, for the plan: the age of each heartbeat, since when a node says that it cannot
//! take calls, and for how long this process has listened without a break.
//!
//! Who did not listen knows of no silence: a new term, each connection to the bus and each long pause of the process
//! start the clock again, so that a cut of the bus or a scaler that slept never looks like a fleet that died.

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::fleet::{Heard as Word, Hearing, LEAVING_MS};
use asterism_proto::v1::Heartbeat;
use asterism_runtime::heartbeat::{Heard, READY};
use tokio::time::Instant;

/// Listens through one term on one connection.
#[derive(Debug)]
pub(crate) struct Ear {
    /// The term and the connection it is about.
    of: Option<(u64, u64)>,
    since: Instant,
    last: Instant,
    sleep: Duration,
    closed: BTreeMap<NodeId, Instant>,
}

impl Ear {
    /// Who is asked less often than this has slept.
    pub(crate) fn new(sleep: Duration) -> Self {
        let now = Instant::now();
        Self { of: None, since: now, last: now, sleep, closed: BTreeMap::new() }
    }

    /// What was heard, by the term led and the number of the connection; without both it is nothing.
    pub(crate) fn hearing(&mut self, of: Option<(u64, u64)>, heard: &BTreeMap<NodeId, Heard>) -> Hearing {
        let now = Instant::now();
        let slept = now.saturating_duration_since(self.last) > self.sleep;
        if slept || self.of != of || of.is_none() {
            *self = Self { of, ..Self::new(self.sleep) };
        }
        self.last = now;
        let mut nodes = BTreeMap::new();
        for (id, word) in heard {
            if is_closed(&word.heartbeat) {
                self.closed.entry(id.clone()).or_insert(now);
            } else {
                self.closed.remove(id);
            }
            let closed_ms = self.closed.get(id).map(|since| ms(now.saturating_duration_since(*since)));
            // Its own word, which is not taken back: nobody has to have listened for long.
            let closed_ms = if word.heartbeat.leaving { Some(LEAVING_MS) } else { closed_ms };
            nodes.insert(id.clone(), Word { silent_ms: ms(word.at.elapsed()), closed_ms });
        }
        self.closed.retain(|id, _| heard.contains_key(id));
        let named = heard.iter().filter(|(_, word)| !word.heartbeat.public_address.is_empty());
        let addresses = named.map(|(id, word)| (id.clone(), word.heartbeat.public_address.clone())).collect();
        Hearing { listening_ms: ms(now.saturating_duration_since(self.since)), nodes, addresses }
    }
}

/// Whether a node says that something else than a drain keeps it from taking calls.
fn is_closed(heartbeat: &Heartbeat) -> bool {
    match heartbeat.state.as_str() {
        READY => false,
        "draining" | "empty" => !matches!(heartbeat.why_not_ready.as_str(), "" | "draining"),
        _ => true,
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(state: &str, why: &str) -> BTreeMap<NodeId, Heard> {
        let heartbeat = Heartbeat { state: state.into(), why_not_ready: why.into(), ..Heartbeat::default() };
        [("i-1".to_owned(), Heard { heartbeat, at: std::time::Instant::now() })].into()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_trouble_are_counted_only_while_somebody_listens() {
        let mut ear = Ear::new(Duration::from_secs(10));
        let closed = |hearing: &Hearing| hearing.nodes["i-1"].closed_ms;
        let pass = || tokio::time::advance(Duration::from_secs(9));
        assert_eq!(closed(&ear.hearing(Some((1, 1)), &says("booting", "pbx down"))), Some(0));
        pass().await;
        let later = ear.hearing(Some((1, 1)), &says("empty", "pbx down"));
        assert_eq!((later.listening_ms, closed(&later)), (9_000, Some(9_000)));
        tokio::time::advance(Duration::from_secs(11)).await;
        let slept = ear.hearing(Some((1, 1)), &says("booting", "pbx down"));
        assert_eq!((slept.listening_ms, closed(&slept)), (0, Some(0)), "the process slept");
        // The bus was away: nobody knows what was said meanwhile.
        pass().await;
        let again = ear.hearing(Some((1, 2)), &says("booting", "pbx down"));
        assert_eq!((again.listening_ms, closed(&again)), (0, Some(0)));
        pass().await;
        assert_eq!(ear.hearing(None, &says("ready", "")).listening_ms, 0);
        pass().await;
        assert_eq!(ear.hearing(None, &says("ready", "")).listening_ms, 0, "not connected, or not leading");
        assert_eq!(closed(&ear.hearing(Some((2, 2)), &says("draining", "draining"))), None);
        let mut leaves = says("booting", "the cloud takes this instance away");
        for heard in leaves.values_mut() {
            heard.heartbeat.leaving = true;
        }
        assert_eq!(
            closed(&ear.hearing(Some((3, 2)), &leaves)),
            Some(LEAVING_MS),
            "at once, in a new term too"
        );
    }
}

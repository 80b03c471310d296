//! What the nodes said last: the heartbeats of a fleet, each with the time it was heard on this process's own clock.
//!
//! A heartbeat says how a node is, never that something happened; facts come by the node's own frames. A node that is
//! not fresh is not idle, it is unknown: whoever asks treats it as fully loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use asterism_domain::NodeId;
use asterism_nats::{Bus, Message, Parsed, Subject};
use asterism_proto::v1::Heartbeat;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Nodes remembered at most; a new one displaces the one silent the longest, if that one is not fresh.
pub const NODES_MAX: usize = 4_096;
/// Most bytes of a heartbeat.
pub const HEARTBEAT_MAX_BYTES: usize = 16 * 1024;
/// The state word of a node that takes calls.
pub const READY: &str = "ready";

/// A node's last heartbeat and when it was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What the node said.
    pub heartbeat: Heartbeat,
    /// When, on this process's monotonic clock.
    pub at: Instant,
}

/// The heartbeats of a fleet. Clones share the table; the last one dropped ends the subscription.
#[derive(Clone, Debug)]
pub struct Heartbeats(Arc<Follower>);

#[derive(Debug)]
struct Follower {
    table: Arc<Mutex<Table>>,
    stale: Duration,
    heard: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heartbeats {
    /// Subscribes to a fleet's heartbeats. A node is fresh while its last one was heard at most `stale` ago.
    ///
    /// # Errors
    /// The fleet's name is no token, or the connection is closed.
    pub async fn follow(bus: &Bus, fleet: &str, stale: Duration) -> Result<Self, asterism_nats::Error> {
        let subject = Subject::heartbeats(fleet)?;
        let mut subscription = bus.subscribe(&subject, None).await?;
        let table = Arc::new(Mutex::new(Table::default()));
        let (told, heard) = watch::channel(0);
        let inner = Arc::clone(&table);
        let task = tokio::spawn(async move {
            while let Some(message) = subscription.next().await {
                let mut table = lock(&inner);
                match read(&message) {
                    Some(heartbeat) => table.hear(heartbeat, Instant::now(), stale),
                    None => table.refused += 1,
                }
                drop(table);
                told.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(Arc::new(Follower { table, stale, heard, task })))
    }

    /// Nodes heard of lately that say they take calls.
    pub fn fresh_ready(&self) -> BTreeSet<NodeId> {
        self.select(|heard| heard.heartbeat.state == READY)
    }

    /// Nodes heard of lately, whatever they say.
    pub fn fresh(&self) -> BTreeSet<NodeId> {
        self.select(|_| true)
    }

    /// The last heartbeat of a node, however old.
    pub fn get(&self, node: &str) -> Option<Heard> {
        lock(&self.0.table).nodes.get(node).cloned()
    }

    /// Whether a node was heard of lately.
    pub fn is_fresh(&self, node: &str) -> bool {
        self.get(node).is_some_and(|heard| heard.at.elapsed() <= self.0.stale)
    }

    /// Everything remembered.
    pub fn snapshot(&self) -> BTreeMap<NodeId, Heard> {
        lock(&self.0.table).nodes.clone()
    }

    /// Heartbeats that were malformed, not about their own subject's node, or beyond the limit of nodes.
    pub fn refused(&self) -> u64 {
        lock(&self.0.table).refused
    }

    /// Changes with each heartbeat.
    pub fn heard(&self) -> watch::Receiver<u64> {
        self.0.heard.clone()
    }

    fn select(&self, wanted: impl Fn(&Heard) -> bool) -> BTreeSet<NodeId> {
        lock(&self.0.table)
            .nodes
            .iter()
            .filter(|(_, heard)| heard.at.elapsed() <= self.0.stale && wanted(heard))
            .map(|(node, _)| node.clone())
            .collect()
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeMap<NodeId, Heard>,
    refused: u64,
}

impl Table {
    fn hear(&mut self, heartbeat: Heartbeat, at: Instant, stale: Duration) {
        if !self.nodes.contains_key(&heartbeat.node) && self.nodes.len() >= NODES_MAX {
            let oldest = self.nodes.iter().min_by_key(|(_, heard)| heard.at);
            let gone = oldest
                .filter(|(_, heard)| at.saturating_duration_since(heard.at) > stale)
                .map(|(node, _)| node.clone());
            let Some(gone) = gone else {
                self.refused += 1;
                return;
            };
            self.nodes.remove(&gone);
        }
        self.nodes.insert(heartbeat.node.clone(), Heard { heartbeat, at });
    }
}

/// A heartbeat that speaks for the node its subject names.
fn read(message: &Message) -> Option<Heartbeat> {
    let Ok(Parsed::Heartbeat { node, .. }) = message.subject.parse() else { return None };
    decode(&node, &message.payload)
}

fn decode(node: &str, payload: &[u8]) -> Option<Heartbeat> {
    if payload.len() > HEARTBEAT_MAX_BYTES {
        return None;
    }
    Heartbeat::decode(payload).ok().filter(|heartbeat| heartbeat.node == node)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn heartbeat(node: &str) -> Heartbeat {
        Heartbeat { node: node.to_owned(), state: READY.to_owned(), ..Heartbeat::default() }
    }

    #[test]
    fn a_full_table_forgets_silent_nodes_and_no_fresh_one() {
        let (start, stale) = (Instant::now(), Duration::from_secs(5));
        let mut table = Table::default();
        for index in 0..NODES_MAX {
            table.hear(heartbeat(&format!("n{index}")), start, stale);
        }
        table.hear(heartbeat("late"), start + Duration::from_secs(1), stale);
        assert_eq!((table.nodes.len(), table.refused), (NODES_MAX, 1));
        table.hear(heartbeat("n7"), start + Duration::from_secs(6), stale);
        table.hear(heartbeat("late"), start + Duration::from_secs(6), stale);
        assert_eq!((table.nodes.len(), table.refused), (NODES_MAX, 1));
        assert!(table.nodes.contains_key("late") && table.nodes.contains_key("n7"));
    }

    #[test]
    fn a_node_speaks_for_itself_only() {
        let bytes = heartbeat("i-1").encode_to_vec();
        assert_eq!(decode("i-1", &bytes), Some(heartbeat("i-1")));
        assert_eq!(decode("i-2", &bytes), None);
        let long = Heartbeat { why_not_ready: "x".repeat(HEARTBEAT_MAX_BYTES), ..heartbeat("i-1") };
        assert_eq!(decode("i-1", &long.encode_to_vec()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(node in "[a-z0-9-]{0,9}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(heartbeat) = decode(&node, &bytes) {
                prop_assert_eq!(heartbeat.node, node);
            }
        }
    }
}

//! Nodes that refuse the log: shown two histories under its own key, they take no calls and believe no checkpoint, so that
//! none ever covers what they had to say, and no drain of theirs ends as others do. They are ended all the same (INV-14).
//!
//! What makes that safe is the log's order: a node's frames are accepted one after the other, so that its
//! `NodeUncovered` stands behind every fact it ever wrote, or behind the `FramesLost` that names what is missing. A
//! checkpoint of this log behind that event covers them all. The node's spool is then worth nothing but as evidence:
//! both heads are in its `LogRefused`, and people have `refusing_terminate_after_ms` to look at the machine itself.

use super::plan::{FleetPolicy, FleetView};
use super::state::{Node, NodeStatus, Uncovered};
use crate::Event;
use crate::ids::{NodeId, Timestamp};
use crate::state::Effectless;

/// Nodes that said all they had to say, hold no call, are covered by this log's own checkpoints, and were kept for as long
/// as people may look at them.
pub(super) fn due<'a>(
    view: &FleetView<'a>,
    policy: &FleetPolicy,
    at: Timestamp,
) -> impl Iterator<Item = &'a NodeId> {
    let (checkpoint, kept_ms) = (view.checkpoint, policy.refusing_terminate_after_ms);
    view.fleet
        .existing()
        .filter(move |(_, node)| {
            ending(node)
                .is_some_and(|said| checkpoint > said.position && at.saturating_sub(said.at) >= kept_ms)
        })
        .map(|(id, _)| id)
}

/// The node's word that it holds no call and that its frames are uncovered, if it may be ended by it.
fn ending(node: &Node) -> Option<&Uncovered> {
    node.uncovered.as_ref().filter(|_| node.status == NodeStatus::Draining && node.attempts.is_empty())
}

/// The end of such a node, which names the frames.
pub(super) fn end(id: &NodeId, node: &Node, at: Timestamp) -> Option<Event> {
    let said = ending(node)?;
    Some(Event::NodeTerminating {
        node: id.clone(),
        reason: format!(
            "it refuses the log and has held no call for {} s: no checkpoint it believes covers its frames {} to {}, which \
             this log has and covers",
            at.saturating_sub(said.at) / 1_000,
            said.from,
            said.to
        ),
        cuts: Vec::new(),
        silent_since_ms: 0,
        uncovered_from: said.from,
        uncovered_to: said.to,
    })
}

/// Judges such an end where it lands. Coverage and time only grow, so that they need no second look.
pub(super) fn may_end(node: &Node, from: u64, to: u64) -> Result<(), Effectless> {
    match ending(node) {
        Some(said) if (said.from, said.to) == (from, to) => Ok(()),
        Some(_) => Err(Effectless::void("the frames named are not those the node names")),
        None => Err(Effectless::void("the node is not drained, or holds attempts, or is covered")),
    }
}

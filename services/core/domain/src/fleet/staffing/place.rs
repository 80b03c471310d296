//! Which nodes take calls, which are launched, and which go.
//!
//! Calls are packed into few nodes, so that the others empty themselves. A node that is closed early costs nothing
//! while its last calls end, and is opened again at once: it is the cheapest reserve there is.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::paid;
use super::policy::StaffingPolicy;

/// A node as it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSeen {
    /// Its place in the order of launches.
    pub index: usize,
    /// When it was launched.
    pub launched_ms: i64,
    /// It has booted and can take calls.
    pub ready: bool,
    /// It is closed to new calls.
    pub closed: bool,
    /// Calls it holds.
    pub calls: u32,
    /// Those of them that are inbound.
    pub inbound: u32,
}

/// How many nodes there are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Open to calls now.
    pub open: u32,
    /// In all, booting ones included.
    pub want: u32,
    /// No more than so many are kept.
    pub keep: u32,
}

/// What is to be done, by the nodes' indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// Launch so many.
    pub launch: u32,
    /// Open these again.
    pub open: Vec<usize>,
    /// Close these to new calls.
    pub close: Vec<usize>,
    /// End these: closed and without a call, or never ready.
    pub end: Vec<usize>,
    /// These take inbound calls only if no other can.
    pub outbound_only: Vec<usize>,
}

struct Sorted {
    ready: Vec<NodeSeen>,
    booting: u32,
    moves: Moves,
}

/// Nodes that can take calls, and launches that are counted on; those that never became ready are ended.
fn sorted(nodes: &[NodeSeen], count: Count, at_ms: i64, policy: &StaffingPolicy) -> Sorted {
    let mut out = Sorted { ready: Vec::new(), booting: 0, moves: Moves::default() };
    for node in nodes {
        let age = u64::try_from(at_ms - node.launched_ms).unwrap_or(0);
        if node.ready {
            out.ready.push(*node);
        } else if age > policy.boot_deadline_ms() {
            out.moves.end.push(node.index);
        } else if age <= policy.late_ms() {
            out.booting += 1;
        }
    }
    out.moves.launch = count.want.saturating_sub(out.ready.len() as u32 + out.booting);
    out
}

/// Moves for inbound calls alone, or with so few outbound ones that a node is more than they need.
pub(super) fn packed(nodes: &[NodeSeen], count: Count, at_ms: i64, policy: &StaffingPolicy) -> Moves {
    let Sorted { ready, booting, mut moves } = sorted(nodes, count, at_ms, policy);
    let mut total = ready.len() as u32 + booting + moves.launch;
    if policy.by_the_hour {
        return by_the_hour(ready, total, count, moves, at_ms, policy);
    }
    let (mut closed, mut open): (Vec<NodeSeen>, Vec<NodeSeen>) =
        ready.into_iter().partition(|node| node.closed);
    let missing = count.open.saturating_sub(open.len() as u32) as usize;
    let surplus = open.len().saturating_sub(count.open as usize);
    // The fullest are opened first, and the emptiest closed first: they would be empty soonest.
    closed.sort_by_key(|node| (Reverse(node.calls), node.index));
    let reopened = closed.drain(..missing.min(closed.len()));
    moves.open = reopened.map(|node| node.index).collect();
    open.sort_by_key(|node| (node.calls, Reverse(node.index)));
    moves.close = open[..surplus].iter().map(|node| node.index).collect();
    closed.extend_from_slice(&open[..surplus]);
    closed.sort_by_key(|node| Reverse(node.index));
    for node in closed.iter().filter(|node| node.calls == 0) {
        if total > count.keep.max(count.want) {
            moves.end.push(node.index);
            total -= 1;
        }
    }
    moves
}

/// The same where hours are billed: those go whose hours end, and the others stay to the end of theirs.
fn by_the_hour(
    mut ready: Vec<NodeSeen>,
    total: u32,
    count: Count,
    mut moves: Moves,
    at_ms: i64,
    policy: &StaffingPolicy,
) -> Moves {
    let paid_ms = |node: &NodeSeen| policy.paid_ms(node.launched_ms, at_ms);
    ready.sort_by_key(|node| (paid_ms(node), node.index));
    let surplus = total.saturating_sub(count.keep.max(count.want)) as usize;
    let leaving = |node: &NodeSeen| paid::may_close(paid_ms(node), policy.mean_hold_ms);
    let leave = ready.iter().take(surplus).take_while(|node| leaving(node)).count();
    for node in ready[..leave].iter().filter(|node| node.calls == 0 && paid_ms(node) <= paid::END_AHEAD_MS) {
        moves.end.push(node.index);
    }
    // Those that leave are opened last, and the fullest of the others first.
    let mut order: Vec<(bool, NodeSeen)> =
        ready.into_iter().enumerate().map(|(place, node)| (place < leave, node)).collect();
    order.sort_by_key(|(leaves, node)| (*leaves, node.closed, Reverse(node.calls), node.index));
    for (place, (_, node)) in order.iter().enumerate() {
        if place < count.open as usize {
            if node.closed {
                moves.open.push(node.index);
            }
            moves.end.retain(|end| *end != node.index);
        } else if !node.closed {
            moves.close.push(node.index);
        }
    }
    moves
}

/// Moves while outbound calls wait: every slot is of use, so a node too many takes outbound calls until its inbound ones
/// have ended, and is closed then. Outbound calls are short: it empties soon.
pub(super) fn filled(nodes: &[NodeSeen], count: Count, at_ms: i64, policy: &StaffingPolicy) -> Moves {
    let Sorted { mut ready, booting, mut moves } = sorted(nodes, count, at_ms, policy);
    let limit = count.keep.max(count.want).saturating_sub(booting).max(u32::from(booting > 0));
    let surplus = ready.len().saturating_sub(limit as usize);
    let paid_ms = |node: &NodeSeen| policy.paid_ms(node.launched_ms, at_ms);
    ready.sort_by_key(|node| (paid_ms(node), node.inbound, Reverse(node.index)));
    for (place, node) in ready.iter().enumerate() {
        let leaves = place < surplus && paid::may_close(paid_ms(node), policy.mean_hold_ms);
        if leaves {
            moves.outbound_only.push(node.index);
        }
        // Outbound calls are short: a node that is paid for takes them until shortly before its hour ends.
        if leaves && node.inbound == 0 && paid::may_close(paid_ms(node), 0) {
            if !node.closed {
                moves.close.push(node.index);
            }
            if node.calls == 0 && paid_ms(node) <= paid::END_AHEAD_MS {
                moves.end.push(node.index);
            }
        } else if node.closed {
            moves.open.push(node.index);
        }
    }
    moves
}

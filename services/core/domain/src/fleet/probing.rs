//! Launches after failures: what refuses them will refuse the next ones too, and nothing refuses for ever.
//!
//! Failures count that are newer than the newest launch that came up, or may still. From three of them on one launch at
//! a time finds out whether there is anything again: 10 s after the first round of failures, twice as long after each
//! further one, five minutes at most. The first that comes up opens the fleet.

use std::collections::BTreeSet;

use super::plan::FleetPolicy;
use super::state::{Fleet, Intent, IntentStatus, NodeStatus};
use crate::ids::Timestamp;

/// Failures without a launch that came up from which on one is tried at a time.
const FAILED_LAUNCHES_MAX: usize = 3;
/// The first pause between two tries.
const PROBE_FIRST_MS: u64 = 10_000;
/// The longest.
const PROBE_MOST_MS: u64 = 300_000;

/// What launches that failed leave of the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probing {
    /// Nothing: as many as are wanted.
    Open,
    /// So many failed: one is tried.
    Try(usize),
    /// So many failed: none for so many milliseconds, or until the one that is tried is answered.
    Wait(usize, u64),
}

/// Looks at all launches since the newest that came up.
pub(super) fn probing(fleet: &Fleet, policy: &FleetPolicy, at: Timestamp) -> Probing {
    let came = |intent: &&Intent| matches!(went(fleet, intent, policy, at), Went::CameUp);
    let came_at = fleet.intents.values().filter(came).map(|intent| intent.at).max();
    let failed = |intent: &&Intent| {
        came_at.is_none_or(|came| intent.at > came) && went(fleet, intent, policy, at) == Went::Failed
    };
    let failures: Vec<Timestamp> = fleet.intents.values().filter(failed).map(|intent| intent.at).collect();
    if failures.len() < FAILED_LAUNCHES_MAX {
        return Probing::Open;
    }
    let rounds: BTreeSet<Timestamp> = failures.iter().copied().collect();
    let doublings = u32::try_from(rounds.len().saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = (PROBE_FIRST_MS << doublings).min(PROBE_MOST_MS);
    let next = rounds.last().map_or(0, |last| last.saturating_add(pause));
    if at < next || fleet.owed_launches().next().is_some() {
        return Probing::Wait(failures.len(), next.saturating_sub(at));
    }
    Probing::Try(failures.len())
}

#[derive(PartialEq, Eq)]
enum Went {
    CameUp,
    Failed,
    Unanswered,
}

/// A node that died before it was ready, or was not by its deadline, failed as well as one that the cloud refused; one
/// that boots may come up.
fn went(fleet: &Fleet, intent: &Intent, policy: &FleetPolicy, at: Timestamp) -> Went {
    match &intent.status {
        IntentStatus::Requested => Went::Unanswered,
        IntentStatus::Failed => Went::Failed,
        IntentStatus::Launched(node) => {
            let is_failed = fleet.nodes.get(node).is_some_and(|node| {
                let lived = node.ended_at.unwrap_or(at).saturating_sub(node.launched_at);
                let died = node.status == NodeStatus::Lost || lived > policy.boot_deadline_ms;
                node.ready_at.is_none() && died
            });
            if is_failed { Went::Failed } else { Went::CameUp }
        }
    }
}

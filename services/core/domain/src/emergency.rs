//! The emergency stop: from where it stands in the log nothing is dialled, by no campaign on no node, until it is resumed.
//!
//! What nodes hold already is withdrawn, or runs out with its order's window where a node cannot be told. Calls that are up
//! go on, and so does what rings, unless the stop says otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Rejection;
use crate::campaign::AttemptStatus;
use crate::event::{Event, Recorded};
use crate::ids::{AttemptId, NodeId, Timestamp};
use crate::state::{Effectless, State};

/// Longest reason.
pub const REASON_MAX_BYTES: usize = 512;

/// A stop that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// When it came into the log.
    pub since: Timestamp,
    /// Its place in it.
    pub position: u64,
    /// Who stopped.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What rings is hung up.
    pub cancel_ringing: bool,
    /// So are calls that are up.
    pub cut_calls: bool,
}

/// What a node has to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// Attempts to withdraw or hang up, with where the log has them.
    pub attempts: Vec<(AttemptId, AttemptStatus)>,
    /// When the last window of those not told as dialled closes.
    pub closes_at_ms: Timestamp,
}

/// Stops, or widens a stop that holds.
pub fn stop(
    state: &State,
    reason: &str,
    cancel_ringing: bool,
    cut_calls: bool,
) -> Result<Vec<Event>, Rejection> {
    check(reason)?;
    let wide_enough =
        |known: &Emergency| (known.cancel_ringing || !cancel_ringing) && (known.cut_calls || !cut_calls);
    if state.emergency.as_ref().is_some_and(wide_enough) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::EmergencyStopped { reason: reason.to_owned(), cancel_ringing, cut_calls }])
}

/// Lets dialling go on.
pub fn resume(state: &State, reason: &str) -> Result<Vec<Event>, Rejection> {
    check(reason)?;
    if state.emergency.is_none() {
        return Err(Rejection::new("AST-D096", "there is no emergency stop to resume from"));
    }
    Ok(vec![Event::EmergencyResumed { reason: reason.to_owned() }])
}

fn check(reason: &str) -> Result<(), Rejection> {
    if (1..=REASON_MAX_BYTES).contains(&reason.trim().len()) {
        return Ok(());
    }
    Err(Rejection::new("AST-D095", "say why in 1 to 512 bytes: the log keeps it with who stopped"))
}

pub(crate) fn apply(state: &mut State, recorded: &Recorded) -> Result<(), Effectless> {
    match &recorded.event {
        Event::EmergencyStopped { reason, cancel_ringing, cut_calls } => {
            let new = Emergency {
                since: recorded.at,
                position: recorded.sequence,
                by: recorded.actor.clone(),
                reason: reason.clone(),
                cancel_ringing: *cancel_ringing,
                cut_calls: *cut_calls,
            };
            match &mut state.emergency {
                Some(known) => {
                    known.cancel_ringing |= new.cancel_ringing;
                    known.cut_calls |= new.cut_calls;
                }
                None => state.emergency = Some(new),
            }
            Ok(())
        }
        Event::EmergencyResumed { .. } if state.emergency.is_none() => {
            Err(Effectless::void("there is no emergency stop"))
        }
        Event::EmergencyResumed { .. } => {
            state.emergency = None;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What the nodes have to end, were this stop to hold: what they hold and have not dialled, what rings, what is up.
pub fn endings(state: &State, cancel_ringing: bool, cut_calls: bool) -> BTreeMap<NodeId, Endings> {
    let mut endings: BTreeMap<NodeId, Endings> = BTreeMap::new();
    for (id, attempt) in state.campaigns.values().flat_map(|campaign| &campaign.in_flight) {
        let node = endings.entry(attempt.node.clone()).or_default();
        let unsent = attempt.status < AttemptStatus::Originating;
        let ends = match attempt.status {
            AttemptStatus::Intended | AttemptStatus::Accepted => true,
            AttemptStatus::Originating => cancel_ringing,
            AttemptStatus::Answered => cut_calls,
        };
        if ends {
            node.attempts.push((id.clone(), attempt.status));
        }
        if unsent {
            node.closes_at_ms = node.closes_at_ms.max(attempt.not_after_ms);
        }
    }
    endings
}

impl State {
    /// Whether nothing is dialled although campaigns run.
    pub fn is_held(&self) -> bool {
        self.emergency.is_some() || !self.archive_hold.is_empty()
    }

    /// Why nothing is dialled although a campaign runs; empty if nothing holds it.
    pub fn hold(&self) -> String {
        match &self.emergency {
            Some(stop) => format!("emergency stop by {}: {}", stop.by, stop.reason),
            None => self.archive_hold.clone(),
        }
    }
}

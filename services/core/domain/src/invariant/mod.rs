//! INV-01 to INV-16 as named predicates: tests, the replay tool and the live checker use these and no others.
//!
//! Two ways to judge, of which each is the other's control: [`check_all`] looks at a whole state ([`whole`], the
//! specification), [`Judge`] follows a log and looks, after each event, at what the event touched: at every position, at a
//! cost that does not grow with the state. What only a history shows (paces, orders, plans) is judged there alone
//! ([`history`]). What is about one contact, node, attempt or campaign is written once, in [`local`].

mod bill;
mod history;
mod judge;
mod local;
mod touched;
mod whole;

use serde::Serialize;

pub use judge::{Judge, Look};

use crate::state::State;

/// What a predicate found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It is broken, and how.
    Broken(String),
    /// Its subject does not exist (yet), or needs more than was looked at.
    NotApplicable(String),
}

/// A named invariant with its finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `INV-01` ... `INV-16`.
    pub id: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// What of it is judged, and what is not.
    pub scope: &'static str,
    /// What was found.
    pub verdict: Verdict,
}

/// An invariant, and how it is judged on a state.
#[derive(Debug)]
pub struct Invariant {
    /// `INV-01` ... `INV-16`.
    pub id: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// What of it a [`Judge`] and the whole state tell, and what they do not.
    pub scope: &'static str,
    predicate: fn(&State) -> Verdict,
}

impl Invariant {
    pub(crate) const fn found(&self, verdict: Verdict) -> Finding {
        Finding { id: self.id, rule: self.rule, scope: self.scope, verdict }
    }
}

fn history(_: &State) -> Verdict {
    Verdict::NotApplicable("a state does not show it; followed through a log it is judged".to_owned())
}

fn elsewhere(_: &State) -> Verdict {
    Verdict::NotApplicable("neither a state nor its history shows it; `replay verify` compares".to_owned())
}

fn later(_: &State) -> Verdict {
    Verdict::NotApplicable("not yet applicable: what it is about comes later".to_owned())
}

const fn invariant(
    id: &'static str,
    rule: &'static str,
    scope: &'static str,
    predicate: fn(&State) -> Verdict,
) -> Invariant {
    Invariant { id, rule, scope, predicate }
}

/// Every invariant there is.
pub const INVARIANTS: [Invariant; 16] = [
    invariant(
        "INV-01",
        "at most one ring per attempt",
        "each contact's attempts and rings, and originates told twice; the carrier's own count is not in the log",
        whole::one_ring,
    ),
    invariant(
        "INV-02",
        "imported = settled + waiting + in flight + uncertain + erased",
        "the counters of each campaign against its contacts, one by one",
        whole::conservation,
    ),
    invariant(
        "INV-03",
        "active <= cap on every node, trunk and campaign and in the fleet, and calls per second too",
        "slots of each node; channels of each campaign, trunk and the fleet, and the paces of these and of each node, as \
         ordered, by the limits in the log; logs from before trunks were in them say nothing of theirs",
        whole::caps,
    ),
    invariant(
        "INV-04",
        "no node with a call, claim or unanswered order is terminated, but for those a recorded rule names",
        "each node that is being ended, against the attempts on it",
        whole::no_call_cut,
    ),
    invariant(
        "INV-05",
        "one launch intent, at most one instance",
        "each instance the log names; the cloud's own listing is not in the log",
        whole::one_instance,
    ),
    invariant(
        "INV-06",
        "instances <= max and spend <= budget",
        "instances there are or that are owed, and node time at the prices in the log, against the limits of the newest \
         plan; what was there when a limit was lowered may stay; the cloud's own listing and bill are not in the log",
        whole::limits,
    ),
    invariant(
        "INV-07",
        "missing or stale load is never zero load",
        "each plan counted at least the fewest attempts in flight since the scaler's word before it, whoever was silent; \
         heartbeats are not in the log",
        history,
    ),
    invariant(
        "INV-08",
        "replayed state = live state, bit for bit",
        "the state hashes in the log against the replay",
        elsewhere,
    ),
    invariant(
        "INV-09",
        "every copy of the log has the same root; no acknowledged event is missing",
        "the checkpoints in the log against the recomputed roots; other copies are not looked at",
        elsewhere,
    ),
    invariant(
        "INV-10",
        "one answer takes effect per call and step",
        "second answers to a step, and answers without their decision",
        whole::no_incident_about_steps,
    ),
    invariant(
        "INV-11",
        "no call placed on a node without its prompts",
        "each attempt in flight against the manifests its node proved to hold",
        whole::prompts_held,
    ),
    invariant(
        "INV-12",
        "no dial outside window, do-not-call list or consent",
        "each attempt as it was intended: the callee's hours by this program's time zone data, lists of numbers, consent; \
         prefixes are looked up where a number is open, and numbers are not in the log",
        history,
    ),
    invariant(
        "INV-13",
        "a fenced leader has no effect",
        "the term of each order a node took: not below its decision's, not above the dialer's in the log; frames of \
         other terms the sequencer refuses",
        history,
    ),
    invariant(
        "INV-14",
        "nothing bills after the fleet was told to go",
        "no launch takes effect behind the order to go, and every instance the log knows has ended; the cloud's own \
         listing is not in the log",
        history,
    ),
    invariant(
        "INV-15",
        "every contact ends in one explained state",
        "each contact against the lists of its campaign; a complete campaign has none that waits or is in flight",
        whole::explained,
    ),
    invariant("INV-16", "same seed, same log", "nothing", later),
];

/// Judges all of them on a state.
pub fn check_all(state: &State) -> Vec<Finding> {
    INVARIANTS.iter().map(|invariant| invariant.found((invariant.predicate)(state))).collect()
}

/// The broken ones.
pub fn broken(state: &State) -> Vec<Finding> {
    check_all(state).into_iter().filter(|finding| matches!(finding.verdict, Verdict::Broken(_))).collect()
}

//! INV-01 to INV-16 as named predicates: tests, the replay tool and the live checker use these and no others.
//!
//! A predicate whose subject comes later exists and says "not yet applicable".

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::campaign::apply::{SECOND_ORIGINATE, STEP_INCIDENTS};
use crate::campaign::{AttemptStatus, Campaign, Contact, ContactStatus};
use crate::fleet::NodeStatus;
use crate::state::State;

/// What a predicate found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It is broken, and how.
    Broken(String),
    /// Its subject does not exist yet, or needs more than the state.
    NotApplicable(&'static str),
}

/// A named invariant with its finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `INV-01` ... `INV-16`.
    pub id: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// What was found.
    pub verdict: Verdict,
}

type Predicate = fn(&State) -> Verdict;

/// Every invariant that can be judged on a state.
pub const INVARIANTS: [(&str, &str, Predicate); 16] = [
    ("INV-01", "at most one ring per attempt", one_ring),
    ("INV-02", "imported = settled + waiting + in flight + uncertain + erased", conservation),
    ("INV-03", "active <= cap on every node, trunk and campaign", caps),
    (
        "INV-04",
        "no node with a call, claim or unanswered order is terminated, but for those a recorded rule names",
        no_call_cut,
    ),
    ("INV-05", "one launch intent, at most one instance", one_instance),
    ("INV-06", "instances <= max and spend <= budget", |_| {
        Verdict::NotApplicable("limits are configuration, not in the log: the plan's own test checks it")
    }),
    ("INV-07", "missing or stale load is never zero load", |_| {
        Verdict::NotApplicable("a property of the plan, checked on it")
    }),
    ("INV-08", "replayed state = live state, bit for bit", |_| {
        Verdict::NotApplicable("compares two folds: StateHashed against the replay")
    }),
    ("INV-09", "every copy of the log has the same root", |_| {
        Verdict::NotApplicable("compares copies: checkpoints against the recomputed root")
    }),
    ("INV-10", "one answer takes effect per call and step", no_incident_about_steps),
    ("INV-11", "no call placed on a node without its prompts", prompts_held),
    ("INV-12", "no dial outside window, do-not-call list or consent", |_| {
        Verdict::NotApplicable("not yet applicable: rules come with the dialer's issue")
    }),
    ("INV-13", "a fenced leader has no effect", |_| {
        Verdict::NotApplicable("held by the sequencer: frames of another term are not in the log")
    }),
    ("INV-14", "nothing bills after the fleet was told to go", |_| {
        Verdict::NotApplicable("needs the cloud's own listing")
    }),
    ("INV-15", "every contact ends in one explained state", explained),
    ("INV-16", "same seed, same log", |_| Verdict::NotApplicable("not yet applicable: comes with the lab")),
];

/// Judges all of them.
pub fn check_all(state: &State) -> Vec<Finding> {
    INVARIANTS.iter().map(|(id, rule, predicate)| Finding { id, rule, verdict: predicate(state) }).collect()
}

/// The broken ones.
pub fn broken(state: &State) -> Vec<Finding> {
    check_all(state).into_iter().filter(|finding| matches!(finding.verdict, Verdict::Broken(_))).collect()
}

fn verdict(problem: Option<String>) -> Verdict {
    problem.map_or(Verdict::Holds, Verdict::Broken)
}

/// In the log: no attempt is originated twice, a contact has one attempt in flight at most, and its rings are at most
/// the attempts that can have rung. Outside the log the carrier's own count is compared, attempt by attempt.
fn one_ring(state: &State) -> Verdict {
    let twice = state.incident_list.iter().find(|incident| incident.reason == SECOND_ORIGINATE);
    let twice = twice.map(|incident| format!("event {}: {}", incident.sequence, incident.reason));
    verdict(twice.or_else(|| state.campaigns.iter().find_map(|(id, campaign)| rings(id, campaign))))
}

fn rings(id: &str, campaign: &Campaign) -> Option<String> {
    // Contacts in flight; 1 where the attempt cannot have rung yet.
    let mut flying = BTreeMap::new();
    for (attempt, flight) in &campaign.in_flight {
        let silent = u32::from(flight.status < AttemptStatus::Originating);
        if flying.insert(attempt.contact, silent).is_some() {
            return Some(format!("contact {} of {id} has two attempts in flight", attempt.contact));
        }
    }
    let more = |(index, contact): (u32, &Contact)| {
        let silent = flying.get(&index).copied().unwrap_or_default();
        (contact.rang + u32::from(contact.never_rang) + silent > contact.attempts).then_some(index)
    };
    if let Some(person) = (0u32..).zip(&campaign.contacts).find_map(more) {
        return Some(format!("contact {person} of {id} rang more often than it was attempted"));
    }
    let sum: u32 = campaign.contacts.iter().map(|contact| contact.rang).sum();
    (sum != campaign.counts.rang)
        .then(|| format!("{id} counts {} rings, its contacts {sum}", campaign.counts.rang))
}

fn conservation(state: &State) -> Verdict {
    verdict(state.campaigns.iter().find_map(|(id, campaign)| {
        let counts = &campaign.counts;
        let sum =
            counts.settled_total() + counts.waiting + counts.in_flight + counts.uncertain + counts.erased;
        let lists = campaign.waiting.len() as u32 == counts.waiting
            && campaign.in_flight.len() as u32 == counts.in_flight
            && campaign.contacts.len() as u32 == counts.imported;
        (sum != counts.imported || !lists)
            .then(|| format!("{id}: imported {} but states sum to {sum}", counts.imported))
    }))
}

fn caps(state: &State) -> Verdict {
    let node = state.fleet.nodes.iter().find_map(|(id, node)| {
        (node.attempts.len() as u32 > node.capacity)
            .then(|| format!("node {id} holds {} of {} slots", node.attempts.len(), node.capacity))
    });
    let campaign = || {
        state.campaigns.iter().find_map(|(id, campaign)| {
            let over = campaign.max_channels > 0 && campaign.counts.in_flight > campaign.max_channels;
            over.then(|| format!("campaign {id} has {} in flight", campaign.counts.in_flight))
        })
    };
    verdict(node.or_else(campaign))
}

fn no_call_cut(state: &State) -> Verdict {
    verdict(state.fleet.nodes.iter().find_map(|(id, node)| {
        let ending = matches!(node.status, NodeStatus::Terminating | NodeStatus::Terminated);
        // Only the end of a node nobody had heard of for too long names any (`fleet::apply`).
        let unnamed = node.attempts.iter().chain(&node.unanswered).find(|held| !node.cut.contains(*held));
        let attempt = unnamed.filter(|_| ending)?;
        Some(format!("node {id} was ended with attempt {attempt}, which no rule names"))
    }))
}

fn one_instance(state: &State) -> Verdict {
    let mut seen = BTreeMap::new();
    for (id, node) in &state.fleet.nodes {
        if let Some(other) = seen.insert(&node.intent, id) {
            return Verdict::Broken(format!("intent {} has instances {other} and {id}", node.intent));
        }
    }
    Verdict::Holds
}

fn no_incident_about_steps(state: &State) -> Verdict {
    verdict(
        state
            .incident_list
            .iter()
            .find(|incident| STEP_INCIDENTS.contains(&incident.reason.as_str()))
            .map(|incident| format!("event {}: {}", incident.sequence, incident.reason)),
    )
}

fn prompts_held(state: &State) -> Verdict {
    verdict(state.campaigns.iter().find_map(|(id, campaign)| {
        campaign.in_flight.iter().find_map(|(attempt, flight)| {
            let node = state.fleet.nodes.get(&flight.node)?;
            (!node.manifests.contains(&campaign.manifest))
                .then(|| format!("{attempt} of {id} is on {} without its prompts", flight.node))
        })
    }))
}

fn explained(state: &State) -> Verdict {
    verdict(state.campaigns.iter().find_map(|(id, campaign)| {
        let flying: BTreeSet<u32> = campaign.in_flight.keys().map(|attempt| attempt.contact).collect();
        campaign.contacts.iter().enumerate().find_map(|(index, contact)| {
            let contact_id = index as u32;
            let (waits, flies) = (campaign.waiting.contains(&contact_id), flying.contains(&contact_id));
            let fits = match contact.status {
                ContactStatus::Waiting => waits && !flies,
                ContactStatus::InFlight => flies && !waits,
                ContactStatus::Settled(_) | ContactStatus::Uncertain | ContactStatus::Erased => {
                    !waits && !flies
                }
            };
            (!fits).then(|| format!("contact {index} of {id} is in two states"))
        })
    }))
}

//! INV-01 bites: each way in which a ring could be doubled is planted once and seen.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::{Attempt, AttemptStatus, Campaign};
use asterism_domain::wire::Envelope;
use asterism_domain::{AttemptId, Event, EventRef, Recorded, State, invariant, wire};
use asterism_proto::Origin;
use support::Lab;

/// Two contacts in flight on a node: the first is ringing, the second's order was not answered yet.
fn ringing() -> (Lab, AttemptId, String) {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (attempt, node) = lab.in_flight()[0].clone();
    lab.node(&node, Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() });
    assert_eq!(invariant::broken(&lab.state), []);
    (lab, attempt, node)
}

/// What INV-01 finds when the campaign's state is changed by hand.
fn found(state: &State, change: impl FnOnce(&mut Campaign)) -> String {
    let mut state = state.clone();
    change(state.campaigns.get_mut("c").unwrap());
    let broken = invariant::broken(&state);
    broken
        .iter()
        .find(|finding| finding.id == "INV-01")
        .map_or_else(String::new, |one| format!("{:?}", one.verdict))
}

#[test]
fn an_attempt_that_its_node_originates_twice_breaks_it() {
    let (mut lab, attempt, node) = ringing();
    let event = Event::AttemptOriginating { attempt, boot_id: "b".into() };
    let (_, event) = wire::decode_bytes(&wire::encode(&event, &Envelope::default())).unwrap();
    let origin = Origin::Node(node);
    let id = EventRef { origin: origin.to_string(), epoch: vec![0; 16], frame: 99, index: 0 };
    let (sequence, at) = (lab.state.size, lab.now);
    let (command_id, actor) = (String::new(), String::new());
    lab.state.apply(&Recorded { sequence, at, origin, id, term: 1, command_id, actor, event });
    assert_eq!(lab.state.campaigns["c"].counts.rang, 1, "it is not counted as a ring of another attempt");
    assert!(found(&lab.state, |_| ()).contains("an attempt is originated a second time"));
}

#[test]
fn a_contact_with_two_attempts_in_flight_breaks_it() {
    let (lab, attempt, _) = ringing();
    let said = found(&lab.state, |campaign| {
        let flight: Attempt = campaign.in_flight[&attempt].clone();
        campaign.in_flight.insert(AttemptId { ordinal: 2, ..attempt.clone() }, flight);
    });
    assert!(said.contains("has two attempts in flight"), "{said}");
}

#[test]
fn a_ring_of_an_attempt_that_cannot_have_rung_yet_breaks_it() {
    let (lab, attempt, _) = ringing();
    let said = found(&lab.state, |campaign| {
        campaign.in_flight.get_mut(&attempt).unwrap().status = AttemptStatus::Accepted;
    });
    assert!(said.contains("rang more often than it was attempted"), "{said}");
    let said = found(&lab.state, |campaign| campaign.counts.rang += 1);
    assert!(said.contains("counts 2 rings, its contacts 1"), "{said}");
}

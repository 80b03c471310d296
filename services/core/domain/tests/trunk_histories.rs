//! What must hold of trunks whatever carriers say, in whatever order.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{Event, Outcome, State};
use proptest::prelude::*;
use support::trunks::{A, B, end, first, judged, lab};
use support::{Lab, loopback};

/// One move of a random history.
fn step(lab: &mut Lab, kind: u8, pick: usize) {
    let flying = lab.in_flight();
    let one = flying.get(pick % flying.len().max(1)).map(|(id, _)| id.clone());
    let heard = [Heard::Unknown, Heard::OnlyTheEnd, Heard::Ringing, Heard::Silence][pick % 4];
    match (kind, one) {
        (0..=3, Some(id)) => {
            let sip = [503, 500, 486, 0, 200][pick % 5];
            let outcome = Outcome::ALL[pick % 8];
            end(lab, &id, outcome, sip, heard);
        }
        (4, Some(id)) => {
            let node = lab.in_flight().into_iter().find(|(one, _)| *one == id).unwrap().1;
            lab.node(&node, Event::AttemptRefused { attempt: id, reason: String::new() });
        }
        (5, _) => {
            let caps = [0, 1, 3][pick % 3];
            let paces = [0, 2, 20][pick / 3 % 3];
            let name = ["a", "b"][pick % 2];
            lab.trunk(name, TrunkSettings { max_channels: caps, calls_per_second: paces, ..loopback() });
        }
        (6, _) => lab.hold_trunks("i-wide"),
        (7, _) => lab.now += 31_000,
        _ => {
            lab.tick();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever carriers say in whatever order: no contact is tried on another trunk once it may have been rung, its
    /// attempts that count never exceed its budget, every cap and pace holds, and nothing decided is void.
    #[test]
    fn no_history_rings_anybody_more_often_than_meant(
        moves in proptest::collection::vec((0u8..10, any::<u8>()), 1..160)
    ) {
        let mut lab = lab(first(), loopback(), 12, &[A, B]);
        for (kind, pick) in moves {
            step(&mut lab, kind, usize::from(pick));
            lab.now += u64::from(pick);
        }
        prop_assert_eq!(judged(&lab), vec![]);
        prop_assert_eq!((lab.state.voids, lab.state.incidents), (0, 0));
        let campaign = &lab.state.campaigns["c"];
        for person in &campaign.contacts {
            // Congestion alone is free; at most one attempt of any other kind.
            let congested = u32::from(person.ended[Outcome::Congestion as usize]);
            prop_assert!(u32::from(person.rang) <= 1 + congested, "{:?}", person);
        }
        let mut rung = std::collections::BTreeSet::new();
        for one in &lab.written {
            match &one.event {
                Event::AttemptIntended { attempt, reason, .. } if reason.starts_with("turned away") => {
                    prop_assert!(!rung.contains(&(attempt.contact, attempt.ordinal - 1)), "{}", attempt);
                }
                Event::AttemptEnded { attempt, heard, sip_status, .. }
                    if *heard != Heard::OnlyTheEnd || ![500, 503].contains(sip_status) =>
                {
                    rung.insert((attempt.contact, attempt.ordinal));
                }
                _ => {}
            }
        }
        let bytes = lab.state.to_bytes();
        prop_assert_eq!(State::from_bytes(&bytes).unwrap(), lab.state);
    }
}

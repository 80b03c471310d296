//! Bytes in the log that cannot be read: what stops a reducer, and what is an incident without effect.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::wire::{self, DecodeError, Envelope};
use asterism_domain::{Event, Outcome, Recorded, State};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{FrameDraft, OpenFrame, Origin, OriginKey, Role};
use proptest::prelude::*;
use prost::Message;
use support::Lab;

/// The bytes as the one event of a frame of this origin.
fn read(origin: &Origin, bytes: Vec<u8>, sequence: u64) -> Result<Recorded, DecodeError> {
    let draft = FrameDraft { fleet: "lab", origin, epoch: [0; 16], number: 1, term: 1, based_on: 0 };
    let frame = draft.sign(&OriginKey::from_entropy([1; 32]), vec![bytes]).unwrap();
    wire::recorded(&OpenFrame::read(&frame).unwrap(), 0, sequence, 1_000)
}

fn event(kind: u32, schema: u32, body: Vec<u8>) -> Vec<u8> {
    v1::Event { r#type: kind, schema, body, ..v1::Event::default() }.encode_to_vec()
}

fn load() -> u32 {
    EventType::NodeLoad as u32
}

/// Each way not to be read, with why.
fn unreadable() -> [(Vec<u8>, DecodeError); 7] {
    let ended = EventType::AttemptEnded as u32;
    let outcome = v1::AttemptEnded { attempt: "c-0-1".into(), outcome: 99, ..v1::AttemptEnded::default() };
    [
        (vec![0xff; 9], DecodeError::Envelope),
        (event(load(), 1, vec![0x0a, 0x7f, 1]), DecodeError::Body(load())),
        (event(ended, 1, outcome.encode_to_vec()), DecodeError::Field(ended, "outcome")),
        (event(0, 1, vec![]), DecodeError::UnknownType(0)),
        (event(load(), 0, vec![]), DecodeError::UnknownSchema(load(), 0)),
        (event(4_000, 1, vec![]), DecodeError::UnknownType(4_000)),
        (event(load(), 2, vec![]), DecodeError::UnknownSchema(load(), 2)),
    ]
}

#[test]
fn a_node_stops_nobody_whatever_it_writes() {
    let node = Origin::Node("i-1".into());
    for (bytes, why) in unreadable() {
        let recorded = read(&node, bytes, 7).unwrap();
        assert_eq!((&recorded.event, recorded.sequence), (&Event::Unreadable { why }, 7));
    }
}

#[test]
fn a_service_stops_a_reducer_by_what_is_newer_and_not_by_what_is_no_event() {
    for writer in [Origin::Role(Role::Dialer), Origin::Proc(Role::LogicResponder, "a".into())] {
        for (bytes, why) in unreadable() {
            let newer = [DecodeError::UnknownType(4_000), DecodeError::UnknownSchema(load(), 2)];
            match read(&writer, bytes, 7) {
                Err(stopped) => assert!(stopped == why && newer.contains(&why), "{writer}: {why}"),
                Ok(recorded) => {
                    assert_eq!(recorded.event, Event::Unreadable { why: why.clone() });
                    assert!(!newer.contains(&why), "{writer}: {why}");
                }
            }
        }
    }
}

#[test]
fn it_is_an_incident_with_its_place_and_changes_nothing() {
    let mut lab = Lab::new();
    let before = lab.state.clone();
    let node = Origin::Node("i-1".into());
    for (sequence, (bytes, _)) in (before.size..).zip(unreadable()) {
        lab.state.apply(&read(&node, bytes, sequence).unwrap());
        let incident = lab.state.incident_list.back().unwrap();
        assert_eq!((incident.sequence, incident.origin.as_str()), (sequence, "node/i-1"));
        assert_eq!(incident.reason, "the event cannot be read");
    }
    assert_eq!(lab.state.incidents, before.incidents + 7);
    assert_eq!(untold(lab.state), untold(before));
}

/// A state but for its size and incidents.
fn untold(mut state: State) -> State {
    (state.size, state.incidents) = (0, 0);
    state.incident_list.clear();
    state
}

/// One call of a campaign, ended; what an admitted node writes between lies in `between`.
fn campaign(between: &[Vec<u8>]) -> State {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (attempt, node) = lab.in_flight()[0].clone();
    for bytes in between {
        let recorded = read(&Origin::Node(node.clone()), bytes.clone(), lab.state.size).unwrap();
        lab.state.apply(&recorded);
    }
    lab.end(&attempt, &node, Outcome::Answered);
    lab.state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Bytes of a node's own are no event, or one of another's: the campaign goes on as without them, and every
    /// reader folds to the same.
    #[test]
    fn a_hostile_nodes_bytes_neither_stop_nor_change_a_campaign(
        bytes in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                (any::<u32>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..60))
                    .prop_map(|(kind, schema, body)| event(kind, schema, body)),
                // Near misses: an event that is one, with a byte changed or cut.
                (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, bit)| {
                    let told = Event::NodeLoad {
                        node: "i-9".into(), ringing: 1, up: 1, free_slots: 1, cpu_permille: 1,
                    };
                    let mut bytes = wire::encode(&told, &Envelope::default());
                    let at = at.index(bytes.len());
                    bytes[at] ^= bit;
                    bytes.truncate(at.max(3));
                    bytes
                }),
            ],
            0..6,
        )
    ) {
        let (with, again, without) = (campaign(&bytes), campaign(&bytes), campaign(&[]));
        prop_assert_eq!(with.hash(), again.hash());
        prop_assert_eq!(with.size, without.size + bytes.len() as u64);
        prop_assert_eq!(untold(with), untold(without));
    }
}

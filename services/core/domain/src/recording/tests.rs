//! Recordings in the log: from a node's word to the store's, or to their end.
#![allow(clippy::unwrap_used)]
use asterism_proto::{Origin, Role};

use super::*;
use crate::Recorded;
use crate::event::EventRef;
use crate::fleet::NodeStatus;

const MADE_BY: &str = "i-1";

fn apply_as(state: &mut State, origin: Origin, event: Event, at: Timestamp) -> (u64, u64) {
    let id = EventRef { origin: origin.to_string(), epoch: vec![1; 16], frame: state.size + 1, index: 0 };
    let (command_id, actor) = (String::new(), String::new());
    let before = (state.voids, state.incidents);
    state.apply(&Recorded { sequence: state.size, at, origin, id, term: 1, command_id, actor, event });
    (state.voids - before.0, state.incidents - before.1)
}

fn put(state: &mut State, role: Role, event: Event) {
    let at = state.at.max(1);
    let said = format!("{event:?}");
    assert_eq!(apply_as(state, Origin::Role(role), event, at), (0, 0), "{said}");
}

fn by_node(state: &mut State, event: Event) -> (u64, u64) {
    apply_as(state, Origin::Node(MADE_BY.to_owned()), event, 1_000)
}

/// A fleet of one node that has taken calls of a campaign.
fn fleet() -> State {
    let mut state = State::default();
    let log = Event::LogCreated { fleet: "demo".into(), fleet_key: vec![0xab; 32], created_at_ms: 1 };
    put(&mut state, Role::Fleet, log);
    let intent = "intent-1".to_owned();
    let launch =
        Event::LaunchIntended { intent: intent.clone(), reason: String::new(), instance_type: String::new() };
    put(&mut state, Role::Scaler, launch);
    put(&mut state, Role::Scaler, Event::NodeLaunched { intent: intent.clone(), node: MADE_BY.into() });
    let admitted = Event::NodeAdmitted { node: MADE_BY.into(), public_key: vec![], epoch: vec![], intent };
    put(&mut state, Role::Scaler, admitted);
    put(
        &mut state,
        Role::Dialer,
        Event::CampaignCreated {
            campaign: "spring".into(),
            name: "spring".into(),
            flow: "f".into(),
            manifest: "m".into(),
            trunk: "t".into(),
            max_channels: 0,
            calls_per_second: 0,
            ring_timeout_ms: 1_000,
            max_attempts: 1,
            caller_id: String::new(),
            live: false,
            allowed_hashes: vec![],
            rules: None,
            trunks: vec![],
            caller_ids: vec![],
        },
    );
    state
}

fn id(contact: u32) -> RecordingId {
    format!("spring-{contact}-1-4").parse().unwrap()
}

fn made(contact: u32, hash: u8) -> Event {
    let RecordingId { call, step } = id(contact);
    let (sha256, size_bytes, duration_ms) = (vec![hash; 32], 16_044, 1_000);
    Event::RecordingMade { node: MADE_BY.into(), call, step, sha256, size_bytes, duration_ms }
}

fn stored(state: &State, contact: u32, hash: u8) -> Result<Vec<Event>, crate::Rejection> {
    let sha256 = [hash; 32];
    decide(state, &RecordingCommand::Store { node: MADE_BY.into(), recording: id(contact), sha256 })
}

fn follow(state: &mut State, command: &RecordingCommand) {
    for event in decide(state, command).unwrap() {
        put(state, Role::MediaSync, event);
    }
}

#[test]
fn a_recording_is_spelt_as_its_file() {
    assert_eq!(id(7).to_string(), "spring-7-1-4");
    assert_eq!((id(7).call.to_string().as_str(), id(7).step), ("spring-7-1", 4));
    for bad in
        ["", "spring-7-1", "spring-7-1-", "spring-7-1-04", "spring-7-0-4", "spring-7-1-x", "../spring-7-1-4"]
    {
        assert!(bad.parse::<RecordingId>().is_err(), "{bad}");
    }
    let text = serde_json::to_string(&id(7)).unwrap();
    assert_eq!(
        (text.as_str(), serde_json::from_str::<RecordingId>(&text).unwrap()),
        ("\"spring-7-1-4\"", id(7))
    );
}

#[test]
fn what_a_node_has_is_pending_until_the_store_is_said_to_have_it() {
    let mut state = fleet();
    assert_eq!(stored(&state, 0, 7).unwrap_err().code, "AST-M080", "nobody made it");
    assert_eq!(by_node(&mut state, made(0, 7)), (0, 0));
    assert_eq!(pending(&state, MADE_BY, &id(0)).unwrap().size_bytes, 16_044);
    assert_eq!(stored(&state, 0, 8).unwrap_err().code, "AST-M080", "other bytes");
    let event = stored(&state, 0, 7).unwrap().remove(0);
    let Event::RecordingStored { object, size_bytes, .. } = &event else { panic!("{event:?}") };
    assert_eq!(object, "recordings/demo-abababab/spring/spring-0-1-4-0707070707070707.wav");
    assert_eq!(*size_bytes, 16_044);
    put(&mut state, Role::MediaSync, event);
    assert!(pending(&state, MADE_BY, &id(0)).is_none());
    assert_eq!(state.recordings.of("spring").count(), 1);
    assert_eq!(state.recordings.of("sprin").count() + state.recordings.of("springs").count(), 0);
    // Its file outlived the answer: the node says so again, is answered again, and nothing changes.
    let before = state.recordings.clone();
    assert_eq!(by_node(&mut state, made(0, 7)), (0, 0));
    assert!(stored(&state, 0, 7).unwrap().is_empty());
    assert_eq!(by_node(&mut state, made(0, 9)), (0, 1), "a step records once");
    assert_eq!(state.recordings, before);
    // So also when it was erased meanwhile: it does not come back.
    assert!(is_settled(&state, MADE_BY, &id(0)) && !is_settled(&state, MADE_BY, &id(1)));
    follow(&mut state, &RecordingCommand::Erase { recordings: vec![id(0)], reason: "asked for it".into() });
    assert_eq!(by_node(&mut state, made(0, 7)), (0, 0));
    assert!(pending(&state, MADE_BY, &id(0)).is_none() && state.recordings.stored.is_empty());
    assert!(is_settled(&state, MADE_BY, &id(0)), "it may remove its file");
    // Nobody but the node says what it has, and nobody but media-sync what the store has.
    let stranger = Origin::Node("i-2".into());
    assert_eq!(apply_as(&mut state, stranger, made(1, 7), 1_000), (0, 1));
}

#[test]
fn a_node_with_recordings_to_send_is_not_ended_before_its_time() {
    let mut state = fleet();
    by_node(&mut state, made(0, 7));
    let node = |state: &State| state.fleet.nodes[MADE_BY].clone();
    assert!(!may_end(&node(&state), 5_000, 90_000), "it has not even said that it is empty");
    put(
        &mut state,
        Role::Scaler,
        Event::NodeDraining { node: MADE_BY.into(), reason: String::new(), drain: 1, held: false },
    );
    by_node(&mut state, Event::NodeEmpty { node: MADE_BY.into(), drain: 1 });
    assert!(!may_end(&node(&state), 5_000, 5_999));
    assert!(may_end(&node(&state), 5_000, 6_000), "for so long and no longer");
    let event = stored(&state, 0, 7).unwrap().remove(0);
    put(&mut state, Role::MediaSync, event);
    assert!(may_end(&node(&state), 5_000, 1_000));
}

#[test]
fn what_a_node_took_with_it_is_in_the_store_or_lost_and_never_both() {
    let mut state = fleet();
    for contact in 0..3 {
        by_node(&mut state, made(contact, 7));
    }
    assert_eq!(unsettled(&state).count(), 0, "the node is there");
    state.fleet.nodes.get_mut(MADE_BY).unwrap().status = NodeStatus::Lost;
    assert_eq!(unsettled(&state).count(), 3);
    let lose = |contact| RecordingCommand::Lose {
        node: MADE_BY.into(),
        recording: id(contact),
        reason: "gone".into(),
    };
    follow(&mut state, &lose(0));
    assert!(decide(&state, &lose(0)).unwrap().is_empty(), "said once");
    let event = stored(&state, 1, 7).unwrap().remove(0);
    put(&mut state, Role::MediaSync, event);
    assert!(decide(&state, &lose(1)).unwrap().is_empty(), "it is in the store");
    let RecordingId { call, step } = id(1);
    let late = Event::RecordingLost { node: MADE_BY.into(), call, step, reason: String::new() };
    assert_eq!(
        apply_as(&mut state, Origin::Role(Role::MediaSync), late, 2_000),
        (1, 0),
        "void where it lands"
    );
    assert_eq!((unsettled(&state).count(), state.recordings.lost, state.recordings.stored.len()), (1, 1, 1));
}

#[test]
fn recordings_go_when_their_campaigns_days_are_over() {
    const DAY: u64 = 86_400_000;
    let mut state = fleet();
    for contact in 0..2 {
        by_node(&mut state, made(contact, 7));
        let event = stored(&state, contact, 7).unwrap().remove(0);
        put(&mut state, Role::MediaSync, event);
    }
    let at = state.at;
    assert!(due(&state, (0, DAY), at + 9_999 * DAY).is_empty(), "without a number they stay");
    assert_eq!(due(&state, (3, DAY), at + 3 * DAY).len(), 2);
    let keep = |days| RecordingCommand::Keep { campaign: "spring".into(), days, reason: "law".into() };
    follow(&mut state, &keep(10));
    assert!(decide(&state, &keep(10)).unwrap().is_empty());
    assert!(due(&state, (3, DAY), at + 10 * DAY - 1).is_empty(), "the campaign's own number counts");
    assert_eq!(due(&state, (3, DAY), at + 10 * DAY).len(), 2);
    assert_eq!(decide(&state, &keep(36_501)).unwrap_err().code, "AST-M083");
    let of =
        |campaign: &str| RecordingCommand::Keep { campaign: campaign.into(), days: 1, reason: String::new() };
    assert_eq!(decide(&state, &of("summer")).unwrap_err().code, "AST-M082");
    let erase = |ids: Vec<RecordingId>| RecordingCommand::Erase { recordings: ids, reason: "asked".into() };
    assert_eq!(decide(&state, &erase(vec![])).unwrap_err().code, "AST-M081");
    assert_eq!(decide(&state, &erase(vec![id(0), id(5)])).unwrap_err().code, "AST-M084");
    follow(&mut state, &erase(vec![id(0)]));
    assert_eq!((state.recordings.stored.len(), state.recordings.erased), (1, 1));
    let again = Event::RecordingsErased { recordings: vec![id(0)], reason: String::new() };
    assert_eq!(apply_as(&mut state, Origin::Role(Role::MediaSync), again, 2_000), (1, 0));
}

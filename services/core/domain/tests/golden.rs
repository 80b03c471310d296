//! Golden bytes: a sample of every event type and schema there ever was, which decode and fold to the same state for
//! ever.
//!
//! `golden/events.txt` only ever grows: a line is a type, its schema and the event's bytes, in the order they are
//! folded. `golden/states.txt` has a hash of the state for each reducer and number of lines.
//! `UPDATE_EXPECT=1 cargo test -p asterism-domain --test golden` appends what [`STORY`] has beyond them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use asterism_domain::fleet::NodeStatus;
use asterism_domain::wire::{self, Envelope};
use asterism_domain::{Event, EventRef, REDUCER, Recorded, State, upcast};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{Origin, Role};
use prost::Message;
use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

/// A small life of a fleet. A body's fields have the values of [`sample`] but for those named here. What stands in
/// `events.txt` and not here was written before its type had all of today's fields.
const STORY: &[(&str, &[(&str, &str)])] = &[
    ("LOG_CREATED", &[]),
    ("LEADER_ELECTED", &[]),
    ("FLOW_PUBLISHED", &[]),
    ("MANIFEST_PUBLISHED", &[]),
    ("CAMPAIGN_STARTED", &[]),
    ("CAMPAIGN_PAUSED", &[]),
    ("CAMPAIGN_RESUMED", &[]),
    ("CAMPAIGN_LIVE", &[]),
    ("FLEET_PLANNED", &[]),
    ("LAUNCH_INTENDED", &[]),
    ("LAUNCH_FAILED", &[("final", "false")]),
    ("NODE_LAUNCHED", &[]),
    ("NODE_ADMITTED", &[]),
    ("NODE_READY", &[]),
    ("NODE_STOPPED", &[]),
    ("NODE_READY", &[("boot_id", "second")]),
    ("MANIFEST_HELD", &[]),
    ("NODE_LOAD", &[]),
    ("ATTEMPT_ACCEPTED", &[]),
    ("ATTEMPT_ORIGINATING", &[]),
    ("ATTEMPT_ANSWERED", &[]),
    ("STEP_DECIDED", &[]),
    ("STEP_TAKEN", &[]),
    ("ATTEMPT_REFUSED", &[("attempt", "demo-1-1")]),
    ("ATTEMPT_UNCERTAIN", &[("attempt", "demo-2-1")]),
    ("CONTACTS_ERASED", &[]),
    ("NODE_DRAINING", &[("held", "false")]),
    ("NODE_UNDRAINED", &[]),
    ("NODE_DRAINING", &[("drain", "7")]),
    ("NODE_EMPTY", &[("drain", "7")]),
    ("NODE_TERMINATING", &[("uncovered_from", "0"), ("uncovered_to", "0")]),
    ("NODE_TERMINATING", &[("silent_since_ms", "0"), ("uncovered_from", "0"), ("uncovered_to", "0")]),
    ("NODE_TERMINATED", &[]),
    ("ORIGIN_CLOSED", &[]),
    ("LAUNCH_INTENDED", &[("intent", "intent-2")]),
    ("NODE_LAUNCHED", &[("intent", "intent-2"), ("node", "i-2")]),
    ("NODE_LOST", &[("node", "i-2")]),
    ("FLEET_STOP_REQUESTED", &[]),
    ("LAUNCH_FAILED", &[]),
    ("CAMPAIGN_STOPPED", &[]),
    ("CAMPAIGN_STARTED", &[("campaign", "done")]),
    ("CAMPAIGN_COMPLETED", &[("campaign", "done")]),
    ("CHECKPOINT", &[]),
    ("CONTINUES", &[]),
    ("STATE_HASHED", &[]),
    ("FRAMES_LOST", &[]),
    ("LOG_REPAIRED", &[]),
    ("SEGMENT_ARCHIVED", &[("first", "0")]),
    ("SEGMENT_ARCHIVED", &[]),
    ("LOG_REPAIRED", &[]),
    ("ARCHIVE_BEHIND", &[("hold", "true")]),
    // Of a node that has ended: void, as its end is.
    ("LOG_REFUSED", &[]),
    ("NODE_HOLDS", &[]),
    ("NODE_UNCOVERED", &[("drain", "7")]),
    ("NODE_TERMINATING", &[("silent_since_ms", "0")]),
    ("CONTACTS_DEFERRED", &[("campaign", "ruled")]),
    ("DO_NOT_CALL_ADDED", &[]),
    ("DO_NOT_CALL_REMOVED", &[]),
    ("CAMPAIGN_STARTED", &[("campaign", "ruled")]),
    ("CONTACTS_IMPORTED", &[("campaign", "priced"), ("import", "import-3")]),
    ("CONTACTS_EXCLUDED", &[("campaign", "priced"), ("rule", "6")]),
    ("CAMPAIGN_STARTED", &[("campaign", "priced")]),
    ("CAMPAIGN_BUDGET_REACHED", &[("campaign", "priced")]),
    ("EMERGENCY_STOPPED", &[]),
    ("EMERGENCY_RESUMED", &[]),
    ("EMERGENCY_STOPPED", &[("cut_calls", "false")]),
    // The fleet was told to go: void.
    ("LAUNCH_PLACED", &[]),
    ("PRICES_SET", &[]),
    ("FLEET_PLANNED", &[]),
    ("TRUNK_SET", &[]),
    ("TRUNK_PACED", &[]),
    ("TRUNK_BREAKER", &[("state", "2")]),
    // Of a node that has ended: void.
    ("TRUNK_HELD", &[]),
    ("TRUNK_REMOVED", &[]),
    ("CAMPAIGN_CREATED", &[("campaign", "heard")]),
    ("CAMPAIGN_CHANGED", &[("campaign", "heard")]),
    // On a node that has ended: void; and so its end is an incident, and what was heard before.
    ("ATTEMPT_INTENDED", &[("attempt", "shown-0-1"), ("campaign", "shown")]),
    ("ATTEMPT_ENDED", &[("attempt", "shown-0-1"), ("never_rang", "false")]),
    ("WEBHOOK_SET", &[]),
    ("CAMPAIGN_STOPPED", &[("campaign", "shown")]),
    // None of them is owed: void.
    ("WEBHOOK_DELIVERED", &[]),
    ("WEBHOOK_GIVEN_UP", &[]),
    ("LOGIC_FAILED", &[]),
    ("MACHINE_JUDGED", &[("attempt", "shown-0-1"), ("verdict", "2")]),
    ("BRIDGE_ENDED", &[("attempt", "shown-0-1")]),
    // Of a node that has ended: void.
    ("MANIFEST_DROPPED", &[]),
    // Running campaigns play it: void.
    ("MANIFEST_RETIRED", &[]),
    ("PACES_SET", &[]),
    // None of them is kept: void.
    ("WEBHOOK_RESENT", &[]),
    ("ADDRESS_POOL_SET", &[]),
    // Of a node that has ended: void.
    ("ADDRESS_INTENDED", &[]),
    ("ADDRESS_ASSOCIATED", &[]),
    ("ADDRESS_SHOWN", &[]),
    ("ADDRESS_RELEASED", &[]),
    ("RECORDING_MADE", &[]),
    // Of other bytes: void.
    ("RECORDING_STORED", &[]),
    ("RECORDING_LOST", &[]),
    // Not in the store: void.
    ("RECORDINGS_ERASED", &[]),
    ("RECORDINGS_KEPT", &[]),
    // Stopped for good: void.
    ("CONTACTS_REOPENED", &[]),
    ("CONTACTS_IMPORTED", &[("campaign", "heard"), ("import", "import-4")]),
    ("CONTACTS_EXCLUDED", &[("campaign", "heard"), ("rule", "7")]),
];

/// Types whose reducers read less than the wire carries.
const READ_IN_PART: [EventType; 3] = [EventType::LogCreated, EventType::Checkpoint, EventType::Continues];

#[derive(Clone, PartialEq)]
struct Line {
    kind: EventType,
    schema: u32,
    bytes: Vec<u8>,
}

fn pool() -> DescriptorPool {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../proto");
    let set = protox::compile(
        [
            "asterism/v1/log.proto",
            "asterism/v1/fleet.proto",
            "asterism/v1/campaign.proto",
            "asterism/v1/trunk.proto",
            "asterism/v1/webhook.proto",
        ]
        .map(|file| include.join(file)),
        [&include],
    );
    DescriptorPool::from_file_descriptor_set(set.unwrap()).unwrap()
}

/// `ATTEMPT_ENDED` has the body `AttemptEnded`.
fn body_of(pool: &DescriptorPool, kind: &str) -> MessageDescriptor {
    let mut name = String::new();
    for word in kind.split('_') {
        name.push_str(&word[..1]);
        name.push_str(&word[1..].to_lowercase());
    }
    pool.get_message_by_name(&format!("asterism.v1.{name}"))
        .unwrap_or_else(|| panic!("{kind} has no body {name}"))
}

/// The same value for a field of the same name, so that a story's events speak of the same things.
fn sample(field: &FieldDescriptor) -> Value {
    let text = |name: &str| match name {
        "attempt" | "attempts" | "call" | "cuts" => "demo-0-1".to_owned(),
        "recordings" => "demo-0-1-1".to_owned(),
        "intent" => "intent-1".to_owned(),
        "node" => "i-1".to_owned(),
        "campaign" => "demo".to_owned(),
        "origin" => "node/i-1".to_owned(),
        "role" => "dialer".to_owned(),
        other => format!("{other}-x"),
    };
    let one = match field.kind() {
        Kind::String => Value::String(text(field.name())),
        Kind::Bytes if matches!(field.name(), "number_hash" | "contacts" | "numbers" | "epoch") => {
            Value::Bytes(vec![2; 16].into())
        }
        Kind::Bytes => Value::Bytes(vec![field.number() as u8; 32].into()),
        Kind::Bool => Value::Bool(true),
        Kind::Uint32 => Value::U32(match field.name() {
            "contact" | "contacts" => 0,
            "kinds" => 2,
            "billing" | "transport" | "number_format" | "caller_id_header" | "heard" | "state"
            | "ordinal" | "outcome" | "source" | "step" | "zone" | "rule" => 1,
            _ => 100 + field.number(),
        }),
        Kind::Uint64 => Value::U64(1_000 + u64::from(field.number())),
        Kind::Message(message) => Value::Message(filled(&message)),
        other => panic!("{}: no sample of {other:?}", field.full_name()),
    };
    match one {
        Value::Message(first) if field.name() == "contacts" => {
            Value::List((0..4).map(|n| contact(&first, n)).collect())
        }
        one if field.is_list() => Value::List(vec![one]),
        one => one,
    }
}

fn contact(sample: &DynamicMessage, number: u8) -> Value {
    let mut contact = sample.clone();
    contact.set_field_by_name("contact", Value::U32(number.into()));
    contact.set_field_by_name("number_hash", Value::Bytes(vec![number; 16].into()));
    Value::Message(contact)
}

fn filled(message: &MessageDescriptor) -> DynamicMessage {
    let mut body = DynamicMessage::new(message.clone());
    for field in message.fields() {
        body.set_field(&field, sample(&field));
    }
    body
}

fn told(pool: &DescriptorPool, name: &str, but: &[(&str, &str)]) -> Line {
    let kind = EventType::from_str_name(name).unwrap_or_else(|| panic!("no event type {name}"));
    let mut body = filled(&body_of(pool, name));
    for (field, text) in but {
        let field = body.descriptor().get_field_by_name(field).unwrap();
        let value = match field.kind() {
            Kind::String => Value::String((*text).to_owned()),
            Kind::Bool => Value::Bool(text.parse().unwrap()),
            Kind::Uint32 => Value::U32(text.parse().unwrap()),
            Kind::Uint64 => Value::U64(text.parse().unwrap()),
            other => panic!("{other:?}"),
        };
        body.set_field(&field, value);
    }
    let schema = upcast::newest(upcast::STEPS, kind);
    let causation = v1::EventId { origin: "role/dialer".into(), epoch: vec![3; 16], frame: 7, index: 1 };
    let bytes = v1::Event {
        r#type: kind as u32,
        schema,
        occurred_at_ms: 1_700_000_000_000,
        causation: Some(causation),
        correlation: "demo-0-1".into(),
        campaign: "demo".into(),
        node: "i-1".into(),
        actor: "ops".into(),
        traceparent: vec![5; 26],
        command_id: format!("command-{name}"),
        body: body.encode_to_vec(),
    }
    .encode_to_vec();
    Line { kind, schema, bytes }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn golden() -> Vec<Line> {
    let text = std::fs::read_to_string(path("events.txt")).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, schema, bytes] = words.as_slice() else { panic!("{line}") };
        let kind = EventType::from_str_name(kind).unwrap_or_else(|| panic!("{kind} is gone"));
        Line { kind, schema: schema.parse().unwrap(), bytes: hex::decode(bytes).unwrap() }
    };
    text.lines().map(line).collect()
}

fn writer(event: &Event) -> Origin {
    let roles = Role::ALL.into_iter().map(Origin::Role);
    let others = ["i-1", "i-2"].map(|node| Origin::Node(node.into()));
    let process = Origin::Proc(Role::LogicResponder, "1".into());
    roles.chain(others).chain([process]).find(|origin| event.may_be_written_by(origin)).unwrap()
}

fn fold(lines: &[Line]) -> State {
    let mut state = State::default();
    for (sequence, line) in (0u64..).zip(lines) {
        let (wire, event) = wire::decode_bytes(&line.bytes).unwrap();
        let origin = writer(&event);
        let id = EventRef { origin: origin.to_string(), epoch: vec![3; 16], frame: sequence + 1, index: 0 };
        let at = 1_700_000_000_000 + sequence * 10;
        let (command_id, actor) = (wire.command_id, wire.actor);
        state.apply(&Recorded { sequence, at, origin, id, term: 1, command_id, actor, event });
    }
    state
}

#[test]
fn every_event_ever_written_decodes_to_what_it_was() {
    let golden = golden();
    assert!(!golden.is_empty());
    for (number, line) in golden.iter().enumerate() {
        let name = line.kind.as_str_name();
        let (wire, event) =
            wire::decode_bytes(&line.bytes).unwrap_or_else(|why| panic!("line {number}, {name}: {why}"));
        assert_eq!((wire.r#type, wire.schema), (line.kind as u32, line.schema));
        if line.schema != upcast::newest(upcast::STEPS, line.kind) || READ_IN_PART.contains(&line.kind) {
            continue;
        }
        let again = v1::Event::decode(wire::encode(&event, &Envelope::default()).as_slice()).unwrap();
        assert!(again.body == wire.body, "line {number}: {name} loses or bends a field: {event:?}");
    }
}

#[test]
fn every_event_type_and_field_there_is_has_golden_bytes() {
    let (pool, mut golden) = (pool(), golden());
    let held = golden.len();
    for (name, but) in STORY {
        let line = told(&pool, name, but);
        if !golden.contains(&line) {
            golden.push(line);
        }
    }
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    if update {
        let mut text = String::new();
        for line in &golden {
            writeln!(text, "{} {} {}", line.kind.as_str_name(), line.schema, hex::encode(&line.bytes))
                .unwrap();
        }
        std::fs::write(path("events.txt"), text).unwrap();
    }
    let new: BTreeSet<&str> = golden[held..].iter().map(|line| line.kind.as_str_name()).collect();
    let next =
        "`UPDATE_EXPECT=1 cargo test -p asterism-domain --test golden` appends their bytes; commit them";
    assert!(update || new.is_empty(), "{new:?} changed or are new: {next}");
    let types = pool.get_enum_by_name("asterism.v1.EventType").unwrap();
    for kind in types.values().filter(|kind| kind.number() != 0) {
        let body = body_of(&pool, kind.name());
        let mut unseen: BTreeSet<String> = body.fields().map(|field| field.name().to_owned()).collect();
        for line in golden.iter().filter(|line| line.kind as i32 == kind.number()) {
            let event = v1::Event::decode(line.bytes.as_slice()).unwrap();
            let body = DynamicMessage::decode(body.clone(), event.body.as_slice()).unwrap();
            for (field, _) in body.fields() {
                unseen.remove(field.name());
            }
        }
        let seen = golden.iter().any(|line| line.kind as i32 == kind.number());
        assert!(seen, "{} has no golden bytes: add it to STORY", kind.name());
        assert!(unseen.is_empty(), "{}: no golden bytes have {unseen:?}: add a line to STORY", kind.name());
    }
}

#[test]
fn the_golden_events_fold_to_their_golden_states() {
    let golden = golden();
    let mut text = std::fs::read_to_string(path("states.txt")).unwrap_or_default();
    let row = |lines: usize| format!("{REDUCER} {lines} {}", hex::encode(fold(&golden[..lines]).hash()));
    if std::env::var_os("UPDATE_EXPECT").is_some() && !text.contains(&format!("{REDUCER} {} ", golden.len()))
    {
        writeln!(text, "{}", row(golden.len())).unwrap();
        std::fs::write(path("states.txt"), &text).unwrap();
    }
    let mut compared = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("{REDUCER} "))) {
        let lines = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(
            line,
            row(lines),
            "the same events fold to another state: raise REDUCER, then `UPDATE_EXPECT=1 cargo test -p asterism-domain \
             --test golden` adds the new one; commit it"
        );
        compared.push(lines);
    }
    let next = "`UPDATE_EXPECT=1 cargo test -p asterism-domain --test golden` adds it; commit it";
    assert!(
        compared.contains(&golden.len()),
        "no golden state of {REDUCER} after all {} events: {next}",
        golden.len()
    );
}

#[test]
fn the_story_is_one_of_events_that_take_effect() {
    let state = fold(&golden());
    let reasons: Vec<&str> = state.incident_list.iter().map(|incident| incident.reason.as_str()).collect();
    let nodes: Vec<_> = state.fleet.nodes.values().map(|node| node.status).collect();
    assert_eq!(nodes, [NodeStatus::Terminated, NodeStatus::Lost]);
    // The lost frames, a step of a decision the log does not have, a step of a call that is over, an end of one, what was
    // heard of one, how a leg of it ended, and what a copy had beyond the log; the cut of a node that was heard of, what came
    // after its end, what it holds, attempts on it, a launch of a fleet that was told to go, notices that are not owed or
    // kept, a campaign there is, an address for a node that has ended, four times, a flow published before, and a recording
    // that is not what was made, nor in the store; a contact excluded twice, and one of a stopped campaign that is reopened.
    assert_eq!((reasons.len(), state.voids, state.campaigns.len()), (7, 25, 6), "{reasons:?}");
    assert_eq!((state.recordings.lost, state.recordings.keep_days.len()), (1, 1));
    assert_eq!(state.webhook.owed.len(), 1, "that a campaign ended");
    let ruled = &state.campaigns["ruled"].counts;
    assert_eq!((ruled.imported, ruled.waiting, ruled.excluded), (4, 3, 1));
    let counts = &state.campaigns["demo"].counts;
    assert_eq!(
        (counts.imported, counts.attempts, counts.rang, counts.uncertain, counts.refused),
        (4, 4, 2, 1, 1)
    );
}

//! A fleet with fixed keys that writes signed frames: for tests of this crate and of those above it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use asterism_proto::v1::{self, EventType};
use asterism_proto::{FrameDraft, OpenFrame, Origin, OriginKey, Role};
use prost::Message;

use crate::merkle::Frontier;
use crate::record::{AcceptedFrame, StoredFrame, StreamAt};
use crate::sealed;
use crate::sequencer::{Sequencer, Verdict};

/// Name of the test fleet.
pub const FLEET: &str = "test";

/// The fixed secret key of an origin.
pub fn key_of(origin: &Origin) -> OriginKey {
    // A process signs with its role's key.
    let text = match origin {
        Origin::Proc(role, _) => Origin::Role(*role).to_string(),
        other => other.to_string(),
    };
    OriginKey::from_entropy(asterism_proto::hash::sha256(text.as_bytes()))
}

/// One origin that counts its own frames.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Who writes.
    pub origin: Origin,
    /// Its epoch.
    pub epoch: [u8; 16],
    /// Number of its last frame.
    pub number: u64,
    /// Its term.
    pub term: u64,
    /// The fleet it names.
    pub fleet: String,
    /// The key it signs with.
    pub key: OriginKey,
}

impl Writer {
    /// An origin with its right key, before its first frame.
    pub fn new(origin: &str, epoch: u8) -> Self {
        let origin: Origin = origin.parse().unwrap();
        let key = key_of(&origin);
        Self { origin, epoch: [epoch; 16], number: 0, term: 0, fleet: FLEET.into(), key }
    }

    /// The next frame.
    pub fn frame(&mut self, events: Vec<Vec<u8>>) -> Vec<u8> {
        self.number += 1;
        self.frame_again(events)
    }

    /// A frame with the current number.
    pub fn frame_again(&self, events: Vec<Vec<u8>>) -> Vec<u8> {
        let draft = FrameDraft {
            fleet: &self.fleet,
            origin: &self.origin,
            epoch: self.epoch,
            number: self.number,
            term: self.term,
            based_on: 0,
        };
        draft.sign(&self.key, events).unwrap()
    }

    /// The frame that makes this origin the leader of the next term, in a new epoch.
    pub fn elect(&mut self, epoch: u8) -> Vec<u8> {
        (self.term, self.number, self.epoch) = (self.term + 1, 0, [epoch; 16]);
        let event = elected(&self.origin, self.term);
        self.frame(vec![event])
    }
}

/// An encoded event.
pub fn event(kind: EventType, body: &impl Message) -> Vec<u8> {
    let body = body.encode_to_vec();
    v1::Event { r#type: kind as u32, schema: 1, body, ..v1::Event::default() }.encode_to_vec()
}

/// An opaque event of about this many bytes.
pub fn opaque(seed: u64, length: usize) -> Vec<u8> {
    let body = (0..length as u64).map(|i| (seed.wrapping_mul(31).wrapping_add(i) % 251) as u8).collect();
    let event = v1::Event { r#type: EventType::AttemptEnded as u32, schema: 1, body, ..v1::Event::default() };
    event.encode_to_vec()
}

/// `LeaderElected` for a role.
pub fn elected(origin: &Origin, term: u64) -> Vec<u8> {
    event(EventType::LeaderElected, &v1::LeaderElected { role: origin.id(), term, holder: "a test".into() })
}

/// `NodeAdmitted` with the node's fixed key.
pub fn admitted(node: &str, epoch: u8) -> Vec<u8> {
    let public_key = key_of(&Origin::Node(node.into())).public().to_bytes().to_vec();
    let body =
        v1::NodeAdmitted { node: node.into(), public_key, epoch: vec![epoch; 16], intent: String::new() };
    event(EventType::NodeAdmitted, &body)
}

/// `OriginClosed`.
pub fn closed(origin: &str) -> Vec<u8> {
    event(EventType::OriginClosed, &v1::OriginClosed { origin: origin.into(), reason: "done".into() })
}

/// A checkpoint of the log as the sequencer has it.
pub fn checkpoint(sequencer: &Sequencer) -> Vec<u8> {
    let body = v1::Checkpoint {
        size: sequencer.size(),
        root: sequencer.root().to_vec(),
        marks: sequencer.marks(),
        ..v1::Checkpoint::default()
    };
    event(EventType::Checkpoint, &body)
}

/// The event of frame 1.
pub fn log_created() -> Vec<u8> {
    let public = |role: Role| key_of(&Origin::Role(role)).public().to_bytes().to_vec();
    let named = Role::ALL.into_iter().filter(|role| *role != Role::Fleet);
    let body = v1::LogCreated {
        fleet: FLEET.into(),
        fleet_key: public(Role::Fleet),
        log_key: public(Role::Ledger),
        role_keys: named
            .map(|role| v1::RoleKey { role: role.name().into(), public_key: public(role) })
            .collect(),
        created_at_ms: 1_000,
    };
    event(EventType::LogCreated, &body)
}

/// A fleet at work: frame 1, three leaders, three nodes, one responder, and whatever they write.
#[derive(Debug, Clone)]
pub struct Script {
    /// Judges what is written, so that checkpoints are true.
    pub sequencer: Sequencer,
    /// All frames in stream order.
    pub frames: Vec<(Vec<u8>, StreamAt)>,
    /// What was accepted.
    pub accepted: Vec<AcceptedFrame>,
    /// Leaders of scaler, dialer and ledger, nodes `n1` to `n3`, one responder.
    pub writers: Vec<Writer>,
}

impl Script {
    /// A fleet that has just begun.
    pub fn begin() -> Self {
        let mut script = Self {
            sequencer: Sequencer::new(FLEET, None),
            frames: Vec::new(),
            accepted: Vec::new(),
            writers: Vec::new(),
        };
        script.publish(Writer::new("role/fleet", 1).frame(vec![log_created()]));
        for (index, role) in (2u8..).zip(["role/scaler", "role/dialer", "role/ledger"]) {
            let mut writer = Writer::new(role, 0);
            script.publish(writer.elect(index));
            script.writers.push(writer);
        }
        let nodes = vec![admitted("n1", 11), admitted("n2", 12), admitted("n3", 13)];
        script.write(0, nodes);
        for (epoch, node) in (11u8..).zip(["node/n1", "node/n2", "node/n3"]) {
            script.writers.push(Writer::new(node, epoch));
        }
        script.writers.push(Writer::new("proc/logic-responder-a", 21));
        script
    }

    /// A fleet with this many more frames of events of mixed sizes, a checkpoint every 16.
    pub fn with_frames(count: u64) -> Self {
        let mut script = Self::begin();
        for step in 0..count {
            script.step(step);
        }
        script
    }

    /// One more frame, chosen by the step's number.
    pub fn step(&mut self, step: u64) {
        if step % 16 == 15 {
            let event = checkpoint(&self.sequencer);
            self.write(2, vec![event]);
            return;
        }
        let writer = (step.wrapping_mul(5) % self.writers.len() as u64) as usize;
        let events = match step % 11 {
            3 => (0..40).map(|i| opaque(step + i, 120)).collect(),
            7 => vec![opaque(step, 6_000), opaque(step + 1, 5)],
            other => (0..=other).map(|i| opaque(step + i, 150 + 20 * i as usize)).collect(),
        };
        self.write(writer, events);
    }

    /// The next frame of a writer, by its index in [`Script::writers`].
    pub fn write(&mut self, writer: usize, events: Vec<Vec<u8>>) {
        let bytes = self.writers[writer].frame(events);
        self.publish(bytes);
    }

    /// Puts bytes into the stream; they must be accepted.
    pub fn publish(&mut self, bytes: Vec<u8>) {
        let sequence = self.frames.len() as u64 + 1;
        let at = StreamAt { sequence, time_ms: 1_700_000_000_000 + sequence * 3 };
        match self.sequencer.judge(&bytes, at) {
            Verdict::Accepted(frame) => self.accepted.push(frame),
            other => panic!("the script wrote a frame that is {other:?}"),
        }
        self.frames.push((bytes, at));
    }
}

/// Seals frames as somebody would who can write files and compute every hash, but has no key: checksums, tree and
/// footers fit whatever is in the frames.
pub fn forge(folder: &std::path::Path, frames: &[StoredFrame], per_segment: usize) {
    let anchor = frames[0].frame.header_hash();
    let mut tree = Frontier::new();
    for frames in frames.chunks(per_segment) {
        let mut writer = sealed::Writer::create(folder, &tree, None).unwrap();
        for frame in frames {
            let OpenFrame { header_bytes, events, .. } = &frame.frame;
            // The leaves of what is written, whatever the header says.
            let header_hash = asterism_proto::hash::sha256(header_bytes);
            let leaves = asterism_proto::hash::event_leaves(&header_hash, 0, frame.record_time_ms, events);
            writer.push(&StoredFrame { leaves, ..frame.clone() }).unwrap();
        }
        tree = writer.tree().clone();
        writer.finish_unread(&anchor).unwrap();
    }
}

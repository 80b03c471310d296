//! Frames made to harm: lies about counts and lengths, bombs, other keys, other fleets. None counts, none costs memory.

use asterism_proto::frame::{FRAME_MAX_BYTES, FRAME_MAX_EVENTS, HEADER_MAX_BYTES};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{OpenFrame, OriginKey};
use proptest::prelude::*;
use prost::Message;

use crate::record::StreamAt;
use crate::sequencer::{Sequencer, Verdict};
use crate::testkit::{FLEET, Script, Writer, opaque};

/// A length-delimited field.
fn field(tag: u8, length: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    prost::encoding::encode_varint(length, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// The next frame of an origin with its header changed and signed by its own key: a member that lies.
fn lying(writer: &Writer, events: Vec<Vec<u8>>, change: impl FnOnce(&mut v1::FrameHeader)) -> Vec<u8> {
    let honest = OpenFrame::read(&writer.clone().frame(vec![opaque(1, 10)])).unwrap();
    let mut header = honest.header;
    header.event_count = events.len() as u32;
    header.events_root = asterism_proto::frame::events_root(&events).to_vec();
    change(&mut header);
    let header = header.encode_to_vec();
    let signature = writer.key.sign(&header).to_vec();
    v1::Frame { header, signature, events }.encode_to_vec()
}

/// What a node could send, each signed as well as its sender can.
fn hostile(node: &Writer) -> Vec<(&'static str, Vec<u8>)> {
    let one = || vec![opaque(1, 10)];
    let mut forged = node.clone();
    forged.key = OriginKey::from_entropy([0xee; 32]);
    let mut foreign = node.clone();
    foreign.fleet = "other".into();
    let honest = node.clone().frame(one());
    let nested = (0..2_000).fold(Vec::new(), |inner: Vec<u8>, _| field(2, inner.len() as u64, &inner));
    let deep =
        v1::Event { r#type: EventType::NodeAdmitted as u32, schema: 1, body: nested, ..Default::default() };
    vec![
        ("another key", forged.frame(one())),
        ("another fleet", foreign.frame(one())),
        ("a count of 64 thousand", lying(node, one(), |header| header.event_count = 65_536)),
        ("no events", lying(node, vec![], |_| ())),
        ("257 events", lying(node, vec![vec![1]; FRAME_MAX_EVENTS + 1], |_| ())),
        ("30,000 empty events", lying(node, vec![vec![]; 30_000], |_| ())),
        ("an event too long", lying(node, vec![vec![1; 7_000]], |_| ())),
        ("a header too long", lying(node, one(), |header| header.fleet = "f".repeat(HEADER_MAX_BYTES))),
        (
            "an endless origin",
            lying(node, one(), |header| header.origin = format!("node/{}", "n".repeat(400))),
        ),
        ("an epoch of no length", lying(node, one(), |header| header.epoch = vec![])),
        ("number 0", lying(node, one(), |header| header.number = 0)),
        ("the last number", lying(node, one(), |header| header.number = u64::MAX)),
        ("a term", lying(node, one(), |header| header.term = u64::MAX)),
        ("a root of another length", lying(node, one(), |header| header.events_root = vec![0; 31])),
        ("a length beyond the end", [honest.clone(), field(3, u64::MAX, &[])].concat()),
        ("a length of 4 GiB", field(1, 1 << 32, &[1; 90])),
        ("fields nobody knows", [honest.clone(), field(15, 40, &[0; 40])].concat()),
        ("two headers", [field(1, 2, &[8, 1]), honest.clone(), field(1, 2, &[8, 1])].concat()),
        ("deep nesting in a control event", node.clone().frame(vec![deep.encode_to_vec()])),
        ("a whole megabyte", vec![0x1a; 1 << 20]),
        ("one byte too many", [honest, vec![0; FRAME_MAX_BYTES]].concat()),
        ("zeros", vec![0; 100]),
        ("nothing", vec![]),
    ]
}

#[test]
fn nothing_made_to_harm_counts() {
    let script = Script::with_frames(12);
    for (what, bytes) in hostile(&script.writers[3]) {
        let mut sequencer = script.sequencer.clone();
        let before = (sequencer.size(), sequencer.root(), sequencer.marks());
        let verdict = sequencer.judge(&bytes, StreamAt { sequence: 9_999, time_ms: 1 });
        // Fields nobody knows are the one thing an origin may add: they are outside of what is hashed.
        if what == "fields nobody knows" {
            assert!(matches!(verdict, Verdict::Accepted(_)), "{what}: {verdict:?}");
            continue;
        }
        assert!(matches!(verdict, Verdict::Refused { .. } | Verdict::Gap { .. }), "{what}: {verdict:?}");
        assert_eq!((sequencer.size(), sequencer.root(), sequencer.marks()), before, "{what}");
    }
}

/// Whatever is read is bounded by what was sent: the parts of an open frame are never more than its bytes, so that
/// lengths and counts that lie reserve nothing.
fn bounded(bytes: &[u8]) {
    let Ok(frame) = OpenFrame::read(bytes) else { return };
    let held = frame.header_bytes.capacity() + frame.signature.capacity() + frame.events.capacity();
    assert!(bytes.len() <= FRAME_MAX_BYTES && frame.events.len() <= FRAME_MAX_EVENTS);
    assert!(held <= 2 * bytes.len() + 64, "{held} bytes of {}", bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Honest frames between frames made to harm, themselves bent, cut, doubled and glued together: two copies that see
    /// different harm have the root of one that saw none.
    #[test]
    fn harm_between_honest_frames_changes_no_root(
        harm in prop::collection::vec((any::<usize>(), any::<usize>(), 0u8..5), 30..150), seed in any::<u64>()
    ) {
        let script = Script::with_frames(20);
        let bombs: Vec<Vec<u8>> = hostile(&script.writers[3])
            .into_iter()
            // One that is the origin's own and counts, and one that is only large.
            .filter(|(what, _)| !["fields nobody knows", "a whole megabyte"].contains(what))
            .map(|(_, bytes)| bytes)
            .collect();
        let make = |(which, place, how): (usize, usize, u8)| {
            let mut bytes = match how {
                0 => bombs[which % bombs.len()].clone(),
                _ => script.frames[which % script.frames.len()].0.clone(),
            };
            let at = place % bytes.len().max(1);
            match how {
                1 => bytes[at] ^= 1 << (place % 8),
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..at, bombs[place % bombs.len()].iter().take(2_000).copied())),
                4 => bytes.extend_from_slice(&bombs[place % bombs.len()]),
                _ => {}
            }
            bytes
        };
        let harm: Vec<Vec<u8>> = harm.into_iter().map(make).collect();
        for bytes in &harm {
            bounded(bytes);
        }
        let mut copies = [Sequencer::new(FLEET, None), Sequencer::new(FLEET, None)];
        for (which, copy) in copies.iter_mut().enumerate() {
            let mut random = seed.wrapping_add(which as u64) | 1;
            for (bytes, at) in &script.frames {
                prop_assert!(matches!(copy.judge(bytes, *at), Verdict::Accepted(_)));
                for _ in 0..4 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let bytes = &harm[(random >> 33) as usize % harm.len()];
                    // An honest frame among the harm that is the next of its origin counts, and rightly so.
                    let mut trial = copy.clone();
                    if !matches!(trial.judge(bytes, *at), Verdict::Accepted(_) | Verdict::Stop { .. }) {
                        *copy = trial;
                    }
                }
            }
        }
        prop_assert_eq!(copies[0].root(), script.sequencer.root());
        prop_assert_eq!(copies[1].root(), script.sequencer.root());
    }

    #[test]
    fn any_bytes_are_read_in_bounded_memory(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        bounded(&bytes);
    }
}

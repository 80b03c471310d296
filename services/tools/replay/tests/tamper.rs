//! Every way to change a log, done by somebody who can write its files and recompute every checksum, hash and footer,
//! but has none of its keys. `verify` finds each and names the first position that is bad.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_range_loop)]

mod support;

use std::path::Path;

use asterism_event_log::testkit::{FLEET, Script, Writer, checkpoint, forge, key_of, opaque};
use asterism_event_log::{StoredFrame, StreamAt};
use asterism_proto::frame::events_root;
use asterism_proto::note::{self, TreeHead};
use asterism_proto::{OpenFrame, Origin, OriginKey, Role, v1};
use asterism_replay::verify::{Against, Verification, verify};
use prost::Message;
use support::{DIALER, LEDGER, program, write};

const NODE: usize = 3;
const PER_SEGMENT: usize = 9;

/// A log with facts of three nodes, decisions and a checkpoint after every sixth frame, the last of them its end.
fn script() -> Script {
    let mut script = Script::begin();
    for round in 0..30u32 {
        if round % 6 == 5 {
            let event = checkpoint(&script.sequencer);
            script.write(LEDGER, vec![event]);
        } else if round % 6 == 3 {
            write(&mut script, DIALER, &support::created(&format!("c{round}"), "c"));
        } else {
            let load = asterism_domain::Event::NodeLoad {
                node: format!("n{}", round as usize % 3 + 1),
                ringing: round,
                up: 1,
                free_slots: 9,
                cpu_permille: 100,
            };
            let event = support::encode(&load, "");
            script.write(NODE + round as usize % 3, vec![event.clone(), event]);
        }
    }
    script
}

fn stored(script: &Script) -> Vec<StoredFrame> {
    script.accepted.iter().map(asterism_event_log::AcceptedFrame::to_stored).collect()
}

/// First position of each frame, and the size after the last.
fn positions(frames: &[StoredFrame]) -> Vec<u64> {
    let mut at = 0;
    let mut positions = vec![0];
    for frame in frames {
        at += frame.frame.events.len() as u64;
        positions.push(at);
    }
    positions
}

fn verified(frames: &[StoredFrame], checkpoint: Option<&str>) -> Verification {
    let folder = tempfile::tempdir().unwrap();
    forge(folder.path(), frames, PER_SEGMENT);
    verify(folder.path(), &Against { anchor: None, checkpoint }, &mut |_| {}).unwrap()
}

/// Changes a header.
type Bend = fn(&mut v1::FrameHeader);

/// A frame whose header was changed and whose signature was not.
fn bent(frame: &StoredFrame, bend: impl FnOnce(&mut v1::FrameHeader)) -> StoredFrame {
    let mut header = frame.frame.header.clone();
    bend(&mut header);
    let header_bytes = header.encode_to_vec();
    let inner = OpenFrame { header, header_bytes, ..frame.frame.clone() };
    StoredFrame::new(inner, frame.record_time_ms, frame.at)
}

/// A frame signed by whatever key its writer has, in the place of another.
fn in_place_of(frame: &StoredFrame, bytes: &[u8]) -> StoredFrame {
    StoredFrame::new(OpenFrame::read(bytes).unwrap(), frame.record_time_ms, frame.at)
}

#[track_caller]
fn found_at(frames: &[StoredFrame], position: u64, why: &str) {
    let report = verified(frames, None);
    assert!(!report.replay_ok, "{why}");
    assert_eq!(report.first_bad, Some(position), "{:?}", report.problems);
    assert!(report.problems[0].contains(why), "{:?}", report.problems);
    assert!(report.trusted <= position);
}

#[test]
fn the_forger_writes_what_verifies_when_nothing_is_changed() {
    let script = script();
    let report = verified(&stored(&script), None);
    assert!(report.replay_ok, "{:?}", report.problems);
    assert_eq!((report.root, report.first_bad), (hex::encode(script.sequencer.root()), None));
    assert_eq!(report.checkpoints.agreed, 5);
}

#[test]
fn a_changed_event_or_header_is_found_at_its_frame() {
    let frames = stored(&script());
    let positions = positions(&frames);
    for at in 1..frames.len() {
        // A changed event under the old header is no frame any more.
        let mut changed = frames.clone();
        let last = changed[at].frame.events.len() - 1;
        let event = &mut changed[at].frame.events[last];
        *event.last_mut().unwrap() ^= 1;
        found_at(&changed, positions[at], "a chunk does not hold whole frames");
        // With a header that fits it, the signature does not.
        let mut inner = changed[at].frame.clone();
        inner.header.events_root = events_root(&inner.events).to_vec();
        inner.header_bytes = inner.header.encode_to_vec();
        changed[at] = StoredFrame::new(inner, frames[at].record_time_ms, frames[at].at);
        found_at(&changed, positions[at], "the signature is not the origin's");
    }
    let at = 17;
    let headers: [(&str, Bend); 6] = [
        ("signature", |header| header.based_on += 1),
        ("signature", |header| header.number += 1),
        ("signature", |header| header.term += 1),
        ("signature", |header| header.epoch[3] ^= 1),
        ("unknown origin", |header| header.origin = "node/n9".into()),
        ("another fleet", |header| header.fleet = "theirs".into()),
    ];
    for (why, bend) in headers {
        let mut changed = frames.clone();
        changed[at] = bent(&frames[at], bend);
        found_at(&changed, positions[at], why);
    }
    let mut changed = frames.clone();
    changed[at].frame.signature[9] ^= 1;
    found_at(&changed, positions[at], "signature");
}

#[test]
fn a_frame_resigned_with_another_key_is_found_at_its_place() {
    let frames = stored(&script());
    let positions = positions(&frames);
    let other = OriginKey::from_entropy([7; 32]);
    for at in 0..frames.len() {
        let mut changed = frames.clone();
        changed[at].frame.signature = other.sign(&frames[at].frame.header_bytes).to_vec();
        found_at(&changed, positions[at], "the signature is not the origin's");
    }
}

#[test]
fn a_dropped_frame_is_found_by_the_next_of_its_origin_or_by_the_next_checkpoint() {
    let frames = stored(&script());
    let whole = positions(&frames);
    let signed = note_of(&script(), None);
    for at in 0..frames.len() {
        let mut changed = frames.clone();
        let gone = changed.remove(at);
        let report = verified(&changed, Some(&signed));
        assert!(!report.replay_ok, "frame {at} of {}", gone.frame.origin);
        // It is found no later than one checkpoint on, and what is said to stand does not reach it.
        assert!(report.trusted <= whole[at], "frame {at}: {} stand", report.trusted);
        assert!(report.first_bad.unwrap() >= report.trusted);
        let is_checkpoint = |frame: &StoredFrame| {
            frame.frame.origin == Origin::Role(Role::Ledger) && frame.frame.header.number > 1
        };
        let next = changed[at..]
            .iter()
            .position(|frame| frame.frame.origin == gone.frame.origin || is_checkpoint(frame));
        let latest = next.map_or(report.events, |next| positions(&changed)[at + next]);
        assert!(report.first_bad.unwrap() <= latest, "frame {at}: {:?}", report.problems);
    }
}

#[test]
fn an_inserted_frame_is_found_at_its_place() {
    let script = script();
    let frames = stored(&script);
    let positions = positions(&frames);
    for at in 1..frames.len() {
        let insert = |frame: StoredFrame| {
            let mut changed = frames.clone();
            changed
                .insert(at, StoredFrame::new(frame.frame, frames[at - 1].record_time_ms, frames[at - 1].at));
            changed
        };
        found_at(&insert(frames[at - 1].clone()), positions[at], "");
        // By a key of the attacker's own: as nobody, and in the name of each writer.
        let mut stranger = Writer::new("node/stranger", 77);
        let bytes = stranger.frame(vec![opaque(1, 20)]);
        found_at(&insert(in_place_of(&frames[at], &bytes)), positions[at], "unknown origin");
    }
    let at = frames.len();
    for writer in &script.writers {
        let mut forged = writer.clone();
        forged.key = OriginKey::from_entropy([9; 32]);
        let bytes = forged.frame(vec![opaque(1, 20)]);
        let mut changed = frames.clone();
        changed.push(in_place_of(&frames[at - 1], &bytes));
        found_at(&changed, positions[at], "the signature is not the origin's");
    }
}

/// Frames of several origins may stand in any order by their own numbers; record time and checkpoints hold them.
#[test]
fn reordered_frames_are_found_even_if_their_times_are_rewritten() {
    let frames = stored(&script());
    let whole = positions(&frames);
    let mut swapped = 0;
    for at in 5..frames.len() - 1 {
        let mut changed = frames.clone();
        changed.swap(at, at + 1);
        let (first, second) = (frames[at].clone(), frames[at + 1].clone());
        assert!(
            verified(&changed, None).first_bad.is_some_and(|bad| bad <= whole[at + 2]),
            "times out of order"
        );
        changed[at] = StoredFrame::new(second.frame, first.record_time_ms, first.at);
        changed[at + 1] = StoredFrame::new(first.frame, second.record_time_ms, second.at);
        let report = verified(&changed, None);
        assert!(!report.replay_ok && report.trusted <= whole[at], "frames {at} and {}", at + 1);
        assert!(report.first_bad.unwrap() >= report.trusted);
        swapped += usize::from(report.problems[0].contains("INV-09"));
    }
    assert!(swapped > 10, "only {swapped} were left to a checkpoint to find");
}

#[test]
fn a_rewritten_record_time_is_found_by_the_next_checkpoint() {
    let frames = stored(&script());
    let whole = positions(&frames);
    for at in 0..frames.len() - 1 {
        let mut changed = frames.clone();
        for (later, frame) in frames.iter().enumerate().skip(at) {
            let time_ms = frame.at.time_ms + 60_000;
            let place = StreamAt { time_ms, ..frame.at };
            changed[later] = StoredFrame::new(frame.frame.clone(), time_ms, place);
        }
        let report = verified(&changed, None);
        assert!(report.problems[0].contains("INV-09"), "frame {at}: {:?}", report.problems);
        assert!(report.trusted <= whole[at] && report.first_bad == Some(report.trusted));
    }
}

fn note_of(script: &Script, root: Option<[u8; 32]>) -> String {
    let root = root.unwrap_or_else(|| script.sequencer.root());
    let name = note::origin(&note::tag(FLEET, &script.sequencer.anchor().unwrap()));
    note::sign(&key_of(&Origin::Role(Role::Ledger)), &name, &TreeHead { size: script.sequencer.size(), root })
}

#[test]
fn a_log_rolled_back_agrees_with_itself_and_not_with_a_checkpoint_kept_outside() {
    let script = script();
    let frames = stored(&script);
    let signed = note_of(&script, None);
    assert_eq!(verified(&frames, Some(&signed)).checkpoint_agreed, Some(script.sequencer.size()));
    for length in 1..frames.len() {
        let older = &frames[..length];
        let alone = verified(older, None);
        assert!(alone.replay_ok, "{:?}", alone.problems);
        assert!(alone.notes.iter().any(|note| note.contains("no --checkpoint given")), "and it says so");
        let report = verified(older, Some(&signed));
        assert_eq!((report.replay_ok, report.first_bad), (false, Some(report.events)));
        assert!(report.problems[0].contains("it was rolled back or cut"), "{:?}", report.problems);
    }
    let differs = verified(&frames, Some(&note_of(&script, Some([3; 32]))));
    assert!(differs.problems[0].contains("it is another history"), "{:?}", differs.problems);
    assert_eq!(differs.first_bad, Some(differs.trusted));
}

/// Whoever owns every key of a new log can make one that is sound: only the anchor, or a checkpoint, tells.
#[test]
fn a_whole_log_signed_anew_is_told_by_the_anchor_and_by_the_checkpoint() {
    let script = script();
    let frames = stored(&script);
    let forger = |origin: &Origin| {
        let seed = format!("forged {origin}");
        OriginKey::from_entropy(asterism_proto::hash::sha256(seed.as_bytes()))
    };
    let anew: Vec<StoredFrame> = frames.iter().map(|frame| resigned(frame, &forger)).collect();
    let folder = tempfile::tempdir().unwrap();
    forge(folder.path(), &anew, PER_SEGMENT);
    let alone = verify(folder.path(), &Against::default(), &mut |_| {}).unwrap();
    // Its checkpoints name the roots of the true log: the forger signs those anew as well.
    assert!(alone.problems.iter().all(|problem| problem.contains("INV-09")), "{:?}", alone.problems);
    let anchor = script.sequencer.anchor();
    let report = verify(folder.path(), &Against { anchor, checkpoint: None }, &mut |_| {}).unwrap();
    assert!(report.problems[0].contains("AST-L003"), "{:?}", report.problems);
    let signed = note_of(&script, None);
    let report =
        verify(folder.path(), &Against { anchor: None, checkpoint: Some(&signed) }, &mut |_| {}).unwrap();
    assert!(report.problems[0].contains("it is of another log"), "{:?}", report.problems);
}

/// The same frame by the forger's keys, which its first frame and its admissions name.
fn resigned(frame: &StoredFrame, forger: &impl Fn(&Origin) -> OriginKey) -> StoredFrame {
    let mut inner = frame.frame.clone();
    let mut events: Vec<Vec<u8>> = (&inner.events).into();
    for bytes in &mut events {
        let mut event = v1::Event::decode(bytes.as_slice()).unwrap();
        let public = |origin: &str| forger(&origin.parse().unwrap()).public().to_bytes().to_vec();
        match v1::EventType::try_from(event.r#type.cast_signed()) {
            Ok(v1::EventType::LogCreated) => {
                let mut body = v1::LogCreated::decode(event.body.as_slice()).unwrap();
                (body.fleet_key, body.log_key) = (public("role/fleet"), public("role/ledger"));
                for entry in &mut body.role_keys {
                    entry.public_key = public(&format!("role/{}", entry.role));
                }
                event.body = body.encode_to_vec();
            }
            Ok(v1::EventType::NodeAdmitted) => {
                let mut body = v1::NodeAdmitted::decode(event.body.as_slice()).unwrap();
                body.public_key = public(&format!("node/{}", body.node));
                event.body = body.encode_to_vec();
            }
            _ => continue,
        }
        *bytes = event.encode_to_vec();
    }
    inner.events = events.into();
    inner.header.events_root = events_root(&inner.events).to_vec();
    inner.header_bytes = inner.header.encode_to_vec();
    inner.signature = forger(&inner.origin).sign(&inner.header_bytes).to_vec();
    StoredFrame::new(inner, frame.record_time_ms, frame.at)
}

#[test]
fn a_segment_cut_bent_or_lost_is_named_by_its_first_position() {
    let script = script();
    let whole = tempfile::tempdir().unwrap();
    forge(whole.path(), &stored(&script), PER_SEGMENT);
    let folder = asterism_event_log::LogFolder::open(whole.path(), None).unwrap();
    let count = folder.segments().len();
    for (index, (first, end, path)) in folder.segments().iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let first_bad =
            || verify(whole.path(), &Against::default(), &mut |_| {}).map(|report| report.first_bad);
        std::fs::write(path, &bytes[..bytes.len() - 5]).unwrap();
        // Without a readable first segment there is no log to speak of: an error that names the file.
        assert!(first_bad().map_or(index == 0, |bad| bad == Some(*first)), "cut at {first}");
        let mut bent = bytes.clone();
        bent[30] ^= 4;
        std::fs::write(path, &bent).unwrap();
        assert!(first_bad().map_or(index == 0, |bad| bad == Some(*first)), "bent at {first}");
        std::fs::remove_file(path).unwrap();
        if index + 1 < count {
            assert!(first_bad().map_or(index == 0, |bad| bad == Some(*first)), "lost {first} to {end}");
        }
        std::fs::write(path, &bytes).unwrap();
    }
    assert!(verify(whole.path(), &Against::default(), &mut |_| {}).unwrap().replay_ok);
}

#[test]
fn a_frame_of_a_newer_version_is_named_as_that() {
    let frames = stored(&script());
    let mut changed = frames.clone();
    changed[12] = bent(&frames[12], |header| header.version = 2);
    found_at(&changed, positions(&frames)[12], "a frame of version 2, only 1 is known here");
}

#[test]
fn the_program_says_what_it_compared_and_no_more() {
    let script = script();
    let folder = tempfile::tempdir().unwrap();
    forge(folder.path(), &stored(&script), PER_SEGMENT);
    let file = folder.path().join("checkpoint");
    std::fs::write(&file, note_of(&script, None)).unwrap();
    let anchor = hex::encode(script.sequencer.anchor().unwrap());
    let size = script.sequencer.size();
    let last = |more: &[&str]| {
        let (status, out, err) = verify_with(folder.path(), more);
        (status, out.lines().last().unwrap_or(&err).to_owned())
    };
    let (anchor, checkpoint) = (["--anchor", &anchor], ["--checkpoint", file.to_str().unwrap()]);
    let claims = [
        (&[][..], "agree with one another; neither anchor nor checkpoint was compared".to_owned()),
        (
            &anchor,
            "verified from the anchor given; no checkpoint was given, a cut at the end cannot be told"
                .to_owned(),
        ),
        (
            &checkpoint,
            format!(
                "agree with one another and contain your checkpoint of {size}; the anchor was not compared"
            ),
        ),
    ];
    for (more, claim) in claims {
        assert_eq!(last(more), (0, format!("ok: {size} events {claim}")));
    }
    let both = [anchor, checkpoint].concat();
    let claim =
        format!("ok: {size} events verified from the anchor given and contain your checkpoint of {size}");
    assert_eq!(last(&both), (0, claim));
    std::fs::write(&file, "nonsense").unwrap();
    let (status, text) = last(&checkpoint);
    assert!(status == 1 && text.starts_with("NOT OK: 1 problems, none of them in the log itself;"), "{text}");
    let (status, _, err) = verify_with(folder.path(), &["--checkpoint", "/nowhere/note"]);
    assert!(status == 1 && err.contains("AST-V006: /nowhere/note cannot be used"), "{err}");
}

fn verify_with(folder: &Path, more: &[&str]) -> (i32, String, String) {
    program(&[&["verify", folder.to_str().unwrap()], more].concat())
}

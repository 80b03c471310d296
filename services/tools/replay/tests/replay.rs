//! The auditor's program over logs that are right and logs that were changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use asterism_domain::event::SealedContact;
use asterism_domain::{Event, REDUCER, State, wire};
use asterism_event_log::snapshot::Snapshot;
use asterism_event_log::testkit::{FLEET, Script, checkpoint};
use asterism_event_log::{AcceptedFrame, Copy};
use asterism_proto::v1;
use asterism_replay::{Error, fold, verify};
use prost::Message;
use serde_json::Value;

const DIALER: usize = 1;
const LEDGER: usize = 2;
const NODE: usize = 3;

fn encode(event: &Event) -> Vec<u8> {
    support::encode(event, "a test")
}

fn campaign(name: &str, contacts: u32) -> Vec<Vec<u8>> {
    let created = support::created(name, name);
    let contacts = (0..contacts)
        .map(|contact| SealedContact {
            contact,
            number_hash: [contact as u8; 16],
            sealed: vec![1; 40],
            ..SealedContact::default()
        })
        .collect();
    let imported = Event::ContactsImported {
        campaign: name.into(),
        import: "one".into(),
        contacts,
        duplicates: 0,
        last: true,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    };
    vec![encode(&created), encode(&imported), encode(&Event::CampaignStarted { campaign: name.into() })]
}

fn fold_of(frames: &[AcceptedFrame]) -> State {
    let mut state = State::default();
    for frame in frames {
        for index in 0..frame.frame.events.len() {
            let sequence = frame.first + index as u64;
            state.apply(&wire::recorded(&frame.frame, index as u32, sequence, frame.record_time_ms).unwrap());
        }
    }
    state
}

fn state_hashed(state: &State) -> Vec<u8> {
    encode(&Event::StateHashed { size: state.size, hash: state.hash().to_vec(), reducer: REDUCER.into() })
}

/// A small fleet with two campaigns, loads, checkpoints and a state hash.
fn history() -> Script {
    let mut script = Script::begin();
    for round in 0..12u32 {
        if round % 6 == 0 {
            script.write(DIALER, campaign(&format!("c{round}"), 20));
        }
        let load =
            Event::NodeLoad { node: "n1".into(), ringing: round, up: 1, free_slots: 9, cpu_permille: 100 };
        script.write(NODE, vec![encode(&load), encode(&load)]);
        if round % 4 == 3 {
            let event = checkpoint(&script.sequencer);
            script.write(LEDGER, vec![event]);
        }
        if round == 7 {
            let event = state_hashed(&fold_of(&script.accepted));
            // Between the hash and its event somebody else writes.
            script.write(NODE, vec![encode(&load)]);
            script.write(DIALER, vec![event]);
        }
    }
    script
}

/// Seals the script into the folder, in this many segments.
fn seal(script: &Script, folder: &Path, segments: usize) {
    let mut opened = Copy::open(folder, FLEET, None, |_| {}).unwrap();
    let each = script.accepted.len().div_ceil(segments);
    for frames in script.accepted.chunks(each) {
        for frame in frames {
            opened.copy.append(frame).unwrap();
        }
        opened.copy.seal().unwrap().unwrap();
    }
}

fn state_at(folder: &Path, at: Option<fold::At>) -> Result<State, Error> {
    fold::state_at(&mut fold::Pass { folder, anchor: None, progress: &mut |_| {} }, at)
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_asterism-replay")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn verify_json(folder: &Path, more: &[&str]) -> (i32, Value) {
    let mut arguments = vec!["verify", folder.to_str().unwrap(), "--json"];
    arguments.extend(more);
    let (status, out, err) = run(&arguments);
    (status, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

fn first_problem(folder: &Path) -> String {
    let (status, report) = verify_json(folder, &[]);
    assert_eq!((status, &report["replay_ok"]), (1, &Value::Bool(false)));
    report["problems"][0].as_str().unwrap().to_owned()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ast"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_sound_log_verifies_to_the_writers_root_and_state() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 3);
    let anchor = hex::encode(script.sequencer.anchor().unwrap());
    let (status, report) = verify_json(folder.path(), &["--anchor", &anchor]);
    assert_eq!(status, 0, "{report}");
    assert_eq!(report["events"], script.sequencer.size());
    assert_eq!(report["root"], hex::encode(script.sequencer.root()));
    assert_eq!(report["state_hash"], hex::encode(fold_of(&script.accepted).hash()));
    assert_eq!(report["checkpoints"]["agreed"], 3);
    assert_eq!(report["state_hashes"]["agreed"], 1);
    assert_eq!((&report["replay_ok"], &report["segments"]), (&Value::Bool(true), &Value::from(3)));
    assert_eq!(report["problems"], Value::Array(vec![]));
    assert_eq!(report["invariants"].as_array().unwrap().len(), 16);
    assert_eq!(report["origins"]["node/n1"], 25);
    let (status, text, _) = run(&["verify", folder.path().to_str().unwrap()]);
    assert_eq!(status, 0);
    assert!(
        text.contains("note: no --anchor given") && text.contains("note: no --checkpoint given"),
        "{text}"
    );
    let claim = "agree with one another; neither anchor nor checkpoint was compared";
    assert!(text.ends_with(&format!("ok: {} events {claim}\n", script.sequencer.size())), "{text}");
}

#[test]
fn another_anchor_is_a_problem_and_half_an_anchor_an_error() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 1);
    let (status, report) = verify_json(folder.path(), &["--anchor", &"ab".repeat(32)]);
    assert_eq!(status, 1);
    assert!(report["problems"][0].as_str().unwrap().contains("AST-L003"), "{report}");
    let (status, _, err) = run(&["verify", folder.path().to_str().unwrap(), "--anchor", "abcd"]);
    assert!(status == 1 && err.contains("AST-V001"), "{err}");
}

#[test]
fn a_leader_whose_state_differs_is_found() {
    let mut script = history();
    let mut state = fold_of(&script.accepted);
    state.voids += 1;
    script.write(DIALER, vec![state_hashed(&state)]);
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    assert!(first_problem(folder.path()).contains("INV-08"));
    let mut script = history();
    let event = Event::StateHashed { size: 1 << 30, hash: vec![1; 32], reducer: REDUCER.into() };
    script.write(DIALER, vec![encode(&event)]);
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    assert!(first_problem(folder.path()).contains("never was"));
}

#[test]
fn a_checkpoint_over_another_history_is_found() {
    let mut script = history();
    let lie = Event::Checkpoint { size: script.sequencer.size(), root: vec![7; 32] };
    script.write(LEDGER, vec![encode(&lie)]);
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    let problem = first_problem(folder.path());
    assert!(problem.contains("INV-09") && problem.contains("0707"), "{problem}");
}

#[test]
fn an_event_from_the_future_stops_the_fold_but_not_the_proof() {
    let script = history();
    let position = script.sequencer.size();
    let load = v1::EventType::NodeLoad as u32;
    for (kind, schema, why) in [
        (4_000, 1, "event type 4000 is not known here; a newer version wrote it".to_owned()),
        (
            load,
            2,
            format!(
                "event type {load} has schema version 2, which is not known here; a newer version wrote it"
            ),
        ),
    ] {
        let newer = v1::Event { r#type: kind, schema, ..v1::Event::default() };
        let mut script = script.clone();
        script.write(DIALER, vec![newer.encode_to_vec()]);
        let folder = tempfile::tempdir().unwrap();
        seal(&script, folder.path(), 2);
        let (status, report) = verify_json(folder.path(), &[]);
        assert_eq!((status, &report["state_hash"]), (1, &Value::Null));
        assert_eq!(report["events"], script.sequencer.size(), "the log itself is whole");
        assert_eq!(report["root"], hex::encode(script.sequencer.root()));
        let next = "the fold stopped there, use a newer asterism-replay";
        assert_eq!(report["problems"][0], format!("position {position}: {why}; {next}"));
        let (status, _, err) = run(&["state", folder.path().to_str().unwrap()]);
        let text = format!(
            "AST-V003: the event at position {position} is not understood: {why}; use a newer version\n"
        );
        assert_eq!((status, err), (1, text));
        let before = state_at(folder.path(), Some(fold::At::Size(position))).unwrap();
        assert_eq!(before.size, position, "what precedes it can still be read");
    }
}

/// A node is one of many: neither what it cannot spell nor what nobody knows stops a reader.
#[test]
fn what_a_node_wrote_that_cannot_be_read_is_named_and_stops_nothing() {
    let mut script = history();
    let position = script.sequencer.size();
    let newer = v1::Event { r#type: 4_000, schema: 1, ..v1::Event::default() };
    script.write(NODE, vec![vec![0xff; 5], newer.encode_to_vec()]);
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    let (status, report) = verify_json(folder.path(), &[]);
    assert_eq!((status, &report["replay_ok"]), (0, &Value::Bool(true)), "{report}");
    assert_eq!(report["state_hash"], hex::encode(fold_of(&script.accepted).hash()));
    assert_eq!((&report["unreadable"], &report["first_unreadable"]), (&2.into(), &position.into()));
    let note = format!("2 events cannot be read and had no effect, the first at position {position}");
    assert!(report["notes"].to_string().contains(&note), "{report}");
    let (_, told, _) = run(&["tail", folder.path().to_str().unwrap(), "-n", "1"]);
    let why = "node/n1: it cannot be read: event type 4000 is not known here; a newer version wrote it";
    assert!(
        told.contains(why) && told.contains("without effect: incident: the event cannot be read"),
        "{told}"
    );
}

#[test]
fn changed_files_are_found_wherever_they_were_changed() {
    let script = history();
    let whole = tempfile::tempdir().unwrap();
    seal(&script, whole.path(), 3);
    let paths = segments(whole.path());
    for (index, path) in paths.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        for offset in (0..bytes.len()).step_by(bytes.len() / 12) {
            let mut bent = bytes.clone();
            bent[offset] ^= 0x10;
            std::fs::write(path, &bent).unwrap();
            let (status, out, err) = run(&["verify", whole.path().to_str().unwrap(), "--json"]);
            assert_eq!(status, 1, "byte {offset} of segment {index}: {out}{err}");
        }
        std::fs::write(path, &bytes).unwrap();
        let hidden = whole.path().join("hidden");
        std::fs::rename(path, &hidden).unwrap();
        let (status, out, err) = run(&["verify", whole.path().to_str().unwrap(), "--json"]);
        assert_eq!(status, 1, "segment {index} is gone: {out}{err}");
        std::fs::rename(&hidden, path).unwrap();
    }
    assert_eq!(verify_json(whole.path(), &[]).0, 0);
}

#[test]
fn what_is_not_sealed_is_said() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    let mut opened = Copy::open(folder.path(), FLEET, None, |_| {}).unwrap();
    let (sealed, hot) = script.accepted.split_at(10);
    for frame in sealed {
        opened.copy.append(frame).unwrap();
    }
    let (status, _, err) = run(&["verify", folder.path().to_str().unwrap()]);
    assert!(status == 1 && err.contains("AST-L008") && err.contains("not sealed"), "{err}");
    opened.copy.seal().unwrap();
    let mut sequencer = opened.sequencer;
    for frame in &script.accepted {
        sequencer.readmit(frame.to_stored(), asterism_event_log::SignatureCheck::Trust);
    }
    for frame in hot {
        opened.copy.append(frame).unwrap();
    }
    opened.copy.commit(sequencer.root()).unwrap();
    // The owner is still running.
    let (status, report) = verify_json(folder.path(), &[]);
    assert_eq!((status, &report["events"]), (0, &Value::from(sealed.last().unwrap().end())));
    assert_eq!(report["unsealed_events"], script.sequencer.size() - sealed.last().unwrap().end());
    assert!(report["notes"][0].as_str().unwrap().contains("not sealed"), "{report}");
}

#[test]
fn the_state_at_any_position_is_the_incremental_fold() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    let mut state = State::default();
    for frame in &script.accepted {
        for index in 0..frame.frame.events.len() {
            let at = frame.first + index as u64;
            assert_eq!(state_at(folder.path(), Some(fold::At::Size(at))).unwrap(), state);
            state.apply(&wire::recorded(&frame.frame, index as u32, at, frame.record_time_ms).unwrap());
        }
    }
    let (status, out, _) = run(&["state", folder.path().to_str().unwrap()]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &shown["state_hash"]), (0, &Value::from(hex::encode(state.hash()))));
    let past = (state.size + 1).to_string();
    let (status, _, err) = run(&["state", folder.path().to_str().unwrap(), "--at", &past]);
    assert!(status == 1 && err.contains("AST-V002"), "{err}");
}

#[test]
fn the_export_has_every_event_once_in_order() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    let (status, out, _) = run(&["export", folder.path().to_str().unwrap(), "--format", "jsonl"]);
    assert_eq!(status, 0);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, script.sequencer.size());
    for (position, line) in lines.iter().enumerate() {
        assert_eq!(line["sequence"], position);
    }
    assert_eq!(lines[0]["type"], "LOG_CREATED");
    let created = lines.iter().find(|line| line["type"] == "CAMPAIGN_CREATED").unwrap();
    assert_eq!((&created["campaign"], &created["actor"]), (&"c0".into(), &"a test".into()));
}

#[test]
fn a_folder_without_a_log_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("nowhere")] {
        let (status, _, err) = run(&["verify", path.to_str().unwrap()]);
        assert_eq!(status, 1);
        assert!(err.contains("AST-L0") && err.contains(path.to_str().unwrap()), "{err}");
    }
    // The folder that `asterism up` was given has its log in it.
    seal(&history(), &folder.path().join("log"), 1);
    for command in ["verify", "state", "stats", "tail", "cdr", "export"] {
        let (status, _, err) = run(&[command, folder.path().to_str().unwrap()]);
        let named = format!("the log in it is {}: name that", folder.path().join("log").display());
        assert!(status == 1 && err.contains("AST-V015") && err.contains(&named), "{command}: {err}");
    }
    let error = verify::verify(folder.path(), &verify::Against::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Log(_)));
}

/// Nothing is said against the log on the word of a file that is no checkpoint.
#[test]
fn a_checkpoint_file_that_is_none_is_no_fault_of_the_log() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    let note = folder.path().join("note");
    for text in ["", "asterism/test/log\n5\n", "\u{0}\u{1}", &"x".repeat(100_000)] {
        std::fs::write(&note, text).unwrap();
        let (status, report) = verify_json(folder.path(), &["--checkpoint", note.to_str().unwrap()]);
        assert_eq!((status, &report["first_bad"]), (1, &Value::Null), "{report}");
        let problem = report["problems"][0].as_str().unwrap();
        assert!(
            problem.contains("says nothing about this log") && report["trusted"].as_u64() > Some(0),
            "{report}"
        );
    }
    let (status, _, err) = run(&["verify", folder.path().to_str().unwrap(), "--checkpoint", "/nowhere"]);
    assert!(status == 1 && err.contains("AST-V006: /nowhere"), "{err}");
}

#[test]
fn a_tile_or_a_snapshot_of_another_log_is_named_and_leaves_the_log_sound() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    seal(&script, folder.path(), 2);
    let (status, report) = verify_json(folder.path(), &[]);
    let (tiles, size) = (report["tiles"]["agreed"].as_u64().unwrap(), script.sequencer.size());
    assert!(status == 0 && tiles > 0 && report["tiles"]["unchecked"] == 0, "{report}");
    let tile = folder.path().join(format!("tile/0/000.p/{size}"));
    let whole = std::fs::read(&tile).unwrap();
    for bent in [whole[..whole.len() - 32].to_vec(), [&whole[..], &[0; 32]].concat(), vec![7; whole.len()]] {
        std::fs::write(&tile, bent).unwrap();
        let (status, report) = verify_json(folder.path(), &[]);
        assert_eq!(
            (status, &report["first_bad"], &report["tiles"]["differed"]),
            (1, &Value::Null, &1.into())
        );
        assert!(report["problems"][0].as_str().unwrap().contains(tile.to_str().unwrap()), "{report}");
        let (_, told, _) = run(&["verify", folder.path().to_str().unwrap()]);
        assert!(told.contains("NOT OK: 1 problems, none of them in the log itself"), "{told}");
    }
    std::fs::remove_file(&tile).unwrap();
    let (status, report) = verify_json(folder.path(), &[]);
    assert_eq!((status, &report["tiles"]["unchecked"]), (0, &1.into()), "derived: said, and no fault");
    std::fs::write(&tile, &whole).unwrap();
    // A snapshot as a service takes it, and one of a state that never was.
    let mut sequencer = Script::begin().sequencer;
    for frame in &script.accepted[sequencer_frames(&sequencer)..] {
        sequencer.readmit(frame.to_stored(), asterism_event_log::SignatureCheck::Trust);
    }
    let mut state = fold_of(&script.accepted);
    for (lie, found) in [(0, None), (1, Some("it has another state than the log folds to"))] {
        state.voids += lie;
        let (reducer, bytes) = (REDUCER.to_owned(), state.to_bytes());
        let taken = Snapshot { reducer, sequencer: sequencer.clone(), state: bytes };
        let path = taken.write(folder.path()).unwrap();
        let (status, report) = verify_json(folder.path(), &[]);
        assert_eq!(status, i32::from(found.is_some()), "{report}");
        match found {
            None => assert_eq!(report["snapshots"]["agreed"], 1),
            Some(why) => {
                let problem = report["problems"][0].as_str().unwrap();
                assert!(problem.contains(why) && problem.contains(path.to_str().unwrap()), "{report}");
            }
        }
    }
}

/// How many frames of a script a sequencer that began it has judged.
fn sequencer_frames(sequencer: &asterism_event_log::Sequencer) -> usize {
    let mut size = 0;
    Script::begin()
        .accepted
        .iter()
        .take_while(|frame| {
            size += frame.leaves.len() as u64;
            size <= sequencer.size()
        })
        .count()
}

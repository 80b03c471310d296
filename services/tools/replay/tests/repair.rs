//! `repair`: what is sound is kept, what is not comes from another folder, and what nobody has is named. And folders
//! that are no log, or not one that can be read: what is said of each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use asterism_event_log::testkit::{Script, forge};
use asterism_event_log::{AcceptedFrame, StoredFrame};
use serde_json::Value;
use support::program;

const PER_SEGMENT: usize = 7;

fn script() -> Script {
    Script::with_frames(40)
}

fn stored(script: &Script) -> Vec<StoredFrame> {
    script.accepted.iter().map(AcceptedFrame::to_stored).collect()
}

fn log(script: &Script, per_segment: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    forge(folder.path(), &stored(script), per_segment);
    folder
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Name and bytes of every file.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    segments(folder).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn repaired(folder: &Path, from: &[&Path], to: &Path) -> (i32, Value) {
    let mut words = vec!["repair", text(folder), "--to", text(to), "--json"];
    for other in from {
        words.extend(["--from", text(other)]);
    }
    let (status, out, err) = program(&words);
    (status, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

fn verifies_to(folder: &Path, script: &Script) {
    let (_, out, _) = program(&["verify", text(folder), "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    // The script's bodies are made up: the fold stops, the log itself is whole.
    assert_eq!(report["events"], script.sequencer.size());
    assert_eq!(report["root"], hex::encode(script.sequencer.root()));
}

#[test]
fn each_damaged_or_lost_segment_is_refilled_and_the_original_stays_as_it_is() {
    let script = script();
    let other = log(&script, 11);
    let count = segments(log(&script, PER_SEGMENT).path()).len();
    assert!(count >= 6);
    for broken in 0..count {
        for lost in [false, true] {
            let folder = log(&script, PER_SEGMENT);
            let path = segments(folder.path())[broken].clone();
            if lost {
                std::fs::remove_file(&path).unwrap();
            } else {
                damage(&path);
            }
            let before = content(folder.path());
            let to = tempfile::tempdir().unwrap();
            let (status, done) = repaired(folder.path(), &[other.path()], to.path());
            assert_eq!((status, &done["whole"]), (0, &Value::Bool(true)), "segment {broken}: {done}");
            assert!(done["taken"][1][1].as_u64().unwrap() > 0, "the other folder had what was missing");
            assert_eq!(done["problems"].as_array().unwrap().is_empty(), lost);
            verifies_to(to.path(), &script);
            assert!(content(folder.path()) == before, "the damaged folder was changed");
        }
    }
}

#[test]
fn two_damaged_folders_make_a_whole_one() {
    let script = script();
    let (one, two) = (log(&script, PER_SEGMENT), log(&script, PER_SEGMENT));
    damage(&segments(one.path())[1]);
    std::fs::remove_file(&segments(one.path())[3]).unwrap();
    damage(&segments(two.path())[2]);
    damage(&segments(two.path())[5]);
    let to = tempfile::tempdir().unwrap();
    let (status, done) = repaired(one.path(), &[two.path()], to.path());
    assert_eq!(status, 0, "{done}");
    verifies_to(to.path(), &script);
}

#[test]
fn what_nobody_has_is_named() {
    let script = script();
    let folder = log(&script, PER_SEGMENT);
    let gone = segments(folder.path())[2].clone();
    let reader = asterism_event_log::sealed::Reader::open(&gone).unwrap();
    let (first, end) = (reader.footer().first, reader.footer().end);
    std::fs::remove_file(&gone).unwrap();
    let to = tempfile::tempdir().unwrap();
    let (status, done) = repaired(folder.path(), &[], to.path());
    assert_eq!((status, &done["events"]), (1, &Value::from(first)));
    assert_eq!((&done["missing_from"], &done["missing_to"]), (&Value::from(first), &Value::from(end)));
    let next = tempfile::tempdir().unwrap();
    let (status, out, _) = program(&["repair", text(folder.path()), "--to", text(next.path())]);
    let size = script.sequencer.size();
    let said = format!(
        "MISSING: events {first} to {end}; those behind them, up to {size}, are there and cannot be joined"
    );
    assert!(status == 1 && out.contains(&said), "{out}");
    // Without anything behind it, only HEAD or another folder can know of more: nothing is claimed.
    let cut = log(&script, PER_SEGMENT);
    let last = segments(cut.path()).pop().unwrap();
    std::fs::remove_file(last).unwrap();
    let (status, done) = repaired(cut.path(), &[], tempfile::tempdir().unwrap().path());
    assert_eq!((status, &done["missing_to"]), (0, &Value::Null), "{done}");
}

#[test]
fn a_folder_of_another_log_contributes_nothing() {
    let script = script();
    let folder = log(&script, PER_SEGMENT);
    let path = segments(folder.path())[2].clone();
    damage(&path);
    let first = asterism_event_log::sealed::Reader::open(&segments(folder.path())[2]).unwrap().footer().first;
    let mut frames = stored(&script);
    for frame in frames.iter_mut().skip(14) {
        *frame.frame.events[0].last_mut().unwrap() ^= 1;
        frame.frame.header.events_root = asterism_proto::frame::events_root(&frame.frame.events).to_vec();
        frame.frame.header_bytes = prost::Message::encode_to_vec(&frame.frame.header);
    }
    let theirs = tempfile::tempdir().unwrap();
    forge(theirs.path(), &frames, PER_SEGMENT);
    let to = tempfile::tempdir().unwrap();
    let (status, done) = repaired(folder.path(), &[theirs.path()], to.path());
    assert_eq!(
        (status, &done["events"], &done["taken"][1][1]),
        (1, &Value::from(first), &Value::from(0)),
        "{done}"
    );
    let problems = done["problems"].to_string();
    assert!(problems.contains("the signature is not the origin's"), "{problems}");
}

/// The program fails, and says each of these.
#[track_caller]
fn says(words: &[&str], wanted: &[&str]) {
    let (status, out, err) = program(words);
    let said = out + &err;
    assert_eq!(status, 1, "{words:?}: {said}");
    for text in wanted {
        assert!(said.contains(text), "{words:?} does not say {text:?}: {said}");
    }
}

/// What is said of a folder that cannot be used: what it is, and what to do.
#[test]
fn a_bad_folder_says_what_it_is_and_what_to_do() {
    let script = script();
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("holiday.jpg"), "no log").unwrap();
    let unmade = empty.path().join("new");
    says(
        &["verify", "/nowhere/log"],
        &["AST-L016: there is no folder /nowhere/log; name the folder of a log"],
    );
    let nothing = "holds no sealed segment; seal the log first, or name its folder";
    says(&["verify", text(empty.path())], &["AST-L008: ", nothing]);
    says(&["repair", text(empty.path()), "--to", text(&unmade)], &["AST-L008: ", nothing]);
    let newer = log(&script, PER_SEGMENT);
    let path = segments(newer.path())[0].clone();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7] = b'9';
    std::fs::write(path, bytes).unwrap();
    let format = "a sealed segment of another version than 01 and 02; use a newer version or the right file";
    says(&["verify", text(newer.path())], &["AST-L007: ", format]);
    let cut = log(&script, PER_SEGMENT);
    let path = segments(cut.path()).pop().unwrap();
    let first = asterism_event_log::sealed::Reader::open(&path).unwrap().footer().first;
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let damaged =
        format!("is damaged at position {first}: its end is not that of a sealed segment: it was cut");
    says(
        &["export", text(cut.path())],
        &["AST-L011: ", &damaged, "restore it from another copy or the archive"],
    );
    let whole = log(&script, PER_SEGMENT);
    let missing = ["repair", text(whole.path()), "--from", "/nowhere/log", "--to", text(&unmade)];
    says(&missing, &["AST-L016: there is no folder /nowhere/log"]);
    says(
        &["repair", text(whole.path()), "--to", text(empty.path())],
        &["AST-V013: ", "name a folder that is new: a repair never writes over anything"],
    );
    assert!(!unmade.exists(), "a repair that fails leaves nothing");
}

/// The same for keys, anchors, checkpoints and positions that are not this log's.
#[test]
fn what_does_not_fit_the_log_is_named() {
    let campaign = support::log();
    let folder = text(campaign.path());
    let other = "ab".repeat(32);
    for command in ["verify", "state", "export", "stats", "tail", "cdr"] {
        says(
            &[command, folder, "--anchor", &other],
            &["AST-L003: ", &other, "it is another log or a forged one"],
        );
    }
    says(&["verify", folder, "--anchor", "12"], &["AST-V001: the anchor is 64 hexadecimal digits"]);
    let file = campaign.path().join("note");
    std::fs::write(&file, "no note").unwrap();
    let no_note = "the checkpoint given says nothing about this log: it is no signed checkpoint note";
    says(&["verify", folder, "--checkpoint", text(&file)], &[no_note]);
    says(&["cdr", folder, "--keys", text(&file)], &["AST-V006: ", "it is no folder of keys"]);
    std::fs::write(campaign.path().join("import-one.key"), hex::encode([3; 32])).unwrap();
    let foreign = "it does not open the contacts of its import; it is another fleet's";
    says(&["cdr", folder, "--keys", folder], &["AST-V006: ", "import-one.key", foreign]);
    let (_, counted, _) = program(&["stats", folder, "--json"]);
    let events = serde_json::from_str::<Value>(&counted).unwrap()["events"].as_u64().unwrap();
    let past = (events + 1).to_string();
    let said = format!(
        "AST-V002: the log has {events} sealed events, {past} is past its end; ask for at most {events}\n"
    );
    assert_eq!(program(&["state", folder, "--at", &past]), (1, String::new(), said));
}

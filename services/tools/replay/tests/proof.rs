//! Proof files: made from a log, checked with nothing else, and good for what was not changed only.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use asterism_event_log::Copy;
use asterism_event_log::testkit::{FLEET, Script, checkpoint};
use asterism_replay::proof::{Claim, ProofFile, check};
use serde_json::Value;
use support::{LEDGER, campaign, done, program, sealed};

/// The campaign with three checkpoints (at 22, 24 and 69) and more events than two frames hold.
fn history() -> Script {
    let mut script = campaign();
    for round in 0..3 {
        let event = checkpoint(&script.sequencer);
        script.write(LEDGER, vec![event]);
        if round == 0 {
            support::write(&mut script, support::NODE, &support::load());
        } else {
            script.write(support::NODE, (0..44).map(|_| support::encode(&support::load(), "")).collect());
        }
    }
    script
}

fn prove(folder: &Path, arguments: &[&str]) -> String {
    done("prove", folder, arguments)
}

fn check_text(text: &str) -> Result<check::Proved, String> {
    ProofFile::from_text(text).and_then(|file| check::check(&file, None))
}

#[test]
fn an_event_is_proved_to_a_stranger_with_the_file_alone() {
    let script = history();
    let folder = sealed(&script);
    let file = folder.path().join("event.json");
    let told = prove(folder.path(), &["20", "--out", file.to_str().unwrap()]);
    assert!(told.starts_with("written to "), "{told}");
    let (anchor, alone) = (hex::encode(script.sequencer.anchor().unwrap()), tempfile::tempdir().unwrap());
    let moved = alone.path().join("event.json");
    std::fs::rename(&file, &moved).unwrap();
    drop(folder);
    let check = |more: &[&str]| program(&[&["check-proof", moved.to_str().unwrap()], more].concat());
    let (status, told, _) = check(&[]);
    assert_eq!((status, told.as_str()), (0, include_str!("golden/proof-event.txt")));
    let (status, told, _) = check(&["--anchor", &anchor]);
    assert!(status == 0 && told.contains("(as given)") && !told.contains("no --anchor"), "{told}");
    let (status, told, problem) = check(&["--anchor", &"ab".repeat(32)]);
    assert!(status == 1 && told.is_empty(), "{told}");
    assert!(problem.contains("AST-V008") && problem.contains(&format!("anchor is {anchor}")), "{problem}");
    let (status, told, _) = check(&["--anchor", &"ab".repeat(32), "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["proof_ok"]), (1, &Value::Bool(false)));
    let (_, told, _) = check(&["--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["proof_ok"], &told["event"]["position"], &told["size"]),
        (&true.into(), &20.into(), &69.into())
    );
}

#[test]
fn every_event_under_every_checkpoint_that_covers_it() {
    let script = history();
    let folder = sealed(&script);
    for (size, step) in [(22_u64, 1), (24, 7), (69, 5)] {
        for position in (0..size).step_by(step) {
            let text = prove(folder.path(), &[&position.to_string(), "--at", &size.to_string()]);
            let proved = check_text(&text).unwrap_or_else(|why| panic!("{position} of {size}: {why}"));
            assert_eq!((proved.event.unwrap().position, proved.size), (position, size));
        }
    }
    // By its id, as export spells it.
    let proved = check_text(&prove(folder.path(), &["20"])).unwrap();
    let id = proved.event.as_ref().unwrap().id.clone();
    assert!(id.starts_with("node/i-1.0e0e0e0e"), "{id}");
    assert_eq!(check_text(&prove(folder.path(), &[&id])).unwrap(), proved);
}

/// By the tiles, and without them by reading all: the same file. A tile that lies is not believed.
#[test]
fn a_proof_is_the_same_whether_the_tiles_had_it_or_the_whole_log() {
    let script = history();
    let folder = sealed(&script);
    let asked: Vec<Vec<String>> = [0_u64, 9, 20, 21, 40, 68]
        .into_iter()
        .flat_map(|position| {
            let under = if position < 22 { "22" } else { "69" };
            [vec![position.to_string()], vec![position.to_string(), "--at".into(), under.into()]]
        })
        .collect();
    let ask = || -> Vec<String> {
        let words =
            |asked: &Vec<String>| prove(folder.path(), &asked.iter().map(String::as_str).collect::<Vec<_>>());
        asked.iter().map(words).collect()
    };
    let by_tiles = ask();
    let tile = folder.path().join(format!("tile/0/000.p/{}", script.sequencer.size()));
    let mut bytes = std::fs::read(&tile).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    std::fs::write(&tile, bytes).unwrap();
    assert!(ask() == by_tiles, "a tile of lies");
    std::fs::remove_dir_all(folder.path().join("tile")).unwrap();
    assert!(ask() == by_tiles, "no tiles");
}

/// What a proof does not need is not read: it holds although the rest of the folder is damaged.
#[test]
fn a_proof_is_made_of_what_it_needs() {
    let script = history();
    let folder = tempfile::tempdir().unwrap();
    let mut copy = Copy::open(folder.path(), FLEET, None, |_| {}).unwrap().copy;
    for frame in &script.accepted {
        copy.append(frame).unwrap();
        if frame.end() == 25 {
            copy.seal().unwrap().unwrap();
        }
    }
    let last = copy.seal().unwrap().unwrap();
    let whole = prove(folder.path(), &["20", "--at", "22"]);
    let mut bytes = std::fs::read(&last.path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&last.path, bytes).unwrap();
    assert_eq!(prove(folder.path(), &["20", "--at", "22"]), whole);
    let (status, _, problem) = program(&["prove", folder.path().to_str().unwrap(), "30"]);
    assert!(status == 1 && problem.contains("AST-L"), "{problem}");
}

#[test]
fn a_longer_log_is_proved_to_begin_with_a_shorter_one() {
    let script = history();
    let folder = sealed(&script);
    let text = prove(folder.path(), &["--consistency", "22", "newest"]);
    let proved = check_text(&text).unwrap();
    assert_eq!((proved.old.map(|old| old.0), proved.size), (Some(22), 69));
    assert!(proved.proved[0].contains("of size 69 begins with the one of size 22, event for event"));
    for (old, new) in [("22", "22"), ("22", "24"), ("24", "69")] {
        check_text(&prove(folder.path(), &["--consistency", old, new])).unwrap();
    }
    let (status, _, problem) =
        program(&["prove", folder.path().to_str().unwrap(), "--consistency", "69", "22"]);
    assert!(status == 1 && problem.contains("AST-V007") && problem.contains("older one first"), "{problem}");
}

#[test]
fn what_cannot_be_proved_says_why_and_what_to_ask() {
    let script = history();
    let folder = sealed(&script);
    let ask = |arguments: &[&str]| {
        let (status, _, problem) =
            program(&[&["prove", folder.path().to_str().unwrap()], arguments].concat());
        assert_eq!(status, 1, "{problem}");
        problem
    };
    let last = (script.sequencer.size() - 1).to_string();
    assert!(ask(&[&last]).contains("the checkpoint of size 69 does not cover it"));
    assert!(ask(&["3", "--at", "23"]).contains("no checkpoint has size 23; ask for 22 or 24"));
    let range = format!(
        "AST-V014: the log has {} sealed events, #0 to #{last}, and no #900",
        script.sequencer.size()
    );
    assert!(ask(&["900"]).contains(&range));
    assert!(ask(&[&format!("node/i-1.{}.1.0", "00".repeat(16))]).contains("does not have it"));
    let none = sealed(&campaign());
    let (_, _, problem) = program(&["prove", none.path().to_str().unwrap(), "3"]);
    assert!(problem.contains("has no checkpoint"), "{problem}");
    let there = folder.path().join("there");
    std::fs::write(&there, "x").unwrap();
    assert!(ask(&["3", "--out", there.to_str().unwrap()]).contains("AST-V006"));
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "x");
}

#[test]
fn no_byte_of_a_proof_file_can_be_changed() {
    let script = history();
    let folder = sealed(&script);
    let files: [&[&str]; 4] = [&["20"], &["40"], &["13"], &["--consistency", "22", "69"]];
    let mut refused = 0;
    for arguments in files {
        let text = prove(folder.path(), arguments);
        check_text(&text).unwrap();
        for at in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            // A digit that stays one: what a forger would write. Others: any other letter.
            bent[at] = match bent[at] {
                b'0'..=b'8' | b'a'..=b'e' => bent[at] + 1,
                b'9' => b'8',
                b'f' => b'e',
                other => other ^ 1,
            };
            let Ok(bent) = String::from_utf8(bent) else { continue };
            let answer = check_text(&bent);
            assert!(answer.is_err(), "byte {at} of {arguments:?} went unnoticed: {answer:?}\n{bent}");
            refused += 1;
        }
        for bent in [
            format!("{text} "),
            text.replace("  ", " "),
            text.replace('a', "A"),
            text[..text.len() - 1].into(),
        ] {
            assert!(check_text(&bent).is_err());
        }
    }
    assert!(refused > 10_000, "only {refused} bytes were tried");
}

#[test]
fn parts_of_true_proofs_make_no_new_one() {
    let script = history();
    let folder = sealed(&script);
    let file = |arguments: &[&str]| ProofFile::from_text(&prove(folder.path(), arguments)).unwrap();
    let why = |file: &ProofFile| check::check(file, None).unwrap_err();
    let (call, dialled, older) = (file(&["20"]), file(&["15"]), file(&["20", "--at", "22"]));
    let parts = |file: &ProofFile| match file.claim.clone() {
        Claim::Inclusion { checkpoint, event, admission } => (checkpoint, event, admission),
        Claim::Consistency { .. } => panic!("no inclusion"),
    };
    let with = |file: &ProofFile, claim| ProofFile { claim, ..file.clone() };
    let ((checkpoint, event, admission), (_, order_event, none)) = (parts(&call), parts(&dialled));
    assert!(none.is_none() && admission.is_some());
    let swap =
        |checkpoint, event, admission| why(&with(&call, Claim::Inclusion { checkpoint, event, admission }));
    assert!(swap(parts(&older).0, event.clone(), admission.clone()).contains("not in the log"));
    assert!(swap(checkpoint.clone(), event.clone(), None).contains("admission of node i-1 is missing"));
    assert!(swap(checkpoint.clone(), order_event, admission.clone()).contains("no node's"));
    assert!(swap(checkpoint.clone(), event.clone(), Some(event.clone())).contains("not the scaler's"));
    assert!(swap(event.signed.clone(), event.clone(), admission).contains("not the ledger's checkpoint"));
    // Another node's admission is no licence for this one.
    let other = file(&["4"]);
    let other = parts(&other).1;
    assert!(swap(checkpoint, event, Some(other)).contains("not the one the event was written under"));
}

//! Kill and reopen at each step: what was synced is there, and nothing is there twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use asterism_proto::{Origin, OriginKey};

use super::*;
use crate::machine::{Attempt, Fields, Number, Past, Phase, Spoken, Talk, Verdict, Watch, past_key};
use crate::spool::{Signer, Spool};

fn attempt(phase: Phase) -> Attempt {
    Attempt {
        campaign: "c".into(),
        flow: "f".into(),
        manifest: "m".into(),
        trunk: "t".into(),
        caller_id: Number::default(),
        number: Number("+15550100001".into()),
        fallback: "hangup|16".into(),
        fields: Fields::default(),
        not_before_ms: 1,
        not_after_ms: 2,
        ring_timeout_ms: 3,
        phase,
        boot_id: "b".into(),
        originated_ms: 4,
        answered_ms: 5,
        talk: Talk {
            state: "menu".into(),
            digits: "12".into(),
            step: 3,
            line: "x".into(),
            ..Talk::default()
        },
        detect_machine: true,
        spoken: Spoken::default(),
        hold_s: 30,
        may_bridge: true,
        judged: Some(crate::dialplan::Listened::Machine),
        hangup_asked: true,
        watch: Watch::default(),
    }
}

fn signer() -> Signer {
    Signer {
        fleet: "f".into(),
        origin: Origin::Node("i-1".into()),
        epoch: [5; 16],
        key: OriginKey::from_entropy([3; 32]),
    }
}

#[test]
fn what_was_written_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let changes = [
        Change::PutAttempt("a".into(), Box::new(attempt(Phase::Answered))),
        Change::PutAttempt("b".into(), Box::new(attempt(Phase::Accepted))),
        Change::DropAttempt("b".into()),
        Change::PutPast(past_key("b"), Past { verdict: Verdict::Ended, at_ms: 9, refused: Some(1) }),
        Change::PutTerm("dialer".into(), 7),
        Change::PutDrain(Drain { number: 2, on: true, empty_said: false }),
        Change::PutReady(Some("boot".into())),
        Change::PutManifest("m".into()),
    ];
    {
        let (store, loaded) = Store::open(dir.path(), [1; 16]).unwrap();
        assert_eq!(loaded.epoch, [1; 16]);
        for change in changes {
            store.apply(&StoreChange::Machine(change)).unwrap();
        }
        store.sync().unwrap();
    }
    let (_, loaded) = Store::open(dir.path(), [2; 16]).unwrap();
    assert_eq!(loaded.epoch, [1; 16], "the epoch is born with the store");
    let machine = loaded.machine;
    assert_eq!(
        machine.attempts.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), attempt(Phase::Answered))]
    );
    assert_eq!(machine.past[&past_key("b")], Past { verdict: Verdict::Ended, at_ms: 9, refused: Some(1) });
    assert_eq!(machine.terms["dialer"], 7);
    assert_eq!(machine.drain, Drain { number: 2, on: true, empty_said: false });
    assert_eq!(machine.ready.as_deref(), Some("boot"));
    assert!(machine.manifests.contains("m"));
}

#[test]
fn a_fact_is_waiting_or_framed_but_never_both_or_neither() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(1 << 20, SavedSpool::default());
    let facts: Vec<SpoolChange> =
        (0..3_u8).map(|n| spool.push(vec![n], u64::from(n), false).unwrap()).collect();
    let frame = spool.cut(&signer()).unwrap().unwrap();
    let SpoolChange::PutFrame { number: 1, held, bytes } = frame.clone() else { panic!() };
    let open = || Store::open(dir.path(), [1; 16]).unwrap();
    for fact in facts {
        let (store, _) = open();
        store.apply(&StoreChange::Spool(fact)).unwrap();
        store.sync().unwrap();
    }
    {
        let (store, loaded) = open();
        assert_eq!(loaded.spool.facts.len(), 3);
        // A crash after the frame's own insert and before the facts went out.
        store.frames.put(1, held, &bytes).unwrap();
        store.sync().unwrap();
    }
    {
        let (store, loaded) = open();
        assert!(loaded.spool.facts.is_empty(), "they are in the frame");
        assert_eq!((loaded.spool.last_number, loaded.spool.last_framed), (1, 3));
        assert_eq!(store.frame(1).unwrap().unwrap(), bytes);
        store.apply(&StoreChange::Spool(frame)).unwrap();
        store.apply(&StoreChange::Spool(SpoolChange::DropFrames(1))).unwrap();
        store.sync().unwrap();
    }
    let (store, loaded) = open();
    assert!(loaded.spool.frames.is_empty() && loaded.spool.facts.is_empty());
    assert_eq!((loaded.spool.last_number, loaded.spool.last_framed), (1, 3), "numbers are never given twice");
    assert_eq!(store.frame(1).unwrap(), None);
}

/// Run by the test below in a process of its own, which it kills.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os("ASTERISM_TEST_STORE_CHILD") else { return };
    let (store, loaded) = Store::open(Path::new(&dir), [1; 16]).unwrap();
    let (mut committer, mut reports) = Committer::start(store).unwrap();
    let first = loaded.machine.attempts.len() as u64;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in first.. {
        let put =
            |id: String| StoreChange::Machine(Change::PutAttempt(id, Box::new(attempt(Phase::Accepted))));
        // Every other one is acknowledged when it is written ahead, long before it is synced.
        let awaited = n % 2 == 0;
        committer
            .commit(Commit { changes: vec![put(format!("{n:08}"))], then: awaited.then_some(n) })
            .unwrap();
        if awaited {
            assert_eq!(runtime.block_on(reports.recv()).unwrap().unwrap(), [n]);
        }
        std::fs::write(Path::new(&dir).join("../acknowledged"), n.to_string()).unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("store");
    let acknowledged = dir.path().join("acknowledged");
    let mut floor = 0_u64;
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_writes_until_it_is_killed"])
            .env("ASTERISM_TEST_STORE_CHILD", &store_dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let goal = floor + 5 + round * 7;
        let read =
            || std::fs::read_to_string(&acknowledged).ok().and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
        while read() < goal {
            assert!(std::time::Instant::now() < deadline, "the child wrote only up to {}", read());
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        floor = read();
        let (store, loaded) = Store::open(&store_dir, [9; 16]).unwrap();
        assert_eq!(loaded.epoch, [1; 16]);
        assert!(loaded.machine.attempts.len() as u64 > floor, "{} of {floor}", loaded.machine.attempts.len());
        drop(store);
    }
}

#[test]
fn a_damaged_store_is_an_error_with_a_code_and_no_panic() {
    let write = |path: &Path| {
        let (store, _) = Store::open(path, [1; 16]).unwrap();
        for n in 0..200_u64 {
            let put = Change::PutAttempt(format!("{n}"), Box::new(attempt(Phase::Accepted)));
            store.apply(&StoreChange::Machine(put)).unwrap();
        }
        store.sync().unwrap();
    };
    let damages: [fn(&mut Vec<u8>); 2] = [Vec::clear, |db| db.iter_mut().for_each(|byte| *byte ^= 0x55)];
    for damage in damages {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        write(&path);
        for entry in std::fs::read_dir(&path).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let mut db = std::fs::read(path.join("db")).unwrap();
        damage(&mut db);
        std::fs::write(path.join("db"), db).unwrap();
        let error = Store::open(&path, [1; 16]).err().expect("a damaged store was taken");
        assert!(error.to_string().starts_with("AST-A003"), "{error}");
    }
}

//! EIO and ENOSPC from the system calls that make things durable: the copy says so and takes nothing more.
//!
//! The child arms a seccomp filter, by which the kernel itself refuses `sync_file_range` (sled's flush), `fdatasync`
//! (the segment, HEAD) or `fsync` (sealed files, folders) from a moment on. Whatever was durable before still is.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use asterism_event_log::segment::Backend;
use asterism_event_log::testkit::{FLEET, Script};
use asterism_event_log::{Copy, Error};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};
use support::{BACKENDS, Moment, Running, Telling, backend_of, judge, keep, kept, named, open, say};

type Case<'a> = (&'a str, i64, &'a [&'a str], &'a [Backend], &'a str);

/// When a call begins to fail, which one, for files of which names, on which backends that is to be seen, and what the
/// copy says it was doing.
const CASES: [Case<'_>; 7] = [
    // sled's own flush
    ("sync", libc::SYS_sync_file_range, &["/db"], &[Backend::Sled], "flushing the segment"),
    // our fdatasync of the segment
    ("sync", libc::SYS_fdatasync, &["/db", "/blocks"], &BACKENDS, "syncing the segment"),
    // the head file's, behind a segment that is synced
    ("head", libc::SYS_fdatasync, &["/HEAD"], &BACKENDS, "writing the head file"),
    // the sealed file's
    ("seal", libc::SYS_fsync, &[".part"], &BACKENDS, "writing a sealed segment"),
    // the folder's, once the sealed file has its name, and a fresh sled's
    ("named", libc::SYS_fsync, &[], &BACKENDS, "ing the "),
    // the head file's once it is sealed
    ("named", libc::SYS_fdatasync, &["/HEAD"], &BACKENDS, "writing the head file"),
    // anything's
    ("seal", libc::SYS_fdatasync, &[], &BACKENDS, "writing "),
];

/// From here on the kernel refuses a call in this process: for the open files of these names, or for all.
fn refuse(call: i64, names: &str, errno: i32) {
    let mut rules = Vec::new();
    for name in names.split(' ').filter(|name| !name.is_empty()) {
        for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
            let path = entry.unwrap().path();
            if std::fs::read_link(&path).is_ok_and(|file| file.to_string_lossy().ends_with(name)) {
                let fd = path.file_name().unwrap().to_string_lossy().parse().unwrap();
                let of_file = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, fd);
                rules.push(SeccompRule::new(vec![of_file.unwrap()]).unwrap());
            }
        }
    }
    assert_eq!(names.is_empty(), rules.is_empty(), "no file called {names} is open");
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter_all_threads(&program).unwrap();
}

/// Writes with the disk at its best, then with a call refused, and says what it was told.
fn run(folder: &Path, script: &Path, backend: &str, case: &str, refuse: impl Fn() + Send + Sync + 'static) {
    let armed = Arc::new(AtomicBool::new(false));
    let told = {
        let (armed, case) = (armed.clone(), case.to_owned());
        move |moment: Moment| {
            let now = matches!(
                (moment, case.as_str()),
                (Moment::Sync, "sync")
                    | (Moment::Synced, "head")
                    | (Moment::Scan, "seal")
                    | (Moment::Open, "named")
            );
            if now && armed.swap(false, Ordering::Relaxed) {
                refuse();
            }
        }
    };
    let stores = Telling { backend: backend_of(backend), told: Arc::new(told) };
    let mut opened = Copy::open_with(folder, FLEET, None, Box::new(stores), |_| {}).unwrap();
    let frames = kept(script);
    let (good, rest) = frames.split_at(40);
    support::write(&mut opened, good, 5);
    say(&format!("durable {}", opened.copy.size()));
    for (bytes, at) in &rest[..5] {
        let frame = judge(&mut opened.sequencer, bytes, *at);
        opened.copy.append(&frame).unwrap();
    }
    let sealing = matches!(case, "seal" | "named");
    if sealing {
        // The commit is through; what fails is sealing.
        opened.copy.commit(opened.sequencer.root()).unwrap();
        say(&format!("durable {}", opened.copy.size()));
    }
    armed.store(true, Ordering::Relaxed);
    let refused = if sealing {
        opened.copy.seal().map(|_| ())
    } else {
        opened.copy.commit(opened.sequencer.root()).map(|_| ())
    };
    let code = |result: Result<(), Error>| result.map_or_else(|error| error.code(), |()| "nothing");
    say(&format!("refused {}", refused.map_or_else(|error| error.to_string(), |()| "nothing".to_owned())));
    let (bytes, at) = &rest[5];
    let frame = judge(&mut opened.sequencer, bytes, *at);
    let commit = opened.copy.commit(opened.sequencer.root()).map(|_| ());
    let (append, seal) = (opened.copy.append(&frame), opened.copy.seal().map(|_| ()));
    say(&format!("after {} {} {}", code(append), code(commit), code(seal)));
}

/// Run by the test below in a process of its own, since a seccomp filter stays for ever; by itself it checks that
/// nothing fails where nothing is refused.
#[test]
fn the_child_whose_syncs_fail_is_told_nothing_if_they_do_not() {
    let setting = |name: &str| std::env::var(name);
    if let (Ok(folder), Ok(script), Ok(backend), Ok(case)) =
        (setting("SYNC_FOLDER"), setting("SYNC_SCRIPT"), setting("SYNC_BACKEND"), setting("SYNC_CASE"))
    {
        let number = |name: &str| setting(name).unwrap().parse::<i64>().unwrap();
        let (call, names, errno) =
            (number("SYNC_CALL"), setting("SYNC_FILES").unwrap(), number("SYNC_ERRNO") as i32);
        run(folder.as_ref(), script.as_ref(), &backend, &case, move || refuse(call, &names, errno));
        return;
    }
    // A call that nobody makes.
    let said = said("sled", "sync", libc::SYS_swapoff, "", libc::EIO).0;
    assert!(said.contains(&"refused nothing".to_owned()), "{said:?}");
}

/// Runs a child and returns what it said, and its folder.
fn said(backend: &str, case: &str, call: i64, files: &str, errno: i32) -> (Vec<String>, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("script");
    keep(&Script::with_frames(60), &script);
    let settings = [
        ("SYNC_FOLDER", home.path().join("log").to_str().unwrap().to_owned()),
        ("SYNC_SCRIPT", script.to_str().unwrap().to_owned()),
        ("SYNC_BACKEND", backend.to_owned()),
        ("SYNC_CASE", case.to_owned()),
        ("SYNC_CALL", call.to_string()),
        ("SYNC_FILES", files.to_owned()),
        ("SYNC_ERRNO", errno.to_string()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut running = Running::start("the_child_whose_syncs_fail_is_told_nothing_if_they_do_not", &settings);
    let lines: Vec<String> = running.lines.by_ref().map(Result::unwrap).collect();
    assert!(running.child.wait().unwrap().success(), "{backend} {case} {call}: {lines:?}");
    (lines, home)
}

#[test]
fn any_failing_sync_stops_the_copy_and_loses_nothing_that_was_durable() {
    let script = Script::with_frames(60);
    for (errno, code) in [(libc::EIO, "AST-L005"), (libc::ENOSPC, "AST-L004")] {
        for (case, call, files, backends, doing) in CASES {
            for backend in backends {
                // The name that is open in this backend.
                let of = |file: &&&str| **file != ["/blocks", "/db"][usize::from(*backend == Backend::File)];
                let files: Vec<&str> = files.iter().filter(of).copied().collect();
                let (lines, home) = said(named(*backend), case, call, &files.join(" "), errno);
                let what = format!("{} {case} {call} {files:?} {code}: {lines:?}", named(*backend));
                let refused = lines.iter().find_map(|line| line.strip_prefix("refused ")).unwrap();
                assert!(refused.starts_with(code) && refused.contains(doing), "{what}");
                assert!(lines.contains(&"after AST-L013 AST-L013 AST-L013".to_owned()), "{what}");
                let durable = lines.iter().filter_map(|line| line.strip_prefix("durable ")).next_back();
                let durable: u64 = durable.unwrap().parse().unwrap();
                assert!(durable > 40, "{what}");
                let (mut opened, replayed) = open(&home.path().join("log"), *backend);
                assert!(replayed == script.accepted[..replayed.len()], "{what}");
                assert!(opened.copy.size() >= durable, "{what}: {} left", opened.copy.size());
                assert_eq!(opened.repaired, None, "{what}");
                support::write(&mut opened, &script.frames[replayed.len()..], 5);
                assert_eq!(opened.sequencer.root(), script.sequencer.root(), "{what}");
            }
        }
    }
}

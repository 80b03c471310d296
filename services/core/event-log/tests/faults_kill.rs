//! `kill -9` at random points under load: whatever was said to be durable is, with the same root, and the copy goes on.
//!
//! The child appends a script, commits and seals, and says on its standard error what it is about to do and what is
//! durable. The parent kills it when it says a chosen thing for the nth time, reopens the folder and checks it. Both
//! backends take turns.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use asterism_event_log::testkit::{FLEET, Script};
use asterism_event_log::{AcceptedFrame, Copy};
use asterism_proto::hash::Hash;
use support::{
    BACKENDS, Dice, Moment, Running, Telling, backend_of, judge, keep, kept, named, open, say, share,
};

/// Frames of the whole script: a folder takes several kills.
const FRAMES: u64 = 700;
/// A folder is begun anew once it has this many frames.
const FRAMES_FULL: usize = 550;
/// What the child can be doing when it is killed, and at the latest at which time of it.
const PHASES: [(&str, u64); 5] = [("append", 500), ("sync", 30), ("head", 30), ("seal", 3), ("open", 2)];

/// Where a child is to stay until it is killed: else it may be further by the time the parent has heard of it.
fn stays_at() -> Option<(String, u64)> {
    let setting = std::env::var("KILL_STAY").ok()?;
    let (phase, nth) = setting.split_once(' ')?;
    Some((phase.to_owned(), nth.parse().ok()?))
}

/// Appends the script from where the folder ends: a commit after every 6 frames, a seal after every 60.
fn append_all(folder: &Path, script: &Path, backend: &str) -> (u64, Hash) {
    let sealing = Arc::new(AtomicBool::new(false));
    let told = {
        let (sealing, stay, times) = (sealing.clone(), stays_at(), AtomicU64::new(0));
        move |moment: Moment| {
            let doing = match moment {
                _ if sealing.load(Ordering::Relaxed) => "seal",
                Moment::Open | Moment::Scan => "open",
                Moment::Append => "append",
                Moment::Sync => "sync",
                Moment::Synced => "head",
            };
            say(doing);
            let Some((_, nth)) = stay.as_ref().filter(|(phase, _)| phase == doing) else { return };
            while times.fetch_add(1, Ordering::Relaxed) + 1 == *nth {
                // Until it is killed; a wake-up for nothing does not let it go on.
                times.fetch_sub(1, Ordering::Relaxed);
                std::thread::park();
            }
        }
    };
    let stores = Telling { backend: backend_of(backend), told: Arc::new(told) };
    let mut have = 0;
    let mut opened = Copy::open_with(folder, FLEET, None, Box::new(stores), |_| have += 1).unwrap();
    for (index, (bytes, at)) in kept(script).into_iter().enumerate().skip(have) {
        let frame = judge(&mut opened.sequencer, &bytes, at);
        opened.copy.append(&frame).unwrap();
        if index % 6 == 5 {
            let root = opened.sequencer.root();
            let durable = opened.copy.commit(root).unwrap();
            say(&format!("durable {} {}", durable.size, hex::encode(root)));
        }
        if index % 60 == 59 {
            sealing.store(true, Ordering::Relaxed);
            say("seal");
            opened.copy.seal().unwrap();
            sealing.store(false, Ordering::Relaxed);
        }
    }
    let root = opened.sequencer.root();
    (opened.copy.commit(root).unwrap().size, root)
}

/// Run by the tests below in a process of its own; by itself it checks that nobody needs to be killed for a whole log.
#[test]
fn the_child_that_is_killed_writes_a_whole_log_if_it_is_not() {
    let setting = |name: &str| std::env::var(name);
    if let (Ok(folder), Ok(script), Ok(backend)) =
        (setting("KILL_FOLDER"), setting("KILL_SCRIPT"), setting("KILL_BACKEND"))
    {
        append_all(folder.as_ref(), script.as_ref(), &backend);
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let script = Script::with_frames(90);
    keep(&script, &home.path().join("script"));
    for backend in BACKENDS {
        let folder = home.path().join(named(backend));
        let done = append_all(&folder, &home.path().join("script"), named(backend));
        assert_eq!(done, (script.sequencer.size(), script.sequencer.root()));
        assert_eq!(open(&folder, backend).1, script.accepted);
    }
}

/// What became of a child.
struct Ended {
    /// What it was doing.
    phase: String,
    /// Sizes and roots it said to be durable.
    durable: Vec<(u64, String)>,
    /// Whether it was killed before it was through.
    killed: bool,
}

/// Starts a child and kills it when it does something for the nth time.
fn kill_when(settings: &[(&str, &str)], phase: &str, nth: u64) -> Ended {
    let mut running = Running::start("the_child_that_is_killed_writes_a_whole_log_if_it_is_not", settings);
    let mut ended = Ended { phase: String::new(), durable: Vec::new(), killed: false };
    let mut times = 0;
    while let Some(Ok(line)) = running.lines.next() {
        if let Some((size, root)) = line.strip_prefix("durable ").and_then(|said| said.split_once(' ')) {
            ended.durable.push((size.parse().unwrap(), root.to_owned()));
        } else if PHASES.iter().any(|(name, _)| *name == line) {
            times += u64::from(line == phase);
            ended.phase = line;
            if times == nth {
                // SIGKILL; what it still said is read until the pipe ends.
                let _ = running.child.kill();
            }
        } else {
            say(&line);
        }
    }
    let status = running.child.wait().unwrap();
    ended.killed = status.code().is_none();
    assert!(ended.killed || status.success(), "the child failed by itself: {status}");
    ended
}

/// Reopens a folder after a kill, checks it, and goes on with one more commit. Returns how many frames it has.
fn check(folder: &Path, script: &Script, backend: &str, ended: &Ended, what: &str) -> usize {
    let (mut opened, replayed): (_, Vec<AcceptedFrame>) = open(folder, backend_of(backend));
    assert!(replayed == script.accepted[..replayed.len()], "{what}: not the frames that were written");
    assert_eq!(opened.repaired, None, "{what}");
    for (size, root) in &ended.durable {
        assert!(opened.copy.size() >= *size, "{what}: {size} were durable, {} are", opened.copy.size());
        let ours = opened.sequencer.root_at(*size).map(hex::encode);
        assert_eq!(ours.as_ref(), Some(root), "{what}: at size {size}");
    }
    let have = replayed.len();
    support::write(&mut opened, &script.frames[have..(have + 2).min(script.frames.len())], 6);
    (have + 2).min(script.frames.len())
}

#[test]
fn a_kill_at_any_point_loses_nothing_that_was_durable() {
    let kills = share(200);
    let mut dice = Dice::thrown("kill");
    let home = tempfile::tempdir().unwrap();
    let script = Script::with_frames(FRAMES);
    let script_file = home.path().join("script");
    keep(&script, &script_file);
    let mut hits: BTreeMap<(String, &str), u64> = BTreeMap::new();
    let (mut done, mut round) = (0, 0);
    // Go on until each phase was hit on either backend.
    while done < kills || hits.len() < PHASES.len() * BACKENDS.len() {
        assert!(round < 3 * kills + 100, "after {round} children only these kills: {hits:?}");
        let backend = named(BACKENDS[(round % 2) as usize]);
        let (phase, most) = PHASES[(round / 2 % 5) as usize];
        let nth = 1 + dice.below(most);
        let folder = home.path().join(backend);
        let stay = format!("{phase} {nth}");
        let mut settings = vec![
            ("KILL_FOLDER", folder.to_str().unwrap()),
            ("KILL_SCRIPT", script_file.to_str().unwrap()),
            ("KILL_BACKEND", backend),
        ];
        // Half of them die exactly where they are meant to, the others somewhere behind it.
        if round / 10 % 2 == 0 {
            settings.push(("KILL_STAY", &stay));
        }
        let ended = kill_when(&settings, phase, nth);
        let what = format!("round {round}, {backend}, killed at {phase} {nth} while at {}", ended.phase);
        let frames = check(&folder, &script, backend, &ended, &what);
        if ended.killed {
            done += 1;
            *hits.entry((ended.phase, backend)).or_default() += 1;
        }
        if frames > FRAMES_FULL {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        round += 1;
    }
    say(&format!("kill: {done} kills: {hits:?}"));
}

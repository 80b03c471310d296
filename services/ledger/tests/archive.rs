//! The archive: what the ledger stores, that it goes on after a kill, and that it never writes over another's work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::Envelope;
use asterism_event_log::LogFolder;
use asterism_ledger::{LedgerConfig, Retention, run, run_with};
use asterism_nats::stream;
use asterism_proto::Role;
use asterism_runtime::archive::{Archive, Segment, holes};
use asterism_runtime::commit::Term;
use asterism_runtime::health::Health;
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;
use asterism_runtime::testkit::{FLEET, Fixture, within};

/// The pause of a poll.
const POLL: Duration = Duration::from_millis(20);

fn url(fixture: &Fixture) -> String {
    format!("file://{}", fixture.dir.path().join("archive").display())
}

fn config(fixture: &Fixture, seal_every_ms: u64) -> LedgerConfig {
    let archive = Some(url(fixture));
    LedgerConfig { checkpoint_every_ms: 200, archive, seal_every_ms, ..LedgerConfig::default() }
}

async fn archive(fixture: &Fixture) -> Archive {
    let log_key = fixture.keyring.log_key().unwrap();
    Archive::open(&url(fixture), FLEET, fixture.keyring.anchor(), log_key).await.unwrap()
}

/// Events of a role that leads.
async fn write(deps: &Deps, term: &mut Term, events: u64) {
    for _ in 0..events {
        let event = Event::LaunchIntended {
            intent: format!("{}-{}", term.number(), deps.log.read(|state| state.size)),
            reason: "test".to_owned(),
            instance_type: "sim".to_owned(),
        };
        within("a commit", term.commit(&[event], &Envelope::default())).await.unwrap();
    }
}

async fn elect(deps: &Deps) -> Term {
    let key = deps.key(Role::Scaler).unwrap();
    within("an election", Term::elect(&deps.log, Role::Scaler, &key, "test")).await.unwrap()
}

/// Waits until the log says that this much is archived.
async fn archived(deps: &Deps, size: u64) {
    let mut head = deps.log.head();
    within("the archive", async {
        while deps.log.read(|state| state.archived) < size {
            head.changed().await.unwrap();
        }
    })
    .await;
}

/// Fetches all of it and reads it as an auditor does: every note, every hash, every signature.
async fn audit(fixture: &Fixture, name: &str) -> (Vec<Segment>, u64) {
    let (archive, folder) = (archive(fixture).await, fixture.dir.path().join(name));
    std::fs::create_dir(&folder).unwrap();
    let segments = archive.segments().await.unwrap();
    assert_eq!(holes(&segments), []);
    assert_eq!(archive.chain_from(0).await.unwrap(), segments);
    for segment in &segments {
        archive.check_note(segment).await.unwrap();
        archive.fetch(segment, &folder).await.unwrap();
    }
    let mut frames = LogFolder::open(&folder, Some(fixture.keyring.anchor())).unwrap().frames();
    for frame in frames.by_ref() {
        frame.unwrap();
    }
    let sequencer = frames.sequencer();
    let (head, _) = archive.note_at(sequencer.size()).await.unwrap().unwrap();
    assert_eq!(head.root, sequencer.root());
    assert_eq!(sequencer.checkpoint_counts().differed, 0);
    (segments, sequencer.size())
}

#[tokio::test]
async fn what_the_ledger_seals_is_archived_signed_and_said_in_the_log() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let health = Health::new("ledger", &["archive"]);
    let ledger = tokio::spawn(run_with(config(&fixture, 100), deps.clone(), Some(health.clone())));
    let mut term = elect(&deps).await;
    for _ in 0..3 {
        write(&deps, &mut term, 20).await;
        let size = deps.log.read(|state| state.size);
        archived(&deps, size).await;
    }
    within("readiness", async {
        while !health.is_ready() {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    // Nobody but the ledger writes: nothing more is sealed, so the log and the archive come to rest.
    let settled = deps.log.read(|state| (state.archived, state.size));
    let (segments, size) = audit(&fixture, "fetched").await;
    assert!(segments.len() >= 3 && size >= 60);
    tokio::time::sleep(Duration::from_millis(500)).await; // five times the interval of seals
    let (after, _) = audit(&fixture, "again").await;
    assert!(
        after.len() <= segments.len() + 1,
        "{} segments, {} before, {settled:?}",
        after.len(),
        segments.len()
    );

    // Each is in the log with its hash.
    let mut said = Vec::new();
    deps.log.seal().await.unwrap();
    for frame in LogFolder::open(deps.log.folder(), None).unwrap().frames() {
        let frame = frame.unwrap();
        for index in 0..frame.frame.events.len() as u32 {
            let sequence = frame.first + u64::from(index);
            let recorded = asterism_domain::wire::recorded(&frame.frame, index, sequence, 0).unwrap();
            if let Event::SegmentArchived { first, end, sha256, size_bytes, .. } = recorded.event {
                said.push((first, end, hex::encode(sha256), size_bytes));
            }
        }
    }
    let stored = after.iter().map(|s| (s.first, s.end, s.sha256.clone(), s.size_bytes));
    assert!(said.len() >= 3 && stored.zip(&said).all(|(stored, said)| stored == *said));
    deps.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_ledger_killed_at_any_moment_leaves_one_chain_that_another_goes_on_with() {
    let fixture = Fixture::start().await;
    let sets = ["ledger.seal_every_ms=1000".to_owned(), format!("ledger.archive={}", url(&fixture))];
    let start = || fixture.program_with(env!("CARGO_BIN_EXE_asterism-ledger"), &sets);
    let writer = fixture.process("writer").await;
    let mut term = elect(&writer).await;
    for round in 0..3u64 {
        let mut ledger = start();
        write(&writer, &mut term, 30).await;
        archived(&writer, writer.log.read(|state| state.archived) + 1).await;
        write(&writer, &mut term, 1).await;
        // A moment after the next seal may have begun, another one each time.
        tokio::time::sleep(Duration::from_millis(700 + 250 * round)).await;
        ledger.kill9().await;
        write(&writer, &mut term, 1).await;
    }
    // The last one may have been killed before it signed: whoever comes next does.
    let stored = archive(&fixture).await.segments().await.unwrap();
    // Another machine's ledger: its copy is sealed at other places, or not at all.
    let other = fixture.process("other").await;
    within("the end of the stream", other.log.caught_up()).await;
    let sealed = other.log.seal().await.unwrap();
    assert!(sealed[0].end > stored.last().unwrap().end, "the archive ends inside of its first segment");
    write(&other, &mut elect(&other).await, 10).await;
    let size = other.log.read(|state| state.size);
    let ledger = tokio::spawn(run(config(&fixture, 100), other.clone()));
    archived(&other, size).await;
    let (_, audited) = audit(&fixture, "other").await;
    assert!(audited >= size);
    other.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
}

/// Files below a folder with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn an_archive_that_is_not_this_log_stops_archiving_and_stays_as_it_is() {
    let fixture = Fixture::start().await;
    let first = fixture.process("first").await;
    let ledger = tokio::spawn(run(config(&fixture, 100), first.clone()));
    write(&first, &mut elect(&first).await, 20).await;
    archived(&first, first.log.read(|state| state.size)).await;
    first.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
    // The same keys, another history: a stream made anew by somebody who forgot the log.
    let mut other = Fixture::start().await;
    other.keyring = fixture.keyring.clone();
    let deps = other.process("second").await;
    let health = Health::new("ledger", &["archive"]);
    let config = LedgerConfig { archive: Some(url(&fixture)), ..config(&other, 100) };
    let before = files(&fixture.dir.path().join("archive/log"));
    let shutdown = Shutdown::new();
    let second = Deps { shutdown: shutdown.clone(), ..deps.clone() };
    let ledger = tokio::spawn(run_with(config, second, Some(health.clone())));
    write(&deps, &mut elect(&deps).await, 90).await;
    within("the alarm", async {
        while !health.readiness().checks["archive"].contains("AST-G020") {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    assert_eq!(files(&fixture.dir.path().join("archive/log")), before, "nothing was written");
    assert_eq!(deps.log.read(|state| state.archived), 0);
    shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
}

#[tokio::test]
async fn in_a_fleet_at_rest_what_only_the_ledger_wrote_is_archived_in_time() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let quick = LedgerConfig { tail_after_ms: 1_000, ..config(&fixture, 100) };
    let ledger = tokio::spawn(run(quick, deps.clone()));
    write(&deps, &mut elect(&deps).await, 5).await;
    archived(&deps, deps.log.read(|state| state.size)).await;
    // All that comes from here on is the ledger's own: its checkpoints and what it says of the archive. The first time it
    // may be what was written while the last seal began.
    let mut tail = 0;
    for _ in 0..3 {
        tail = deps.log.read(|state| state.size);
        archived(&deps, tail + 1).await;
    }
    let (_, size) = audit(&fixture, "rest").await;
    assert!(size > tail);
    deps.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_orderly_end_archives_what_was_written_or_says_that_the_store_is_away() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let never = config(&fixture, 3_600_000);
    let ledger = tokio::spawn(run(never.clone(), deps.clone()));
    write(&deps, &mut elect(&deps).await, 30).await;
    deps.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
    // The store is away: a file stands where its folder should.
    let store = fixture.dir.path().join("archive");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::write(&store, b"in the way").unwrap();
    let away = asterism_ledger::archive_at_the_end(&never, &deps).await.unwrap_err();
    assert!(away.to_string().starts_with("AST-B"), "{away}");
    std::fs::remove_file(&store).unwrap();
    let size = deps.log.read(|state| state.size);
    assert_eq!(asterism_ledger::archive_at_the_end(&never, &deps).await.unwrap(), Some(size));
    assert_eq!(audit(&fixture, "end").await.1, size);
    // The program too, when it is told to stop.
    let sets = [format!("ledger.archive={}", url(&fixture))];
    let mut program = fixture.program_with(env!("CARGO_BIN_EXE_asterism-ledger"), &sets);
    let other = fixture.process("other").await;
    write(&other, &mut elect(&other).await, 10).await;
    let size = other.log.read(|state| state.size);
    let mut checkpoint = other.log.head();
    within("a checkpoint of the program", async {
        while other.log.read(|state| state.checkpoint) < size {
            checkpoint.changed().await.unwrap();
        }
    })
    .await;
    assert!(program.terminate().await.success());
    assert!(audit(&fixture, "program").await.1 >= size);
}

#[tokio::test]
async fn with_the_store_away_the_stream_keeps_more_and_the_dialling_is_held_until_it_is_back() {
    let fixture = Fixture::start().await;
    let deps = fixture.process("ledger").await;
    let retention = Retention { look_every_ms: 100, lengthen_after_ms: 1_000 };
    let health = Health::new("ledger", &["archive"]);
    let settings = LedgerConfig { retention, ..config(&fixture, 2_000) };
    let ledger = tokio::spawn(run_with(settings, deps.clone(), Some(health.clone())));
    let mut term = elect(&deps).await;
    write(&deps, &mut term, 5).await;
    archived(&deps, 5).await;
    let (store, aside) = (fixture.dir.path().join("archive"), fixture.dir.path().join("aside"));
    std::fs::rename(&store, &aside).unwrap();
    std::fs::write(&store, b"in the way").unwrap();
    // Half of the stream's 64 MiB, in frames of 44 KB.
    let mut frame = 0;
    within("the hold", async {
        while deps.log.read(|state| state.archive_hold.is_empty()) {
            let event = |part: u64| Event::LaunchIntended {
                intent: format!("{frame}-{part}"),
                reason: "x".repeat(5_500),
                instance_type: "sim".to_owned(),
            };
            let events: Vec<Event> = (0..8).map(event).collect();
            term.commit(&events, &Envelope::default()).await.unwrap();
            frame += 1;
        }
    })
    .await;
    let held = deps.log.read(|state| state.archive_hold.clone());
    assert!(held.contains("of the stream's 64 MiB are not archived"), "{held}");
    assert!(!health.is_ready());
    let day = stream::MAX_AGE;
    let age = async || stream::info(&deps.bus, FLEET).await.unwrap().max_age;
    within("a longer age", async {
        while age().await == day {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    assert_eq!(age().await, day + Duration::from_hours(1), "what waits is a few seconds old");

    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    archived(&deps, deps.log.read(|state| state.archived) + 1).await; // it is tried again ever more seldom
    within("the end of the hold", async {
        while !deps.log.read(|state| state.archive_hold.is_empty()) || age().await != day {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    audit(&fixture, "back").await;
    deps.shutdown.request();
    within("the end", ledger).await.unwrap().unwrap();
}

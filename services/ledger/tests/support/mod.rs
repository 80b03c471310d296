//! Processes of a fleet that lose things, for the stories beside this folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_event_log::LogFolder;
use asterism_ledger::{LedgerConfig, run};
use asterism_nats::stream;
use asterism_proto::Role;
use asterism_proto::hash::Hash;
use asterism_runtime::archive::Archive;
use asterism_runtime::commit::{CommitError, Term};
use asterism_runtime::log::Log;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture, within};
use tokio::task::JoinHandle;

pub fn url(fixture: &Fixture) -> String {
    format!("file://{}", fixture.dir.path().join("archive").display())
}

pub async fn archive(fixture: &Fixture) -> Archive {
    let log_key = fixture.keyring.log_key().unwrap();
    Archive::open(&url(fixture), FLEET, fixture.keyring.anchor(), log_key).await.unwrap()
}

/// A process that restores from the archive.
pub async fn process(fixture: &Fixture, name: &str) -> Deps {
    let archive = archive(fixture).await;
    fixture.process_with(name, Some(&archive)).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A ledger that is quick about everything.
pub fn quick(fixture: &Fixture) -> LedgerConfig {
    LedgerConfig {
        checkpoint_every_ms: 200,
        archive: Some(url(fixture)),
        seal_every_ms: 100,
        ..LedgerConfig::default()
    }
}

/// Runs the ledger on a process.
pub fn lead(fixture: &Fixture, deps: &Deps) -> JoinHandle<Result<(), asterism_ledger::Error>> {
    tokio::spawn(run(quick(fixture), deps.clone()))
}

/// Runs the ledger on a process without an archive.
pub fn lead_alone(fixture: &Fixture, deps: &Deps) -> JoinHandle<Result<(), asterism_ledger::Error>> {
    tokio::spawn(run(LedgerConfig { archive: None, ..quick(fixture) }, deps.clone()))
}

pub async fn elect(deps: &Deps, role: Role) -> Term {
    let key = deps.key(role).unwrap();
    within("an election", async {
        loop {
            match Term::elect(&deps.log, role, &key, &deps.holder).await {
                // Another's election was not read here yet.
                Err(CommitError::Fenced(_)) => tokio::task::yield_now().await,
                elected => return elected.unwrap(),
            }
        }
    })
    .await
}

pub async fn write(term: &mut Term, events: u64) -> u64 {
    let mut size = 0;
    for event in 0..events {
        let event = Event::LaunchIntended {
            intent: format!("{}-{size}-{event}", term.number()),
            reason: "test".to_owned(),
            instance_type: "sim".to_owned(),
        };
        size = within("a commit", term.commit(&[event], &Envelope::default())).await.unwrap();
    }
    size
}

pub async fn archived(deps: &Deps, size: u64) {
    let mut head = deps.log.head();
    within("the archive", async {
        while deps.log.read(|state| state.archived) < size {
            head.changed().await.unwrap();
        }
    })
    .await;
}

/// Waits until a copy has read and may be led from; gives its root at a size.
pub async fn root_at(deps: &Deps, size: u64) -> Hash {
    within("the end of the stream", deps.log.caught_up()).await;
    assert!(deps.log.at_least(size, Duration::from_secs(30)).await, "{:?} of {size}", deps.log);
    let root = deps.log.sequencer(|sequencer, _, _| sequencer.root_at(size));
    root.unwrap_or_else(|| panic!("{} has no frame that ends at {size}", deps.holder))
}

/// What every copy must agree on: brings all to one size, compares root and state.
pub async fn agree(copies: &[&Deps]) {
    let size = copies.iter().map(|deps| deps.log.read(|state| state.size)).max().unwrap();
    for deps in copies {
        assert_eq!(root_at(deps, size).await, root_at(copies[0], size).await, "{}", deps.holder);
        assert_eq!(deps.log.failure().borrow().clone(), None);
    }
}

/// Lets the stream's frames reach their age, as a day would.
pub async fn age_out(fixture: &Fixture, deps: &Deps) {
    let name = stream::info(&deps.bus, FLEET).await.unwrap().name;
    let user = fixture.server.service("age").unwrap();
    let password = std::fs::read_to_string(fixture.server.password_file("service")).unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(
        user.user.unwrap(),
        password.lines().next().unwrap().to_owned(),
    );
    let client = options.custom_inbox_prefix(user.inbox_prefix).connect(&user.url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let set = async |age: Duration, window: Duration| {
        let mut config = context.get_stream(&name).await.unwrap().cached_info().config.clone();
        (config.max_age, config.duplicate_window) = (age, window);
        context.update_stream(config).await.unwrap();
    };
    set(Duration::from_millis(200), Duration::from_millis(200)).await;
    within("the stream's frames to go", async {
        loop {
            let info = stream::info(&deps.bus, FLEET).await.unwrap();
            if info.first_sequence > info.last_sequence {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
        }
    })
    .await;
    set(stream::MAX_AGE, stream::DUPLICATE_WINDOW).await;
}

/// Kills the server, takes its store away, starts it again: nothing of the stream is left.
pub async fn lose_the_stream(fixture: &mut Fixture) {
    fixture.server.kill9();
    std::fs::remove_dir_all(fixture.dir.path().join("nats").join("store")).unwrap();
    within("nats-server", fixture.server.restart()).await.unwrap();
}

/// Every event of a type in the sealed part of a copy.
pub async fn repairs(log: &Log) -> Vec<Event> {
    log.seal().await.unwrap();
    let mut found = Vec::new();
    for frame in LogFolder::open(log.folder(), None).unwrap().frames() {
        let frame = frame.unwrap();
        for index in 0..frame.frame.events.len() as u32 {
            let event = wire::recorded(&frame.frame, index, frame.first, 0).unwrap().event;
            found.extend(Some(event).filter(|event| matches!(event, Event::LogRepaired { .. })));
        }
    }
    found
}

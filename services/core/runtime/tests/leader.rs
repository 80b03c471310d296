//! Leadership over a real nats-server: commits are read back, a rival's higher term shuts the old leader out, a copy
//! reopens to the same state, and a server killed in between loses nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use asterism_domain::campaign::{CampaignCommand, decide};
use asterism_domain::fleet::FleetCommand;
use asterism_domain::wire::Envelope;
use asterism_domain::{Event, State};
use asterism_nats::{Bus, LeaseTiming, NatsServer};
use asterism_proto::Role;
use asterism_runtime::commit::{CommitError, Term};
use asterism_runtime::keys::Keyring;
use asterism_runtime::leader::AskError;
use asterism_runtime::log::{Log, LogConfig, SealAt};
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;

const FLEET: &str = "lab";

async fn server(dir: &Path) -> NatsServer {
    let binary = asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
    NatsServer::start(&binary, &dir.join("nats"), None).await.unwrap()
}

async fn deps(server: &NatsServer, dir: &Path, name: &str) -> Deps {
    let keyring = Keyring::init(&dir.join("keys"), FLEET, 1).unwrap();
    let bus = Bus::connect(&server.service(name).unwrap()).await.unwrap();
    let config = LogConfig {
        fleet: FLEET.into(),
        dir: dir.join(format!("log-{name}")),
        anchor: keyring.anchor(),
        first_frame: keyring.first_frame().to_vec(),
        stream_max_bytes: 64 << 20,
        seal: SealAt::default(),
    };
    let log = Log::open(config, bus.clone()).await.unwrap();
    Deps {
        bus,
        log,
        keyring,
        holder: name.to_owned(),
        lease_timing: LeaseTiming::faster(10),
        shutdown: Shutdown::new(),
    }
}

fn stop(reason: &str) -> FleetCommand {
    FleetCommand::Stop { reason: reason.to_owned() }
}

#[tokio::test]
async fn a_command_is_in_the_log_when_it_is_answered_and_once_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let one = deps(&server, dir.path(), "one").await;
    let desk = one.lead(Role::Scaler, asterism_domain::fleet::decide::decide).unwrap();
    desk.leading().wait_for(Option::is_some).await.unwrap();
    let meta = Envelope { command_id: "cmd-1".into(), actor: "ada".into(), ..Envelope::default() };
    let first = desk.ask(stop("done"), meta.clone()).await.unwrap();
    assert!(one.log.read(|state| state.fleet.stop_requested && state.size == first.position));
    let again = desk.ask(stop("done"), meta).await.unwrap();
    assert_eq!((again.position, again.events), (first.position, Vec::new()));
    let refused = desk.tell(FleetCommand::Drain { node: "i-none".into(), reason: String::new() }).await;
    assert!(matches!(refused, Err(AskError::Rejected(rejection)) if rejection.code == "AST-S005"));
}

#[tokio::test]
async fn a_leader_that_was_stopped_and_woken_commits_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let (one, two) = (deps(&server, dir.path(), "one").await, deps(&server, dir.path(), "two").await);
    let key = one.key(Role::Scaler).unwrap();
    let mut old = Term::elect(&one.log, Role::Scaler, &key, "one").await.unwrap();
    old.commit(&[Event::FleetStopRequested { reason: "first".into() }], &Envelope::default()).await.unwrap();
    let mut new = Term::elect(&two.log, Role::Scaler, &key, "two").await.unwrap();
    assert_eq!((old.number(), new.number()), (1, 2));
    let late = Event::FleetStopRequested { reason: "late".into() };
    let refused = old.commit(std::slice::from_ref(&late), &Envelope::default()).await;
    assert!(matches!(refused, Err(CommitError::Fenced(_))), "{refused:?}");
    let size = new.commit(&[late], &Envelope::default()).await.unwrap();
    assert!(one.log.at_least(size, Duration::from_secs(5)).await);
    let roots = [&one, &two].map(|deps| deps.log.sequencer(|sequencer, _, _| sequencer.root()));
    assert_eq!(roots[0], roots[1]);
    assert_eq!(size, 5, "creation, two elections, one event of each leader and nothing of the fenced one");
}

/// Nothing has told it yet: no other task of this process has run since.
#[tokio::test]
async fn a_process_that_stood_still_leads_nothing_from_its_first_moment_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let one = deps(&server, dir.path(), "one").await;
    let desk = one.lead(Role::Scaler, asterism_domain::fleet::decide::decide).unwrap();
    desk.leading().wait_for(Option::is_some).await.unwrap();
    assert_eq!(desk.term(), Some(1));
    let (stopped, since) = (one.lease_timing.give_up + Duration::from_millis(50), std::time::Instant::now());
    while since.elapsed() < stopped {
        std::hint::spin_loop();
    }
    assert_eq!((*desk.leading().borrow(), desk.term()), (Some(1), None));
    assert!(matches!(desk.tell(stop("late")).await, Err(AskError::NotLeading(Role::Scaler))));
    assert!(!one.log.read(|state| state.fleet.stop_requested));
}

#[tokio::test]
async fn commits_go_on_over_a_killed_server_and_a_reopened_copy_holds_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(dir.path()).await;
    let one = deps(&server, dir.path(), "one").await;
    let desk = one.lead(Role::Dialer, decide).unwrap();
    desk.leading().wait_for(Option::is_some).await.unwrap();
    server.kill9();
    let waiting = {
        let desk = desk.clone();
        tokio::spawn(async move { create(&desk).await })
    };
    server.restart().await.unwrap();
    // Decided while the server was away: nothing is published, so it is a plain rejection, answered at once.
    assert!(matches!(waiting.await.unwrap(), Err(AskError::Rejected(_) | AskError::NotLeading(_))));
    let key = one.key(Role::Scaler).unwrap();
    let mut term = Term::elect(&one.log, Role::Scaler, &key, "one").await.unwrap();
    server.kill9();
    let commit = tokio::spawn(async move {
        let event = Event::FleetStopRequested { reason: "while the server is away".into() };
        term.commit(&[event], &Envelope::default()).await
    });
    server.restart().await.unwrap();
    let size = commit.await.unwrap().unwrap();
    one.log.sync().await.unwrap();
    let (live, live_size) = one.log.read(|state| (state.hash(), state.size));
    assert!(live_size >= size);
    let sealed = one.log.seal().await.unwrap();
    assert_eq!(sealed.len(), 1);
    let folder = asterism_event_log::LogFolder::open(&dir.path().join("log-one"), None).unwrap();
    let mut state = State::default();
    let mut events = 0;
    for frame in folder.frames() {
        let frame = frame.unwrap();
        for index in 0..frame.frame.events.len() as u32 {
            let sequence = frame.first + u64::from(index);
            let at = frame.record_time_ms;
            if sequence < live_size {
                state.apply(&asterism_domain::wire::recorded(&frame.frame, index, sequence, at).unwrap());
                events += 1;
            }
        }
    }
    assert_eq!((events, state.hash()), (live_size, live));
}

async fn create(
    desk: &asterism_runtime::leader::Desk<CampaignCommand>,
) -> Result<asterism_runtime::leader::Answer, AskError> {
    desk.tell(CampaignCommand::Start { campaign: "none".into() }).await
}

//! How long an empty machine takes until it may lead, with and without an archived snapshot; and how long a state of many
//! contacts stands still while it is written down.
//!
//! `cargo run --release -p asterism-ledger --example rebuild -- EVENTS CONTACTS` with a nats-server on the path or in
//! `ASTERISM_NATS_SERVER`. The numbers are of this machine and of this day.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::{Duration, Instant};

use asterism_domain::event::{EventRef, Recorded, SealedContact};
use asterism_domain::ids::NumberHash;
use asterism_domain::wire::Envelope;
use asterism_domain::{Event, State};
use asterism_ledger::{LedgerConfig, run};
use asterism_proto::hash::sha256;
use asterism_proto::{Origin, Role};
use asterism_runtime::archive::Archive;
use asterism_runtime::commit::Term;
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{FLEET, Fixture};

/// Events of a frame.
const FRAME_EVENTS: u64 = 64;
/// Bytes of a sealed contact: a number and a few fields.
const SEALED_BYTES: usize = 120;

fn campaign() -> Event {
    Event::CampaignCreated {
        campaign: "c".to_owned(),
        name: "c".to_owned(),
        flow: "f".to_owned(),
        manifest: "m".to_owned(),
        trunk: "carrier".to_owned(),
        max_channels: 0,
        calls_per_second: 0,
        ring_timeout_ms: 15_000,
        max_attempts: 1,
        caller_id: String::new(),
        live: false,
        allowed_hashes: Vec::new(),
        rules: None,
        trunks: vec![],
        caller_ids: vec![],
    }
}

fn import(number: u64, contacts: u64) -> Event {
    let one = |contact: u64| SealedContact {
        contact: contact as u32,
        number_hash: NumberHash::try_from(&sha256(&contact.to_be_bytes())[..16]).unwrap(),
        sealed: (0..SEALED_BYTES).map(|byte| (contact.wrapping_mul(31) as usize + byte * 7) as u8).collect(),
        ..SealedContact::default()
    };
    Event::ContactsImported {
        campaign: "c".to_owned(),
        import: format!("i-{}", number / 10_000),
        contacts: (number * contacts..(number + 1) * contacts).map(one).collect(),
        duplicates: 0,
        last: false,
        zones: Vec::new(),
        skip_known: vec![],
        known: 0,
    }
}

async fn ready(fixture: &Fixture, archive: &Archive, name: &str) -> (Deps, Duration) {
    let began = Instant::now();
    let deps = fixture.process_with(name, Some(archive)).await.unwrap();
    deps.log.caught_up().await;
    (deps, began.elapsed())
}

async fn rebuild(events: u64) {
    let fixture = Fixture::start().await;
    let url = format!("file://{}", fixture.dir.path().join("archive").display());
    let config = LedgerConfig {
        archive: Some(url.clone()),
        seal_every_ms: 10_000,
        snapshot_events: events / 8,
        ..LedgerConfig::default()
    };
    let ledger = fixture.process("ledger").await;
    let running = tokio::spawn(run(config, ledger.clone()));
    let one = fixture.process("one").await;
    let key = one.key(Role::Dialer).unwrap();
    let mut term = Term::elect(&one.log, Role::Dialer, &key, "one").await.unwrap();
    let began = Instant::now();
    let meta = Envelope::default();
    let mut size = term.commit(&[campaign()], &meta).await.unwrap();
    let mut number = 0;
    while size < events {
        let frame: Vec<Event> = (number..number + FRAME_EVENTS).map(|number| import(number, 1)).collect();
        number += FRAME_EVENTS;
        size = term.commit(&frame, &meta).await.unwrap();
    }
    println!("written: {size} events in {:.1} s", began.elapsed().as_secs_f64());
    let mut head = one.log.head();
    while one.log.read(|state| state.archived) < size {
        head.changed().await.unwrap();
    }
    println!("archived after {:.1} s", began.elapsed().as_secs_f64());
    ledger.shutdown.request();
    running.await.unwrap().unwrap();
    for _ in 0..20 {
        let frame: Vec<Event> = (number..number + FRAME_EVENTS).map(|number| import(number, 1)).collect();
        number += FRAME_EVENTS;
        size = term.commit(&frame, &meta).await.unwrap();
    }
    let archive = Archive::open(&url, FLEET, fixture.keyring.anchor(), fixture.keyring.log_key().unwrap())
        .await
        .unwrap();
    let objects = |kind: &str| fixture.dir.path().join("archive/log").join(archive.tag()).join(kind);
    for round in 0..3 {
        let (with, took) = ready(&fixture, &archive, &format!("with-{round}")).await;
        let from = with.log.snapshots().borrow().opened_from;
        println!("ready with a snapshot at {from} of {size}: {:.2} s", took.as_secs_f64());
        assert_eq!(with.log.read(State::hash), one.log.read(State::hash));
        let aside = ["snap", "snx"].map(objects);
        for folder in &aside {
            std::fs::rename(folder, folder.with_extension("aside")).unwrap();
        }
        let (without, took) = ready(&fixture, &archive, &format!("without-{round}")).await;
        assert_eq!(without.log.snapshots().borrow().opened_from, 0);
        println!("ready without one: {:.2} s", took.as_secs_f64());
        assert_eq!(without.log.read(State::hash), one.log.read(State::hash));
        for folder in &aside {
            std::fs::rename(folder.with_extension("aside"), folder).unwrap();
        }
    }
}

fn stall(contacts: u64) {
    const AT_ONCE: u64 = 20;
    let mut state = State::default();
    let events =
        std::iter::once(campaign()).chain((0..contacts / AT_ONCE).map(|number| import(number, AT_ONCE)));
    for (sequence, event) in (0..).zip(events) {
        let id = EventRef { origin: "role/dialer".to_owned(), epoch: vec![], frame: sequence, index: 0 };
        state.apply(&Recorded {
            sequence,
            at: 1,
            origin: Origin::Role(Role::Dialer),
            id,
            term: 1,
            command_id: String::new(),
            actor: String::new(),
            event,
        });
    }
    let counted: u64 = state.campaigns.values().map(|campaign| campaign.contacts.len() as u64).sum();
    for _ in 0..3 {
        let began = Instant::now();
        let bytes = state.to_bytes();
        let written = began.elapsed();
        let began = Instant::now();
        let _hash = sha256(&bytes);
        let hashed = began.elapsed();
        let began = Instant::now();
        let clone = state.clone();
        let cloned = began.elapsed();
        drop(clone);
        println!(
            "{counted} contacts, {} MB: written down in {} ms, hashed in {} ms, cloned in {} ms",
            bytes.len() / 1_000_000,
            written.as_millis(),
            hashed.as_millis(),
            cloned.as_millis()
        );
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse().expect("EVENTS CONTACTS"));
    let (events, contacts) = (numbers.next().unwrap_or(300_000), numbers.next().unwrap_or(1_000_000));
    stall(contacts);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(rebuild(events));
}

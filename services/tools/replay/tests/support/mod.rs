//! A small campaign as a sealed log, and the program to ask about it.
#![allow(clippy::unwrap_used, dead_code)]

pub mod big;

use std::path::Path;
use std::process::Command;

use asterism_domain::contact::number_hash;
use asterism_domain::event::{SealedContact, StepSource};
use asterism_domain::{AttemptId, Event, Outcome, wire};
use asterism_event_log::Copy;
use asterism_event_log::testkit::{FLEET, Script, Writer};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

pub const SCALER: usize = 0;
pub const DIALER: usize = 1;
pub const LEDGER: usize = 2;
pub const NODE: usize = 7;
pub const KEY: [u8; 32] = [9; 32];
pub const IMPORT_KEY: [u8; 32] = [5; 32];
pub const NUMBERS: [&str; 2] = ["+15555550100", "+15555550101"];

pub fn encode(event: &Event, actor: &str) -> Vec<u8> {
    wire::encode(event, &wire::Envelope { actor: actor.into(), ..wire::Envelope::default() })
}

pub fn write(script: &mut Script, writer: usize, event: &Event) {
    script.write(writer, vec![encode(event, "")]);
}

pub fn attempt(contact: u32, ordinal: u32) -> AttemptId {
    AttemptId { campaign: "demo".into(), contact, ordinal }
}

pub fn ordered(contact: u32, ordinal: u32) -> Event {
    Event::AttemptIntended {
        attempt: attempt(contact, ordinal),
        node: "i-1".into(),
        trunk: "sim".into(),
        not_before_ms: 1_700_000_000_000,
        not_after_ms: 1_700_000_002_000,
        reason: "waiting, a slot is free".into(),
        closes_at_ms: 0,
        caller_id: String::new(),
        manifest: String::new(),
    }
}

/// A campaign as it begins.
pub fn created(id: &str, name: &str) -> Event {
    Event::CampaignCreated {
        campaign: id.into(),
        name: name.into(),
        flow: "f".repeat(32),
        manifest: "m".repeat(64),
        trunk: "sim".into(),
        max_channels: 10,
        calls_per_second: 5,
        ring_timeout_ms: 20_000,
        max_attempts: 1,
        caller_id: String::new(),
        live: false,
        allowed_hashes: vec![],
        rules: None,
        trunks: vec![],
        caller_ids: vec![],
    }
}

/// Two contacts: the first answers and presses 1, the second is never reached by an order.
pub fn campaign() -> Script {
    let mut script = Script::begin();
    let intent = "intent-1".to_owned();
    let launch = Event::LaunchIntended {
        intent: intent.clone(),
        reason: "2 contacts wait and no node is up".into(),
        instance_type: "local".into(),
    };
    write(&mut script, SCALER, &launch);
    write(&mut script, SCALER, &Event::NodeLaunched { intent: intent.clone(), node: "i-1".into() });
    let node = Writer::new("node/i-1", 14);
    let admitted = Event::NodeAdmitted {
        node: "i-1".into(),
        public_key: node.key.public().to_bytes().to_vec(),
        epoch: vec![14; 16],
        intent,
    };
    write(&mut script, SCALER, &admitted);
    script.writers.push(node);
    let ready =
        Event::NodeReady { node: "i-1".into(), capacity: 20, pbx: "pbx-sim".into(), boot_id: "b".into() };
    write(&mut script, NODE, &ready);
    write(&mut script, NODE, &Event::ManifestHeld { node: "i-1".into(), manifest: "m".repeat(64) });
    let created = created("demo", "A demo");
    let contacts = (0..).zip(NUMBERS).map(|(contact, number)| SealedContact {
        contact,
        number_hash: number_hash(&KEY, number),
        sealed: seal("one", number),
        ..SealedContact::default()
    });
    let imported = Event::ContactsImported {
        campaign: "demo".into(),
        import: "one".into(),
        contacts: contacts.collect(),
        duplicates: 0,
        last: true,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    };
    script.write(DIALER, vec![encode(&created, "ops@example.com"), encode(&imported, "ops@example.com")]);
    write(&mut script, DIALER, &Event::CampaignStarted { campaign: "demo".into() });
    write(&mut script, DIALER, &ordered(0, 1));
    write(&mut script, NODE, &Event::AttemptAccepted { attempt: attempt(0, 1), order_term: 1 });
    write(&mut script, NODE, &Event::AttemptOriginating { attempt: attempt(0, 1), boot_id: "b".into() });
    write(&mut script, NODE, &Event::AttemptAnswered { attempt: attempt(0, 1) });
    let step = Event::StepTaken {
        call: attempt(0, 1),
        step: 1,
        reply: "hangup|16".into(),
        source: StepSource::Fallback,
        decision: None,
        input: "1".into(),
        reason: "no answer within the deadline".into(),
        tags: vec![],
    };
    write(&mut script, NODE, &step);
    let ended = Event::AttemptEnded {
        attempt: attempt(0, 1),
        outcome: Outcome::Answered,
        cause: 16,
        reason: 4,
        ring_ms: 1_200,
        talk_ms: 3_400,
        digits: "1".into(),
        path: "menu".into(),
        never_rang: false,
        sip_status: 0,
        heard: asterism_domain::trunk::health::Heard::Unknown,
    };
    write(&mut script, NODE, &ended);
    // A dialer that is behind decides once more about a contact that is settled.
    write(&mut script, DIALER, &ordered(0, 2));
    script
}

/// As the services seal: postcard of number and fields, XChaCha20-Poly1305, the import bound in.
pub fn seal(import: &str, number: &str) -> Vec<u8> {
    seal_fields(import, number, &[("name", "Ada")])
}

/// [`seal`] with these fields.
pub fn seal_fields(import: &str, number: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().copied().collect::<std::collections::BTreeMap<_, _>>();
    let plain = postcard::to_allocvec(&(number, fields)).unwrap();
    let (nonce, payload) = ([2; 24], Payload { msg: &plain, aad: import.as_bytes() });
    let cipher = XChaCha20Poly1305::new(&IMPORT_KEY.into());
    [nonce.as_slice(), &cipher.encrypt(XNonce::from_slice(&nonce), payload).unwrap()].concat()
}

/// A script as a sealed log in a folder of its own.
pub fn sealed(script: &Script) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = Copy::open(folder.path(), FLEET, None, |_| {}).unwrap();
    opened.copy.index_contacts(wire::contacts_of);
    for frame in &script.accepted {
        opened.copy.append(frame).unwrap();
    }
    opened.copy.seal().unwrap().unwrap();
    folder
}

/// [`campaign`] as a sealed log, with its key for numbers beside.
pub fn log() -> tempfile::TempDir {
    let folder = sealed(&campaign());
    std::fs::write(folder.path().join("numbers.key"), hex::encode(KEY)).unwrap();
    folder
}

/// Runs the program; status, output and errors.
pub fn program(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_asterism-replay")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Runs one command on a folder; it must do well.
#[track_caller]
pub fn done(command: &str, folder: &Path, arguments: &[&str]) -> String {
    let all = [&[command, folder.to_str().unwrap()], arguments].concat();
    let (status, out, err) = program(&all);
    assert_eq!(status, 0, "{out}{err}");
    out
}

/// A node's routine word.
pub fn load() -> Event {
    Event::NodeLoad { node: "i-1".into(), ringing: 0, up: 1, free_slots: 19, cpu_permille: 100 }
}

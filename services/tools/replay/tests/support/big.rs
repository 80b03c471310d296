//! Large sealed logs, made frame by frame with little in memory: what the program costs is measured on them.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::Path;

use asterism_domain::event::{SealedContact, StepSource};
use asterism_domain::{AttemptId, Event, Outcome, wire};
use asterism_event_log::Copy;
use asterism_event_log::testkit::{FLEET, Script, Writer, checkpoint};

use super::{DIALER, LEDGER, NODE, SCALER, attempt, created, encode, ordered};

/// Contacts in flight at a time.
const FLIGHT: u32 = 100;
/// Events of a segment.
const SEGMENT_EVENTS: u64 = 65_536;

/// A campaign of this many contacts that all answer; returns its events and root.
pub fn log(folder: &Path, contacts: u32) -> (u64, String) {
    let mut log = Growing { script: Script::begin(), copy: open(folder), sealed: 0 };
    log.node();
    let dialer = |log: &mut Growing, events: &[Event]| {
        log.write(DIALER, events.iter().map(|event| encode(event, "ops")).collect());
    };
    let mut begin = created("demo", "A large one");
    if let Event::CampaignCreated { max_channels, calls_per_second, .. } = &mut begin {
        (*max_channels, *calls_per_second) = (0, 0);
    }
    dialer(&mut log, &[begin]);
    for first in (0..contacts).step_by(24) {
        let row = |contact: u32| {
            let mut number_hash = [0; 16];
            number_hash[..4].copy_from_slice(&contact.to_be_bytes());
            SealedContact {
                contact,
                number_hash,
                sealed: vec![contact as u8; 60],
                ..SealedContact::default()
            }
        };
        let contacts: Vec<_> = (first..contacts.min(first + 24)).map(row).collect();
        let (campaign, import) = ("demo".to_owned(), "one".to_owned());
        dialer(
            &mut log,
            &[Event::ContactsImported {
                campaign,
                import,
                contacts,
                duplicates: 0,
                last: false,
                zones: vec![],
                skip_known: vec![],
                known: 0,
            }],
        );
    }
    dialer(&mut log, &[Event::CampaignStarted { campaign: "demo".into() }]);
    for first in (0..contacts).step_by(FLIGHT as usize) {
        let flight: Vec<AttemptId> =
            (first..contacts.min(first + FLIGHT)).map(|contact| attempt(contact, 1)).collect();
        let orders: Vec<Event> = flight.iter().map(|one| ordered(one.contact, 1)).collect();
        dialer(&mut log, &orders);
        for calls in flight.chunks(20) {
            log.write(NODE, calls.iter().flat_map(call).map(|event| encode(&event, "")).collect());
        }
        log.checkpoint();
    }
    log.finish()
}

/// What a node says of one call.
fn call(id: &AttemptId) -> [Event; 5] {
    let attempt = id.clone();
    let step = Event::StepTaken {
        call: id.clone(),
        step: 1,
        reply: "hangup|16".into(),
        source: StepSource::Fallback,
        decision: None,
        input: "1".into(),
        reason: "no answer within the deadline".into(),
        tags: vec![],
    };
    let ended = Event::AttemptEnded {
        attempt: id.clone(),
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
    [
        Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 },
        Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() },
        Event::AttemptAnswered { attempt },
        step,
        ended,
    ]
}

fn open(folder: &Path) -> Copy {
    let mut copy = Copy::open(folder, FLEET, None, |_| {}).unwrap().copy;
    copy.index_contacts(wire::contacts_of);
    copy
}

struct Growing {
    script: Script,
    copy: Copy,
    sealed: u64,
}

impl Growing {
    /// A node that holds the prompts, with room for all.
    fn node(&mut self) {
        let intent = "intent-1".to_owned();
        let writer = Writer::new("node/i-1", 14);
        let admitted = Event::NodeAdmitted {
            node: "i-1".into(),
            public_key: writer.key.public().to_bytes().to_vec(),
            epoch: vec![14; 16],
            intent: intent.clone(),
        };
        let launch = Event::LaunchIntended {
            intent: intent.clone(),
            reason: "contacts wait".into(),
            instance_type: "local".into(),
        };
        let launched = Event::NodeLaunched { intent, node: "i-1".into() };
        self.write(SCALER, [launch, launched, admitted].iter().map(|event| encode(event, "")).collect());
        self.script.writers.push(writer);
        let ready = Event::NodeReady {
            node: "i-1".into(),
            capacity: FLIGHT,
            pbx: "pbx-sim".into(),
            boot_id: "b".into(),
        };
        let held = Event::ManifestHeld { node: "i-1".into(), manifest: "m".repeat(64) };
        self.write(NODE, [ready, held].iter().map(|event| encode(event, "")).collect());
    }

    fn checkpoint(&mut self) {
        let event = checkpoint(&self.script.sequencer);
        self.write(LEDGER, vec![event]);
    }

    fn write(&mut self, writer: usize, events: Vec<Vec<u8>>) {
        self.script.write(writer, events);
        // The bytes are in the copy; only how many there were is needed here.
        self.script.frames.last_mut().unwrap().0 = Vec::new();
        for frame in self.script.accepted.drain(..) {
            self.copy.append(&frame).unwrap();
        }
        let size = self.script.sequencer.size();
        if size - self.sealed >= SEGMENT_EVENTS {
            self.copy.seal().unwrap().unwrap();
            self.sealed = size;
        }
    }

    fn finish(mut self) -> (u64, String) {
        self.checkpoint();
        let _ = self.copy.seal().unwrap();
        (self.script.sequencer.size(), hex::encode(self.script.sequencer.root()))
    }
}

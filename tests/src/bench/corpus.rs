//! The events of one recorded campaign, and any number of them: the log benches' input.
//!
//! A fleet of `asterism up --demo` with every kind of callee is recorded once and kept below the folder of results.
//! To have more, its events are put into frames of 64 of the same origins, signed again with keys of our own. Each time
//! over, leaders have a new term and epoch, nodes and responders new names: no event has the id of another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use asterism_event_log::{AcceptedFrame, LogFolder, Sequencer, StreamAt, Verdict};
use asterism_proto::hash::sha256;
use asterism_proto::v1::{self, EventType};
use asterism_proto::{FrameDraft, Origin, OriginKey, Role};
use prost::Message;

use super::demo::{Demo, is};
use super::report::{folder, scratch};

/// Contacts of the recorded campaign.
pub const CONTACTS: u64 = 20_000;
/// Events of a frame.
pub const FRAME_EVENTS: usize = 64;
/// The fleet whose log is written.
pub const FLEET: &str = "bench";
/// What a frame and its parts may carry beside the events.
const FRAME_BYTES: usize = 56 * 1024;
/// Time between two frames in the stream, ms.
const FRAME_EVERY_MS: u64 = 20;
/// A mix of callees, and none that makes anyone wait.
const CALLEES: &str = "[setup]\nmin_ms = 0\nmax_ms = 0\n\n[ring]\nmin_ms = 0\nmax_ms = 0\n\n\
    [prompt]\nmin_ms = 1\nmax_ms = 5\n\n[press]\nmin_ms = 1\nmax_ms = 5\n\n[early]\nmin_ms = 1\nmax_ms = 5\n\n\
    [weights]\npress_1 = 36\npress_2 = 18\npress_nothing = 1\nhang_up_early = 6\nbusy = 12\ndeclined = 14\n\
    not_found = 4\nunavailable = 5\ncongested = 1\nno_answer = 0\nsilent = 0\n";

/// The recorded campaign.
pub struct Corpus {
    log: PathBuf,
    events: Vec<(Origin, Vec<u8>)>,
}

impl Corpus {
    /// The recording; made if there is none yet.
    pub fn load() -> anyhow::Result<Self> {
        let kept = folder()?.join(format!("campaign-{CONTACTS}"));
        if !kept.is_dir() {
            eprintln!("asterism-bench: recording a campaign of {CONTACTS} contacts (about a minute)");
            let dir = scratch()?;
            let demo = Demo { contacts: CONTACTS, capacity: 200, max_nodes: 4, callees: CALLEES };
            is(&demo.run(dir.path())?, "incidents", 0)?;
            fs::rename(dir.path().join("demo/log"), &kept)?;
        }
        let mut events = Vec::new();
        for frame in LogFolder::open(&kept, None)?.frames() {
            let frame = frame?.frame;
            for event in &frame.events {
                let kind = v1::Event::decode(event)?.r#type;
                if !(EventType::LogCreated as u32..=EventType::Continues as u32).contains(&kind) {
                    events.push((frame.origin.clone(), event.to_vec()));
                }
            }
        }
        ensure!(events.len() as u64 > 4 * CONTACTS, "the recording has only {} events", events.len());
        Ok(Self { log: kept, events })
    }

    /// Folder of the recorded log, sealed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// A log of this campaign again and again: its frames as they are published, without end.
    pub fn frames(&self) -> Frames<'_> {
        Frames { corpus: self, fleet: Fleet::default(), next: 0, open: BTreeMap::new(), ready: Vec::new() }
    }

    /// The first frames that have this many events, and how many they really have.
    pub fn published(&self, events: usize) -> anyhow::Result<(Vec<Vec<u8>>, u64)> {
        let (mut frames, mut count) = (Vec::new(), 0);
        for frame in self.frames() {
            let (bytes, events_in) = frame?;
            frames.push(bytes);
            count += events_in;
            if count >= events as u64 {
                break;
            }
        }
        Ok((frames, count))
    }
}

/// Where a frame stands in the stream.
pub fn stream_at(index: u64) -> StreamAt {
    StreamAt { sequence: index + 1, time_ms: 1_700_000_000_000 + index * FRAME_EVERY_MS }
}

/// Judges a frame; it must be accepted.
pub fn accept(sequencer: &mut Sequencer, bytes: &[u8], index: u64) -> anyhow::Result<AcceptedFrame> {
    match sequencer.judge(bytes, stream_at(index)) {
        Verdict::Accepted(frame) => Ok(frame),
        other => anyhow::bail!("frame {index} is {other:?}"),
    }
}

/// Judges all frames, untimed.
pub fn accept_all(frames: &[Vec<u8>]) -> anyhow::Result<(Vec<AcceptedFrame>, Sequencer)> {
    let mut sequencer = Sequencer::new(FLEET, None);
    let accepted: anyhow::Result<Vec<_>> =
        (0..).zip(frames).map(|(index, bytes)| accept(&mut sequencer, bytes, index)).collect();
    Ok((accepted?, sequencer))
}

/// Who writes: key, epoch, number and term of each.
#[derive(Default)]
struct Fleet {
    campaign: u8,
    writers: BTreeMap<Origin, Writer>,
}

struct Writer {
    key: OriginKey,
    epoch: [u8; 16],
    number: u64,
    term: u64,
}

/// As with the fleet's own keys, a process signs with its role's key.
pub fn key_of(origin: &Origin) -> OriginKey {
    let text = match origin {
        Origin::Proc(role, _) => Origin::Role(*role).to_string(),
        other => other.to_string(),
    };
    OriginKey::from_entropy(sha256(text.as_bytes()))
}

impl Fleet {
    /// The origin's next frame.
    fn sign(&mut self, origin: &Origin, events: Vec<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
        let epoch = [self.campaign + 1; 16];
        let writer = self.writers.entry(origin.clone()).or_insert_with(|| Writer {
            key: key_of(origin),
            epoch,
            number: 0,
            term: 0,
        });
        writer.number += 1;
        let draft = FrameDraft {
            fleet: FLEET,
            origin,
            epoch: writer.epoch,
            number: writer.number,
            term: writer.term,
            based_on: 0,
        };
        Ok(draft.sign(&writer.key, events)?)
    }

    /// Makes a role lead in a new term.
    fn elect(&mut self, role: Role) -> anyhow::Result<Vec<u8>> {
        let origin = Origin::Role(role);
        let term = self.writers.get(&origin).map_or(0, |writer| writer.term) + 1;
        let epoch = [self.campaign + 1; 16];
        self.writers.insert(origin.clone(), Writer { key: key_of(&origin), epoch, number: 0, term });
        let body = v1::LeaderElected { role: role.name().to_owned(), term, holder: "bench".to_owned() };
        self.sign(&origin, vec![event(EventType::LeaderElected, &body)])
    }

    fn admit(&mut self, node: &str) -> anyhow::Result<Vec<u8>> {
        let public_key = key_of(&Origin::Node(node.to_owned())).public().to_bytes().to_vec();
        let epoch = vec![self.campaign + 1; 16];
        let body = v1::NodeAdmitted { node: node.to_owned(), public_key, epoch, intent: String::new() };
        self.sign(&Origin::Role(Role::Scaler), vec![event(EventType::NodeAdmitted, &body)])
    }

    /// The frames before the first event of a campaign.
    fn begin(&mut self, corpus: &Corpus) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        if self.campaign == 0 {
            frames.push(self.sign(&Origin::Role(Role::Fleet), vec![log_created()])?);
        }
        for role in Role::ALL.into_iter().filter(|role| role.leads()) {
            frames.push(self.elect(role)?);
        }
        let mut nodes: Vec<Origin> = corpus.events.iter().map(|(origin, _)| origin.clone()).collect();
        nodes.sort();
        nodes.dedup();
        for origin in nodes {
            if let Origin::Node(node) = again(&origin, self.campaign) {
                frames.push(self.admit(&node)?);
            }
        }
        Ok(frames)
    }
}

/// The origin that stands for this one when the campaign is repeated.
fn again(origin: &Origin, campaign: u8) -> Origin {
    match origin {
        Origin::Node(id) => Origin::Node(format!("{id}-{campaign}")),
        Origin::Proc(role, id) => Origin::Proc(*role, format!("{id}-{campaign}")),
        Origin::Role(role) => Origin::Role(*role),
    }
}

fn event(kind: EventType, body: &impl Message) -> Vec<u8> {
    let body = body.encode_to_vec();
    v1::Event { r#type: kind as u32, schema: 1, body, ..v1::Event::default() }.encode_to_vec()
}

fn log_created() -> Vec<u8> {
    let public = |role: Role| key_of(&Origin::Role(role)).public().to_bytes().to_vec();
    let named = Role::ALL.into_iter().filter(|role| *role != Role::Fleet);
    let body = v1::LogCreated {
        fleet: FLEET.to_owned(),
        fleet_key: public(Role::Fleet),
        log_key: public(Role::Ledger),
        role_keys: named
            .map(|role| v1::RoleKey { role: role.name().to_owned(), public_key: public(role) })
            .collect(),
        created_at_ms: 1_000,
    };
    event(EventType::LogCreated, &body)
}

/// Frames without end, each with its number of events.
pub struct Frames<'a> {
    corpus: &'a Corpus,
    fleet: Fleet,
    /// The next event of the recording.
    next: usize,
    /// Events of each origin that fill no frame yet.
    open: BTreeMap<Origin, Vec<Vec<u8>>>,
    /// Frames to hand out, the last one first.
    ready: Vec<(Vec<u8>, u64)>,
}

impl Frames<'_> {
    fn advance(&mut self) -> anyhow::Result<(Vec<u8>, u64)> {
        loop {
            if let Some(frame) = self.ready.pop() {
                return Ok(frame);
            }
            if self.next == 0 {
                let begun = self.fleet.begin(self.corpus)?;
                self.ready.extend(begun.into_iter().rev().map(|bytes| (bytes, 1)));
            }
            match self.corpus.events.get(self.next) {
                Some((origin, event)) => {
                    self.next += 1;
                    let origin = again(origin, self.fleet.campaign);
                    let waiting = self.open.entry(origin.clone()).or_default();
                    waiting.push(event.clone());
                    let bytes: usize = waiting.iter().map(Vec::len).sum();
                    if waiting.len() == FRAME_EVENTS || bytes + event.len() > FRAME_BYTES {
                        let events = std::mem::take(waiting);
                        self.close(&origin, events)?;
                    }
                }
                None => {
                    for (origin, events) in std::mem::take(&mut self.open) {
                        if !events.is_empty() {
                            self.close(&origin, events)?;
                        }
                    }
                    self.next = 0;
                    self.fleet.campaign =
                        self.fleet.campaign.checked_add(1).context("too many repetitions")?;
                }
            }
        }
    }

    fn close(&mut self, origin: &Origin, events: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let count = events.len() as u64;
        let bytes = self.fleet.sign(origin, events)?;
        self.ready.insert(0, (bytes, count));
        Ok(())
    }
}

impl Iterator for Frames<'_> {
    type Item = anyhow::Result<(Vec<u8>, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.advance())
    }
}

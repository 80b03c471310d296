//! Making a proof file from a folder: one event by the tiles ([`super::quick`]), everything else in two passes: the first verifies the log and finds what is asked for, the second
//! takes the bytes and the hashes. Memory does not grow with the log.

use std::collections::BTreeMap;
use std::fmt;

use asterism_event_log::proof::{self, Gathered, Plan};
use asterism_event_log::sealed::Reader;
use asterism_event_log::sequencer::{CheckpointCheck, SeenCheckpoint};
use asterism_event_log::{AcceptedFrame, LogFolder, StoredFrame};
use asterism_proto::frame::FRAME_MAX_EVENTS;
use asterism_proto::hash::{Hash, event_leaf, leaf_hash, tree_root};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{Origin, Role};
use prost::Message;

use super::{Claim, FORMAT, Hex, Placed, ProofFile, Signed, check, quick};
use crate::Error;
use crate::fold::Pass;

/// Which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By its position in the log.
    Position(u64),
    /// By its derived id.
    Id {
        /// Who wrote it.
        origin: Origin,
        /// The epoch of its frame.
        epoch: [u8; 16],
        /// The number of its frame.
        frame: u64,
        /// Its index in the frame.
        index: u32,
    },
}

impl Which {
    /// Reads a position, or an id `ORIGIN.EPOCH.FRAME.INDEX` as `export` spells causes.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(position) = text.parse() {
            return Some(Self::Position(position));
        }
        let mut parts = text.rsplitn(4, '.');
        let index = parts.next()?.parse().ok()?;
        let frame = parts.next()?.parse().ok()?;
        let epoch = hex::decode(parts.next()?).ok()?.try_into().ok()?;
        let origin = parts.next()?.parse().ok()?;
        Some(Self::Id { origin, epoch, frame, index })
    }

    fn position_in(&self, frame: &AcceptedFrame) -> Option<u64> {
        match self {
            Self::Position(position) => (frame.first..frame.end()).contains(position).then_some(*position),
            Self::Id { origin, epoch, frame: number, index } => {
                let same = frame.frame.origin == *origin
                    && frame.frame.epoch == *epoch
                    && frame.frame.header.number == *number
                    && (*index as usize) < frame.leaves.len();
                same.then(|| frame.first + u64::from(*index))
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "event #{position}"),
            Self::Id { origin, epoch, frame, index } => {
                write!(f, "event {origin}.{}.{frame}.{index}", hex::encode(epoch))
            }
        }
    }
}

/// Which checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest in the log.
    Newest,
    /// The one of this size.
    Size(u64),
}

/// The checkpoint asked for, and the ones next to it for the message if there is none.
#[derive(Debug, Default)]
struct Search {
    found: Option<SeenCheckpoint>,
    below: Option<u64>,
    above: Option<u64>,
}

impl Search {
    fn see(&mut self, at: At, seen: &SeenCheckpoint) {
        match at {
            // The oldest of that size: it stands nearest.
            At::Size(size) if seen.size == size => drop(self.found.get_or_insert(*seen)),
            At::Size(size) if seen.size < size => self.below = Some(seen.size),
            At::Size(_) => drop(self.above.get_or_insert(seen.size)),
            At::Newest => self.found = Some(*seen),
        }
    }

    fn get(&self, at: At, what: &dyn fmt::Display) -> Result<SeenCheckpoint, Error> {
        let impossible = |why: String| Error::Unprovable { what: what.to_string(), why };
        let found = self.found.ok_or_else(|| {
            let near: Vec<String> =
                [self.below, self.above].into_iter().flatten().map(|s| s.to_string()).collect();
            match at {
                At::Newest => impossible("the sealed log has no checkpoint".into()),
                At::Size(size) if near.is_empty() => {
                    impossible(format!("the sealed log has no checkpoint at all, so none of size {size}"))
                }
                At::Size(size) => {
                    impossible(format!("no checkpoint has size {size}; ask for {}", near.join(" or ")))
                }
            }
        })?;
        if found.check == CheckpointCheck::Differs {
            return Err(impossible(format!(
                "the checkpoint of size {} names another root than the log has; run `verify`",
                found.size
            )));
        }
        Ok(found)
    }
}

/// Reads the log once, verified, and shows each frame and each new checkpoint.
fn survey(
    pass: &mut Pass<'_>,
    each: &mut dyn FnMut(&AcceptedFrame, Option<&SeenCheckpoint>),
) -> Result<LogFolder, Error> {
    let log = LogFolder::open(pass.folder, pass.anchor)?;
    let mut frames = log.frames();
    let mut last = None;
    while let Some(frame) = frames.next() {
        let frame = frame?;
        let newest = frames.sequencer().checkpoint();
        let new = newest.filter(|seen| last != Some(seen.position));
        last = newest.map(|seen| seen.position);
        each(&frame, new);
        (pass.progress)(frame.end());
    }
    Ok(log)
}

/// Proves that an event is in the log under a checkpoint: by the tiles where they have it, else by reading all.
pub fn inclusion(pass: &mut Pass<'_>, which: &Which, at: At) -> Result<ProofFile, Error> {
    match quick::inclusion(pass, which, at, |log, claim| finish(pass, log, claim)) {
        Some(file) => Ok(file),
        None => inclusion_by_reading(pass, which, at),
    }
}

fn inclusion_by_reading(pass: &mut Pass<'_>, which: &Which, at: At) -> Result<ProofFile, Error> {
    let mut search = Search::default();
    let mut found: Option<(u64, Origin, [u8; 16])> = None;
    let mut admissions: BTreeMap<(String, Vec<u8>), u64> = BTreeMap::new();
    let mut size = 0;
    let log = survey(pass, &mut |frame, seen| {
        size = frame.end();
        if found.is_none() {
            note_admissions(frame, &mut admissions);
        }
        if let Some(position) = which.position_in(frame) {
            found = Some((position, frame.frame.origin.clone(), frame.frame.epoch));
        }
        if let Some(seen) = seen {
            search.see(at, seen);
        }
    })?;
    let (position, origin, epoch) = found.ok_or_else(|| match which {
        Which::Position(position) => Error::NoEvent { size, position: *position },
        Which::Id { .. } => {
            Error::Unprovable { what: which.to_string(), why: "the sealed log does not have it".into() }
        }
    })?;
    let checkpoint = search.get(at, which)?;
    if checkpoint.size <= position {
        let why =
            format!("the checkpoint of size {} does not cover it; {size} events are sealed", checkpoint.size);
        return Err(Error::Unprovable { what: which.to_string(), why });
    }
    let admission = match origin {
        Origin::Node(node) => admissions.get(&(node, epoch.to_vec())).copied(),
        _ => None,
    };
    let positions: Vec<u64> = [Some(position), admission].into_iter().flatten().collect();
    let mut plan = Plan::default();
    for position in &positions {
        let Ok(_) = proof::inclusion(&mut plan, *position, checkpoint.size);
    }
    let mut taken = take(&log, plan, &[&[0, checkpoint.position], positions.as_slice()].concat())?;
    let mut place = |position: u64| -> Option<Placed> {
        let path = proof::inclusion(&mut taken.hashes, position, checkpoint.size).ok()??;
        let (record_time_ms, signed) = taken.events.get(&position)?.clone();
        Some(Placed { position, record_time_ms, signed, path: path.into_iter().map(hex).collect() })
    };
    let admission = admission.map(|position| place(position).ok_or_else(changed)).transpose()?;
    let event = place(position).ok_or_else(changed)?;
    let checkpoint = taken.signed(checkpoint.position)?;
    finish(pass, taken.signed(0)?, Claim::Inclusion { checkpoint, event, admission })
}

/// Proves that the log of one checkpoint begins with the log of another.
pub fn consistency(pass: &mut Pass<'_>, old: At, new: At) -> Result<ProofFile, Error> {
    let (mut olds, mut news) = (Search::default(), Search::default());
    let log = survey(pass, &mut |_, seen| {
        if let Some(seen) = seen {
            olds.see(old, seen);
            news.see(new, seen);
        }
    })?;
    let what = "that the log begins with an older one";
    let (old, new) = (olds.get(old, &what)?, news.get(new, &what)?);
    if old.size > new.size {
        let why = format!("size {} is not before size {}; name the older one first", old.size, new.size);
        return Err(Error::Unprovable { what: what.into(), why });
    }
    let mut plan = Plan::default();
    let Ok(_) = proof::consistency(&mut plan, old.size, new.size);
    let mut taken = take(&log, plan, &[0, old.position, new.position])?;
    let path =
        proof::consistency(&mut taken.hashes, old.size, new.size).ok().flatten().ok_or_else(changed)?;
    let path = path.into_iter().map(hex).collect();
    let (old, new) = (taken.signed(old.position)?, taken.signed(new.position)?);
    finish(pass, taken.signed(0)?, Claim::Consistency { old, new, path })
}

/// Nothing is handed out that does not check.
fn finish(pass: &Pass<'_>, log: Signed, claim: Claim) -> Result<ProofFile, Error> {
    let file = ProofFile { format: FORMAT.to_owned(), log, claim };
    match ProofFile::from_text(&file.to_text()).and_then(|file| check::check(&file, pass.anchor)) {
        Ok(_) => Ok(file),
        Err(why) => Err(Error::Unprovable { what: "this".into(), why }),
    }
}

/// Which event of the log admitted which node in which epoch; the first counts.
fn note_admissions(frame: &AcceptedFrame, admissions: &mut BTreeMap<(String, Vec<u8>), u64>) {
    if frame.frame.origin != Origin::Role(Role::Scaler) {
        return;
    }
    for (position, bytes) in (frame.first..).zip(&frame.frame.events) {
        let event = v1::Event::decode(bytes).ok();
        let admitted = event.filter(|event| event.r#type == EventType::NodeAdmitted as u32);
        if let Some(body) = admitted.and_then(|event| v1::NodeAdmitted::decode(event.body.as_slice()).ok()) {
            admissions.entry((body.node, body.epoch)).or_insert(position);
        }
    }
}

/// What the second pass took.
struct Taken {
    hashes: Gathered,
    events: BTreeMap<u64, (u64, Signed)>,
}

impl Taken {
    fn signed(&self, position: u64) -> Result<Signed, Error> {
        self.events.get(&position).map(|(_, signed)| signed.clone()).ok_or_else(changed)
    }
}

/// The second pass: not verified again, since what it makes is checked as a whole.
fn take(log: &LogFolder, plan: Plan, positions: &[u64]) -> Result<Taken, Error> {
    let mut taken = Taken { hashes: plan.gather(), events: BTreeMap::new() };
    for (_, _, path) in log.segments() {
        let mut reader = Reader::open(path)?;
        while let Some(stored) = reader.next_frame()? {
            let header_hash = stored.frame.header_hash();
            for (index, event) in (0u32..).zip(&stored.frame.events) {
                let position = taken.hashes.size();
                taken.hashes.push(event_leaf(&header_hash, index, stored.record_time_ms, event));
                if positions.contains(&position) {
                    taken.events.insert(position, (stored.record_time_ms, signed(&stored, index)));
                }
            }
        }
    }
    Ok(taken)
}

/// One event out of its frame.
pub(super) fn signed(stored: &StoredFrame, index: u32) -> Signed {
    let frame = &stored.frame;
    let leaves: Vec<Hash> = frame.events.iter().map(|event| leaf_hash(&[event])).collect();
    let mut nodes = FrameNodes(leaves);
    let Ok(path) = proof::inclusion(&mut nodes, u64::from(index), frame.events.len() as u64);
    Signed {
        header: Hex(frame.header_bytes.clone()),
        signature: Hex(frame.signature.clone()),
        index,
        event: Hex(frame.events.get(index as usize).unwrap_or_default().to_vec()),
        path: path.unwrap_or_default().into_iter().map(hex).collect(),
    }
}

/// The tree over one frame's events.
struct FrameNodes(Vec<Hash>);

impl proof::Nodes for FrameNodes {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        debug_assert!(self.0.len() <= FRAME_MAX_EVENTS);
        let from = (index << level) as usize;
        Ok(tree_root(self.0.get(from..from + (1 << level)).unwrap_or_default()))
    }
}

pub(super) fn hex(hash: Hash) -> Hex {
    Hex(hash.to_vec())
}

fn changed() -> Error {
    Error::Unprovable { what: "this".into(), why: "the folder changed while it was read; ask again".into() }
}

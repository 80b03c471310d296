//! Proving one event by the tiles: the segments that hold the event, its checkpoint and its node's admission are read, and
//! of the tree only the hashes on the way. Nothing is believed: what is handed out has been checked as a stranger would,
//! from frame 1's keys and the checkpoint's signature to each hash of the path. Whatever does not fit falls back to the
//! two passes of [`super::make`], which say what is wrong.

use asterism_domain::wire::contacts_of;
use asterism_event_log::sealed::{Key, Reader};
use asterism_event_log::tiles::TileFolder;
use asterism_event_log::{LogFolder, StoredFrame, proof};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{Origin, Role};
use prost::Message;

use super::make::{At, Which, hex, signed};
use super::{Claim, Placed, ProofFile, Signed};
use crate::Error;
use crate::fold::Pass;

/// A frame and the position of its first event.
type Stands = (u64, StoredFrame);

/// The proof, if the tiles and the index have all of it.
pub(super) fn inclusion(
    pass: &Pass<'_>,
    which: &Which,
    at: At,
    finish: impl Fn(Signed, Claim) -> Result<ProofFile, Error>,
) -> Option<ProofFile> {
    let log = LogFolder::open(pass.folder, pass.anchor).ok()?;
    let (first, frame) = match which {
        Which::Position(position) => at_position(&log, *position)?,
        Which::Id { origin, epoch, frame: number, .. } => {
            let mut found = log.find(Key::Origin(origin.to_string()), contacts_of).map_while(Result::ok);
            let same =
                |frame: &StoredFrame| frame.frame.epoch == *epoch && frame.frame.header.number == *number;
            found.find(|found| same(&found.frame)).map(|found| (found.first, found.frame))?
        }
    };
    let position = match which {
        Which::Position(position) => *position,
        Which::Id { index, .. } => first + u64::from(*index),
    };
    let (checkpoint, size) = checkpoint(&log, at).filter(|(_, size)| *size > position)?;
    // The tiles are as wide as the log was when it was sealed last; what they have of a smaller tree is the same.
    let mut tiles = TileFolder::new(pass.folder, log.segments().last()?.1);
    let mut place = |(first, frame): &Stands, position: u64| -> Option<Placed> {
        let index = u32::try_from(position.checked_sub(*first)?).ok()?;
        frame.frame.events.get(index as usize)?;
        let path = proof::inclusion(&mut tiles, position, size).ok()??;
        let path = path.into_iter().map(hex).collect();
        Some(Placed { position, record_time_ms: frame.record_time_ms, signed: signed(frame, index), path })
    };
    let event = place(&(first, frame.clone()), position)?;
    let admission = match &frame.frame.origin {
        Origin::Node(node) => {
            let (stands, position) = admission(&log, node, &frame.frame.epoch)?;
            Some(place(&stands, position)?)
        }
        _ => None,
    };
    let created = signed(&at_position(&log, 0)?.1, 0);
    finish(created, Claim::Inclusion { checkpoint, event, admission }).ok()
}

/// The frame that holds a position: its segment is read up to there.
fn at_position(log: &LogFolder, position: u64) -> Option<Stands> {
    let (_, _, path) = log.segments().iter().find(|(first, end, _)| (*first..*end).contains(&position))?;
    let mut reader = Reader::open(path).ok()?;
    let mut first = reader.footer().first;
    while let Ok(Some(frame)) = reader.next_frame() {
        let end = first + frame.frame.events.len() as u64;
        if position < end {
            return Some((first, frame));
        }
        first = end;
    }
    None
}

/// The checkpoint asked for, and its size: the newest stands in one of the last segments, one of a size behind it.
fn checkpoint(log: &LogFolder, at: At) -> Option<(Signed, u64)> {
    let segments = log.segments();
    let (wanted, all): (_, Vec<_>) = match at {
        At::Newest => (None, segments.iter().rev().collect()),
        At::Size(size) => (Some(size), segments.iter().filter(|(_, end, _)| *end >= size).collect()),
    };
    for (_, _, path) in all {
        let mut reader = Reader::open(path).ok()?;
        let mut newest = None;
        while let Ok(Some(frame)) = reader.next_frame() {
            if frame.frame.origin != Origin::Role(Role::Ledger) {
                continue;
            }
            for (index, bytes) in (0u32..).zip(&frame.frame.events) {
                let Some(size) = size_of(bytes) else { continue };
                match wanted {
                    Some(wanted) if wanted == size => return Some((signed(&frame, index), size)),
                    Some(_) => {}
                    None => newest = Some((signed(&frame, index), size)),
                }
            }
        }
        if newest.is_some() {
            return newest;
        }
    }
    None
}

fn size_of(bytes: &[u8]) -> Option<u64> {
    let event = v1::Event::decode(bytes).ok().filter(|event| event.r#type == EventType::Checkpoint as u32)?;
    v1::Checkpoint::decode(event.body.as_slice()).ok().map(|body| body.size)
}

/// The first admission of a node in an epoch, by the scaler.
fn admission(log: &LogFolder, node: &str, epoch: &[u8; 16]) -> Option<(Stands, u64)> {
    let found = log.find(Key::Node(node.to_owned()), contacts_of).map_while(Result::ok);
    for found in found.filter(|found| found.frame.frame.origin == Origin::Role(Role::Scaler)) {
        for (position, bytes) in (found.first..).zip(&found.frame.frame.events) {
            let event = v1::Event::decode(bytes).ok();
            let admitted = event.filter(|event| event.r#type == EventType::NodeAdmitted as u32);
            let body = admitted.and_then(|event| v1::NodeAdmitted::decode(event.body.as_slice()).ok());
            if body.is_some_and(|body| body.node == node && body.epoch == epoch) {
                return Some(((found.first, found.frame), position));
            }
        }
    }
    None
}

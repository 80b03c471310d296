//! A sequencer as bytes, for snapshots: the whole of it, or nothing.
//!
//! A cache, never a source: whoever reads one checks what it leads to against the log (see [`crate::snapshot`]).

use std::collections::{BTreeMap, VecDeque};

use asterism_proto::hash::Hash;
use asterism_proto::{Origin, PublicKey, Role};

use super::origins::{OriginState, Origins};
use super::{CheckpointCheck, CheckpointCounts, LastFrame, LogCreated, SeenCheckpoint, Sequencer};
use crate::codec::{Cursor, put_slice16, put_u64};
use crate::growth::Growth;
use crate::merkle::Frontier;
use crate::record::StreamAt;

/// Which rules and layout the bytes are of: other rules would have judged otherwise.
const VERSION: u8 = 2;

impl Sequencer {
    /// All of it. [`Sequencer::from_bytes`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A new field is an error here, so that none is forgotten.
        let Self {
            fleet,
            configured_anchor,
            created,
            origins,
            tree,
            record_time_ms,
            position,
            last,
            recent,
            checkpoint,
            checkpoint_counts,
            awaiting_continues,
            growth,
        } = self;
        let mut out = vec![VERSION];
        put_slice16(&mut out, fleet.as_bytes());
        put_option(&mut out, configured_anchor.as_ref(), |out, anchor| out.extend_from_slice(anchor));
        put_option(&mut out, created.as_ref(), put_created);
        put_origins(&mut out, origins);
        put_slice16(&mut out, &tree.to_bytes());
        put_u64(&mut out, *record_time_ms);
        put_option(&mut out, position.as_ref(), put_at);
        put_option(&mut out, last.as_ref(), |out, last| {
            out.extend_from_slice(&last.header_hash);
            put_at(out, &last.at);
        });
        put_u64(&mut out, recent.len() as u64);
        for (size, root) in recent {
            put_u64(&mut out, *size);
            out.extend_from_slice(root);
        }
        put_option(&mut out, checkpoint.as_ref(), put_checkpoint);
        for count in [checkpoint_counts.agreed, checkpoint_counts.differed, checkpoint_counts.unchecked] {
            put_u64(&mut out, count);
        }
        out.push(u8::from(*awaiting_continues));
        growth.put(&mut out);
        out
    }

    /// Reads back what [`Sequencer::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u8()? != VERSION {
            return None;
        }
        let mut sequencer = Self {
            fleet: text(&mut cursor)?,
            configured_anchor: option(&mut cursor, Cursor::array)?,
            created: option(&mut cursor, created)?,
            origins: origins(&mut cursor)?,
            tree: Frontier::from_bytes(cursor.slice16()?)?,
            record_time_ms: cursor.u64()?,
            position: option(&mut cursor, at)?,
            last: option(&mut cursor, |cursor| {
                Some(LastFrame { header_hash: cursor.array()?, at: at(cursor)? })
            })?,
            recent: recent(&mut cursor)?,
            checkpoint: option(&mut cursor, checkpoint)?,
            checkpoint_counts: CheckpointCounts {
                agreed: cursor.u64()?,
                differed: cursor.u64()?,
                unchecked: cursor.u64()?,
            },
            awaiting_continues: flag(&mut cursor)?,
            growth: Growth::default(),
        };
        sequencer.growth = Growth::take(&mut cursor, &sequencer.tree)?;
        (cursor.is_empty() && sequencer.to_bytes() == bytes).then_some(sequencer)
    }
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_at(out: &mut Vec<u8>, at: &StreamAt) {
    put_u64(out, at.sequence);
    put_u64(out, at.time_ms);
}

fn put_created(out: &mut Vec<u8>, created: &LogCreated) {
    out.extend_from_slice(&created.anchor);
    out.extend_from_slice(&created.fleet_key.to_bytes());
    out.extend_from_slice(&created.log_key.to_bytes());
    put_u64(out, created.created_at_ms);
    put_u64(out, created.role_keys.len() as u64);
    for (role, key) in &created.role_keys {
        put_slice16(out, role.name().as_bytes());
        out.extend_from_slice(&key.to_bytes());
    }
}

fn put_origins(out: &mut Vec<u8>, origins: &Origins) {
    put_u64(out, origins.known.len() as u64);
    for (origin, state) in &origins.known {
        put_slice16(out, origin.to_string().as_bytes());
        out.extend_from_slice(&state.key.to_bytes());
        out.extend_from_slice(&state.epoch);
        put_u64(out, state.number);
        put_u64(out, state.term);
        out.push(u8::from(state.closed));
        put_u64(out, state.end);
        put_u64(out, state.past_epochs.len() as u64);
        state.past_epochs.iter().for_each(|epoch| out.extend_from_slice(epoch));
    }
}

fn put_checkpoint(out: &mut Vec<u8>, seen: &SeenCheckpoint) {
    put_u64(out, seen.size);
    out.extend_from_slice(&seen.root);
    put_u64(out, seen.position);
    out.push(match seen.check {
        CheckpointCheck::Agrees => 0,
        CheckpointCheck::Differs => 1,
        CheckpointCheck::TooOld => 2,
    });
}

fn flag(cursor: &mut Cursor<'_>) -> Option<bool> {
    match cursor.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// `None`: malformed; `Some(None)`: there is none.
#[allow(clippy::option_option, reason = "the outer one is the parser's")]
fn option<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
) -> Option<Option<T>> {
    if flag(cursor)? { read(cursor).map(Some) } else { Some(None) }
}

fn text(cursor: &mut Cursor<'_>) -> Option<String> {
    std::str::from_utf8(cursor.slice16()?).ok().map(str::to_owned)
}

fn at(cursor: &mut Cursor<'_>) -> Option<StreamAt> {
    Some(StreamAt { sequence: cursor.u64()?, time_ms: cursor.u64()? })
}

fn key(cursor: &mut Cursor<'_>) -> Option<PublicKey> {
    PublicKey::from_bytes(cursor.take(32)?).ok()
}

fn created(cursor: &mut Cursor<'_>) -> Option<LogCreated> {
    let (anchor, fleet_key, log_key) = (cursor.array()?, key(cursor)?, key(cursor)?);
    let created_at_ms = cursor.u64()?;
    let mut role_keys = BTreeMap::new();
    for _ in 0..cursor.u64()? {
        let role: Role = text(cursor)?.parse().ok()?;
        role_keys.insert(role, key(cursor)?);
    }
    Some(LogCreated { anchor, fleet_key, log_key, created_at_ms, role_keys })
}

fn origins(cursor: &mut Cursor<'_>) -> Option<Origins> {
    let mut known = BTreeMap::new();
    for _ in 0..cursor.u64()? {
        let origin: Origin = text(cursor)?.parse().ok()?;
        let mut state = OriginState::new(key(cursor)?, cursor.array()?);
        state.number = cursor.u64()?;
        state.term = cursor.u64()?;
        state.closed = flag(cursor)?;
        state.end = cursor.u64()?;
        for _ in 0..cursor.u64()? {
            state.past_epochs.push(cursor.array()?);
        }
        known.insert(origin, state);
    }
    Some(Origins::from_known(known))
}

fn recent(cursor: &mut Cursor<'_>) -> Option<VecDeque<(u64, Hash)>> {
    let count = cursor.u64()?;
    // Nothing is reserved on the word of a number.
    let mut recent = VecDeque::new();
    for _ in 0..count {
        recent.push_back((cursor.u64()?, cursor.array()?));
    }
    Some(recent)
}

fn checkpoint(cursor: &mut Cursor<'_>) -> Option<SeenCheckpoint> {
    let (size, root, position) = (cursor.u64()?, cursor.array()?, cursor.u64()?);
    let check = match cursor.u8()? {
        0 => CheckpointCheck::Agrees,
        1 => CheckpointCheck::Differs,
        2 => CheckpointCheck::TooOld,
        _ => return None,
    };
    Some(SeenCheckpoint { size, root, position, check })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{FLEET, Script};

    #[test]
    fn a_sequencer_read_back_judges_as_the_one_that_went_on() {
        let script = Script::with_frames(60);
        let mut straight = Sequencer::new(FLEET, None);
        let mut resumed = Sequencer::new(FLEET, None);
        for (bytes, at) in &script.frames {
            assert_eq!(straight.judge(bytes, *at), resumed.judge(bytes, *at));
            let saved = resumed.to_bytes();
            resumed = Sequencer::from_bytes(&saved).unwrap();
            assert_eq!(resumed.to_bytes(), saved);
        }
        assert_eq!(resumed.root(), script.sequencer.root());
        assert_eq!(resumed.marks(), script.sequencer.marks());
        // Every cut and every byte more is something else.
        let saved = resumed.to_bytes();
        for length in (0..saved.len()).step_by(97) {
            assert!(Sequencer::from_bytes(&saved[..length]).is_none(), "cut at {length}");
        }
        assert!(Sequencer::from_bytes(&[saved.as_slice(), &[0]].concat()).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(first) = bytes.first_mut() { *first = VERSION; }
            let _ = Sequencer::from_bytes(&bytes);
        }
    }
}

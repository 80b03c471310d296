//! The spool, pure: facts become signed frames, and a frame stays until a checkpoint covers it.
//!
//! It holds in memory only what waits to be framed (at most one frame's worth) and the numbers of the frames; the
//! bytes are in the store. Facts are cut into a frame when the last one was acknowledged and the pace allows, or when
//! a frame is full, bus or no bus.

use std::collections::{BTreeMap, VecDeque};

use asterism_proto::frame::{EVENT_MAX_BYTES, FRAME_MAX_BYTES, FRAME_MAX_EVENTS};
use asterism_proto::{FrameDraft, FrameError, Origin, OriginKey};
use serde::{Deserialize, Serialize};

/// Room a frame keeps for header, signature and field tags.
const FRAME_HEAD_BYTES: usize = 1024;
/// Room each event takes beyond its own bytes.
const EVENT_HEAD_BYTES: usize = 8;

/// A change of the spool the store makes durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpoolChange {
    /// A fact: number, when it was written, its event.
    PutFact {
        /// Its number in this spool, from 1.
        fact: u64,
        /// When it was written, ms.
        at_ms: u64,
        /// The encoded event.
        event: Vec<u8>,
    },
    /// A signed frame over all facts up to `last_fact`, which leave with it.
    PutFrame {
        /// Its number.
        number: u64,
        /// About it.
        held: HeldFrame,
        /// The frame as it is published, each time with the same bytes.
        bytes: Vec<u8>,
    },
    /// A checkpoint covers all frames up to this number.
    DropFrames(u64),
}

/// What is known of a frame in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeldFrame {
    /// The last fact in it.
    pub last_fact: u64,
    /// When its oldest fact was written, ms.
    pub oldest_ms: u64,
    /// How long it is.
    pub size_bytes: u64,
}

/// A fact that is not framed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub fact: u64,
    /// When it was written, ms.
    pub at_ms: u64,
    /// The encoded event.
    pub event: Vec<u8>,
}

/// What the store held when the agent started.
#[derive(Debug, Clone, Default)]
pub struct SavedSpool {
    /// Facts no frame holds, in order.
    pub facts: Vec<Waiting>,
    /// Frames no checkpoint covers.
    pub frames: BTreeMap<u64, HeldFrame>,
    /// The highest frame number ever given.
    pub last_number: u64,
    /// The highest fact number ever framed.
    pub last_framed: u64,
}

/// Who signs.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The fleet's id.
    pub fleet: String,
    /// This node.
    pub origin: Origin,
    /// Born with the spool.
    pub epoch: [u8; 16],
    /// The node's key.
    pub key: OriginKey,
}

/// The spool's state.
#[derive(Debug)]
pub struct Spool {
    limit_bytes: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    frames: BTreeMap<u64, HeldFrame>,
    held_bytes: u64,
    last_number: u64,
    last_fact: u64,
    /// The last fact someone waits for.
    last_owed: u64,
    /// Every fact up to this one is covered.
    covered_fact: u64,
    /// Highest frame synced in the store.
    durable: u64,
    /// Next frame to publish.
    cursor: u64,
}

impl Spool {
    /// As the store held it. Frames are published again from the oldest: the log drops what it has.
    pub fn new(limit_bytes: u64, saved: SavedSpool) -> Self {
        let last_fact = saved.facts.last().map_or(saved.last_framed, |fact| fact.fact);
        let first_held = saved.frames.first_key_value().map_or(saved.last_number + 1, |(number, _)| *number);
        let covered_fact = if saved.frames.is_empty() {
            saved.last_framed
        } else {
            0 // unknown, but below everything held
        };
        Self {
            limit_bytes,
            waiting_bytes: saved.facts.iter().map(|fact| cost(&fact.event)).sum(),
            waiting: saved.facts.into(),
            held_bytes: saved.frames.values().map(|frame| frame.size_bytes).sum(),
            frames: saved.frames,
            last_number: saved.last_number,
            last_fact,
            last_owed: last_fact,
            covered_fact,
            durable: saved.last_number,
            cursor: first_held,
        }
    }

    /// Takes a fact. Too long an event is refused: it could never be published.
    pub fn push(&mut self, event: Vec<u8>, at_ms: u64, routine: bool) -> Result<SpoolChange, FrameError> {
        if event.len() > EVENT_MAX_BYTES {
            return Err(FrameError::Limit("6 KiB an event"));
        }
        self.last_fact += 1;
        if !routine {
            self.last_owed = self.last_fact;
        }
        self.waiting_bytes += cost(&event);
        self.waiting.push_back(Waiting { fact: self.last_fact, at_ms, event: event.clone() });
        Ok(SpoolChange::PutFact { fact: self.last_fact, at_ms, event })
    }

    /// Whether a whole frame's worth waits.
    pub fn has_full_frame(&self) -> bool {
        self.waiting.len() >= FRAME_MAX_EVENTS
            || self.waiting_bytes + FRAME_HEAD_BYTES + EVENT_MAX_BYTES > FRAME_MAX_BYTES
    }

    /// Whether anything waits to be framed.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Signs what waits into the next frame.
    pub fn cut(&mut self, signer: &Signer) -> Result<Option<SpoolChange>, FrameError> {
        let Some(oldest_ms) = self.waiting.front().map(|fact| fact.at_ms) else { return Ok(None) };
        let mut events = Vec::new();
        let mut bytes = FRAME_HEAD_BYTES;
        let mut last_fact = 0;
        while let Some(next) = self.waiting.front() {
            if events.len() == FRAME_MAX_EVENTS || bytes + cost(&next.event) > FRAME_MAX_BYTES {
                break;
            }
            let Some(fact) = self.waiting.pop_front() else { break };
            bytes += cost(&fact.event);
            self.waiting_bytes -= cost(&fact.event);
            last_fact = fact.fact;
            events.push(fact.event);
        }
        let number = self.last_number + 1;
        let draft = FrameDraft {
            fleet: &signer.fleet,
            origin: &signer.origin,
            epoch: signer.epoch,
            number,
            term: 0,
            based_on: 0,
        };
        let frame = draft.sign(&signer.key, events)?;
        let held = HeldFrame { last_fact, oldest_ms, size_bytes: frame.len() as u64 };
        self.last_number = number;
        self.frames.insert(number, held);
        self.held_bytes += held.size_bytes;
        Ok(Some(SpoolChange::PutFrame { number, held, bytes: frame }))
    }

    /// The frame is synced: it may leave.
    pub fn on_durable(&mut self, number: u64) {
        self.durable = self.durable.max(number);
    }

    /// The next frame to publish, if there is one.
    pub fn next(&self) -> Option<u64> {
        (self.cursor <= self.durable && self.frames.contains_key(&self.cursor)).then_some(self.cursor)
    }

    /// The stream has the frame.
    pub fn on_acked(&mut self, number: u64) {
        self.cursor = self.cursor.max(number + 1);
    }

    /// The log misses frames from this number on: they are published again. `false`: that frame is not held, so that
    /// nothing published here could close the gap.
    pub fn resend(&mut self, from_number: u64) -> bool {
        let held = self.frames.contains_key(&from_number);
        if held {
            self.cursor = self.cursor.min(from_number);
        }
        held
    }

    /// Up to which number nothing is held from this one on; 0 if it is held, or was never given.
    pub fn lost_to(&self, from_number: u64) -> u64 {
        let next = self.frames.range(from_number..).next().map(|(number, _)| *number);
        let lost_to = next.map_or(self.last_number, |next| next - 1);
        if lost_to >= from_number { lost_to } else { 0 }
    }

    /// A checkpoint covers this node's frames up to `number`. A number never given is not believed.
    pub fn cover(&mut self, number: u64) -> Option<SpoolChange> {
        if number > self.last_number || self.frames.range(..=number).next().is_none() {
            return None;
        }
        while let Some(entry) = self.frames.first_entry() {
            if *entry.key() > number {
                break;
            }
            let frame = entry.remove();
            self.held_bytes -= frame.size_bytes;
            self.covered_fact = frame.last_fact;
        }
        self.cursor = self.cursor.max(number + 1);
        Some(SpoolChange::DropFrames(number))
    }

    /// Whether a checkpoint covers every fact that someone waits for.
    pub fn is_settled(&self) -> bool {
        self.covered_fact >= self.last_owed
    }

    /// Whether facts wait that the stream has not acknowledged.
    pub fn has_unpublished(&self) -> bool {
        !self.waiting.is_empty() || self.cursor <= self.last_number
    }

    /// The frames that no checkpoint covers: the first and the last.
    pub fn uncovered_frames(&self) -> Option<(u64, u64)> {
        let (first, last) = (self.frames.first_key_value()?, self.frames.last_key_value()?);
        Some((*first.0, *last.0))
    }

    /// When the oldest fact was written that no checkpoint covers, ms.
    pub fn uncovered_ms(&self) -> Option<u64> {
        let framed = self.frames.values().next().map(|frame| frame.oldest_ms);
        framed.or_else(|| self.waiting.front().map(|fact| fact.at_ms))
    }

    /// Whether it takes no more orders. Facts of calls that already are go on being taken.
    pub fn is_full(&self) -> bool {
        self.held_bytes + self.waiting_bytes as u64 >= self.limit_bytes
    }

    /// Frames held.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> u64 {
        self.held_bytes + self.waiting_bytes as u64
    }
}

fn cost(event: &[u8]) -> usize {
    event.len() + EVENT_HEAD_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_proto::OpenFrame;
    use proptest::prelude::*;

    use super::*;

    fn signer() -> Signer {
        Signer {
            fleet: "f".into(),
            origin: Origin::Node("i-1".into()),
            epoch: [5; 16],
            key: OriginKey::from_entropy([3; 32]),
        }
    }

    fn cut(spool: &mut Spool) -> (u64, Vec<u8>) {
        let Some(SpoolChange::PutFrame { number, bytes, .. }) = spool.cut(&signer()).unwrap() else {
            panic!("nothing to cut")
        };
        spool.on_durable(number);
        (number, bytes)
    }

    #[test]
    fn a_frame_leaves_when_synced_and_goes_when_covered() {
        let mut spool = Spool::new(1 << 20, SavedSpool::default());
        assert!(spool.is_settled());
        spool.push(b"one".to_vec(), 10, false).unwrap();
        let Some(SpoolChange::PutFrame { number: 1, .. }) = spool.cut(&signer()).unwrap() else { panic!() };
        assert_eq!(spool.next(), None, "not synced yet");
        spool.on_durable(1);
        assert_eq!(spool.next(), Some(1));
        spool.on_acked(1);
        assert_eq!((spool.next(), spool.has_unpublished(), spool.is_settled()), (None, false, false));
        assert_eq!(spool.uncovered_ms(), Some(10));
        assert_eq!(spool.uncovered_frames(), Some((1, 1)));
        assert_eq!(spool.cover(9), None, "a mark beyond what was written is no mark of ours");
        assert_eq!(spool.cover(1), Some(SpoolChange::DropFrames(1)));
        assert!(spool.is_settled());
        assert_eq!((spool.frame_count(), spool.size_bytes(), spool.uncovered_ms()), (0, 0, None));
        assert_eq!(spool.uncovered_frames(), None);
        spool.push(b"load".to_vec(), 20, true).unwrap();
        assert!(spool.is_settled(), "nobody waits for a routine fact");
    }

    #[test]
    fn a_restart_publishes_what_no_checkpoint_covers_and_numbers_go_on() {
        let frames = BTreeMap::from([
            (4, HeldFrame { last_fact: 40, oldest_ms: 1, size_bytes: 100 }),
            (5, HeldFrame { last_fact: 50, oldest_ms: 2, size_bytes: 100 }),
        ]);
        let facts = vec![Waiting { fact: 51, at_ms: 3, event: b"x".to_vec() }];
        let mut spool = Spool::new(1 << 20, SavedSpool { facts, frames, last_number: 5, last_framed: 50 });
        assert_eq!(spool.next(), Some(4));
        spool.on_acked(4);
        spool.on_acked(5);
        assert_eq!(cut(&mut spool).0, 6);
        spool.on_acked(6);
        assert!(spool.resend(5));
        assert_eq!(spool.next(), Some(5));
        assert!(
            !spool.resend(1) && !spool.resend(7),
            "what is covered or was never cut is not there to be sent"
        );
        assert_eq!([1, 3, 4, 6, 7].map(|from| spool.lost_to(from)), [3, 3, 0, 0, 0]);
        assert_eq!(spool.next(), Some(5));
        spool.cover(6);
        assert!(spool.is_settled());
        assert_eq!((spool.next(), spool.lost_to(5), spool.lost_to(7)), (None, 6, 0));
    }

    proptest! {
        #[test]
        fn every_fact_is_in_one_frame_in_order(sizes in proptest::collection::vec(0_usize..EVENT_MAX_BYTES, 1..60)) {
            let mut spool = Spool::new(1 << 30, SavedSpool::default());
            let events: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
            for event in &events {
                spool.push(event.clone(), 0, false).unwrap();
            }
            let mut framed = Vec::new();
            let mut number = 0;
            while spool.has_waiting() {
                let (cut, bytes) = cut(&mut spool);
                number += 1;
                prop_assert_eq!(cut, number);
                framed.extend(Vec::from(&OpenFrame::read(&bytes).unwrap().events));
            }
            prop_assert_eq!(framed, events);
        }
    }
}

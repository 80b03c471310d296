//! The spool, pure: what is held, what a checkpoint's mark drops, what a resend gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use asterism_proto::{Origin, PublicKey, v1};

/// A log within the log: the numbers of one origin count in one epoch.
pub type LogId = (Origin, [u8; 16]);

/// Checkpoints that do not know a process of an earlier life before its frames go: it was closed, and covered then.
const UNNAMED_MAX: u32 = 3;

/// What became of a frame that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Held from now on.
    New,
    /// Held already, or covered.
    Known,
    /// There is no room.
    Full,
}

/// Files that have nothing to hold any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Whose.
    pub log: LogId,
    /// Up to this number; all of them without one.
    pub up_to: Option<u64>,
}

/// Frames that no checkpoint covers yet.
#[derive(Debug)]
pub struct Held {
    limit_bytes: u64,
    bytes: u64,
    logs: BTreeMap<LogId, Frames>,
    /// The newest checkpoint heard of, in this life or an earlier one.
    heard: Option<Heard>,
}

/// A checkpoint's place: an older one heard again says nothing, and could end a term that it does not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Whose log: sizes of another one do not compare.
    pub log_key: PublicKey,
    /// Events covered.
    pub size: u64,
}

#[derive(Debug, Default)]
struct Frames {
    held: BTreeMap<u64, Arc<[u8]>>,
    /// A checkpoint covers all up to here.
    covered: u64,
    /// From an earlier life of this process: nothing is added.
    former: bool,
    /// A checkpoint has named this epoch, so one that names another comes after it.
    named: bool,
    /// Checkpoints in a row that did not know the origin.
    unnamed: u32,
}

impl Held {
    /// An empty one that takes so many bytes of frames.
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, bytes: 0, logs: BTreeMap::new(), heard: None }
    }

    /// A frame from the disk, written in an earlier life.
    pub fn reload(&mut self, log: LogId, number: u64, frame: Arc<[u8]>) {
        let frames = self.logs.entry(log).or_default();
        (frames.former, frames.named) = (true, true);
        self.bytes += frame.len() as u64;
        if let Some(twice) = frames.held.insert(number, frame) {
            self.bytes -= twice.len() as u64;
        }
    }

    /// Takes a frame the stream has acknowledged.
    pub fn push(&mut self, log: LogId, number: u64, frame: Arc<[u8]>) -> Taken {
        let room = self.limit_bytes.saturating_sub(self.bytes);
        let frames = self.logs.entry(log).or_default();
        if number <= frames.covered || frames.held.contains_key(&number) {
            return Taken::Known;
        }
        // What is there is held on to: a hole can be filled only from its first frame on.
        if frame.len() as u64 > room {
            return Taken::Full;
        }
        frames.former = false;
        self.bytes += frame.len() as u64;
        frames.held.insert(number, frame);
        Taken::New
    }

    /// The newest checkpoint heard of in an earlier life.
    pub fn reload_heard(&mut self, heard: Heard) {
        self.heard = Some(heard);
    }

    /// A checkpoint of a log that its key has signed; nothing without news. What must be kept of it, and what it drops.
    pub fn hear(&mut self, log_key: PublicKey, notice: &v1::NoticeBody) -> Option<(Heard, Vec<Dropped>)> {
        let heard = Heard { log_key, size: notice.size };
        if self.heard.is_some_and(|before| before.log_key == log_key && before.size >= notice.size) {
            return None;
        }
        self.heard = Some(heard);
        Some((heard, self.cover(&notice.marks)))
    }

    /// The last frame of every open origin, and of those closed since the checkpoint before.
    fn cover(&mut self, marks: &[v1::Mark]) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for (log, frames) in &mut self.logs {
            let spelt = log.0.to_string();
            let mark = marks.iter().find(|mark| mark.origin == spelt);
            let up_to = match mark {
                Some(mark) if mark.epoch == log.1 => {
                    (frames.named, frames.unnamed) = (true, 0);
                    Some(mark.number).filter(|number| *number > frames.covered)
                }
                // Another leads: nothing of this term counts any more.
                Some(_) => frames.named.then_some(u64::MAX),
                None if frames.former && matches!(log.0, Origin::Proc(..)) => {
                    frames.unnamed += 1;
                    (frames.unnamed >= UNNAMED_MAX).then_some(u64::MAX)
                }
                None => None,
            };
            let Some(up_to) = up_to else { continue };
            frames.covered = up_to;
            let rest = up_to.checked_add(1).map(|first| frames.held.split_off(&first)).unwrap_or_default();
            let gone = std::mem::replace(&mut frames.held, rest);
            if !gone.is_empty() {
                self.bytes -= gone.values().map(|frame| frame.len() as u64).sum::<u64>();
                dropped.push(Dropped { log: log.clone(), up_to: (up_to < u64::MAX).then_some(up_to) });
            }
        }
        self.logs
            .retain(|_, frames| !frames.held.is_empty() || (frames.covered < u64::MAX && !frames.former));
        dropped
    }

    /// Every frame from this number on, if that one is held: what comes behind a hole is of no use.
    pub fn resend(&self, log: &LogId, from: u64) -> Vec<Arc<[u8]>> {
        let Some(frames) = self.logs.get(log).filter(|frames| frames.held.contains_key(&from)) else {
            return Vec::new();
        };
        frames.held.range(from..).map(|(_, frame)| frame.clone()).collect()
    }

    /// Up to which number nothing of a log is held from this one on, where something behind it is: whoever holds that has
    /// written all of it. 0 if that is not known.
    pub fn lost_to(&self, log: &LogId, from: u64) -> u64 {
        let next = self.logs.get(log).and_then(|frames| frames.held.range(from..).next());
        next.map_or(0, |(number, _)| if *number > from { number - 1 } else { 0 })
    }

    /// Whether frames of this log are held.
    pub fn holds(&self, log: &LogId) -> bool {
        self.logs.get(log).is_some_and(|frames| !frames.held.is_empty())
    }

    /// Frames held.
    pub fn frames(&self) -> usize {
        self.logs.values().map(|frames| frames.held.len()).sum()
    }

    /// Bytes of frames held.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_proto::Role;
    use proptest::prelude::*;

    use super::*;

    fn log(epoch: u8) -> LogId {
        (Origin::Role(Role::Dialer), [epoch; 16])
    }

    fn mark(log: &LogId, number: u64) -> v1::Mark {
        v1::Mark { origin: log.0.to_string(), epoch: log.1.to_vec(), number }
    }

    fn frame(number: u64) -> Arc<[u8]> {
        vec![number as u8; 10].into()
    }

    #[test]
    fn a_full_one_holds_on_to_what_it_has_and_a_mark_makes_room() {
        let mut held = Held::new(25);
        assert_eq!(held.push(log(1), 1, frame(1)), Taken::New);
        assert_eq!(held.push(log(1), 1, frame(1)), Taken::Known);
        assert_eq!(held.push(log(1), 2, frame(2)), Taken::New);
        assert_eq!(held.push(log(1), 3, frame(3)), Taken::Full);
        assert_eq!(held.resend(&log(1), 1), [frame(1), frame(2)]);
        held.cover(&[mark(&log(1), 1)]);
        assert_eq!(held.push(log(1), 1, frame(1)), Taken::Known, "covered frames do not come back");
        assert_eq!((held.frames(), held.bytes()), (1, 10));
        assert_eq!(
            held.resend(&log(1), 1),
            Vec::<Arc<[u8]>>::new(),
            "what lacks its first frame fills no hole"
        );
    }

    #[test]
    fn a_term_is_over_when_a_checkpoint_names_the_next_one_but_a_new_one_is_not() {
        let mut held = Held::new(1_000);
        held.push(log(2), 1, frame(1));
        assert_eq!(held.cover(&[mark(&log(1), 9)]), [], "a checkpoint from before the election");
        held.push(log(2), 2, frame(2));
        held.cover(&[mark(&log(2), 1)]);
        assert_eq!(held.cover(&[mark(&log(3), 1)]), [Dropped { log: log(2), up_to: None }]);
        held.reload(log(4), 7, frame(7));
        assert_eq!(held.cover(&[mark(&log(5), 1)]), [Dropped { log: log(4), up_to: None }]);
        assert_eq!((held.frames(), held.bytes()), (0, 0));
    }

    #[test]
    fn a_process_of_an_earlier_life_goes_when_no_checkpoint_knows_it() {
        let mut held = Held::new(1_000);
        let process = |id: &str| (Origin::Proc(Role::LogicResponder, id.to_owned()), [1; 16]);
        held.reload(process("old"), 1, frame(1));
        held.push(process("new"), 1, frame(1));
        assert_eq!((held.cover(&[]), held.cover(&[])), (vec![], vec![]));
        assert_eq!(held.cover(&[]), [Dropped { log: process("old"), up_to: None }]);
        assert!(held.holds(&process("new")), "its own first frame may be the one that is missing");
    }

    #[test]
    fn an_old_checkpoint_heard_again_ends_no_term_and_counts_for_nothing() {
        let key = |byte| asterism_proto::OriginKey::from_entropy([byte; 32]).public();
        let says =
            |size, marks: &[v1::Mark]| v1::NoticeBody { size, marks: marks.to_vec(), ..Default::default() };
        let (former, own) = (log(1), log(2));
        let process = (Origin::Proc(Role::LogicResponder, "old".to_owned()), [1; 16]);
        let mut held = Held::new(1_000);
        held.push(own.clone(), 1, frame(1));
        held.push(own.clone(), 2, frame(2));
        held.reload(process.clone(), 1, frame(1));
        let (old, new) = (says(10, &[mark(&former, 9)]), says(20, &[mark(&own, 1)]));
        let heard = held.hear(key(1), &new).unwrap().0;
        for _ in 0..=UNNAMED_MAX {
            assert_eq!((held.hear(key(1), &old), held.hear(key(1), &new)), (None, None));
        }
        assert_eq!((held.holds(&own), held.holds(&process)), (true, true));

        let mut next = Held::new(1_000);
        next.reload(own.clone(), 2, frame(2));
        next.reload_heard(heard);
        assert_eq!(next.hear(key(1), &old), None, "in the next life neither");
        assert!(next.hear(key(2), &old).is_some(), "another log counts from its own beginning");
    }

    proptest! {
        #[test]
        fn what_no_mark_covers_is_given_again_in_order(
            steps in proptest::collection::vec((any::<bool>(), 1u64..40), 1..80)
        ) {
            let (mut held, mut next, mut covered) = (Held::new(1 << 20), 1, 0);
            for (push, number) in steps {
                if push {
                    prop_assert_eq!(held.push(log(1), next, frame(next)), Taken::New);
                    next += 1;
                } else if number < next {
                    held.cover(&[mark(&log(1), number)]);
                    covered = covered.max(number);
                }
                let expected: Vec<_> = (covered + 1..next).map(frame).collect();
                prop_assert_eq!(held.bytes(), expected.len() as u64 * 10);
                prop_assert_eq!(held.resend(&log(1), covered + 1), expected);
                prop_assert!(covered == 0 || held.resend(&log(1), covered).is_empty());
            }
        }
    }
}

//! Three copies of one stream, killed, resumed and behind one another: equal roots at equal positions.

use std::collections::BTreeMap;

use asterism_proto::hash::{Hash, sha256};
use proptest::prelude::*;

use crate::record::{AcceptedFrame, StreamAt};
use crate::sequencer::{Sequencer, SignatureCheck, Verdict};
use crate::testkit::{FLEET, Script, opaque};

/// What somebody puts into the stream beside the honest frames in order: duplicates, frames that come too early, and
/// frames that must not count.
#[derive(Debug, Clone)]
enum Put {
    Honest(usize),
    Forged(usize),
    Bent(usize, usize),
}

/// One thing that happens to a copy.
#[derive(Debug, Clone)]
enum Step {
    /// It reads so many messages.
    Read(usize),
    /// It is killed: what it had not synced is gone (so many frames), and it reads on behind the last one it has.
    Kill(usize),
}

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let one = prop_oneof![
        6 => any::<usize>().prop_map(Put::Honest),
        1 => (0usize..6).prop_map(Put::Forged),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(frame, bit)| Put::Bent(frame, bit)),
    ];
    prop::collection::vec(one, 20..100)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![3 => (1usize..30).prop_map(Step::Read), 1 => (0usize..20).prop_map(Step::Kill)];
    prop::collection::vec(one, 5..25)
}

/// The stream's messages, from sequence 1 on: what was put, mixed with every honest frame in order.
fn stream(script: &Script, puts: &[Put]) -> Vec<Vec<u8>> {
    let honest = |index: usize| script.frames[index % script.frames.len()].0.clone();
    let mut stream = Vec::new();
    let mut next = script.frames.iter();
    for put in puts {
        stream.push(match put {
            Put::Honest(index) => honest(*index),
            Put::Forged(writer) => {
                let mut forger = script.writers[*writer].clone();
                forger.key = script.writers[writer + 1].key.clone();
                forger.frame(vec![opaque(7, 30)])
            }
            Put::Bent(index, bit) => {
                let mut bytes = honest(*index);
                let place = bit / 8 % bytes.len();
                bytes[place] ^= 1 << (bit % 8);
                bytes
            }
        });
        stream.extend(next.next().map(|(bytes, _)| bytes.clone()));
    }
    // The origins are asked to send again until nothing is missing.
    stream.extend(script.frames.iter().map(|(bytes, _)| bytes.clone()));
    stream
}

/// A copy as a process has it: what is on its disk, and what it has folded.
struct Copy {
    disk: Vec<AcceptedFrame>,
    sequencer: Sequencer,
    read: usize,
    /// What a reader without a sequencer would have: a hash over all it was handed.
    naive: Hash,
}

impl Copy {
    fn new() -> Self {
        Self { disk: Vec::new(), sequencer: Sequencer::new(FLEET, None), read: 0, naive: Hash::default() }
    }

    /// Reads the next message; gives its stream sequence.
    fn read(&mut self, stream: &[Vec<u8>]) -> Option<u64> {
        let bytes = stream.get(self.read)?;
        self.read += 1;
        let sequence = self.read as u64;
        self.naive = sha256(&[self.naive.as_slice(), bytes].concat());
        if let Verdict::Accepted(frame) =
            self.sequencer.judge(bytes, StreamAt { sequence, time_ms: sequence / 3 })
        {
            self.disk.push(frame);
        }
        Some(sequence)
    }

    /// As a process does at its start: the frames on disk again, then the stream behind the last of them.
    fn kill(&mut self, unsynced: usize) {
        self.disk.truncate(self.disk.len().saturating_sub(unsynced));
        self.sequencer = Sequencer::new(FLEET, None);
        for frame in &self.disk {
            let verdict = self.sequencer.readmit(frame.to_stored(), SignatureCheck::Check);
            assert!(matches!(verdict, Verdict::Accepted(ref again) if again == frame));
        }
        self.read = self.disk.last().map_or(0, |frame| frame.at.sequence as usize);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn three_copies_with_kills_and_resumes_have_equal_roots_at_equal_positions(
        puts in puts(), lives in prop::collection::vec(steps(), 3)
    ) {
        let script = Script::with_frames(24);
        let stream = stream(&script, &puts);
        // Every root any copy ever had at a place in the stream, and at a size of the log.
        let (mut by_sequence, mut by_size) = (BTreeMap::new(), BTreeMap::new());
        let mut naive = Vec::new();
        for life in lives {
            let mut copy = Copy::new();
            for step in life.into_iter().chain([Step::Read(usize::MAX)]) {
                let Step::Read(count) = step else {
                    let Step::Kill(unsynced) = step else { unreachable!() };
                    copy.kill(unsynced);
                    continue;
                };
                for _ in 0..count {
                    let Some(sequence) = copy.read(&stream) else { break };
                    let now = (copy.sequencer.size(), copy.sequencer.root());
                    prop_assert_eq!(*by_sequence.entry(sequence).or_insert(now), now, "at {}", sequence);
                    prop_assert_eq!(*by_size.entry(now.0).or_insert(now.1), now.1, "at size {}", now.0);
                }
            }
            prop_assert_eq!(copy.sequencer.size(), script.sequencer.size(), "nothing is missing");
            prop_assert_eq!(copy.sequencer.marks(), script.sequencer.marks());
            naive.push((copy.naive, copy.disk.len()));
        }
        prop_assert!(naive.iter().all(|(_, frames)| *frames == script.frames.len()));
    }
}

/// The control: without the sequencer a copy that was killed and read on has something else.
#[test]
fn a_reader_that_believes_what_it_is_handed_differs_after_one_kill() {
    let script = Script::with_frames(24);
    let stream = stream(&script, &[]);
    let (mut whole, mut killed) = (Copy::new(), Copy::new());
    while whole.read(&stream).is_some() {}
    for _ in 0..10 {
        killed.read(&stream);
    }
    killed.kill(4);
    while killed.read(&stream).is_some() {}
    assert_ne!(whole.naive, killed.naive);
    assert_eq!(whole.sequencer.root(), killed.sequencer.root());
}

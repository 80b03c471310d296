//! Many hashes at once: messages that do not depend on one another, hashed together where the machine can.

use std::cell::RefCell;

use sha2::{Digest, Sha256};

use super::Hash;
#[cfg(target_arch = "x86_64")]
use super::lanes;

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;
/// Most memory a thread keeps: the largest frame takes half of it.
const KEPT_MAX_BYTES: usize = 256 * 1024;

thread_local! {
    static KEPT: RefCell<Batch> = RefCell::default();
}
/// Fewer than this in the lanes are slower than one after the other.
#[cfg(target_arch = "x86_64")]
const TOGETHER_MIN: usize = 7;

/// Messages to be hashed, padded as SHA-256 lays down.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    /// Its first block.
    first: usize,
    /// Its own bytes.
    length: usize,
}

impl Message {
    const fn blocks(self) -> usize {
        (self.length + 1 + 8).div_ceil(BLOCK)
    }
}

impl Batch {
    /// The hashes of the messages that `fill` adds. Each thread keeps one batch's memory for all of them: a fresh one for
    /// a few messages costs as much as some of their hashes.
    pub fn hashes_of(fill: impl FnOnce(&mut Self)) -> Vec<Hash> {
        KEPT.with_borrow_mut(|batch| {
            batch.bytes.clear();
            batch.messages.clear();
            fill(batch);
            let hashes = batch.hashes();
            if batch.bytes.capacity() > KEPT_MAX_BYTES {
                *batch = Self::default();
            }
            hashes
        })
    }

    /// Adds a message: its parts behind one another.
    pub fn add<const PARTS: usize>(&mut self, parts: [&[u8]; PARTS]) {
        let begin = self.bytes.len();
        let message = Message { first: begin / BLOCK, length: parts.iter().map(|part| part.len()).sum() };
        let end = begin + message.blocks() * BLOCK;
        self.bytes.resize(end, 0);
        let mut at = begin;
        for part in parts {
            self.bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.bytes[at] = 0x80;
        self.bytes[end - 8..].copy_from_slice(&(message.length as u64 * 8).to_be_bytes());
        self.messages.push(message);
    }

    /// The hash of each message, in their order.
    pub fn hashes(&self) -> Vec<Hash> {
        #[cfg(target_arch = "x86_64")]
        if self.messages.len() >= TOGETHER_MIN
            && let Some(simd) = lanes::available()
        {
            return self.together(simd);
        }
        self.messages.iter().map(|message| self.alone(*message)).collect()
    }

    fn alone(&self, message: Message) -> Hash {
        let begin = message.first * BLOCK;
        Sha256::digest(&self.bytes[begin..begin + message.length]).into()
    }

    /// Those of about the same length share the lanes, so that few of them wait.
    #[cfg(target_arch = "x86_64")]
    fn together(&self, simd: pulp::x86::V4) -> Vec<Hash> {
        let blocks = self.bytes.as_chunks::<BLOCK>().0;
        // Length and place in one number: those sort fastest, and most come sorted.
        let numbered = (0_u64..).zip(&self.messages);
        let mut order: Vec<u64> =
            numbered.map(|(at, message)| (message.blocks() as u64) << 32 | at).collect();
        if self.messages.windows(2).any(|pair| pair[0].blocks() != pair[1].blocks()) {
            order.sort_unstable();
        }
        let mut hashes = vec![Hash::default(); order.len()];
        for group in order.chunks(lanes::TOGETHER_MAX) {
            if group.len() < TOGETHER_MIN {
                for at in group.iter().map(|numbered| *numbered as u32 as usize) {
                    hashes[at] = self.alone(self.messages[at]);
                }
                continue;
            }
            let mut padded: [&[lanes::Block]; lanes::TOGETHER_MAX] = [&[]; lanes::TOGETHER_MAX];
            for (lane, numbered) in padded.iter_mut().zip(group) {
                let message = self.messages[*numbered as u32 as usize];
                *lane = &blocks[message.first..message.first + message.blocks()];
            }
            for (numbered, hash) in group.iter().zip(lanes::hash(simd, &padded[..group.len()])) {
                hashes[*numbered as u32 as usize] = hash;
            }
        }
        hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch_of(messages: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::default();
        for (at, message) in messages.iter().enumerate() {
            let (one, other) = message.split_at(at % (message.len() + 1));
            batch.add([one, other]);
        }
        batch
    }

    #[track_caller]
    fn as_one_by_one(messages: &[Vec<u8>]) {
        let wanted: Vec<Hash> = messages.iter().map(|message| Sha256::digest(message).into()).collect();
        let batch = batch_of(messages);
        assert_eq!(batch.hashes(), wanted);
        let alone: Vec<Hash> = batch.messages.iter().map(|message| batch.alone(*message)).collect();
        assert_eq!(alone, wanted);
    }

    #[test]
    fn every_length_around_the_edges_of_blocks_has_its_hash() {
        as_one_by_one(&[]);
        for from in 0..200_usize {
            // each length in each lane, and the lanes of unlike lengths
            let messages: Vec<Vec<u8>> = (0..37).map(|i| vec![i as u8; from + i % 19 * (i % 3)]).collect();
            as_one_by_one(&messages);
        }
        as_one_by_one(&vec![vec![7; 6 * 1024 + 45]; 33]);
    }

    proptest! {
        #[test]
        fn any_messages_have_their_hashes(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..70)
        ) {
            as_one_by_one(&messages);
        }
    }
}

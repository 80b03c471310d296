//! What proves that the log only grew: from one checkpoint to the next, out of what a copy keeps as it reads.
//!
//! A proof from the newest checkpoint to the log's end needs the complete subtrees on both sides of the old edge and
//! nothing else: the old tree's peaks, and the subtrees of what came since. Those are at most 64 and 128 hashes whatever
//! the log's size. The next checkpoint covers a little less than the end, so the last leaves stay single.

use std::collections::VecDeque;

use asterism_proto::hash::{Hash, empty_root, node_hash};

use crate::codec::{Cursor, put_u64};
use crate::merkle::{Frontier, Row, grow};
use crate::proof::{self, Nodes, NotGathered};

/// Steps from checkpoint to checkpoint that are kept: almost three hours at one in ten seconds.
pub const STEPS_MAX: usize = 1_024;
/// Leaves that stay single: far more than come between a checkpoint's cut and its place in the log.
const LEAVES_MAX: usize = 8_192;
/// Most subtrees on one side of an edge.
const SIDE_MAX: u64 = 128;

/// A complete subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subtree {
    level: u32,
    index: u64,
    hash: Hash,
}

/// The log's growth between two sizes, with its proof (RFC 9162).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The smaller size.
    pub from: u64,
    /// Root at that size.
    pub from_root: Hash,
    /// The larger size.
    pub to: u64,
    /// Root at that size.
    pub to_root: Hash,
    /// What [`proof::check_consistency`] takes.
    pub path: Vec<Hash>,
}

/// What a copy keeps to prove growth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Growth {
    /// Size of the newest checkpoint; where this copy began before the first.
    from: u64,
    /// The complete subtrees of that size, the largest first.
    peaks: Vec<Subtree>,
    /// Those of what came since, up to `folded`.
    since: Vec<Subtree>,
    folded: u64,
    /// Leaves from `folded` on.
    leaves: VecDeque<Hash>,
    steps: VecDeque<Step>,
}

/// Subtrees as a proof asks for them.
struct Sides<'a>(&'a [Subtree], &'a [Subtree]);

impl Nodes for Sides<'_> {
    type Error = NotGathered;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, NotGathered> {
        let found = self.0.iter().chain(self.1).find(|tree| tree.level == level && tree.index == index);
        found.map(|tree| tree.hash).ok_or(NotGathered)
    }
}

impl Row for Vec<Subtree> {
    fn take(&mut self, level: u32, index: u64) -> Option<Hash> {
        self.pop_if(|last| (last.level, last.index) == (level, index)).map(|last| last.hash)
    }

    fn put(&mut self, level: u32, index: u64, hash: Hash) {
        self.push(Subtree { level, index, hash });
    }
}

impl Growth {
    /// Takes the next leaves of the log.
    pub(crate) fn extend(&mut self, leaves: &[Hash]) {
        let mut rest = leaves;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(LEAVES_MAX + 1 - self.leaves.len()));
            self.leaves.extend(now);
            rest = later;
            if self.leaves.len() > LEAVES_MAX {
                let folded: Vec<Hash> = self.leaves.drain(..LEAVES_MAX / 2).collect();
                grow(&mut self.since, self.folded, &folded);
                self.folded += folded.len() as u64;
            }
        }
    }

    /// A checkpoint of this size is in the log, and this copy agrees with it.
    pub(crate) fn checkpointed(&mut self, size: u64) {
        let Some((step, peaks)) = self.prove(size).filter(|(step, _)| step.to > step.from) else { return };
        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
        let taken = usize::try_from(size - self.folded).unwrap_or(usize::MAX).min(self.leaves.len());
        self.leaves.drain(..taken);
        (self.from, self.folded, self.peaks) = (size, size, peaks);
        self.since.clear();
    }

    /// From the newest checkpoint to a size of the last leaves. `None`: that is too long ago, or not there yet.
    pub fn to(&self, size: u64) -> Option<Step> {
        self.prove(size).map(|(step, _)| step)
    }

    /// The steps from a checkpoint on, the oldest first; empty if it is not remembered.
    pub fn steps_from(&self, size: u64) -> impl Iterator<Item = &Step> {
        self.steps.iter().skip_while(move |step| step.from != size)
    }

    fn prove(&self, size: u64) -> Option<(Step, Vec<Subtree>)> {
        let single = usize::try_from(size.checked_sub(self.folded)?).ok()?;
        if single > self.leaves.len() {
            return None;
        }
        let mut since = self.since.clone();
        let leaves: Vec<Hash> = self.leaves.iter().take(single).copied().collect();
        grow(&mut since, self.folded, &leaves);
        let path = proof::consistency(&mut Sides(&self.peaks, &since), self.from, size).ok()??;
        let mut peaks = self.peaks.clone();
        for tree in since {
            append(&mut peaks, tree);
        }
        let (from_root, to_root) = (root(&self.peaks), root(&peaks));
        Some((Step { from: self.from, from_root, to: size, to_root, path }, peaks))
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.from);
        put_u64(out, self.folded);
        for side in [&self.peaks, &self.since] {
            put_u64(out, side.len() as u64);
            for tree in side {
                put_u64(out, u64::from(tree.level));
                put_u64(out, tree.index);
                out.extend_from_slice(&tree.hash);
            }
        }
        put_u64(out, self.leaves.len() as u64);
        self.leaves.iter().for_each(|leaf| out.extend_from_slice(leaf));
        put_u64(out, self.steps.len() as u64);
        for step in &self.steps {
            put_u64(out, step.from);
            out.extend_from_slice(&step.from_root);
            put_u64(out, step.to);
            out.extend_from_slice(&step.to_root);
            put_u64(out, step.path.len() as u64);
            step.path.iter().for_each(|hash| out.extend_from_slice(hash));
        }
    }

    /// Reads back what [`Growth::put`] wrote for a log of this tree.
    pub(crate) fn take(cursor: &mut Cursor<'_>, tree: &Frontier) -> Option<Self> {
        let (from, folded) = (cursor.u64()?, cursor.u64()?);
        let (peaks, since) = (list(cursor, SIDE_MAX, take_subtree)?, list(cursor, SIDE_MAX, take_subtree)?);
        let leaves: VecDeque<Hash> = list(cursor, LEAVES_MAX as u64, Cursor::array)?.into();
        let steps = list(cursor, STEPS_MAX as u64, take_step)?.into();
        let growth = Self { from, peaks, since, folded, leaves, steps };
        let (ends, proved) = (folded.checked_add(growth.leaves.len() as u64)?, growth.to(tree.size())?);
        (ends == tree.size() && proved.to_root == tree.root()).then_some(growth)
    }
}

fn take_subtree(cursor: &mut Cursor<'_>) -> Option<Subtree> {
    let level = u32::try_from(cursor.u64()?).ok().filter(|level| *level < 64)?;
    Some(Subtree { level, index: cursor.u64()?, hash: cursor.array()? })
}

fn take_step(cursor: &mut Cursor<'_>) -> Option<Step> {
    let (from, from_root, to, to_root) = (cursor.u64()?, cursor.array()?, cursor.u64()?, cursor.array()?);
    Some(Step { from, from_root, to, to_root, path: list(cursor, SIDE_MAX, Cursor::array)? })
}

fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    at_most: u64,
    mut read: impl FnMut(&mut Cursor<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = cursor.u64().filter(|count| *count <= at_most)?;
    (0..count).map(|_| read(cursor)).collect()
}

/// Adds what stands right of the last subtree; two halves become one.
fn append(row: &mut Vec<Subtree>, mut new: Subtree) {
    while new.index & 1 == 1
        && let Some(left) = row.pop_if(|left| left.level == new.level && left.index == new.index - 1)
    {
        let hash = node_hash(&left.hash, &new.hash);
        new = Subtree { level: new.level + 1, index: new.index >> 1, hash };
    }
    row.push(new);
}

fn root(peaks: &[Subtree]) -> Hash {
    let mut peaks = peaks.iter().rev();
    let Some(last) = peaks.next() else { return empty_root() };
    peaks.fold(last.hash, |right, left| node_hash(&left.hash, &right))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_proto::hash::leaf_hash;
    use proptest::prelude::*;

    use super::*;
    use crate::proof::check_consistency;

    fn leaf(number: u64) -> Hash {
        leaf_hash(&[&number.to_be_bytes()])
    }

    proptest! {
        /// Each checkpoint is cut a little before the log's end, as in the log.
        #[test]
        fn every_step_proves_itself_and_its_roots_are_the_logs(
            rounds in proptest::collection::vec((0u64..40, 0u64..8), 1..30)
        ) {
            let (mut growth, mut tree, mut last) = (Growth::default(), Frontier::new(), 0);
            let mut roots = vec![tree.root()];
            for (grown, behind) in rounds {
                for _ in 0..grown {
                    let next = leaf(tree.size());
                    tree.push(next);
                    growth.extend(&[next]);
                    roots.push(tree.root());
                }
                let size = tree.size().saturating_sub(behind).max(last);
                let step = growth.to(size).unwrap();
                let at = |size: u64| roots[size as usize];
                prop_assert_eq!((step.from, step.from_root), (last, at(last)));
                prop_assert_eq!((step.to, step.to_root), (size, at(size)));
                prop_assert!(check_consistency(last, size, &at(last), &at(size), &step.path));
                growth.checkpointed(size);
                last = size;
                let mut bytes = Vec::new();
                growth.put(&mut bytes);
                let mut cursor = Cursor::new(&bytes);
                let read = Growth::take(&mut cursor, &tree);
                prop_assert_eq!(read.as_ref(), Some(&growth));
                prop_assert!(cursor.is_empty());
            }
            let mut size = 0;
            for step in growth.steps_from(0) {
                prop_assert_eq!(step.from, size);
                size = step.to;
            }
            prop_assert_eq!(size, last);
            prop_assert!(growth.steps_from(last + 1).next().is_none());
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_long_silence_is_proved_too() {
        let (mut growth, mut tree) = (Growth::default(), Frontier::new());
        let mut roots = vec![];
        for number in 0..100_000u64 {
            growth.extend(&[leaf(number)]);
            tree.push(leaf(number));
            if number == 999 {
                growth.checkpointed(1_000);
                roots.push(tree.root());
            }
        }
        assert!(growth.leaves.len() <= LEAVES_MAX && growth.since.len() < 40);
        let step = growth.to(100_000).unwrap();
        assert!(check_consistency(1_000, 100_000, &roots[0], &tree.root(), &step.path));
        assert_eq!(growth.to(2_000), None, "long folded");
        assert_eq!(growth.to(100_001), None);
        for _ in 0..STEPS_MAX + 5 {
            growth.extend(&[leaf(7)]);
            let size = growth.folded + growth.leaves.len() as u64;
            growth.checkpointed(size);
        }
        assert_eq!(growth.steps.len(), STEPS_MAX);
        assert!(growth.steps_from(1_000).next().is_none());
    }
}

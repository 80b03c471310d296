//! Proofs over the log's tree: an event is in it (inclusion), a longer log begins with a shorter one (consistency).
//!
//! Built and checked as RFC 9162 sections 2.1.3 and 2.1.4 lay down. Building asks a [`Nodes`] for complete subtrees:
//! tiles on disk, or a [`Plan`] and one pass over the leaves. Checking needs the proof alone.

use std::collections::BTreeMap;
use std::convert::Infallible;

pub use asterism_proto::hash::check_consistency;
use asterism_proto::hash::{Hash, node_hash};

/// Where the hashes of complete subtrees come from.
pub trait Nodes {
    /// Why one could not be had.
    type Error;
    /// Root of the subtree over leaves `index << level .. (index + 1) << level`, all of which exist.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Which subtrees some proofs need: make them with this first, their hashes are then of no use, and read the leaves.
#[derive(Debug, Clone, Default)]
pub struct Plan(BTreeMap<(u32, u64), Option<Hash>>);

impl Nodes for Plan {
    type Error = Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
        self.0.insert((level, index), None);
        Ok(Hash::default())
    }
}

impl Plan {
    /// Takes the leaves from here on.
    pub fn gather(self) -> Gathered {
        Gathered { wanted: self.0, size: 0, peaks: Vec::new() }
    }
}

/// The subtrees of a [`Plan`], filled by one pass over the leaves. Holds those and the tree's right edge, whatever the
/// size of the log.
#[derive(Debug, Clone)]
pub struct Gathered {
    wanted: BTreeMap<(u32, u64), Option<Hash>>,
    size: u64,
    peaks: Vec<Hash>,
}

/// A subtree that was not planned, or whose leaves were not all read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotGathered;

impl Gathered {
    /// Leaves so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The next leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let (mut hash, mut level, mut index) = (leaf, 0, self.size);
        self.keep(level, index, hash);
        while index & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            (hash, level, index) = (node_hash(&left, &hash), level + 1, index >> 1);
            self.keep(level, index, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    fn keep(&mut self, level: u32, index: u64, hash: Hash) {
        if let Some(place) = self.wanted.get_mut(&(level, index)) {
            *place = Some(hash);
        }
    }
}

impl Nodes for Gathered {
    type Error = NotGathered;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, NotGathered> {
        self.wanted.get(&(level, index)).copied().flatten().ok_or(NotGathered)
    }
}

/// Proof that leaf `position` is in the tree of `size` leaves. `None`: it is not.
pub fn inclusion<N: Nodes>(nodes: &mut N, position: u64, size: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if position >= size {
        return Ok(None);
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if position < middle {
            path.push(root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(root(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// Proof that the tree of `new` leaves begins with the tree of `old`. `None`: `old` is larger. Empty for equal sizes
/// and for the empty tree, with which every tree begins.
pub fn consistency<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if old > new {
        return Ok(None);
    }
    if old == 0 || old == new {
        return Ok(Some(Vec::new()));
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, new);
    // Whether what is left of the old tree is a part the checker cannot compute from the old root alone.
    let mut inner = false;
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(root(nodes, from, middle)?);
            from = middle;
            inner = true;
        }
    }
    if inner {
        path.push(root(nodes, from, to)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// Root of the tree over the first `size` leaves.
pub fn tree_root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(asterism_proto::hash::empty_root()) } else { root(nodes, 0, size) }
}

/// Whether a path leads from a leaf hash at `position` to the root of the tree of `size` leaves.
pub fn check_inclusion(leaf: &Hash, position: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if position >= size {
        return false;
    }
    let (mut at, mut last) = (position, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Root over leaves `from..to`, where `from` is a multiple of the power of two that `to - from` does not exceed: each
/// complete subtree is asked for, the rest is hashed here.
fn root<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let mut peaks = Vec::new();
    let mut at = from;
    while at < to {
        let level = (to - at).ilog2();
        peaks.push(nodes.node(level, at >> level)?);
        at += 1 << level;
    }
    let right = peaks.pop().unwrap_or_else(asterism_proto::hash::empty_root);
    Ok(peaks.iter().rev().fold(right, |right, left| node_hash(left, &right)))
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_proto::hash::{leaf_hash, tree_root as whole};
    use proptest::prelude::*;

    use super::*;

    struct Leaves(Vec<Hash>);

    impl Nodes for Leaves {
        type Error = Infallible;
        fn node(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
            let from = (index << level) as usize;
            Ok(whole(&self.0[from..from + (1 << level)]))
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|n| leaf_hash(&[&n.to_be_bytes()])).collect())
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_nothing_else() {
        for size in 1..=33_u64 {
            let mut tree = leaves(size);
            let root = whole(&tree.0);
            assert_eq!(tree_root(&mut tree, size).unwrap(), root);
            for position in 0..size {
                let path = inclusion(&mut tree, position, size).unwrap().unwrap();
                let leaf = tree.0[position as usize];
                assert!(check_inclusion(&leaf, position, size, &path, &root), "{position} of {size}");
                for wrong in (0..size).filter(|wrong| *wrong != position) {
                    assert!(!check_inclusion(&leaf, wrong, size, &path, &root), "{position} as {wrong}");
                }
                assert!(!check_inclusion(&[1; 32], position, size, &path, &root));
            }
            assert_eq!(inclusion(&mut tree, size, size).unwrap(), None);
        }
    }

    #[test]
    fn every_small_tree_begins_with_every_smaller_one() {
        for new in 0..=33_u64 {
            let mut tree = leaves(new);
            let new_root = whole(&tree.0);
            for old in 0..=new {
                let old_root = whole(&tree.0[..old as usize]);
                let path = consistency(&mut tree, old, new).unwrap().unwrap();
                assert!(check_consistency(old, new, &old_root, &new_root, &path), "{old} of {new}");
                if old != new {
                    assert!(!check_consistency(old, new, &[1; 32], &new_root, &path), "{old} of {new}");
                    assert!(old == 0 || !check_consistency(old, new, &old_root, &[1; 32], &path));
                }
            }
            assert_eq!(consistency(&mut tree, new + 1, new).unwrap(), None);
        }
    }

    #[test]
    fn what_one_pass_gathers_proves_the_same() {
        let count = 77;
        let mut tree = leaves(count);
        for (position, size) in [(0, 1), (0, 77), (31, 64), (76, 77), (40, 70), (5, 6)] {
            let mut plan = Plan::default();
            let Ok(_) = inclusion(&mut plan, position, size);
            let Ok(_) = consistency(&mut plan, position + 1, size);
            let mut gathered = plan.gather();
            assert!(size == 1 || inclusion(&mut gathered, position, size) == Err(NotGathered));
            tree.0.iter().for_each(|leaf| gathered.push(*leaf));
            assert_eq!(gathered.size(), count);
            assert_eq!(
                inclusion(&mut gathered, position, size).unwrap(),
                inclusion(&mut tree, position, size).unwrap()
            );
            let (old, new) = (position + 1, size);
            assert_eq!(
                consistency(&mut gathered, old, new).unwrap(),
                consistency(&mut tree, old, new).unwrap()
            );
        }
    }

    proptest! {
        #[test]
        fn a_changed_path_proves_nothing(
            size in 2_u64..600, position: prop::sample::Index, change: prop::sample::Index, bit in 0_u8..8, how in 0..3
        ) {
            let mut tree = leaves(size);
            let position = position.index(size as usize) as u64;
            let root = whole(&tree.0);
            let old = position + 1;
            let old_root = whole(&tree.0[..old as usize]);
            let damaged = |mut path: Vec<Hash>| {
                match how {
                    0 => path.push([7; 32]),
                    1 => drop(path.pop()),
                    _ => {
                        let at = change.index(path.len().max(1));
                        if let Some(hash) = path.get_mut(at) {
                            hash[change.index(32)] ^= 1 << bit;
                        }
                    }
                }
                path
            };
            let leaf = tree.0[position as usize];
            let path = inclusion(&mut tree, position, size).unwrap().unwrap();
            prop_assert!(check_inclusion(&leaf, position, size, &path, &root));
            prop_assert!(!check_inclusion(&leaf, position, size, &damaged(path), &root));
            let path = consistency(&mut tree, old, size).unwrap().unwrap();
            prop_assert!(check_consistency(old, size, &old_root, &root, &path));
            let other = damaged(path.clone());
            prop_assert!(other == path || !check_consistency(old, size, &old_root, &root, &other));
        }

        #[test]
        fn nothing_makes_a_check_panic(
            a: u64, b: u64, path in proptest::collection::vec(any::<[u8; 32]>(), 0..70)
        ) {
            prop_assert!(!check_inclusion(&[0; 32], a, b, &path, &[1; 32]));
            prop_assert!(a == b || !check_consistency(a, b, &[0; 32], &[1; 32], &path));
        }
    }
}

//! The log's Merkle tree (RFC 6962), kept as its frontier: one hash for each complete subtree on the right edge.

use asterism_proto::hash::{Hash, empty_root, node_hash, node_hashes};

use crate::codec::{Cursor, put_u64};

/// Complete subtrees side by side, none of which is the left half of one that is there.
pub(crate) trait Row {
    /// Takes the last subtree, if it is this one.
    fn take(&mut self, level: u32, index: u64) -> Option<Hash>;

    /// Puts a subtree behind the last one.
    fn put(&mut self, level: u32, index: u64, hash: Hash);
}

/// Puts the leaves from position `first` on behind a row, level by level, so that the nodes of a level are hashed
/// together.
pub(crate) fn grow(row: &mut impl Row, first: u64, leaves: &[Hash]) {
    let (mut level, mut at, mut nodes) = (0, first, leaves.to_vec());
    // What stays single on the right, the lowest first.
    let mut right = Vec::new();
    while !nodes.is_empty() {
        if at & 1 == 1 {
            if let Some(left) = row.take(level, at - 1) {
                nodes.insert(0, left);
                at -= 1;
            } else {
                row.put(level, at, nodes.remove(0));
                at += 1;
            }
        }
        if nodes.len() & 1 == 1
            && let Some(last) = nodes.pop()
        {
            right.push((level, at + nodes.len() as u64, last));
        }
        nodes = node_hashes(&nodes);
        (level, at) = (level + 1, at >> 1);
    }
    right.into_iter().rev().for_each(|(level, index, hash)| row.put(level, index, hash));
}

/// A growing tree. At most 64 hashes, whatever the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, the largest first; as many as `size` has one bits.
    peaks: Vec<Hash>,
}

/// The whole tree's: a node with an odd index always has its neighbour there.
impl Row for Vec<Hash> {
    fn take(&mut self, _: u32, _: u64) -> Option<Hash> {
        self.pop()
    }

    fn put(&mut self, _: u32, _: u64, hash: Hash) {
        self.push(hash);
    }
}

impl Frontier {
    /// An empty tree.
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds one leaf hash on the right.
    pub fn push(&mut self, leaf: Hash) {
        let mut carry = leaf;
        let mut bits = self.size;
        while bits & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            carry = node_hash(&left, &carry);
            bits >>= 1;
        }
        self.peaks.push(carry);
        self.size += 1;
    }

    /// Adds leaf hashes on the right.
    pub fn extend(&mut self, leaves: &[Hash]) {
        grow(&mut self.peaks, self.size, leaves);
        self.size += leaves.len() as u64;
    }

    /// The tree hash; of an empty tree the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }

    /// Size, then the peaks.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 32 * self.peaks.len());
        put_u64(&mut out, self.size);
        for peak in &self.peaks {
            out.extend_from_slice(peak);
        }
        out
    }

    /// Reads back what [`Frontier::to_bytes`] wrote; nothing else is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let size = cursor.u64()?;
        let peaks = (0..size.count_ones()).map(|_| cursor.array()).collect::<Option<Vec<Hash>>>()?;
        cursor.is_empty().then_some(Self { size, peaks })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use asterism_proto::hash::{leaf_hash, tree_root};
    use proptest::prelude::*;

    #[test]
    fn an_empty_frontier_has_the_empty_root() {
        assert_eq!(Frontier::new().root(), empty_root());
    }

    proptest! {
        #[test]
        fn every_size_has_the_root_of_the_whole_tree(count in 0usize..300) {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf_hash(&[&i.to_be_bytes()])).collect();
            let mut tree = Frontier::new();
            for (position, leaf) in leaves.iter().enumerate() {
                prop_assert_eq!(tree.root(), tree_root(&leaves[..position]));
                tree.push(*leaf);
            }
            prop_assert_eq!(tree.root(), tree_root(&leaves));
            prop_assert_eq!(tree.size(), count as u64);
            prop_assert_eq!(Frontier::from_bytes(&tree.to_bytes()).unwrap(), tree);
        }

        #[test]
        fn leaves_in_any_portions_make_the_tree_that_single_ones_make(
            portions in proptest::collection::vec(0_u64..70, 0..12)
        ) {
            let (mut single, mut portioned) = (Frontier::new(), Frontier::new());
            for portion in portions {
                let from = single.size();
                let leaves: Vec<Hash> =
                    (from..from + portion).map(|i| leaf_hash(&[&i.to_be_bytes()])).collect();
                for leaf in &leaves {
                    single.push(*leaf);
                }
                portioned.extend(&leaves);
                prop_assert_eq!(&single, &portioned);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frontier::from_bytes(&bytes);
        }
    }
}

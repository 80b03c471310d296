//! The log's Merkle tree (RFC 6962), kept as its frontier: one hash for each complete subtree on the right edge.

use asterism_proto::hash::{Hash, empty_root, node_hash};

use crate::codec::{Cursor, put_u64};

/// A growing tree. At most 64 hashes, whatever the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, the largest first; as many as `size` has one bits.
    peaks: Vec<Hash>,
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
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frontier::from_bytes(&bytes);
        }
    }
}

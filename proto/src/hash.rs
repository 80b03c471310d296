//! Hashes of the log: RFC 6962 leaf, node and tree hash over SHA-256.

mod batch;
#[cfg(target_arch = "x86_64")]
mod lanes;

use sha2::{Digest, Sha256};

pub use batch::Batch;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Hash of an empty tree, as RFC 6962 section 2.1 defines it.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// RFC 6962 leaf hash: `SHA-256(0x00 || parts...)`.
pub fn leaf_hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix([0u8]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Leaf hashes of messages, in their order.
pub fn leaf_hashes<T: AsRef<[u8]>>(messages: impl IntoIterator<Item = T>) -> Vec<Hash> {
    Batch::hashes_of(|batch| {
        for message in messages {
            batch.add([&[0], message.as_ref()]);
        }
    })
}

/// RFC 6962 node hash: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut node = [1; 65];
    node[1..33].copy_from_slice(left);
    node[33..].copy_from_slice(right);
    Sha256::digest(node).into()
}

/// The row above a row of nodes: one for each pair. A last one without a neighbour is left out.
pub fn node_hashes(row: &[Hash]) -> Vec<Hash> {
    let pairs = row.as_chunks::<2>().0;
    Batch::hashes_of(|batch| {
        for [left, right] in pairs {
            batch.add([&[1], left, right]);
        }
    })
}

/// The leaf of one event in the log: frame header hash, index in the frame (u32, big endian), record time in ms
/// (u64, big endian), event bytes as received. The stream's own sequence never enters it.
pub fn event_leaf(header_hash: &Hash, index: u32, record_time_ms: u64, event: &[u8]) -> Hash {
    leaf_hash(&[header_hash, &index.to_be_bytes(), &record_time_ms.to_be_bytes(), event])
}

/// The leaves of a frame's events from an index on: [`event_leaf`] of each.
pub fn event_leaves<T: AsRef<[u8]>>(
    header_hash: &Hash,
    first_index: u32,
    record_time_ms: u64,
    events: impl IntoIterator<Item = T>,
) -> Vec<Hash> {
    let time = record_time_ms.to_be_bytes();
    Batch::hashes_of(|batch| {
        for (index, event) in (first_index..).zip(events) {
            batch.add([&[0], header_hash, &index.to_be_bytes(), &time, event.as_ref()]);
        }
    })
}

/// Plain SHA-256.
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// RFC 6962 tree hash over already hashed leaves, row by row: a last node without a neighbour goes up as it is.
pub fn tree_root(leaves: &[Hash]) -> Hash {
    let mut row = leaves.to_vec();
    while row.len() > 1 {
        let odd = row.len() % 2 == 1;
        let last = row.last().copied().filter(|_| odd);
        row = node_hashes(&row);
        row.extend(last);
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// Whether a path proves that the tree with `new_root` begins with the tree with `old_root`.
pub fn check_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, path: &[Hash]) -> bool {
    match old {
        _ if old > new => return false,
        _ if old == new => return path.is_empty() && old_root == new_root,
        0 => return path.is_empty() && *old_root == empty_root(),
        _ => {}
    }
    let mut rest = path.iter();
    // A complete old tree is itself the first node of the path.
    let first = if old.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut before, mut after) = (*first, *first);
    for node in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            before = node_hash(node, &before);
            after = node_hash(node, &after);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            after = node_hash(&after, node);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && before == *old_root && after == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree hash as RFC 6962 section 2.1 defines it.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node_hash(&by_definition(&many[..split]), &by_definition(&many[split..]))
            }
        }
    }

    proptest! {
        #[test]
        fn hashing_together_changes_no_hash(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..90),
            first in any::<u16>(), time in any::<u64>()
        ) {
            let leaves = leaf_hashes(&messages);
            let wanted: Vec<Hash> = messages.iter().map(|message| leaf_hash(&[message])).collect();
            prop_assert_eq!(&leaves, &wanted);
            prop_assert_eq!(tree_root(&leaves), by_definition(&leaves));
            let (header, first) = (sha256(b"header"), u32::from(first));
            let together = event_leaves(&header, first, time, &messages);
            let one_by_one = (first..).zip(&messages).map(|(at, event)| event_leaf(&header, at, time, event));
            prop_assert_eq!(together, one_by_one.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_empty_tree_has_the_hash_rfc_6962_gives() {
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn one_empty_leaf_matches_the_certificate_transparency_vector() {
        assert_eq!(
            hex::encode(tree_root(&[leaf_hash(&[b""])])),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn eight_leaves_match_the_certificate_transparency_vector() {
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|input| leaf_hash(&[input])).collect();
        assert_eq!(
            hex::encode(tree_root(&leaves)),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }
}

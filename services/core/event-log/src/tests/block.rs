//! Blocks: golden bytes, limits, and that nothing bent is read.

use proptest::prelude::*;

use crate::block::{BLOCK_MAX_BYTES, BLOCK_MAX_EVENTS, Block, BlockError, pack, unpack};
use crate::record::StoredFrame;
use crate::testkit::{Script, Writer, opaque};

#[test]
fn the_bytes_of_a_block_are_these_for_ever() {
    let mut script = Script::begin();
    script.write(3, vec![opaque(1, 3), opaque(2, 0)]);
    let frame = script.accepted.last().unwrap();
    let blocks = pack([5; 32], std::slice::from_ref(frame));
    let [block] = blocks.as_slice() else { panic!("one block") };
    let golden = include_str!("golden-block.hex").trim();
    assert_eq!(hex::encode(&block.bytes), golden);
    assert_eq!(block.first, 7);
    let read = unpack([5; 32], 7, &blocks).unwrap();
    assert_eq!(read, [frame.to_stored()]);
}

#[test]
fn frames_of_every_shape_come_back_as_they_were() {
    let script = Script::with_frames(200);
    let blocks = pack([1; 32], &script.accepted);
    let mut next = 0;
    for block in &blocks {
        assert!(block.bytes.len() <= BLOCK_MAX_BYTES, "{} bytes", block.bytes.len());
        let count = usize::from(block.bytes[5]);
        assert!((1..=BLOCK_MAX_EVENTS).contains(&count));
        assert_eq!(block.first, next);
        next += count as u64;
    }
    let read = unpack([1; 32], 0, &blocks).unwrap();
    let stored: Vec<StoredFrame> = script.accepted.iter().map(crate::AcceptedFrame::to_stored).collect();
    assert_eq!(read, stored);
}

#[test]
fn the_largest_event_with_the_longest_header_fits() {
    let mut script = Script::begin();
    let name = format!("proc/logic-responder-{}", "x".repeat(48));
    let mut writer = Writer::new(&name, 9);
    let bytes = writer.frame(vec![vec![7; 6 * 1024]; 3]);
    script.publish(bytes);
    let blocks = pack([0; 32], &script.accepted[5..]);
    assert_eq!(blocks.len(), 3, "one block for each");
    assert!(blocks.iter().all(|block| block.bytes.len() <= BLOCK_MAX_BYTES));
    assert_eq!(unpack([0; 32], 7, &blocks).unwrap().len(), 1);
}

#[test]
fn a_missing_swapped_or_foreign_block_breaks_the_chain() {
    let script = Script::with_frames(40);
    let blocks = pack([1; 32], &script.accepted);
    assert!(blocks.len() > 4);
    assert_eq!(unpack([2; 32], 0, &blocks), Err(BlockError::Chain));
    let mut dropped = blocks.clone();
    dropped.remove(2);
    assert_eq!(unpack([1; 32], 0, &dropped), Err(BlockError::Chain));
    let mut swapped = blocks.clone();
    swapped.swap(1, 2);
    assert_eq!(unpack([1; 32], 0, &swapped), Err(BlockError::Chain));
    let twice: Vec<Block> = [&blocks[..2], &blocks[1..]].concat();
    assert_eq!(unpack([1; 32], 0, &twice), Err(BlockError::Chain));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_is_seen(which in any::<usize>(), place in any::<usize>(), bit in 0u8..8) {
        let script = Script::with_frames(12);
        let mut blocks = pack([1; 32], &script.accepted);
        let which = which % blocks.len();
        let place = place % blocks[which].bytes.len();
        blocks[which].bytes[place] ^= 1 << bit;
        prop_assert!(unpack([1; 32], 0, &blocks).is_err());
    }

    /// A flip with the checksum made right again is seen by the hash, the chain or the frame.
    #[test]
    fn a_flipped_bit_with_a_mended_checksum_is_seen(place in 0usize..1_000, bit in 0u8..8) {
        let script = Script::with_frames(3);
        let mut blocks = pack([1; 32], &script.accepted);
        let bytes = &mut blocks[0].bytes;
        let content = bytes.len() - 4;
        bytes[place % content] ^= 1 << bit;
        let crc = crc32fast::hash(&bytes[..content]);
        bytes[content..].copy_from_slice(&crc.to_be_bytes());
        prop_assert!(unpack([1; 32], 0, &blocks).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let block = Block { first: 0, hash: [0; 32], bytes: bytes.clone() };
        prop_assert!(unpack([0; 32], 0, &[block]).is_err());
        let _ = StoredFrame::decode(&bytes);
    }

    #[test]
    fn a_stored_frame_cut_anywhere_is_no_frame(cut in any::<usize>()) {
        let script = Script::with_frames(4);
        let mut bytes = Vec::new();
        let stored = script.accepted.last().unwrap().to_stored();
        stored.encode(&mut bytes);
        prop_assert_eq!(StoredFrame::decode(&bytes), Some((stored, bytes.len())));
        let cut = cut % bytes.len();
        prop_assert_eq!(StoredFrame::decode(&bytes[..cut]), None);
    }
}

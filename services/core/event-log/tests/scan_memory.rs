//! Reading a sled segment must not keep it in memory: sealing reads a million events in a service that goes on for months.
//! Alone in its file, since it measures its process.
#![allow(clippy::unwrap_used)]

use asterism_event_log::segment::{Backend, OpenStore, SegmentStore};

const BLOCK_BYTES: usize = 7 * 1024;
const BLOCKS: u64 = 8_000;
/// Blocks of a commit.
const COMMIT: u64 = 48;

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
}

fn read(store: &mut dyn SegmentStore) -> u64 {
    let mut read = 0;
    store
        .scan(&mut |first, block| {
            assert!(block.len() == BLOCK_BYTES && first == read, "block {first}");
            read += 1;
            Ok(())
        })
        .unwrap();
    read
}

#[test]
fn a_whole_segment_is_read_in_a_fraction_of_its_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Backend::Sled.open(&dir.path().join("segment")).unwrap();
    for first in 0..BLOCKS {
        let block: Vec<u8> = (0..BLOCK_BYTES).map(|at| ((at as u64 * 31) ^ first) as u8).collect();
        store.append(first, &block).unwrap();
        if first % COMMIT == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    let whole = (BLOCKS as usize * BLOCK_BYTES) as f64 / 1e6;
    let before = resident_mb();
    assert_eq!(read(store.as_mut()), BLOCKS);
    let grown = resident_mb() - before;
    assert!(grown < whole / 4.0, "{grown:.1} MB more for a segment of {whole:.0} MB");
}

//! Frames, in parts. sled puts a page of more than a quarter of its segment (64 KiB here) into a file of its own, which it
//! never syncs, and a page holds some 16 values: whole frames would be what a loss of power takes.
//!
//! Key: number (u64) and part (u16), big endian. The parts together are the last fact and the oldest time (u64 each, big
//! endian), the frame's length (u32, big endian) and its bytes. A frame whose parts are not all there never was: its facts
//! leave after its last part.

use std::collections::BTreeMap;

use crate::spool::HeldFrame;

/// Bytes of a part: 16 of them stay below a quarter of a segment.
const PART_BYTES: usize = 2 * 1024;
const HEAD_BYTES: usize = 20;

/// The tree of frames.
#[derive(Debug, Clone)]
pub(super) struct Frames(sled::Tree);

impl Frames {
    pub(super) fn open(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self(db.open_tree("frame-parts")?))
    }

    pub(super) fn put(&self, number: u64, held: HeldFrame, bytes: &[u8]) -> sled::Result<()> {
        let mut whole = Vec::with_capacity(HEAD_BYTES + bytes.len());
        whole.extend_from_slice(&held.last_fact.to_be_bytes());
        whole.extend_from_slice(&held.oldest_ms.to_be_bytes());
        whole.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        whole.extend_from_slice(bytes);
        for (part, bytes) in (0_u16..).zip(whole.chunks(PART_BYTES)) {
            self.0.insert(key(number, part), bytes)?;
        }
        Ok(())
    }

    /// A frame's bytes.
    pub(super) fn get(&self, number: u64) -> sled::Result<Option<Vec<u8>>> {
        let mut whole = Vec::new();
        for part in self.0.range(key(number, 0)..=key(number, u16::MAX)) {
            whole.extend_from_slice(&part?.1);
        }
        Ok(head(&whole).filter(|held| whole.len() as u64 == HEAD_BYTES as u64 + held.size_bytes).map(|_| {
            whole.drain(..HEAD_BYTES);
            whole
        }))
    }

    pub(super) fn remove_up_to(&self, number: u64) -> sled::Result<()> {
        self.remove(self.0.range(..=key(number, u16::MAX)))
    }

    fn remove(&self, parts: sled::Iter) -> sled::Result<()> {
        parts.keys().try_for_each(|key| self.0.remove(key?).map(drop))
    }

    /// Every whole frame. What is left of others goes: their numbers are given again.
    pub(super) fn load(&self) -> sled::Result<BTreeMap<u64, HeldFrame>> {
        let mut found: BTreeMap<u64, (Option<HeldFrame>, u64)> = BTreeMap::new();
        for entry in &self.0 {
            let (key, bytes) = entry?;
            let Some((number, part)) = read_key(&key) else { continue };
            let frame = found.entry(number).or_default();
            if part == 0 {
                frame.0 = head(&bytes);
            }
            frame.1 += bytes.len() as u64;
        }
        let mut frames = BTreeMap::new();
        for (number, (held, bytes)) in found {
            match held.filter(|held| held.size_bytes + HEAD_BYTES as u64 == bytes) {
                Some(held) => drop(frames.insert(number, held)),
                None => self.remove(self.0.range(key(number, 0)..=key(number, u16::MAX)))?,
            }
        }
        Ok(frames)
    }
}

fn key(number: u64, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

fn read_key(key: &[u8]) -> Option<(u64, u16)> {
    let (number, part) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u16::from_be_bytes(part.try_into().ok()?)))
}

fn head(whole: &[u8]) -> Option<HeldFrame> {
    let (last_fact, rest) = whole.split_first_chunk::<8>()?;
    let (oldest_ms, rest) = rest.split_first_chunk::<8>()?;
    let (size, _) = rest.split_first_chunk::<4>()?;
    Some(HeldFrame {
        last_fact: u64::from_be_bytes(*last_fact),
        oldest_ms: u64::from_be_bytes(*oldest_ms),
        size_bytes: u64::from(u32::from_be_bytes(*size)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn held(size: usize) -> HeldFrame {
        HeldFrame { last_fact: 7, oldest_ms: 9, size_bytes: size as u64 }
    }

    #[test]
    fn frames_of_any_size_come_back_and_no_file_is_left_unsynced() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).segment_size(256 * 1024).open().unwrap();
        let frames = Frames::open(&db).unwrap();
        let sizes = [0, 1, PART_BYTES - HEAD_BYTES, PART_BYTES, 60_000, 65_536];
        for (number, size) in (1..).zip(sizes) {
            frames.put(number, held(size), &vec![number as u8; size]).unwrap();
        }
        for number in 10..60 {
            frames.put(number, held(65_536), &vec![3; 65_536]).unwrap();
        }
        db.flush().unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
        let loaded = frames.load().unwrap();
        assert_eq!(loaded.len(), 56);
        for (number, size) in (1..).zip(sizes) {
            assert_eq!(loaded[&number], held(size));
            assert_eq!(frames.get(number).unwrap().unwrap(), vec![number as u8; size]);
        }
        frames.remove_up_to(50).unwrap();
        assert_eq!(frames.load().unwrap().len(), 9);
        assert!(frames.get(6).unwrap().is_none());
    }

    #[test]
    fn a_frame_that_lacks_a_part_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).open().unwrap();
        let frames = Frames::open(&db).unwrap();
        for lost in 0..4 {
            frames.put(1, held(7_000), &[5; 7_000]).unwrap();
            frames.put(2, held(10), &[6; 10]).unwrap();
            frames.0.remove(key(1, lost)).unwrap();
            assert!(frames.get(1).unwrap().is_none(), "without part {lost}");
            assert_eq!(frames.load().unwrap().into_keys().collect::<Vec<_>>(), [2]);
            assert_eq!(frames.0.range(..key(2, 0)).count(), 0, "nothing is left for the next frame 1");
        }
    }
}

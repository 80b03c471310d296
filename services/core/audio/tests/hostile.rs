//! Files that lie: whatever the bytes, the answer comes soon, without panic and within bounded memory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use asterism_audio::{Error, Format, Kind, Limits, convert};
use proptest::prelude::*;

const MINUTE: Limits = Limits { duration_ms: 60_000, encoded_bytes: 64 * 1024 * 1024 };
/// What one file may take, in bytes: an hour of both rates is 173 MB, and a minute of it 3.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;
/// Generous: the slowest takes a tenth of a second.
const TIME_MAX: Duration = Duration::from_secs(30);
const KINDS: [Kind; 6] = [Kind::Wav, Kind::Flac, Kind::Mp3, Kind::Vorbis, Kind::Ulaw, Kind::Alaw];
const FILES: [(&str, Kind); 4] = [
    ("tone-22050.flac", Kind::Flac),
    ("tone-44100-stereo.mp3", Kind::Mp3),
    ("tone-48000.ogg", Kind::Vorbis),
    ("tone-16000-24.wav", Kind::Wav),
];

fn corpus(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)).unwrap()
}

/// The most memory this process ever had, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// One at a time: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Converts within bounds.
fn within(kind: Kind, bytes: &[u8]) -> Result<u64, Error> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, began) = (memory(), Instant::now());
    let made = convert(kind, bytes, &Format::ALL, MINUTE);
    assert!(began.elapsed() < TIME_MAX, "{:?}", began.elapsed());
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{} took {grown} bytes: {made:?}", kind.name());
    made.map(|sound| sound.measured.duration_ms)
}

/// Ogg's checksum, so that damage reaches the decoder behind it.
fn seal_pages(bytes: &mut [u8]) {
    let starts: Vec<usize> =
        (0..bytes.len().saturating_sub(27)).filter(|at| &bytes[*at..*at + 4] == b"OggS").collect();
    for (index, at) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(bytes.len());
        bytes[at + 22..at + 26].fill(0);
        let crc = bytes[*at..end].iter().fold(0u32, |crc, byte| {
            (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
                if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 }
            })
        });
        bytes[at + 22..at + 26].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn a_seal_of_ours_is_one_of_theirs() {
    let (whole, mut sealed) = (corpus("tone-48000.ogg"), corpus("tone-48000.ogg"));
    seal_pages(&mut sealed);
    assert_eq!(sealed, whole);
}

#[test]
fn a_stream_that_does_not_say_it_has_ended_is_cut() {
    let mut cut = corpus("tone-48000.ogg");
    let last = cut.windows(4).rposition(|window| window == b"OggS").unwrap();
    cut[last + 5] &= !4;
    seal_pages(&mut cut);
    assert_eq!(within(Kind::Vorbis, &cut), Err(Error::Truncated));
}

/// Bits as Vorbis packs them, the lowest first.
#[derive(Default)]
struct Bits(Vec<u8>, usize);

impl Bits {
    fn put(&mut self, value: u64, width: usize) -> &mut Self {
        for bit in 0..width {
            if self.1.is_multiple_of(8) {
                self.0.push(0);
            }
            self.0[self.1 / 8] |= ((value >> bit & 1) as u8) << (self.1 % 8);
            self.1 += 1;
        }
        self
    }
}

/// An Ogg page of one packet that begins and ends in it.
fn page(flags: u8, number: u8, packet: &[u8]) -> Vec<u8> {
    let mut out = b"OggS\0".to_vec();
    out.extend([flags].into_iter().chain([0; 8]).chain([1, 0, 0, 0, number, 0, 0, 0]).chain([0; 4]));
    let segments = packet.len() / 255 + 1;
    out.push(segments as u8);
    out.extend(vec![255; segments - 1].into_iter().chain([(packet.len() % 255) as u8]));
    out.extend_from_slice(packet);
    out
}

/// 256 codebooks of 131,072 entries of 16 values, in 60 bytes each: 2 GB of floats.
fn codebook_bomb() -> Vec<u8> {
    let mut setup = Bits::default();
    for byte in *b"\x05vorbis" {
        setup.put(u64::from(byte), 8);
    }
    setup.put(255, 8);
    for _ in 0..256 {
        setup.put(0x56_4342, 24).put(16, 16).put(131_072, 24);
        // In order of length: none has 1 to 16 bits, all have 17. Then two values that all are made of.
        setup.put(1, 1).put(0, 5);
        for _ in 0..16 {
            setup.put(0, 18);
        }
        setup.put(131_072, 18).put(1, 4).put(0, 32).put(0, 32).put(0, 4).put(0, 1).put(0, 2);
    }
    // One time domain transform, floor of type 1, residue, mapping and mode, as short as can be.
    setup.put(0, 6).put(0, 16);
    setup.put(0, 6).put(1, 16).put(0, 5).put(0, 2).put(0, 4);
    setup.put(0, 6).put(0, 16).put(0, 24).put(0, 24).put(0, 24).put(0, 6).put(0, 8).put(0, 4);
    setup.put(0, 6).put(0, 16).put(0, 1).put(0, 1).put(0, 2).put(0, 8).put(0, 8).put(0, 8);
    setup.put(0, 6).put(0, 1).put(0, 16).put(0, 16).put(0, 8).put(1, 1);
    let ident = b"\x01vorbis\0\0\0\0\x01\x40\x1f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x88\x01";
    let mut file = page(2, 0, ident);
    file.extend(page(0, 1, b"\x03vorbis\0\0\0\0\0\0\0\0\x01"));
    file.extend(page(0, 2, &setup.0));
    file.extend(page(4, 3, &[0; 8]));
    seal_pages(&mut file);
    file
}

#[test]
fn codebooks_that_unpack_to_gigabytes_are_never_unpacked() {
    let bomb = codebook_bomb();
    assert!(bomb.len() < 64 * 1024, "{} bytes", bomb.len());
    let refused = within(Kind::Vorbis, &bomb).unwrap_err();
    assert!(refused.to_string().contains("codebooks"), "{refused}");
}

#[test]
fn a_bomb_goes_off_at_the_limit() {
    let bomb = corpus("bomb-2h.flac");
    assert!(bomb.len() < 64 * 1024, "{} bytes", bomb.len());
    assert_eq!(within(Kind::Flac, &bomb), Err(Error::TooLong { max_ms: 60_000 }));
}

#[test]
fn a_claim_costs_nothing() {
    // A WAV of 4 GB that has four bytes, with every rate, width and number of channels a header can claim.
    for (tag, channels, rate_hz, bits) in [
        (1u16, 1u16, 8_000u32, 16u16),
        (1, 65_535, u32::MAX, 65_535),
        (3, 2, 192_000, 32),
        (1, 0, 0, 0),
        (1, 2, 1, 8),
    ] {
        for claimed in [0u32, 4, 5, 0x7fff_f000, u32::MAX - 1, u32::MAX] {
            let mut file = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec();
            file.extend(tag.to_le_bytes().into_iter().chain(channels.to_le_bytes()));
            file.extend(rate_hz.to_le_bytes().into_iter().chain([0; 6]).chain(bits.to_le_bytes()));
            file.extend(b"data".iter().copied().chain(claimed.to_le_bytes()).chain([1, 2, 3, 4]));
            let _ = within(Kind::Wav, &file);
        }
    }
    // Floats beyond all measure, at a rate that is changed.
    let mut loud = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x03\0\x01\0".to_vec();
    loud.extend(44_100u32.to_le_bytes().into_iter().chain([0; 6]).chain([32, 0]));
    loud.extend(b"data\xff\xff\xff\xff".iter().copied());
    loud.extend([f32::MAX, f32::MIN].iter().cycle().take(20_000).flat_map(|sample| sample.to_le_bytes()));
    assert_eq!(within(Kind::Wav, &loud), Ok(453));
    // FLAC that claims 2^36 samples, the largest blocks, and every rate and number of channels.
    for fill in [0x00, 0x7f, 0xff] {
        let mut file = corpus("tone-22050.flac");
        file[8..42].fill(fill);
        let _ = within(Kind::Flac, &file);
        file.truncate(60);
        assert!(within(Kind::Flac, &file).is_err());
    }
    // A tag of 256 MB before an MP3, and a picture in one.
    for size in [[0x7f; 4], [0, 0x7f, 0x7f, 0x7f]] {
        let mut file = b"ID3\x04\0\0".to_vec();
        file.extend(size.into_iter().chain(*b"APIC").chain([0x7f; 4]).chain([0; 64]));
        file.extend(corpus("tone-44100-stereo.mp3"));
        let _ = within(Kind::Mp3, &file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn any_bytes_are_a_sound_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for kind in KINDS {
            let _ = within(kind, &bytes);
        }
    }

    #[test]
    fn any_damage_is_a_sound_or_refused(
        file in 0usize..4,
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..12),
        keep in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, kind) = FILES[file];
        let mut bytes = corpus(name);
        for (at, byte, early) in hits {
            // Headers say the most: half of the damage is there.
            let reach = if early { 256.min(bytes.len()) } else { bytes.len() };
            let at = at.index(reach);
            bytes[at] = byte;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len() + 1));
        }
        if kind == Kind::Vorbis {
            seal_pages(&mut bytes);
        }
        let _ = within(kind, &bytes);
    }
}

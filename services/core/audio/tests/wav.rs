//! The kinds of WAV a prompt may be, and how others are refused.
#![allow(clippy::unwrap_used)]

use asterism_audio::{Error, Format, Kind, Limits, convert, wav};
use proptest::prelude::*;

const LIMITS: Limits = Limits { duration_ms: 3_600_000, encoded_bytes: 64 * 1024 * 1024 };
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const ULAW: u16 = 7;

/// A WAV file with any format chunk and size field, behind a chunk nobody needs.
fn file(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8], claimed: u32) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0odd\0fmt \x10\0\0\0".to_vec();
    out.extend(tag.to_le_bytes().into_iter().chain(channels.to_le_bytes()));
    out.extend(rate_hz.to_le_bytes().into_iter().chain([0; 6]).chain(bits.to_le_bytes()));
    out.extend_from_slice(b"data");
    out.extend_from_slice(&claimed.to_le_bytes());
    out.extend_from_slice(data);
    out
}

/// The 16 kHz samples a file becomes.
fn read(bytes: &[u8]) -> Result<Vec<i16>, Error> {
    let sound = convert(Kind::Wav, bytes, &[Format::Sln16], LIMITS)?;
    Ok(sound.encoded[0].1.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// The same four samples in every way.
const SAMPLES: [i16; 4] = [256, 1_024, -256, -32_768];

fn written(bytes_of: impl Fn(i16) -> Vec<u8>) -> Vec<u8> {
    SAMPLES.iter().flat_map(|sample| bytes_of(*sample)).collect()
}

#[test]
fn every_width_gives_the_same_samples() {
    let wide = |sample: i16| i32::from(sample) << 16;
    for (tag, bits, data) in [
        (PCM, 8, written(|s| vec![((s >> 8) + 128).to_le_bytes()[0]])),
        (PCM, 16, written(|s| s.to_le_bytes().to_vec())),
        (PCM, 24, written(|s| wide(s).to_le_bytes()[1..].to_vec())),
        (PCM, 32, written(|s| wide(s).to_le_bytes().to_vec())),
        (FLOAT, 32, written(|s| (f32::from(s) / 32_768.0).to_le_bytes().to_vec())),
    ] {
        let found = read(&file(tag, 1, 16_000, bits, &data, data.len() as u32)).unwrap();
        assert_eq!(found, SAMPLES, "{bits} bits, {tag}");
    }
    let stereo: Vec<u8> = [100i16, 300, -100, -300].iter().flat_map(|s| s.to_le_bytes()).collect();
    assert_eq!(read(&file(PCM, 2, 16_000, 16, &stereo, 8)), Ok(vec![200, -200]), "two channels are mixed");
    for tag in [ULAW, ALAW] {
        assert_eq!(read(&file(tag, 1, 16_000, 8, &[0x80, 0x80], 2)).unwrap().len(), 2);
    }
    let codes = file(ULAW, 1, 8_000, 8, &[0x7f, 0xff, 3], 3);
    let kept = convert(Kind::Wav, &codes, &[Format::Ulaw], LIMITS).unwrap();
    assert_eq!(kept.encoded, [(Format::Ulaw, vec![0x7f, 0xff, 3])], "codes stay as they are");
}

#[test]
fn a_size_that_was_not_known_when_it_was_written_is_what_is_there() {
    let data = written(|s| s.to_le_bytes().to_vec());
    for unknown in [0, 0x7fff_f000, 0xffff_ffff] {
        assert_eq!(read(&file(PCM, 1, 16_000, 16, &data, unknown)), Ok(SAMPLES.to_vec()));
        assert_eq!(read(&file(PCM, 1, 16_000, 16, &data[..7], unknown)), Ok(SAMPLES[..3].to_vec()), "cut");
    }
    let rest = read(&file(PCM, 1, 16_000, 16, &data, 4));
    assert_eq!(rest, Ok(SAMPLES[..2].to_vec()), "what follows the sound is not played");
}

#[test]
fn others_are_refused_with_the_way_out() {
    let data = [0u8; 8];
    let whole = wav::write(&SAMPLES, 8_000);
    for (bytes, code) in [
        (file(PCM, 1, 3_999, 16, &data, 8), "AST-M024"),
        (file(PCM, 1, 192_001, 16, &data, 8), "AST-M024"),
        (file(PCM, 1, 8_000, 12, &data, 8), "AST-M025"),
        (file(PCM, 6, 8_000, 16, &data, 8), "AST-M025"),
        (file(PCM, 0, 8_000, 16, &data, 8), "AST-M025"),
        (file(FLOAT, 1, 8_000, 64, &data, 8), "AST-M025"),
        (file(0x31, 1, 8_000, 0, &data, 8), "AST-M025"),
        (file(PCM, 1, 8_000, 16, &data, 100), "AST-M023"),
        (file(PCM, 1, 8_000, 16, &data[..7], 7), "AST-M023"),
        (file(PCM, 2, 8_000, 16, &data[..6], 6), "AST-M023"),
        (file(PCM, 1, 8_000, 16, &[], 0), "AST-M026"),
        (file(FLOAT, 1, 8_000, 32, &f32::NAN.to_le_bytes(), 4), "AST-M040"),
        (whole[..30].to_vec(), "AST-M023"),
        (b"RIFF\0\0\0\0WAVE".to_vec(), "AST-M023"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(), "AST-M022"),
        (b"ID3 an mp3 in disguise".to_vec(), "AST-M022"),
        (Vec::new(), "AST-M022"),
    ] {
        let refused = read(&bytes).unwrap_err();
        assert!(refused.code() == code && refused.to_string().starts_with(code), "{refused}");
    }
    let message = read(&file(0x31, 1, 8_000, 0, &data, 8)).unwrap_err().to_string();
    assert!(message.contains("0x0031") && message.contains("sox"), "{message}");
}

proptest! {
    #[test]
    fn samples_survive_the_file(samples in proptest::collection::vec(any::<i16>(), 1..300)) {
        prop_assert_eq!(read(&wav::write(&samples, 16_000)), Ok(samples));
    }

    #[test]
    fn a_damaged_file_is_a_sound_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), keep in any::<prop::sample::Index>()) {
        let mut bytes = file(PCM, 2, 8_000, 16, &[7; 64], 64);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(keep.index(bytes.len() + 1));
        let _ = read(&bytes);
    }
}

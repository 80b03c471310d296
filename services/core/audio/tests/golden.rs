//! Files of real encoders sound as sox says they do, and measurements are what standards say.
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use asterism_audio::{Error, Format, Kind, Limits, Sound, Warning, convert, g711, wav};

const LIMITS: Limits = Limits { duration_ms: 3_600_000, encoded_bytes: 64 * 1024 * 1024 };
/// Samples left out at both ends, where filters of different length ring differently.
const EDGE: usize = 160;

fn corpus(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)).unwrap()
}

fn all(kind: Kind, bytes: &[u8]) -> Sound {
    convert(kind, bytes, &Format::ALL, LIMITS).unwrap()
}

fn code(kind: Kind, bytes: &[u8]) -> &'static str {
    convert(kind, bytes, &Format::ALL, LIMITS).map(|sound| sound.measured).unwrap_err().code()
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// How far what we heard stands above its difference from what sox heard, in dB.
fn likeness(ours: &[i16], theirs: &[i16]) -> f64 {
    let inner = EDGE..ours.len().min(theirs.len()) - EDGE;
    let square = |value: f64| value * value;
    let pairs = ours[inner.clone()].iter().zip(&theirs[inner]);
    let (signal, noise) = pairs.fold((0.0, 0.0), |(signal, noise), (ours, theirs)| {
        (signal + square(f64::from(*theirs)), noise + square(f64::from(*ours) - f64::from(*theirs)))
    });
    10.0 * (signal / noise).log10()
}

fn tone(hz: f64, peak: f64, rate_hz: u32, ms: u32) -> Vec<i16> {
    let samples = rate_hz / 1_000 * ms;
    (0..samples)
        .map(|n| (peak * 32_767.0 * (TAU * hz * f64::from(n) / f64::from(rate_hz)).sin()) as i16)
        .collect()
}

fn measured(samples: &[i16], rate_hz: u32) -> asterism_audio::Measured {
    all(Kind::Wav, &wav::write(samples, rate_hz)).measured
}

#[test]
fn every_kind_of_file_sounds_as_sox_says_it_does() {
    for (name, kind, channels, db) in [
        ("tone-22050.flac", Kind::Flac, 1, 60.0),
        ("tone-44100-stereo.mp3", Kind::Mp3, 2, 60.0),
        ("tone-48000.ogg", Kind::Vorbis, 1, 60.0),
        ("tone-16000-24.wav", Kind::Wav, 1, 60.0),
    ] {
        let sound = all(kind, &corpus(name));
        assert_eq!(sound.measured.channels, channels, "{name}");
        let theirs = samples(&corpus(&format!("{name}.s16")));
        let [(Format::Ulaw, ulaw), (Format::Alaw, alaw), (Format::Sln16, wide)] = sound.encoded.as_slice()
        else {
            panic!("{:?}", sound.encoded)
        };
        let wide = samples(wide);
        assert_eq!(
            (ulaw.len(), alaw.len(), wide.len()),
            (theirs.len(), theirs.len(), theirs.len() * 2),
            "{name}"
        );
        assert_eq!(sound.measured.duration_ms, 600, "{name}");
        // 16 kHz at every second sample is 8 kHz: nothing in it is above 3 kHz.
        let every_second: Vec<i16> = wide.iter().step_by(2).copied().collect();
        let found = likeness(&every_second, &theirs);
        assert!(found > db, "{name}: {found:.1} dB");
        // What G.711 itself costs is below 38 dB.
        for (law, codes) in [(g711::decode_ulaw as fn(u8) -> i16, ulaw), (g711::decode_alaw, alaw)] {
            let heard: Vec<i16> = codes.iter().map(|code| law(*code)).collect();
            let found = likeness(&heard, &theirs);
            assert!(found > 35.0, "{name}: {found:.1} dB");
        }
        assert_eq!(sound.measured.warnings(), vec![], "{name}");
    }
}

#[test]
fn loudness_is_that_of_ebu_tech_3341() {
    // 1 kHz of -20 dBFS on one channel is -23 LUFS, within 0.1.
    let lufs = |peak_db: f64| {
        let peak = 10f64.powf(peak_db / 20.0);
        measured(&tone(1_000.0, peak, 8_000, 10_000), 8_000).loudness_lufs.unwrap()
    };
    for (peak_db, want) in [(-20.0, -23.0), (-30.0, -33.0), (-6.0, -9.0)] {
        let found = lufs(peak_db);
        assert!((found - want).abs() <= 0.1, "{peak_db} dBFS is {found} LUFS");
    }
    assert_eq!(measured(&tone(1_000.0, 0.5, 8_000, 300), 8_000).loudness_lufs, None, "too short to tell");
}

#[test]
fn what_people_may_want_to_change_is_said() {
    let good = tone(700.0, 0.25, 16_000, 1_000);
    assert_eq!(measured(&good, 16_000).warnings(), vec![]);

    let silence = vec![0i16; 16_000];
    let silent = measured(&silence, 16_000);
    assert_eq!((silent.warnings(), silent.peak, silent.silence_before_ms), (vec![Warning::Silent], 0, 1_000));
    assert_eq!(silent.peak_dbfs(), None);

    let late = [silence.clone(), good.clone(), silence.clone(), silence.clone()].concat();
    let late = measured(&late, 16_000);
    assert!((990..=1_010).contains(&late.silence_before_ms), "{late:?}");
    assert!((1_985..=2_010).contains(&late.silence_after_ms), "{late:?}");
    assert_eq!(late.warnings(), vec![Warning::SilenceBefore, Warning::SilenceAfter]);

    let clipped: Vec<i16> = tone(700.0, 1.0, 8_000, 1_000).iter().map(|s| s.saturating_mul(3)).collect();
    let clipped = measured(&clipped, 8_000);
    assert!(clipped.clipped > 1_000, "{clipped:?}");
    assert_eq!(clipped.warnings(), vec![Warning::Clipped, Warning::Loud]);
    assert!(clipped.peak_dbfs().unwrap() > -0.01);

    // A sample or two at full scale are no clipping: a good limiter makes such.
    let mut touched = good.clone();
    (touched[100], touched[101], touched[900]) = (i16::MAX, i16::MAX, i16::MIN);
    assert_eq!(measured(&touched, 16_000).clipped, 0);

    assert_eq!(measured(&tone(700.0, 0.015, 8_000, 1_000), 8_000).warnings(), vec![Warning::Quiet]);
}

#[test]
fn codes_that_nodes_play_already_stay_as_they_are() {
    let codes: Vec<u8> = (0..=255).cycle().take(800).collect();
    for (kind, format) in [(Kind::Ulaw, Format::Ulaw), (Kind::Alaw, Format::Alaw)] {
        let sound = all(kind, &codes);
        let same = sound.encoded.iter().find(|(made, _)| *made == format).unwrap();
        assert_eq!(same.1, codes);
        assert_eq!(sound.measured.duration_ms, 100);
    }
    // The loudest codes of µ-law are louder than any of A-law's: across they come as near as can be.
    let across = all(Kind::Ulaw, &codes).encoded[1].1.clone();
    assert_eq!(
        across,
        codes.iter().map(|code| g711::encode_alaw(g711::decode_ulaw(*code))).collect::<Vec<_>>()
    );
}

#[test]
fn a_file_is_what_its_name_says_and_whole() {
    for (name, kind) in [
        ("tone-22050.flac", Kind::Flac),
        ("tone-44100-stereo.mp3", Kind::Mp3),
        ("tone-48000.ogg", Kind::Vorbis),
    ] {
        let bytes = corpus(name);
        for other in
            [Kind::Wav, Kind::Flac, Kind::Mp3, Kind::Vorbis].into_iter().filter(|other| *other != kind)
        {
            assert_eq!(code(other, &bytes), "AST-M022", "{name} as {}", other.name());
        }
        for keep in [bytes.len() / 2, bytes.len() * 9 / 10, bytes.len() - 100] {
            let found = code(kind, &bytes[..keep]);
            assert!(["AST-M023", "AST-M040"].contains(&found), "{name} cut to {keep} bytes: {found}");
        }
    }
    let mut flac = corpus("tone-22050.flac");
    let at = flac.len() * 3 / 4;
    flac[at] ^= 0x10;
    assert_eq!(code(Kind::Flac, &flac), "AST-M023", "one bit of it is another");
    assert_eq!(code(Kind::Ulaw, b""), "AST-M026");
    let many = Limits { encoded_bytes: 100, ..LIMITS };
    let refused = convert(Kind::Ulaw, &[0; 101], &[Format::Ulaw], many);
    assert_eq!(refused, Err(Error::TooLarge { format: "ulaw", bytes: 101, max: 100 }));
}

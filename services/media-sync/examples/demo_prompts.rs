//! Makes the prompts of the demo anew: `cargo run -p asterism-media-sync --example demo_prompts -- compose/demo/prompts`
//!
//! Needs espeak-ng (Debian: `apt-get install espeak-ng`). Its 22,050 Hz speech is brought to 8 kHz by a windowed sinc.
#![allow(clippy::print_stdout)] // this is what it tells its caller

use std::f64::consts::PI;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use asterism_audio::{NARROW_HZ, wav};

const TEXTS: [(&str, &str); 4] = [
    ("welcome", "Hello. This is a demo call from Asterism."),
    ("press-1-or-2", "Please press one, or two."),
    ("thanks", "Thank you. Your answer is in the log."),
    ("bye", "Thank you for your time. Good bye."),
];
const TO_HZ: u32 = NARROW_HZ;
/// Speech above this is cut; half of 8 kHz less room for the filter's slope.
const CUT_HZ: f64 = 3_700.0;
/// Half the filter's length in input samples.
const HALF_WIDTH: i64 = 256;
/// Loudest sample: -3 dBFS.
const PEAK: f64 = 23_000.0;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).context("name the folder the prompts go to")?;
    for (name, text) in TEXTS {
        let speech = Command::new("espeak-ng")
            .args(["--stdout", "-v", "en-us", "-s", "155", "-g", "4", text])
            .output()
            .context("espeak-ng cannot be run; install it")?;
        ensure!(speech.status.success(), "espeak-ng failed: {}", String::from_utf8_lossy(&speech.stderr));
        let (samples, from_hz) = espeak_samples(&speech.stdout).context("espeak-ng wrote no 16-bit wav")?;
        let samples = trim(&scale(&resample(&samples, from_hz)));
        let path = Path::new(&folder).join(format!("{name}.wav"));
        std::fs::write(&path, wav::write(&samples, TO_HZ))?;
        println!("{}: {} ms", path.display(), samples.len() / 8);
    }
    Ok(())
}

/// espeak-ng writes one fixed 44-byte header.
fn espeak_samples(file: &[u8]) -> Option<(Vec<i16>, u32)> {
    let rate = u32::from_le_bytes(file.get(24..28)?.try_into().ok()?);
    let data = file.get(44..)?;
    Some((data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(), rate))
}

fn resample(samples: &[i16], from_hz: u32) -> Vec<f64> {
    let cutoff = CUT_HZ / f64::from(from_hz);
    let step = f64::from(from_hz) / f64::from(TO_HZ);
    let count = samples.len() as u64 * u64::from(TO_HZ) / u64::from(from_hz);
    (0..count)
        .map(|n| {
            let center = n as f64 * step;
            let first = center as i64 - HALF_WIDTH;
            (first..=first + 2 * HALF_WIDTH)
                .filter_map(|at| Some((at, *samples.get(usize::try_from(at).ok()?)?)))
                .map(|(at, sample)| f64::from(sample) * tap(at as f64 - center, cutoff))
                .sum()
        })
        .collect()
}

/// One tap of the low-pass: a sinc under a Blackman window.
fn tap(distance: f64, cutoff: f64) -> f64 {
    let reach = distance / (HALF_WIDTH as f64 + 1.0);
    if reach.abs() >= 1.0 {
        return 0.0;
    }
    let window = 0.42 + 0.5 * (PI * reach).cos() + 0.08 * (2.0 * PI * reach).cos();
    let x = 2.0 * PI * cutoff * distance;
    let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
    2.0 * cutoff * sinc * window
}

fn scale(samples: &[f64]) -> Vec<i16> {
    let loudest = samples.iter().fold(1.0f64, |peak, sample| peak.max(sample.abs()));
    samples.iter().map(|sample| (sample * PEAK / loudest).round() as i16).collect()
}

/// Takes the silence off both ends but for 50 ms.
fn trim(samples: &[i16]) -> Vec<i16> {
    let loud = |sample: &i16| sample.unsigned_abs() > 200;
    let first = samples.iter().position(loud).unwrap_or_default().saturating_sub(400);
    let last = samples.iter().rposition(loud).map_or(samples.len(), |at| (at + 400).min(samples.len()));
    samples[first..last].to_vec()
}

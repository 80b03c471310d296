//! `media-publish`: hours of audio that become prompts in a minute, against sox doing the same to the same files, both on
//! all processors, files in and files out. Ours measures length, loudness and clipping beside that; sox converts.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_media_sync::publish::{DEFAULT_FORMATS, Set, prepare, read_folder, untold};
use serde_json::json;

use super::report::{Figure, median, scratch, spread};

const FILES: usize = 16;
const SECONDS: usize = 30;
const RATE: usize = 44_100;
const ROUNDS: usize = 5;

/// Measures both in turn.
pub fn run() -> anyhow::Result<Figure> {
    let tools = std::env::var_os("ASTERISM_MEDIA_TOOLS")
        .context("the tools to compare with are missing: tests/setup/media-tools.sh prints their folder")?;
    let (sox, dir) = (Path::new(&tools).join("sox"), scratch()?);
    let (source, ours, theirs) = (dir.path().join("source"), dir.path().join("ours"), dir.path().join("sox"));
    for folder in [&source, &ours, &theirs] {
        fs::create_dir_all(folder)?;
    }
    for number in 0..FILES {
        fs::write(source.join(format!("sound-{number:02}.wav")), wav(number as u32))?;
    }
    let (mut own, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let ours_s = timed(|| publish(&source, &ours))?;
        let sox_s = timed(|| all_by_sox(&sox, &source, &theirs))?;
        if round > 0 {
            // the first one warms up
            let hours = (FILES * SECONDS) as f64 / 3_600.0;
            own.push(hours / ours_s * 60.0);
            other.push(hours / sox_s * 60.0);
            ratios.push(sox_s / ours_s);
        }
    }
    same_length(&ours, &theirs)?;
    Ok(Figure {
        value: median(&own),
        unit: "hours/min",
        baseline: Some(median(&other)),
        ratio: Some(median(&ratios)),
        note: format!(
            "{FILES} files of {SECONDS} s, WAV of {RATE} Hz, 16 bits, stereo, to µ-law, on {} processors; baseline: sox, as many \
             at once",
            processors()
        ),
        detail: json!({ "hours_per_min": spread(&own), "sox_hours_per_min": spread(&other) }),
    })
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn publish(source: &Path, to: &Path) -> anyhow::Result<()> {
    let set = Set { name: "bench", formats: &DEFAULT_FORMATS[..1] };
    let (_, sounds) = prepare(set, &read_folder(source, "en")?, &untold)?;
    ensure!(sounds.len() == FILES, "{} sounds", sounds.len());
    for sound in sounds {
        for (format, bytes) in &sound.files {
            fs::write(to.join(format!("{}.{}", sound.name, format.extension())), bytes)?;
        }
    }
    Ok(())
}

fn all_by_sox(sox: &Path, source: &Path, to: &Path) -> anyhow::Result<()> {
    let left = Mutex::new((0..FILES).collect::<Vec<usize>>());
    thread::scope(|scope| {
        let one = || {
            while let Some(number) = left.lock().ok().and_then(|mut left| left.pop()) {
                let name = format!("sound-{number:02}");
                let done = Command::new(sox)
                    .arg(source.join(format!("{name}.wav")))
                    .args(["-r", "8000", "-c", "1", "-t", "ul"])
                    .arg(to.join(format!("{name}.ulaw")))
                    .stdin(Stdio::null())
                    .stderr(Stdio::null())
                    .status()?;
                ensure!(done.success(), "sox: {done}");
            }
            Ok(())
        };
        let workers: Vec<_> = (0..processors()).map(|_| scope.spawn(one)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker of sox panicked")))
        })
    })
}

/// Both made as much sound of each file, to a hundredth of a second.
fn same_length(ours: &Path, theirs: &Path) -> anyhow::Result<()> {
    for number in 0..FILES {
        let size = |folder: &Path| {
            Ok::<_, anyhow::Error>(fs::metadata(folder.join(format!("sound-{number:02}.ulaw")))?.len())
        };
        let (own, other) = (size(ours)?, size(theirs)?);
        ensure!(own.abs_diff(other) <= 80, "sound-{number:02}: {own} bytes of ours, {other} of sox");
    }
    Ok(())
}

/// Voices are not noise: a chord that moves, not loud enough to clip.
fn wav(seed: u32) -> Vec<u8> {
    let samples = RATE * SECONDS;
    let mut bytes = Vec::with_capacity(44 + samples * 4);
    let size = (samples * 4) as u32;
    bytes.extend(b"RIFF");
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([1_u16, 2].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend([RATE as u32, RATE as u32 * 4].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend([4_u16, 16].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    let pitch = f64::from(180 + 10 * seed);
    for at in 0..samples {
        let t = at as f64 / RATE as f64;
        let level = 0.3 + 0.2 * (t * 5.0).sin();
        let left = level * (t * pitch * std::f64::consts::TAU).sin();
        let right = level * (t * (pitch + 90.0) * std::f64::consts::TAU).sin();
        bytes.extend([left, right].iter().flat_map(|value| ((value * 24_000.0) as i16).to_le_bytes()));
    }
    bytes
}

//! What a caller will hear, in numbers: length, peak, clipping, silence at the ends, loudness by EBU R 128.

use ebur128::{EbuR128, Mode};

use crate::NARROW_HZ;

/// Quieter than this is silence: -50 dBFS.
const SILENCE: u16 = 104;
/// So many samples at full scale one after another were cut off when the sound was made.
const CLIPPED_RUN: u32 = 3;
/// Full scale, less what a decoder may round away.
const FULL_SCALE: f32 = 0.999_9;
/// Below this a whole sound is as good as silent: 300 of 32,767, -40.8 dBFS.
const SILENT_PEAK: u16 = 300;
/// Longest silence before the sound that nobody notices, in ms.
const LEAD_MS: u64 = 500;
/// Longest silence behind it, in ms.
const TAIL_MS: u64 = 1_500;
/// Quieter and louder speech is hard to follow beside other prompts. In LUFS; a measure of ours, not a standard's.
const LOUDNESS: (f64, f64) = (-33.0, -10.0);

/// What a sound is like. Levels are of the 8 kHz signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Sample rate of the file, in Hz.
    pub rate_hz: u32,
    /// Channels of the file.
    pub channels: usize,
    /// Length in ms, 1 at the least.
    pub duration_ms: u64,
    /// Loudest sample, 0 to 32,768: 0 is silence.
    pub peak: u16,
    /// Samples of the file that stand at full scale in runs of three and more.
    pub clipped: u64,
    /// Samples that went beyond full scale when the rate was changed, and were cut off.
    pub cut_off: u64,
    /// Silence before the sound, in ms; all of a silent one.
    pub silence_before_ms: u64,
    /// Silence behind it, in ms.
    pub silence_after_ms: u64,
    /// Integrated loudness in LUFS. None if it lasts less than 400 ms or is silent.
    pub loudness_lufs: Option<f64>,
}

/// What people may want to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// It is silent or nearly so.
    Silent,
    /// It was cut off at full scale.
    Clipped,
    /// It begins late.
    SilenceBefore,
    /// It ends long before the file does.
    SilenceAfter,
    /// It is much quieter than speech should be.
    Quiet,
    /// It is much louder than speech should be.
    Loud,
}

impl Warning {
    /// What to tell people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Silent => "silent or nearly so",
            Self::Clipped => "clipped: samples cut off at full scale; record it lower",
            Self::SilenceBefore => "more than 0.5 s of silence before the sound",
            Self::SilenceAfter => "more than 1.5 s of silence behind the sound",
            Self::Quiet => "quiet: below -33 LUFS",
            Self::Loud => "loud: above -10 LUFS",
        }
    }

    /// A word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Clipped => "clipped",
            Self::SilenceBefore => "silence-before",
            Self::SilenceAfter => "silence-after",
            Self::Quiet => "quiet",
            Self::Loud => "loud",
        }
    }
}

impl Measured {
    /// What people may want to change, the worst first.
    pub fn warnings(&self) -> Vec<Warning> {
        if self.peak < SILENT_PEAK {
            return vec![Warning::Silent];
        }
        let (quiet, loud) = LOUDNESS;
        [
            (self.clipped > 0 || self.cut_off > 0, Warning::Clipped),
            (self.silence_before_ms > LEAD_MS, Warning::SilenceBefore),
            (self.silence_after_ms > TAIL_MS, Warning::SilenceAfter),
            (self.loudness_lufs.is_some_and(|lufs| lufs < quiet), Warning::Quiet),
            (self.loudness_lufs.is_some_and(|lufs| lufs > loud), Warning::Loud),
        ]
        .into_iter()
        .filter_map(|(holds, warning)| holds.then_some(warning))
        .collect()
    }

    /// The peak in dB below full scale, 0 or negative. None for silence.
    pub fn peak_dbfs(&self) -> Option<f64> {
        (self.peak > 0).then(|| 20.0 * (f64::from(self.peak) / 32_768.0).log10())
    }
}

/// Counts runs at full scale in the file's own samples.
#[derive(Debug, Default)]
pub(crate) struct Clips {
    runs: Vec<u32>,
    clipped: u64,
}

impl Clips {
    pub(crate) fn add(&mut self, interleaved: &[f32], channels: usize) {
        self.runs.resize(channels, 0);
        for frame in interleaved.chunks_exact(channels) {
            for (sample, run) in frame.iter().zip(&mut self.runs) {
                *run = if sample.abs() >= FULL_SCALE { run.saturating_add(1) } else { 0 };
                self.clipped += match *run {
                    CLIPPED_RUN => u64::from(CLIPPED_RUN),
                    run if run > CLIPPED_RUN => 1,
                    _ => 0,
                };
            }
        }
    }

    pub(crate) const fn clipped(&self) -> u64 {
        self.clipped
    }
}

/// Measures the 8 kHz signal piece by piece.
pub(crate) struct Meter {
    loudness: Option<EbuR128>,
    samples: u64,
    /// The first and last sample that is no silence.
    loud: Option<(u64, u64)>,
    peak: u16,
}

impl Meter {
    pub(crate) fn new() -> Self {
        // With a histogram the memory does not grow with the sound.
        let loudness = EbuR128::new(1, NARROW_HZ, Mode::I | Mode::HISTOGRAM).ok();
        Self { loudness, samples: 0, loud: None, peak: 0 }
    }

    pub(crate) fn add(&mut self, samples: &[i16]) {
        for sample in samples {
            let size = sample.unsigned_abs();
            self.peak = self.peak.max(size);
            if size > SILENCE {
                self.loud = Some((self.loud.map_or(self.samples, |(first, _)| first), self.samples));
            }
            self.samples += 1;
        }
        if self.loudness.as_mut().is_some_and(|meter| meter.add_frames_i16(samples).is_err()) {
            self.loudness = None;
        }
    }

    pub(crate) fn measured(&self, rate_hz: u32, channels: usize, clipped: u64, cut_off: u64) -> Measured {
        let ms = |samples: u64| samples * 1_000 / u64::from(NARROW_HZ);
        let (before, after) = self
            .loud
            .map_or((self.samples, 0), |(first, last)| (first, self.samples.saturating_sub(last + 1)));
        let lufs = self.loudness.as_ref().and_then(|meter| meter.loudness_global().ok());
        Measured {
            rate_hz,
            channels,
            // Less than a millisecond still is a sound, and a manifest wants a length above zero.
            duration_ms: ms(self.samples).max(1),
            peak: self.peak,
            clipped,
            cut_off,
            silence_before_ms: ms(before),
            silence_after_ms: ms(after),
            loudness_lufs: lufs.filter(|lufs| lufs.is_finite()),
        }
    }
}

//! Sample rates, by rubato: one channel, in pieces, as long after as before.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::Error;

/// Input samples of one step at the least. The filter is as long, so at 48 kHz its slope is some 100 Hz wide.
const STEP: usize = 4_096;

/// Brings one channel from one rate to another, in time with the input.
pub(crate) struct Resampler {
    fft: Option<Fft<f32>>,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Samples of the filter's delay that are still to be dropped.
    early: usize,
    from_hz: u64,
    to_hz: u64,
    taken: u64,
    given: u64,
}

impl Resampler {
    pub(crate) fn new(from_hz: u32, to_hz: u32) -> Result<Self, Error> {
        let mut made = Self {
            fft: None,
            input: Vec::new(),
            output: Vec::new(),
            early: 0,
            from_hz: u64::from(from_hz),
            to_hz: u64::from(to_hz),
            taken: 0,
            given: 0,
        };
        if from_hz != to_hz {
            // An even number of the smallest steps: with an odd one the filter's delay is half a sample too long.
            let least = (from_hz / gcd(from_hz, to_hz)) as usize;
            let step = least * STEP.div_ceil(least).next_multiple_of(2);
            let fft = Fft::new(from_hz as usize, to_hz as usize, step, 1, FixedSync::Both);
            let fft = fft.map_err(|error| Error::damaged(error.to_string()))?;
            made.early = fft.output_delay();
            made.output = vec![0.0; fft.output_frames_max()];
            made.fft = Some(fft);
        }
        Ok(made)
    }

    /// Takes samples and hands on what is ready.
    pub(crate) fn push(&mut self, mut samples: &[f32], out: &mut impl FnMut(&[f32])) -> Result<(), Error> {
        self.taken += samples.len() as u64;
        let Some(step) = self.fft.as_ref().map(Fft::input_frames_next) else {
            self.given = self.taken;
            out(samples);
            return Ok(());
        };
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(step - self.input.len()));
            self.input.extend_from_slice(now);
            samples = later;
            if self.input.len() == step {
                self.step(u64::MAX, out)?;
            }
        }
        Ok(())
    }

    /// Hands on what is still inside. As many samples came out as lasted as long as those that went in.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(&[f32])) -> Result<(), Error> {
        let wanted = (self.taken * self.to_hz).div_ceil(self.from_hz);
        while self.given < wanted {
            let Some(step) = self.fft.as_ref().map(Fft::input_frames_next) else { return Ok(()) };
            self.input.resize(step, 0.0);
            self.step(wanted, out)?;
        }
        Ok(())
    }

    fn step(&mut self, wanted: u64, out: &mut impl FnMut(&[f32])) -> Result<(), Error> {
        let failed = |error: String| Error::damaged(error);
        let Some(fft) = &mut self.fft else { return Ok(()) };
        let (frames, room) = (self.input.len(), self.output.len());
        let input =
            InterleavedSlice::new(&self.input, 1, frames).map_err(|error| failed(error.to_string()))?;
        let mut output = InterleavedSlice::new_mut(&mut self.output, 1, room)
            .map_err(|error| failed(error.to_string()))?;
        let (_, made) =
            fft.process_into_buffer(&input, &mut output, None).map_err(|error| failed(error.to_string()))?;
        self.input.clear();
        let early = self.early.min(made);
        self.early -= early;
        let left = usize::try_from(wanted - self.given).unwrap_or(usize::MAX);
        let ready = &self.output[early..made];
        let ready = &ready[..ready.len().min(left)];
        self.given += ready.len() as u64;
        out(ready);
        Ok(())
    }
}

const fn gcd(left: u32, right: u32) -> u32 {
    if right == 0 { left } else { gcd(right, left % right) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn tone(hz: f64, rate_hz: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (0.5 * (TAU * hz * n as f64 / f64::from(rate_hz)).sin()) as f32).collect()
    }

    fn resampled(samples: &[f32], from_hz: u32, to_hz: u32, piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
        let mut all = Vec::new();
        for samples in samples.chunks(piece) {
            resampler.push(samples, &mut |ready| all.extend_from_slice(ready)).unwrap();
        }
        resampler.finish(&mut |ready| all.extend_from_slice(ready)).unwrap();
        all
    }

    /// The loudest difference, away from both ends.
    fn worst(left: &[f32], right: &[f32]) -> f32 {
        let inner = 800..left.len().min(right.len()) - 800;
        left[inner.clone()].iter().zip(&right[inner]).map(|(l, r)| (l - r).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_tone_stays_where_it_was_in_pitch_time_and_level() {
        for rate_hz in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
            for to_hz in [8_000, 16_000] {
                let made = resampled(&tone(1_000.0, rate_hz, rate_hz as usize), rate_hz, to_hz, 1_000);
                assert_eq!(made.len(), to_hz as usize, "{rate_hz} Hz");
                let off = worst(&made, &tone(1_000.0, to_hz, to_hz as usize));
                assert!(off < 0.001, "{rate_hz} Hz to {to_hz} Hz: {off}");
            }
        }
    }

    #[test]
    fn what_eight_kilohertz_cannot_carry_is_gone_and_not_folded_down() {
        for hz in [4_300.0, 5_000.0, 7_000.0, 12_345.0, 20_000.0] {
            let made = resampled(&tone(hz, 48_000, 48_000), 48_000, 8_000, 1_000);
            let off = worst(&made, &vec![0.0; made.len()]);
            assert!(off < 0.000_05, "{hz} Hz comes through at {off}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_rate_gives_as_long_a_sound_however_it_is_cut(rate_hz in 4_000u32..=192_000, samples in 1usize..30_000, piece in 1usize..9_000) {
            let sound = tone(300.0, rate_hz, samples);
            let made = resampled(&sound, rate_hz, 8_000, piece);
            prop_assert_eq!(made.len() as u64, (samples as u64 * 8_000).div_ceil(u64::from(rate_hz)));
            prop_assert_eq!(made, resampled(&sound, rate_hz, 8_000, samples));
        }
    }
}

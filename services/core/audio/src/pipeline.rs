//! From decoded samples to sounds, a piece at a time: mix, measure, resample, keep as 16 bits.

use crate::g711::{encode_alaw, encode_ulaw};
use crate::measure::{Clips, Meter};
use crate::resample::Resampler;
use crate::{Error, Format, Limits, NARROW_HZ, RATES_HZ, Sound, WIDE_HZ};

/// Samples of a piece when all of them are there at once.
pub(crate) const PIECE: usize = 8_192;
/// Most channels a file may have.
const MAX_CHANNELS: usize = 2;

pub(crate) struct Pipeline {
    wants_wide: bool,
    limits: Limits,
    input: Option<Input>,
}

/// Channels added up. What floats hold beyond four times full scale is noise, and enough of it would overflow.
fn mix(frame: &[f32]) -> f32 {
    frame.iter().map(|sample| sample.clamp(-4.0, 4.0)).sum()
}

/// Once the rate is known.
struct Input {
    rate_hz: u32,
    channels: usize,
    frames: u64,
    frames_max: u64,
    mono: Vec<f32>,
    clips: Clips,
    meter: Meter,
    narrow: Track,
    wide: Option<Track>,
}

/// A signal at one rate.
struct Track {
    resampler: Resampler,
    samples: Vec<i16>,
    cut_off: u64,
}

impl Track {
    fn new(from_hz: u32, to_hz: u32) -> Result<Self, Error> {
        Ok(Self { resampler: Resampler::new(from_hz, to_hz)?, samples: Vec::new(), cut_off: 0 })
    }

    /// Takes samples, or none at the end.
    fn take(&mut self, mono: Option<&[f32]>) -> Result<(), Error> {
        let (samples, cut_off) = (&mut self.samples, &mut self.cut_off);
        let mut keep = |ready: &[f32]| {
            samples.extend(ready.iter().map(|sample| {
                let scaled = (sample * 32_768.0).round();
                // One step above the largest value is what full scale of other formats rounds to.
                *cut_off += u64::from(!(-32_768.0..=32_768.0).contains(&scaled));
                scaled as i16 // saturates
            }));
        };
        match mono {
            Some(mono) => self.resampler.push(mono, &mut keep),
            None => self.resampler.finish(&mut keep),
        }
    }
}

impl Pipeline {
    pub(crate) fn new(wants_wide: bool, limits: Limits) -> Self {
        Self { wants_wide, limits, input: None }
    }

    /// Says what the samples are that follow. Saying it again is fine, saying something else is not.
    pub(crate) fn start(&mut self, rate_hz: u32, channels: usize) -> Result<(), Error> {
        if let Some(input) = &self.input {
            let same = (input.rate_hz, input.channels) == (rate_hz, channels);
            let what = "a rate or number of channels that changes within the file";
            return if same { Ok(()) } else { Err(Error::Encoding { what: what.to_owned() }) };
        }
        if !RATES_HZ.contains(&rate_hz) {
            return Err(Error::Rate { rate_hz });
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(Error::Encoding { what: format!("{channels} channels") });
        }
        let wide = if self.wants_wide { Some(Track::new(rate_hz, WIDE_HZ)?) } else { None };
        self.input = Some(Input {
            rate_hz,
            channels,
            frames: 0,
            frames_max: self.limits.duration_ms.saturating_mul(u64::from(rate_hz)) / 1_000,
            mono: Vec::new(),
            clips: Clips::default(),
            meter: Meter::new(),
            narrow: Track::new(rate_hz, NARROW_HZ)?,
            wide,
        });
        Ok(())
    }

    /// Takes samples of -1 to 1, channels interleaved.
    pub(crate) fn samples(&mut self, interleaved: &[f32]) -> Result<(), Error> {
        let max_ms = self.limits.duration_ms;
        let Some(input) = &mut self.input else { return Ok(()) };
        input.frames += (interleaved.len() / input.channels) as u64;
        if input.frames > input.frames_max {
            return Err(Error::TooLong { max_ms });
        }
        // Floats of a file may be anything; what is no number is damage.
        if interleaved.iter().any(|sample| !sample.is_finite()) {
            return Err(Error::damaged("a sample is no number"));
        }
        input.clips.add(interleaved, input.channels);
        input.mono.clear();
        let share = 1.0 / input.channels as f32;
        input.mono.extend(interleaved.chunks_exact(input.channels).map(|frame| mix(frame) * share));
        let before = input.narrow.samples.len();
        input.narrow.take(Some(&input.mono))?;
        input.meter.add(&input.narrow.samples[before..]);
        input.wide.as_mut().map_or(Ok(()), |wide| wide.take(Some(&input.mono)))
    }

    /// Takes G.711 codes of one channel.
    pub(crate) fn codes(&mut self, codes: &[u8], law: fn(u8) -> i16) -> Result<(), Error> {
        let mut samples = Vec::with_capacity(PIECE);
        for piece in codes.chunks(PIECE) {
            samples.clear();
            samples.extend(piece.iter().map(|code| f32::from(law(*code)) / 32_768.0));
            self.samples(&samples)?;
        }
        Ok(())
    }

    /// Frames taken so far: samples of one channel.
    pub(crate) fn frames(&self) -> u64 {
        self.input.as_ref().map_or(0, |input| input.frames)
    }

    /// Encodes what was taken. `kept` are codes that need not be made again.
    pub(crate) fn finish(self, formats: &[Format], kept: Option<(Format, &[u8])>) -> Result<Sound, Error> {
        let mut input = self.input.filter(|input| input.frames > 0).ok_or(Error::Empty)?;
        let before = input.narrow.samples.len();
        input.narrow.take(None)?;
        input.meter.add(&input.narrow.samples[before..]);
        if let Some(wide) = &mut input.wide {
            wide.take(None)?;
        }
        let cut_off = input.narrow.cut_off.max(input.wide.as_ref().map_or(0, |wide| wide.cut_off));
        let measured = input.meter.measured(input.rate_hz, input.channels, input.clips.clipped(), cut_off);
        let narrow = &input.narrow.samples;
        let mut encoded = Vec::with_capacity(formats.len());
        for format in formats {
            let bytes = match (format, kept) {
                (_, Some((same, codes))) if same == *format => codes.to_vec(),
                (Format::Ulaw, _) => narrow.iter().map(|sample| encode_ulaw(*sample)).collect(),
                (Format::Alaw, _) => narrow.iter().map(|sample| encode_alaw(*sample)).collect(),
                (Format::Sln16, _) => {
                    let wide = input.wide.as_ref().map(|wide| wide.samples.as_slice()).unwrap_or_default();
                    wide.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>()
                }
            };
            let (bytes_made, max) = (bytes.len() as u64, self.limits.encoded_bytes);
            if bytes_made > max {
                return Err(Error::TooLarge { format: format.extension(), bytes: bytes_made, max });
            }
            encoded.push((*format, bytes));
        }
        Ok(Sound { measured, encoded })
    }
}

//! WAV files: PCM of 8 to 32 bits, floats of 32, G.711. Everything else is refused with the way out.
//!
//! Read here and not by symphonia, which refuses or cuts files whose sizes a program did not know when it wrote them.

use crate::pipeline::{PIECE, Pipeline};
use crate::{Error, Format, Kind, NARROW_HZ, g711};

/// Most chunks looked at before the sound must have begun.
const MAX_CHUNKS: usize = 64;
/// Sizes a program writes when it does not know yet how long the sound will be.
const UNKNOWN_SIZES: [u32; 3] = [0, 0x7fff_f000, 0xffff_ffff];

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_ALAW: u16 = 6;
const TAG_ULAW: u16 = 7;
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// A WAV file whose format is known; its sound is not looked at yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Wav<'a> {
    tag: u16,
    channels: u16,
    rate_hz: u32,
    bits: u16,
    data: &'a [u8],
}

struct Header {
    tag: u16,
    channels: u16,
    rate_hz: u32,
    bits: u16,
}

impl<'a> Wav<'a> {
    /// Finds format and sound.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let not = Error::Not { kind: Kind::Wav.name() };
        if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
            return Err(not);
        }
        let mut header = None;
        let mut at = 12;
        for _ in 0..MAX_CHUNKS {
            let (Some(id), Some(size)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) else {
                return Err(Error::Truncated);
            };
            let rest = &bytes[at + 8..];
            let len = size as usize;
            match id {
                b"data" => {
                    let Header { tag, channels, rate_hz, bits } = header.ok_or(not)?;
                    let unknown = UNKNOWN_SIZES.contains(&size);
                    if rest.len() < len && !unknown {
                        return Err(Error::Truncated);
                    }
                    let data = if size == 0 || rest.len() < len { rest } else { &rest[..len] };
                    return Self { tag, channels, rate_hz, bits, data }.whole(unknown);
                }
                b"fmt " => header = Some(Header::read(rest.get(..len).ok_or(Error::Truncated)?)?),
                _ => {}
            }
            // Chunks begin at even places.
            at += 8 + len + len % 2;
        }
        Err(not)
    }

    /// Makes sure that it can be read and holds whole frames. Where the size was not known the last may be cut.
    fn whole(mut self, unknown: bool) -> Result<Self, Error> {
        let readable = matches!(
            (self.tag, self.bits),
            (TAG_PCM, 8 | 16 | 24 | 32) | (TAG_FLOAT, 32) | (TAG_ULAW | TAG_ALAW, 8)
        );
        if !readable || !(1..=2).contains(&self.channels) {
            let Self { tag, channels, bits, .. } = self;
            let what = match tag {
                TAG_PCM | TAG_FLOAT | TAG_ULAW | TAG_ALAW => format!("{bits} bits, {channels} channels"),
                tag => format!("encoding {tag:#06x}"),
            };
            return Err(Error::Encoding { what });
        }
        let cut = self.data.len() % (usize::from(self.channels) * usize::from(self.bits / 8));
        if cut != 0 && !unknown {
            return Err(Error::Truncated);
        }
        self.data = &self.data[..self.data.len() - cut];
        Ok(self)
    }

    /// Its data, if that is what nodes play already.
    pub(crate) fn codes(&self) -> Option<(Format, &'a [u8])> {
        match (self.tag, self.channels, self.rate_hz) {
            (TAG_ULAW, 1, NARROW_HZ) => Some((Format::Ulaw, self.data)),
            (TAG_ALAW, 1, NARROW_HZ) => Some((Format::Alaw, self.data)),
            _ => None,
        }
    }

    /// Puts all samples into the pipeline.
    pub(crate) fn decode(&self, pipeline: &mut Pipeline) -> Result<(), Error> {
        pipeline.start(self.rate_hz, usize::from(self.channels))?;
        let width = usize::from(self.bits / 8);
        let mut samples = Vec::with_capacity(PIECE);
        for piece in self.data.chunks(PIECE * width) {
            samples.clear();
            samples.extend(piece.chunks_exact(width).map(|bytes| self.sample(bytes)));
            pipeline.samples(&samples)?;
        }
        Ok(())
    }

    fn sample(&self, bytes: &[u8]) -> f32 {
        match (self.tag, bytes) {
            (TAG_ULAW, [code]) => f32::from(g711::decode_ulaw(*code)) / 32_768.0,
            (TAG_ALAW, [code]) => f32::from(g711::decode_alaw(*code)) / 32_768.0,
            // Eight bits have no sign.
            (_, [byte]) => (f32::from(*byte) - 128.0) / 128.0,
            (_, [low, high]) => f32::from(i16::from_le_bytes([*low, *high])) / 32_768.0,
            (_, [low, middle, high]) => {
                i32::from_le_bytes([0, *low, *middle, *high]) as f32 / 2_147_483_648.0
            }
            (TAG_FLOAT, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (_, [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]) as f32 / 2_147_483_648.0,
            _ => 0.0, // `whole` lets no other width in
        }
    }
}

impl Header {
    fn read(chunk: &[u8]) -> Result<Self, Error> {
        let field = |at| u16_at(chunk, at).ok_or(Error::Truncated);
        let mut tag = field(0)?;
        if tag == TAG_EXTENSIBLE {
            tag = field(24)?; // the first two bytes of the sub-format's id are the old tag
        }
        let rate_hz = u32_at(chunk, 4).ok_or(Error::Truncated)?;
        Ok(Self { tag, channels: field(2)?, rate_hz, bits: field(14)? })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Writes 16-bit samples, one channel.
pub fn write(samples: &[i16], rate_hz: u32) -> Vec<u8> {
    let data_bytes = samples.len() as u32 * 2;
    let mut out = Vec::with_capacity(44 + samples.len() * 2);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    for field in [TAG_PCM, 1] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [rate_hz, rate_hz * 2] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [2u16, 16] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&data_bytes.to_le_bytes());
    for sample in samples {
        out.extend_from_slice(&sample.to_le_bytes());
    }
    out
}

//! WAV files: the few kinds a prompt may be, everything else refused with the way out.

use super::PromptError;

/// The one sample rate that is kept, in Hz.
pub const SAMPLE_RATE_HZ: u32 = 8_000;
/// Most chunks looked at before the sound must have begun.
const MAX_CHUNKS: usize = 64;
/// Sizes a program writes when it does not know yet how long the sound will be.
const UNKNOWN_SIZES: [u32; 3] = [0, 0x7fff_f000, 0xffff_ffff];

const TAG_PCM: u16 = 1;
const TAG_ALAW: u16 = 6;
const TAG_ULAW: u16 = 7;
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// The sound of a WAV file at 8 kHz, one channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Wav {
    /// 16-bit samples; two channels are mixed into one.
    Pcm(Vec<i16>),
    /// µ-law codes, kept as they are.
    Ulaw(Vec<u8>),
}

struct Format {
    tag: u16,
    channels: u16,
    rate_hz: u32,
    bits: u16,
}

/// Reads a WAV file.
pub fn read(bytes: &[u8]) -> Result<Wav, PromptError> {
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(PromptError::NotWav);
    }
    let mut format = None;
    let mut at = 12;
    for _ in 0..MAX_CHUNKS {
        let (Some(id), Some(size)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) else {
            return Err(PromptError::Truncated);
        };
        let rest = &bytes[at + 8..];
        let len = size as usize;
        match id {
            b"data" => {
                let format = format.ok_or(PromptError::NotWav)?;
                if rest.len() < len && !UNKNOWN_SIZES.contains(&size) {
                    return Err(PromptError::Truncated);
                }
                let all = size == 0 || rest.len() < len;
                return sound(&format, if all { rest } else { &rest[..len] });
            }
            b"fmt " => format = Some(read_format(rest.get(..len).ok_or(PromptError::Truncated)?)?),
            _ => {}
        }
        // Chunks begin at even places.
        at += 8 + len + len % 2;
    }
    Err(PromptError::NotWav)
}

fn read_format(chunk: &[u8]) -> Result<Format, PromptError> {
    let field = |at| u16_at(chunk, at).ok_or(PromptError::Truncated);
    let mut tag = field(0)?;
    if tag == TAG_EXTENSIBLE {
        tag = field(24)?; // the first two bytes of the sub-format's id are the old tag
    }
    let rate_hz = u32_at(chunk, 4).ok_or(PromptError::Truncated)?;
    Ok(Format { tag, channels: field(2)?, rate_hz, bits: field(14)? })
}

fn sound(format: &Format, data: &[u8]) -> Result<Wav, PromptError> {
    if format.rate_hz != SAMPLE_RATE_HZ {
        return Err(PromptError::Rate { rate_hz: format.rate_hz });
    }
    match (format.tag, format.bits, format.channels) {
        (TAG_PCM, 16, 1) => Ok(Wav::Pcm(samples(data)?)),
        (TAG_PCM, 16, 2) => {
            let mixed = samples(data)?;
            if !mixed.len().is_multiple_of(2) {
                return Err(PromptError::Truncated);
            }
            Ok(Wav::Pcm(mixed.chunks_exact(2).map(|pair| i16::midpoint(pair[0], pair[1])).collect()))
        }
        (TAG_ULAW, 8, 1) => Ok(Wav::Ulaw(data.to_vec())),
        (TAG_PCM | TAG_ULAW | TAG_ALAW, bits, channels) => {
            Err(PromptError::Kind { what: format!("{bits} bits, {channels} channels") })
        }
        (tag, ..) => Err(PromptError::Kind { what: format!("encoding {tag:#06x}") }),
    }
}

fn samples(data: &[u8]) -> Result<Vec<i16>, PromptError> {
    if !data.len().is_multiple_of(2) {
        return Err(PromptError::Truncated);
    }
    Ok(data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Writes 16-bit samples at 8 kHz, one channel.
pub fn write(samples: &[i16]) -> Vec<u8> {
    let data_bytes = samples.len() as u32 * 2;
    let mut out = Vec::with_capacity(44 + samples.len() * 2);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    for field in [TAG_PCM, 1] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * 2] {
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

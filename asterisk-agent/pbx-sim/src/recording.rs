//! What `Record()` leaves: a WAV file of 8,000 samples a second, 16 bits, one channel, as Asterisk
//! writes it.
//!
//! Each call has a tone of its own, so that no recording is taken for another.

use std::io;
use std::path::Path;

use asterism_agent::dialplan::EndReport;

const SAMPLES_PER_MS: u32 = 8;

/// Writes the recording of a call's step: so many ms of it.
pub(crate) fn write(folder: Option<&Path>, call: &EndReport, ms: u32) -> io::Result<()> {
    let folder = folder.ok_or_else(|| io::Error::other("no folder for recordings"))?;
    let name = format!("{}-{}", call.channel_id, call.step);
    std::fs::write(folder.join(format!("{name}.wav")), wav(&name, ms))
}

/// The file that is written under this name.
fn wav(name: &str, ms: u32) -> Vec<u8> {
    let samples = ms * SAMPLES_PER_MS;
    let bytes = samples * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(bytes + 36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    for word in [8_000_u32, 16_000] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for half in [2_u16, 16] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    let pitch =
        name.bytes().fold(7_u32, |pitch, byte| pitch.wrapping_mul(31).wrapping_add(u32::from(byte))) % 401;
    for at in 0..samples {
        let sample = ((at.wrapping_mul(pitch + 100) % 4_001) as i16) - 2_000;
        file.extend_from_slice(&sample.to_le_bytes());
    }
    file
}

//! Sound files as people keep them, turned into what nodes play. Pure: bytes in, bytes and measurements out.
//!
//! [`convert`] reads WAV, FLAC, MP3, Ogg Vorbis and raw G.711, mixes to one channel, resamples, encodes to each wanted
//! [`Format`] and measures what a caller will hear. A file is worked off in pieces: memory is bounded by what comes out
//! and by [`Limits`], never by what a header claims; a file that does not decode to its end is refused whole.

mod compressed;
pub mod error;
pub mod g711;
mod measure;
mod pipeline;
mod resample;
pub mod wav;

pub use error::Error;
pub use measure::{Measured, Warning};

/// Sample rate of G.711 and of what is measured, in Hz.
pub const NARROW_HZ: u32 = 8_000;
/// Sample rate of wideband, in Hz.
pub const WIDE_HZ: u32 = 16_000;
/// Sample rates a file may have, in Hz: below there is no speech, above nobody records.
pub const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// What a file holds, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// RIFF WAVE: PCM of 8 to 32 bits, floats of 32, G.711.
    Wav,
    /// FLAC in its own container.
    Flac,
    /// MPEG audio, layer 3.
    Mp3,
    /// Vorbis in Ogg.
    Vorbis,
    /// Bare µ-law codes, 8 kHz, one channel.
    Ulaw,
    /// Bare A-law codes, 8 kHz, one channel.
    Alaw,
}

impl Kind {
    /// The kind a file extension stands for, in any case. `.raw` and `.pcm` stand for too many things to be one.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "wav" | "wave" => Some(Self::Wav),
            "flac" => Some(Self::Flac),
            "mp3" => Some(Self::Mp3),
            "ogg" | "oga" => Some(Self::Vorbis),
            "ulaw" | "ul" | "mu" | "ulw" => Some(Self::Ulaw),
            "alaw" | "al" | "alw" => Some(Self::Alaw),
            _ => None,
        }
    }

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wav => "WAV",
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::Vorbis => "Ogg Vorbis",
            Self::Ulaw => "µ-law",
            Self::Alaw => "A-law",
        }
    }
}

/// What nodes play, each native to a codec of trunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// G.711 µ-law, 8 kHz.
    Ulaw,
    /// G.711 A-law, 8 kHz.
    Alaw,
    /// 16-bit samples, little-endian, 16 kHz: what the PBX makes G.722 and Opus of at the least cost.
    Sln16,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Ulaw, Self::Alaw, Self::Sln16];

    /// The file extension the PBX knows it by.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Ulaw => "ulaw",
            Self::Alaw => "alaw",
            Self::Sln16 => "sln16",
        }
    }

    /// The format of an extension.
    pub fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.extension() == extension)
    }
}

/// How much is made of one file at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest sound, in ms.
    pub duration_ms: u64,
    /// Largest encoded sound, in bytes.
    pub encoded_bytes: u64,
}

/// A sound, ready for nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// What was measured.
    pub measured: Measured,
    /// The sound in each format that was asked for, in that order.
    pub encoded: Vec<(Format, Vec<u8>)>,
}

/// Decodes, checks and encodes one file. The same bytes give the same sounds.
pub fn convert(kind: Kind, bytes: &[u8], formats: &[Format], limits: Limits) -> Result<Sound, Error> {
    let mut pipeline = pipeline::Pipeline::new(formats.contains(&Format::Sln16), limits);
    // Codes that are what is wanted already stay as they are, minus zero too.
    let mut kept = None;
    match kind {
        Kind::Wav => {
            let file = wav::Wav::parse(bytes)?;
            kept = file.codes();
            file.decode(&mut pipeline)?;
        }
        Kind::Ulaw => kept = Some((Format::Ulaw, bytes)),
        Kind::Alaw => kept = Some((Format::Alaw, bytes)),
        Kind::Flac | Kind::Mp3 | Kind::Vorbis => compressed::decode(kind, bytes, &mut pipeline)?,
    }
    if matches!(kind, Kind::Ulaw | Kind::Alaw) {
        let law = if kind == Kind::Ulaw { g711::decode_ulaw } else { g711::decode_alaw };
        pipeline.start(NARROW_HZ, 1)?;
        pipeline.codes(bytes, law)?;
    }
    pipeline.finish(formats, kept)
}

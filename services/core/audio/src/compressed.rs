//! FLAC, MP3 and Ogg Vorbis, by symphonia. What its name says decides which reader looks at a file: nothing is guessed.
//!
//! Strict: a piece that does not decode, a length or checksum that does not come out, a second stream are all reasons
//! to refuse. An MP3 that says nowhere how long it is may be cut at the end without anybody noticing.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::codecs::{FlacDecoder, MpaDecoder, VorbisDecoder};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};

use crate::pipeline::Pipeline;
use crate::{Error, Kind};

/// How far into an MP3 its count of frames is looked for, behind tags with a picture.
const MP3_COUNT_WITHIN: usize = 1024 * 1024;
const CODEBOOK_MARK: u64 = 0x56_4342;
/// Most values in all codebooks of a stream. libvorbis makes some 10,000 for speech; a few kilobytes of header can claim 10^9.
const CODEBOOKS_MAX: u64 = 1_000_000;
const OGG_PAGE: &[u8] = b"OggS";
const OGG_HEAD_BYTES: usize = 27;
const OGG_LAST: u8 = 4;

/// Decodes a whole file into the pipeline.
pub(crate) fn decode(kind: Kind, bytes: &[u8], pipeline: &mut Pipeline) -> Result<(), Error> {
    if !looks_like(kind, bytes) {
        return Err(Error::Not { kind: kind.name() });
    }
    if kind == Kind::Vorbis && !ends_with_last_page(bytes) {
        return Err(Error::Truncated);
    }
    // A decoder that meets what its authors did not think of must not take the publisher with it.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_all(kind, bytes, pipeline)));
    decoded.unwrap_or_else(|_| Err(Error::damaged("its decoder gave up")))
}

fn looks_like(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Flac => bytes.starts_with(b"fLaC"),
        Kind::Vorbis => bytes.starts_with(OGG_PAGE),
        Kind::Mp3 => {
            let frame = bytes.first() == Some(&0xff) && bytes.get(1).is_some_and(|byte| byte & 0xe0 == 0xe0);
            frame || bytes.starts_with(b"ID3")
        }
        Kind::Wav | Kind::Ulaw | Kind::Alaw => false,
    }
}

/// Whether the last page of an Ogg file is whole and says that it is the last.
fn ends_with_last_page(bytes: &[u8]) -> bool {
    let Some(at) = bytes.windows(OGG_PAGE.len()).rposition(|window| window == OGG_PAGE) else { return false };
    let page = &bytes[at..];
    let (Some(flags), Some(segments)) = (page.get(5), page.get(OGG_HEAD_BYTES - 1)) else { return false };
    let Some(lacing) = page.get(OGG_HEAD_BYTES..OGG_HEAD_BYTES + usize::from(*segments)) else {
        return false;
    };
    let body: usize = lacing.iter().map(|len| usize::from(*len)).sum();
    flags & OGG_LAST != 0 && page.len() >= OGG_HEAD_BYTES + lacing.len() + body
}

fn decode_all(kind: Kind, bytes: &[u8], pipeline: &mut Pipeline) -> Result<(), Error> {
    let (mut reader, mut decoder) = open(kind, bytes)?;
    let track = reader.default_track(TrackType::Audio).ok_or_else(|| Error::damaged("no sound in it"))?;
    let (id, claimed) = (track.id, track.num_frames.filter(|_| kind != Kind::Mp3 || counts_frames(bytes)));
    let mut samples: Vec<f32> = Vec::new();
    while let Some(packet) = packet(reader.as_mut())? {
        if packet.track_id != id {
            return Err(Error::Encoding { what: "several streams".to_owned() });
        }
        let piece = decoder.decode(&packet).map_err(failure)?;
        if piece.frames() == 0 {
            continue;
        }
        let spec = piece.spec();
        pipeline.start(spec.rate(), spec.channels().count())?;
        piece.copy_to_vec_interleaved(&mut samples);
        pipeline.samples(&samples)?;
    }
    if claimed.is_some_and(|claimed| pipeline.frames() < claimed) {
        return Err(Error::Truncated);
    }
    if decoder.finalize().verify_ok == Some(false) {
        return Err(Error::damaged("its checksum does not come out"));
    }
    Ok(())
}

type Opened<'a> = (Box<dyn FormatReader + 'a>, Box<dyn AudioDecoder>);

fn open(kind: Kind, bytes: &[u8]) -> Result<Opened<'_>, Error> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let options = FormatOptions::default();
    let reader: Box<dyn FormatReader> = match kind {
        Kind::Flac => Box::new(FlacReader::try_new(stream, options).map_err(failure)?),
        Kind::Mp3 => Box::new(MpaReader::try_new(stream, options).map_err(failure)?),
        _ => Box::new(OggReader::try_new(stream, options).map_err(failure)?),
    };
    let track = reader.default_track(TrackType::Audio).ok_or_else(|| Error::damaged("no sound in it"))?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(Error::damaged("no sound in it"));
    };
    if kind == Kind::Vorbis
        && codebook_values(parameters.extra_data.as_deref().unwrap_or_default()) > CODEBOOKS_MAX
    {
        return Err(Error::damaged("its codebooks are larger than those of any encoder"));
    }
    let checked = AudioDecoderOptions::default().verify(true);
    let decoder: Box<dyn AudioDecoder> = match kind {
        Kind::Flac => Box::new(FlacDecoder::try_new(parameters, &checked).map_err(failure)?),
        Kind::Mp3 => Box::new(MpaDecoder::try_new(parameters, &checked).map_err(failure)?),
        _ => Box::new(VorbisDecoder::try_new(parameters, &checked).map_err(failure)?),
    };
    Ok((reader, decoder))
}

/// How many values the codebooks of a Vorbis header unpack to at the most, counted without unpacking any: each begins
/// with a mark of 24 bits, its dimensions in 16 and its entries in 24. A mark that is there by chance counts too.
fn codebook_values(header: &[u8]) -> u64 {
    let (mut window, mut values) = (0u64, 0u64);
    for byte in header {
        for bit in 0..8 {
            window = (window >> 1) | (u64::from(byte >> bit & 1) << 63);
            if window & 0xff_ffff == CODEBOOK_MARK {
                values = values.saturating_add((window >> 24 & 0xffff).max(1) * (window >> 40));
            }
        }
    }
    values
}

fn packet(reader: &mut dyn FormatReader) -> Result<Option<symphonia::core::packet::Packet>, Error> {
    match reader.next_packet() {
        Ok(packet) => Ok(packet),
        // Some readers end this way; whether all came is checked by count.
        Err(Symphonia::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

/// Whether an MP3 begins with a frame that counts the others.
fn counts_frames(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(MP3_COUNT_WITHIN)];
    head.windows(4).any(|window| window == b"Xing" || window == b"Info")
}

fn failure(error: Symphonia) -> Error {
    match error {
        Symphonia::Unsupported(what) => Error::Encoding { what: what.to_owned() },
        Symphonia::ResetRequired => Error::Encoding { what: "several streams".to_owned() },
        Symphonia::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Error::Truncated,
        error => Error::damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::codebook_values;

    #[test]
    fn codebooks_are_counted_wherever_their_bits_begin() {
        let book = |dimensions: u16, entries: u32| {
            u128::from(0x56_4342u32) | u128::from(dimensions) << 24 | u128::from(entries) << 40
        };
        for shift in 0..60 {
            let bits = book(32, 131_072) << shift;
            assert_eq!(codebook_values(&bits.to_le_bytes()), 32 * 131_072, "{shift} bits before it");
        }
        let two = [book(0, 7).to_le_bytes(), book(2, 7).to_le_bytes()].concat();
        assert_eq!(codebook_values(&two), 7 + 14);
        let ogg = include_bytes!("../tests/corpus/tone-48000.ogg");
        let found = codebook_values(ogg);
        assert!((1_000..200_000).contains(&found), "{found}");
    }
}

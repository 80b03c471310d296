//! Bytes of any encoding, read as UTF-8.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

const INPUT_BYTES: usize = 64 * 1024;
/// Stands where the source has bytes that are no text. It is no UTF-8, so the row it stands in is refused.
const NO_TEXT: u8 = 0xff;
/// Longest character in UTF-8: a shorter buffer might never be filled.
const CHARACTER_BYTES: usize = 4;

/// A source as UTF-8. What is UTF-8 already goes through untouched.
pub(super) struct Decoded<R> {
    source: R,
    decoder: Option<Decoder>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    finished: bool,
}

impl<R: Read> Decoded<R> {
    /// The source stands behind its byte order mark.
    pub(super) fn new(source: R, encoding: &'static Encoding) -> Self {
        let decoder = (encoding != UTF_8).then(|| encoding.new_decoder_without_bom_handling());
        let input = if decoder.is_some() { vec![0; INPUT_BYTES] } else { Vec::new() };
        Self { source, decoder, input, start: 0, end: 0, at_end: false, finished: false }
    }

    pub(super) fn into_source(self) -> R {
        self.source
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return self.source.read(out) };
        // One byte is kept for NO_TEXT.
        let Some(room) = out.len().checked_sub(1).filter(|room| *room >= CHARACTER_BYTES) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer takes no character"));
        };
        while !self.finished {
            if self.start == self.end && !self.at_end {
                (self.start, self.end) = (0, self.source.read(&mut self.input)?);
                self.at_end = self.end == 0;
            }
            let input = &self.input[self.start..self.end];
            let (result, used, mut written) =
                decoder.decode_to_utf8_without_replacement(input, &mut out[..room], self.at_end);
            self.start += used;
            match result {
                DecoderResult::InputEmpty => self.finished = self.at_end,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    out[written] = NO_TEXT;
                    written += 1;
                }
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};
    use proptest::prelude::*;

    fn decoded(bytes: &[u8], encoding: &'static Encoding, step: usize) -> Vec<u8> {
        let mut source = Decoded::new(bytes, encoding);
        let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
        loop {
            match source.read(&mut buffer).unwrap() {
                0 => return all,
                count => all.extend(&buffer[..count]),
            }
        }
    }

    #[test]
    fn windows_characters_become_text() {
        assert_eq!(decoded(b"M\xfcller \x80 \x93x\x94", WINDOWS_1252, 64), "Müller € “x”".as_bytes());
        // Half a surrogate pair, and half a character at the end.
        assert_eq!(decoded(&[0x41, 0, 0, 0xd8, 0x42, 0, 0x43], UTF_16LE, 64), [b'A', NO_TEXT, b'B', NO_TEXT]);
    }

    proptest! {
        #[test]
        fn text_comes_through_whatever_the_chunks(text in "\\PC{0,200}", step in 5usize..40) {
            let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            prop_assert_eq!(&decoded(&little, UTF_16LE, step), text.as_bytes());
            prop_assert_eq!(&decoded(&big, UTF_16BE, step), text.as_bytes());
            prop_assert_eq!(&decoded(text.as_bytes(), UTF_8, step), text.as_bytes());
        }

        #[test]
        fn any_bytes_are_decoded_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 5usize..40) {
            for encoding in [UTF_16LE, UTF_16BE, WINDOWS_1252, encoding_rs::SHIFT_JIS] {
                let _ = decoded(&bytes, encoding, step);
            }
        }
    }
}

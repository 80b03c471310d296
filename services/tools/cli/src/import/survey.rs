//! The first look at a file: its hash, its length, and how its bytes are to be read as text.

use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use sha2::{Digest, Sha256};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes looked at for what is no text at all, and for UTF-16 without a mark.
const HEAD_BYTES: usize = 512;

/// What a file is.
#[derive(Debug, Clone)]
pub struct Survey {
    /// SHA-256, hex: the same file is the same import.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
    /// Line ends in it: about as many as it has rows.
    pub lines: u64,
    /// How its bytes are read.
    pub encoding: &'static Encoding,
    /// How that is known.
    pub known_by: KnownBy,
    /// Bytes of the byte order mark, passed over.
    pub(super) mark_bytes: usize,
    /// What else it is, if it is no text.
    pub(super) no_text: Option<&'static str>,
}

/// How the encoding is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// Somebody said so.
    Told,
    /// A byte order mark.
    Mark,
    /// Its bytes.
    Bytes,
}

impl KnownBy {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Told => "as told",
            Self::Mark => "by its byte order mark",
            Self::Bytes => "by its bytes",
        }
    }
}

/// Reads a file to its end. `told` is an encoding somebody named.
pub fn survey(mut source: impl Read, told: Option<&'static Encoding>) -> io::Result<Survey> {
    let mut hasher = Sha256::new();
    let mut count = Count::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut head, mut size_bytes, mut lines, mut open) = (Vec::new(), 0u64, 0u64, 0);
    loop {
        // The bytes of a character that a chunk cut in two stand before the next one.
        let read = match source.read(&mut buffer[open..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let fresh = &buffer[open..open + read];
        hasher.update(fresh);
        lines += fresh.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        head.extend(&fresh[..read.min(HEAD_BYTES - head.len())]);
        size_bytes += read as u64;
        let rest = count.take(&buffer[..open + read], read == 0);
        let used = open + read - rest;
        buffer.copy_within(used..open + read, 0);
        open = rest;
        if read == 0 {
            break;
        }
    }
    let (encoding, known_by, mark_bytes) = match (Encoding::for_bom(&head), told) {
        (Some((encoding, bytes)), told) if told.is_none_or(|told| told == encoding) => {
            (encoding, KnownBy::Mark, bytes)
        }
        (_, Some(told)) => (told, KnownBy::Told, 0),
        (_, None) => (utf16(&head).unwrap_or_else(|| count.encoding()), KnownBy::Bytes, 0),
    };
    let sha256 = hex::encode(hasher.finalize());
    Ok(Survey { sha256, size_bytes, lines, encoding, known_by, mark_bytes, no_text: no_text(&head) })
}

/// What the bytes are like.
#[derive(Debug, Default)]
struct Count {
    /// Characters of several bytes, as UTF-8 spells them.
    several: u64,
    /// Bytes that are no UTF-8.
    odd: u64,
    /// Of these, bytes that Windows-1252 has no character for.
    nowhere: u64,
}

impl Count {
    /// Takes a chunk in; how many bytes at its end belong to a character that goes on.
    fn take(&mut self, mut bytes: &[u8], last: bool) -> usize {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(_) => {
                    self.several += starts(bytes);
                    return 0;
                }
                Err(error) => {
                    let (good, bad) = bytes.split_at(error.valid_up_to());
                    self.several += starts(good);
                    let length = match error.error_len() {
                        None if !last => return bad.len(),
                        None => bad.len(),
                        Some(length) => length,
                    };
                    self.odd += length as u64;
                    let nowhere = |byte: &&u8| matches!(**byte, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d);
                    self.nowhere += bad[..length].iter().filter(nowhere).count() as u64;
                    bytes = &bad[length..];
                }
            }
        }
    }

    /// UTF-8 even if a few bytes are damaged: their rows are refused. Windows-1252 spells no character by chance as UTF-8
    /// spells one of several bytes.
    fn encoding(&self) -> &'static Encoding {
        let windows = self.odd > self.several && self.nowhere == 0;
        if windows { WINDOWS_1252 } else { UTF_8 }
    }
}

fn starts(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte >= 0xc0)).sum()
}

/// UTF-16 without a mark: every other byte of the header is zero.
fn utf16(head: &[u8]) -> Option<&'static Encoding> {
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    match even.max(odd) * 4 >= head.len() && even != odd {
        true if odd > even => Some(UTF_16LE),
        true => Some(UTF_16BE),
        false => None,
    }
}

fn no_text(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a spreadsheet's workbook (xlsx, ods) or another zip archive"),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook (xls)"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"%PDF", "a PDF"),
        (b"SQLite format 3", "a database"),
    ];
    KNOWN.iter().find(|(start, _)| head.starts_with(start)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn encoding(bytes: &[u8]) -> &'static str {
        survey(bytes, None).unwrap().encoding.name()
    }

    #[test]
    fn an_encoding_is_known_by_mark_or_bytes() {
        assert_eq!(encoding(b"number,name\n1,Ada"), "UTF-8");
        assert_eq!(encoding("number,name\n1,M\u{fc}ller".as_bytes()), "UTF-8");
        assert_eq!(encoding(b"number,name\n1,M\xfcller \x80"), "windows-1252");
        // Damaged UTF-8 stays UTF-8; so does what Windows-1252 has no character for.
        assert_eq!(encoding(b"M\xc3\xbcller, Gr\xc3\xb6\xc3\x9fe, \xff"), "UTF-8");
        assert_eq!(encoding(b"a\x81b"), "UTF-8");
        assert_eq!(encoding(b"\xef\xbb\xbfnumber"), "UTF-8");
        let wide: Vec<u8> = "number\n1".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(encoding(&wide), "UTF-16LE");
        assert_eq!(encoding(&[&[0xff, 0xfe], &wide[..]].concat()), "UTF-16LE");
        let big: Vec<u8> = "number\n1".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(encoding(&big), "UTF-16BE");
        assert_eq!(survey(&b"M\xfcller"[..], Some(UTF_8)).unwrap().encoding, UTF_8);
        assert!(survey(&b"PK\x03\x04..."[..], None).unwrap().no_text.unwrap().contains("xlsx"));
    }

    /// Hands out a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn chunks_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..7) {
            let whole = survey(&bytes[..], None).unwrap();
            let slow = survey(Slow(&bytes, step), None).unwrap();
            prop_assert_eq!(&whole.sha256, &slow.sha256);
            prop_assert_eq!((whole.lines, whole.size_bytes), (slow.lines, bytes.len() as u64));
            prop_assert_eq!(whole.encoding, slow.encoding);
        }

        #[test]
        fn any_text_in_utf8_is_utf8(text in "[a-z]\\PC{0,200}", step in 1usize..7) {
            prop_assert_eq!(survey(Slow(text.as_bytes(), step), None).unwrap().encoding, UTF_8);
        }
    }
}

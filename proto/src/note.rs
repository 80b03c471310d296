//! A checkpoint as a C2SP signed note: text anyone can read and check with ordinary tools.
//!
//! ```text
//! asterism/main-5f1c09ab33de4417/log
//! 20852
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — asterism/main-5f1c09ab33de4417/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```
//!
//! The signature is Ed25519 (type 1) by the log key over the text up to and with the line end before the empty line.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::{Hash, sha256};
use crate::key::{OriginKey, PublicKey};

/// Longest note read, in bytes: three lines and the signatures of a few hundred witnesses.
pub const NOTE_MAX_BYTES: usize = 64 * 1024;
/// Signature type of the log's own signature.
const ED25519: u8 = 1;
const KEY_ID_BYTES: usize = 4;

/// Why a note is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// No checkpoint in the form of a signed note.
    #[error("it is no signed checkpoint note")]
    Format,
    /// Another log's.
    #[error("it is of another log")]
    Origin,
    /// No signature of the log key, or one that does not match.
    #[error("it is not signed by the key of this log")]
    Signature,
}

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Events covered.
    pub size: u64,
    /// RFC 6962 root at that size.
    pub root: Hash,
}

/// Bytes of the anchor in a log's tag: tells logs of one fleet's name apart.
const ANCHOR_BYTES: usize = 8;

/// What a log is known by outside: its fleet and the beginning of its anchor.
pub fn tag(fleet: &str, anchor: &Hash) -> String {
    format!("{fleet}-{}", hex::encode(&anchor[..ANCHOR_BYTES]))
}

/// The name a log signs under: `asterism/<tag>/log`.
pub fn origin(tag: &str) -> String {
    format!("asterism/{tag}/log")
}

/// The text of a checkpoint's note: what is signed.
pub fn text(origin: &str, head: &TreeHead) -> String {
    format!("{origin}\n{}\n{}\n", head.size, STANDARD.encode(head.root))
}

/// Writes the note of a checkpoint.
pub fn sign(key: &OriginKey, origin: &str, head: &TreeHead) -> String {
    let mut text = text(origin, head);
    let mut signature = key_id(origin, ED25519, &key.public()).to_vec();
    signature.extend_from_slice(&key.sign(text.as_bytes()));
    let _ = writeln!(text, "\n\u{2014} {origin} {}", STANDARD.encode(signature));
    text
}

/// Reads a note and checks that the log key signed it under this name. Signatures of others are passed over.
pub fn open(note: &[u8], origin: &str, key: &PublicKey) -> Result<TreeHead, NoteError> {
    if note.len() > NOTE_MAX_BYTES {
        return Err(NoteError::Format);
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Format)?;
    let end = note.find("\n\n").ok_or(NoteError::Format)? + 1;
    let (text, signatures) = note.split_at_checked(end).ok_or(NoteError::Format)?;
    let mut lines = text.lines();
    let named = lines.next().ok_or(NoteError::Format)?;
    let digits = lines.next().ok_or(NoteError::Format)?;
    let size: u64 = digits.parse().map_err(|_| NoteError::Format)?;
    let root = lines.next().and_then(|root| STANDARD.decode(root).ok()).ok_or(NoteError::Format)?;
    let root = root.try_into().map_err(|_| NoteError::Format)?;
    // A number has one spelling, and there are no lines of extensions here.
    if size.to_string() != digits || lines.next().is_some() {
        return Err(NoteError::Format);
    }
    if named != origin {
        return Err(NoteError::Origin);
    }
    let id = key_id(origin, ED25519, key);
    let ours = signatures.lines().filter_map(|line| {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = STANDARD.decode(signature).ok().filter(|_| name == origin)?;
        bytes.strip_prefix(&id).map(<[u8]>::to_vec)
    });
    let mut ours = ours.peekable();
    let signed = ours.peek().is_some() && ours.all(|signature| key.verifies(text.as_bytes(), &signature));
    if signed { Ok(TreeHead { size, root }) } else { Err(NoteError::Signature) }
}

pub(crate) fn key_id(name: &str, kind: u8, key: &PublicKey) -> [u8; KEY_ID_BYTES] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[kind], &key.to_bytes()].concat());
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "asterism/f-0011/log";

    fn key() -> OriginKey {
        OriginKey::from_entropy([1; 32])
    }

    fn head() -> TreeHead {
        TreeHead { size: 17, root: [7; 32] }
    }

    #[test]
    fn its_bytes_are_those_another_implementation_makes() {
        // Made with Python's base64, hashlib and cryptography from the text of the C2SP specification.
        let made = "asterism/f-0011/log\n17\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n\
            \u{2014} asterism/f-0011/log G/C/OFgMf/rsXhcKRnuE3u053DrrsaXfACNw+DD1b8WcsaqA6+NQ82SmMgTCPPb4On05sM5zrh/blo74nM/vaoVqQgY=\n";
        assert_eq!(sign(&key(), NAME, &head()), made);
        assert_eq!(open(made.as_bytes(), NAME, &key().public()), Ok(head()));
    }

    #[test]
    fn what_the_log_key_did_not_sign_under_this_name_is_refused() {
        let note = sign(&key(), NAME, &head());
        let read = |note: &str| open(note.as_bytes(), NAME, &key().public());
        let other = OriginKey::from_entropy([2; 32]);
        assert_eq!(read(&sign(&other, NAME, &head())), Err(NoteError::Signature));
        assert_eq!(read(&sign(&key(), "asterism/g-0011/log", &head())), Err(NoteError::Origin));
        assert_eq!(read(&note.replace("\n17\n", "\n18\n")), Err(NoteError::Signature));
        assert_eq!(read(&note.replace("\n17\n", "\n017\n")), Err(NoteError::Format));
        assert_eq!(read(""), Err(NoteError::Format));
        let witnessed = format!("{note}\u{2014} witness AAAAAAAA\n");
        assert_eq!(read(&witnessed), Ok(head()));
    }

    #[test]
    fn the_key_id_is_that_of_the_format() {
        // From the Go implementation's own example (golang.org/x/mod/sumdb/note): PeterNeumann+c74f20a3.
        let bytes = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let key = PublicKey::from_bytes(&bytes[1..]).unwrap();
        assert_eq!(
            (bytes[0], hex::encode(key_id("PeterNeumann", ED25519, &key)).as_str()),
            (ED25519, "c74f20a3")
        );
    }

    proptest! {
        #[test]
        fn any_head_is_read_back(size: u64, root: [u8; 32]) {
            let head = TreeHead { size, root };
            let note = sign(&key(), NAME, &head);
            prop_assert_eq!(open(note.as_bytes(), NAME, &key().public()), Ok(head));
        }

        #[test]
        fn a_bent_note_says_what_was_signed_or_nothing(at: prop::sample::Index, flip in 1u8..) {
            let mut note = sign(&key(), NAME, &head()).into_bytes();
            let at = at.index(note.len());
            note[at] ^= flip;
            if let Ok(read) = open(&note, NAME, &key().public()) {
                prop_assert_eq!(read, head());
            }
        }
    }
}

//! Names of objects: typed, because they become paths and URLs.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::Error;

/// Longest name in bytes.
pub const MAX_NAME_BYTES: usize = 512;
/// Longest part between two slashes, in bytes (what every file system takes).
const MAX_PART_BYTES: usize = 255;
/// Characters of a refused name that an error repeats.
const MAX_SHOWN_CHARS: usize = 80;
/// Where content-addressed objects live.
const SHA256_PREFIX: &str = "blobs/sha256/";
/// Hex digits of a SHA-256.
const SHA256_HEX_LEN: usize = 64;

/// The name of an object: parts of `A-Z a-z 0-9 . _ -` joined by `/`, no part empty or starting with a dot.
///
/// So there is no `..`, no hidden file, nothing to escape in a URL, and no way out of a folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// Checks and takes a name.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        if name.is_empty() {
            return Err(refuse(&name, "it is empty"));
        }
        check_common(&name)?;
        if name.split('/').any(str::is_empty) {
            return Err(refuse(&name, "it has an empty part"));
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SHA-256 (64 hex digits) this name promises for its content, if it is one made by [`sha256_name`].
    pub fn content_hash(&self) -> Option<&str> {
        let (shard, hash) = self.0.strip_prefix(SHA256_PREFIX)?.split_once('/')?;
        let is_hash = hash.len() == SHA256_HEX_LEN
            && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && hash.starts_with(shard)
            && shard.len() == 2;
        is_hash.then_some(hash)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl AsRef<str> for ObjectName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::new(s)
    }
}

/// The content-addressed name of some bytes: `blobs/sha256/<first two digits>/<hash>`.
pub fn sha256_name(bytes: &[u8]) -> ObjectName {
    let hash = sha256_hex(bytes);
    ObjectName(format!("{SHA256_PREFIX}{}/{hash}", &hash[..2]))
}

/// SHA-256 as 64 lower-case hex digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A prefix obeys the rules of a name, but may be empty and may end anywhere.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    if prefix.is_empty() {
        return Ok(());
    }
    check_common(prefix)?;
    if prefix.starts_with('/') || prefix.contains("//") {
        return Err(refuse(prefix, "it has an empty part"));
    }
    Ok(())
}

fn check_common(name: &str) -> Result<(), Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(refuse(name, "it is longer than 512 bytes"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/')) {
        return Err(refuse(name, "it has a character outside the alphabet"));
    }
    for part in name.split('/') {
        if part.starts_with('.') {
            return Err(refuse(name, "a part starts with a dot"));
        }
        if part.len() > MAX_PART_BYTES {
            return Err(refuse(name, "a part is longer than 255 bytes"));
        }
    }
    Ok(())
}

fn refuse(name: &str, why: &'static str) -> Error {
    Error::BadName { name: name.chars().take(MAX_SHOWN_CHARS).collect(), why }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_names_that_could_leave_a_folder_or_hide_in_it() {
        for bad in
            ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".tmp/x", "a/.b", "a b", "ä", "a\0", "a\\b", "a%2e"]
        {
            let error = ObjectName::new(bad).expect_err(bad);
            assert_eq!(error.code(), "AST-B001", "{bad:?}");
        }
        assert!(ObjectName::new("a".repeat(256)).is_err());
        assert!(ObjectName::new("a/".repeat(256) + "b").is_err());
        assert!(ObjectName::new("a/".repeat(255) + "bc").is_ok());
    }

    #[test]
    fn a_content_name_knows_its_hash() {
        let name = sha256_name(b"abc");
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(name.as_str(), format!("blobs/sha256/ba/{hash}"));
        assert_eq!(name.content_hash(), Some(hash));
        let wrong_shard = ObjectName::new(format!("blobs/sha256/bb/{hash}")).unwrap();
        assert_eq!(wrong_shard.content_hash(), None);
        assert_eq!(ObjectName::new("manifests/a").unwrap().content_hash(), None);
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_a_plain_relative_path(name in "[A-Za-z0-9._/ -]{0,40}") {
            if let Ok(name) = ObjectName::new(name) {
                let parts: Vec<_> = Path::new(name.as_str()).components().collect();
                let all_normal = parts.iter().all(|c| matches!(c, Component::Normal(_)));
                prop_assert!(all_normal);
                prop_assert_eq!(parts.len(), name.as_str().split('/').count());
                prop_assert!(check_prefix(name.as_str()).is_ok());
            }
        }

        #[test]
        fn any_text_is_judged_without_panic(name in "\\PC{0,600}") {
            let _ = ObjectName::new(name.clone());
            let _ = check_prefix(&name);
        }

        #[test]
        fn content_names_are_valid(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let name = sha256_name(&bytes);
            prop_assert!(ObjectName::new(name.as_str()).is_ok());
            let hash = sha256_hex(&bytes);
            prop_assert_eq!(name.content_hash(), Some(hash.as_str()));
        }
    }
}

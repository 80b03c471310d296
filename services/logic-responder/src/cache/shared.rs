//! What replicas share: entries by name, sealed.
//!
//! A store like memcached knows no users: whoever reaches it could read, or put an answer there. So names are keyed hashes,
//! from which nobody can find out what was asked, and entries carry a seal that only replicas of this fleet can make, over
//! name and content. Answers themselves are in clear there.

use asterism_domain::logic::web::Parts;
use asterism_proto::OriginKey;
use async_trait::async_trait;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::Key;

/// Longest entry, in bytes: an answer and its seal.
pub const MAX_ENTRY_BYTES: usize = 64 * 1024 + SEAL_BYTES;
const SEAL_BYTES: usize = 16;
/// What the role's key signs to make the secret; it signs frames otherwise, none of which begins like this.
const SECRET_FROM: &[u8] = b"asterism logic cache 1\n";

/// The store did not serve. Whoever asked goes on as if it had nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What was put.
    pub value: Vec<u8>,
    /// How long it is still held, in seconds.
    pub left_s: u32,
}

/// A store of entries that go away by themselves.
#[async_trait]
pub trait Shared: Send + Sync + std::fmt::Debug {
    /// What is there under a name. Answers soon, or [`Away`].
    async fn get(&self, name: &str) -> Result<Option<Value>, Away>;

    /// Puts an entry for so many seconds.
    async fn set(&self, name: &str, value: Vec<u8>, for_s: u32) -> Result<(), Away>;
}

/// The name of an entry of this kind.
pub(super) fn name(kind: &str, key: &Key) -> String {
    format!("ast1{kind}{}", hex::encode(key))
}

/// What answers depend on, as it is put there.
pub(super) fn written(parts: &Parts) -> Vec<u8> {
    let list = match parts {
        Parts::All => None,
        Parts::These(parts) => Some(parts),
    };
    serde_json::to_vec(&list).unwrap_or_default()
}

/// [`written`], read.
pub(super) fn parts(bytes: &[u8]) -> Option<Parts> {
    let list: Option<std::collections::BTreeSet<String>> = serde_json::from_slice(bytes).ok()?;
    Some(list.map_or(Parts::All, Parts::These))
}

/// Makes names and seals.
pub(super) struct Seal(Hmac<Sha256>);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// All replicas have the key of the role, so all have this secret.
    pub(super) fn of(key: &OriginKey) -> Self {
        let secret = key.sign(SECRET_FROM); // the same each time
        Self(<Hmac<Sha256> as Mac>::new(&secret.into()))
    }

    pub(super) fn key(&self, what: &str, bytes: &[u8]) -> Key {
        let mut mac = self.0.clone();
        mac.update(what.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }

    pub(super) fn close(&self, key: &Key, value: &[u8]) -> Vec<u8> {
        let mut sealed = self.tag(key, value).to_vec();
        sealed.extend_from_slice(value);
        sealed
    }

    /// The content, if a replica put it under this name.
    pub(super) fn open<'v>(&self, key: &Key, sealed: &'v [u8]) -> Option<&'v [u8]> {
        let (tag, value) = sealed.split_at_checked(SEAL_BYTES)?;
        let mut mac = self.0.clone();
        mac.update(b"seal\0");
        mac.update(key);
        mac.update(value);
        mac.verify_truncated_left(tag).ok()?;
        Some(value)
    }

    fn tag(&self, key: &Key, value: &[u8]) -> [u8; SEAL_BYTES] {
        let mut whole = key.to_vec();
        whole.extend_from_slice(value);
        let mut tag = [0; SEAL_BYTES];
        tag.copy_from_slice(&self.key("seal", &whole)[..SEAL_BYTES]);
        tag
    }
}

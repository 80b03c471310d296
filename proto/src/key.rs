//! Origin keys: Ed25519, kept on disk as NATS nkey seeds (`SU...`).

mod tables;

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Why a key could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no nkey user seed.
    #[error("not an nkey user seed (SU...)")]
    Seed,
    /// The bytes are no Ed25519 public key.
    #[error("not a 32-byte Ed25519 public key")]
    Public,
}

/// A secret origin key. Debug prints the public half only.
#[derive(Clone)]
pub struct OriginKey(SigningKey);

/// A public origin key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl OriginKey {
    /// A key from 32 random bytes the caller drew.
    pub fn from_entropy(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// A key from an nkey user seed.
    pub fn from_seed(text: &str) -> Result<Self, KeyError> {
        let (_, seed) = nkeys::decode_seed(text.trim()).map_err(|_| KeyError::Seed)?;
        Ok(Self::from_entropy(seed))
    }

    /// The nkey user seed, for a file only its owner can read.
    pub fn seed(&self) -> Result<String, KeyError> {
        nkeys::KeyPair::new_from_raw(nkeys::KeyPairType::User, self.0.to_bytes())
            .and_then(|pair| pair.seed())
            .map_err(|_| KeyError::Seed)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Ed25519 signature over the bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for OriginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginKey({:?})", self.public())
    }
}

impl PublicKey {
    /// From the 32 raw bytes of an event.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let raw: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Public)?;
        VerifyingKey::from_bytes(&raw).map(Self).map_err(|_| KeyError::Public)
    }

    /// The 32 raw bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether the signature over the bytes is this key's. Strict: weak keys and malleable signatures fail.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let Ok(raw) = <[u8; 64]>::try_from(signature) else { return false };
        match tables::of(&self.0) {
            Some(checker) => checker.verifies(bytes, &raw),
            None => self.0.verify_strict(bytes, &Signature::from_bytes(&raw)).is_ok(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_seed_reads_back_to_the_same_key_and_debug_hides_it() {
        let key = OriginKey::from_entropy([7; 32]);
        let seed = key.seed().unwrap();
        assert!(seed.starts_with("SU"));
        let again = OriginKey::from_seed(&seed).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(!format!("{key:?}").contains(&seed));
        assert!(key.public().verifies(b"frame", &again.sign(b"frame")));
        assert!(!key.public().verifies(b"frane", &again.sign(b"frame")));
    }

    #[test]
    fn garbage_is_no_seed() {
        assert_eq!(OriginKey::from_seed("SUXX").unwrap_err(), KeyError::Seed);
        assert_eq!(PublicKey::from_bytes(&[1; 31]).unwrap_err(), KeyError::Public);
    }
}

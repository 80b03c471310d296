//! Personal data in events: numbers as keyed hashes, number and fields sealed under the import's key.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use asterism_domain::contact::number_hash;

/// What is sealed of a contact.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonalData {
    /// Canonical E.164.
    pub number: String,
    /// Custom columns.
    pub fields: BTreeMap<String, String>,
}

impl std::fmt::Debug for PersonalData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PersonalData(masked, {} fields)", self.fields.len())
    }
}

/// The data could not be sealed or opened: wrong key, wrong contact, damaged bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AST-K010: a contact cannot be opened: its import's key is gone or another one")]
pub struct SealError;

/// Seals; the import's id is bound in, so that bytes cannot be moved to another import.
pub fn seal(
    key: &[u8; 32],
    nonce: [u8; 24],
    import: &str,
    data: &PersonalData,
) -> Result<Vec<u8>, SealError> {
    let plain = postcard::to_allocvec(data).map_err(|_| SealError)?;
    let payload = Payload { msg: &plain, aad: import.as_bytes() };
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(&nonce), payload)
        .map_err(|_| SealError)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made.
pub fn open(key: &[u8; 32], import: &str, sealed: &[u8]) -> Result<PersonalData, SealError> {
    let (nonce, rest) = sealed.split_at_checked(24).ok_or(SealError)?;
    let payload = Payload { msg: rest, aad: import.as_bytes() };
    let plain = XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), payload)
        .map_err(|_| SealError)?;
    postcard::from_bytes(&plain).map_err(|_| SealError)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sealed_data_opens_with_its_key_and_import_only() {
        let data = PersonalData {
            number: "+15555550123".into(),
            fields: BTreeMap::from([("name".into(), "Ada".into())]),
        };
        let sealed = seal(&[1; 32], [2; 24], "imp", &data).unwrap();
        assert_eq!(open(&[1; 32], "imp", &sealed).unwrap(), data);
        assert_eq!(open(&[3; 32], "imp", &sealed), Err(SealError));
        assert_eq!(open(&[1; 32], "other", &sealed), Err(SealError));
        assert_eq!(open(&[1; 32], "imp", &sealed[..20]), Err(SealError));
        assert!(!format!("{data:?}").contains("5555"));
        assert!(!sealed.windows(4).any(|window| window == b"5555"));
    }

    #[test]
    fn a_number_hash_needs_its_key() {
        assert_ne!(number_hash(&[1; 32], "+15555550123"), number_hash(&[2; 32], "+15555550123"));
        assert_eq!(number_hash(&[1; 32], "+15555550123"), number_hash(&[1; 32], "+15555550123"));
    }
}

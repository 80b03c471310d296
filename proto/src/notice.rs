//! The checkpoint's notice: on its word origins forget their frames, so the log key signs it.
//!
//! What is verified are the bytes as received; nothing here encodes a body twice.

use prost::Message;

use crate::hash::sha256;
use crate::key::{OriginKey, PublicKey};
use crate::v1;

/// Before the hash in what is signed: a signature of a notice is none of anything else.
const CONTEXT: &[u8] = b"asterism.notice.v1\0";

/// Why a notice is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// Not decodable.
    #[error("it cannot be decoded")]
    Decode,
    /// It has no signed body: forged, or from a ledger that does not sign yet.
    #[error("it is not signed")]
    Unsigned,
    /// Another key's, or changed on its way.
    #[error("it is not signed by the key of this log")]
    Signature,
    /// It speaks of another log.
    #[error("it is of another fleet")]
    Fleet,
}

/// Signs a notice. `frame` is the checkpoint's own, for people.
pub fn sign(key: &OriginKey, frame: Vec<u8>, body: v1::NoticeBody) -> v1::CheckpointNotice {
    let bytes = body.encode_to_vec();
    let signature = key.sign(&signed_bytes(&bytes)).to_vec();
    v1::CheckpointNotice {
        frame,
        size: body.size,
        root: body.root,
        marks: body.marks,
        body: bytes,
        signature,
    }
}

/// What a notice from the bus says, if the log key has signed it for this fleet.
pub fn open(payload: &[u8], fleet: &str, log_key: &PublicKey) -> Result<v1::NoticeBody, NoticeError> {
    let notice = v1::CheckpointNotice::decode(payload).map_err(|_| NoticeError::Decode)?;
    if notice.body.is_empty() || notice.signature.is_empty() {
        return Err(NoticeError::Unsigned);
    }
    if !log_key.verifies(&signed_bytes(&notice.body), &notice.signature) {
        return Err(NoticeError::Signature);
    }
    of_fleet(&notice.body, fleet)
}

/// As [`open`], whoever wrote it: for a node of one machine that was not told the log's key.
pub fn open_unverified(payload: &[u8], fleet: &str) -> Result<v1::NoticeBody, NoticeError> {
    let notice = v1::CheckpointNotice::decode(payload).map_err(|_| NoticeError::Decode)?;
    if notice.body.is_empty() { Err(NoticeError::Unsigned) } else { of_fleet(&notice.body, fleet) }
}

fn of_fleet(body: &[u8], fleet: &str) -> Result<v1::NoticeBody, NoticeError> {
    let body = v1::NoticeBody::decode(body).map_err(|_| NoticeError::Decode)?;
    if body.fleet == fleet { Ok(body) } else { Err(NoticeError::Fleet) }
}

fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [CONTEXT, sha256(body).as_slice()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn key() -> OriginKey {
        OriginKey::from_entropy([1; 32])
    }

    fn body() -> v1::NoticeBody {
        let mark = v1::Mark { origin: "node/i-1".into(), epoch: vec![9; 16], number: 300 };
        v1::NoticeBody {
            fleet: "f".into(),
            size: 17,
            root: vec![7; 32],
            marks: vec![mark],
            ..Default::default()
        }
    }

    #[test]
    fn its_bytes_are_as_they_have_always_been() {
        let notice = sign(&key(), b"frame".to_vec(), body());
        let root = "07".repeat(32);
        let epoch = "09".repeat(16);
        let mark = format!("0a086e6f64652f692d311210{epoch}18ac02");
        assert_eq!(hex::encode(&notice.body), format!("0a016610111a20{root}221f{mark}"));
        assert_eq!(
            hex::encode(&notice.signature),
            "2d509bb62b6dde1cf8737a3c3a703dfe731c53137fce3f1b3977a77339dbf98f\
             a709f2372430c8e6362331af59078fafcf14235dc8145d17e6c49d7b79566306"
        );
        let bytes = notice.encode_to_vec();
        assert_eq!(open(&bytes, "f", &key().public()), Ok(body()));
        assert_eq!(open_unverified(&bytes, "f"), Ok(body()));
    }

    #[test]
    fn what_the_log_key_did_not_sign_for_this_fleet_is_refused() {
        let signed = sign(&key(), vec![], body());
        let read = |notice: &v1::CheckpointNotice| open(&notice.encode_to_vec(), "f", &key().public());
        let other = OriginKey::from_entropy([2; 32]);
        assert_eq!(read(&sign(&other, vec![], body())), Err(NoticeError::Signature));
        let unsigned = v1::CheckpointNotice { signature: vec![], ..signed.clone() };
        assert_eq!(read(&unsigned), Err(NoticeError::Unsigned));
        let old = v1::CheckpointNotice { body: vec![], signature: vec![], ..signed.clone() };
        assert_eq!(read(&old), Err(NoticeError::Unsigned));
        assert_eq!(open_unverified(&old.encode_to_vec(), "f"), Err(NoticeError::Unsigned));
        let elsewhere = sign(&key(), vec![], v1::NoticeBody { fleet: "g".into(), ..body() });
        assert_eq!(read(&elsewhere), Err(NoticeError::Fleet));
        // The ledger's key signs frames too: the same bytes without the context are no notice.
        let bare = v1::CheckpointNotice { signature: key().sign(&signed.body).to_vec(), ..signed };
        assert_eq!(read(&bare), Err(NoticeError::Signature));
    }

    proptest! {
        #[test]
        fn a_changed_byte_of_body_or_signature_is_refused(at: prop::sample::Index, flip in 1u8..) {
            let mut notice = sign(&key(), vec![], body());
            let body_bytes = notice.body.len();
            let at = at.index(body_bytes + notice.signature.len());
            match at.checked_sub(body_bytes) {
                None => notice.body[at] ^= flip,
                Some(at) => notice.signature[at] ^= flip,
            }
            let bent = open(&notice.encode_to_vec(), "f", &key().public());
            prop_assert_eq!(bent, Err(NoticeError::Signature));
        }

        #[test]
        fn a_bent_notice_says_what_was_signed_or_nothing(at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = sign(&key(), b"frame".to_vec(), body()).encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(read) = open(&bytes, "f", &key().public()) {
                prop_assert_eq!(read, body());
            }
        }

        #[test]
        fn any_notice_is_read_back(size: u64, numbers in proptest::collection::vec(any::<u64>(), 0..20)) {
            let mark = |number| v1::Mark { origin: "role/dialer".into(), epoch: vec![3; 16], number };
            let body = v1::NoticeBody {
                fleet: "f".into(),
                size,
                root: vec![],
                marks: numbers.into_iter().map(mark).collect(),
                ..Default::default()
            };
            let bytes = sign(&key(), vec![], body.clone()).encode_to_vec();
            prop_assert_eq!(open(&bytes, "f", &key().public()), Ok(body));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(open(&bytes, "f", &key().public()).is_err());
            let _ = open_unverified(&bytes, "f");
        }
    }
}

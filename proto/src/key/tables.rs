//! Checking many signatures of one key: Ed25519 with multiples of the key at hand.
//!
//! A log's signatures are of few keys. What costs most of a check is `[s]B - [k]A`, 252 doublings of it to shift the
//! scalars along; with the multiples of both points at every shift kept, only additions are left. It is the very same point
//! that is computed, by the same library's additions, and so the very same signatures pass
//! ([`VerifyingKey::verify_strict`] and its tests are the rule).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha512};

/// Bits of a scalar that one addition takes: tables of 130 KB a key and 220 KB for the base point.
const KEY_BITS: usize = 5;
const BASE_BITS: usize = 6;
/// Checks of a key before it gets a table, which costs as much as three of them.
const TABLE_AFTER: u32 = 16;
/// Keys with tables at once, 8 MB in all, and keys counted.
const TABLES_MAX: usize = 64;
const KEYS_MAX: usize = 1_024;
/// After so many checks all is forgotten, so that tables go to those who write now.
const FORGET_AFTER: u32 = 65_536;

static BASE: LazyLock<Multiples> = LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT, BASE_BITS));
static MEMO: Mutex<Memo> = Mutex::new(Memo { keys: BTreeMap::new(), tables: 0, asked: 0 });

/// `d * 2^(bits * w) * P` for each window `w` of a scalar and each digit `d` from 1 to half the window's range.
struct Multiples {
    bits: usize,
    rows: Vec<EdwardsPoint>,
}

impl Multiples {
    fn of(point: EdwardsPoint, bits: usize) -> Self {
        let (windows, digits) = (windows(bits), 1 << (bits - 1));
        let (mut rows, mut first) = (Vec::with_capacity(windows * digits), point);
        for _ in 0..windows {
            let mut multiple = first;
            rows.push(multiple);
            for _ in 1..digits {
                multiple += first;
                rows.push(multiple);
            }
            // half the range, twice
            first = multiple + multiple;
        }
        Self { bits, rows }
    }

    /// Adds the scalar's multiple of the point to a sum.
    fn add(&self, mut sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let half = 1 << (self.bits - 1);
        let mut carry = 0;
        for (window, row) in self.rows.chunks_exact(half).enumerate() {
            let digit = window_of(scalar.as_bytes(), window * self.bits, self.bits) + carry;
            carry = usize::from(digit > half);
            let (plus, minus) = (digit, (2 * half).wrapping_sub(digit));
            match digit {
                0 => {}
                _ if carry == 0 => sum += &row[plus - 1],
                _ if minus > 0 => sum -= &row[minus - 1],
                _ => {}
            }
        }
        sum
    }
}

/// Windows of a scalar of 256 bits. It is below 2^253, so nothing is carried out of the last one.
const fn windows(bits: usize) -> usize {
    256_usize.div_ceil(bits)
}

/// Some bits of a number in little endian.
fn window_of(bytes: &[u8; 32], from: usize, bits: usize) -> usize {
    let byte = |at: usize| bytes.get(at).map_or(0, |byte| usize::from(*byte));
    let two = byte(from / 8) | byte(from / 8 + 1) << 8;
    two >> (from % 8) & ((1 << bits) - 1)
}

/// A key whose signatures are checked with tables.
pub(super) struct Checker {
    key: [u8; 32],
    /// Of the negated key.
    negated: Multiples,
}

impl Checker {
    /// `None` for a key of small order, whose signatures never pass.
    fn of(key: &VerifyingKey) -> Option<Self> {
        let point = EdwardsPoint::from(*key);
        (!point.is_small_order())
            .then(|| Self { key: key.to_bytes(), negated: Multiples::of(-point, KEY_BITS) })
    }

    /// What [`VerifyingKey::verify_strict`] says.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let (r, s) = signature.as_chunks::<32>().0.split_at(1);
        let ([r], [s]) = (r, s) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*s)) else { return false };
        let digest = Sha512::new().chain_update(r).chain_update(self.key).chain_update(message).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&digest.into());
        let expected = self.negated.add(BASE.add(EdwardsPoint::identity(), &s), &k);
        // Equal to the expected point's bytes means that R is that very point: it need not be read to be judged.
        expected.compress().as_bytes() == r && !expected.is_small_order()
    }
}

/// Who signed how often, and the tables made so far.
struct Memo {
    keys: BTreeMap<[u8; 32], Known>,
    tables: usize,
    asked: u32,
}

#[derive(Default)]
struct Known {
    asked: u32,
    checker: Option<Arc<Checker>>,
}

impl Memo {
    fn checker(&mut self, key: &VerifyingKey) -> Option<Arc<Checker>> {
        self.asked += 1;
        if self.asked > FORGET_AFTER {
            *self = Self { keys: BTreeMap::new(), tables: 0, asked: 1 };
        }
        let full = self.keys.len() >= KEYS_MAX;
        let known = match self.keys.get_mut(key.as_bytes()) {
            Some(known) => known,
            None if full => return None,
            None => self.keys.entry(key.to_bytes()).or_default(),
        };
        known.asked += 1;
        if known.checker.is_none() && known.asked > TABLE_AFTER && self.tables < TABLES_MAX {
            known.checker = Checker::of(key).map(Arc::new);
            self.tables += usize::from(known.checker.is_some());
        }
        known.checker.clone()
    }
}

/// The tables of a key that signs often.
pub(super) fn of(key: &VerifyingKey) -> Option<Arc<Checker>> {
    MEMO.lock().unwrap_or_else(PoisonError::into_inner).checker(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::traits::IsIdentity;
    use ed25519_dalek::{Signature, Signer, SigningKey};
    use proptest::prelude::*;

    use super::*;

    /// Both ways must agree; returns what they say. A key of small order has no tables.
    #[track_caller]
    fn both(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let strict = key.verify_strict(message, &Signature::from_bytes(signature)).is_ok();
        let tables = Checker::of(key).is_some_and(|checker| checker.verifies(message, signature));
        assert_eq!(tables, strict, "{key:?} {message:?} {signature:?}");
        strict
    }

    fn scalar(seed: u64) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&Sha512::digest(seed.to_be_bytes()).into())
    }

    fn challenge(r: &[u8; 32], key: &VerifyingKey, message: &[u8]) -> Scalar {
        let digest = Sha512::new().chain_update(r).chain_update(key.as_bytes()).chain_update(message);
        Scalar::from_bytes_mod_order_wide(&digest.finalize().into())
    }

    fn joined(r: &[u8; 32], s: &[u8; 32]) -> [u8; 64] {
        [*r, *s].concat().try_into().unwrap()
    }

    proptest! {
        #[test]
        fn multiples_add_up_to_what_the_library_multiplies(seed in any::<u64>(), bits in 3_usize..9) {
            let (point, by) = (scalar(seed) * ED25519_BASEPOINT_POINT + EIGHT_TORSION[seed as usize % 8], scalar(!seed));
            let table = Multiples::of(point, bits);
            let largest = -Scalar::ONE;
            for by in [by, Scalar::ZERO, Scalar::ONE, largest, Scalar::from(seed)] {
                prop_assert!((table.add(EdwardsPoint::identity(), &by) - by * point).is_identity());
            }
        }

        #[test]
        fn signatures_and_changed_ones_are_judged_as_strictly(
            seed in any::<[u8; 32]>(), message in proptest::collection::vec(any::<u8>(), 0..200), bit in 0_usize..512
        ) {
            let key = SigningKey::from_bytes(&seed);
            let mut signature = key.sign(&message).to_bytes();
            prop_assert!(both(&key.verifying_key(), &message, &signature));
            prop_assert!(!both(&key.verifying_key(), &[&message[..], b"."].concat(), &signature));
            signature[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!both(&key.verifying_key(), &message, &signature));
        }
    }

    /// Keys and R with parts of small order, in all pairings, and signatures made to fit as far as they can.
    #[test]
    fn points_with_a_part_of_small_order_are_judged_as_strictly() {
        let (mut passed, mut failed, mut small) = (0, 0, 0);
        for (seed, at) in (0..12_u64).flat_map(|seed| (0..64).map(move |at| (seed, at))) {
            let (a, r) = (scalar(seed), scalar(1_000 + seed));
            let point = a * ED25519_BASEPOINT_POINT + EIGHT_TORSION[at % 8];
            let key = VerifyingKey::from_bytes(&point.compress().0).unwrap();
            let big_r = (r * ED25519_BASEPOINT_POINT + EIGHT_TORSION[at / 8]).compress().0;
            let s = r + challenge(&big_r, &key, b"m") * a;
            if both(&key, b"m", &joined(&big_r, s.as_bytes())) {
                passed += 1;
            } else {
                failed += 1;
            }
            // R, the key, or both of small order alone: s = k a, s = r, s = 0
            let only = EIGHT_TORSION[at / 8].compress().0;
            let s = challenge(&only, &key, b"m") * a;
            small += usize::from(both(&key, b"m", &joined(&only, s.as_bytes())));
            let weak = VerifyingKey::from_bytes(&EIGHT_TORSION[at % 8].compress().0).unwrap();
            small += usize::from(both(&weak, b"m", &joined(&big_r, r.as_bytes())));
            small += usize::from(both(&weak, b"m", &joined(&only, Scalar::ZERO.as_bytes())));
        }
        assert!(passed > 50 && failed > 400, "{passed} passed, {failed} failed");
        assert_eq!(small, 0, "nothing of small order alone ever passes");
    }

    /// s + l and encodings of a point by a number that is not below p are the same signature to a lenient check.
    #[test]
    fn other_spellings_of_a_signature_are_judged_as_strictly() {
        let order: [u8; 32] = (-Scalar::ONE).to_bytes();
        for seed in 0..32_u8 {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let signature = key.sign(b"m").to_bytes();
            let (r, s): ([u8; 32], [u8; 32]) =
                (signature[..32].try_into().unwrap(), signature[32..].try_into().unwrap());
            // s + (l - 1) + 1, by hand
            let (mut sum, mut carry) = ([0_u8; 32], 1_u16);
            for (at, sum) in sum.iter_mut().enumerate() {
                carry += u16::from(s[at]) + u16::from(order[at]);
                *sum = carry as u8;
                carry >>= 8;
            }
            assert!(both(&key.verifying_key(), b"m", &signature));
            assert!(!both(&key.verifying_key(), b"m", &joined(&r, &sum)), "s is not below l");
            for high in [0x20, 0x40, 0x80] {
                let mut bent = s;
                bent[31] |= high;
                assert!(!both(&key.verifying_key(), b"m", &joined(&r, &bent)));
            }
            // p - 19 to p + 18 as y, either sign: all the encodings that are not the shortest
            for low in 0..=255_u8 {
                for last in [0x7f, 0xff] {
                    let mut y = [0xff_u8; 32];
                    (y[0], y[31]) = (low, last);
                    assert!(!both(&key.verifying_key(), b"m", &joined(&y, &s)));
                    if let Ok(odd) = VerifyingKey::from_bytes(&y) {
                        both(&odd, b"m", &signature);
                        let r = scalar(low.into());
                        let big_r = (r * ED25519_BASEPOINT_POINT).compress().0;
                        both(&odd, b"m", &joined(&big_r, r.as_bytes()));
                    }
                }
            }
        }
    }

    #[test]
    fn only_keys_that_sign_often_get_tables_and_what_is_kept_is_bounded() {
        let mut memo = Memo { keys: BTreeMap::new(), tables: 0, asked: 0 };
        let key = |number: u32| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            SigningKey::from_bytes(&seed).verifying_key()
        };
        let often = key(0);
        let given = (0..=TABLE_AFTER).map(|_| memo.checker(&often).is_some()).collect::<Vec<_>>();
        assert_eq!(given.iter().filter(|given| **given).count(), 1, "from one more than {TABLE_AFTER} on");
        let keys: Vec<_> = (1..KEYS_MAX as u32 + 9).map(key).collect();
        for _ in 0..=TABLE_AFTER {
            for key in &keys {
                memo.checker(key);
            }
        }
        assert_eq!((memo.tables, memo.keys.len()), (TABLES_MAX, KEYS_MAX));
        let weak = VerifyingKey::from_bytes(&EIGHT_TORSION[1].compress().0).unwrap();
        while memo.asked < FORGET_AFTER {
            assert!(memo.checker(&weak).is_none());
        }
        assert!(memo.checker(&often).is_none(), "forgotten");
        assert_eq!((memo.tables, memo.keys.len()), (0, 1));
    }
}

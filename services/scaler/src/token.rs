//! Launch tokens: how an agent proves that the scaler launched its instance.
//!
//! A token is an HMAC of the launch intent under a secret that only services hold, so nothing has to be remembered and
//! a repeated launch carries the same one. It is good for one intent, and the log admits one instance per intent.

use asterism_runtime::keys::{Keyring, KeyringError};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Separates this use of the key from the hashes of numbers.
const DOMAIN: &[u8] = b"asterism launch token v1";
/// Characters of a token.
pub const TOKEN_CHARS: usize = 64;

/// Makes and checks launch tokens.
#[derive(Clone)]
pub struct LaunchTokens([u8; 32]);

impl std::fmt::Debug for LaunchTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaunchTokens(masked)")
    }
}

impl LaunchTokens {
    /// The secret of a fleet.
    ///
    /// # Errors
    /// The key folder has no `numbers.key`.
    pub fn new(keyring: &Keyring) -> Result<Self, KeyringError> {
        let mut mac = mac(&keyring.numbers()?);
        mac.update(DOMAIN);
        Ok(Self(mac.finalize().into_bytes().into()))
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self([7; 32])
    }

    /// The token of an intent, 64 hex digits.
    pub fn token(&self, intent: &str) -> String {
        let mut mac = mac(&self.0);
        mac.update(intent.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Whether a token is the intent's, in constant time.
    pub fn is_token_of(&self, intent: &str, token: &str) -> bool {
        let Ok(bytes) = hex::decode(token) else { return false };
        let mut mac = mac(&self.0);
        mac.update(intent.as_bytes());
        mac.verify_slice(&bytes).is_ok()
    }
}

/// The token of one intent.
///
/// # Errors
/// The key folder has no `numbers.key`.
pub fn launch_token(keyring: &Keyring, intent: &str) -> Result<String, KeyringError> {
    Ok(LaunchTokens::new(keyring)?.token(intent))
}

fn mac(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!("any length is a key"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_intent_and_fleet_only() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let keyring = Keyring::init(dir.path(), "lab", 1).unwrap();
        let tokens = LaunchTokens::new(&keyring).unwrap();
        let token = launch_token(&keyring, "lab-1").unwrap();
        assert_eq!((token.len(), &token), (TOKEN_CHARS, &tokens.token("lab-1")));
        assert!(tokens.is_token_of("lab-1", &token));
        assert!(!tokens.is_token_of("lab-2", &token));
        let stranger = Keyring::init(other.path(), "lab", 1).unwrap();
        assert!(!LaunchTokens::new(&stranger).unwrap().is_token_of("lab-1", &token));
        assert!(!format!("{tokens:?}").contains(&token[..8]));
    }

    proptest! {
        #[test]
        fn any_text_is_judged(intent in "\\PC{0,80}", text in "\\PC{0,80}") {
            let tokens = LaunchTokens::for_test();
            prop_assert!(!tokens.is_token_of(&intent, &text));
            prop_assert!(!tokens.is_token_of(&intent, &tokens.token(&intent)[..62]));
            prop_assert!(tokens.is_token_of(&intent, &tokens.token(&intent)));
        }
    }
}

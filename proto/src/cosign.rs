//! Cosignatures of checkpoints, as C2SP tlog-cosignature has them: a witness signs the text of a note with the time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::{OriginKey, PublicKey};
use crate::note;

/// Signature type of a timed cosignature.
const COSIGNATURE: u8 = 4;

/// The name a node cosigns a log's notes under: `asterism/<tag>/node/<id>` for the log `asterism/<tag>/log`.
pub fn witness(log: &str, node: &str) -> String {
    format!("{}/node/{node}", log.strip_suffix("/log").unwrap_or(log))
}

/// Cosigns a note's text at a time, in s since 1970.
pub fn cosign(key: &OriginKey, text: &str, time_s: u64) -> [u8; 64] {
    key.sign(message(text, time_s).as_bytes())
}

/// Whether a cosignature of that text and time is this key's.
pub fn is_cosigned(key: &PublicKey, text: &str, time_s: u64, signature: &[u8]) -> bool {
    key.verifies(message(text, time_s).as_bytes(), signature)
}

/// The line of a cosignature in a note.
pub fn line(name: &str, key: &PublicKey, time_s: u64, signature: &[u8; 64]) -> String {
    let id = note::key_id(name, COSIGNATURE, key);
    let bytes = [id.as_slice(), &time_s.to_be_bytes(), signature].concat();
    format!("\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::TreeHead;

    const LOG: &str = "asterism/f-0011/log";

    #[test]
    fn a_cosignature_is_of_one_text_one_time_and_one_key() {
        let (key, other) = (OriginKey::from_entropy([1; 32]), OriginKey::from_entropy([2; 32]));
        let text = |size| note::text(LOG, &TreeHead { size, root: [7; 32] });
        let signature = cosign(&key, &text(17), 1_700_000_000);
        let holds =
            |key: &OriginKey, size, time_s| is_cosigned(&key.public(), &text(size), time_s, &signature);
        assert!(holds(&key, 17, 1_700_000_000));
        assert!(!holds(&key, 17, 1_700_000_001) && !holds(&key, 18, 1_700_000_000));
        assert!(!holds(&other, 17, 1_700_000_000));
        // The log's own signature has no time: it is none of a witness.
        let untimed = key.sign(text(17).as_bytes());
        assert!(!is_cosigned(&key.public(), &text(17), 0, &untimed));
    }

    #[test]
    fn lines_of_witnesses_leave_the_note_as_it_was() {
        let (log, witness) = (OriginKey::from_entropy([1; 32]), OriginKey::from_entropy([2; 32]));
        let head = TreeHead { size: 17, root: [7; 32] };
        let name = super::witness(LOG, "i-1");
        assert_eq!(name, "asterism/f-0011/node/i-1");
        let signature = cosign(&witness, &note::text(LOG, &head), 5);
        let note = note::sign(&log, LOG, &head) + &line(&name, &witness.public(), 5, &signature);
        assert_eq!(note::open(note.as_bytes(), LOG, &log.public()), Ok(head));
    }
}

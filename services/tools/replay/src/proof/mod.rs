//! Proof files: that one event is in the log, or that a longer log begins with a shorter one. They verify offline, with
//! nothing else: [`make`] writes them from a folder, [`check`] reads them.
//!
//! The file is JSON, version 1, at most [`FILE_MAX_BYTES`]. Bytes are lower-case hexadecimal. It has one spelling: what
//! is not byte for byte what [`ProofFile::to_text`] writes is refused, so no byte of it can be changed.
//!
//! ```text
//! { "format": "asterism-proof-1",
//!   "log": SIGNED,                  frame 1: LogCreated, the roles' keys. SHA-256 of its header is the anchor
//!   "claim": { "inclusion": {
//!       "checkpoint": SIGNED,       the ledger's: size and root of the log
//!       "event": PLACED,            what is proved
//!       "admission": PLACED } } }   only for a node's event: the scaler's NodeAdmitted with the node's key and epoch
//!   or "claim": { "consistency": { "old": SIGNED, "new": SIGNED, "path": [HASH...] } }
//!
//! SIGNED  header, signature   the frame's, as received; Ed25519 of its origin's key over the header
//!         index, event        the event's place in its frame, and its bytes
//!         path                RFC 9162 inclusion path from SHA-256(0x00 || event) to the header's events_root
//! PLACED  position            in the log, from 0
//!         record_time_ms      the log's time of it
//!         signed              as above
//!         path                inclusion path from the event's leaf (asterism_proto::hash::event_leaf) to the root
//! ```

pub mod check;
pub mod make;
mod quick;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The only format there is.
pub const FORMAT: &str = "asterism-proof-1";
/// Largest proof file read; a real one is far below.
pub const FILE_MAX_BYTES: usize = 256 * 1024;

/// A proof file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// [`FORMAT`].
    pub format: String,
    /// Frame 1 of the log.
    pub log: Signed,
    /// What is proved.
    pub claim: Claim,
}

/// What a file proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Claim {
    /// An event is in the log.
    Inclusion {
        /// The log it is in.
        checkpoint: Signed,
        /// The event.
        event: Placed,
        /// Where its node's key comes from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        admission: Option<Placed>,
    },
    /// The newer log begins with the older one.
    Consistency {
        /// The older checkpoint.
        old: Signed,
        /// The newer one.
        new: Signed,
        /// RFC 9162 consistency path.
        path: Vec<Hex>,
    },
}

/// One event out of a signed frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The frame's header.
    pub header: Hex,
    /// Its signature.
    pub signature: Hex,
    /// The event's index in the frame.
    pub index: u32,
    /// The event.
    pub event: Hex,
    /// From the event to the header's `events_root`.
    pub path: Vec<Hex>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Its position.
    pub position: u64,
    /// Its record time.
    pub record_time_ms: u64,
    /// The event and who signed it.
    pub signed: Signed,
    /// From its leaf to the checkpoint's root.
    pub path: Vec<Hex>,
}

/// Bytes, spelt in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl ProofFile {
    /// The file's one spelling.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a file; the reason if it is none.
    pub fn from_text(text: &str) -> Result<Self, String> {
        if text.len() > FILE_MAX_BYTES {
            return Err(format!("it is over {FILE_MAX_BYTES} bytes"));
        }
        // The format first, so that a newer file is told from a broken one.
        let format = serde_json::from_str::<serde_json::Value>(text)
            .map_err(|error| format!("it is no proof file: {error}"))?
            .get("format")
            .and_then(|format| format.as_str().map(str::to_owned));
        match format {
            None => return Err("it is no proof file: it names no format".into()),
            Some(other) if other != FORMAT => {
                return Err(format!("its format is {other:?}, this version reads {FORMAT:?}"));
            }
            Some(_) => {}
        }
        let file: Self = serde_json::from_str(text).map_err(|error| format!("it is malformed: {error}"))?;
        if file.to_text() == text {
            Ok(file)
        } else {
            Err("it was written or edited by another program: it is not spelt as proof files are".into())
        }
    }
}

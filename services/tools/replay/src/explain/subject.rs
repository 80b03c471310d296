//! What can be asked about, and how it is spelt.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use asterism_domain::contact::{E164, number_hash};
use asterism_domain::{AttemptId, CampaignId, ContactId, NodeId, State, Timestamp};
use asterism_proto::origin::is_token;

use crate::cdr::Keys;
use crate::cli::read_key;
use crate::{Error, when};

/// What to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Everyone with this number.
    Number {
        /// Its keyed hash.
        hash: [u8; 16],
        /// The number, masked.
        shown: String,
        /// The key it was hashed with.
        key: NumbersKey,
    },
    /// One contact.
    Contact {
        /// Its campaign.
        campaign: CampaignId,
        /// Its number within.
        contact: ContactId,
    },
    /// One attempt.
    Call(AttemptId),
    /// One node.
    Node(NodeId),
    /// A moment, and what happened around it.
    Moment {
        /// The moment.
        at_ms: Timestamp,
        /// How far before and after.
        around_ms: u64,
    },
}

/// The fleet's key for numbers, and the file it came from. It says nothing of itself in a Debug form.
#[derive(Clone, PartialEq, Eq)]
pub struct NumbersKey {
    /// 32 bytes.
    pub bytes: [u8; 32],
    /// The file; what lies beside it may prove that it is the fleet's.
    pub path: PathBuf,
}

impl fmt::Debug for NumbersKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumbersKey({})", self.path.display())
    }
}

impl NumbersKey {
    /// Reads `numbers.key`.
    ///
    /// # Errors
    /// AST-V006: it cannot be read, or is no key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self { bytes: read_key(path)?, path: path.to_owned() })
    }

    /// Whether it is the key of the log's numbers: one contact's number, opened by its import's key from the same folder,
    /// is hashed again. `None`: no such key is there, or nobody's number is left to open.
    pub(super) fn is_of(&self, state: &State) -> Option<bool> {
        let mut keys = Keys::open(self.path.parent()?).ok()?;
        state.campaigns.values().find_map(|campaign| {
            // One contact of each import: what opens one opens all.
            let mut seen = BTreeSet::new();
            (0u32..).zip(&campaign.contacts).find_map(|(index, contact)| {
                if contact.erased || !seen.insert(contact.import) {
                    return None;
                }
                let number = keys.number(campaign, index).ok().filter(|number| !number.is_empty())?;
                Some(number_hash(&self.bytes, &number) == contact.number_hash)
            })
        })
    }
}

impl Subject {
    /// Reads `+15550100`, `demo/17`, `demo-17-1`, a time (RFC 3339) or a node's id. A number needs the fleet's key for
    /// numbers: the log holds keyed hashes only.
    pub fn parse(text: &str, numbers_key: Option<&NumbersKey>, around_ms: u64) -> Result<Self, Error> {
        let unknown = |why: &str| Error::Subject { text: masked(text), why: why.to_owned() };
        if text.starts_with('+') {
            let number = E164::parse(text).map_err(|_| unknown("a number is + and 8 to 15 digits"))?;
            let key =
                numbers_key.ok_or_else(|| unknown("a number needs --numbers-key FILE (keys/numbers.key)"))?;
            let hash = number_hash(&key.bytes, &number.expose());
            return Ok(Self::Number { hash, shown: number.mask(), key: key.clone() });
        }
        if let Some((campaign, contact)) = text.split_once('/') {
            let contact = contact.parse().ok().filter(|_| is_token(campaign));
            let contact = contact.ok_or_else(|| unknown("a contact is CAMPAIGN/NUMBER"))?;
            return Ok(Self::Contact { campaign: campaign.to_owned(), contact });
        }
        if let Ok(call) = text.parse() {
            return Ok(Self::Call(call));
        }
        if let Some(at_ms) = when::parse(text) {
            return Ok(Self::Moment { at_ms, around_ms });
        }
        if is_token(text) { Ok(Self::Node(text.to_owned())) } else { Err(unknown("it is none of these")) }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { shown, .. } => write!(f, "number {shown}"),
            Self::Contact { campaign, contact } => write!(f, "contact {contact} of campaign {campaign}"),
            Self::Call(call) => write!(f, "attempt {call}"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Moment { at_ms, around_ms } => {
                write!(f, "{}, give or take {around_ms} ms", when::shown(*at_ms))
            }
        }
    }
}

/// What was typed, without the digits of a number.
fn masked(text: &str) -> String {
    let hide = text.starts_with('+');
    text.chars().take(64).map(|c| if hide && c.is_ascii_digit() { '*' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_spelling_is_one_kind_of_subject() {
        let key = NumbersKey { bytes: [1; 32], path: PathBuf::new() };
        let parse = |text| Subject::parse(text, Some(&key), 5).unwrap();
        assert_eq!(parse("+1 555-010 0007"), parse("+15550100007"));
        assert!(!parse("+15550100007").to_string().contains("5550100"));
        assert_eq!(parse("demo/17"), Subject::Contact { campaign: "demo".into(), contact: 17 });
        assert_eq!(parse("demo-17-1"), Subject::Call("demo-17-1".parse().unwrap()));
        assert_eq!(parse("i-0abc"), Subject::Node("i-0abc".into()));
        assert_eq!(parse("2026-11-22T10:00:00Z"), Subject::Moment { at_ms: 1_795_341_600_000, around_ms: 5 });
    }

    #[test]
    fn what_is_no_subject_says_why_and_shows_no_number() {
        let key = NumbersKey { bytes: [7; 32], path: "keys/numbers.key".into() };
        let said =
            |text: &str, key: Option<&NumbersKey>| Subject::parse(text, key, 5).unwrap_err().to_string();
        assert_eq!(format!("{key:?}"), "NumbersKey(keys/numbers.key)");
        assert!(said("+15550100007", None).contains("--numbers-key"));
        assert!(!said("+15550100007", None).contains("555"));
        assert!(said("+12x", Some(&key)).contains("8 to 15 digits"));
        assert!(said("demo/x", None).contains("CAMPAIGN/NUMBER"));
        assert!(said("a b", None).contains("none of these"));
    }
}

//! Identifiers and small closed vocabularies.

use std::fmt;
use std::str::FromStr;

use asterism_proto::origin::is_token;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970 UTC: a record's time, never a clock's.
pub type Timestamp = u64;
/// A campaign's id, a token.
pub type CampaignId = String;
/// A node's id: its instance id.
pub type NodeId = String;
/// A launch intent's id: the cloud's client token.
pub type IntentId = String;
/// Number of a contact within its campaign, from 0.
pub type ContactId = u32;

/// Keyed hash of a contact's number: tells numbers apart, names nobody.
pub type NumberHash = [u8; 16];

/// Maps by number: hexadecimal keys where people read, bytes elsewhere. For `#[serde(with)]`.
pub(crate) mod by_number {
    use std::collections::BTreeMap;

    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::NumberHash;

    pub(crate) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<NumberHash, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_map(map.iter().map(|(number, value)| (hex::encode(number), value)))
        } else {
            to.collect_map(map)
        }
    }

    pub(crate) fn deserialize<'de, V: DeserializeOwned, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<NumberHash, V>, D::Error> {
        if !from.is_human_readable() {
            return BTreeMap::deserialize(from);
        }
        let text: BTreeMap<String, V> = BTreeMap::deserialize(from)?;
        let entry = |(number, value): (String, V)| {
            let bytes = hex::decode(number).ok().and_then(|bytes| bytes.try_into().ok());
            Ok((bytes.ok_or(D::Error::custom("not a keyed hash of a number"))?, value))
        };
        text.into_iter().map(entry).collect()
    }
}

/// One ring of one contact. Its spelling is the Asterisk channel id: `<campaign>-<contact>-<ordinal>`.
/// To people and in JSON it is that text, in the state's own bytes its three parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The campaign.
    pub campaign: CampaignId,
    /// The contact within it.
    pub contact: ContactId,
    /// 1 for the contact's first attempt.
    pub ordinal: u32,
}

/// An attempt id in parts.
#[derive(Serialize, Deserialize)]
#[serde(rename = "AttemptId")]
struct Parts<C> {
    campaign: C,
    contact: ContactId,
    ordinal: u32,
}

impl Serialize for AttemptId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        Parts { campaign: &self.campaign, contact: self.contact, ordinal: self.ordinal }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AttemptId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom);
        }
        let Parts { campaign, contact, ordinal } = Parts::<CampaignId>::deserialize(deserializer)?;
        Ok(Self { campaign, contact, ordinal })
    }
}

/// The text is no attempt id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an attempt id: expected <campaign>-<contact>-<ordinal>")]
pub struct AttemptIdError;

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.campaign, self.contact, self.ordinal)
    }
}

impl FromStr for AttemptId {
    type Err = AttemptIdError;

    fn from_str(text: &str) -> Result<Self, AttemptIdError> {
        let mut parts = text.rsplitn(3, '-');
        let ordinal = number(parts.next())?;
        let contact = number(parts.next())?;
        let campaign = parts.next().ok_or(AttemptIdError)?;
        if !is_token(campaign) || ordinal == 0 {
            return Err(AttemptIdError);
        }
        Ok(Self { campaign: campaign.to_owned(), contact, ordinal })
    }
}

/// Digits only, no sign, no leading zero, so that an id has one spelling.
fn number(text: Option<&str>) -> Result<u32, AttemptIdError> {
    let value: u32 = text.and_then(|text| text.parse().ok()).ok_or(AttemptIdError)?;
    if Some(value.to_string().as_str()) == text { Ok(value) } else { Err(AttemptIdError) }
}

/// What a node made of who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listened {
    /// A human, so the flow goes on.
    Human,
    /// A machine, so the node hangs up.
    Machine,
    /// Neither was heard in time: treated as a human.
    NotSure,
}

/// How an attempt that reached a carrier ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Somebody, or something, picked up.
    Answered,
    /// The callee is on the phone.
    Busy,
    /// The callee, or who stands for it, said no.
    Declined,
    /// Rang until the ring timeout, or no reply at all.
    NoAnswer,
    /// Nobody has this number.
    InvalidNumber,
    /// The callee cannot be reached now.
    Unavailable,
    /// The carrier has no room, or is out of order.
    Congestion,
    /// Anything else.
    Failed,
    /// A machine picked up, and the campaign asked for that to be found out.
    Machine,
    /// Picked up, asked for digits by the flow, and nothing was pressed; where the campaign has a retry rule for that.
    NoInput,
}

impl Outcome {
    /// Every outcome, in the order of reports.
    pub const ALL: [Outcome; 10] = [
        Outcome::Answered,
        Outcome::Busy,
        Outcome::Declined,
        Outcome::NoAnswer,
        Outcome::InvalidNumber,
        Outcome::Unavailable,
        Outcome::Congestion,
        Outcome::Failed,
        Outcome::Machine,
        Outcome::NoInput,
    ];

    /// The wire number, as `asterism.v1.Outcome`.
    pub fn number(self) -> u32 {
        self as u32 + 1
    }

    /// From the wire number.
    pub fn from_number(number: u32) -> Option<Self> {
        Outcome::ALL.into_iter().find(|outcome| outcome.number() == number)
    }

    /// The outcome's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Busy => "busy",
            Outcome::Declined => "declined",
            Outcome::NoAnswer => "no-answer",
            Outcome::InvalidNumber => "invalid-number",
            Outcome::Unavailable => "unavailable",
            Outcome::Congestion => "congestion",
            Outcome::Failed => "failed",
            Outcome::Machine => "machine",
            Outcome::NoInput => "no-input",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_attempt_id_has_one_spelling() {
        let id: AttemptId = "spring-sale-17-2".parse().unwrap();
        assert_eq!((id.campaign.as_str(), id.contact, id.ordinal), ("spring-sale", 17, 2));
        assert_eq!(id.to_string(), "spring-sale-17-2");
        for text in ["a-1", "a-01-1", "a-1-0", "a-+1-1", "a b-1-1", "-1-1", "a-1-1-", "a-1-99999999999"] {
            assert!(text.parse::<AttemptId>().is_err(), "{text}");
        }
    }

    #[test]
    fn outcomes_keep_their_wire_numbers() {
        let numbers: Vec<u32> = Outcome::ALL.into_iter().map(Outcome::number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(Outcome::from_number(0), None);
    }
}

//! The index of a sealed segment: for each chunk what its frames are about, so that a search opens only the chunks it
//! must.
//!
//! A group for each chunk, in their order: where the chunk begins in the file, its first global sequence, first and last
//! record time, and the sorted CRC-32s of the terms in it. A chance match costs a chunk, a missing term would cost an
//! answer: the writer therefore files everything again from what it reads back. A search is as honest as the file;
//! `verify` reads all of it.

use asterism_proto::v1;
use prost::Message;

use crate::codec::{Cursor, put_u64};
use crate::record::StoredFrame;

/// Bytes of a group before its terms.
pub(super) const GROUP_HEAD_BYTES: usize = 4 * 8 + 4;
/// Most terms of a chunk: each event of it has a handful, and one that imports contacts some hundreds.
pub(super) const GROUP_TERMS_MAX: usize = 1 << 20;

/// Says which contacts an event is about, as campaign and number; the log itself reads no event's body.
pub type ContactsOf = fn(&v1::Event, &mut dyn FnMut(&str, u64));

/// For logs whose caller does not know contacts.
pub fn no_contacts(_: &v1::Event, _: &mut dyn FnMut(&str, u64)) {}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Events of a call, by their correlation.
    Call(String),
    /// Events about a contact.
    Contact {
        /// Its campaign.
        campaign: String,
        /// Its number in the campaign.
        contact: u64,
    },
    /// Events that name a node.
    Node(String),
    /// Events that name a campaign.
    Campaign(String),
    /// Frames of an origin, as `node/i-1`.
    Origin(String),
    /// Frames recorded from one moment to another, both ends included, ms since 1970.
    Time {
        /// First moment.
        from_ms: u64,
        /// Last moment.
        to_ms: u64,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    Call = 1,
    Contact = 2,
    Node = 3,
    Campaign = 4,
    Origin = 5,
}

fn term(kind: Kind, name: &str, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind as u8]);
    hasher.update(name.as_bytes());
    hasher.update(&number.to_be_bytes());
    hasher.finalize()
}

impl Key {
    /// What the index files it under; nothing for a time, which every group has.
    pub(super) fn term(&self) -> Option<u32> {
        Some(match self {
            Self::Call(call) => term(Kind::Call, call, 0),
            Self::Contact { campaign, contact } => term(Kind::Contact, campaign, *contact),
            Self::Node(node) => term(Kind::Node, node, 0),
            Self::Campaign(campaign) => term(Kind::Campaign, campaign, 0),
            Self::Origin(origin) => term(Kind::Origin, origin, 0),
            Self::Time { .. } => return None,
        })
    }

    /// Whether a frame has an event that is looked for.
    pub(super) fn is_in(&self, frame: &StoredFrame, contacts: ContactsOf) -> bool {
        match self {
            Self::Origin(origin) => frame.frame.header.origin == *origin,
            Self::Time { from_ms, to_ms } => (*from_ms..=*to_ms).contains(&frame.record_time_ms),
            _ => frame.frame.events.iter().any(|bytes| self.is_about(bytes, contacts)),
        }
    }

    fn is_about(&self, event: &[u8], contacts: ContactsOf) -> bool {
        let Ok(event) = v1::Event::decode(event) else { return false };
        match self {
            Self::Call(call) => event.correlation == *call,
            Self::Node(node) => event.node == *node,
            Self::Campaign(campaign) => event.campaign == *campaign,
            Self::Contact { campaign, contact } => {
                let mut found = false;
                contacts(&event, &mut |of, number| found |= of == campaign && number == *contact);
                found
            }
            Self::Origin(_) | Self::Time { .. } => false,
        }
    }
}

/// What one chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// First byte of the chunk in the file.
    pub(super) at: u64,
    /// Global sequence of its first event.
    pub(super) first: u64,
    /// Record time of its first frame.
    pub(super) from_ms: u64,
    /// Record time of its last frame.
    pub(super) to_ms: u64,
    /// Sorted, each once.
    pub(super) terms: Vec<u32>,
}

impl Group {
    /// For a chunk that begins here.
    pub(super) const fn new(at: u64, first: u64) -> Self {
        Self { at, first, from_ms: u64::MAX, to_ms: 0, terms: Vec::new() }
    }

    /// Files one frame of the chunk.
    pub(super) fn file(&mut self, frame: &StoredFrame, contacts: ContactsOf) {
        self.from_ms = self.from_ms.min(frame.record_time_ms);
        self.to_ms = self.to_ms.max(frame.record_time_ms);
        self.terms.push(term(Kind::Origin, &frame.frame.header.origin, 0));
        for bytes in &frame.frame.events {
            let Ok(event) = v1::Event::decode(bytes) else { continue };
            for (kind, name) in [
                (Kind::Call, &event.correlation),
                (Kind::Node, &event.node),
                (Kind::Campaign, &event.campaign),
            ] {
                if !name.is_empty() {
                    self.terms.push(term(kind, name, 0));
                }
            }
            contacts(&event, &mut |campaign, contact| {
                self.terms.push(term(Kind::Contact, campaign, contact));
            });
        }
    }

    /// Sorts what was filed.
    pub(super) fn close(&mut self) {
        self.terms.sort_unstable();
        self.terms.dedup();
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.at, self.first, self.from_ms, self.to_ms] {
            put_u64(out, number);
        }
        out.extend_from_slice(&(self.terms.len() as u32).to_be_bytes());
        for term in &self.terms {
            out.extend_from_slice(&term.to_be_bytes());
        }
    }

    /// Reads a group's head, and how many terms follow it.
    pub(super) fn read_head(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut cursor = Cursor::new(bytes);
        let (at, first, from_ms, to_ms) = (cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let count = cursor.u32()? as usize;
        (count <= GROUP_TERMS_MAX).then_some((Self { at, first, from_ms, to_ms, terms: Vec::new() }, count))
    }

    /// Whether the chunk may hold what is looked for. `terms` are the group's, as stored.
    pub(super) fn may_hold(&self, key: &Key, terms: &[u8]) -> bool {
        match (key, key.term()) {
            (Key::Time { from_ms, to_ms }, _) => self.from_ms <= *to_ms && *from_ms <= self.to_ms,
            (_, None) => true,
            (_, Some(term)) => terms.as_chunks::<4>().0.binary_search(&term.to_be_bytes()).is_ok(),
        }
    }
}

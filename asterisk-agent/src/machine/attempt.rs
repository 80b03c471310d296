//! What the node remembers of one attempt, while it is active and after.

use std::fmt;

use asterism_proto::v1;
use serde::{Deserialize, Serialize};

use crate::dialplan::Listened;

/// Most digits kept of one call.
pub const DIGITS_MAX: usize = 32;

/// A phone number. `Debug` masks it; it leaves the store with the originate.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Number(pub String);

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.0.len().saturating_sub(3);
        write!(f, "•••{}", self.0.get(tail..).unwrap_or_default())
    }
}

/// What somebody speaks, as the folder of its prompts is named. `Debug` does not say it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spoken(pub String);

impl fmt::Debug for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spoken")
    }
}

/// A contact's fields. `Debug` says how many there are.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fields(Vec<(String, String)>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fields", self.0.len())
    }
}

impl Fields {
    /// Most of one contact.
    pub const MOST: usize = 32;
    /// Most bytes of all, names included.
    pub const MOST_BYTES: usize = 1_024;

    /// Whether a flow can be given them.
    pub fn fit(fields: &[v1::ContactField]) -> bool {
        let bytes = fields.iter().map(|field| field.name.len() + field.value.len()).sum::<usize>();
        fields.len() <= Self::MOST && bytes <= Self::MOST_BYTES
    }

    /// Those of an order.
    pub fn of(fields: Vec<v1::ContactField>) -> Self {
        Self(fields.into_iter().map(|field| (field.name, field.value)).collect())
    }

    /// As a question takes them.
    pub fn asked(&self) -> Vec<v1::ContactField> {
        let field =
            |(name, value): &(String, String)| v1::ContactField { name: name.clone(), value: value.clone() };
        self.0.iter().map(field).collect()
    }
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// In custody, nothing sent to the PBX.
    Accepted,
    /// Written down as about to be sent, perhaps ringing.
    Originating,
    /// Up.
    Answered,
}

/// An attempt in this node's hands. Everything but [`Watch`] survives a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its campaign.
    pub campaign: String,
    /// The flow its call walks.
    pub flow: String,
    /// The manifest its prompts come from; empty if the flow plays none.
    pub manifest: String,
    /// The trunk it leaves by.
    pub trunk: String,
    /// The number shown; empty for the trunk's own.
    pub caller_id: Number,
    /// The number to dial; empty once it was sent.
    pub number: Number,
    /// What a call does when nobody answers its question.
    pub fallback: String,
    /// The contact's own fields, for the flow.
    pub fields: Fields,
    /// Not dialled before, ms on the corrected clock.
    pub not_before_ms: u64,
    /// Not dialled after.
    pub not_after_ms: u64,
    /// How long it may ring.
    pub ring_timeout_ms: u32,
    /// How far it is.
    pub phase: Phase,
    /// The PBX process it was sent to.
    pub boot_id: String,
    /// When it was sent.
    pub originated_ms: u64,
    /// When it was answered.
    pub answered_ms: u64,
    /// Where its call is in the flow.
    pub talk: Talk,
    /// Who answers is listened to before the flow begins.
    pub detect_machine: bool,
    /// What the PBX made of who answered; told to the log once.
    pub judged: Option<Listened>,
    /// So long it is held while no logic answers, in seconds.
    pub hold_s: u32,
    /// Its trunk keeps a second channel for it.
    pub may_bridge: bool,
    /// What its callee speaks, by the list; empty = nobody knows.
    pub spoken: Spoken,
    /// An order wants it hung up; asked again of a PBX that was away.
    pub hangup_asked: bool,
    /// What is known only while this process lives.
    #[serde(skip)]
    pub watch: Watch,
}

/// Where a call is in its flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    /// The flow state; empty at the start.
    pub state: String,
    /// The call's variables, by name.
    pub vars: Vec<(String, String)>,
    /// Digits pressed so far, at most [`DIGITS_MAX`].
    pub digits: String,
    /// The last step that was answered, 0 before the first.
    pub step: u32,
    /// The line that answered it, given again if the step is asked again.
    pub line: String,
    /// The call left its flow for the fallback.
    pub on_fallback: bool,
    /// What nobody has answered: asked again while the call is held.
    pub unanswered: Option<Unanswered>,
    /// Whom the last answered step dials.
    pub whom: Option<Whom>,
    /// The step that dialled somebody, until the end of that is told.
    pub joined: Option<u32>,
    /// The cause its end report named: the dialplan said goodbye.
    pub ended_cause: Option<u32>,
}

/// A question that got no answer, and how often the call was held for it since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// The verb it told of.
    pub verb: String,
    /// How that ended.
    pub status: String,
    /// What was pressed.
    pub digits: String,
    /// Pauses since.
    pub pauses: u32,
}

/// Somebody who is dialled in the middle of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whom {
    /// The number, or a name the trunk's other end knows.
    pub address: Number,
    /// The number shown.
    pub caller_id: Number,
}

impl Talk {
    /// Adds digits, up to the limit.
    pub fn press(&mut self, digits: &str) {
        let room = DIGITS_MAX - self.digits.len().min(DIGITS_MAX);
        self.digits.extend(pressed(digits).take(room));
    }

    /// All digits of the call as the dialplan stored them. Where they contain what was counted they replace it, as
    /// the store holds every key; else they are keys no verb took.
    pub fn all_pressed(&mut self, all: &str) {
        let mut rest = pressed(all);
        if self.digits.chars().all(|digit| rest.any(|c| c == digit)) && !all.is_empty() {
            self.digits.clear();
        }
        self.press(all);
    }
}

fn pressed(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| c.is_ascii_digit() || "*#ABCD".contains(*c))
}

/// What was seen of an attempt's channel over one unbroken connection to the PBX, from before its originate was sent.
///
/// As measured with Asterisk 22.10, and as its `dial.c` has it: one thread makes the channel (`Newchannel`), hands it
/// to the channel driver, which writes the INVITE, and only if the driver took it says `DialBegin`; `Hangup` of a
/// failure comes from that thread too, later. So a channel that ends without `DialBegin` (no free RTP port) sent no
/// INVITE, and where no channel came to be (unknown trunk, no contact to send to) nothing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trail {
    /// Something may have been missed.
    #[default]
    Broken,
    /// The PBX certainly did not take the originate.
    NotSent,
    /// The originate was sent, and no event of its channel came.
    Sent,
    /// The channel exists, and its driver did not take the call yet.
    Channel,
    /// The driver took it: it may ring.
    Dialled,
}

/// Knowledge of this process only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// What was seen of its channel.
    pub trail: Trail,
    /// `OriginateResponse: Failure` came with this reason.
    pub failed_reason: Option<u32>,
    /// `Hangup` came with this cause.
    pub hangup_cause: Option<u32>,
    /// The SIP status behind it; 0 if there was none.
    pub sip_status: u32,
    /// Ringing or early media came.
    pub rang: bool,
    /// When the first of the two halves of an end came.
    pub half_ended_ms: u64,
    /// The step now being asked for.
    pub asking: Option<u32>,
    /// The last step whose digits were counted.
    pub heard_step: u32,
    /// Status and digits of the step being asked, for the log.
    pub input: String,
    /// What is being asked.
    pub asked: Unanswered,
}

/// How an attempt left this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It never rang.
    Refused,
    /// It ended.
    Ended,
    /// Nobody can tell.
    Uncertain,
}

/// What is kept of an attempt that left: enough to give the same answer again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// How it left.
    pub verdict: Verdict,
    /// When, ms.
    pub at_ms: u64,
    /// Which refusal it got when it was ordered, if any.
    pub refused: Option<u8>,
}

/// The drain this node was told of last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Its number; each drain has a higher one.
    pub number: u64,
    /// Whether it holds (an undrain ends it).
    pub on: bool,
    /// `NodeEmpty` was said for it.
    pub empty_said: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_once_and_bounded() {
        for (counted, all, expected) in [
            ("1", "1", "1"),
            ("1", "91", "91"),
            ("1", "5", "15"),
            ("", "12", "12"),
            ("12", "", "12"),
            ("1", "1x,2", "12"),
        ] {
            let mut talk = Talk::default();
            talk.press(counted);
            talk.all_pressed(all);
            assert_eq!(talk.digits, expected, "{counted} {all}");
        }
        let mut talk = Talk::default();
        talk.press(&"7".repeat(90));
        assert_eq!(talk.digits.len(), DIGITS_MAX);
    }

    #[test]
    fn debug_shows_no_number() {
        assert_eq!(format!("{:?}", Number("+15550100123".into())), "•••123");
    }
}

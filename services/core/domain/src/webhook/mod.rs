//! Notices owed to the user's own server: an outbox that is nothing but a fold of the log.
//!
//! What is owed follows from events alone, so nothing is lost when a process is killed; what was delivered or given up is an
//! event of its own. A notice is named by its event's position, which stays the same whoever repeats it.

pub mod decide;
pub mod finished;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::campaign::{ContactStatus, state::Contact};
use crate::event::{Event, Recorded};
use crate::ids::{AttemptId, CampaignId, ContactId, Timestamp};
use crate::recording::{Made, RecordingId};
use crate::state::{Effectless, State};

use self::finished::Finished;

/// Most notices in one event.
pub const NOTICES_PER_EVENT: usize = 1_000;
/// Places of one event: more than a frame can name contacts.
const PLACES: u64 = 1 << 16;

/// What there are notices of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeKind {
    /// A contact is settled, excluded by a rule, or uncertain: it is not dialled again by itself. Erased ones are told nobody.
    #[serde(rename = "contact.settled")]
    ContactSettled,
    /// A campaign is completed or stopped.
    #[serde(rename = "campaign.ended")]
    CampaignEnded,
    /// A recording is in the object store, read back and whole.
    #[serde(rename = "recording.stored")]
    RecordingStored,
}

impl NoticeKind {
    /// Every kind, in the order of their wire numbers.
    pub const ALL: [Self; 3] = [Self::ContactSettled, Self::CampaignEnded, Self::RecordingStored];

    /// The wire number.
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }

    /// From the wire number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// As receivers and the configuration spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContactSettled => "contact.settled",
            Self::CampaignEnded => "campaign.ended",
            Self::RecordingStored => "recording.stored",
        }
    }
}

/// Names a notice within its log, and orders it: the position of its event, and its place among those of that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NoticeId(pub u64);

impl NoticeId {
    /// The event's position in the log.
    pub const fn position(self) -> u64 {
        self.0 / PLACES
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position(), self.0 % PLACES)
    }
}

impl FromStr for NoticeId {
    type Err = NoticeIdError;

    /// `POSITION-PLACE`, or with the log's tag before it, as receivers are told it.
    fn from_str(text: &str) -> Result<Self, NoticeIdError> {
        let mut parts = text.rsplitn(3, '-');
        let place = parts.next().and_then(|text| text.parse::<u64>().ok()).filter(|place| *place < PLACES);
        let position = parts.next().and_then(|text| text.parse::<u64>().ok());
        let id = position
            .zip(place)
            .and_then(|(position, place)| position.checked_mul(PLACES)?.checked_add(place));
        id.map(Self).ok_or(NoticeIdError)
    }
}

/// The text names no notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no notice's id: expected POSITION-PLACE, like 1204-0")]
pub struct NoticeIdError;

/// How the attempt ended that settled a contact, as the node said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEnd {
    /// Which of the contact's attempts.
    pub ordinal: u32,
    /// Q.850.
    pub cause: u32,
    /// SIP's final response; 0 = unknown.
    pub sip_status: u32,
    /// How long it rang.
    pub ring_ms: u32,
    /// How long it talked.
    pub talk_ms: u32,
    /// The flow's last state.
    pub path: String,
}

/// A contact as it stood when it was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledContact {
    /// Its number within the campaign.
    pub contact: ContactId,
    /// Where it stands.
    pub status: ContactStatus,
    /// Attempts it had.
    pub attempts: u32,
    /// Of these, those that may have reached the carrier.
    pub rang: u32,
    /// What it pressed in the answered call.
    pub digits: String,
    /// The end that settled it; none if something else did.
    pub end: Option<LastEnd>,
}

/// A notice that is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What of.
    pub kind: NoticeKind,
    /// When it happened, by the log.
    pub at: Timestamp,
    /// The campaign it is about.
    pub campaign: CampaignId,
    /// The contact, if it is about one.
    pub contact: Option<SettledContact>,
    /// The recording, if it is about one, and what it is.
    pub recording: Option<(RecordingId, Made)>,
}

/// What is owed, and what became of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// Scheme, host and port of the receiver; empty = none.
    pub endpoint: String,
    /// The kinds it wants; none = no webhook.
    pub kinds: BTreeSet<NoticeKind>,
    /// Owed notices, oldest first.
    pub owed: BTreeMap<NoticeId, Notice>,
    /// Notices the receiver has taken.
    pub delivered: u64,
    /// Notices given up.
    pub given_up: u64,
    /// The newest of those taken.
    pub taken: VecDeque<Finished>,
    /// The newest of those given up.
    pub lost: VecDeque<Finished>,
}

/// What an event may settle, looked at before it is applied.
#[derive(Debug)]
pub(crate) struct Watch {
    contacts: Vec<(CampaignId, ContactId)>,
    campaign: Option<CampaignId>,
}

impl Watch {
    /// What is open of that which the event is about. None where nobody wants to know.
    pub(crate) fn of(state: &State, event: &Event) -> Option<Self> {
        if state.webhook.kinds.is_empty() {
            return None;
        }
        let mut contacts: Vec<(CampaignId, ContactId)> = match event {
            Event::ContactsExcluded { campaign, contacts, .. } => {
                contacts.iter().map(|contact| (campaign.clone(), *contact)).collect()
            }
            other => other.attempt().map(about).into_iter().collect(),
        };
        if contacts.is_empty()
            && let Some(node) = event.node().and_then(|node| state.fleet.nodes.get(node))
        {
            contacts = node.attempts.iter().map(about).collect();
        }
        contacts
            .retain(|(campaign, contact)| person(state, campaign, *contact).is_some_and(Contact::is_open));
        let campaign = event.campaign().filter(|id| is_open(state, id)).cloned();
        Some(Self { contacts, campaign })
    }

    /// Owes what the event has settled.
    pub(crate) fn owe(self, state: &mut State, recorded: &Recorded) {
        let mut new = Vec::new();
        for (campaign, contact) in self.contacts {
            let Some(person) = person(state, &campaign, contact) else { continue };
            if person.is_open() || person.status == ContactStatus::Erased {
                continue;
            }
            let settled = SettledContact {
                contact,
                status: person.status.clone(),
                attempts: person.attempts,
                rang: person.rang.into(),
                digits: person.digits.as_str().to_owned(),
                end: last_end(&recorded.event),
            };
            new.push((NoticeKind::ContactSettled, campaign, Some(settled), None));
        }
        if let Some(campaign) = self.campaign
            && !is_open(state, &campaign)
        {
            new.push((NoticeKind::CampaignEnded, campaign, None, None));
        }
        if let Event::RecordingStored { call, step, .. } = &recorded.event {
            let id = RecordingId { call: call.clone(), step: *step };
            // None where the event had no effect.
            if let Some(stored) =
                state.recordings.stored.get(&id).filter(|it| it.position == recorded.sequence)
            {
                let of = Some((id.clone(), stored.made.clone()));
                new.push((NoticeKind::RecordingStored, call.campaign.clone(), None, of));
            }
        }
        let first = recorded.sequence.saturating_mul(PLACES);
        for (place, (kind, campaign, contact, recording)) in (0..PLACES).zip(new) {
            if state.webhook.kinds.contains(&kind) {
                let notice = Notice { kind, at: state.at, campaign, contact, recording };
                state.webhook.owed.insert(NoticeId(first + place), notice);
            }
        }
    }
}

fn about(attempt: &AttemptId) -> (CampaignId, ContactId) {
    (attempt.campaign.clone(), attempt.contact)
}

fn person<'a>(state: &'a State, campaign: &str, contact: ContactId) -> Option<&'a Contact> {
    state.campaigns.get(campaign)?.contacts.get(contact as usize)
}

fn is_open(state: &State, campaign: &str) -> bool {
    state.campaigns.get(campaign).is_some_and(|campaign| campaign.ended_at.is_none())
}

fn last_end(event: &Event) -> Option<LastEnd> {
    let Event::AttemptEnded { attempt, cause, sip_status, ring_ms, talk_ms, path, .. } = event else {
        return None;
    };
    Some(LastEnd {
        ordinal: attempt.ordinal,
        cause: *cause,
        sip_status: *sip_status,
        ring_ms: *ring_ms,
        talk_ms: *talk_ms,
        path: path.clone(),
    })
}

/// Applies an event about the outbox itself.
pub(crate) fn apply(outbox: &mut Outbox, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    match event {
        Event::WebhookSet { endpoint, kinds, .. } => {
            outbox.endpoint.clone_from(endpoint);
            // A kind of a newer version is one nothing here is owed for.
            outbox.kinds = kinds.iter().filter_map(|kind| NoticeKind::from_number(*kind)).collect();
            let Outbox { kinds, owed, .. } = outbox;
            owed.retain(|_, notice| kinds.contains(&notice.kind));
            Ok(())
        }
        Event::WebhookDelivered { notices } => {
            let taken = take(outbox, notices)?;
            outbox.delivered += taken.len() as u64;
            for (id, notice) in taken {
                let one = Finished { id, notice, at, tries: 0, reason: String::new() };
                finished::keep(&mut outbox.taken, one);
            }
            Ok(())
        }
        Event::WebhookGivenUp { notices, tries, reason } => {
            let taken = take(outbox, notices)?;
            outbox.given_up += taken.len() as u64;
            for (id, notice) in taken {
                let reason =
                    if reason.is_empty() { "no reason was given".to_owned() } else { reason.clone() };
                finished::keep(&mut outbox.lost, Finished { id, notice, at, tries: *tries, reason });
            }
            Ok(())
        }
        Event::WebhookResent { notices, .. } => resent(outbox, notices),
        _ => Ok(()),
    }
}

fn take(outbox: &mut Outbox, notices: &[u64]) -> Result<Vec<(NoticeId, Notice)>, Effectless> {
    let owed = notices.iter().map(|id| NoticeId(*id));
    let taken: Vec<_> = owed.filter_map(|id| Some((id, outbox.owed.remove(&id)?))).collect();
    if taken.is_empty() { Err(Effectless::void("none of the notices is owed")) } else { Ok(taken) }
}

/// Owed once more, under the same name.
fn resent(outbox: &mut Outbox, notices: &[u64]) -> Result<(), Effectless> {
    let meant: BTreeSet<NoticeId> = notices.iter().map(|id| NoticeId(*id)).collect();
    let Outbox { kinds, owed, taken, lost, .. } = outbox;
    let mut again = false;
    for done in [taken, lost] {
        done.retain(|one| {
            let back = meant.contains(&one.id) && kinds.contains(&one.notice.kind);
            if back {
                owed.insert(one.id, one.notice.clone());
                again = true;
            }
            !back
        });
    }
    if again {
        Ok(())
    } else {
        Err(Effectless::void("none of the notices is kept, or its kind is not wanted"))
    }
}

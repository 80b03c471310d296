//! Decisions about the outbox.

use std::collections::BTreeSet;

use super::finished::FINISHED_KEPT;
use super::{NOTICES_PER_EVENT, Notice, NoticeId, NoticeKind};
use crate::Rejection;
use crate::event::Event;
use crate::state::State;

/// What the dialer's deliverer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookCommand {
    /// What the configuration says.
    Configured {
        /// Scheme, host and port; empty = none.
        endpoint: String,
        /// The kinds wanted.
        kinds: BTreeSet<NoticeKind>,
    },
    /// The receiver has taken them.
    Delivered {
        /// Which.
        notices: Vec<NoticeId>,
    },
    /// They are not tried any more.
    GivenUp {
        /// Which.
        notices: Vec<NoticeId>,
        /// How often this process tried the one it tried most.
        tries: u32,
        /// What the receiver did last.
        reason: String,
    },
    /// Those that were taken or given up are owed once more.
    Resend {
        /// Which; none = all that were given up and are kept.
        notices: Vec<NoticeId>,
        /// Of these, those about this campaign; empty = all.
        campaign: String,
        /// Why, for the log.
        reason: String,
    },
}

/// Whether the log has what the configuration says.
pub fn is_configured(state: &State, endpoint: &str, kinds: &BTreeSet<NoticeKind>) -> bool {
    state.webhook.endpoint == endpoint && state.webhook.kinds == *kinds
}

pub(crate) fn decide(state: &State, command: &WebhookCommand) -> Result<Vec<Event>, Rejection> {
    Ok(match command {
        WebhookCommand::Resend { notices, campaign, reason } => {
            let meant = to_resend(state, notices, campaign)?;
            let event = |notices: &[NoticeId]| Event::WebhookResent {
                notices: notices.iter().map(|id| id.0).collect(),
                reason: reason.clone(),
            };
            meant.chunks(NOTICES_PER_EVENT).map(event).collect()
        }
        WebhookCommand::Configured { endpoint, kinds } if is_configured(state, endpoint, kinds) => Vec::new(),
        WebhookCommand::Configured { endpoint, kinds } => vec![Event::WebhookSet {
            endpoint: endpoint.clone(),
            kinds: kinds.iter().map(|kind| kind.number()).collect(),
            reason: "as the configuration has it".to_owned(),
        }],
        WebhookCommand::Delivered { notices } => {
            each(state, notices, |notices| Event::WebhookDelivered { notices })
        }
        WebhookCommand::GivenUp { notices, tries, reason } => each(state, notices, |notices| {
            Event::WebhookGivenUp { notices, tries: *tries, reason: reason.clone() }
        }),
    })
}

/// What a resend would owe once more.
///
/// # Errors
/// AST-D151 there is no receiver, AST-D152 a notice is not kept, AST-D153 there is nothing to send, AST-D154 nobody wants its
/// kind any more.
pub fn to_resend(state: &State, notices: &[NoticeId], campaign: &str) -> Result<Vec<NoticeId>, Rejection> {
    let outbox = &state.webhook;
    if outbox.kinds.is_empty() {
        return Err(Rejection::new("AST-D151", "there is no receiver: [webhook] names no url"));
    }
    let of = |notice: &Notice| campaign.is_empty() || notice.campaign == campaign;
    let mut meant: Vec<NoticeId> = Vec::new();
    for id in notices {
        match outbox.finished(*id) {
            Some(one) if !outbox.kinds.contains(&one.notice.kind) => {
                let why = format!("{id}: notices of {} are not wanted any more", one.notice.kind.name());
                return Err(Rejection::with("AST-D154", why));
            }
            Some(one) if of(&one.notice) => meant.push(*id),
            Some(_) => {}
            None if outbox.owed.contains_key(id) => {
                return Err(Rejection::with(
                    "AST-D152",
                    format!("{id} is owed already: it is being delivered"),
                ));
            }
            None => {
                let why = format!(
                    "{id} is not kept: the newest {FINISHED_KEPT} that were delivered are, and as many that were given up"
                );
                return Err(Rejection::with("AST-D152", why));
            }
        }
    }
    if notices.is_empty() {
        let wanted =
            outbox.lost.iter().filter(|one| of(&one.notice) && outbox.kinds.contains(&one.notice.kind));
        meant.extend(wanted.map(|one| one.id));
    }
    if meant.is_empty() {
        return Err(Rejection::new(
            "AST-D153",
            "there is no such notice that was given up; `webhook list` shows them",
        ));
    }
    Ok(meant)
}

/// Of these, what is still owed.
fn each(state: &State, notices: &[NoticeId], event: impl Fn(Vec<u64>) -> Event) -> Vec<Event> {
    let owed: Vec<u64> =
        notices.iter().filter(|id| state.webhook.owed.contains_key(id)).map(|id| id.0).collect();
    owed.chunks(NOTICES_PER_EVENT).map(|chunk| event(chunk.to_vec())).collect()
}

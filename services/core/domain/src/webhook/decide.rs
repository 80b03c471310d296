//! Decisions about the outbox.

use std::collections::BTreeSet;

use super::{NOTICES_PER_EVENT, NoticeId, NoticeKind};
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
}

/// Whether the log has what the configuration says.
pub fn is_configured(state: &State, endpoint: &str, kinds: &BTreeSet<NoticeKind>) -> bool {
    state.webhook.endpoint == endpoint && state.webhook.kinds == *kinds
}

pub(crate) fn decide(state: &State, command: &WebhookCommand) -> Vec<Event> {
    match command {
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
    }
}

/// Of these, what is still owed.
fn each(state: &State, notices: &[NoticeId], event: impl Fn(Vec<u64>) -> Event) -> Vec<Event> {
    let owed: Vec<u64> =
        notices.iter().filter(|id| state.webhook.owed.contains_key(id)).map(|id| id.0).collect();
    owed.chunks(NOTICES_PER_EVENT).map(|chunk| event(chunk.to_vec())).collect()
}

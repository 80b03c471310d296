//! What an event can change, read off the state before it is applied. Everything else is as it was judged before.

use std::collections::BTreeSet;

use asterism_proto::Origin;

use crate::event::{Event, Recorded};
use crate::ids::{AttemptId, CampaignId, ContactId, NodeId, NumberHash};
use crate::state::State;

/// What one event can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Campaigns with their counters and lists; contacts that are new in them count as touched.
    pub(super) campaigns: BTreeSet<CampaignId>,
    /// Contacts there were before.
    pub(super) contacts: BTreeSet<(CampaignId, ContactId)>,
    /// Nodes with everything on them.
    pub(super) nodes: BTreeSet<NodeId>,
    /// Attempts, with their share of the node they are on.
    pub(super) attempts: BTreeSet<AttemptId>,
}

impl Touched {
    pub(super) fn by(state: &State, recorded: &Recorded) -> Self {
        let mut touched = Self::default();
        let event = &recorded.event;
        if let Some(campaign) = event.campaign() {
            touched.campaigns.insert(campaign.clone());
        }
        match event {
            // A node's routine word changes nothing but when it was heard of.
            Event::NodeLoad { .. } => {}
            Event::ContactsErased { import, contacts, .. } => touched.erased(state, import, contacts),
            Event::ContactsExcluded { campaign, contacts, .. }
            | Event::ContactsDeferred { campaign, contacts, .. }
            | Event::ContactsReopened { campaign, contacts, .. } => {
                touched.contacts.extend(contacts.iter().map(|contact| (campaign.clone(), *contact)));
            }
            Event::OriginClosed { origin, .. } => {
                if let Ok(Origin::Node(node)) = origin.parse() {
                    touched.nodes.insert(node);
                }
            }
            Event::NodeTerminated { node, .. }
            | Event::NodeLost { node, .. }
            | Event::NodeEmpty { node, .. }
            | Event::NodeUncovered { node, .. }
            | Event::NodeHolds { node, .. } => {
                touched.nodes.insert(node.clone());
                let known = state.fleet.nodes.get(node);
                known.into_iter().flat_map(|known| &known.attempts).for_each(|id| touched.attempt(id));
            }
            other => match other.attempt() {
                Some(attempt) => touched.attempt(attempt),
                None => touched.nodes.extend(other.node().cloned()),
            },
        }
        touched
    }

    fn attempt(&mut self, attempt: &AttemptId) {
        self.campaigns.insert(attempt.campaign.clone());
        self.contacts.insert((attempt.campaign.clone(), attempt.contact));
        self.attempts.insert(attempt.clone());
    }

    /// As many as are erased: the one event that touches a whole import, or searches it for the numbers it names.
    fn erased(&mut self, state: &State, import: &str, numbers: &[NumberHash]) {
        let numbers: BTreeSet<&NumberHash> = numbers.iter().collect();
        for (id, campaign) in &state.campaigns {
            let Some(index) = campaign.imports.iter().position(|known| known == import) else { continue };
            self.campaigns.insert(id.clone());
            for (contact, person) in (0u32..).zip(&campaign.contacts) {
                let named = numbers.is_empty() || numbers.contains(&person.number_hash);
                if usize::from(person.import) == index && named && !person.erased {
                    self.contacts.insert((id.clone(), contact));
                }
            }
        }
    }
}

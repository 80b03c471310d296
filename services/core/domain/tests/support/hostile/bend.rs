//! Reducers that are wrong on purpose: what an event touched is broken after it was applied.

use asterism_domain::campaign::{CampaignStatus, ContactStatus};
use asterism_domain::fleet::{FleetLimits, NodeStatus};
use asterism_domain::{AttemptId, Event, Outcome, Recorded, State};

/// A way in which a reducer could be wrong about what its event touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bend {
    ContactStatus,
    ContactRang,
    ContactImported,
    CountWaiting,
    CountUncertain,
    CountRang,
    WaitingList,
    FlightGone,
    FlightTwice,
    Complete,
    Channels,
    Overfill,
    EndingHome,
    NodeEnds,
    NodeCapacity,
    NodePrompts,
    Prompts,
    NodeIntent,
    Limits,
}

impl Bend {
    /// Each with an invariant that it breaks.
    pub const EXPECTED: [(Self, &'static str); 19] = [
        (Self::ContactStatus, "INV-15"),
        (Self::ContactRang, "INV-01"),
        (Self::ContactImported, "INV-15"),
        (Self::CountWaiting, "INV-02"),
        (Self::CountUncertain, "INV-02"),
        (Self::CountRang, "INV-01"),
        (Self::WaitingList, "INV-15"),
        (Self::FlightGone, "INV-15"),
        (Self::FlightTwice, "INV-01"),
        (Self::Complete, "INV-15"),
        (Self::Channels, "INV-03"),
        (Self::Overfill, "INV-03"),
        (Self::EndingHome, "INV-04"),
        (Self::NodeEnds, "INV-04"),
        (Self::NodeCapacity, "INV-03"),
        (Self::NodePrompts, "INV-11"),
        (Self::Prompts, "INV-11"),
        (Self::NodeIntent, "INV-05"),
        (Self::Limits, "INV-06"),
    ];

    pub fn of(number: u8) -> Self {
        Self::EXPECTED[usize::from(number) % Self::EXPECTED.len()].0
    }
}

/// Applies an event and breaks what it touched, as a wrong reducer would; nothing where it touched nothing of the kind.
pub fn apply(state: &mut State, recorded: &Recorded, how: Option<Bend>, pick: u16) {
    let before = (state.incidents, state.voids);
    state.apply(recorded);
    let took = (state.incidents, state.voids) == before;
    if let Some(how) = how {
        bend(state, recorded, how, pick, took);
    }
}

fn bend(state: &mut State, recorded: &Recorded, how: Bend, pick: u16, took: bool) {
    match (recorded.event.attempt().cloned(), recorded.event.node().cloned()) {
        (Some(attempt), _) => bend_attempt(state, &attempt, how, pick),
        (None, Some(node)) if !matches!(recorded.event, Event::NodeLoad { .. }) => {
            bend_node(state, &node, how)
        }
        _ => None,
    };
    if let Event::ContactsImported { campaign, contacts, .. } = &recorded.event
        && how == Bend::ContactImported
        && let Some(known) = state.campaigns.get_mut(campaign)
        && took
        && !contacts.is_empty()
        && let Some(new) = known.contacts.last_mut()
    {
        new.status = ContactStatus::Settled(Outcome::Busy);
    }
    let planned = matches!(recorded.event, Event::LaunchIntended { .. } | Event::FleetPlanned { .. });
    if how == Bend::Limits && took && planned {
        let limits = FleetLimits { max_nodes: 0, ..FleetLimits::default() };
        state.fleet.limited.limits = Some(limits);
        state.fleet.limited.above_max = 0;
    }
    if let Some(known) = recorded.event.campaign().and_then(|id| state.campaigns.get_mut(id)) {
        match how {
            Bend::CountWaiting => known.counts.waiting += 1,
            Bend::CountUncertain => known.counts.uncertain += 1,
            Bend::CountRang => known.counts.rang += 1,
            Bend::Complete => known.status = CampaignStatus::Completed,
            Bend::Channels => known.max_channels = 1,
            _ => {}
        }
    }
}

fn bend_attempt(state: &mut State, id: &AttemptId, how: Bend, pick: u16) -> Option<()> {
    let campaign = state.campaigns.get_mut(&id.campaign)?;
    let contact = campaign.contacts.get_mut(id.contact as usize)?;
    match how {
        Bend::ContactStatus => {
            let mut others = vec![ContactStatus::Waiting, ContactStatus::Uncertain, ContactStatus::InFlight];
            others.retain(|one| *one != contact.status);
            let other = others.get(usize::from(pick) % others.len()).cloned();
            contact.status = other?;
        }
        Bend::ContactRang => contact.rang += 1,
        Bend::WaitingList if campaign.waiting.contains(id.contact, contact.place()) => {
            campaign.waiting.remove(id.contact, contact.place());
        }
        Bend::WaitingList => {
            campaign.waiting.insert(id.contact, contact.place());
        }
        Bend::FlightGone => drop(campaign.in_flight.remove(id)?),
        Bend::FlightTwice => {
            let flight = campaign.in_flight.get(id)?.clone();
            campaign.in_flight.insert(AttemptId { ordinal: id.ordinal + 1, ..id.clone() }, flight);
        }
        Bend::Overfill | Bend::EndingHome | Bend::Prompts => {
            let home = campaign.in_flight.get(id)?.node.clone();
            let node = state.fleet.nodes.get_mut(&home)?;
            match how {
                Bend::Prompts => node.manifests.clear(),
                Bend::Overfill => node.capacity = node.attempts.len() as u32 - 1,
                _ => {
                    node.status = NodeStatus::Terminating;
                    node.cut = node.attempts.iter().filter(|one| *one != id).cloned().collect();
                    node.unanswered.remove(id);
                }
            }
        }
        _ => {}
    }
    Some(())
}

fn bend_node(state: &mut State, id: &str, how: Bend) -> Option<()> {
    let node = state.fleet.nodes.get_mut(id)?;
    match how {
        Bend::NodeEnds => {
            node.status = NodeStatus::Terminating;
            node.cut.clear();
        }
        Bend::NodeCapacity => node.capacity = 0,
        Bend::NodePrompts => node.manifests.clear(),
        Bend::NodeIntent => node.intent = "stranger".into(),
        _ => {}
    }
    Some(())
}

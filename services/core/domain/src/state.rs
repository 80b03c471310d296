//! The whole state the log folds to, and the one `apply`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_proto::Origin;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::campaign::state::{Campaigns, Erasure};
use crate::campaign::stats::Used;
use crate::catalogue::Catalogue;
use crate::emergency::{self, Emergency};
use crate::event::{Event, Recorded};
use crate::fleet::state::Fleet;
use crate::ids::{NumberHash, Timestamp, by_number};
use crate::recording::{self, Recordings};
use crate::rules::{DoNotCall, NumberUse};
use crate::trunk::Trunk;
use crate::webhook::{self, Outbox, Watch};
use crate::{campaign, catalogue, fleet, paces, trunk};

/// Names the reducers: a snapshot or a state hash of another fingerprint says nothing about these.
pub const REDUCER: &str = "asterism-16";
/// Most incidents kept with their text; all are counted.
pub const INCIDENTS_KEPT: usize = 64;
/// Most command ids remembered, oldest forgotten first.
pub const COMMANDS_KEPT: usize = 65_536;

/// The incident of bytes that are no event. The reason is not in it: the state's bytes are for ever, an error's words not.
const UNREADABLE: &str = "the event cannot be read";

/// Why an event changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effectless {
    /// A decision that something came before: kept, marked, without effect.
    Void(&'static str),
    /// A fact or a writer that fits nothing.
    Incident(&'static str),
}

impl Effectless {
    pub(crate) fn void(reason: &'static str) -> Self {
        Self::Void(reason)
    }
    pub(crate) fn incident(reason: &'static str) -> Self {
        Self::Incident(reason)
    }
}

/// Something in the log that must not be: shown, counted, never repaired in silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Global sequence of the event.
    pub sequence: u64,
    /// Who wrote it.
    pub origin: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Everything the log says. Ordered maps and integers only: its bytes are canonical.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Events applied: the log position.
    pub size: u64,
    /// Record time of the last one.
    pub at: Timestamp,
    /// The fleet's name.
    pub fleet_name: String,
    /// First eight hex digits of the fleet key: tells logs of one fleet name apart.
    pub log_tag: String,
    /// Nodes and intents.
    pub fleet: Fleet,
    /// Campaigns, contacts, attempts.
    pub campaigns: Campaigns,
    /// Published flows and manifests.
    pub catalogue: Catalogue,
    /// Recordings of calls that are in the object store.
    pub recordings: Recordings,
    /// Do-not-call lists.
    pub do_not_call: BTreeMap<String, DoNotCall>,
    /// Numbers that rang or are in flight, by keyed hash, over all campaigns.
    #[serde(with = "by_number")]
    pub numbers: BTreeMap<NumberHash, NumberUse>,
    /// Trunks: what was set, their use, how they do.
    pub trunks: BTreeMap<String, Trunk>,
    /// Notices owed to the user's own server.
    pub webhook: Outbox,
    /// Attempts in flight, over all campaigns.
    pub in_flight: u32,
    /// Calls up.
    pub up: u32,
    /// Most attempts in flight at once.
    pub peak_in_flight: u32,
    /// Most calls up at once.
    pub peak_up: u32,
    /// Time attempts held slots, over all campaigns, ms; those that do still are not in it.
    pub slots_ms: u64,
    /// Steps whose answer took effect.
    pub steps: u64,
    /// Step decisions committed that did not take effect.
    pub superseded_decisions: u64,
    /// Term of each role.
    pub terms: BTreeMap<String, u64>,
    /// Size of the newest checkpoint seen in the log.
    pub checkpoint: u64,
    /// Log size up to which sealed segments stand in the object store without a gap.
    pub archived: u64,
    /// Why nothing new is dialled although it could be: too much of the log is not archived. Empty if nothing holds.
    pub archive_hold: String,
    /// The emergency stop, while it holds.
    pub emergency: Option<Emergency>,
    /// Times a copy of the log was repaired.
    pub repairs: u64,
    /// What was erased, by import.
    pub erasures: BTreeMap<String, Erasure>,
    /// Decisions that came too late.
    pub voids: u64,
    /// Events that fit nothing.
    pub incidents: u64,
    /// The newest of them.
    pub incident_list: VecDeque<Incident>,
    /// Commands answered, with the log size after their last event.
    commands: BTreeMap<String, u64>,
    command_order: VecDeque<String>,
}

impl State {
    /// Applies one event of the log. Total: what has no effect is counted.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.size = recorded.sequence + 1;
        self.at = self.at.max(recorded.at);
        self.remember_command(recorded);
        if let Origin::Node(node) = &recorded.origin {
            fleet::apply::heard(&mut self.fleet, node, recorded.at);
        }
        let result = match &recorded.event {
            Event::Unreadable { .. } => Err(Effectless::incident(UNREADABLE)),
            event if event.may_be_written_by(&recorded.origin) => {
                let watch = Watch::of(self, event);
                let done = self.apply_event(recorded);
                if let Some(watch) = watch {
                    watch.owe(self, recorded);
                }
                done
            }
            _ => Err(Effectless::incident("this origin may not write this type of event")),
        };
        match result {
            Ok(()) => {}
            Err(Effectless::Void(_)) => self.voids += 1,
            Err(Effectless::Incident(reason)) => self.incident(recorded, reason),
        }
    }

    /// Log size after the last event of a command, if it was answered already.
    pub fn command_position(&self, command_id: &str) -> Option<u64> {
        self.commands.get(command_id).copied()
    }

    /// SHA-256 of the canonical bytes: equal states, and only those, have equal hashes.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// The canonical bytes, for a snapshot.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads [`State::to_bytes`] of the same reducer. `None` if the bytes are anything else, down to the last one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (state, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        // Only the canonical form is a state: a set spelt in another order would hash differently.
        (rest.is_empty() && state.to_bytes() == bytes).then_some(state)
    }

    /// Attempts still to be made by running campaigns.
    pub fn waiting(&self) -> u32 {
        self.campaigns
            .values()
            .filter(|campaign| campaign.status == campaign::CampaignStatus::Running)
            .map(|campaign| campaign.counts.waiting)
            .sum()
    }

    /// What the fleet has cost and how long attempts have held slots, up to now.
    pub fn used(&self) -> Used {
        let slots_ms = self.campaigns.values().flat_map(|campaign| campaign.in_flight.values());
        let held = slots_ms.map(|attempt| self.at.saturating_sub(attempt.intended_at));
        Used {
            micro_usd: self.fleet.spent_micro_usd(self.at),
            slots_ms: held.fold(self.slots_ms, u64::saturating_add),
        }
    }

    /// Manifests the nodes must have: those of campaigns not ended.
    pub fn wanted_manifests(&self) -> BTreeSet<&String> {
        let going = self.campaigns.values().filter(|campaign| campaign.ended_at.is_none());
        going.map(|campaign| &campaign.manifest).collect()
    }

    /// Manifests that nodes must keep: those they must have, those of calls in flight, and those that a campaign had before
    /// while a node has not got its new ones.
    pub fn needed_manifests(&self) -> BTreeSet<&String> {
        let mut needed = self.wanted_manifests();
        for campaign in self.campaigns.values() {
            needed.extend(campaign.in_flight.values().map(|flight| &flight.manifest));
            let (now, before) = (&campaign.manifest, &campaign.manifest_before);
            let goes_on =
                |node: &fleet::Node| node.manifests.contains(before) && !node.manifests.contains(now);
            if campaign.ended_at.is_none() && self.fleet.existing().any(|(_, node)| goes_on(node)) {
                needed.insert(before);
            }
        }
        needed
    }

    fn apply_event(&mut self, recorded: &Recorded) -> Result<(), Effectless> {
        match &recorded.event {
            Event::LogCreated { fleet, fleet_key, .. } => {
                self.fleet_name.clone_from(fleet);
                self.log_tag = hex::encode(&fleet_key[..fleet_key.len().min(4)]);
                Ok(())
            }
            Event::LeaderElected { role, term, .. } => {
                self.terms.insert(role.clone(), *term);
                Ok(())
            }
            Event::Checkpoint { size, .. } => {
                self.checkpoint = self.checkpoint.max(*size);
                Ok(())
            }
            Event::FramesLost { origin, from, to, reason, .. } => {
                let text = format!("frames {from} to {to} of {origin} are lost: {reason}");
                self.incident(recorded, &text);
                Ok(())
            }
            Event::LogRepaired { holder, reason, set_aside, beyond, .. } => {
                self.repairs += 1;
                if *beyond > 0 {
                    let text = format!(
                        "{beyond} events of {holder} are not in the log: its copy is kept as {set_aside}; {reason}"
                    );
                    self.incident(recorded, &text);
                }
                Ok(())
            }
            Event::ArchiveBehind { hold, reason, .. } => {
                self.archive_hold = if *hold { reason.clone() } else { String::new() };
                Ok(())
            }
            Event::SegmentArchived { first, end, .. } => {
                if *first > self.archived {
                    return Err(Effectless::void("it does not follow what is archived"));
                }
                self.archived = self.archived.max(*end);
                Ok(())
            }
            Event::Continues { .. } | Event::StateHashed { .. } | Event::NodeLoad { .. } => Ok(()),
            Event::ManifestRetired { manifest, .. } => catalogue::retired(self, manifest),
            Event::FlowPublished { .. } | Event::ManifestPublished { .. } => {
                catalogue::apply(&mut self.catalogue, &recorded.event, recorded.at)
            }
            Event::RecordingMade { .. }
            | Event::RecordingStored { .. }
            | Event::RecordingLost { .. }
            | Event::RecordingsErased { .. }
            | Event::RecordingsKept { .. } => recording::apply(self, recorded),
            Event::TrunkSet { .. }
            | Event::TrunkRemoved { .. }
            | Event::TrunkHeld { .. }
            | Event::TrunkBreaker { .. }
            | Event::TrunkPaced { .. } => trunk::apply::apply(self, &recorded.event, recorded.at),
            Event::PacesSet { .. } => {
                paces::apply(&mut self.fleet, &recorded.event, self.in_flight);
                Ok(())
            }
            Event::WebhookSet { .. }
            | Event::WebhookDelivered { .. }
            | Event::WebhookGivenUp { .. }
            | Event::WebhookResent { .. } => webhook::apply(&mut self.webhook, &recorded.event, recorded.at),
            event if is_fleet(event) => {
                let orphaned = fleet::apply::apply(&mut self.fleet, recorded)?;
                campaign::apply::orphaned(self, &orphaned, recorded.at);
                if let Event::LogRefused { node, reason, .. } = event {
                    self.incident(recorded, &format!("{node} refuses the log: {reason}"));
                }
                Ok(())
            }
            Event::EmergencyStopped { .. } | Event::EmergencyResumed { .. } => {
                emergency::apply(self, recorded)
            }
            _ => campaign::apply::apply(self, recorded),
        }
    }

    fn incident(&mut self, recorded: &Recorded, reason: &str) {
        self.incidents += 1;
        if self.incident_list.len() == INCIDENTS_KEPT {
            self.incident_list.pop_front();
        }
        self.incident_list.push_back(Incident {
            sequence: recorded.sequence,
            origin: recorded.origin.to_string(),
            reason: reason.to_owned(),
        });
    }

    fn remember_command(&mut self, recorded: &Recorded) {
        if recorded.command_id.is_empty() || !matches!(recorded.origin, Origin::Role(_)) {
            return;
        }
        if self.commands.insert(recorded.command_id.clone(), self.size).is_none() {
            self.command_order.push_back(recorded.command_id.clone());
            if self.command_order.len() > COMMANDS_KEPT
                && let Some(oldest) = self.command_order.pop_front()
            {
                self.commands.remove(&oldest);
            }
        }
    }
}

fn is_fleet(event: &Event) -> bool {
    matches!(
        event,
        Event::OriginClosed { .. }
            | Event::LaunchIntended { .. }
            | Event::LaunchPlaced { .. }
            | Event::AddressPoolSet { .. }
            | Event::AddressIntended { .. }
            | Event::AddressAssociated { .. }
            | Event::AddressShown { .. }
            | Event::AddressReleased { .. }
            | Event::NodeLaunched { .. }
            | Event::LaunchFailed { .. }
            | Event::NodeAdmitted { .. }
            | Event::NodeReady { .. }
            | Event::NodeStopped { .. }
            | Event::NodeDraining { .. }
            | Event::NodeUndrained { .. }
            | Event::NodeEmpty { .. }
            | Event::LogRefused { .. }
            | Event::NodeUncovered { .. }
            | Event::NodeHolds { .. }
            | Event::NodeTerminating { .. }
            | Event::NodeTerminated { .. }
            | Event::NodeLost { .. }
            | Event::FleetPlanned { .. }
            | Event::PricesSet { .. }
            | Event::FleetStopRequested { .. }
            | Event::ManifestHeld { .. }
            | Event::ManifestDropped { .. }
    )
}

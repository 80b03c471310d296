//! Who may write which event.

use asterism_proto::{Origin, Role};

use super::Event;

impl Event {
    /// Whether this origin's class may write this type of event, and a node only about itself. That an attempt is
    /// the node's own is checked where the attempt is known.
    pub fn may_be_written_by(&self, origin: &Origin) -> bool {
        match self {
            Event::LogCreated { .. } => *origin == Origin::Role(Role::Fleet),
            Event::LeaderElected { role, .. } => {
                matches!(origin, Origin::Role(writer) if writer.name() == role)
            }
            Event::OriginClosed { origin: closed, .. } => {
                *origin == Origin::Role(Role::Scaler) || *closed == origin.to_string()
            }
            Event::Checkpoint { .. }
            | Event::Continues { .. }
            | Event::FramesLost { .. }
            | Event::SegmentArchived { .. }
            | Event::ArchiveBehind { .. } => *origin == Origin::Role(Role::Ledger),
            Event::StateHashed { .. } => matches!(origin, Origin::Role(_)),
            Event::LogRepaired { .. } => matches!(origin, Origin::Role(_) | Origin::Proc(..)),
            Event::NodeAdmitted { .. }
            | Event::LaunchIntended { .. }
            | Event::LaunchPlaced { .. }
            | Event::AddressPoolSet { .. }
            | Event::AddressIntended { .. }
            | Event::AddressAssociated { .. }
            | Event::AddressShown { .. }
            | Event::AddressReleased { .. }
            | Event::NodeLaunched { .. }
            | Event::LaunchFailed { .. }
            | Event::NodeDraining { .. }
            | Event::NodeUndrained { .. }
            | Event::NodeTerminating { .. }
            | Event::NodeTerminated { .. }
            | Event::NodeLost { .. }
            | Event::FleetPlanned { .. }
            | Event::PricesSet { .. }
            | Event::FleetStopRequested { .. } => *origin == Origin::Role(Role::Scaler),
            Event::CampaignCreated { .. }
            | Event::CampaignChanged { .. }
            | Event::ContactsImported { .. }
            | Event::ContactsExcluded { .. }
            | Event::ContactsDeferred { .. }
            | Event::ContactsReopened { .. }
            | Event::DoNotCallAdded { .. }
            | Event::DoNotCallRemoved { .. }
            | Event::CampaignStarted { .. }
            | Event::CampaignPaused { .. }
            | Event::CampaignResumed { .. }
            | Event::CampaignStopped { .. }
            | Event::CampaignCompleted { .. }
            | Event::CampaignBudgetReached { .. }
            | Event::CampaignLive { .. }
            | Event::ContactsErased { .. }
            | Event::EmergencyStopped { .. }
            | Event::EmergencyResumed { .. }
            | Event::AttemptIntended { .. }
            | Event::TrunkSet { .. }
            | Event::TrunkRemoved { .. }
            | Event::TrunkBreaker { .. }
            | Event::TrunkPaced { .. }
            | Event::PacesSet { .. }
            | Event::WebhookSet { .. }
            | Event::WebhookDelivered { .. }
            | Event::WebhookGivenUp { .. }
            | Event::WebhookResent { .. } => *origin == Origin::Role(Role::Dialer),
            Event::FlowPublished { .. }
            | Event::ManifestPublished { .. }
            | Event::ManifestRetired { .. }
            | Event::RecordingStored { .. }
            | Event::RecordingsErased { .. }
            | Event::RecordingsKept { .. } => *origin == Origin::Role(Role::MediaSync),
            // The node whose file is not there; media-sync for a node that is gone.
            Event::RecordingLost { node, .. } => {
                *origin == Origin::Role(Role::MediaSync)
                    || matches!(origin, Origin::Node(writer) if writer == node)
            }
            Event::StepDecided { .. } | Event::LogicFailed { .. } => {
                matches!(origin, Origin::Proc(Role::LogicResponder, _))
            }
            Event::NodeReady { node, .. }
            | Event::NodeStopped { node, .. }
            | Event::NodeLoad { node, .. }
            | Event::NodeEmpty { node, .. }
            | Event::LogRefused { node, .. }
            | Event::NodeUncovered { node, .. }
            | Event::NodeHolds { node, .. }
            | Event::ManifestHeld { node, .. }
            | Event::ManifestDropped { node, .. }
            | Event::RecordingMade { node, .. }
            | Event::TrunkHeld { node, .. } => {
                matches!(origin, Origin::Node(writer) if writer == node)
            }
            Event::AttemptAccepted { .. }
            | Event::AttemptRefused { .. }
            | Event::AttemptOriginating { .. }
            | Event::AttemptAnswered { .. }
            | Event::MachineJudged { .. }
            | Event::BridgeEnded { .. }
            | Event::AttemptEnded { .. }
            | Event::AttemptUncertain { .. }
            | Event::StepTaken { .. } => matches!(origin, Origin::Node(_)),
            Event::Unreadable { .. } => false,
        }
    }
}

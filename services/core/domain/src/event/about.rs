//! What an event is about.

use super::Event;
use crate::ids::{AttemptId, CampaignId, NodeId};

impl Event {
    /// The attempt the event is about.
    pub fn attempt(&self) -> Option<&AttemptId> {
        match self {
            Event::AttemptIntended { attempt, .. }
            | Event::AttemptAccepted { attempt, .. }
            | Event::AttemptRefused { attempt, .. }
            | Event::AttemptOriginating { attempt, .. }
            | Event::AttemptAnswered { attempt }
            | Event::MachineJudged { attempt, .. }
            | Event::BridgeEnded { attempt, .. }
            | Event::AttemptEnded { attempt, .. }
            | Event::AttemptUncertain { attempt, .. } => Some(attempt),
            Event::StepDecided { call, .. }
            | Event::LogicFailed { call, .. }
            | Event::RecordingMade { call, .. }
            | Event::RecordingStored { call, .. }
            | Event::RecordingLost { call, .. }
            | Event::StepTaken { call, .. } => Some(call),
            _ => None,
        }
    }

    /// The campaign the event is about.
    pub fn campaign(&self) -> Option<&CampaignId> {
        match self {
            Event::CampaignCreated { campaign, .. }
            | Event::CampaignChanged { campaign, .. }
            | Event::ContactsImported { campaign, .. }
            | Event::ContactsExcluded { campaign, .. }
            | Event::ContactsDeferred { campaign, .. }
            | Event::ContactsReopened { campaign, .. }
            | Event::CampaignStarted { campaign }
            | Event::CampaignPaused { campaign, .. }
            | Event::CampaignResumed { campaign }
            | Event::CampaignStopped { campaign, .. }
            | Event::CampaignCompleted { campaign }
            | Event::CampaignBudgetReached { campaign, .. }
            | Event::CampaignLive { campaign, .. }
            | Event::RecordingsKept { campaign, .. } => Some(campaign),
            other => other.attempt().map(|attempt| &attempt.campaign),
        }
    }

    /// The node the event names.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Event::NodeAdmitted { node, .. }
            | Event::NodeLaunched { node, .. }
            | Event::NodeReady { node, .. }
            | Event::NodeStopped { node, .. }
            | Event::NodeLoad { node, .. }
            | Event::NodeDraining { node, .. }
            | Event::NodeUndrained { node, .. }
            | Event::NodeEmpty { node, .. }
            | Event::LogRefused { node, .. }
            | Event::NodeUncovered { node, .. }
            | Event::NodeHolds { node, .. }
            | Event::NodeTerminating { node, .. }
            | Event::NodeTerminated { node, .. }
            | Event::NodeLost { node, .. }
            | Event::AttemptIntended { node, .. }
            | Event::ManifestHeld { node, .. }
            | Event::ManifestDropped { node, .. }
            | Event::RecordingMade { node, .. }
            | Event::RecordingStored { node, .. }
            | Event::RecordingLost { node, .. }
            | Event::TrunkHeld { node, .. } => Some(node),
            _ => None,
        }
    }
}

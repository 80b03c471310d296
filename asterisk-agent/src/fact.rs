//! Facts: the events this node writes. Each is synced here before it is published.

use asterism_proto::v1::{self, EventType};
use prost::Message;

/// One event of this node, before it is encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What happened.
    pub body: Body,
    /// The campaign it belongs to; empty for facts of the node.
    pub campaign: String,
}

/// The bodies a node may write.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The attempt is in this node's custody.
    Accepted(v1::AttemptAccepted),
    /// The attempt never rang.
    Refused(v1::AttemptRefused),
    /// The originate is about to be sent.
    Originating(v1::AttemptOriginating),
    /// Someone picked up.
    Answered(v1::AttemptAnswered),
    /// What the PBX made of who answered.
    MachineJudged(v1::MachineJudged),
    /// The second leg of a call ended.
    BridgeEnded(v1::BridgeEnded),
    /// The attempt ended.
    Ended(v1::AttemptEnded),
    /// Nobody can tell how it ended.
    Uncertain(v1::AttemptUncertain),
    /// A reply took effect in a call.
    StepTaken(v1::StepTaken),
    /// The node can dial.
    NodeReady(v1::NodeReady),
    /// The PBX is gone.
    NodeStopped(v1::NodeStopped),
    /// Its load, every 10 s and on change.
    NodeLoad(v1::NodeLoad),
    /// Drained, and a checkpoint covers all it had to say.
    NodeEmpty(v1::NodeEmpty),
    /// Drained, and no checkpoint that is believed covers all it had to say.
    NodeUncovered(v1::NodeUncovered),
    /// What it holds, since frames of it are lost.
    NodeHolds(v1::NodeHolds),
    /// Two histories under the log's key.
    LogRefused(v1::LogRefused),
    /// A manifest is on disk and verified.
    ManifestHeld(v1::ManifestHeld),
    /// A manifest is needed no longer; its files go behind this.
    ManifestDropped(v1::ManifestDropped),
    /// The PBX has a trunk.
    TrunkHeld(v1::TrunkHeld),
    /// A step recorded something, and its file is synced.
    RecordingMade(v1::RecordingMade),
    /// Nobody will ever have what it recorded.
    RecordingLost(v1::RecordingLost),
}

impl Fact {
    /// A fact about an attempt of a campaign.
    pub fn of_campaign(campaign: &str, body: Body) -> Self {
        Self { body, campaign: campaign.to_owned() }
    }

    /// A fact about the node.
    pub fn of_node(body: Body) -> Self {
        Self { body, campaign: String::new() }
    }

    /// The attempt it is about, empty for facts of the node.
    pub fn attempt(&self) -> &str {
        match &self.body {
            Body::Accepted(b) => &b.attempt,
            Body::Refused(b) => &b.attempt,
            Body::Originating(b) => &b.attempt,
            Body::Answered(b) => &b.attempt,
            Body::MachineJudged(b) => &b.attempt,
            Body::BridgeEnded(b) => &b.attempt,
            Body::Ended(b) => &b.attempt,
            Body::Uncertain(b) => &b.attempt,
            Body::StepTaken(b) => &b.call,
            Body::RecordingMade(b) => &b.call,
            Body::RecordingLost(b) => &b.call,
            Body::NodeReady(_)
            | Body::NodeStopped(_)
            | Body::NodeLoad(_)
            | Body::NodeEmpty(_)
            | Body::NodeUncovered(_)
            | Body::NodeHolds(_)
            | Body::LogRefused(_)
            | Body::ManifestHeld(_)
            | Body::ManifestDropped(_)
            | Body::TrunkHeld(_) => "",
        }
    }

    /// Whether nobody waits for it: a drain is complete without it.
    pub fn is_routine(&self) -> bool {
        matches!(self.body, Body::NodeLoad(_))
    }

    fn kind_and_body(&self) -> (EventType, Vec<u8>) {
        match &self.body {
            Body::Accepted(b) => (EventType::AttemptAccepted, b.encode_to_vec()),
            Body::Refused(b) => (EventType::AttemptRefused, b.encode_to_vec()),
            Body::Originating(b) => (EventType::AttemptOriginating, b.encode_to_vec()),
            Body::Answered(b) => (EventType::AttemptAnswered, b.encode_to_vec()),
            Body::MachineJudged(b) => (EventType::MachineJudged, b.encode_to_vec()),
            Body::BridgeEnded(b) => (EventType::BridgeEnded, b.encode_to_vec()),
            Body::Ended(b) => (EventType::AttemptEnded, b.encode_to_vec()),
            Body::Uncertain(b) => (EventType::AttemptUncertain, b.encode_to_vec()),
            Body::StepTaken(b) => (EventType::StepTaken, b.encode_to_vec()),
            Body::NodeReady(b) => (EventType::NodeReady, b.encode_to_vec()),
            Body::NodeStopped(b) => (EventType::NodeStopped, b.encode_to_vec()),
            Body::NodeLoad(b) => (EventType::NodeLoad, b.encode_to_vec()),
            Body::NodeEmpty(b) => (EventType::NodeEmpty, b.encode_to_vec()),
            Body::NodeHolds(b) => (EventType::NodeHolds, b.encode_to_vec()),
            Body::NodeUncovered(b) => (EventType::NodeUncovered, b.encode_to_vec()),
            Body::LogRefused(b) => (EventType::LogRefused, b.encode_to_vec()),
            Body::ManifestHeld(b) => (EventType::ManifestHeld, b.encode_to_vec()),
            Body::ManifestDropped(b) => (EventType::ManifestDropped, b.encode_to_vec()),
            Body::TrunkHeld(b) => (EventType::TrunkHeld, b.encode_to_vec()),
            Body::RecordingMade(b) => (EventType::RecordingMade, b.encode_to_vec()),
            Body::RecordingLost(b) => (EventType::RecordingLost, b.encode_to_vec()),
        }
    }

    /// The encoded event, as it goes into a frame.
    pub fn encode(&self, node: &str, at_ms: u64) -> Vec<u8> {
        let (kind, body) = self.kind_and_body();
        let decision = match &self.body {
            Body::StepTaken(taken) => taken.decision.clone(),
            _ => None,
        };
        v1::Event {
            r#type: kind as u32,
            schema: 1,
            occurred_at_ms: at_ms,
            causation: decision.map(|d| v1::EventId {
                origin: d.origin,
                epoch: d.epoch,
                frame: d.frame,
                index: d.index,
            }),
            correlation: self.attempt().to_owned(),
            campaign: self.campaign.clone(),
            node: node.to_owned(),
            body,
            ..v1::Event::default()
        }
        .encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_step_taken_names_the_decision_as_its_cause() {
        let taken = v1::StepTaken {
            call: "a-1".into(),
            step: 2,
            decision: Some(v1::EventRef {
                origin: "proc/logic-responder-x".into(),
                epoch: vec![1; 16],
                frame: 7,
                index: 3,
            }),
            ..v1::StepTaken::default()
        };
        let event =
            v1::Event::decode(Fact::of_campaign("c", Body::StepTaken(taken)).encode("i-1", 5).as_slice())
                .unwrap();
        assert_eq!(event.r#type, EventType::StepTaken as u32);
        assert_eq!(
            (event.correlation.as_str(), event.campaign.as_str(), event.node.as_str()),
            ("a-1", "c", "i-1")
        );
        let cause = event.causation.unwrap();
        assert_eq!((cause.origin.as_str(), cause.frame, cause.index), ("proc/logic-responder-x", 7, 3));
    }
}

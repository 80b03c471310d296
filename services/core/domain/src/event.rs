//! Every event there is, as the domain sees it, and who may write it.

mod about;
mod parts;
mod writers;

pub use parts::{EventRef, Recorded, SealedContact, StepSource};

use crate::fleet::{FleetLimits, PriceLine};
use crate::ids::{
    AttemptId, CampaignId, ContactId, IntentId, Listened, NodeId, NumberHash, Outcome, Timestamp,
};
use crate::recording::RecordingId;
use crate::rules::{CampaignRules, Exclusion};
use crate::trunk::TrunkSettings;
use crate::trunk::health::{BreakerState, Heard};
use crate::wire::DecodeError;

/// What happened or was decided. Field meanings are those of `proto/asterism/v1/*.proto`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
#[rustfmt::skip] // a table: one line an event
pub enum Event {
    LogCreated { fleet: String, fleet_key: Vec<u8>, created_at_ms: u64 },
    NodeAdmitted { node: NodeId, public_key: Vec<u8>, epoch: Vec<u8>, intent: IntentId },
    OriginClosed { origin: String, reason: String },
    LeaderElected { role: String, term: u64, holder: String },
    Checkpoint { size: u64, root: Vec<u8> },
    Continues { size: u64, root: Vec<u8> },
    StateHashed { size: u64, hash: Vec<u8>, reducer: String },
    FramesLost { origin: String, epoch: Vec<u8>, from: u64, to: u64, reason: String },
    LogRepaired {
        holder: String, reason: String, kept: u64, promised: u64, set_aside: String, refilled_from: String, size: u64,
        beyond: u64,
    },
    SegmentArchived { first: u64, end: u64, object: String, sha256: Vec<u8>, size_bytes: u64, root: Vec<u8> },
    ArchiveBehind { hold: bool, reason: String, events: u64, age_ms: u64, bytes: u64, max_age_ms: u64, max_bytes: u64 },

    LaunchIntended { intent: IntentId, reason: String, instance_type: String },
    LaunchPlaced {
        group: String, intents: Vec<IntentId>, instance_type: String, subnet: String, market: String, reason: String,
    },
    AddressPoolSet { pool: String, addresses: Vec<String> },
    AddressIntended { node: NodeId, address: String, pool: String },
    AddressAssociated { node: NodeId, address: String },
    AddressShown { node: NodeId, address: String },
    AddressReleased { node: NodeId, address: String },
    NodeLaunched { intent: IntentId, node: NodeId },
    LaunchFailed { intent: IntentId, code: String, reason: String, r#final: bool },
    NodeReady { node: NodeId, capacity: u32, pbx: String, boot_id: String },
    NodeStopped { node: NodeId, reason: String },
    NodeLoad { node: NodeId, ringing: u32, up: u32, free_slots: u32, cpu_permille: u32 },
    NodeDraining { node: NodeId, reason: String, drain: u64, held: bool },
    NodeUndrained { node: NodeId, reason: String },
    NodeEmpty { node: NodeId, drain: u64 },
    LogRefused { node: NodeId, reason: String, size: u64, root: Vec<u8>, shown_size: u64, shown_root: Vec<u8> },
    NodeHolds { node: NodeId, attempts: Vec<AttemptId>, after: String, until: String },
    NodeUncovered { node: NodeId, drain: u64, from: u64, to: u64 },
    NodeTerminating {
        node: NodeId, reason: String, cuts: Vec<AttemptId>, silent_since_ms: Timestamp, uncovered_from: u64,
        uncovered_to: u64,
    },
    NodeTerminated { node: NodeId, reason: String },
    NodeLost { node: NodeId, reason: String },
    FleetPlanned {
        waiting: u32, in_flight: u32, nodes_up: u32, nodes_booting: u32, nodes_wanted: u32, nodes_draining: u32,
        reason: String, nodes_stale: u32, nodes_lost: u32, budget_micro_usd: u64, limits: Option<FleetLimits>,
    },
    PricesSet { book: String, region: String, source: String, prices: Vec<PriceLine>, reason: String },
    FleetStopRequested { reason: String },

    CampaignCreated {
        campaign: CampaignId, name: String, flow: String, manifest: String, trunk: String, max_channels: u32,
        calls_per_second: u32, ring_timeout_ms: u32, max_attempts: u32, caller_id: String, live: bool,
        allowed_hashes: Vec<Vec<u8>>, rules: Option<CampaignRules>, trunks: Vec<String>, caller_ids: Vec<String>,
    },
    CampaignChanged {
        campaign: CampaignId, max_channels: u32, calls_per_second: u32, ring_timeout_ms: u32, max_attempts: u32,
        caller_id: String, rules: Option<CampaignRules>, reason: String, caller_ids: Vec<String>, trunks: Vec<String>,
        manifest: String,
    },
    ContactsImported {
        campaign: CampaignId, import: String, contacts: Vec<SealedContact>, duplicates: u32, last: bool,
        zones: Vec<String>, skip_known: Vec<String>, known: u32,
    },
    CampaignBudgetReached { campaign: CampaignId, answered: u32, talk_ms: u64, cost_micro: u64, reason: String },
    ContactsExcluded { campaign: CampaignId, contacts: Vec<ContactId>, rule: Exclusion, detail: String },
    ContactsDeferred { campaign: CampaignId, contacts: Vec<ContactId>, until_ms: Timestamp, rule: String },
    ContactsReopened { campaign: CampaignId, contacts: Vec<ContactId>, reason: String },
    DoNotCallAdded { list: String, numbers: Vec<NumberHash>, prefixes: Vec<String>, reason: String },
    DoNotCallRemoved { list: String, numbers: Vec<NumberHash>, prefixes: Vec<String>, reason: String },
    CampaignStarted { campaign: CampaignId },
    CampaignPaused { campaign: CampaignId, reason: String },
    CampaignResumed { campaign: CampaignId },
    CampaignStopped { campaign: CampaignId, reason: String },
    CampaignCompleted { campaign: CampaignId },
    CampaignLive { campaign: CampaignId, reason: String },
    EmergencyStopped { reason: String, cancel_ringing: bool, cut_calls: bool },
    EmergencyResumed { reason: String },
    ContactsErased { import: String, contacts: Vec<NumberHash>, reason: String },

    AttemptIntended {
        attempt: AttemptId, node: NodeId, trunk: String, not_before_ms: Timestamp, not_after_ms: Timestamp,
        reason: String, closes_at_ms: Timestamp, caller_id: String, manifest: String,
    },
    AttemptAccepted { attempt: AttemptId, order_term: u64 },
    AttemptRefused { attempt: AttemptId, reason: String },
    AttemptOriginating { attempt: AttemptId, boot_id: String },
    AttemptAnswered { attempt: AttemptId },
    MachineJudged { attempt: AttemptId, verdict: Listened, cause: String, took_ms: u32 },
    BridgeEnded { attempt: AttemptId, step: u32, status: String, cause: u32, ring_ms: u32, talk_ms: u32 },
    AttemptEnded {
        attempt: AttemptId, outcome: Outcome, cause: u32, reason: u32, ring_ms: u32, talk_ms: u32, digits: String,
        path: String, never_rang: bool, sip_status: u32, heard: Heard,
    },
    AttemptUncertain { attempt: AttemptId, reason: String },

    StepDecided {
        call: AttemptId, step: u32, flow: String, state: String, next_state: String, reply: String, input: String,
        tags: Vec<String>,
    },
    LogicFailed { call: AttemptId, step: u32, flow: String, code: String, reason: String, elapsed_ms: u64 },
    StepTaken {
        call: AttemptId, step: u32, reply: String, source: StepSource, decision: Option<EventRef>, input: String,
        reason: String, tags: Vec<String>,
    },

    FlowPublished { flow: String, name: String, object: String, sha256: Vec<u8>, bridges: bool },
    ManifestPublished {
        manifest: String, name: String, object: String, sha256: Vec<u8>, prompts: u32, size_bytes: u64,
    },
    ManifestHeld { node: NodeId, manifest: String },
    ManifestRetired { manifest: String, reason: String },
    ManifestDropped { node: NodeId, manifest: String },
    RecordingMade { node: NodeId, call: AttemptId, step: u32, sha256: Vec<u8>, size_bytes: u64, duration_ms: u32 },
    RecordingStored { node: NodeId, call: AttemptId, step: u32, object: String, sha256: Vec<u8>, size_bytes: u64 },
    RecordingLost { node: NodeId, call: AttemptId, step: u32, reason: String },
    RecordingsErased { recordings: Vec<RecordingId>, reason: String },
    RecordingsKept { campaign: CampaignId, days: u32, reason: String },

    TrunkSet { trunk: String, settings: TrunkSettings, configured: bool, reason: String },
    TrunkRemoved { trunk: String, reason: String },
    TrunkHeld { node: NodeId, trunk: String, revision: String },
    TrunkBreaker {
        trunk: String, state: BreakerState, until_ms: Timestamp, ends: u32, trouble: u32, causes: Vec<String>,
        reason: String,
    },
    PacesSet { calls_per_second: u32, node_calls_per_second: u32, max_channels: u32, reason: String },
    TrunkPaced { trunk: String, per_1000_s: u32, before_per_1000_s: u32, ends: u32, rejected: u32, reason: String },

    WebhookSet { endpoint: String, kinds: Vec<u32>, reason: String },
    WebhookDelivered { notices: Vec<u64> },
    WebhookGivenUp { notices: Vec<u64>, tries: u32, reason: String },

    WebhookResent { notices: Vec<u64>, reason: String },

    /// Bytes in the log that are no event, or none of a node's that is known here: never written, only read
    /// ([`crate::wire::recorded`]). It has no effect and is an incident.
    Unreadable { why: DecodeError },
}

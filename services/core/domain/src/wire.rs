//! The one place that converts between domain events and prost types.
//!
//! A table names each event type with its number, schema version and fields; the fields convert by [`Field`].

mod error;

pub use error::DecodeError;

use asterism_proto::v1::{self, EventType};
use prost::Message;

use crate::event::{Event, EventRef, Recorded, SealedContact, StepSource};
use crate::fleet::FleetLimits;
use crate::ids::{AttemptId, NumberHash, Outcome, Timestamp};
use crate::rules::{CampaignRules, Exclusion};
use crate::{outcome, upcast};

/// What the event envelope carries beside the event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The origin's own clock.
    pub occurred_at_ms: Timestamp,
    /// The event that caused this one.
    pub causation: Option<EventRef>,
    /// The command answered.
    pub command_id: String,
    /// Who asked.
    pub actor: String,
    /// W3C trace context, binary.
    pub traceparent: Vec<u8>,
}

/// The end of an attempt with the outcome that its raw codes mean, where the node left that open; `None` where it did not,
/// as nodes did once.
fn outcome_named(body: &[u8]) -> Option<Vec<u8>> {
    let mut ended = v1::AttemptEnded::decode(body).ok().filter(|ended| ended.outcome == 0)?;
    ended.outcome = outcome::of(ended.reason, ended.cause, ended.sip_status).number();
    Some(ended.encode_to_vec())
}

/// Reads an event's bytes.
pub fn decode_bytes(bytes: &[u8]) -> Result<(v1::Event, Event), DecodeError> {
    let wire = v1::Event::decode(bytes).map_err(|_| DecodeError::Envelope)?;
    let event = decode(&wire)?;
    Ok((wire, event))
}

/// Wraps an encoded body in an envelope.
pub fn envelope(event_type: EventType, body: Vec<u8>, meta: &Envelope) -> v1::Event {
    v1::Event {
        r#type: event_type as u32,
        schema: upcast::newest(upcast::STEPS, event_type),
        occurred_at_ms: meta.occurred_at_ms,
        causation: meta.causation.as_ref().map(|id| v1::EventId {
            origin: id.origin.clone(),
            epoch: id.epoch.clone(),
            frame: id.frame,
            index: id.index,
        }),
        command_id: meta.command_id.clone(),
        actor: meta.actor.clone(),
        traceparent: meta.traceparent.clone(),
        body,
        ..v1::Event::default()
    }
}

/// Encodes an event with its envelope; correlation, campaign and node are filled from the event.
pub fn encode(event: &Event, meta: &Envelope) -> Vec<u8> {
    let (event_type, body) = encode_body(event);
    let mut wire = envelope(event_type, body, meta);
    wire.correlation = event.attempt().map(ToString::to_string).unwrap_or_default();
    wire.campaign = event.campaign().cloned().unwrap_or_default();
    wire.node = event.node().cloned().unwrap_or_default();
    wire.encode_to_vec()
}

/// One event of an accepted frame, as the reducers read it: [`Event::Unreadable`] where it cannot be read and that stops
/// nobody.
///
/// # Errors
/// What [stops](DecodeError::stops) a reducer.
pub fn recorded(
    frame: &asterism_proto::OpenFrame,
    index: u32,
    sequence: u64,
    at: Timestamp,
) -> Result<Recorded, DecodeError> {
    let bytes = frame.events.get(index as usize).unwrap_or_default();
    let wire = v1::Event::decode(bytes);
    let event = match wire.as_ref().map_err(|_| DecodeError::Envelope).and_then(decode) {
        Ok(event) => event,
        Err(why) if why.stops(&frame.origin) => return Err(why),
        Err(why) => Event::Unreadable { why },
    };
    let wire = wire.unwrap_or_default();
    let id = EventRef {
        origin: frame.header.origin.clone(),
        epoch: frame.header.epoch.clone(),
        frame: frame.header.number,
        index,
    };
    Ok(Recorded {
        sequence,
        at,
        origin: frame.origin.clone(),
        id,
        term: frame.header.term,
        command_id: wire.command_id,
        actor: wire.actor,
        event,
    })
}

/// No campaign's id: erasures are filed as if they were about contact 0 of it ([`contacts_of`]).
pub const ERASURES: &str = "#erasures";

/// The contacts an event is about, as campaign and number: that of its attempt, or those it imports, excludes or defers. An
/// erasure names keyed hashes and is about none of them: it stands under [`ERASURES`], so that whoever looks for a contact
/// finds it.
pub fn contacts_of(event: &v1::Event, each: &mut dyn FnMut(&str, u64)) {
    if let Ok(attempt) = event.correlation.parse::<AttemptId>() {
        each(&attempt.campaign, attempt.contact.into());
    }
    if event.r#type == EventType::ContactsErased as u32 {
        each(ERASURES, 0);
    }
    let named = [
        EventType::ContactsImported,
        EventType::ContactsExcluded,
        EventType::ContactsDeferred,
        EventType::ContactsReopened,
    ];
    if !named.into_iter().any(|kind| event.r#type == kind as u32) {
        return;
    }
    match decode(event) {
        Ok(Event::ContactsImported { campaign, contacts, .. }) => {
            for row in contacts {
                each(&campaign, row.contact.into());
            }
        }
        Ok(
            Event::ContactsExcluded { campaign, contacts, .. }
            | Event::ContactsDeferred { campaign, contacts, .. }
            | Event::ContactsReopened { campaign, contacts, .. },
        ) => {
            for contact in contacts {
                each(&campaign, contact.into());
            }
        }
        _ => {}
    }
}

/// How one field looks on the wire.
pub(crate) trait Field<W>: Sized {
    fn put(&self) -> W;
    fn take(wire: W) -> Result<Self, &'static str>;
}

macro_rules! same {
    ($($type:ty),*) => { $(
        impl Field<$type> for $type {
            fn put(&self) -> $type { self.clone() }
            fn take(wire: $type) -> Result<Self, &'static str> { Ok(wire) }
        }
    )* };
}
same!(String, u32, u64, bool, Vec<u8>, Vec<Vec<u8>>, Vec<u32>, Vec<u64>, Vec<String>);

impl Field<String> for AttemptId {
    fn put(&self) -> String {
        self.to_string()
    }
    fn take(wire: String) -> Result<Self, &'static str> {
        wire.parse().map_err(|_| "attempt id")
    }
}

impl Field<Vec<String>> for Vec<AttemptId> {
    fn put(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
    fn take(wire: Vec<String>) -> Result<Self, &'static str> {
        wire.iter().map(|id| id.parse().map_err(|_| "attempt id")).collect()
    }
}

impl Field<u32> for Outcome {
    fn put(&self) -> u32 {
        self.number()
    }
    fn take(wire: u32) -> Result<Self, &'static str> {
        Outcome::from_number(wire).ok_or("outcome")
    }
}

impl Field<u32> for Exclusion {
    fn put(&self) -> u32 {
        self.number()
    }
    fn take(wire: u32) -> Result<Self, &'static str> {
        Exclusion::from_number(wire).ok_or("exclusion rule")
    }
}

impl Field<Option<v1::CampaignRules>> for Option<CampaignRules> {
    fn put(&self) -> Option<v1::CampaignRules> {
        self.as_ref().map(Into::into)
    }
    fn take(wire: Option<v1::CampaignRules>) -> Result<Self, &'static str> {
        wire.map(TryInto::try_into).transpose()
    }
}

impl Field<Option<v1::FleetLimits>> for Option<FleetLimits> {
    fn put(&self) -> Option<v1::FleetLimits> {
        self.map(|limits| v1::FleetLimits {
            max_nodes: limits.max_nodes,
            launches_per_minute: limits.launches_per_minute,
            budget_micro_usd: limits.budget_micro_usd,
            price_micro_usd_per_hour: limits.price_micro_usd_per_hour,
            max_micro_usd_per_hour: limits.max_micro_usd_per_hour,
        })
    }
    fn take(wire: Option<v1::FleetLimits>) -> Result<Self, &'static str> {
        Ok(wire.map(|limits| FleetLimits {
            max_nodes: limits.max_nodes,
            launches_per_minute: limits.launches_per_minute,
            budget_micro_usd: limits.budget_micro_usd,
            price_micro_usd_per_hour: limits.price_micro_usd_per_hour,
            max_micro_usd_per_hour: limits.max_micro_usd_per_hour,
        }))
    }
}

impl Field<u32> for StepSource {
    fn put(&self) -> u32 {
        match self {
            StepSource::Responder => 1,
            StepSource::Fallback => 2,
            StepSource::Repeated => 3,
        }
    }
    fn take(wire: u32) -> Result<Self, &'static str> {
        match wire {
            1 => Ok(StepSource::Responder),
            2 => Ok(StepSource::Fallback),
            3 => Ok(StepSource::Repeated),
            _ => Err("step source"),
        }
    }
}

impl Field<Option<v1::EventRef>> for Option<EventRef> {
    fn put(&self) -> Option<v1::EventRef> {
        self.as_ref().map(|id| v1::EventRef {
            origin: id.origin.clone(),
            epoch: id.epoch.clone(),
            frame: id.frame,
            index: id.index,
        })
    }
    fn take(wire: Option<v1::EventRef>) -> Result<Self, &'static str> {
        Ok(wire.map(|id| EventRef { origin: id.origin, epoch: id.epoch, frame: id.frame, index: id.index }))
    }
}

impl Field<Vec<v1::SealedContact>> for Vec<SealedContact> {
    fn put(&self) -> Vec<v1::SealedContact> {
        self.iter()
            .map(|contact| v1::SealedContact {
                contact: contact.contact,
                number_hash: contact.number_hash.to_vec(),
                sealed: contact.sealed.clone(),
                zone: contact.zone,
                consent: contact.consent,
            })
            .collect()
    }
    fn take(wire: Vec<v1::SealedContact>) -> Result<Self, &'static str> {
        wire.into_iter()
            .map(|contact| {
                Ok(SealedContact {
                    contact: contact.contact,
                    number_hash: contact.number_hash.try_into().map_err(|_| "number hash")?,
                    sealed: contact.sealed,
                    zone: contact.zone,
                    consent: contact.consent,
                })
            })
            .collect()
    }
}

impl Field<Vec<Vec<u8>>> for Vec<NumberHash> {
    fn put(&self) -> Vec<Vec<u8>> {
        self.iter().map(|hash| hash.to_vec()).collect()
    }
    fn take(wire: Vec<Vec<u8>>) -> Result<Self, &'static str> {
        wire.into_iter().map(|hash| hash.try_into().map_err(|_| "number hash")).collect()
    }
}

/// The table: domain variant, wire number, and each field as `domain field = wire field`.
macro_rules! events {
    ($( $variant:ident $kind:ident { $($field:ident),* } )*) => {
        fn encode_body(event: &Event) -> (EventType, Vec<u8>) {
            match event {
                $( Event::$variant { $($field),* } => {
                    #[allow(clippy::needless_update)]
                    let body = v1::$variant { $( $field: Field::put($field), )* ..Default::default() };
                    (EventType::$kind, body.encode_to_vec())
                } )*
                Event::AttemptIntended {
                    attempt, node, trunk, not_before_ms, not_after_ms, reason, closes_at_ms, caller_id, manifest
                } => {
                    let body = v1::AttemptIntended {
                        attempt: attempt.to_string(),
                        campaign: attempt.campaign.clone(),
                        contact: attempt.contact,
                        ordinal: attempt.ordinal,
                        node: node.clone(),
                        trunk: trunk.clone(),
                        not_before_ms: *not_before_ms,
                        not_after_ms: *not_after_ms,
                        reason: reason.clone(),
                        closes_at_ms: *closes_at_ms,
                        caller_id: caller_id.clone(),
                        manifest: manifest.clone(),
                    };
                    (EventType::AttemptIntended, body.encode_to_vec())
                }
                // Nobody writes one; written, it would be as unreadable.
                Event::Unreadable { .. } => (EventType::Unspecified, Vec::new()),
            }
        }

        /// Reads the body of an event.
        pub fn decode(wire: &v1::Event) -> Result<Event, DecodeError> {
            let number = wire.r#type;
            let kind = i32::try_from(number)
                .ok()
                .and_then(|number| EventType::try_from(number).ok())
                .ok_or(DecodeError::UnknownType(number))?;
            let body = upcast::raise(upcast::STEPS, kind, wire.schema, &wire.body)?;
            let named = if kind == EventType::AttemptEnded { outcome_named(&body) } else { None };
            let body: &[u8] = named.as_deref().unwrap_or(&body);
            match kind {
                $( EventType::$kind => {
                    let body = v1::$variant::decode(body)
                        .map_err(|_| DecodeError::Body(number))?;
                    Ok(Event::$variant {
                        $( $field: Field::take(body.$field)
                            .map_err(|what| DecodeError::Field(number, what))?, )*
                    })
                } )*
                EventType::AttemptIntended => {
                    let body = v1::AttemptIntended::decode(body)
                        .map_err(|_| DecodeError::Body(number))?;
                    Ok(Event::AttemptIntended {
                        attempt: body.attempt.parse().map_err(|_| DecodeError::Field(number, "attempt id"))?,
                        node: body.node,
                        trunk: body.trunk,
                        not_before_ms: body.not_before_ms,
                        not_after_ms: body.not_after_ms,
                        reason: body.reason,
                        closes_at_ms: body.closes_at_ms,
                        caller_id: body.caller_id,
                        manifest: body.manifest,
                    })
                }
                EventType::Unspecified => Err(DecodeError::UnknownType(0)),
            }
        }
    };
}

// LogCreated, Checkpoint and Continues carry more on the wire than reducers read; their writers (`asterism init`,
// the ledger) encode the prost type themselves and wrap it by `envelope`.
events! {
    LogCreated LogCreated { fleet, fleet_key, created_at_ms }
    NodeAdmitted NodeAdmitted { node, public_key, epoch, intent }
    OriginClosed OriginClosed { origin, reason }
    LeaderElected LeaderElected { role, term, holder }
    Checkpoint Checkpoint { size, root }
    Continues Continues { size, root }
    StateHashed StateHashed { size, hash, reducer }
    FramesLost FramesLost { origin, epoch, from, to, reason }
    LogRepaired LogRepaired { holder, reason, kept, promised, set_aside, refilled_from, size, beyond }
    SegmentArchived SegmentArchived { first, end, object, sha256, size_bytes, root }
    ArchiveBehind ArchiveBehind { hold, reason, events, age_ms, bytes, max_age_ms, max_bytes }
    LaunchIntended LaunchIntended { intent, reason, instance_type }
    LaunchPlaced LaunchPlaced { group, intents, instance_type, subnet, market, reason }
    AddressPoolSet AddressPoolSet { pool, addresses }
    AddressIntended AddressIntended { node, address, pool }
    AddressAssociated AddressAssociated { node, address }
    AddressShown AddressShown { node, address }
    AddressReleased AddressReleased { node, address }
    NodeLaunched NodeLaunched { intent, node }
    LaunchFailed LaunchFailed { intent, code, reason, r#final }
    NodeReady NodeReady { node, capacity, pbx, boot_id }
    NodeStopped NodeStopped { node, reason }
    NodeLoad NodeLoad { node, ringing, up, free_slots, cpu_permille }
    NodeDraining NodeDraining { node, reason, drain, held }
    NodeUndrained NodeUndrained { node, reason }
    NodeEmpty NodeEmpty { node, drain }
    LogRefused LogRefused { node, reason, size, root, shown_size, shown_root }
    NodeHolds NodeHolds { node, attempts, after, until }
    NodeUncovered NodeUncovered { node, drain, from, to }
    NodeTerminating NodeTerminating { node, reason, cuts, silent_since_ms, uncovered_from, uncovered_to }
    NodeTerminated NodeTerminated { node, reason }
    NodeLost NodeLost { node, reason }
    FleetPlanned FleetPlanned {
        waiting, in_flight, nodes_up, nodes_booting, nodes_wanted, nodes_draining, reason, nodes_stale,
        nodes_lost, budget_micro_usd, limits
    }
    PricesSet PricesSet { book, region, source, prices, reason }
    FleetStopRequested FleetStopRequested { reason }
    CampaignCreated CampaignCreated {
        campaign, name, flow, manifest, trunk, max_channels, calls_per_second, ring_timeout_ms, max_attempts,
        caller_id, live, allowed_hashes, rules, trunks, caller_ids
    }
    CampaignChanged CampaignChanged {
        campaign, max_channels, calls_per_second, ring_timeout_ms, max_attempts, caller_id, rules, reason,
        caller_ids, trunks, manifest
    }
    ContactsImported ContactsImported {
        campaign, import, contacts, duplicates, last, zones, skip_known, known
    }
    CampaignBudgetReached CampaignBudgetReached { campaign, answered, talk_ms, cost_micro, reason }
    ContactsExcluded ContactsExcluded { campaign, contacts, rule, detail }
    ContactsDeferred ContactsDeferred { campaign, contacts, until_ms, rule }
    ContactsReopened ContactsReopened { campaign, contacts, reason }
    DoNotCallAdded DoNotCallAdded { list, numbers, prefixes, reason }
    DoNotCallRemoved DoNotCallRemoved { list, numbers, prefixes, reason }
    CampaignStarted CampaignStarted { campaign }
    CampaignPaused CampaignPaused { campaign, reason }
    CampaignResumed CampaignResumed { campaign }
    CampaignStopped CampaignStopped { campaign, reason }
    CampaignCompleted CampaignCompleted { campaign }
    CampaignLive CampaignLive { campaign, reason }
    ContactsErased ContactsErased { import, contacts, reason }
    EmergencyStopped EmergencyStopped { reason, cancel_ringing, cut_calls }
    EmergencyResumed EmergencyResumed { reason }
    AttemptAccepted AttemptAccepted { attempt, order_term }
    AttemptRefused AttemptRefused { attempt, reason }
    AttemptOriginating AttemptOriginating { attempt, boot_id }
    AttemptAnswered AttemptAnswered { attempt }
    MachineJudged MachineJudged { attempt, verdict, cause, took_ms }
    BridgeEnded BridgeEnded { attempt, step, status, cause, ring_ms, talk_ms }
    AttemptEnded AttemptEnded {
        attempt, outcome, cause, reason, ring_ms, talk_ms, digits, path, never_rang, sip_status, heard
    }
    AttemptUncertain AttemptUncertain { attempt, reason }
    StepDecided StepDecided { call, step, flow, state, next_state, reply, input, tags }
    LogicFailed LogicFailed { call, step, flow, code, reason, elapsed_ms }
    StepTaken StepTaken { call, step, reply, source, decision, input, reason, tags }
    FlowPublished FlowPublished { flow, name, object, sha256, bridges }
    ManifestPublished ManifestPublished { manifest, name, object, sha256, prompts, size_bytes }
    ManifestHeld ManifestHeld { node, manifest }
    ManifestDropped ManifestDropped { node, manifest }
    ManifestRetired ManifestRetired { manifest, reason }
    RecordingMade RecordingMade { node, call, step, sha256, size_bytes, duration_ms }
    RecordingStored RecordingStored { node, call, step, object, sha256, size_bytes }
    RecordingLost RecordingLost { node, call, step, reason }
    RecordingsErased RecordingsErased { recordings, reason }
    RecordingsKept RecordingsKept { campaign, days, reason }
    TrunkSet TrunkSet { trunk, settings, configured, reason }
    TrunkRemoved TrunkRemoved { trunk, reason }
    TrunkHeld TrunkHeld { node, trunk, revision }
    TrunkBreaker TrunkBreaker { trunk, state, until_ms, ends, trouble, causes, reason }
    TrunkPaced TrunkPaced { trunk, per_1000_s, before_per_1000_s, ends, rejected, reason }
    PacesSet PacesSet { calls_per_second, node_calls_per_second, max_channels, reason }
    WebhookSet WebhookSet { endpoint, kinds, reason }
    WebhookDelivered WebhookDelivered { notices }
    WebhookGivenUp WebhookGivenUp { notices, tries, reason }
    WebhookResent WebhookResent { notices, reason }
}

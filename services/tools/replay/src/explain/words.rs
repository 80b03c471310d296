//! Each event in plain words: what happened or was decided, with the reason its writer gave.

use asterism_domain::event::StepSource;
use asterism_domain::ids::Listened;
use asterism_domain::trunk::health::{BreakerState, Heard};
use asterism_domain::webhook::{NoticeId, NoticeKind};
use asterism_domain::{AttemptId, Event};

/// One sentence without its subject's time and writer.
pub(crate) fn words(event: &Event) -> String {
    fleet(event)
        .or_else(|| node(event))
        .or_else(|| campaign(event))
        .or_else(|| people(event))
        .or_else(|| attempt(event))
        .or_else(|| trunk(event))
        .unwrap_or_else(|| logic(event))
}

fn fleet(event: &Event) -> Option<String> {
    Some(match event {
        Event::LogCreated { fleet, .. } => format!("the log of fleet {fleet} begins"),
        Event::OriginClosed { origin, reason } => format!("{origin} will write no more: {reason}"),
        Event::LeaderElected { role, term, holder } => format!("{holder} leads the {role}, term {term}"),
        Event::Checkpoint { size, .. } => format!("checkpoint over the first {size} events"),
        Event::Continues { size, .. } => format!("a new stream continues the log at {size} events"),
        Event::StateHashed { size, .. } => format!("the state after {size} events was hashed"),
        Event::FramesLost { origin, from, to, reason, .. } => {
            format!("frames {from} to {to} of {origin} are given up as lost: {reason}")
        }
        Event::LogRepaired { holder, reason, kept, promised, refilled_from, size, .. } => format!(
            "the copy of {holder} was repaired: {reason}; {kept} of {promised} events were sound, refilled from the \
             {refilled_from} to {size}"
        ),
        Event::ArchiveBehind { hold: true, reason, .. } => format!("nothing new is dialled: {reason}"),
        Event::ArchiveBehind { hold: false, reason, .. } => format!("dialling goes on: {reason}"),
        Event::SegmentArchived { first, end, object, .. } => {
            format!("events {first} to {end} stand in the object store as {object}")
        }
        Event::LaunchIntended { intent, reason, instance_type } => {
            format!("a {instance_type} is to be launched (intent {intent}): {reason}")
        }
        Event::LaunchPlaced { group, intents, instance_type, subnet, market, reason } => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let or =
                |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
            let (kind, subnet) = (or(instance_type, "the template's type"), or(subnet, "any subnet"));
            let count = intents.len();
            format!("{count} launches are asked for as {kind} in {subnet}, {market} (token {group}){why}")
        }
        Event::LaunchFailed { intent, code, reason, r#final } => {
            let then = if *r#final { "it is given up" } else { "it is tried again" };
            format!("launch {intent} failed with {code}: {reason}; {then}")
        }
        Event::FleetPlanned { waiting, in_flight, nodes_up, nodes_booting, nodes_wanted, reason, .. } => {
            format!(
                "plan: {nodes_wanted} nodes wanted, {nodes_up} up, {nodes_booting} booting, {waiting} contacts waiting, \
             {in_flight} attempts in flight: {reason}"
            )
        }
        Event::PricesSet { book, region, source, prices, reason } => {
            let count = prices.len();
            format!("{count} prices of {region} hold from here, of the book of {book} ({source}): {reason}")
        }
        Event::AddressPoolSet { pool, addresses } if addresses.is_empty() => {
            format!("nodes need no address of a pool{pool} any more")
        }
        Event::AddressPoolSet { pool, addresses } => {
            format!(
                "carriers know {} addresses, the pool {pool}: a node takes calls with one of them only",
                addresses.len()
            )
        }
        Event::FleetStopRequested { reason } => format!("the fleet is told to stop: {reason}"),
        _ => return None,
    })
}

fn node(event: &Event) -> Option<String> {
    Some(match event {
        Event::NodeLaunched { intent, node } => format!("the cloud launched {node} for intent {intent}"),
        Event::AddressIntended { node, address, pool } => {
            format!("{node} is to have the address {address} of the pool {pool}")
        }
        Event::AddressAssociated { node, address } => {
            format!("the cloud has given {node} the address {address}")
        }
        Event::AddressShown { node, address } => {
            format!("the PBX of {node} shows the address {address} to carriers")
        }
        Event::AddressReleased { node, address } => {
            format!("the cloud has the address {address} of {node} back: others may have it")
        }
        Event::NodeAdmitted { node, .. } => format!("{node} is admitted to the fleet"),
        Event::NodeReady { node, capacity, pbx, .. } => format!("{node} is ready: {capacity} slots, {pbx}"),
        Event::NodeStopped { node, reason } => format!("{node} cannot dial: {reason}"),
        Event::NodeLoad { node, ringing, up, free_slots, cpu_permille } => format!(
            "{node} has {ringing} ringing, {up} up, {free_slots} slots free, CPU {}.{} %",
            cpu_permille / 10,
            cpu_permille % 10
        ),
        Event::NodeDraining { node, reason, held, .. } => {
            let held = if *held { ", kept until an operator says otherwise" } else { "" };
            format!("{node} drains{held}: {reason}")
        }
        Event::NodeUndrained { node, reason } => format!("{node} takes orders again: {reason}"),
        Event::NodeEmpty { node, .. } => {
            format!("{node} is empty: no call, and the log has all it had to say")
        }
        Event::LogRefused { node, reason, size, shown_size, .. } => format!(
            "{node} refuses the log: {reason} (it believes the checkpoint of size {size}, not the one of size \
             {shown_size} it was shown)"
        ),
        Event::NodeHolds { node, attempts, .. } => format!(
            "frames of node {node} are lost; it holds {} attempts, and what else the log has as taken by it has ended unheard",
            attempts.len()
        ),
        Event::NodeUncovered { node, from, to, .. } => format!(
            "{node} is empty: no call, and the log has all it had to say; no checkpoint it believes covers its frames \
             {from} to {to}"
        ),
        Event::NodeTerminating { node, reason, cuts, .. } if cuts.is_empty() => {
            format!("{node} is to be terminated: {reason}")
        }
        Event::NodeTerminating { node, reason, cuts, .. } => {
            let cuts = cuts.iter().map(AttemptId::to_string).collect::<Vec<_>>().join(", ");
            format!("{node} is to be terminated, which cuts {cuts}: {reason}")
        }
        Event::NodeTerminated { node, reason } => format!("the cloud confirms that {node} is gone: {reason}"),
        Event::NodeLost { node, reason } => format!("{node} is lost: {reason}"),
        Event::ManifestDropped { node, manifest } => {
            format!("{node} drops the prompts of {}: nothing needs them", short(manifest))
        }
        Event::RecordingMade { node, call, step, size_bytes, duration_ms, .. } => format!(
            "{node} has the recording of step {step} of {call}: {size_bytes} bytes, {} s",
            duration_ms.div_ceil(1_000)
        ),
        Event::RecordingStored { node, call, step, object, .. } => {
            format!(
                "the recording of step {step} of {call} is in the store as {object}; {node} may remove its file"
            )
        }
        Event::RecordingLost { call, step, reason, .. } => {
            format!("the recording of step {step} of {call} is lost: {reason}")
        }
        Event::ManifestHeld { node, manifest } => format!("{node} holds the prompts of {}", short(manifest)),
        Event::TrunkHeld { node, trunk, .. } => format!("{node} has the trunk {trunk}"),
        _ => return None,
    })
}

fn campaign(event: &Event) -> Option<String> {
    Some(match event {
        Event::CampaignCreated {
            campaign,
            name,
            trunk,
            trunks,
            max_channels,
            calls_per_second,
            max_attempts,
            ..
        } => {
            let all: Vec<&str> = std::iter::once(trunk).chain(trunks).map(String::as_str).collect();
            let all = all.join(", then ");
            format!(
                "campaign {campaign} ({name}) is created: trunk {all}, at most {max_channels} channels, \
                 {calls_per_second} calls a second, {max_attempts} attempts a contact"
            )
        }
        Event::ContactsImported { campaign, contacts, duplicates, known, skip_known, .. } => {
            let elsewhere = match known {
                0 => String::new(),
                known => format!(", {known} left out as known to {}", skip_known.join(", ")),
            };
            format!(
                "{} contacts are imported into {campaign}, {duplicates} duplicates left out{elsewhere}",
                contacts.len()
            )
        }
        Event::CampaignBudgetReached { campaign, reason, .. } => {
            format!("campaign {campaign} is paused: its budget is used up, {reason}")
        }
        Event::CampaignChanged {
            campaign,
            max_channels,
            calls_per_second,
            max_attempts,
            reason,
            trunks,
            manifest,
            ..
        } => {
            let others = match trunks.as_slice() {
                [] => String::new(),
                _ => format!(", over the trunks {}", trunks.join(", ")),
            };
            let prompts = match manifest.as_str() {
                "" => String::new(),
                new => format!(", from now on it plays the prompts of {}", short(new)),
            };
            format!(
                "campaign {campaign} is changed ({reason}): at most {max_channels} channels, {calls_per_second} calls a \
             second, {max_attempts} attempts a contact{others}{prompts}"
            )
        }
        Event::CampaignStarted { campaign } => format!("campaign {campaign} starts"),
        Event::CampaignPaused { campaign, reason } => format!("campaign {campaign} is paused: {reason}"),
        Event::CampaignResumed { campaign } => format!("campaign {campaign} goes on"),
        Event::CampaignStopped { campaign, reason } => format!("campaign {campaign} is stopped: {reason}"),
        Event::CampaignCompleted { campaign } => format!("campaign {campaign} is complete"),
        Event::EmergencyStopped { reason, cancel_ringing, cut_calls } => {
            let ringing = if *cancel_ringing { ", what rings is hung up" } else { "" };
            let calls = if *cut_calls { ", calls are cut" } else { "" };
            format!("emergency stop: nothing is dialled{ringing}{calls}: {reason}")
        }
        Event::EmergencyResumed { reason } => format!("the emergency stop ends: {reason}"),
        Event::CampaignLive { campaign, reason } => {
            format!("campaign {campaign} may dial every number: {reason}")
        }
        _ => return None,
    })
}

/// Who is not dialled, not yet, or once more.
fn people(event: &Event) -> Option<String> {
    Some(match event {
        Event::ContactsExcluded { campaign, contacts, rule, detail } => format!(
            "{} not dialled: {}{}{detail}",
            contacts_in_words(campaign, contacts),
            rule.name(),
            if detail.is_empty() { "" } else { ", " }
        ),
        Event::ContactsDeferred { campaign, contacts, until_ms, rule } => {
            format!(
                "{} not dialled before {}: {rule}",
                contacts_in_words(campaign, contacts),
                crate::when::shown(*until_ms)
            )
        }
        Event::ContactsReopened { campaign, contacts, reason } => format!(
            "{} to be dialled once more though they may have been rung: {reason}",
            contacts_in_words(campaign, contacts)
        ),
        Event::DoNotCallAdded { list, numbers, prefixes, reason } => format!(
            "{} numbers and {} prefixes are put on the do-not-call list {list}: {reason}",
            numbers.len(),
            prefixes.len()
        ),
        Event::DoNotCallRemoved { list, numbers, prefixes, reason } => format!(
            "{} numbers and {} prefixes are taken off the do-not-call list {list}: {reason}",
            numbers.len(),
            prefixes.len()
        ),
        Event::ContactsErased { import, contacts, reason } if contacts.is_empty() => {
            format!("every contact of import {} is erased: {reason}", short(import))
        }
        Event::ContactsErased { import, contacts, reason } => {
            format!("{} contacts of import {} are erased: {reason}", contacts.len(), short(import))
        }
        _ => return None,
    })
}

fn trunk(event: &Event) -> Option<String> {
    Some(match event {
        Event::TrunkSet { trunk, settings, configured, reason } => {
            let places =
                if settings.srv.is_empty() { settings.hosts.join(", ") } else { settings.srv.clone() };
            let by = if *configured { ", by the configuration" } else { "" };
            format!(
                "the trunk {trunk} is set{by}: {places}, at most {} channels, {} calls a second ({reason})",
                settings.max_channels, settings.calls_per_second
            )
        }
        Event::TrunkRemoved { trunk, reason } => format!("the trunk {trunk} is removed: {reason}"),
        Event::TrunkBreaker { trunk, state, until_ms, causes, reason, .. } => {
            let what = match state {
                BreakerState::Closed => "is used again".to_owned(),
                BreakerState::HalfOpen => "is tried".to_owned(),
                BreakerState::Open => format!("rests until {}", crate::when::shown(*until_ms)),
            };
            let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
            format!("the trunk {trunk} {what}: {reason}{causes}")
        }
        Event::TrunkPaced { trunk, per_1000_s, reason, .. } => match per_1000_s {
            0 => format!("the trunk {trunk} is at its full pace again: {reason}"),
            slow => format!(
                "the trunk {trunk} is slowed down to {}.{:03} calls a second: {reason}",
                slow / 1_000,
                slow % 1_000
            ),
        },
        Event::PacesSet { calls_per_second, node_calls_per_second, max_channels, reason } => {
            let cap = |cap: &u32| if *cap == 0 { "any number of".to_owned() } else { cap.to_string() };
            format!(
                "the fleet starts {} calls a second, each node {}, and has {} in flight at most: {reason}",
                cap(calls_per_second),
                cap(node_calls_per_second),
                cap(max_channels)
            )
        }
        _ => return webhook(event),
    })
}

fn webhook(event: &Event) -> Option<String> {
    Some(match event {
        Event::WebhookSet { kinds, reason, .. } if kinds.is_empty() => {
            format!("no notices are sent from here on: {reason}")
        }
        Event::WebhookSet { endpoint, kinds, reason } => {
            let kinds: Vec<&str> = kinds
                .iter()
                .filter_map(|kind| NoticeKind::from_number(*kind))
                .map(NoticeKind::name)
                .collect();
            format!("notices of {} go to {endpoint} from here on: {reason}", kinds.join(" and "))
        }
        Event::WebhookDelivered { notices } => {
            format!("{} notices were taken by their receiver", notices.len())
        }
        Event::WebhookGivenUp { notices, tries, reason } => {
            let first = notices.first().map(|id| NoticeId(*id).to_string()).unwrap_or_default();
            let n = notices.len();
            format!("{n} notices are given up, {first} the first, tried {tries} times at most: {reason}")
        }
        Event::WebhookResent { notices, reason } => {
            format!("{} notices that were delivered or given up are owed once more: {reason}", notices.len())
        }
        _ => return None,
    })
}

/// Contacts of one exclusion or delay, with their verb: named while they are few.
fn contacts_in_words(campaign: &str, contacts: &[u32]) -> String {
    match contacts {
        [one] => format!("contact {one} of {campaign} is"),
        few if few.len() <= 8 => {
            let few = few.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            format!("contacts {few} of {campaign} are")
        }
        many => format!("{} contacts of {campaign} are", many.len()),
    }
}

fn attempt(event: &Event) -> Option<String> {
    Some(match event {
        Event::AttemptIntended {
            attempt,
            node,
            trunk,
            not_before_ms,
            not_after_ms,
            reason,
            caller_id,
            ..
        } => format!(
            "attempt {attempt} is ordered on {node} by trunk {trunk}{}, within {} ms: {reason}",
            if caller_id.is_empty() { String::new() } else { format!(" as {caller_id}") },
            not_after_ms.saturating_sub(*not_before_ms)
        ),
        Event::AttemptAccepted { attempt, .. } => format!("the node has {attempt} in its own store"),
        Event::AttemptRefused { attempt, reason } => format!("{attempt} was not dialled: {reason}"),
        Event::AttemptOriginating { attempt, .. } => format!("{attempt} is being dialled"),
        Event::AttemptAnswered { attempt } => format!("{attempt} was answered"),
        Event::MachineJudged { attempt, verdict, cause, took_ms } => {
            let heard = match verdict {
                Listened::Human => "a human",
                Listened::Machine => "a machine, and was hung up on",
                Listened::NotSure => "nothing that says what it is, which counts as a human",
            };
            format!("{attempt} was listened to for {took_ms} ms: {heard} ({cause})")
        }
        Event::BridgeEnded { attempt, step, status, cause, ring_ms, talk_ms } => format!(
            "{attempt}: the leg dialled by step {step} ended {} (status {status}, cause {cause}) after {ring_ms} ms of ringing and \
             {talk_ms} ms of talk",
            asterism_domain::logic::leg_outcome(status)
        ),
        Event::AttemptEnded {
            attempt,
            outcome,
            cause,
            ring_ms,
            talk_ms,
            digits,
            never_rang,
            sip_status,
            heard,
            ..
        } => {
            let rang = match heard {
                _ if *never_rang => ", nothing left for the carrier".to_owned(),
                Heard::OnlyTheEnd => format!(", the carrier said {sip_status} at once and rang nobody"),
                Heard::Silence => format!(", the carrier said nothing for {ring_ms} ms"),
                Heard::Unknown | Heard::Ringing => format!(", rang {ring_ms} ms"),
            };
            let talked = if *talk_ms > 0 { format!(", talked {talk_ms} ms") } else { String::new() };
            let pressed = if digits.is_empty() { String::new() } else { format!(", pressed {digits}") };
            format!("{attempt} ended {} (cause {cause}{rang}{talked}{pressed})", outcome.name())
        }
        Event::AttemptUncertain { attempt, reason } => {
            format!("nobody can tell how {attempt} ended, and it is not dialled again by itself: {reason}")
        }
        _ => return None,
    })
}

fn logic(event: &Event) -> String {
    match event {
        Event::StepDecided { step, state, next_state, reply, input, tags, .. } => {
            let asked = match (state.as_str(), input.as_str()) {
                ("", _) => "at the start".to_owned(),
                (state, "") => format!("in state {state}"),
                (state, input) => format!("in state {state} after \"{input}\""),
            };
            let listed = match reply.split('|').next() {
                Some("optout") => "; from here on the number is on the do-not-call list global",
                _ => "",
            };
            let tags = if tags.is_empty() { String::new() } else { format!(", tags {}", tags.join(" ")) };
            format!("step {step}: {asked} the answer is \"{reply}\", then state {next_state}{tags}{listed}")
        }
        Event::LogicFailed { step, code, reason, elapsed_ms, .. } => {
            format!(
                "step {step}: the back end gave no answer that can be used within {elapsed_ms} ms: {code}: {reason}"
            )
        }
        Event::StepTaken { step, reply, source, reason, .. } => {
            let by = match source {
                StepSource::Responder => "as decided".to_owned(),
                StepSource::Fallback => format!("the flow's fallback, because {reason}"),
                StepSource::Repeated => "the same answer again".to_owned(),
            };
            format!("step {step}: the call did \"{reply}\", {by}")
        }
        Event::FlowPublished { name, flow, .. } => format!("flow {name} is published as {}", short(flow)),
        Event::ManifestPublished { name, manifest, prompts, .. } => {
            format!("{prompts} prompts are published as {name} ({})", short(manifest))
        }
        Event::ManifestRetired { manifest, reason } => {
            format!("the prompts of {} are retired: {reason}", short(manifest))
        }
        Event::RecordingsErased { recordings, reason } => {
            format!("{} recordings are erased: {reason}", recordings.len())
        }
        Event::RecordingsKept { campaign, days: 0, reason } => {
            format!("recordings of {campaign} are kept until somebody erases them: {reason}")
        }
        Event::RecordingsKept { campaign, days, reason } => {
            format!("recordings of {campaign} are kept {days} days: {reason}")
        }
        Event::Unreadable { why } => format!("it cannot be read: {why}"),
        other => format!("{other:?}"),
    }
}

/// The first digits of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

//! Histories nobody decided: plausible events, lies of nodes and of leaders, and reducers bent in what an event touches.

mod bend;

use asterism_domain::campaign::Attempt;
use asterism_domain::event::{SealedContact, StepSource};
use asterism_domain::fleet::FleetLimits;
use asterism_domain::rules::Exclusion;
use asterism_domain::trunk::health::Heard;
use asterism_domain::wire::DecodeError;
use asterism_domain::{AttemptId, Event, EventRef, Outcome, Recorded, State};
use asterism_proto::{Origin, Role};

#[allow(unused_imports)] // of the suites, one bends
pub use bend::{Bend, apply};

/// One event, chosen by numbers; with it, how the reducers break.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub kind: u8,
    pub pick: u16,
    pub bend: Option<Bend>,
}

const SCRIPT: u8 = 200;

fn scaler() -> Origin {
    Origin::Role(Role::Scaler)
}

fn dialer() -> Origin {
    Origin::Role(Role::Dialer)
}

fn script() -> Vec<(Origin, Event)> {
    let mut told =
        vec![(dialer(), Event::LeaderElected { role: "dialer".into(), term: 1, holder: "h".into() })];
    for number in 0..2u16 {
        let (intent, node) = (format!("i{number}"), format!("n{number}"));
        told.push((scaler(), launch(&intent)));
        told.push((scaler(), Event::NodeLaunched { intent: intent.clone(), node: node.clone() }));
        told.push((scaler(), admitted(&node)));
        told.push((Origin::Node(node.clone()), ready(&node, 3)));
        told.push((Origin::Node(node.clone()), Event::ManifestHeld { node, manifest: "m".into() }));
    }
    for (id, max_channels, rows) in [("a", 0, 0..5), ("b", 2, 5..9)] {
        told.push((dialer(), created(id, max_channels, 0)));
        told.push((dialer(), imported(id, 0, rows)));
        told.push((dialer(), Event::CampaignStarted { campaign: id.into() }));
    }
    for (id, contact, node) in [("a", 0, "n0"), ("a", 1, "n1"), ("b", 0, "n0"), ("b", 1, "n1")] {
        told.push((dialer(), intended(attempt(id, contact, 1), node, 0)));
    }
    let node = Origin::Node("n0".into());
    let first = attempt("a", 0, 1);
    told.push((node.clone(), Event::AttemptAccepted { attempt: first.clone(), order_term: 1 }));
    told.push((node.clone(), Event::AttemptOriginating { attempt: first.clone(), boot_id: "b".into() }));
    told.push((node, Event::AttemptAnswered { attempt: first }));
    told
}

/// A campaign whose every contact answers, twenty in flight at a time.
pub fn campaign_of(contacts: u32) -> Vec<(Origin, Event)> {
    let mut told: Vec<(Origin, Event)> = script().into_iter().take(6).collect();
    told[4].1 = ready("n0", 20);
    told.push((dialer(), created("a", 0, 0)));
    for first in (0..contacts).step_by(20) {
        let row = |contact: u32| {
            let mut number_hash = [0; 16];
            number_hash[..4].copy_from_slice(&contact.to_be_bytes());
            SealedContact { contact, number_hash, sealed: vec![1; 3], ..SealedContact::default() }
        };
        let (campaign, import) = ("a".to_owned(), "one".to_owned());
        let contacts = (first..contacts.min(first + 20)).map(row).collect();
        told.push((
            dialer(),
            Event::ContactsImported {
                campaign,
                import,
                contacts,
                duplicates: 0,
                last: false,
                zones: vec![],
                skip_known: vec![],
                known: 0,
            },
        ));
    }
    told.push((dialer(), Event::CampaignStarted { campaign: "a".into() }));
    let node = || Origin::Node("n0".into());
    for first in (0..contacts).step_by(20) {
        let flight = || (first..contacts.min(first + 20)).map(|contact| attempt("a", contact, 1));
        told.extend(flight().map(|attempt| (dialer(), intended(attempt, "n0", 0))));
        for attempt in flight() {
            told.push((node(), Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 }));
            told.push((node(), Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() }));
            told.push((node(), Event::AttemptAnswered { attempt }));
        }
        told.extend(flight().map(|attempt| (node(), ended(attempt, Outcome::Answered, false))));
        told.push((
            node(),
            Event::NodeLoad { node: "n0".into(), ringing: 0, up: 0, free_slots: 0, cpu_permille: 0 },
        ));
    }
    told
}

fn ended(attempt: AttemptId, outcome: Outcome, never_rang: bool) -> Event {
    Event::AttemptEnded {
        attempt,
        outcome,
        cause: 16,
        reason: 0,
        ring_ms: 1,
        talk_ms: 1,
        digits: String::new(),
        path: String::new(),
        never_rang,
        sip_status: 0,
        heard: Heard::Unknown,
    }
}

/// Two nodes, two campaigns, four attempts in flight and one of them a call.
pub fn story() -> Vec<Move> {
    (0..script().len() as u8).map(|n| Move { kind: SCRIPT + n, pick: 0, bend: None }).collect()
}

fn attempt(campaign: &str, contact: u32, ordinal: u32) -> AttemptId {
    AttemptId { campaign: campaign.to_owned(), contact, ordinal }
}

fn launch(intent: &str) -> Event {
    Event::LaunchIntended { intent: intent.into(), reason: String::new(), instance_type: String::new() }
}

fn admitted(node: &str) -> Event {
    let (public_key, epoch) = (vec![1; 32], vec![2; 16]);
    Event::NodeAdmitted { node: node.into(), public_key, epoch, intent: String::new() }
}

fn ready(node: &str, capacity: u32) -> Event {
    Event::NodeReady { node: node.into(), capacity, pbx: "sim".into(), boot_id: "b".into() }
}

fn created(id: &str, max_channels: u32, calls_per_second: u32) -> Event {
    Event::CampaignCreated {
        campaign: id.into(),
        name: id.into(),
        flow: "f".into(),
        manifest: "m".into(),
        trunk: "t".into(),
        max_channels,
        calls_per_second,
        ring_timeout_ms: 1,
        max_attempts: 2,
        caller_id: String::new(),
        live: false,
        allowed_hashes: vec![],
        rules: None,
        trunks: vec![],
        caller_ids: vec![],
    }
}

fn imported(id: &str, first: u32, rows: std::ops::Range<u8>) -> Event {
    let row = |(contact, n): (u32, u8)| SealedContact {
        contact,
        number_hash: [n; 16],
        sealed: vec![n; 3],
        ..SealedContact::default()
    };
    let contacts = (first..).zip(rows).map(row).collect();
    Event::ContactsImported {
        campaign: id.into(),
        import: "one".into(),
        contacts,
        duplicates: 0,
        last: false,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    }
}

fn intended(attempt: AttemptId, node: &str, at: u64) -> Event {
    Event::AttemptIntended {
        attempt,
        node: node.into(),
        trunk: "t".into(),
        not_before_ms: at,
        not_after_ms: at + 1,
        reason: String::new(),
        closes_at_ms: 0,
        caller_id: String::new(),
        manifest: String::new(),
    }
}

/// The event a move stands for in this state.
pub fn next(state: &State, step: Move) -> (Origin, Event) {
    if let Some(told) = step.kind.checked_sub(SCRIPT).and_then(|n| script().into_iter().nth(n.into())) {
        return told;
    }
    let pick = usize::from(step.pick);
    let node = format!("n{}", pick % 3);
    match step.kind % 32 {
        kind @ 0..=11 => of_attempts(state, kind, pick, &node),
        kind @ 12..=25 => of_nodes(state, kind, pick, node),
        kind => of_campaigns(state, kind, pick),
    }
}

fn of_attempts(state: &State, kind: u8, pick: usize, node: &str) -> (Origin, Event) {
    let campaign = if pick.is_multiple_of(2) { "a" } else { "b" };
    if kind < 2 {
        let known = state.campaigns.get(campaign);
        let waiting = known.and_then(|known| known.waiting.candidates(&[0], state.at).nth(pick % 3));
        let contact = waiting.unwrap_or((pick % 6) as u32);
        let tried =
            known.and_then(|known| known.contacts.get(contact as usize)).map_or(0, |one| one.attempts);
        // Mostly the next ordinal.
        let ordinal = if pick % 7 == 6 { 1 + (pick % 3) as u32 } else { tried + 1 };
        return (dialer(), intended(attempt(campaign, contact, ordinal), node, state.at));
    }
    let flights: Vec<(&AttemptId, &Attempt)> =
        state.campaigns.values().flat_map(|campaign| &campaign.in_flight).collect();
    let flight = flights.get(pick % flights.len().max(1));
    let id = flight.map_or_else(|| attempt(campaign, 0, 1), |(id, _)| (*id).clone());
    // Mostly its own node writes about it.
    let home = flight.map_or(node, |(_, flight)| flight.node.as_str());
    let writer = Origin::Node(if pick % 11 == 10 { node } else { home }.to_owned());
    let term = state.terms.get("dialer").copied().unwrap_or_default();
    let event = match kind {
        2 => Event::AttemptAccepted {
            attempt: id,
            order_term: if pick % 5 == 4 { pick as u64 % 4 } else { term },
        },
        3 | 4 => Event::AttemptOriginating { attempt: id, boot_id: "b".into() },
        5 => Event::AttemptAnswered { attempt: id },
        6 | 7 => ended(id, Outcome::ALL[pick % 8], pick % 9 == 8),
        8 => Event::AttemptRefused { attempt: id, reason: String::new() },
        9 => Event::AttemptUncertain { attempt: id, reason: String::new() },
        10 => {
            let decided = Event::StepDecided {
                call: id,
                step: 1 + (pick % 3) as u32,
                flow: "f".into(),
                state: String::new(),
                next_state: String::new(),
                reply: String::new(),
                input: String::new(),
                tags: vec![],
            };
            return (Origin::Proc(Role::LogicResponder, "r".into()), decided);
        }
        _ => {
            let known = flight.map(|(_, flight)| flight);
            let decided = known.and_then(|flight| flight.decisions.first().cloned());
            let (step, decision) = decided.unwrap_or((1 + (pick % 3) as u32, some_ref()));
            let source = [StepSource::Responder, StepSource::Fallback, StepSource::Repeated][pick / 3 % 3];
            Event::StepTaken {
                call: id,
                step,
                reply: String::new(),
                source,
                decision: Some(decision),
                input: String::new(),
                reason: String::new(),
                tags: vec![],
            }
        }
    };
    (writer, event)
}

fn some_ref() -> EventRef {
    EventRef { origin: "proc/logic-responder-r".into(), epoch: vec![0; 16], frame: 1, index: 0 }
}

fn of_nodes(state: &State, kind: u8, pick: usize, node: String) -> (Origin, Event) {
    let reason = String::new();
    let known = state.fleet.nodes.get(&node);
    let drain = known.map_or(1, |known| known.drain);
    let own = Origin::Node(node.clone());
    let intent = format!("i{}", pick / 3 % 6);
    match kind {
        12 => (own, ready(&node, 1 + (pick % 4) as u32)),
        13 => (own, Event::NodeStopped { node, reason }),
        14 => (own, Event::NodeLoad { node, ringing: 0, up: 0, free_slots: 0, cpu_permille: 0 }),
        15 => (scaler(), Event::NodeDraining { node, reason, drain: drain + 1, held: false }),
        16 => (scaler(), Event::NodeUndrained { node, reason }),
        17 if pick % 3 == 2 => (own, Event::NodeUncovered { node, drain, from: 1, to: 2 }),
        17 => (own, Event::NodeEmpty { node, drain }),
        18 => {
            let silent = known.filter(|_| pick.is_multiple_of(2));
            let cuts = silent.map(|known| known.attempts.iter().cloned().collect()).unwrap_or_default();
            let silent_since_ms = silent.map_or(0, |known| known.heard_at);
            let said = known.and_then(|known| known.uncovered).filter(|_| silent.is_none());
            let (uncovered_from, uncovered_to) = said.map_or((0, 0), |said| (said.from, said.to));
            let end =
                Event::NodeTerminating { node, reason, cuts, silent_since_ms, uncovered_from, uncovered_to };
            (scaler(), end)
        }
        19 => (scaler(), Event::NodeTerminated { node, reason }),
        20 if pick % 4 == 3 => (scaler(), Event::NodeLost { node, reason }),
        20 => (own, Event::Unreadable { why: DecodeError::Body(1) }),
        21 => (scaler(), launch(&intent)),
        22 => (scaler(), Event::NodeLaunched { intent, node }),
        23 => (scaler(), admitted(&node)),
        24 => (
            own,
            Event::ManifestHeld { node, manifest: if pick.is_multiple_of(2) { "m" } else { "x" }.into() },
        ),
        _ => {
            let in_flight = if pick % 4 == 3 { (pick % 3) as u32 } else { state.in_flight };
            (scaler(), planned(in_flight, limits(pick)))
        }
    }
}

/// Now and then a plan says what it was made under: of a budget it exceeds, once in a while.
fn limits(pick: usize) -> Option<FleetLimits> {
    let budget_micro_usd = if pick % 32 == 5 { 1 } else { 1_000_000 };
    let limits = FleetLimits {
        max_nodes: (pick % 5) as u32,
        launches_per_minute: 3,
        budget_micro_usd,
        price_micro_usd_per_hour: 3_600_000,
        max_micro_usd_per_hour: if pick % 16 == 7 { 9_000_000 } else { 0 },
    };
    pick.is_multiple_of(2).then_some(limits).or((pick % 32 == 5).then_some(limits))
}

pub fn planned(in_flight: u32, limits: Option<FleetLimits>) -> Event {
    Event::FleetPlanned {
        waiting: 0,
        in_flight,
        nodes_up: 0,
        nodes_booting: 0,
        nodes_wanted: 0,
        nodes_draining: 0,
        reason: String::new(),
        nodes_stale: 0,
        nodes_lost: 0,
        budget_micro_usd: 0,
        limits,
    }
}

fn of_campaigns(state: &State, kind: u8, pick: usize) -> (Origin, Event) {
    let campaign = if pick.is_multiple_of(2) { "a" } else { "b" }.to_owned();
    let reason = String::new();
    match kind {
        26 => {
            let held = state.campaigns.get(&campaign).map_or(0, |known| known.contacts.len() as u32);
            let first = held + u32::from(pick % 5 == 4);
            let row = (pick % 40) as u8;
            (dialer(), imported(&campaign, first, 20 + row..22 + row))
        }
        27 => {
            let contacts =
                if pick.is_multiple_of(3) { vec![] } else { vec![[(pick % 9) as u8; 16], [1; 16]] };
            (dialer(), Event::ContactsErased { import: "one".into(), contacts, reason })
        }
        28 if pick % 3 == 2 => (dialer(), Event::CampaignPaused { campaign, reason }),
        28 => (dialer(), Event::CampaignResumed { campaign }),
        29 if pick % 8 == 7 => (dialer(), Event::CampaignStopped { campaign, reason }),
        29 => (dialer(), Event::CampaignCompleted { campaign }),
        30 if pick % 16 == 15 => (scaler(), Event::FleetStopRequested { reason }),
        30 => {
            let term = state.terms.get("dialer").copied().unwrap_or_default() + 1;
            (dialer(), Event::LeaderElected { role: "dialer".into(), term, holder: "h".into() })
        }
        31 if pick % 5 < 4 => (dialer(), of_rules(state, pick, campaign)),
        // Somebody who may not.
        _ => (Origin::Node("n0".into()), Event::CampaignStopped { campaign, reason }),
    }
}

fn of_rules(state: &State, pick: usize, campaign: String) -> Event {
    let contacts = vec![(pick % 7) as u32, (pick % 3) as u32];
    let rule = Exclusion::ALL[pick % Exclusion::ALL.len()];
    let (list, numbers) = ("global".to_owned(), vec![[(pick % 9) as u8; 16]]);
    match pick % 6 {
        5 => Event::ContactsReopened { campaign, contacts, reason: String::new() },
        0 => Event::ContactsExcluded { campaign, contacts, rule, detail: String::new() },
        1 => {
            let until_ms = state.at + (pick % 4) as u64 * 100;
            Event::ContactsDeferred { campaign, contacts, until_ms, rule: "cap".into() }
        }
        2 => Event::CampaignChanged {
            campaign,
            max_channels: (pick % 6) as u32,
            calls_per_second: 0,
            ring_timeout_ms: 1,
            max_attempts: 2,
            caller_id: String::new(),
            rules: None,
            reason: String::new(),
            caller_ids: vec![],
            trunks: (0..pick % 12).map(|n| ["t", "u", "v"][(pick + n) % 3].to_owned()).collect(),
            manifest: ["", "m", "n"][pick % 3].to_owned(),
        },
        _ if pick.is_multiple_of(2) => {
            Event::DoNotCallRemoved { list, numbers, prefixes: vec![], reason: String::new() }
        }
        _ => Event::DoNotCallAdded { list, numbers, prefixes: vec![], reason: String::new() },
    }
}

/// The event as the next of the log.
pub fn recorded(state: &State, at: u64, origin: Origin, event: Event) -> Recorded {
    let sequence = state.size;
    let id = EventRef { origin: origin.to_string(), epoch: vec![0; 16], frame: sequence + 1, index: 0 };
    let term = if origin == dialer() { state.terms.get("dialer").copied().unwrap_or(1) } else { 1 };
    let (command_id, actor) = (String::new(), String::new());
    Recorded { sequence, at, origin, id, term, command_id, actor, event }
}

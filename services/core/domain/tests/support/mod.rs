//! A log in memory: commits what is decided, folds it, checks every invariant after every event.

#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod hostile;
pub mod trunks;

use std::collections::BTreeSet;

use asterism_domain::campaign::command::{ImportRow, Limits, NewCampaign};
use asterism_domain::campaign::{CampaignCommand, DialTick, decide};
use asterism_domain::fleet::{FleetCommand, FleetPolicy, Heard, Hearing, Inventory, LaunchOutcome};
use asterism_domain::rules::CampaignRules;
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::wire::{self, Envelope};
use asterism_domain::{AttemptId, Event, EventRef, Outcome, Recorded, State, fleet, invariant};
use asterism_proto::{Origin, Role};

pub struct Lab {
    pub state: State,
    pub now: u64,
    pub written: Vec<Recorded>,
    /// Time passes in which nobody plans, so that nodes cost more than the budget: the plan is judged by its launches.
    pub overspends: bool,
}

fn limits(max_attempts: u32, calls_per_second: u32, rules: CampaignRules) -> Limits {
    Limits {
        max_channels: 0,
        calls_per_second,
        ring_timeout_ms: 30_000,
        max_attempts,
        caller_id: String::new(),
        caller_ids: vec![],
        rules,
    }
}

/// A trunk on this machine without limits.
pub fn loopback() -> TrunkSettings {
    TrunkSettings { hosts: vec!["127.0.0.1:5060".into()], ..TrunkSettings::default() }
}

pub fn policy() -> FleetPolicy {
    FleetPolicy {
        max_nodes: 4,
        node_capacity: 3,
        price_micro_usd_per_hour: 100_000,
        budget_micro_usd: 0,
        launches_per_minute: 100,
        boot_deadline_ms: 60_000,
        instance_type: "small".into(),
        budget_reserve_ms: 0,
        ..FleetPolicy::default()
    }
}

/// So many people, in no zone.
pub fn rows(people: u8) -> Vec<ImportRow> {
    (0..people)
        .map(|n| ImportRow { number_hash: [n; 16], sealed: vec![n; 60], ..ImportRow::default() })
        .collect()
}

/// How many launches these hold.
pub fn launches(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::LaunchIntended { .. })).count()
}

/// The nodes these drain.
pub fn drained(events: &[Event]) -> Vec<&str> {
    let drained = events.iter().map(|event| match event {
        Event::NodeDraining { node, .. } => Some(node.as_str()),
        _ => None,
    });
    drained.flatten().collect()
}

/// Somebody who has listened for ever and heard of these a moment ago.
pub fn hearing(fresh: &BTreeSet<String>) -> Hearing {
    let nodes = fresh.iter().map(|id| (id.clone(), Heard::default())).collect();
    Hearing { listening_ms: u64::MAX, nodes, ..Hearing::default() }
}

impl Lab {
    pub fn new() -> Self {
        let mut lab = Self { state: State::default(), now: 1_000, written: Vec::new(), overspends: false };
        lab.write(
            Origin::Role(Role::Fleet),
            Event::LogCreated { fleet: "lab".into(), fleet_key: vec![7; 32], created_at_ms: 1 },
        );
        let media = Origin::Role(Role::MediaSync);
        lab.write(
            media.clone(),
            Event::FlowPublished {
                flow: "f".into(),
                name: "f".into(),
                object: "o".into(),
                sha256: vec![],
                bridges: false,
            },
        );
        lab.write(
            media,
            Event::ManifestPublished {
                manifest: "m".into(),
                name: "m".into(),
                object: "o".into(),
                sha256: vec![],
                prompts: 1,
                size_bytes: 1,
            },
        );
        lab.trunk("t", loopback());
        lab
    }

    /// Sets a trunk, as its configuration would.
    pub fn trunk(&mut self, trunk: &str, settings: TrunkSettings) {
        let (trunk, reason) = (trunk.to_owned(), String::new());
        self.write(Origin::Role(Role::Dialer), Event::TrunkSet { trunk, settings, configured: true, reason });
    }

    /// The node proves that its PBX has every trunk as it is set.
    pub fn hold_trunks(&mut self, node: &str) {
        let known = self.state.trunks.iter().filter(|(_, trunk)| trunk.usable().is_some());
        let all: Vec<(String, String)> =
            known.map(|(name, trunk)| (name.clone(), trunk.revision.clone())).collect();
        for (trunk, revision) in all {
            self.node(node, Event::TrunkHeld { node: node.to_owned(), trunk, revision });
        }
    }

    /// Every event passes through its wire form, as in life.
    pub fn write(&mut self, origin: Origin, event: Event) {
        let bytes = wire::encode(&event, &Envelope::default());
        let (_, back) = wire::decode_bytes(&bytes).unwrap();
        assert_eq!(back, event);
        let sequence = self.state.size;
        let id = EventRef { origin: origin.to_string(), epoch: vec![0; 16], frame: sequence + 1, index: 0 };
        let recorded = Recorded {
            sequence,
            at: self.now,
            origin,
            id,
            term: 1,
            command_id: String::new(),
            actor: String::new(),
            event,
        };
        self.state.apply(&recorded);
        self.written.push(recorded);
        let mut broken = invariant::broken(&self.state);
        broken.retain(|finding| !self.overspends || finding.id != "INV-06");
        assert_eq!(broken, [], "after {:?}", self.written.last());
    }

    pub fn dialer(&mut self, command: &CampaignCommand) -> Vec<Event> {
        let events = decide(&self.state, command, self.now).unwrap();
        for event in &events {
            self.write(Origin::Role(Role::Dialer), event.clone());
        }
        events
    }

    pub fn scaler(&mut self, command: &FleetCommand) -> Vec<Event> {
        let events = fleet::decide::decide(&self.state, command, self.now).unwrap();
        for event in &events {
            self.write(Origin::Role(Role::Scaler), event.clone());
        }
        events
    }

    pub fn node(&mut self, node: &str, event: Event) {
        self.write(Origin::Node(node.to_owned()), event);
    }

    pub fn campaign(&mut self, id: &str, contacts: u8, max_attempts: u32) {
        self.campaign_at(id, contacts, max_attempts, 0);
    }

    pub fn campaign_at(&mut self, id: &str, contacts: u8, max_attempts: u32, calls_per_second: u32) {
        self.create(id, rows(contacts), limits(max_attempts, calls_per_second, CampaignRules::default()));
    }

    pub fn campaign_with(&mut self, id: &str, rows: Vec<ImportRow>, max_attempts: u32, rules: CampaignRules) {
        self.create(id, rows, limits(max_attempts, 0, rules));
    }

    fn create(&mut self, id: &str, rows: Vec<ImportRow>, limits: Limits) {
        self.dialer(&CampaignCommand::Create(Box::new(NewCampaign {
            campaign: id.into(),
            name: id.into(),
            flow: "f".into(),
            manifest: "m".into(),
            trunks: vec!["t".into()],
            limits,
            live: false,
            allowed_hashes: vec![],
        })));
        self.dialer(&CampaignCommand::Import {
            campaign: id.into(),
            import: format!("{id}-1"),
            rows,
            last: true,
            skip_known: vec![],
        });
        self.dialer(&CampaignCommand::Start { campaign: id.into() });
    }

    pub fn plan(&mut self) -> Vec<Event> {
        let hearing = hearing(&self.ready());
        self.scaler(&FleetCommand::Tick { policy: policy(), hearing, inventory: None })
    }

    /// Carries out what the scaler is owed: launches succeed, nodes register and get ready.
    pub fn boot_all(&mut self) {
        let owed: Vec<String> = self.state.fleet.owed_launches().map(|(id, _)| id.clone()).collect();
        for intent in owed {
            let node = format!("i-{intent}");
            let outcome = LaunchOutcome::Launched { node: node.clone() };
            self.scaler(&FleetCommand::Launch { intent: intent.clone(), outcome });
            let (public_key, epoch) = (vec![1; 32], vec![2; 16]);
            self.scaler(&FleetCommand::Register { node: node.clone(), intent, public_key, epoch });
            let ready =
                Event::NodeReady { node: node.clone(), capacity: 3, pbx: "sim".into(), boot_id: "b".into() };
            self.node(&node, ready);
            self.node(&node.clone(), Event::ManifestHeld { node: node.clone(), manifest: "m".into() });
            self.hold_trunks(&node);
        }
    }

    /// One node, `i-wide`, with the prompts and every trunk.
    pub fn wide_node(&mut self, capacity: u32) {
        self.node_of("wide", capacity);
    }

    /// A node `i-` and its name, with the prompts and every trunk.
    pub fn node_of(&mut self, name: &str, capacity: u32) {
        let (intent, node) = (name.to_owned(), format!("i-{name}"));
        let scaler = Origin::Role(Role::Scaler);
        let (reason, instance_type) = (String::new(), String::new());
        let launch = Event::LaunchIntended { intent: intent.clone(), reason, instance_type };
        self.write(scaler.clone(), launch);
        self.write(scaler.clone(), Event::NodeLaunched { intent: intent.clone(), node: node.clone() });
        let (public_key, epoch) = (vec![1; 32], vec![2; 16]);
        self.write(scaler, Event::NodeAdmitted { node: node.clone(), public_key, epoch, intent });
        let ready = Event::NodeReady { node: node.clone(), capacity, pbx: "sim".into(), boot_id: "b".into() };
        self.node(&node, ready);
        self.node(&node, Event::ManifestHeld { node: node.clone(), manifest: "m".into() });
        self.hold_trunks(&node);
    }

    pub fn ready(&self) -> BTreeSet<String> {
        self.state.fleet.existing().filter(|(_, node)| node.pbx_up).map(|(id, _)| id.clone()).collect()
    }

    pub fn tick(&mut self) -> Vec<Event> {
        let tick = DialTick { fresh: self.ready(), order_window_ms: 2_000, max_intents: 100, caps: None };
        self.dialer(&CampaignCommand::Tick(tick))
    }

    /// What a tick would decide.
    pub fn decided(&self) -> Vec<Event> {
        let tick = DialTick { fresh: self.ready(), order_window_ms: 2_000, max_intents: 100, caps: None };
        decide(&self.state, &CampaignCommand::Tick(tick), self.now).unwrap()
    }

    pub fn in_flight(&self) -> Vec<(AttemptId, String)> {
        self.state
            .campaigns
            .values()
            .flat_map(|campaign| campaign.in_flight.iter())
            .map(|(id, attempt)| (id.clone(), attempt.node.clone()))
            .collect()
    }

    pub fn end(&mut self, attempt: &AttemptId, node: &str, outcome: Outcome) {
        let attempt = attempt.clone();
        let originating = Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() };
        self.node(node, Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
        self.node(node, originating);
        if outcome == Outcome::Answered {
            self.node(node, Event::AttemptAnswered { attempt: attempt.clone() });
        }
        let digits = if outcome == Outcome::Answered { "1" } else { "" };
        self.node(
            node,
            Event::AttemptEnded {
                attempt,
                outcome,
                cause: 16,
                reason: 4,
                ring_ms: 1,
                talk_ms: 1,
                digits: digits.into(),
                path: "thanks".into(),
                never_rang: false,
                sip_status: 0,
                heard: asterism_domain::trunk::health::Heard::Unknown,
            },
        );
    }

    pub fn lose(&mut self, node: &str) {
        self.lose_with(node, &policy());
    }

    /// The same under a policy.
    pub fn lose_with(&mut self, node: &str, policy: &FleetPolicy) {
        let inventory = Inventory { ended: [(node.to_owned(), true)].into(), ..Inventory::default() };
        let hearing = hearing(&self.ready());
        self.scaler(&FleetCommand::Tick { policy: policy.clone(), hearing, inventory: Some(inventory) });
    }
}

/// A campaign with a pace of its own, dialled by the dialer's own decisions: the state and everything written.
pub fn paced(calls_per_second: u32, contacts: u8) -> (State, Vec<Recorded>) {
    let mut lab = Lab::new();
    lab.wide_node(200);
    lab.campaign_at("p", contacts, 1, calls_per_second);
    while lab.state.waiting() > 0 {
        lab.tick();
        lab.now += 37;
    }
    (lab.state, lab.written)
}

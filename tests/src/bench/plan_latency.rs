//! `plan-latency`: one plan of the scaler over 3,400 nodes and 100 campaigns, each with its own hours, deadline, pace
//! and people in four zones, half of them on a delay. The fleet is grown by the scaler's own decisions; a tenth of its
//! nodes is silent, a tenth cannot dial. Time is the thread's own on the processor.

use std::collections::BTreeMap;

use anyhow::ensure;
use asterism_domain::campaign::CampaignCommand;
use asterism_domain::campaign::command::{ImportRow, Limits, NewCampaign};
use asterism_domain::fleet::{FleetCommand, FleetPolicy, Heard, Hearing, Inventory, LaunchOutcome};
use asterism_domain::rules::{CallingWindow, CampaignRules};
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::{Event, EventRef, Recorded, State, campaign, fleet};
use asterism_proto::{Origin, Role};
use serde_json::json;

use super::probe::on_cpu_s;
use super::report::{Figure, median, quantile, spread};

const NODES: u32 = 3_400;
const CAMPAIGNS: u32 = 100;
const CONTACTS: u32 = 2_000;
const ROUNDS: usize = 101;
/// Contacts in one import command.
const ROWS: u32 = 200;
const MINUTE: u64 = 60_000;
/// A Monday at ten, UTC, behind 1970.
const BEGAN: u64 = 4 * 24 * 60 * MINUTE + 10 * 60 * MINUTE;

/// Measures it.
pub fn run() -> anyhow::Result<Figure> {
    let mut world = World { state: State::default(), now: BEGAN };
    world.publish();
    for index in 0..CAMPAIGNS {
        world.campaign(index)?;
    }
    world.grow()?;
    let (hearing, inventory) = (world.hearing(), world.inventory());
    let mut took_ms = Vec::new();
    let mut planned = Vec::new();
    for _ in 0..ROUNDS {
        let tick = FleetCommand::Tick {
            policy: policy(),
            hearing: hearing.clone(),
            inventory: Some(inventory.clone()),
        };
        let began = on_cpu_s()?;
        planned = fleet::decide::decide(&world.state, &tick, world.now)?;
        took_ms.push((on_cpu_s()? - began) * 1_000.0);
    }
    let launched = planned.iter().filter(|event| matches!(event, Event::LaunchIntended { .. })).count();
    ensure!(launched > 0, "the silent nodes are not replaced: {planned:?}");
    planned.into_iter().for_each(|event| world.write(Origin::Role(Role::Scaler), event));
    Ok(Figure {
        value: median(&took_ms),
        unit: "ms",
        baseline: None,
        ratio: None,
        note: format!(
            "one decision of the scaler's tick with a listing: {NODES} nodes, {CAMPAIGNS} campaigns of {CONTACTS} contacts in \
             four zones with hours and deadlines, {launched} launches decided; time on the processor"
        ),
        detail: json!({ "ms": { "p99": quantile(&took_ms, 990), "spread": spread(&took_ms)["max"] },
            "in_flight": world.state.in_flight, "waiting": world.state.waiting() }),
    })
}

fn policy() -> FleetPolicy {
    FleetPolicy {
        min_nodes: NODES,
        max_nodes: NODES + 400,
        node_capacity: 100,
        budget_micro_usd: 0,
        launches_per_minute: 10_000,
        instance_type: "small".to_owned(),
        ..FleetPolicy::default()
    }
}

struct World {
    state: State,
    now: u64,
}

impl World {
    fn write(&mut self, origin: Origin, event: Event) {
        let sequence = self.state.size;
        let id = EventRef { origin: origin.to_string(), epoch: vec![0; 16], frame: sequence + 1, index: 0 };
        self.state.apply(&Recorded {
            sequence,
            at: self.now,
            origin,
            id,
            term: 1,
            command_id: String::new(),
            actor: String::new(),
            event,
        });
    }

    fn publish(&mut self) {
        let created =
            Event::LogCreated { fleet: "bench".into(), fleet_key: vec![7; 32], created_at_ms: BEGAN };
        self.write(Origin::Role(Role::Fleet), created);
        let (object, sha256) = (String::from("o"), Vec::new());
        let flow = Event::FlowPublished {
            flow: "f".into(),
            name: "f".into(),
            object: object.clone(),
            sha256: sha256.clone(),
            bridges: false,
        };
        self.write(Origin::Role(Role::MediaSync), flow);
        let manifest = Event::ManifestPublished {
            manifest: "m".into(),
            name: "m".into(),
            object,
            sha256,
            prompts: 1,
            size_bytes: 1,
        };
        self.write(Origin::Role(Role::MediaSync), manifest);
        let settings = TrunkSettings { hosts: vec!["127.0.0.1:5060".into()], ..TrunkSettings::default() };
        let (trunk, reason) = ("t".into(), String::new());
        let set = Event::TrunkSet { trunk, settings, configured: true, reason };
        self.write(Origin::Role(Role::Dialer), set);
    }

    fn dialer(&mut self, command: &CampaignCommand) -> anyhow::Result<()> {
        for event in campaign::decide(&self.state, command, self.now)? {
            self.write(Origin::Role(Role::Dialer), event);
        }
        Ok(())
    }

    fn scaler(&mut self, command: &FleetCommand) -> anyhow::Result<usize> {
        let events = fleet::decide::decide(&self.state, command, self.now)?;
        let decided = events.len();
        events.into_iter().for_each(|event| self.write(Origin::Role(Role::Scaler), event));
        Ok(decided)
    }

    /// Open from eight to twenty everywhere, to be through within five days.
    fn campaign(&mut self, index: u32) -> anyhow::Result<()> {
        let campaign = format!("c{index}");
        let rules = CampaignRules {
            windows: vec![CallingWindow { weekdays: 127, from_minute: 480, to_minute: 1_200 }],
            deadline_ms: BEGAN + 5 * 24 * 60 * MINUTE,
            ..CampaignRules::default()
        };
        let limits = Limits {
            max_channels: 500,
            calls_per_second: 20,
            ring_timeout_ms: 30_000,
            max_attempts: 3,
            caller_id: String::new(),
            caller_ids: Vec::new(),
            rules,
        };
        self.dialer(&CampaignCommand::Create(Box::new(NewCampaign {
            campaign: campaign.clone(),
            name: campaign.clone(),
            flow: "f".into(),
            manifest: "m".into(),
            trunks: vec!["t".into()],
            limits,
            live: true,
            allowed_hashes: Vec::new(),
        })))?;
        const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"];
        for from in (0..CONTACTS).step_by(ROWS as usize) {
            let row = |number: u32| ImportRow {
                number_hash: (u128::from(index) << 64 | u128::from(number)).to_be_bytes(),
                sealed: vec![0; 60],
                zone: ZONES[number as usize % ZONES.len()].to_owned(),
                ..ImportRow::default()
            };
            self.dialer(&CampaignCommand::Import {
                campaign: campaign.clone(),
                import: format!("{campaign}-1"),
                rows: (from..from + ROWS).map(row).collect(),
                last: from + ROWS == CONTACTS,
                skip_known: Vec::new(),
            })?;
        }
        self.dialer(&CampaignCommand::Start { campaign: campaign.clone() })?;
        for from in (0..CONTACTS / 2).step_by(ROWS as usize) {
            let delayed = Event::ContactsDeferred {
                campaign: campaign.clone(),
                contacts: (from..from + ROWS).collect(),
                until_ms: BEGAN + 30 * MINUTE,
                rule: "min-gap".into(),
            };
            self.write(Origin::Role(Role::Dialer), delayed);
        }
        Ok(())
    }

    /// Launches what the scaler decides, until it decides nothing.
    fn grow(&mut self) -> anyhow::Result<()> {
        loop {
            let tick = FleetCommand::Tick { policy: policy(), hearing: self.all_heard(), inventory: None };
            if self.scaler(&tick)? == 0 {
                break;
            }
            let owed: Vec<String> =
                self.state.fleet.owed_launches().map(|(intent, _)| intent.clone()).collect();
            for intent in owed {
                let node = format!("i-{intent}");
                let outcome = LaunchOutcome::Launched { node: node.clone() };
                self.scaler(&FleetCommand::Launch { intent: intent.clone(), outcome })?;
                let (public_key, epoch) = (vec![1; 32], vec![2; 16]);
                self.scaler(&FleetCommand::Register { node: node.clone(), intent, public_key, epoch })?;
                let ready = Event::NodeReady {
                    node: node.clone(),
                    capacity: 100,
                    pbx: "sim".into(),
                    boot_id: "b".into(),
                };
                self.write(Origin::Node(node), ready);
            }
        }
        let nodes = self.state.fleet.existing().count();
        ensure!(nodes == NODES as usize, "{nodes} nodes");
        self.now += MINUTE;
        Ok(())
    }

    fn all_heard(&self) -> Hearing {
        let nodes = self.state.fleet.existing().map(|(id, _)| (id.clone(), Heard::default())).collect();
        Hearing { listening_ms: u64::MAX, nodes, ..Hearing::default() }
    }

    /// Every tenth node is dead to us, every tenth cannot dial.
    fn hearing(&self) -> Hearing {
        let mut hearing = self.all_heard();
        for (index, heard) in hearing.nodes.values_mut().enumerate() {
            match index % 10 {
                3 => heard.silent_ms = MINUTE,
                7 => heard.closed_ms = Some(1_000),
                _ => {}
            }
        }
        hearing
    }

    fn inventory(&self) -> Inventory {
        let ended = self.state.fleet.existing().map(|(id, _)| (id.clone(), false)).collect();
        Inventory { ended, absent: BTreeMap::new() }
    }
}

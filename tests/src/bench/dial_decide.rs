//! `dial-decide`: the pure core with a million contacts waiting: decisions a second, and what a contact costs in memory.
//!
//! The log of a campaign is folded event by event, as a leader does; then ticks are decided, folded and ended one after the
//! other. Nothing is sent, signed or written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::ensure;
use asterism_domain::campaign::command::{DialTick, ImportRow, Limits, NewCampaign};
use asterism_domain::campaign::{CampaignCommand, decide};
use asterism_domain::rules::CampaignRules;
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{Event, EventRef, Outcome, Recorded, State};
use asterism_proto::{Origin, Role};
use asterism_runtime::seal::{self, PersonalData};
use serde_json::json;

use super::probe;
use super::report::{Figure, median, rounded, spread};

/// Contacts that wait.
const CONTACTS: u32 = 1_000_000;
/// Decisions of one tick: as the dialer's own.
const INTENTS: u32 = 100;
const ROUNDS: usize = 5;
/// Ticks of a round.
const TICKS: u32 = 400;
/// What a contact may take.
const MOST_BYTES: f64 = 200.0;
const NODE: &str = "i-0bench";

/// A state, and what is decided on it.
struct Core {
    state: State,
    at: u64,
}

/// Measures.
pub fn run() -> anyhow::Result<Figure> {
    let mut core = Core::new();
    let before = probe::resident_mb(std::process::id().cast_signed())?;
    let began = Instant::now();
    core.import()?;
    let import_s = began.elapsed().as_secs_f64();
    let resident = probe::resident_mb(std::process::id().cast_signed())? - before;
    let bytes = resident * 1e6 / f64::from(CONTACTS);
    core.fleet();
    let (mut decided, mut with_fold) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (alone, folded, count) = core.round()?;
        ensure!(count == TICKS * INTENTS, "{count} decisions");
        if round > 0 {
            // the first one warms up
            decided.push(f64::from(count) / alone.as_secs_f64());
            with_fold.push(f64::from(count) / (alone + folded).as_secs_f64());
        }
    }
    let campaign = &core.state.campaigns["bench"];
    let left = CONTACTS - (ROUNDS as u32 + 1) * TICKS * INTENTS;
    ensure!(campaign.counts.waiting == left, "{:?}", campaign.counts);
    ensure!(core.state.voids == 0 && core.state.incidents == 0, "decisions were void");
    ensure!(bytes <= MOST_BYTES, "a contact takes {bytes:.0} bytes");
    Ok(Figure {
        value: median(&decided),
        unit: "decisions/s",
        baseline: None,
        ratio: None,
        note: format!(
            "{INTENTS} attempts a tick of {CONTACTS} contacts waiting, with the rules every campaign has; one core, decided only \
             (folded as well in detail)"
        ),
        detail: json!({
            "decisions_per_s": spread(&decided),
            "decided_and_folded_per_s": spread(&with_fold),
            "bytes_per_contact": rounded(bytes),
            "import_contacts_per_s": rounded(f64::from(CONTACTS) / import_s),
        }),
    })
}

impl Core {
    fn new() -> Self {
        let mut core = Self { state: State::default(), at: 1_000_000 };
        core.fold(
            Origin::Role(Role::Fleet),
            Event::LogCreated { fleet: "bench".into(), fleet_key: vec![7; 32], created_at_ms: 1 },
        );
        let media = Origin::Role(Role::MediaSync);
        core.fold(
            media.clone(),
            Event::FlowPublished {
                flow: "f".into(),
                name: "f".into(),
                object: "o".into(),
                sha256: vec![],
                bridges: false,
            },
        );
        core.fold(
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
        let settings = TrunkSettings { hosts: vec!["127.0.0.1:5060".into()], ..TrunkSettings::default() };
        let (trunk, reason) = ("t".to_owned(), String::new());
        let set = Event::TrunkSet { trunk, settings, configured: true, reason };
        core.fold(Origin::Role(Role::Dialer), set);
        core
    }

    fn fold(&mut self, origin: Origin, event: Event) {
        let sequence = self.state.size;
        let id = EventRef { origin: origin.to_string(), epoch: vec![0; 16], frame: sequence + 1, index: 0 };
        let (command_id, actor) = (String::new(), String::new());
        self.state.apply(&Recorded { sequence, at: self.at, origin, id, term: 1, command_id, actor, event });
    }

    fn dialer(&mut self, command: &CampaignCommand) -> anyhow::Result<Vec<Event>> {
        let events =
            decide(&self.state, command, self.at).map_err(|rejection| anyhow::anyhow!("{rejection}"))?;
        for event in &events {
            self.fold(Origin::Role(Role::Dialer), event.clone());
        }
        Ok(events)
    }

    /// The campaign and its people, sealed as in production, without custom fields.
    fn import(&mut self) -> anyhow::Result<()> {
        self.dialer(&CampaignCommand::Create(Box::new(NewCampaign {
            campaign: "bench".into(),
            name: "bench".into(),
            flow: "f".into(),
            manifest: "m".into(),
            trunks: vec!["t".into()],
            limits: Limits {
                max_channels: 0,
                calls_per_second: 0,
                ring_timeout_ms: 30_000,
                max_attempts: 1,
                caller_id: String::new(),
                caller_ids: vec![],
                rules: CampaignRules::default(),
            },
            live: true,
            allowed_hashes: vec![],
        })))?;
        for first in (0..CONTACTS).step_by(200) {
            let row = |n: u32| {
                let number = format!("+1202{n:07}");
                let number_hash = seal::number_hash(&[7; 32], &number);
                let person = PersonalData { number, fields: BTreeMap::new() };
                let mut nonce = [0; 24];
                nonce[..4].copy_from_slice(&n.to_be_bytes());
                let sealed = seal::seal(&[9; 32], nonce, "import", &person)?;
                anyhow::Ok(ImportRow { number_hash, sealed, ..ImportRow::default() })
            };
            let rows = (first..first + 200).map(row).collect::<anyhow::Result<_>>()?;
            let last = first + 200 == CONTACTS;
            self.dialer(&CampaignCommand::Import {
                campaign: "bench".into(),
                import: "import".into(),
                rows,
                last,
                skip_known: Vec::new(),
            })?;
        }
        self.dialer(&CampaignCommand::Start { campaign: "bench".into() })?;
        Ok(())
    }

    /// One node that holds as many as a tick starts.
    fn fleet(&mut self) {
        let (scaler, node) = (Origin::Role(Role::Scaler), Origin::Node(NODE.into()));
        let intent = String::from("intent");
        let instance_type = String::new();
        self.fold(
            scaler.clone(),
            Event::LaunchIntended { intent: intent.clone(), reason: String::new(), instance_type },
        );
        self.fold(scaler.clone(), Event::NodeLaunched { intent: intent.clone(), node: NODE.into() });
        self.fold(
            scaler,
            Event::NodeAdmitted { node: NODE.into(), public_key: vec![1; 32], epoch: vec![2; 16], intent },
        );
        let (pbx, boot_id) = ("bench".to_owned(), "boot".to_owned());
        self.fold(node.clone(), Event::NodeReady { node: NODE.into(), capacity: INTENTS, pbx, boot_id });
        let revision = self.state.trunks["t"].revision.clone();
        self.fold(node.clone(), Event::TrunkHeld { node: NODE.into(), trunk: "t".into(), revision });
        self.fold(node, Event::ManifestHeld { node: NODE.into(), manifest: "m".into() });
    }

    /// Ticks, each of whose attempts end before the next. Gives the time of deciding, of folding what was decided, and how
    /// many decisions there were.
    fn round(&mut self) -> anyhow::Result<(Duration, Duration, u32)> {
        let (mut deciding, mut folding, mut count) = (Duration::ZERO, Duration::ZERO, 0);
        let tick = CampaignCommand::Tick(DialTick {
            fresh: BTreeSet::from([NODE.to_owned()]),
            order_window_ms: 1_000,
            max_intents: INTENTS,
            caps: None,
        });
        for _ in 0..TICKS {
            self.at += 20;
            let began = Instant::now();
            let events =
                decide(&self.state, &tick, self.at).map_err(|rejection| anyhow::anyhow!("{rejection}"))?;
            deciding += began.elapsed();
            count += events.len() as u32;
            let began = Instant::now();
            for event in &events {
                self.fold(Origin::Role(Role::Dialer), event.clone());
            }
            folding += began.elapsed();
            for event in events {
                let Event::AttemptIntended { attempt, .. } = event else { continue };
                self.fold(
                    Origin::Node(NODE.into()),
                    Event::AttemptEnded {
                        attempt,
                        outcome: Outcome::Busy,
                        cause: 17,
                        reason: 5,
                        ring_ms: 0,
                        talk_ms: 0,
                        digits: String::new(),
                        path: String::new(),
                        never_rang: false,
                        sip_status: 486,
                        heard: Heard::default(),
                    },
                );
            }
        }
        Ok((deciding, folding, count))
    }
}

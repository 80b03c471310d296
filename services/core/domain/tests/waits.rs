//! Why somebody is not dialled, in plain words: every rule that keeps a contact from being dialled, every hold, cap, pace
//! and missing slot has its sentence in `golden/waits.txt`. `UPDATE_EXPECT=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use asterism_domain::campaign::command::{ImportRow, NewCampaign};
use asterism_domain::campaign::{CampaignCommand, waits};
use asterism_domain::paces::Paces;
use asterism_domain::rules::{
    AttemptCap, Budget, CallingWindow, CampaignRules, Exclusion, GLOBAL_LIST, RetryRule,
};
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::{BreakerState, Heard};
use asterism_domain::{AttemptId, Event, Outcome};
use asterism_proto::{Origin, Role};
use support::trunks::{end, new};
use support::{Lab, loopback};

/// Tuesday, 1 December 2026, 12:00 UTC.
const NOON: u64 = 1_796_126_400_000;
const HOUR: u64 = 3_600_000;

/// What is asked of a campaign before it is created.
type Bend<'a> = &'a dyn Fn(&mut NewCampaign);

struct Case {
    lab: Lab,
    told: String,
}

fn rows(people: u8) -> Vec<ImportRow> {
    let row = |n: u8| ImportRow {
        number_hash: [n; 16],
        sealed: vec![n; 60],
        zone: "Europe/Paris".into(),
        consent: true,
    };
    (0..people).map(row).collect()
}

fn write(lab: &mut Lab, event: Event) {
    lab.write(Origin::Role(Role::Dialer), event);
}

fn import(lab: &mut Lab, id: &str, rows: Vec<ImportRow>) {
    let lists = lab.state.campaigns[id].imports.len();
    let (campaign, import) = (id.to_owned(), format!("{id}-{}", lists + 1));
    lab.dialer(&CampaignCommand::Import { campaign, import, rows, last: true, skip_known: vec![] });
}

/// A campaign `c` over the trunk `a`, with a node of ten slots and three people, which runs.
fn running(bend: Bend<'_>) -> Lab {
    let mut lab = Lab::new();
    lab.now = NOON;
    lab.trunk("a", loopback());
    lab.wide_node(10);
    let mut asked = new("c", &["a"], &[]);
    bend(&mut asked);
    lab.dialer(&CampaignCommand::Create(Box::new(asked)));
    import(&mut lab, "c", rows(3));
    lab.dialer(&CampaignCommand::Start { campaign: "c".into() });
    lab
}

fn ruled(rules: impl Fn(&mut CampaignRules)) -> Lab {
    running(&|asked| {
        asked.limits.max_attempts = 5;
        rules(&mut asked.limits.rules);
    })
}

/// An attempt as a leader decides it, and how it ended, if it has.
fn ring(lab: &mut Lab, contact: u32, outcome: Option<Outcome>) -> AttemptId {
    lab.tick();
    let open = lab.in_flight();
    for (attempt, _) in &open {
        let outcome = if attempt.contact == contact { outcome } else { Some(Outcome::Answered) };
        if let Some(outcome) = outcome {
            end(lab, attempt, outcome, 0, Heard::Unknown);
        }
    }
    open.into_iter().find(|(attempt, _)| attempt.contact == contact).unwrap().0
}

impl Case {
    fn new(lab: Lab) -> Self {
        Self { lab, told: String::new() }
    }

    /// Says how a contact stands now.
    fn says(mut self, contact: usize) -> Self {
        let person = &self.lab.state.campaigns["c"].contacts[contact];
        let (why, until) = waits::stands(&self.lab.state, "c", person, self.lab.now);
        let until =
            until.map_or(String::new(), |until| format!(", for {} s", (until - self.lab.now) / 1_000));
        self.told = format!("{why}{until}; {}", waits::attempts(person));
        self
    }
}

fn in_state(change: impl FnOnce(&mut Lab)) -> Case {
    let mut lab = ruled(|_| {});
    change(&mut lab);
    Case::new(lab).says(0)
}

/// An hour later.
fn late(rules: impl Fn(&mut CampaignRules)) -> Case {
    let mut lab = ruled(rules);
    lab.now += HOUR;
    Case::new(lab).says(0)
}

/// Campaign and fleet.
fn holds() -> Vec<(&'static str, Case)> {
    let campaign = || "c".to_owned();
    let mut created = Lab::new();
    created.now = NOON;
    created.trunk("a", loopback());
    created.dialer(&CampaignCommand::Create(Box::new(new("c", &["a"], &[]))));
    import(&mut created, "c", rows(1));
    let live = |asked: &mut NewCampaign| asked.allowed_hashes = vec![vec![2; 16]];
    let mut outside = running(&live);
    let carrier = TrunkSettings { hosts: vec!["sip.example.com".into()], ..TrunkSettings::default() };
    outside.trunk("a", carrier);
    let mut spent = ruled(|rules| rules.budget = Budget { answered: 1, ..Budget::default() });
    ring(&mut spent, 0, Some(Outcome::Answered));
    spent.tick();
    vec![
        ("not started", Case::new(created).says(0)),
        (
            "paused",
            in_state(|lab| write(lab, Event::CampaignPaused { campaign: campaign(), reason: "x".into() })),
        ),
        (
            "stopped",
            in_state(|lab| write(lab, Event::CampaignStopped { campaign: campaign(), reason: "x".into() })),
        ),
        ("budget used up", Case::new(spent).says(1)),
        (
            "emergency stop",
            in_state(|lab| {
                let reason = "wrong prompt".to_owned();
                write(lab, Event::EmergencyStopped { reason, cancel_ringing: false, cut_calls: false });
            }),
        ),
        (
            "archive behind",
            in_state(|lab| {
                let reason = "the archive is 2 h behind".to_owned();
                let behind = Event::ArchiveBehind {
                    hold: true,
                    reason,
                    events: 1,
                    age_ms: 1,
                    bytes: 1,
                    max_age_ms: 1,
                    max_bytes: 1,
                };
                lab.write(Origin::Role(Role::Ledger), behind);
            }),
        ),
        ("before its start", Case::new(ruled(|rules| rules.starts_at_ms = NOON + HOUR)).says(0)),
        ("deadline", late(|rules| rules.deadline_ms = NOON + HOUR)),
        ("end time", late(|rules| rules.ends_at_ms = NOON + HOUR)),
        ("not live", Case::new(outside).says(0)),
    ]
}

/// The contact's own delays, hours and number.
fn persons() -> Vec<(&'static str, Case)> {
    let later = RetryRule {
        outcome: Outcome::Busy,
        delay_ms: 2 * HOUR,
        max: 2,
        doubling: false,
        another_trunk: false,
    };
    let mut retry = ruled(|rules| rules.retries = vec![later]);
    ring(&mut retry, 0, Some(Outcome::Busy));
    let again = |rules: &mut CampaignRules| {
        rules.retries = vec![RetryRule {
            outcome: Outcome::Busy,
            delay_ms: 0,
            max: 9,
            doubling: false,
            another_trunk: false,
        }];
    };
    let mut gap = ruled(|rules| {
        again(rules);
        rules.min_gap_ms = 4 * HOUR;
    });
    ring(&mut gap, 0, Some(Outcome::Busy));
    // Before the dialer has put it off, and after.
    let before = Case::new(clone(&gap)).says(0).told;
    gap.tick();
    let gap = Case::new(gap).says(0);
    assert_eq!(gap.told, before);
    let mut cap = ruled(|rules| {
        again(rules);
        rules.caps = vec![AttemptCap { period_ms: 24 * HOUR, max: 1 }];
    });
    ring(&mut cap, 0, Some(Outcome::Busy));
    let night = CallingWindow { weekdays: 0b111_1111, from_minute: 20 * 60, to_minute: 21 * 60 };
    let mut nowhere = running(&|asked| asked.limits.rules.windows = vec![night]);
    import(
        &mut nowhere,
        "c",
        vec![ImportRow { number_hash: [9; 16], sealed: vec![1; 60], ..ImportRow::default() }],
    );
    let zone = "Europe/Paris,Asia/Tokyo".into();
    import(
        &mut nowhere,
        "c",
        vec![ImportRow { number_hash: [10; 16], sealed: vec![1; 60], zone, ..ImportRow::default() }],
    );
    let mut listed = ruled(|_| {});
    write(
        &mut listed,
        Event::DoNotCallAdded {
            list: GLOBAL_LIST.into(),
            numbers: vec![[0; 16]],
            prefixes: vec![],
            reason: "asked".into(),
        },
    );
    let mut consent = ruled(|rules| rules.consent_required = true);
    import(
        &mut consent,
        "c",
        vec![ImportRow { number_hash: [9; 16], sealed: vec![1; 60], ..ImportRow::default() }],
    );
    let mut ever = ruled(|rules| {
        again(rules);
        rules.caps = vec![AttemptCap { period_ms: 0, max: 1 }];
    });
    ring(&mut ever, 0, Some(Outcome::Busy));
    let mut elsewhere = ruled(|_| {});
    elsewhere.dialer(&CampaignCommand::Create(Box::new(new("d", &["a"], &[]))));
    import(&mut elsewhere, "d", rows(1));
    elsewhere.dialer(&CampaignCommand::Start { campaign: "d".into() });
    write(&mut elsewhere, Event::CampaignPaused { campaign: "c".into(), reason: String::new() });
    elsewhere.tick();
    elsewhere.dialer(&CampaignCommand::Resume { campaign: "c".into() });
    vec![
        ("waiting for its retry", Case::new(retry).says(0)),
        ("waiting for its retry on another trunk", moved(false)),
        ("least gap", gap),
        ("cap in a period", Case::new(cap).says(0)),
        ("outside its window", Case::new(clone(&nowhere)).says(0)),
        ("no zone", Case::new(clone(&nowhere)).says(3)),
        ("zones never open together", Case::new(nowhere).says(4)),
        ("do-not-call", Case::new(listed).says(0)),
        ("no consent", Case::new(consent).says(3)),
        ("cap for ever", Case::new(ever).says(0)),
        ("its number rings for another campaign", Case::new(elsewhere).says(0)),
    ]
}

/// Busy on `a`, to be tried again on `b`, which has no room; before its delay is over, or after.
fn moved(over: bool) -> Case {
    let again = RetryRule {
        outcome: Outcome::Busy,
        delay_ms: 3 * HOUR,
        max: 2,
        doubling: false,
        another_trunk: true,
    };
    let mut lab = Lab::new();
    lab.now = NOON;
    lab.trunk("a", loopback());
    lab.trunk("b", TrunkSettings { max_channels: 1, ..loopback() });
    lab.wide_node(10);
    let mut asked = new("c", &["a", "b"], &[]);
    asked.limits.max_attempts = 5;
    asked.limits.rules.retries = vec![again];
    lab.dialer(&CampaignCommand::Create(Box::new(asked)));
    import(&mut lab, "c", rows(1));
    lab.dialer(&CampaignCommand::Start { campaign: "c".into() });
    ring(&mut lab, 0, Some(Outcome::Busy));
    if over {
        lab.now += 3 * HOUR;
        lab.state.trunks.get_mut("b").unwrap().channels = 1;
    }
    Case::new(lab).says(0)
}

fn clone(lab: &Lab) -> Lab {
    Lab { state: lab.state.clone(), now: lab.now, written: lab.written.clone(), overspends: lab.overspends }
}

/// Caps, paces, trunks, nodes.
fn rooms() -> Vec<(&'static str, Case)> {
    let in_flight = |mut lab: Lab| {
        lab.tick();
        Case::new(lab).says(2)
    };
    let capped = |caps: Paces| {
        let mut lab = ruled(|_| {});
        lab.dialer(&CampaignCommand::Paces(caps));
        lab
    };
    let trunk = |settings: TrunkSettings| {
        let mut lab = ruled(|_| {});
        lab.trunk("a", settings);
        lab.hold_trunks("i-wide");
        lab
    };
    let rests = |state: BreakerState| {
        in_state(|lab| {
            write(
                lab,
                Event::TrunkBreaker {
                    trunk: "a".into(),
                    state,
                    until_ms: NOON + HOUR,
                    ends: 9,
                    trouble: 9,
                    causes: vec!["503".into()],
                    reason: "9 of 9 attempts had trouble".into(),
                },
            );
        })
    };
    let mut bare = Lab::new();
    bare.now = NOON;
    bare.trunk("a", loopback());
    bare.dialer(&CampaignCommand::Create(Box::new(new("c", &["a"], &[]))));
    import(&mut bare, "c", rows(1));
    bare.dialer(&CampaignCommand::Start { campaign: "c".into() });
    let mut prompts = clone(&bare);
    prompts.wide_node(10);
    prompts.state.fleet.nodes.get_mut("i-wide").unwrap().manifests.clear();
    let mut full = clone(&bare);
    full.wide_node(1);
    import(&mut full, "c", rows(4).split_off(1));
    full.tick();
    vec![
        ("campaign's cap", in_flight(running(&|asked| asked.limits.max_channels = 2))),
        ("budget of answers may be used up", in_flight(ruled(|rules| rules.budget.answered = 2))),
        ("campaign's pace", in_flight(running(&|asked| asked.limits.calls_per_second = 1))),
        ("fleet's cap", in_flight(capped(Paces { max_channels: 2, ..Paces::default() }))),
        ("fleet's pace", in_flight(capped(Paces { calls_per_second: 1, ..Paces::default() }))),
        ("node's pace", in_flight(capped(Paces { node_calls_per_second: 1, ..Paces::default() }))),
        ("trunk's cap", in_flight(trunk(TrunkSettings { max_channels: 2, ..loopback() }))),
        ("trunk's pace", in_flight(trunk(TrunkSettings { calls_per_second: 1, ..loopback() }))),
        ("trunk rests", rests(BreakerState::Open)),
        (
            "trunk removed",
            in_state(|lab| {
                write(lab, Event::TrunkRemoved { trunk: "a".into(), reason: "no more".into() });
            }),
        ),
        (
            "trunk not on the nodes",
            in_state(|lab| {
                lab.trunk("a", TrunkSettings { qualify_s: 9, ..loopback() });
            }),
        ),
        ("another trunk than its last, which is full", moved(true)),
        ("no node", Case::new(bare).says(0)),
        ("no prompts", Case::new(prompts).says(0)),
        ("no slot", Case::new(full).says(3)),
        ("its turn", in_state(|_| {})),
    ]
}

/// Those who do not wait.
fn ends() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    for rule in Exclusion::ALL {
        let detail = String::new();
        let excluded = Event::ContactsExcluded { campaign: "c".into(), contacts: vec![0], rule, detail };
        all.push((rule.name(), in_state(|lab| write(lab, excluded))));
    }
    let flight = |fate: &dyn Fn(&mut Lab, AttemptId)| {
        in_state(|lab| {
            let attempt = ring(lab, 0, None);
            fate(lab, attempt);
        })
    };
    let erased = || Event::ContactsErased { import: "c-1".into(), contacts: vec![], reason: "asked".into() };
    all.push(("in flight", flight(&|_, _| {})));
    all.push(("settled", in_state(|lab| drop(ring(lab, 0, Some(Outcome::Answered))))));
    all.push(("erased", in_state(|lab| write(lab, erased()))));
    all.push((
        "uncertain",
        flight(&|lab, attempt| {
            lab.node("i-wide", Event::AttemptUncertain { attempt, reason: "the agent died".into() });
        }),
    ));
    all.push((
        "refused, then its turn",
        flight(&|lab, attempt| {
            lab.node("i-wide", Event::AttemptRefused { attempt, reason: "its window passed".into() });
        }),
    ));
    all
}

#[test]
fn every_reason_has_its_sentence() {
    let mut told = String::new();
    let mut said = BTreeSet::new();
    for (title, part) in
        [("CAMPAIGN AND FLEET", holds()), ("CONTACT", persons()), ("ROOM", rooms()), ("NOT WAITING", ends())]
    {
        let _ = writeln!(told, "# {title}");
        for (name, case) in part {
            assert!(said.insert(case.told.clone()), "{name} is told as another reason is: {}", case.told);
            let _ = writeln!(told, "{name}:\n    contact {}", case.told);
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/waits.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&golden, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(&golden).unwrap_or_default());
}

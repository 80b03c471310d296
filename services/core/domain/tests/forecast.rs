//! What a dry run says of a list is what the dialer then does with it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::campaign::command::{DoNotCallChange, ImportRow, Limits, NewCampaign};
use asterism_domain::campaign::decide::{self, Stage};
use asterism_domain::campaign::forecast::{Asked, Forecast, forecast};
use asterism_domain::campaign::{CampaignCommand, ContactStatus, decide as decided};
use asterism_domain::rules::{AttemptCap, CallingWindow, CampaignRules};
use asterism_domain::{Outcome, State};
use proptest::prelude::*;
use support::Lab;

/// Tuesday, 1 December 2026, 00:00 UTC.
const MIDNIGHT: u64 = 1_796_083_200_000;
const HOUR: u64 = 3_600_000;
const ZONES: [&str; 5] = ["", "UTC", "America/New_York", "Pacific/Auckland", "America/New_York,Asia/Tokyo"];

fn row(n: u8, zone: &str, consent: bool) -> ImportRow {
    ImportRow { number_hash: [n; 16], sealed: vec![n; 60], zone: zone.into(), consent }
}

fn asked(state: &State, rules: &CampaignRules, rows: &[ImportRow], at: u64) -> Forecast {
    let digits: Vec<String> = rows.iter().map(|row| format!("1202555{:04}", row.number_hash[0])).collect();
    let rows: Vec<_> = rows.iter().zip(digits.iter().map(String::as_str)).collect();
    forecast(state, &Asked { rules, campaign: None, skip_known: &[], only: None }, &rows, at)
}

fn daytime() -> CallingWindow {
    CallingWindow { weekdays: 0b111_1111, from_minute: 9 * 60, to_minute: 21 * 60 }
}

/// Runs a campaign of these rows until nothing more happens at this moment; everybody is answered at once.
fn ring_all(lab: &mut Lab, rows: Vec<ImportRow>, rules: CampaignRules) {
    lab.campaign_with("c", rows, 1, rules);
    loop {
        lab.plan();
        lab.boot_all();
        let events = lab.tick();
        let open = lab.in_flight();
        for (attempt, node) in &open {
            lab.end(attempt, node, Outcome::Answered);
        }
        if events.is_empty() && open.is_empty() {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn now_is_whom_the_dialer_rings_at_once_and_never_whom_it_excludes(
        people in proptest::collection::vec((0usize..5, any::<bool>(), 0u8..4), 1..24),
        hour in 0u64..24, windows in any::<bool>(), consent_required in any::<bool>(),
        default_zone in prop_oneof![Just(""), Just("Europe/Paris")], cap in 0u32..3, gap in 0u64..3,
    ) {
        let mut lab = Lab::new();
        lab.now = MIDNIGHT + hour * HOUR;
        let caps = match cap {
            0 => vec![],
            1 => vec![AttemptCap { period_ms: 24 * HOUR, max: 1 }],
            _ => vec![AttemptCap { period_ms: 0, max: 1 }],
        };
        let rules = CampaignRules {
            windows: if windows { vec![daytime()] } else { vec![] },
            default_zone: default_zone.into(), consent_required, caps, min_gap_ms: gap * HOUR,
            ..CampaignRules::default()
        };
        // Some were rung an hour ago by another campaign, some are on a list.
        let people: Vec<(ImportRow, u8)> = (0u8..).zip(&people)
            .map(|(n, (zone, consent, fate))| (row(n, ZONES[*zone], *consent), *fate)).collect();
        let before: Vec<ImportRow> = people.iter().filter(|(_, fate)| *fate == 1)
            .map(|(row, _)| ImportRow { zone: String::new(), ..row.clone() }).collect();
        if !before.is_empty() {
            lab.now -= HOUR;
            lab.campaign_with("before", before, 1, CampaignRules::default());
            while !lab.state.campaigns["before"].waiting.is_empty() {
                lab.plan();
                lab.boot_all();
                lab.tick();
                for (attempt, node) in lab.in_flight() { lab.end(&attempt, &node, Outcome::Busy); }
            }
            lab.now += HOUR;
        }
        let listed: Vec<_> = people.iter().filter(|(_, fate)| *fate == 2).map(|(row, _)| row.number_hash).collect();
        lab.dialer(&CampaignCommand::DoNotCall(DoNotCallChange {
            list: "global".into(), add: true, numbers: listed, prefixes: vec![], reason: "asked for".into(),
        }));
        let rows: Vec<ImportRow> = people.into_iter().map(|(row, _)| row).collect();
        let said = asked(&lab.state, &rules, &rows, lab.now);
        prop_assert_eq!(said.total(), rows.len() as u64, "each is in exactly one part: {:?}", said);
        let long_after = said.later.values().filter_map(|later| later.from_ms).min();
        ring_all(&mut lab, rows, rules);
        let campaign = &lab.state.campaigns["c"];
        prop_assert_eq!(u64::from(campaign.counts.answered), said.now, "{:?}", said);
        // Whom a rule keeps out is excluded when its turn comes: those whose hour has not come yet are still waiting.
        let excluded = u64::from(campaign.counts.excluded);
        let never: u64 = said.never.values().sum();
        let waiting = u64::from(campaign.counts.waiting);
        prop_assert!(excluded <= never && waiting == said.later_total() + never - excluded, "{:?}", said);
        if let Some(from) = long_after {
            // Nobody before, somebody then.
            lab.now = from - 1;
            lab.tick();
            prop_assert_eq!(lab.in_flight().len(), 0, "{:?}", said);
            let mut lab_then = lab;
            lab_then.now = from;
            lab_then.plan();
            lab_then.boot_all();
            lab_then.tick();
            prop_assert!(!lab_then.in_flight().is_empty(), "{:?}", said);
        }
    }
}

#[test]
fn each_part_says_why_and_from_when() {
    let mut lab = Lab::new();
    lab.now = MIDNIGHT + 15 * HOUR; // 10 in New York, 0 in Tokyo, 4 in Auckland
    lab.dialer(&CampaignCommand::DoNotCall(DoNotCallChange {
        list: "global".into(),
        add: true,
        numbers: vec![[7; 16]],
        prefixes: vec!["12025550008".into()],
        reason: "asked for".into(),
    }));
    let rules = CampaignRules {
        windows: vec![daytime()],
        consent_required: true,
        ends_at_ms: MIDNIGHT + 24 * HOUR,
        ..CampaignRules::default()
    };
    let rows = [
        row(0, "America/New_York", true),
        row(1, "America/New_York", false),
        row(2, "", true),
        row(3, "Pacific/Auckland", true),
        row(4, "America/Los_Angeles", true),
        row(5, "Asia/Tokyo", true),
        row(7, "America/New_York", true),
        row(8, "America/New_York", true),
    ];
    let said = asked(&lab.state, &rules, &rows, lab.now);
    assert_eq!((said.now, said.there), (1, 0));
    let later: Vec<_> =
        said.later.iter().map(|(why, later)| (why.as_str(), later.contacts, later.from_ms)).collect();
    assert_eq!(
        later,
        [("its calling window opens", 2, Some(MIDNIGHT + 17 * HOUR))],
        "9 in Los Angeles comes before 9 in Auckland"
    );
    let never: Vec<_> = said.never.iter().map(|(why, contacts)| (why.as_str(), *contacts)).collect();
    assert_eq!(
        never,
        [
            ("do-not-call", 1),
            ("do-not-call-prefix", 1),
            ("no-consent", 1),
            ("no-zone", 1),
            ("the-campaign-ends-before", 1)
        ]
    );
    let mut twice = said.clone();
    twice.add(&said);
    assert_eq!((twice.total(), twice.later["its calling window opens"].contacts), (16, 4));
}

#[test]
fn a_campaign_that_has_them_and_a_trunk_that_is_not_live_are_told_apart() {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 1);
    let rules = CampaignRules::default();
    let rows: Vec<ImportRow> = (1..5).map(|n| row(n, "UTC", false)).collect();
    let rows: Vec<_> = rows.iter().map(|row| (row, "12025550100")).collect();
    let only = BTreeSet::from([vec![2; 16]]);
    let asked = Asked { rules: &rules, campaign: Some("c"), skip_known: &[], only: Some(&only) };
    let said = forecast(&lab.state, &asked, &rows, lab.now);
    assert_eq!((said.there, said.now, said.later["the campaign goes live"].contacts), (1, 1, 2));
    assert!(matches!(lab.state.campaigns["c"].contacts[1].status, ContactStatus::Waiting));
}

#[test]
fn everything_that_is_wrong_with_a_campaign_is_said_at_once() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    let bad = NewCampaign {
        campaign: "c".into(),
        name: String::new(),
        flow: "gone".into(),
        manifest: "gone".into(),
        trunks: vec!["t".into()],
        limits: Limits {
            max_channels: 0,
            calls_per_second: 0,
            ring_timeout_ms: 10,
            max_attempts: 0,
            caller_id: String::new(),
            caller_ids: vec![],
            rules: CampaignRules {
                windows: vec![CallingWindow { weekdays: 0, ..daytime() }],
                default_zone: "Mars/Olympus".into(),
                caps: vec![AttemptCap { period_ms: 0, max: 0 }],
                ends_at_ms: 1,
                ..CampaignRules::default()
            },
        },
        live: false,
        allowed_hashes: vec![vec![]; 65],
    };
    let codes = |stage| {
        let found = decide::problems(&lab.state, &bad, stage, MIDNIGHT);
        found.iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    let rest = ["AST-D006", "AST-D005", "AST-D070", "AST-D072", "AST-D077", "AST-D073"];
    assert_eq!(codes(Stage::Final)[..3], ["AST-D002", "AST-D003", "AST-D004"]);
    let mut found = codes(Stage::Final)[3..].to_vec();
    let mut wanted = rest.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let refused = decided(&lab.state, &CampaignCommand::Create(Box::new(bad.clone())), MIDNIGHT).unwrap_err();
    assert_eq!((refused.code, refused.reason.lines().count()), ("AST-D002", 9));
    let draft = NewCampaign { flow: String::new(), manifest: String::new(), ..bad };
    let draft = decide::problems(&lab.state, &draft, Stage::Draft, MIDNIGHT);
    assert!(!draft.iter().any(|one| ["AST-D003", "AST-D004"].contains(&one.code)), "still to be published");
}

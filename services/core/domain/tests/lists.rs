//! More than one list in a campaign, numbers other campaigns have, and what ends a campaign before its contacts do: a
//! deadline, a budget.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::command::{DoNotCallChange, ImportRow, Limits, NewCall, NewCampaign};
use asterism_domain::campaign::{
    CampaignCommand, CampaignStatus, ContactStatus, budget, decide, judge, waits,
};
use asterism_domain::rules::{Budget, CallingWindow, CampaignRules, Exclusion, Price};
use asterism_domain::{Event, Outcome};
use support::Lab;

fn rows(numbers: std::ops::Range<u8>) -> Vec<ImportRow> {
    let row = |n: u8| ImportRow { number_hash: [n; 16], sealed: vec![n; 60], ..ImportRow::default() };
    numbers.map(row).collect()
}

fn import(campaign: &str, name: &str, rows: Vec<ImportRow>, last: bool, skip: &[&str]) -> CampaignCommand {
    let skip_known = skip.iter().map(|id| (*id).to_owned()).collect();
    CampaignCommand::Import { campaign: campaign.into(), import: name.into(), rows, last, skip_known }
}

fn code(lab: &Lab, command: &CampaignCommand) -> &'static str {
    decide(&lab.state, command, lab.now).unwrap_err().code
}

/// Rings whoever can be rung now; how many.
fn ring(lab: &mut Lab, outcome: Outcome) -> usize {
    lab.plan();
    lab.boot_all();
    lab.tick();
    let open = lab.in_flight();
    for (attempt, node) in &open {
        lab.end(attempt, node, outcome);
    }
    open.len()
}

#[test]
fn a_campaign_takes_lists_one_after_another_also_while_it_runs() {
    let mut lab = Lab::new();
    lab.campaign_with("c", rows(0..2), 1, CampaignRules::default());
    assert_eq!(ring(&mut lab, Outcome::Busy), 2);
    assert_eq!(code(&lab, &import("c", "c-1", rows(5..6), true, &[])), "AST-D013", "it has that list, whole");
    lab.dialer(&import("c", "second", rows(1..4), false, &[]));
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.counts.imported, campaign.counts.duplicates), (4, 1));
    assert!(!campaign.import_complete());
    assert_eq!(ring(&mut lab, Outcome::Busy), 2);
    lab.tick();
    assert_eq!(lab.state.campaigns["c"].status, CampaignStatus::Running, "more may come of the second list");
    lab.dialer(&import("c", "second", vec![], true, &[]));
    lab.tick();
    assert_eq!(lab.state.campaigns["c"].status, CampaignStatus::Completed);
    assert_eq!(code(&lab, &import("c", "third", rows(9..10), true, &[])), "AST-D012");
}

#[test]
fn numbers_other_campaigns_have_are_left_out_as_asked() {
    let mut lab = Lab::new();
    lab.campaign("winter", 3, 1);
    lab.campaign_with("summer", rows(3..5), 1, CampaignRules::default());
    lab.campaign_with("call-0123", rows(5..6), 1, CampaignRules::default());
    lab.campaign_with("c", rows(100..101), 1, CampaignRules::default());
    let taken = |lab: &mut Lab, list: &str, skip: &[&str]| {
        let events = lab.dialer(&import("c", list, rows(0..7), true, skip));
        let [Event::ContactsImported { contacts, known, skip_known, .. }] = events.as_slice() else {
            panic!()
        };
        assert_eq!(skip_known.len(), skip.len());
        (contacts.len(), *known)
    };
    assert_eq!(code(&lab, &import("c", "x", rows(0..1), true, &["nobody"])), "AST-D031");
    assert_eq!(taken(&mut lab, "one", &["all"]), (2, 5), "a test call's number is no campaign's");
    assert_eq!(taken(&mut lab, "two", &["winter"]), (2, 3), "two of summer's are new, two are there");
    assert_eq!(taken(&mut lab, "three", &[]), (3, 0));
    let counts = &lab.state.campaigns["c"].counts;
    assert_eq!((counts.imported, counts.known, counts.duplicates), (8, 8, 2 + 4));
}

#[test]
fn a_decision_that_leaves_numbers_out_is_judged_again_where_it_lands() {
    let mut lab = Lab::new();
    lab.campaign_with("c", rows(100..101), 1, CampaignRules::default());
    lab.campaign_with("winter", rows(0..1), 1, CampaignRules::default());
    let decided = decide(&lab.state, &import("c", "x", rows(5..6), true, &["winter"]), lab.now).unwrap();
    lab.dialer(&import("winter", "y", rows(5..6), true, &[]));
    let voids = lab.state.voids;
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), decided[0].clone());
    assert_eq!((lab.state.voids, lab.state.campaigns["c"].counts.imported), (voids + 1, 1));
}

#[test]
fn whoever_waits_at_the_deadline_is_out_and_the_campaign_is_complete() {
    let mut lab = Lab::new();
    let rules = CampaignRules { deadline_ms: lab.now + 60_000, ..CampaignRules::default() };
    lab.campaign_with("c", rows(0..200), 2, rules);
    lab.plan();
    lab.boot_all();
    lab.now += 59_500;
    let events = lab.tick();
    assert!(!events.is_empty());
    for event in &events {
        let Event::AttemptIntended { not_after_ms, .. } = event else { panic!("{event:?}") };
        assert!(*not_after_ms <= 61_000, "no order outlasts it");
    }
    let flying = lab.in_flight();
    lab.now += 600;
    lab.tick();
    let campaign = &lab.state.campaigns["c"];
    assert_eq!(campaign.counts.excluded_by[&Exclusion::Deadline] as usize, 200 - flying.len());
    assert_eq!((campaign.counts.waiting, campaign.status), (0, CampaignStatus::Running));
    for (attempt, node) in &flying {
        lab.end(attempt, node, Outcome::Busy);
    }
    assert_eq!(judge::due(&lab.state.campaigns["c"], lab.now), 0, "no fleet is kept for them");
    let (why, _) = waits::waits_for(&lab.state, "c", &lab.state.campaigns["c"].contacts[0], lab.now);
    assert!(why.contains("deadline"), "{why}");
    lab.tick();
    lab.tick();
    let campaign = &lab.state.campaigns["c"];
    assert_eq!(campaign.status, CampaignStatus::Completed);
    assert!(campaign.contacts.iter().all(|one| one.status == ContactStatus::Excluded(Exclusion::Deadline)));
}

#[test]
fn who_may_be_in_zones_that_are_never_open_together_is_out_and_who_waits_for_one_is_not() {
    let mut lab = Lab::new();
    lab.now = 1_796_126_400_000; // Tuesday, 1 December 2026, 12:00 UTC
    let window = CallingWindow { weekdays: 0b111_1111, from_minute: 9 * 60, to_minute: 12 * 60 };
    let rules = CampaignRules { windows: vec![window], ..CampaignRules::default() };
    let zones = ["Europe/Paris,Asia/Tokyo", "Asia/Tokyo", "Europe/Paris,Europe/London"];
    let people = rows(0..3).into_iter().zip(zones);
    let people: Vec<ImportRow> = people.map(|(row, zone)| ImportRow { zone: zone.into(), ..row }).collect();
    lab.campaign_with("c", people, 1, rules);
    lab.tick();
    let state = |lab: &Lab, contact: usize| lab.state.campaigns["c"].contacts[contact].status.clone();
    assert_eq!(state(&lab, 0), ContactStatus::Excluded(Exclusion::NoWindowOpens));
    assert_eq!((state(&lab, 1), state(&lab, 2)), (ContactStatus::Waiting, ContactStatus::Waiting));
    assert_eq!(lab.state.campaigns["c"].counts.excluded_by[&Exclusion::NoWindowOpens], 1);
}

#[test]
fn a_budget_of_answered_calls_is_never_exceeded_and_then_the_campaign_pauses() {
    let mut lab = Lab::new();
    let rules =
        CampaignRules { budget: Budget { answered: 4, ..Budget::default() }, ..CampaignRules::default() };
    lab.campaign_with("c", rows(0..50), 1, rules.clone());
    let mut rings = 0;
    while lab.state.campaigns["c"].status == CampaignStatus::Running {
        lab.plan();
        lab.boot_all();
        lab.tick();
        let open = lab.in_flight();
        let answered = lab.state.campaigns["c"].counts.answered;
        assert!(open.len() as u32 + answered <= 4, "each that rings may be answered");
        for (number, (attempt, node)) in open.iter().enumerate() {
            rings += 1;
            lab.end(attempt, node, if (rings + number) % 3 == 0 { Outcome::Answered } else { Outcome::Busy });
        }
    }
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.status, campaign.counts.answered), (CampaignStatus::Paused, 4));
    assert!(campaign.counts.waiting > 0);
    let said = lab.written.iter().rev().find_map(|one| match &one.event {
        Event::CampaignBudgetReached { answered, reason, .. } => Some((*answered, reason.clone())),
        _ => None,
    });
    assert_eq!(said, Some((4, "4 of 4 answered calls".to_owned())));
    let (why, _) = waits::waits_for(&lab.state, "c", &campaign.contacts[49], lab.now);
    assert_eq!(why, "its campaign has used up its budget: 4 of 4 answered calls");
    // Resumed as it is it pauses again; with more it goes on.
    lab.dialer(&CampaignCommand::Resume { campaign: "c".into() });
    lab.tick();
    assert_eq!(lab.state.campaigns["c"].status, CampaignStatus::Paused);
}

#[test]
fn one_call_is_one_decision_asked_again_the_same_and_by_the_rules() {
    let mut lab = Lab::new();
    lab.campaign_with("other", rows(9..10), 1, CampaignRules::default());
    lab.dialer(&CampaignCommand::DoNotCall(DoNotCallChange {
        list: "global".into(),
        add: true,
        numbers: vec![[7; 16]],
        prefixes: vec!["1202555".into()],
        reason: "asked for".into(),
    }));
    let call = |n: u8, import: &str, digits: &str| {
        let limits = Limits {
            max_channels: 1,
            calls_per_second: 1,
            ring_timeout_ms: 30_000,
            max_attempts: 1,
            caller_id: String::new(),
            caller_ids: vec![],
            rules: CampaignRules::default(),
        };
        let new = NewCampaign {
            campaign: "call-a".into(),
            name: "call".into(),
            flow: "f".into(),
            manifest: "m".into(),
            trunks: vec!["t".into()],
            limits,
            live: false,
            allowed_hashes: vec![],
        };
        let row = ImportRow { zone: "UTC".into(), ..rows(n..n + 1).remove(0) };
        CampaignCommand::Call(Box::new(NewCall { new, import: import.into(), row, digits: digits.into() }))
    };
    assert_eq!(code(&lab, &call(7, "one", "447700900123")), "AST-D033", "its number is on a list");
    assert_eq!(code(&lab, &call(1, "one", "12025550100")), "AST-D033", "its first digits are");
    assert_eq!(lab.dialer(&call(1, "one", "447700900123")).len(), 3);
    let campaign = &lab.state.campaigns["call-a"];
    assert_eq!((campaign.status, campaign.counts.waiting), (CampaignStatus::Running, 1));
    assert!(campaign.import_complete() && campaign.zones == ["UTC"]);
    assert_eq!(lab.dialer(&call(1, "one", "447700900123")), [], "it was asked for before");
    assert_eq!(code(&lab, &call(2, "two", "447700900123")), "AST-D032");
    assert_eq!(lab.state.voids, 0);
}

#[test]
fn talk_and_cost_are_counted_from_the_log() {
    let price = Price { call_micro: 10_000, minute_micro: 60_000, currency: "EUR".into() };
    let budget = Budget { cost_micro: 30_000, ..Budget::default() };
    let mut lab = Lab::new();
    lab.campaign_with("c", rows(0..50), 1, CampaignRules { price, budget, ..CampaignRules::default() });
    while lab.state.campaigns["c"].status == CampaignStatus::Running {
        ring(&mut lab, Outcome::Answered);
    }
    let campaign = &lab.state.campaigns["c"];
    let spent = budget::spent(campaign);
    // The lab's calls last one millisecond: 0.06 / 60,000 of a minute's price each.
    assert_eq!(spent.cost_micro, u64::from(spent.answered) * 10_001);
    assert!((3..=12).contains(&spent.answered), "those up when it was reached went on: {spent:?}");
    assert!(budget::reached(campaign).unwrap().ends_with("of 0.03 EUR"));
}

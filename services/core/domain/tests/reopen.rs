//! Uncertain contacts: never dialled again by themselves, and once more when a person says so, as a new attempt.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::command::Reopening;
use asterism_domain::campaign::{CampaignCommand, CampaignStatus, ContactStatus, decide};
use asterism_domain::rules::{CampaignRules, Exclusion};
use asterism_domain::{Event, Outcome};
use support::{Lab, policy};

const DAY: u64 = 86_400_000;

fn asked(numbers: &[u8]) -> CampaignCommand {
    CampaignCommand::Reopen(Reopening {
        campaign: "c".into(),
        numbers: numbers.iter().map(|n| [*n; 16]).collect(),
        reason: "the client agrees".into(),
    })
}

fn refused(lab: &Lab, command: &CampaignCommand) -> &'static str {
    decide(&lab.state, command, lab.now).unwrap_err().code
}

/// Three contacts: one answered, two on a node that was lost. The campaign is complete.
fn lost() -> Lab {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let flying = lab.in_flight();
    let (attempt, node) = flying[0].clone();
    lab.end(&attempt, &node, Outcome::Answered);
    lab.lose(&node);
    for (_, node) in lab.in_flight() {
        lab.lose(&node);
    }
    lab.tick();
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.status, campaign.counts.uncertain), (CampaignStatus::Completed, 2));
    lab
}

/// Dials all that may be dialled, a day on.
fn a_day_later(lab: &mut Lab) -> Vec<Event> {
    lab.now += DAY;
    lab.scaler(&asterism_domain::fleet::FleetCommand::Tick {
        policy: policy(),
        hearing: support::hearing(&lab.ready()),
        inventory: None,
    });
    lab.boot_all();
    lab.tick()
}

fn intended(events: &[Event]) -> Vec<(u32, u32)> {
    let of = |event: &Event| match event {
        Event::AttemptIntended { attempt, .. } => Some((attempt.contact, attempt.ordinal)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn nobody_uncertain_is_dialled_before_a_person_says_so_and_then_as_a_new_attempt() {
    let mut lab = lost();
    assert_eq!(intended(&a_day_later(&mut lab)), []);
    lab.dialer(&asked(&[]));
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.status, campaign.ended_at), (CampaignStatus::Running, None));
    assert_eq!((campaign.counts.uncertain, campaign.counts.waiting), (0, 2));
    assert_eq!(intended(&a_day_later(&mut lab)), [(1, 2), (2, 2)]);
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Busy);
    }
    lab.tick();
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.status, campaign.counts.settled_total()), (CampaignStatus::Completed, 3));
    // Both attempts count against the most there may be: this one was the last.
    assert_eq!(campaign.contacts[1].rang, 2);
}

#[test]
fn only_the_numbers_named_are_dialled_and_each_must_be_uncertain() {
    let mut lab = lost();
    let uncertain = |lab: &Lab, contact: usize| {
        lab.state.campaigns["c"].contacts[contact].status == ContactStatus::Uncertain
    };
    let hashes: Vec<u8> = lab.state.campaigns["c"].contacts.iter().map(|one| one.number_hash[0]).collect();
    assert_eq!(refused(&lab, &asked(&[hashes[1], hashes[0]])), "AST-D163");
    assert_eq!(refused(&lab, &asked(&[hashes[1], 99])), "AST-D162");
    lab.dialer(&asked(&[hashes[2], hashes[2]]));
    assert!(uncertain(&lab, 1) && !uncertain(&lab, 2));
    assert_eq!(intended(&a_day_later(&mut lab)), [(2, 2)]);
}

#[test]
fn it_needs_a_reason_a_campaign_that_goes_on_and_somebody_who_is_uncertain() {
    let mut lab = lost();
    let CampaignCommand::Reopen(mut silent) = asked(&[]) else { unreachable!() };
    silent.reason = " ".into();
    assert_eq!(refused(&lab, &CampaignCommand::Reopen(silent.clone())), "AST-D157");
    (silent.reason, silent.campaign) = ("why".into(), "other".into());
    assert_eq!(refused(&lab, &CampaignCommand::Reopen(silent)), "AST-D020");
    lab.dialer(&asked(&[]));
    assert_eq!(refused(&lab, &asked(&[])), "AST-D160");
    lab.dialer(&CampaignCommand::Stop { campaign: "c".into(), reason: "enough".into() });
    assert_eq!(refused(&lab, &asked(&[])), "AST-D158");
}

#[test]
fn who_was_erased_meanwhile_stays_uncertain_and_rules_are_asked_as_of_every_attempt() {
    let mut lab = lost();
    let hashes: Vec<_> = lab.state.campaigns["c"].contacts.iter().map(|one| one.number_hash).collect();
    let reason = "asked for it".to_owned();
    lab.dialer(&CampaignCommand::Erase { import: "c-1".into(), contacts: vec![hashes[1]], reason });
    assert_eq!(refused(&lab, &asked(&[hashes[1][0]])), "AST-D163");
    lab.dialer(&asked(&[]));
    lab.dialer(&CampaignCommand::DoNotCall(asterism_domain::campaign::command::DoNotCallChange {
        list: "global".into(),
        add: true,
        numbers: vec![hashes[2]],
        prefixes: vec![],
        reason: "asked us to".into(),
    }));
    assert_eq!(intended(&a_day_later(&mut lab)), []);
    lab.tick();
    let campaign = &lab.state.campaigns["c"];
    assert_eq!(campaign.contacts[1].status, ContactStatus::Uncertain);
    assert_eq!(campaign.contacts[2].status, ContactStatus::Excluded(Exclusion::DoNotCall));
    assert_eq!(campaign.status, CampaignStatus::Completed);
}

#[test]
fn a_campaign_whose_time_is_over_dials_nobody_and_says_so() {
    for deadline in [true, false] {
        let mut lab = Lab::new();
        let end = lab.now + DAY;
        let rules = if deadline {
            CampaignRules { deadline_ms: end, ..CampaignRules::default() }
        } else {
            CampaignRules { ends_at_ms: end, ..CampaignRules::default() }
        };
        lab.campaign_with("c", support::rows(1), 1, rules);
        lab.plan();
        lab.boot_all();
        lab.tick();
        let (_, node) = lab.in_flight()[0].clone();
        lab.lose(&node);
        lab.tick();
        assert!(decide(&lab.state, &asked(&[]), end - 1).is_ok());
        lab.now = end;
        assert_eq!(refused(&lab, &asked(&[])), "AST-D165");
    }
}

#[test]
fn a_gap_between_attempts_is_kept() {
    let mut lab = Lab::new();
    let rules = CampaignRules { min_gap_ms: 3 * DAY, ..CampaignRules::default() };
    lab.campaign_with("c", support::rows(1), 1, rules);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (_, node) = lab.in_flight()[0].clone();
    lab.lose(&node);
    lab.tick();
    lab.dialer(&asked(&[]));
    assert_eq!(intended(&a_day_later(&mut lab)), []);
    lab.now += 2 * DAY;
    assert_eq!(intended(&a_day_later(&mut lab)), [(0, 2)]);
}

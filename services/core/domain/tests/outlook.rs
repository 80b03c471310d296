//! A campaign's outlook asks the fleet for what its log will ask for: the plan before the money is the plan after it.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::command::ImportRow;
use asterism_domain::campaign::outlook::{Supposed, outlook, supposed};
use asterism_domain::fleet;
use asterism_domain::fleet::staffing::StaffingPolicy;
use asterism_domain::rules::{CallingWindow, CampaignRules, RetryRule};
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::{AttemptId, Outcome};
use support::{Lab, loopback, policy, rows};

/// 2026-12-02 10:00:00 UTC, a Wednesday.
const TEN: u64 = 1_796_205_600_000;
const HOUR: u64 = 3_600_000;

fn in_zone(people: u8, zone: &str) -> Vec<ImportRow> {
    rows(people).into_iter().map(|row| ImportRow { zone: zone.into(), ..row }).collect()
}

/// Asks both, and compares.
fn same(lab: &Lab, id: &str) {
    let need = fleet::need(&lab.state, &policy(), lab.now);
    let told = outlook(&lab.state, id, lab.now).unwrap();
    let staffing =
        StaffingPolicy::new(policy().node_capacity, lab.state.fleet.learnt.boot_ms(), 150_000, u32::MAX);
    let left: Vec<u32> = told.lists.iter().map(|list| list.calls).collect();
    let up = lab.state.campaigns[id].counts.in_flight;
    assert_eq!(told.demand(&left, up, &staffing, lab.now), (need.demand.due, need.demand.lists), "{told:?}");
}

#[test]
fn without_a_deadline_it_asks_for_the_same() {
    let mut lab = Lab::new();
    lab.campaign_at("c", 12, 1, 5);
    same(&lab, "c");
    lab.plan();
    lab.boot_all();
    lab.tick();
    same(&lab, "c");
    let (attempt, node): (AttemptId, String) = lab.in_flight().remove(0);
    lab.now += 40_000;
    lab.end(&attempt, &node, Outcome::Answered);
    same(&lab, "c");
    let told = outlook(&lab.state, "c", lab.now).unwrap();
    assert_eq!((told.attempts_seen, told.answered_permille), (1, Some(1_000)));
}

#[test]
fn with_a_deadline_and_hours_it_asks_for_the_same_whenever_it_is_asked() {
    let mut lab = Lab::new();
    lab.now = TEN;
    let window = CallingWindow { weekdays: 0b111_1111, from_minute: 9 * 60, to_minute: 17 * 60 };
    let rules = CampaignRules {
        windows: vec![window],
        deadline_ms: TEN + 30 * HOUR,
        default_zone: "UTC".into(),
        ..CampaignRules::default()
    };
    let people = [in_zone(30, "UTC"), in_zone(20, "America/New_York")].concat();
    let people = (0..50).zip(people).map(|(n, row)| ImportRow { number_hash: [n; 16], ..row }).collect();
    lab.campaign_with("c", people, 1, rules);
    for hours in 0..32 {
        lab.now = TEN + hours * HOUR;
        same(&lab, "c");
    }
}

#[test]
fn the_least_cap_counts_and_an_ended_campaign_has_no_outlook() {
    let mut lab = Lab::new();
    lab.campaign_at("c", 3, 1, 50);
    let caps =
        |lab: &Lab| outlook(&lab.state, "c", lab.now).map(|told| (told.max_channels, told.calls_per_second));
    assert_eq!(caps(&lab), Some((0, 50)), "a trunk without limits");
    lab.trunk("t", TrunkSettings { max_channels: 7, calls_per_second: 9, ..loopback() });
    assert_eq!(caps(&lab), Some((7, 9)));
    assert_eq!(outlook(&lab.state, "d", lab.now), None);
    lab.dialer(&asterism_domain::campaign::CampaignCommand::Stop {
        campaign: "c".into(),
        reason: "x".into(),
    });
    assert_eq!(caps(&lab), None);
}

#[test]
fn a_campaign_that_is_only_supposed_has_the_outlook_it_will_have() {
    let mut lab = Lab::new();
    lab.now = TEN;
    lab.trunk("t", TrunkSettings { max_channels: 7, calls_per_second: 9, ..loopback() });
    let window = CallingWindow { weekdays: 0b111_1111, from_minute: 9 * 60, to_minute: 17 * 60 };
    let again =
        |outcome, delay_ms| RetryRule { outcome, delay_ms, max: 3, doubling: false, another_trunk: false };
    let rules = CampaignRules {
        windows: vec![window],
        deadline_ms: TEN + 30 * HOUR,
        retries: vec![again(Outcome::Busy, HOUR), again(Outcome::NoAnswer, 3 * HOUR)],
        ..CampaignRules::default()
    };
    // Five people have no zone, and the campaign no default: they are never rung.
    let people = [in_zone(30, "UTC"), in_zone(20, "America/New_York"), rows(5)].concat();
    let people = (0..55).zip(people).map(|(n, row)| ImportRow { number_hash: [n; 16], ..row }).collect();
    lab.campaign_with("c", people, 1, rules.clone());
    let real = outlook(&lab.state, "c", lab.now).unwrap();
    let zones = [("UTC", 30), ("America/New_York", 20), ("", 5)];
    let asked = Supposed {
        name: "c".into(),
        rules,
        people: zones.map(|(zone, people)| (zone.to_owned(), people)).into(),
        max_attempts: 1,
        trunks: vec![(7, 9)],
        learnt: lab.state.fleet.learnt.clone(),
        ..Supposed::default()
    };
    let mut told = supposed(asked.clone(), lab.now);
    told.lists.sort_by_key(|list| std::cmp::Reverse(list.contacts));
    assert_eq!((&told.lists, told.until_ms), (&real.lists, real.until_ms));
    assert_eq!((told.max_channels, told.calls_per_second), (7, 9));
    assert_eq!((told.retry_ms, real.retry_ms), (2 * HOUR, 2 * HOUR), "the mean of an hour and three");
    let told = supposed(Supposed { max_attempts: 3, answered_permille: 500, ..asked }, lab.now);
    let most = told.lists.iter().find(|list| list.contacts == 30).unwrap();
    assert_eq!(most.calls, 53, "a half and a quarter of them are rung again");
}
